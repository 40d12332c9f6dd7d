//! Topics seen before, with what they lead to: a bounded memory, of which those not used since the hand last
//! came by are forgotten first. Topics that somebody subscribes to literally have room of their own, so that
//! topics nobody wants do not push them out.

use hashbrown::HashTable;
use pelton_base::Chunks;

use super::ShardMask;
use super::filters::FilterId;

/// A topic's place in the table. Valid until the router changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicId(u32);

impl TopicId {
    /// No topic.
    pub const NONE: Self = Self(u32::MAX);
}

/// Holds a topic that found no room, until the next one.
const SCRATCH: TopicId = TopicId(0);
/// How far the hand moves for one new topic before it gives up.
const SWEEP: usize = 16;
/// How many more topics that somebody subscribes to literally are remembered than others.
const SUBSCRIBED_SHARE: usize = 4;

pub(super) struct Topic {
    pub(super) name: Box<[u8]>,
    pub(super) hash: u64,
    /// Wildcard filters of this shard that match, as of `version`.
    pub(super) wild: Box<[FilterId]>,
    /// Other shards that have a filter that matches, as of `version`.
    pub(super) shards: ShardMask,
    pub(super) version: u32,
    pub(super) exact: Option<FilterId>,
    /// Looked up since the hand came by.
    pub(super) used: bool,
    taken: bool,
}

impl Default for Topic {
    /// A place that is free.
    fn default() -> Self {
        Self {
            name: Box::default(),
            hash: 0,
            wild: Box::default(),
            shards: ShardMask::NONE,
            version: 0,
            exact: None,
            used: false,
            taken: false,
        }
    }
}

pub(super) struct Topics {
    topics: Chunks<Topic>,
    by_name: HashTable<u32>,
    free: Vec<u32>,
    /// Those that nobody subscribes to literally.
    others: Share,
    subscribed: Share,
    hand: u32,
}

/// How many topics of one sort there are, and may be.
struct Share {
    count: usize,
    max: usize,
}

impl Topics {
    /// An empty memory for `max` topics that nobody subscribes to literally.
    pub(super) fn new(max: usize) -> Self {
        let mut topics = Chunks::new();
        topics.push(Topic::default());
        Self {
            topics,
            by_name: HashTable::new(),
            free: Vec::new(),
            others: Share { count: 0, max },
            subscribed: Share { count: 0, max: max * SUBSCRIBED_SHARE },
            hand: 0,
        }
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, name: &[u8]) -> Option<TopicId> {
        self.by_name
            .find(hash, |&index| {
                let topic = &self.topics[index];
                topic.hash == hash && *topic.name == *name
            })
            .map(|&index| TopicId(index))
    }

    /// Whether `topic`, found some time ago, is still in the table under this name. The scratch place is not.
    #[inline]
    pub(super) fn is(&self, topic: TopicId, name: &[u8]) -> bool {
        self.topics.get(topic.0).is_some_and(|entry| entry.taken && *entry.name == *name)
    }

    /// A topic that is not in the table: remembered, or in the scratch place if there is no room. `exact` is
    /// the filter that is equal to it.
    pub(super) fn remember(&mut self, hash: u64, name: &[u8], exact: Option<FilterId>) -> TopicId {
        let share = self.share(exact.is_some());
        if share.count >= share.max && !self.forget_one(exact.is_some()) {
            let scratch = &mut self.topics[SCRATCH.0];
            if *scratch.name != *name {
                scratch.name = name.into();
                scratch.hash = hash;
            }
            scratch.exact = exact;
            scratch.version = 0;
            return SCRATCH;
        }
        self.share(exact.is_some()).count += 1;
        self.insert(hash, name, exact)
    }

    /// An exact filter has come: its topic knows it, if it is remembered.
    pub(super) fn subscribed(&mut self, hash: u64, name: &[u8], filter: FilterId) {
        if let Some(topic) = self.find(hash, name) {
            debug_assert!(self.get(topic).exact.is_none());
            self.get_mut(topic).exact = Some(filter);
            self.others.count -= 1;
            self.subscribed.count += 1;
        }
    }

    /// An exact filter has gone: the topic goes too (it is found anew when it is used).
    pub(super) fn unsubscribed(&mut self, hash: u64, name: &[u8]) {
        if let Some(topic) = self.find(hash, name) {
            self.remove(topic);
        }
    }

    fn share(&mut self, subscribed: bool) -> &mut Share {
        if subscribed { &mut self.subscribed } else { &mut self.others }
    }

    #[inline]
    pub(super) fn get(&self, topic: TopicId) -> &Topic {
        &self.topics[topic.0]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, topic: TopicId) -> &mut Topic {
        &mut self.topics[topic.0]
    }

    /// The routes of the topics with this hash have changed.
    pub(super) fn forget_match(&mut self, hash: u64) {
        let topics = &mut self.topics;
        for &index in self.by_name.iter_hash(hash) {
            let topic = &mut topics[index];
            if topic.hash == hash {
                topic.version = 0;
            }
        }
    }

    pub(super) fn forget_matches(&mut self) {
        for topic in self.topics.iter_mut() {
            topic.version = 0;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    fn insert(&mut self, hash: u64, name: &[u8], exact: Option<FilterId>) -> TopicId {
        let topic = Topic { name: name.into(), hash, exact, used: true, taken: true, ..Topic::default() };
        let index = match self.free.pop() {
            Some(index) => {
                self.topics[index] = topic;
                index
            }
            None => {
                self.topics.push(topic);
                (self.topics.len() - 1) as u32
            }
        };
        let topics = &self.topics;
        self.by_name.insert_unique(hash, index, |&index| topics[index].hash);
        TopicId(index)
    }

    fn remove(&mut self, topic: TopicId) {
        let hash = self.get(topic).hash;
        if let Ok(entry) = self.by_name.find_entry(hash, |&index| index == topic.0) {
            entry.remove();
        }
        let place = &mut self.topics[topic.0];
        let subscribed = place.exact.is_some();
        *place = Topic::default();
        self.share(subscribed).count -= 1;
        self.free.push(topic.0);
    }

    fn forget_one(&mut self, subscribed: bool) -> bool {
        for _ in 0..SWEEP {
            self.hand = if self.hand + 1 < self.topics.len() as u32 { self.hand + 1 } else { 1 };
            let Some(topic) = self.topics.get_mut(self.hand) else { return false };
            if !topic.taken || topic.exact.is_some() != subscribed {
                continue;
            }
            if topic.used {
                topic.used = false;
                continue;
            }
            self.remove(TopicId(self.hand));
            return true;
        }
        false
    }
}
