//! From a topic to those who want it: the subscriptions of this shard, and which other shards to tell.
//!
//! Filters without wildcards are found by their text; filters with wildcards stand in a [`trie`]. What both
//! said about a topic is remembered with the topic until a filter that matters to it comes or goes. So a publish
//! to a topic seen before costs one look-up, whatever its subscribers.
//!
//! The router knows nothing of sessions but their index. Each subscription is named from both sides: the
//! filter's list has (session, slot in the session's list), the session's list has (filter, position in the
//! filter's list), so that a client that leaves takes its subscriptions along at O(1) each, from a list of a
//! million too.
//!
//! Other shards: a wildcard filter carries the set of shards that have it; of an exact filter only its keyed
//! 64-bit hash is kept for other shards. Two topics of one hash cost a message to a shard that finds no
//! match, nothing else.

mod filters;
mod topics;
mod trie;

#[cfg(test)]
mod tests;

use hashbrown::HashTable;
use pelton_base::HashKey;
use pelton_mqtt::{QoS, SubscribeOptions};

pub use filters::{FilterId, Subscriber};
use filters::{Filters, Place};
pub use topics::TopicId;
use topics::Topics;
use trie::Trie;

/// A set of shards, by number: at most 64 in a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardMask(pub u64);

impl ShardMask {
    /// No shard.
    pub const NONE: Self = Self(0);

    /// One shard.
    pub const fn one(shard: u16) -> Self {
        Self(1 << shard)
    }

    /// Whether no shard is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `shard` is in the set.
    pub const fn has(self, shard: u16) -> bool {
        self.0 & (1 << shard) != 0
    }

    /// How many shards are in the set.
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without `shard`.
    #[must_use]
    pub const fn without(self, shard: u16) -> Self {
        Self(self.0 & !(1 << shard))
    }

    /// The shards, ascending.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            (left != 0).then(|| {
                let shard = left.trailing_zeros() as u16;
                left &= left - 1;
                shard
            })
        })
    }
}

struct RemoteExact {
    hash: u64,
    shards: ShardMask,
}

/// The filters of one shard and the routes to the others.
pub struct Router {
    key: HashKey,
    filters: Filters,
    topics: Topics,
    trie: Trie,
    remote_exact: HashTable<RemoteExact>,
    /// Changes with every wildcard filter or route that comes or goes: what topics remember is stale then.
    version: u32,
    /// Scratch of a trie walk.
    found: Vec<FilterId>,
}

/// How many filters of this shard a topic leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None: nobody here wants it.
    Nobody,
    /// One: no session can be met twice.
    By(FilterId),
    /// Several.
    BySeveral,
}

/// What a topic leads to.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'a> {
    /// The filter equal to the topic, if any is subscribed here.
    pub exact: Option<FilterId>,
    /// The wildcard filters that match and are subscribed here.
    pub wild: &'a [FilterId],
    /// The other shards to tell.
    pub shards: ShardMask,
}

impl Matched<'_> {
    /// The filters, exact first.
    pub fn filters(&self) -> impl Iterator<Item = FilterId> + '_ {
        self.exact.into_iter().chain(self.wild.iter().copied())
    }

    /// How many there are.
    #[inline]
    pub fn wanted(&self) -> Wanted {
        match (self.exact, self.wild) {
            (None, []) => Wanted::Nobody,
            (Some(filter), []) | (None, &[filter]) => Wanted::By(filter),
            _ => Wanted::BySeveral,
        }
    }

    /// Whether nobody here wants the topic.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.exact.is_none() && self.wild.is_empty()
    }
}

impl Router {
    /// An empty router. `key` is the same on all shards of a process: routes are exchanged as hashes under
    /// it. At most `remembered_topics` topics that nobody subscribes to literally are remembered, and four
    /// times as many that somebody does.
    pub fn new(key: HashKey, remembered_topics: usize) -> Self {
        Self {
            key,
            filters: Filters::new(key),
            topics: Topics::new(remembered_topics),
            trie: Trie::new(key),
            remote_exact: HashTable::new(),
            version: 1,
            found: Vec::new(),
        }
    }

