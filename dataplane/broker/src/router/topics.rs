//! Topics seen before, with what they lead to. A topic that somebody subscribes to literally is pinned; the
//! others are a bounded memory, of which those not used since the hand last came by are forgotten first.

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
    unpinned: usize,
    unpinned_max: usize,
    hand: u32,
}

impl Topics {
    pub(super) fn new(unpinned_max: usize) -> Self {
        let mut topics = Chunks::new();
        topics.push(Topic::default());
        Self { topics, by_name: HashTable::new(), free: Vec::new(), unpinned: 0, unpinned_max, hand: 0 }
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

    /// A topic that is not in the table: remembered, or in the scratch place if there is no room.
    pub(super) fn remember(&mut self, hash: u64, name: &[u8]) -> TopicId {
        if self.unpinned >= self.unpinned_max && !self.forget_one() {
            let scratch = &mut self.topics[SCRATCH.0];
            if *scratch.name != *name {
                scratch.name = name.into();
                scratch.hash = hash;
            }
            scratch.version = 0;
            return SCRATCH;
        }
        self.unpinned += 1;
        self.insert(hash, name)
    }

    /// The topic for an exact filter: stays until [`Topics::unpin`].
    pub(super) fn pin(&mut self, hash: u64, name: &[u8]) -> TopicId {
        match self.find(hash, name) {
            Some(topic) => {
                debug_assert!(self.get(topic).exact.is_none());
                self.unpinned -= 1;
                topic
            }
            None => self.insert(hash, name),
        }
    }

    /// The exact filter is gone: the topic goes too (its memory of wildcards is rebuilt when it is used).
    pub(super) fn unpin(&mut self, topic: TopicId) {
        self.remove(topic);
    }

    #[inline]
    pub(super) fn get(&self, topic: TopicId) -> &Topic {
        &self.topics[topic.0]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, topic: TopicId) -> &mut Topic {
        &mut self.topics[topic.0]
    }

    pub(super) fn any_with_hash(&self, hash: u64, mut holds: impl FnMut(&Topic) -> bool) -> bool {
        self.by_name
            .find(hash, |&index| {
                let topic = &self.topics[index];
                topic.hash == hash && holds(topic)
            })
            .is_some()
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

    fn insert(&mut self, hash: u64, name: &[u8]) -> TopicId {
        let topic = Topic { name: name.into(), hash, used: true, taken: true, ..Topic::default() };
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
        self.topics[topic.0] = Topic::default();
        self.free.push(topic.0);
    }

    fn forget_one(&mut self) -> bool {
        for _ in 0..SWEEP {
            self.hand = if self.hand + 1 < self.topics.len() as u32 { self.hand + 1 } else { 1 };
            let Some(topic) = self.topics.get_mut(self.hand) else { return false };
            if !topic.taken || topic.exact.is_some() {
                continue;
            }
            if topic.used {
                topic.used = false;
                continue;
            }
            self.remove(TopicId(self.hand));
            self.unpinned -= 1;
            return true;
        }
        false
    }
}
