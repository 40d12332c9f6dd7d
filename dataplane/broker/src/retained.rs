//! The retained messages whose home is this shard.
//!
//! Keys are topics with the level separator replaced by 0x00, which no topic contains: the order of the keys
//! is then the order of the levels, a topic's subtree is one range, and `+` is passed by seeking to the next
//! sibling. Fetching for a subscription goes by pages that begin at a key, so that nothing has to stand still
//! while a client takes its time. Stored retained messages use the same order.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use pelton_base::Wall;
use pelton_mqtt::QoS;

use crate::broker::Broker;
use crate::counters::Dropped;
use crate::message::{Publication, Publisher};

/// Names a retained publish among those of this process: which shard took it from its publisher, and the how manyeth
/// of that shard it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64);

impl Stamp {
    /// Of what was found in storage: before all others.
    pub const BEFORE: Self = Self(0);

    /// The publish `number` of a shard; numbers begin at 1.
    pub(crate) fn new(shard: u16, number: u64) -> Self {
        Self(u64::from(shard) << 48 | number)
    }

    /// The shard.
    pub(crate) fn shard(self) -> usize {
        (self.0 >> 48) as usize
    }

    /// The number.
    pub(crate) fn number(self) -> u64 {
        self.0 & ((1 << 48) - 1)
    }
}

/// A retained message.
#[derive(Debug)]
struct Retained {
    /// Topic, forwarded properties and payload, one after the other.
    body: Box<[u8]>,
    topic_len: u16,
    forwarded_len: u32,
    qos: QoS,
    expires: Wall,
    publisher: Publisher,
    client_hash: u64,
    stamp: Stamp,
}

impl Retained {
    fn publication(&self) -> Publication<'_> {
        let (topic, rest) = self.body.split_at(usize::from(self.topic_len));
        let (forwarded, payload) = rest.split_at(self.forwarded_len as usize);
        Publication {
            topic,
            forwarded,
            payload,
            qos: self.qos,
            retain: true,
            expires: self.expires,
            publisher: self.publisher,
            client_hash: self.client_hash,
            wire: None,
        }
    }
}

/// Retained messages by topic: no part of any session [MQTT311-3.1.2-7].
#[derive(Debug, Default)]
pub struct RetainedSet {
    by_key: BTreeMap<Box<[u8]>, Retained>,
    expiring: BTreeSet<(Wall, Box<[u8]>)>,
    bytes: u64,
}

/// How a page of matching topics ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageEnd {
    /// There are no more.
    Complete,
    /// There may be more from here on; goes back as `from`.
    More(Box<[u8]>),
}

impl RetainedSet {
    /// How many messages are retained.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none is retained.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Bytes of the retained messages.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sets the message of a topic [MQTT-3.3.1-5], or clears it if the payload is empty [MQTT-3.3.1-6]
    /// [MQTT-3.3.1-7]. `false` if there is
    /// no room.
    pub fn set(
        &mut self,
        publication: &Publication<'_>,
        stamp: Stamp,
        messages_max: u32,
        bytes_max: u64,
    ) -> bool {
        let key = key_of(publication.topic);
        let bytes = publication.bytes() as u64;
        let old = self.by_key.get(&key).map_or(0, |old| old.body.len() as u64);
        if publication.payload.is_empty() {
            self.remove(&key);
            return true;
        }
        let grows = usize::from(old == 0);
        if self.by_key.len() + grows > messages_max as usize || self.bytes - old + bytes > bytes_max {
            return false;
        }
        self.remove(&key);
        if publication.expires != Wall::NEVER {
            self.expiring.insert((publication.expires, key.clone()));
        }
        let body = [publication.topic, publication.forwarded, publication.payload].concat();
        self.bytes += bytes;
        self.by_key.insert(
            key,
            Retained {
                body: body.into_boxed_slice(),
                topic_len: publication.topic.len() as u16,
                forwarded_len: publication.forwarded.len() as u32,
                qos: publication.qos,
                expires: publication.expires,
                publisher: publication.publisher,
                client_hash: publication.client_hash,
                stamp,
            },
        );
        true
    }