    /// The hash under which other shards know the exact filter or topic `name`.
    pub fn hash(&self, name: &[u8]) -> u64 {
        self.key.hash(name)
    }

    // ---- look-up -----------------------------------------------------------------------------------------

    /// The topic, if it was seen before (and therefore checked before).
    #[inline]
    pub fn known_topic(&self, name: &[u8]) -> Option<TopicId> {
        self.topics.find(self.key.hash(name), name)
    }

    /// Whether `topic`, known some time ago, is still the topic `name`.
    #[inline]
    pub fn is_topic(&self, topic: TopicId, name: &[u8]) -> bool {
        self.topics.is(topic, name)
    }

    /// The topic, remembered if there is room. `name` has been checked as a topic name.
    pub fn topic(&mut self, name: &[u8]) -> TopicId {
        let hash = self.key.hash(name);
        match self.topics.find(hash, name) {
            Some(topic) => topic,
            None => {
                let exact = self.filters.find_exact(hash, name);
                self.topics.remember(hash, name, exact)
            }
        }
    }

    /// What a topic leads to. Valid until the router changes.
    #[inline(always)]
    pub fn matched(&mut self, topic: TopicId) -> Matched<'_> {
        let entry = self.topics.get_mut(topic);
        entry.used = true;
        if entry.version != self.version {
            self.refresh(topic);
        }
        let entry = self.topics.get(topic);
        Matched { exact: entry.exact, wild: &entry.wild, shards: entry.shards }
    }

    #[cold]
    fn refresh(&mut self, topic: TopicId) {
        let Self { filters, topics, trie, remote_exact, version, found, .. } = self;
        let entry = topics.get_mut(topic);
        found.clear();
        let mut shards = ShardMask::NONE;
        trie.walk(&entry.name, &mut |filter| {
            let filter_entry = filters.get(filter);
            shards = shards.and(filter_entry.remote());
            if filter_entry.is_wanted_here() {
                found.push(filter);
            }
        });
        if let Some(route) = remote_exact.find(entry.hash, |route| route.hash == entry.hash) {
            shards = shards.and(route.shards);
        }
        if *entry.wild != **found {
            entry.wild = found.as_slice().into();
        }
        entry.shards = shards;
        entry.version = *version;
    }

    // ---- filters of this shard ---------------------------------------------------------------------------

    /// The filter `text`, if it is known here or for another shard.
    pub fn find_filter(&self, text: &str) -> Option<FilterId> {
        if has_wildcard(text) {
            self.trie.find(text)
        } else {
            self.filters.find_exact(self.key.hash(text.as_bytes()), text.as_bytes())
        }
    }

    /// The filter `text` (checked before), made if it is new. Wildcard or exact; never the `$share` form.
    pub fn filter(&mut self, text: &str) -> FilterId {
        if has_wildcard(text) {
            if let Some(filter) = self.trie.find(text) {
                return filter;
            }
            let filter = self.filters.insert_wild();
            let node = self.trie.insert(text, filter);
            self.filters.get_mut(filter).place = Place::Wild { node };
            self.bump();
            filter
        } else {
            let hash = self.key.hash(text.as_bytes());
            if let Some(filter) = self.filters.find_exact(hash, text.as_bytes()) {
                return filter;
            }
            let filter = self.filters.insert_exact(hash, text);
            self.topics.subscribed(hash, text.as_bytes(), filter);
            filter
        }
    }

    /// Adds a subscriber to a filter; returns its position in the filter's list and whether it is the first
    /// wish of this shard for the filter.
    pub fn add(&mut self, filter: FilterId, subscriber: Subscriber) -> (u32, bool) {
        let entry = self.filters.get_mut(filter);
        let first = !entry.is_wanted_here();
        let position = entry.subscribers.push(subscriber) as u32;
        if first {
            self.interest_changed(filter);
        }
        (position, first)
    }

    /// Takes the subscriber at `position` out. The last one of the list takes its place and is returned, so
    /// that its session's record can be corrected.
    pub fn remove(&mut self, filter: FilterId, position: u32) -> Option<Subscriber> {
        let subscribers = &mut self.filters.get_mut(filter).subscribers;
        subscribers.swap_remove(position as usize);
        subscribers.get(position as usize).copied()
    }

    /// Those subscribed to a filter.
    #[inline]
    pub fn subscribers(&self, filter: FilterId) -> &[Subscriber] {
        &self.filters.get(filter).subscribers
    }

    /// Those subscribed to a filter, and whether shared groups are as well.
    #[inline]
    pub fn audience(&self, filter: FilterId) -> (&[Subscriber], bool) {
        let filter = self.filters.get(filter);
        (&filter.subscribers, !filter.groups().is_empty())
    }

    /// A subscriber's entry.
    pub fn subscriber_mut(&mut self, filter: FilterId, position: u32) -> &mut Subscriber {
        &mut self.filters.get_mut(filter).subscribers[position as usize]
    }

    /// The shared groups of a filter whose home is this shard.
    #[inline]
    pub fn groups(&self, filter: FilterId) -> &[u32] {
        self.filters.get(filter).groups()
    }

    /// Adds a shared group; whether it is the first wish of this shard for the filter.
    pub fn add_group(&mut self, filter: FilterId, group: u32) -> bool {
        let entry = self.filters.get_mut(filter);
        let first = !entry.is_wanted_here();
        entry.add_group(group);
        if first {
            self.interest_changed(filter);
        }
        first
    }

    /// Takes a shared group out.
    pub fn remove_group(&mut self, filter: FilterId, group: u32) {
        self.filters.get_mut(filter).remove_group(group);
    }

    /// Whether anybody on this shard wants a filter.
    pub fn is_wanted_here(&self, filter: FilterId) -> bool {
        self.filters.get(filter).is_wanted_here()
    }

    /// Whether other shards must be told that nobody here wants a filter any more: not while another exact
    /// filter of the same hash is wanted, since the hash is all they know.
    pub fn must_tell(&self, filter: FilterId) -> bool {
        let Some(hash) = self.exact_hash(filter) else { return true };
        !self.filters.any_exact(hash, |other| other != filter && self.filters.get(other).is_wanted_here())
    }

    /// Forgets a filter nobody wants any more; does nothing while somebody does.
    pub fn release(&mut self, filter: FilterId) {
        if self.is_wanted_here(filter) {
            return;
        }
        self.interest_changed(filter);
        if self.filters.get(filter).remote().is_empty() {
            let hash = match &self.filters.get(filter).place {
                Place::Exact(text) => {
                    let hash = self.key.hash(text);
                    self.topics.unsubscribed(hash, text);
                    Some(hash)
                }
                Place::Wild { node } => {
                    self.trie.remove(*node, filter);
                    None
                }
            };
            self.filters.remove(filter, hash);
        }
    }

    /// The text of a filter.
    pub fn text(&self, filter: FilterId) -> String {
        match &self.filters.get(filter).place {
            Place::Exact(text) => text.as_str().to_owned(),
            Place::Wild { node } => self.trie.text(*node, filter),
        }
    }

    /// Whether a filter has wildcards; if not, its route hash.
    pub fn exact_hash(&self, filter: FilterId) -> Option<u64> {
        match &self.filters.get(filter).place {
            Place::Exact(text) => Some(self.key.hash(text)),
            Place::Wild { .. } => None,
        }
    }

    fn interest_changed(&mut self, filter: FilterId) {
        if let Place::Wild { .. } = self.filters.get(filter).place {
            self.bump();
        }
    }

    fn bump(&mut self) {
        // 2^32 changes later a topic untouched since would be believed stale or fresh by chance: skip zero,
        // which no refreshed topic has, and forget the rest at the wrap.
        self.version = self.version.wrapping_add(1);
        if self.version == 0 {
            self.version = 1;
            self.topics.forget_matches();
        }
    }

    // ---- routes to other shards --------------------------------------------------------------------------

    /// Another shard wants the exact filter with this hash.
    pub fn add_exact_route(&mut self, hash: u64, shard: u16) {
        match self.remote_exact.find_mut(hash, |route| route.hash == hash) {
            Some(route) => route.shards = route.shards.and(ShardMask::one(shard)),
            None => {
                let route = RemoteExact { hash, shards: ShardMask::one(shard) };
                self.remote_exact.insert_unique(hash, route, |route| route.hash);
            }
        }
        self.topics.forget_match(hash);
    }

    /// Another shard no longer wants it.
    pub fn remove_exact_route(&mut self, hash: u64, shard: u16) {
        if let Ok(mut entry) = self.remote_exact.find_entry(hash, |route| route.hash == hash) {
            let route = entry.get_mut();
            route.shards = route.shards.without(shard);
            if route.shards.is_empty() {
                entry.remove();
            }
        }
        self.topics.forget_match(hash);
    }

    /// Another shard wants the wildcard filter `text`.
    pub fn add_wild_route(&mut self, text: &str, shard: u16) {
        let filter = self.filter(text);
        let entry = self.filters.get_mut(filter);
        entry.set_remote(entry.remote().and(ShardMask::one(shard)));
        self.bump();
    }

    /// Another shard no longer wants it.
    pub fn remove_wild_route(&mut self, text: &str, shard: u16) {
        let Some(filter) = self.find_filter(text) else { return };
        let entry = self.filters.get_mut(filter);
        entry.set_remote(entry.remote().without(shard));
        self.bump();
        self.release(filter);
    }

    // ---- figures -----------------------------------------------------------------------------------------

    /// How many filters stand here, for this shard or another.
    pub fn filter_count(&self) -> usize {
        self.filters.len()
    }

    /// How many hashes of exact filters of other shards are known.
    pub fn exact_route_count(&self) -> usize {
        self.remote_exact.len()
    }

    /// How many topics are remembered.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many nodes the wildcard trie has, its root included.
    pub fn node_count(&self) -> usize {
        self.trie.len()
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("filters", &self.filter_count())
            .field("topics", &self.topic_count())
            .field("nodes", &self.node_count())
            .finish()
    }
}

