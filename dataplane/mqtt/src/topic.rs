//! Topic names and topic filters (5.0 sections 4.7 and 4.8.2, 3.1.1 section 4.7).
//!
//! A *raw* name or filter comes out of a packet; its `check` gives the checked one, which can be trusted from
//! there on. The two steps are apart because a broker may not need the second (see [`RawTopic`]), and because a
//! filter with a wrong wildcard is not the packet's fault alone: version 5 answers it filter by filter.
//!
//! `$share/{group}/{filter}` is read as a shared subscription in every version. Only 5.0 defines it; for 3.x
//! clients it is the extension that brokers agree on, and without it they could not share at all.

use crate::error::{DecodeError, Violation};
use crate::text;

/// The prefix of a shared subscription's filter.
const SHARE: &str = "$share/";

/// The topic of a PUBLISH as it came: not yet checked for UTF-8, U+0000, wildcard characters and emptiness.
///
/// A broker that keeps a table of topics it has checked before looks these bytes up first: a topic that is found
/// there is the same bytes, therefore valid, and need not be checked again. Only what is not found is checked.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawTopic<'a>(&'a [u8]);

impl<'a> RawTopic<'a> {
    /// A topic as yet unchecked.
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[inline]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether there is no topic: a topic alias stands for it, which decoding has made sure of (version 5).
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Checks it.
    ///
    /// # Errors
    /// [`Violation::StringNotUtf8`], [`Violation::StringHasNull`], [`Violation::TopicEmpty`],
    /// [`Violation::TopicWildcard`].
    #[inline]
    pub fn check(self) -> Result<TopicName<'a>, DecodeError> {
        TopicName::new(text::well_formed(self.0)?)
    }
}

impl<'a> From<TopicName<'a>> for RawTopic<'a> {
    fn from(name: TopicName<'a>) -> Self {
        Self(name.0.as_bytes())
    }
}

impl std::fmt::Debug for RawTopic<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawTopic({})", self.0.escape_ascii())
    }
}

/// A topic name: well-formed, not empty, without wildcard characters and U+0000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Violation::StringHasNull`], [`Violation::TopicEmpty`], [`Violation::TopicWildcard`].
    pub fn new(name: &'a str) -> Result<Self, DecodeError> {
        // [MQTT-4.7.3-1] [MQTT311-4.7.3-1]
        if name.is_empty() {
            return Err(Violation::TopicEmpty.into());
        }
        if text::contains_any(name.as_bytes(), [0, b'+', b'#']) {
            return Err(not_a_name(name).into());
        }
        Ok(Self(name))
    }

    /// The name.
    #[inline]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels between the slashes.
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }

    /// Whether the name begins with `$`, which a leading wildcard does not match.
    #[inline]
    pub fn is_dollar(self) -> bool {
        self.0.starts_with('$')
    }
}

#[cold]
fn not_a_name(name: &str) -> Violation {
    if name.contains('\0') {
        // [MQTT-4.7.3-2] [MQTT311-4.7.3-2]
        Violation::StringHasNull
    } else {
        // [MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT311-3.3.2-2]
        Violation::TopicWildcard
    }
}

/// A topic filter as it came in a SUBSCRIBE or UNSUBSCRIBE: a well-formed string without U+0000, whose grammar is
/// not yet checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RawFilter<'a>(&'a str);

impl<'a> RawFilter<'a> {
    /// A filter as yet unchecked.
    ///
    /// # Errors
    /// [`Violation::StringHasNull`]: a packet with such a filter is malformed as a whole.
    pub fn new(filter: &'a str) -> Result<Self, DecodeError> {
        text::check(filter.as_bytes()).map(Self)
    }

    /// A filter whose bytes are known to be a well-formed string.
    #[inline]
    pub(crate) const fn well_formed(filter: &'a str) -> Self {
        Self(filter)
    }

    /// The filter as it came, `$share/` and all.
    #[inline]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether it claims to be a shared subscription's.
    #[inline]
    pub fn is_shared(self) -> bool {
        self.0.starts_with(SHARE)
    }