    /// The message of a topic.
    pub fn get(&self, topic: &[u8]) -> Option<Publication<'_>> {
        self.by_key.get(&key_of(topic)).map(Retained::publication)
    }

    /// The message of a topic, with its stamp.
    pub fn get_stamped(&self, topic: &[u8]) -> Option<(Publication<'_>, Stamp)> {
        self.by_key.get(&key_of(topic)).map(|retained| (retained.publication(), retained.stamp))
    }

    /// Calls `found` for the messages whose topics `filter` matches, in the order of the keys, beginning
    /// where the last page ended (empty: at the start); `found` says whether the page has room for more. At
    /// most `looks` keys are looked at, so that a filter that matches little does not hold up a turn.
    pub fn page(
        &self,
        filter: &str,
        from: &[u8],
        looks: usize,
        mut found: impl FnMut(Publication<'_>, Stamp) -> bool,
    ) -> PageEnd {
        let levels: Vec<&[u8]> = filter.split('/').map(str::as_bytes).collect();
        let mut from = if from.is_empty() { seek_first(&levels) } else { from.to_vec() };
        for _ in 0..looks {
            let range = (Bound::Included(&*from), Bound::Unbounded);
            let Some((key, retained)) = self.by_key.range::<[u8], _>(range).next() else {
                return PageEnd::Complete;
            };
            let mut full = false;
            from = match place(&levels, key) {
                Place::Match => {
                    full = !found(retained.publication(), retained.stamp);
                    successor(key)
                }
                Place::Next => successor(key),
                Place::Seek(to) => to,
                Place::Done => return PageEnd::Complete,
            };
            if full {
                break;
            }
        }
        PageEnd::More(from.into_boxed_slice())
    }

    /// When the next message expires.
    pub fn next_expiry(&self) -> Option<Wall> {
        self.expiring.first().map(|&(expires, _)| expires)
    }

    /// Drops what has expired at `now`, at most `limit` messages, and hands their topics to `gone`; returns how
    /// many, and when the next one expires.
    pub fn expire(&mut self, now: Wall, limit: usize, mut gone: impl FnMut(&[u8])) -> (usize, Option<Wall>) {
        let mut expired = 0;
        while let Some((expires, key)) = self.expiring.first()
            && *expires <= now
            && expired < limit
        {
            let key = key.clone();
            if let Some(old) = self.by_key.get(&key) {
                gone(old.publication().topic);
            }
            self.remove(&key);
            expired += 1;
        }
        (expired, self.next_expiry())
    }

    /// All messages, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = Publication<'_>> {
        self.by_key.values().map(Retained::publication)
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some((key, old)) = self.by_key.remove_entry(key) {
            self.bytes -= old.body.len() as u64;
            if old.expires != Wall::NEVER {
                self.expiring.remove(&(old.expires, key));
            }
        }
    }
}

fn key_of(topic: &[u8]) -> Box<[u8]> {
    topic.iter().map(|&byte| if byte == b'/' { 0 } else { byte }).collect()
}

/// The least key greater than `key`.
fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

/// The first key a filter can match.
fn seek_first(levels: &[&[u8]]) -> Vec<u8> {
    let literal: Vec<&[u8]> =
        levels.iter().take_while(|level| **level != b"+" && **level != b"#").copied().collect();
    literal.join(&0)
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Match,
    /// No match; the next key may be one.
    Next,
    /// No match before this key.
    Seek(Vec<u8>),
    Done,
}

