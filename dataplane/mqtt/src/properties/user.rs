//! User properties: pairs of strings in the sender's order.

use super::{Property, id, skip};
use crate::text;
use crate::wire::Reader;

/// The user properties of a packet. Decoded, they are a view of the packet's bytes; to encode, they are made from
/// a slice of pairs.
#[derive(Clone, Copy)]
pub struct UserProperties<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    /// A block that has been validated; other properties stand between.
    Block(&'a [u8]),
    Pairs(&'a [(&'a str, &'a str)]),
}

impl<'a> UserProperties<'a> {
    /// None.
    pub const NONE: Self = Self(Source::Pairs(&[]));

    /// These, name and value, in this order.
    pub const fn new(pairs: &'a [(&'a str, &'a str)]) -> Self {
        Self(Source::Pairs(pairs))
    }

    /// Those of a validated block in which the identifiers `seen` occur.
    #[inline]
    pub(crate) const fn of_block(block: &'a [u8], seen: u64) -> Self {
        if seen >> id::USER_PROPERTY & 1 != 0 { Self(Source::Block(block)) } else { Self::NONE }
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        matches!(self.0, Source::Pairs([]))
    }

    /// Name and value, in order.
    pub fn iter(self) -> UserPropertyIter<'a> {
        UserPropertyIter(self.0)
    }

    /// Puts each as a property.
    pub(crate) fn each(self, put: &mut dyn FnMut(Property<'_>)) {
        for (name, value) in self {
            put(Property::User(name, value));
        }
    }
}

impl Default for UserProperties<'_> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<'a> IntoIterator for UserProperties<'a> {
    type Item = (&'a str, &'a str);
    type IntoIter = UserPropertyIter<'a>;

    fn into_iter(self) -> UserPropertyIter<'a> {
        self.iter()
    }
}

impl PartialEq for UserProperties<'_> {
    /// The same pairs in the same order, wherever they are kept.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl std::fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Iterator over [`UserProperties`].
#[derive(Clone)]
pub struct UserPropertyIter<'a>(Source<'a>);

impl<'a> Iterator for UserPropertyIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::Pairs(pairs) => {
                let (first, rest) = pairs.split_first()?;
                *pairs = rest;
                Some(*first)
            }
            Source::Block(block) => {
                let mut reader = Reader::new(block);
                while !reader.is_empty() {
                    if let Some((name, value)) = user_property(&mut reader) {
                        *block = reader.rest();
                        return Some((text::checked(name), text::checked(value)));
                    }
                }
                *block = &[];
                None
            }
        }
    }
}

/// Steps over the next property of a validated block; its two parts if it is a user property.
fn user_property<'a>(reader: &mut Reader<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let mut parts = *reader;
    if skip(reader) != id::USER_PROPERTY {
        return None;
    }
    parts.u8().ok()?;
    Some((parts.binary().ok()?, parts.binary().ok()?))
}