    /// Checks the grammar. A failure is answered for this filter alone (0x8F in a version 5 SUBACK, 0x80 before).
    ///
    /// # Errors
    /// [`Violation::FilterEmpty`], [`Violation::FilterMultiLevelWildcard`],
    /// [`Violation::FilterSingleLevelWildcard`], [`Violation::FilterShareForm`].
    pub fn check(self) -> Result<TopicFilter<'a>, DecodeError> {
        let Some(behind) = self.0.strip_prefix(SHARE) else {
            check_levels(self.0)?;
            return Ok(TopicFilter { text: self.0, filter_at: 0 });
        };
        // [MQTT-4.8.2-1] A share name of at least one character; [MQTT-4.8.2-2] without wildcard characters, and
        // followed by a slash and a topic filter.
        let Some((group, filter)) = behind.split_once('/') else {
            return Err(Violation::FilterShareForm.into());
        };
        if group.is_empty() || group.contains(['+', '#']) || filter.is_empty() {
            return Err(Violation::FilterShareForm.into());
        }
        check_levels(filter)?;
        Ok(TopicFilter { text: self.0, filter_at: (self.0.len() - filter.len()) as u32 })
    }
}

impl<'a> From<TopicFilter<'a>> for RawFilter<'a> {
    fn from(filter: TopicFilter<'a>) -> Self {
        Self(filter.text)
    }
}

fn check_levels(filter: &str) -> Result<(), DecodeError> {
    // [MQTT-4.7.3-1] [MQTT311-4.7.3-1]
    if filter.is_empty() {
        return Err(Violation::FilterEmpty.into());
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        // [MQTT-4.7.1-1] [MQTT311-4.7.1-2] `#` is a whole level, and the last.
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err(Violation::FilterMultiLevelWildcard.into());
        }
        // [MQTT-4.7.1-2] [MQTT311-4.7.1-3] `+` is a whole level.
        if level.contains('+') && level != "+" {
            return Err(Violation::FilterSingleLevelWildcard.into());
        }
    }
    Ok(())
}

/// A topic filter that has been checked; that of a shared subscription included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter<'a> {
    text: &'a str,
    /// Where the part that is matched begins: 0, or behind `$share/{group}/`.
    filter_at: u32,
}

impl<'a> TopicFilter<'a> {
    /// Checks a filter.
    ///
    /// # Errors
    /// Those of [`RawFilter::new`] and [`RawFilter::check`].
    pub fn new(filter: &'a str) -> Result<Self, DecodeError> {
        RawFilter::new(filter)?.check()
    }

    /// The filter as it came, `$share/` and all: the identity of the subscription in its session.
    #[inline]
    pub const fn as_str(self) -> &'a str {
        self.text
    }

    /// The part that is matched against topic names: without `$share/{group}/`.
    #[inline]
    pub fn matched_part(self) -> &'a str {
        &self.text[self.filter_at as usize..]
    }

    /// Group and filter, if this is a shared subscription's.
    pub fn shared(self) -> Option<SharedFilter<'a>> {
        let at = self.filter_at as usize;
        (at != 0).then(|| SharedFilter {
            group: &self.text[SHARE.len()..at - 1],
            filter: TopicFilter { text: &self.text[at..], filter_at: 0 },
        })
    }

    /// Whether the matched part has a wildcard.
    pub fn has_wildcards(self) -> bool {
        self.matched_part().contains(['+', '#'])
    }

    /// The levels of the matched part.
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.matched_part().split('/')
    }

    /// Whether the filter matches a topic name. The plain reading of the standard, level by level: the oracle for
    /// faster matchers.
    pub fn matches(self, topic: TopicName<'_>) -> bool {
        matches(self, topic)
    }
}

/// The two parts of `$share/{group}/{filter}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharedFilter<'a> {
    /// The share name.
    pub group: &'a str,
    /// The filter behind it. Never itself a shared one, even if it begins with `$share/`.
    pub filter: TopicFilter<'a>,
}

impl<'a> SharedFilter<'a> {
    /// Reads `$share/{group}/{filter}`; `None` if the filter does not begin with `$share/`.
    ///
    /// # Errors
    /// Those of [`RawFilter::check`].
    pub fn parse(filter: RawFilter<'a>) -> Result<Option<Self>, DecodeError> {
        if !filter.is_shared() {
            return Ok(None);
        }
        filter.check().map(TopicFilter::shared)
    }
}

/// Whether a filter matches a topic name (5.0 section 4.7, 3.1.1 section 4.7). See [`TopicFilter::matches`].
pub fn matches(filter: TopicFilter<'_>, topic: TopicName<'_>) -> bool {
    let mut filter_levels = filter.levels();
    let mut topic_levels = topic.levels();
    // [MQTT-4.7.2-1] [MQTT311-4.7.2-1] A wildcard at the start does not match a topic that begins with `$`.
    if topic.is_dollar() && filter.matched_part().starts_with(['+', '#']) {
        return false;
    }
    loop {
        match (filter_levels.next(), topic_levels.next()) {
            // 5.0 section 4.7.1.2: `#` stands for any number of levels, the parent's own level included.
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            // [MQTT-4.7.3-4] Character for character.
            (Some(level), Some(name)) if level == name => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