/// Where a key stands to a filter.
fn place(filter: &[&[u8]], key: &[u8]) -> Place {
    // [MQTT-4.7.2-1] A leading wildcard does not match `$`: all of them are one range.
    if key.first() == Some(&b'$') && matches!(filter.first(), Some(&(b"+" | b"#"))) {
        return Place::Seek(vec![b'$' + 1]);
    }
    // Byte offset of the end of each level of the key that stands under a `+`.
    let mut last_plus_end = None;
    let mut start = 0;
    for (i, level) in filter.iter().enumerate() {
        if *level == b"#" {
            return Place::Match;
        }
        if start > key.len() {
            // The key has fewer levels: those below it come next, except that `a/#` matches `a`.
            return Place::Next;
        }
        let end = key[start..].iter().position(|&byte| byte == 0).map_or(key.len(), |n| start + n);
        if *level == b"+" {
            last_plus_end = Some(end);
        } else {
            match key[start..end].cmp(level) {
                std::cmp::Ordering::Equal => {}
                std::cmp::Ordering::Less => {
                    let mut to = key[..start].to_vec();
                    to.extend_from_slice(level);
                    return Place::Seek(to);
                }
                std::cmp::Ordering::Greater => return past(key, last_plus_end),
            }
        }
        start = end + 1;
        if i + 1 == filter.len() {
            if end == key.len() {
                return Place::Match;
            }
            // The key goes on below the filter's last level: past that subtree.
            return Place::Seek(after_subtree(&key[..end]));
        }
    }
    Place::Done
}

/// Past everything under the present value of the last `+`, or past all if there is none.
fn past(key: &[u8], last_plus_end: Option<usize>) -> Place {
    match last_plus_end {
        Some(end) => Place::Seek(after_subtree(&key[..end])),
        None => Place::Done,
    }
}

/// The first key after `prefix` and all below it: 0x00 separates levels, so it is `prefix` and 0x01.
fn after_subtree(prefix: &[u8]) -> Vec<u8> {
    let mut to = prefix.to_vec();
    to.push(1);
    to
}

/// Whether a topic is the broker's own: what it says there is of this process, and not stored.
pub(crate) fn is_own(topic: &[u8]) -> bool {
    topic.starts_with(b"$SYS/")
}

