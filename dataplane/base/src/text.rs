//! Short texts without a block of their own: client ids and topic filters, of which there can be a million. A
//! boxed text of 16 bytes costs 32 and one more look into memory.

use std::fmt;
use std::ops::Deref;

/// Bytes of a text that need no block of their own.
const SHORT: usize = 22;

#[derive(Clone)]
enum Held {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

/// A text that does not change: in 24 bytes up to 22 bytes long, beyond that in a block of its own.
#[derive(Clone)]
pub struct Text(Held);

const _: () = assert!(size_of::<Text>() == 24 && size_of::<Option<Text>>() == 24);

impl Text {
    /// The text as a string.
    #[inline]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self).expect("made from a string")
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text.as_bytes());
                Self(Held::Short { len: text.len() as u8, bytes })
            }
            None => Self(Held::Long(text.as_bytes().into())),
        }
    }
}

impl Deref for Text {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::Short { len, bytes } => &bytes[..usize::from(*len)],
            Held::Long(bytes) => bytes,
        }
    }
}

impl Default for Text {
    /// The empty text.
    fn default() -> Self {
        Self::from("")
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_was_made_from_at_every_length() {
        for len in 0..70 {
            let written: String = (0..len).map(|n| char::from(b'a' + n % 26)).collect();
            let text = Text::from(&*written);
            assert_eq!((&*text, text.as_str()), (written.as_bytes(), &*written));
            assert_eq!(text, text.clone());
            assert_ne!(text, Text::from(&*format!("{written}x")));
            assert_eq!(matches!(text.0, Held::Short { .. }), written.len() <= SHORT);
        }
    }
}
