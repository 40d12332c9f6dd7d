//! UTF-8 strings (5.0 section 1.5.4, 3.1.1 section 1.5.3).
//!
//! Refused: what is not well-formed UTF-8, which includes surrogates and overlong forms, and U+0000. Accepted:
//! everything else. In particular a byte order mark stays where it is [MQTT-1.5.4-3], and control characters and
//! non-characters pass: the standard asks senders to avoid them and leaves refusing them to the receiver, and
//! clients in the field use tabs and newlines in identifiers and user properties. A broker that wants them out
//! does that by policy, not as a malformed packet. Nothing is normalised [MQTT-4.7.3-4].
//!
//! 3.1 speaks of a modified UTF-8 (Java's); it is held to the same rules.

use crate::error::{DecodeError, Violation};

/// Checks the bytes of a string field.
///
/// # Errors
/// [`Violation::StringNotUtf8`], [`Violation::StringHasNull`].
#[inline]
pub fn check(bytes: &[u8]) -> Result<&str, DecodeError> {
    let text = well_formed(bytes)?;
    // [MQTT-1.5.4-2] [MQTT311-1.5.3-2] In well-formed UTF-8 a zero byte is U+0000 and nothing else.
    if contains_any(bytes, [0]) {
        return Err(Violation::StringHasNull.into());
    }
    Ok(text)
}

/// As [`check`], where nobody wants the string yet: nearly all are plain ASCII, and those are read once only.
#[inline]
pub(crate) fn check_only(bytes: &[u8]) -> Result<(), DecodeError> {
    if is_plain(bytes) { Ok(()) } else { check(bytes).map(|_| ()) }
}

/// The string, which may still contain U+0000.
#[inline]
pub(crate) fn well_formed(bytes: &[u8]) -> Result<&str, DecodeError> {
    // [MQTT-1.5.4-1] [MQTT311-1.5.3-1] The standard library refuses surrogates and overlong forms too.
    str::from_utf8(bytes).map_err(|_| Violation::StringNotUtf8.into())
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Whether a word of any eight bytes in a row fails `test`; the last word overlaps the one before. Below eight bytes
/// `test` sees them in a word filled up with `fill`.
#[inline]
fn any_word(bytes: &[u8], fill: u8, test: impl Fn(u64) -> u64) -> bool {
    let Some(&last) = bytes.last_chunk::<8>() else {
        let mut word = [fill; 8];
        for (to, from) in word.iter_mut().zip(bytes) {
            *to = *from;
        }
        return test(u64::from_le_bytes(word)) & HIGH != 0;
    };
    let mut hits = test(u64::from_le_bytes(last));
    for &word in bytes.as_chunks::<8>().0 {
        hits |= test(u64::from_le_bytes(word));
    }
    hits & HIGH != 0
}

/// Whether every byte is in 0x01 to 0x7F.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    // The high bit of a byte is set either in itself or, if none is, by the borrow from a zero.
    !any_word(bytes, b' ', |word| word.wrapping_sub(LOW) | word)
}

/// Whether any of `wanted` is there. `wanted` does not hold a space.
#[inline]
pub(crate) fn contains_any<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> bool {
    any_word(bytes, b' ', |word| {
        let mut hits = 0;
        for byte in wanted {
            // A zero byte of the difference is a hit; a byte is zero if taking one away borrows into a high bit
            // that was clear.
            let difference = word ^ (LOW * u64::from(byte));
            hits |= difference.wrapping_sub(LOW) & !difference;
        }
        hits
    })
}

/// A string that has been checked before: iterators over validated packets read it again.
#[inline]
pub(crate) fn checked(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("a string that was checked when its packet was decoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(bytes: &[u8]) -> Option<Violation> {
        check(bytes).err().map(DecodeError::rule)
    }

    /// covers [MQTT-1.5.4-1] [MQTT311-1.5.3-1]
    #[test]
    fn ill_formed_utf8_is_refused() {
        let bad: [&[u8]; 8] = [
            b"\x80",             // a continuation byte alone
            b"a\xC3",            // cut in the middle of a character
            b"\xC0\x80",         // U+0000 overlong, Java's way
            b"\xE0\x80\xAF",     // '/' overlong
            b"\xED\xA0\x80",     // the surrogate U+D800
            b"\xED\xBF\xBF",     // the surrogate U+DFFF
            b"\xF4\x90\x80\x80", // above U+10FFFF
            b"\xFF\xFE",
        ];
        for bytes in bad {
            assert_eq!(rule(bytes), Some(Violation::StringNotUtf8), "{bytes:?}");
        }
    }

    /// covers [MQTT-1.5.4-2] [MQTT311-1.5.3-2]
    #[test]
    fn null_is_refused_wherever_it_stands() {
        for bytes in [&b"\0"[..], b"a\0", b"\0a", "é\0".as_bytes()] {
            assert_eq!(rule(bytes), Some(Violation::StringHasNull), "{bytes:?}");
        }
    }

    /// covers [MQTT-1.5.4-3] [MQTT311-1.5.3-3]
    #[test]
    fn a_byte_order_mark_stays() {
        assert_eq!(check(b"\xEF\xBB\xBFa"), Ok("\u{FEFF}a"));
        assert_eq!(check(b"a\xEF\xBB\xBF"), Ok("a\u{FEFF}"));
    }

    /// Eight bytes at a time and one at a time find the same, wherever the byte stands.
    #[test]
    fn words_and_bytes_agree() {
        for length in 0..40 {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'a'; length];
                    bytes[at] = byte;
                    assert_eq!(is_plain(&bytes), (1..0x80).contains(&byte), "{byte:#x} at {at} of {length}");
                    assert_eq!(contains_any(&bytes, [0, b'+', b'#']), matches!(byte, 0 | b'+' | b'#'));
                    bytes.fill(0xFF);
                    bytes[at] = byte;
                    assert_eq!(contains_any(&bytes, [0, b'+', b'#']), matches!(byte, 0 | b'+' | b'#'));
                    assert_eq!(is_plain(&bytes), length == 1 && (1..0x80).contains(&byte));
                }
            }
        }
        assert!(is_plain(b"") && !contains_any(b"", [0]));
    }

    #[test]
    fn checking_alone_is_checking() {
        for bytes in [
            &b"plain"[..],
            b"",
            b"a\0",
            b"\0",
            "\u{FEFF}\u{9F}".as_bytes(),
            b"\xC0\x80",
            b"eight by\0",
            b"\xFF",
        ] {
            assert_eq!(check_only(bytes).is_ok(), check(bytes).is_ok(), "{bytes:?}");
            assert_eq!(check_only(bytes).err(), check(bytes).err());
        }
    }

    #[test]
    fn control_characters_and_non_characters_pass() {
        for text in
            ["\u{1}", "\t\n", "\u{7F}", "\u{9F}", "\u{FFFF}", "\u{FDD0}", "\u{10FFFF}", "A\u{2A6D4}", ""]
        {
            assert_eq!(check(text.as_bytes()), Ok(text));
        }
    }
}