impl Broker {
    /// Sets or clears the retained message of a topic at home here.
    pub(crate) fn set_retained(&mut self, publication: &Publication<'_>, stamp: Stamp) -> bool {
        let (messages_max, bytes_max) =
            (self.core.settings.retained_messages_max, self.core.settings.retained_bytes_max);
        let stored = self.core.persist.is_on() && !is_own(publication.topic);
        let clears = stored && publication.payload.is_empty();
        // Where none is here, none is in storage either, unless its end is still on its way there: then this
        // one waits for it, too.
        if clears
            && self.core.persist.has_retained_as_here()
            && self.retained.get(publication.topic).is_none()
        {
            return true;
        }
        let set = self.retained.set(publication, stamp, messages_max, bytes_max);
        if !set {
            self.core.tally.dropped.add(Dropped::RetainedFull);
        } else if stored {
            self.put_retained(publication.topic);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn publication<'a>(topic: &'a str, payload: &'a [u8], expires: Wall) -> Publication<'a> {
        Publication {
            topic: topic.as_bytes(),
            forwarded: b"",
            payload,
            qos: QoS::AtLeastOnce,
            retain: true,
            expires,
            publisher: Publisher::NOBODY,
            client_hash: 0,
            wire: None,
        }
    }

    fn set(retained: &mut RetainedSet, topic: &str, payload: &[u8]) -> bool {
        retained.set(&publication(topic, payload, Wall::NEVER), Stamp::BEFORE, 100, 10_000)
    }

    fn fetch(retained: &RetainedSet, filter: &str, page: usize, looks: usize) -> Vec<String> {
        let mut found = Vec::new();
        let mut from: Box<[u8]> = Box::default();
        for _ in 0..10_000 {
            let full = found.len() + page;
            match retained.page(filter, &from, looks, |publication, _| {
                found.push(String::from_utf8(publication.topic.to_vec()).unwrap());
                found.len() < full
            }) {
                PageEnd::Complete => return found,
                PageEnd::More(next) => from = next,
            }
        }
        panic!("{filter}: the pages do not end");
    }

    fn matches(filter: &str, topic: &str) -> bool {
        let filter = pelton_mqtt::TopicFilter::new(filter).unwrap();
        filter.matches(pelton_mqtt::TopicName::new(topic).unwrap())
    }

    #[test]
    fn an_empty_payload_clears() {
        // covers [MQTT-3.3.1-6] [MQTT-3.3.1-7]
        let mut retained = RetainedSet::default();
        set(&mut retained, "a/b", b"one");
        set(&mut retained, "a/b", b"two");
        assert_eq!(retained.get(b"a/b").unwrap().payload, b"two");
        set(&mut retained, "a/b", b"");
        assert!(retained.get(b"a/b").is_none());
        assert_eq!((retained.len(), retained.bytes()), (0, 0));
    }

    #[test]
    fn bounded_in_messages_and_bytes() {
        let mut retained = RetainedSet::default();
        let put = |retained: &mut RetainedSet, topic: &str, payload: &[u8]| {
            retained.set(&publication(topic, payload, Wall::NEVER), Stamp::BEFORE, 2, 20)
        };
        assert!(put(&mut retained, "a", b"12345"));
        assert!(put(&mut retained, "b", b"12345"));
        assert!(!put(&mut retained, "c", b"1"), "a third message");
        assert!(put(&mut retained, "a", b"1234567890"), "a replacement");
        assert!(!put(&mut retained, "b", b"1234567890"), "too many bytes");
        assert_eq!(retained.get(b"b").unwrap().payload, b"12345", "the old one stays");
    }

    #[test]
    fn expired_messages_go_by_themselves() {
        // covers [MQTT-3.3.2-5]
        let mut retained = RetainedSet::default();
        for (topic, at) in [("a", 10), ("b", 20), ("c", 30)] {
            retained.set(&publication(topic, b"x", Wall(at)), Stamp::BEFORE, 10, 1000);
        }
        retained.set(&publication("a", b"y", Wall(40)), Stamp::BEFORE, 10, 1000);
        let mut gone = Vec::new();
        assert_eq!(retained.expire(Wall(25), 10, |topic| gone.push(topic.to_vec())), (1, Some(Wall(30))));
        assert_eq!(gone, [b"b"]);
        assert!(retained.get(b"b").is_none());
        assert_eq!(retained.expire(Wall(40), 1, |_| ()), (1, Some(Wall(40))));
        assert_eq!(retained.expire(Wall(40), 1, |_| ()), (1, None));
        assert!(retained.is_empty());
    }

    #[test]
    fn a_filter_seeks_past_what_it_cannot_match() {
        let mut retained = RetainedSet::default();
        for n in 0..90 {
            set(&mut retained, &format!("site/{n:02}/noise"), b"x");
        }
        set(&mut retained, "site/50/temperature", b"x");
        let mut looks = 0;
        while retained.page("site/50/temperature", b"", looks, |_, _| true) != PageEnd::Complete {
            looks += 1;
        }
        assert!(looks <= 3, "{looks} keys looked at for one exact topic");
    }

    fn topic() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop_oneof!["[ab]{0,2}", Just("$SYS".to_owned())], 1..4)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("empty", |topic| !topic.is_empty())
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![3 => "[ab]{0,2}", 2 => Just("+".to_owned()), 1 => Just("$SYS".to_owned())];
        (proptest::collection::vec(level, 1..4), any::<bool>())
            .prop_map(|(mut levels, tail)| {
                if tail {
                    levels.push("#".to_owned());
                }
                levels.join("/")
            })
            .prop_filter("empty", |filter| !filter.is_empty())
    }

    proptest! {
        /// Pages of any size find exactly what matching topic by topic finds, each once.
        #[test]
        fn pages_find_what_matches(topics in proptest::collection::btree_set(topic(), 0..60),
                                   filter in filter(), page in 1..5usize, looks in 1..5usize) {
            let mut retained = RetainedSet::default();
            for topic in &topics {
                set(&mut retained, topic, b"x");
            }
            let mut got = fetch(&retained, &filter, page, looks);
            got.sort();
            let want: Vec<String> = topics.into_iter().filter(|topic| matches(&filter, topic)).collect();
            prop_assert_eq!(got, want);
        }
    }
}