/// Whether a filter (checked before) contains a wildcard.
pub fn has_wildcard(filter: &str) -> bool {
    filter.bytes().any(|byte| byte == b'+' || byte == b'#')
}

/// Subscription options as a subscriber entry carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options(u8);

impl Options {
    const NO_LOCAL: u8 = 4;
    const RETAIN_AS_PUBLISHED: u8 = 8;
    const HAS_IDENTIFIER: u8 = 16;

    /// The options of a SUBSCRIBE entry, with the QoS that was granted.
    pub fn new(granted: QoS, options: SubscribeOptions, has_identifier: bool) -> Self {
        let mut bits = granted as u8;
        if options.no_local {
            bits |= Self::NO_LOCAL;
        }
        if options.retain_as_published {
            bits |= Self::RETAIN_AS_PUBLISHED;
        }
        if has_identifier {
            bits |= Self::HAS_IDENTIFIER;
        }
        Self(bits)
    }

    /// The options as they are stored.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Stored options; `None` if they cannot be.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits & 3 == 3 || bits > 31 { None } else { Some(Self(bits)) }
    }

    /// The granted QoS.
    #[inline]
    pub fn qos(self) -> QoS {
        QoS::from_bits(self.0 & 3).expect("only a granted QoS is stored")
    }

    /// Own publishes are not delivered.
    #[inline]
    pub fn no_local(self) -> bool {
        self.0 & Self::NO_LOCAL != 0
    }

    /// The retain flag is passed on as published.
    #[inline]
    pub fn retain_as_published(self) -> bool {
        self.0 & Self::RETAIN_AS_PUBLISHED != 0
    }

    /// The session's record has a subscription identifier.
    #[inline]
    pub fn has_identifier(self) -> bool {
        self.0 & Self::HAS_IDENTIFIER != 0
    }

    /// The options of a delivery that two subscriptions of one session match: the higher QoS; the retain flag
    /// is kept if either asks for it.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let qos = (self.0 & 3).max(other.0 & 3);
        Self(qos | ((self.0 | other.0) & !3))
    }
}
