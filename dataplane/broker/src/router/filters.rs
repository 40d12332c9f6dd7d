//! The table of filters: who subscribed to each on this shard, and which other shards have it. Filters without
//! wildcards are found here by their text, those with wildcards in the trie.

use hashbrown::HashTable;
use pelton_base::{Chunks, Few, HashKey, Text};

use super::{Options, ShardMask};

/// A filter's place in the table. Valid until the filter is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilterId(pub u32);

/// One subscription as its filter knows it. Eight bytes: lists of a million are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Index of the session.
    pub session: u32,
    /// Position in the session's list of subscriptions.
    pub slot: u16,
    /// What was asked for.
    pub options: Options,
}

const _: () = assert!(size_of::<Subscriber>() == 8);

/// Where a filter's text stands.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Exact(Text),
    Wild { node: u32 },
}

pub(super) struct Filter {
    pub(super) place: Place,
    pub(super) subscribers: Few<Subscriber>,
    /// What few filters have.
    more: Option<Box<More>>,
}

/// A million filters of a device each are what takes the memory.
const _: () = assert!(size_of::<Option<Filter>>() == 48);

#[derive(Default)]
struct More {
    /// Other shards that have it, if it has wildcards.
    remote: ShardMask,
    /// Shared groups at home on this shard; boxed, since fewer still have any.
    #[expect(clippy::box_collection, reason = "16 bytes in every wildcard filter of another shard")]
    groups: Option<Box<Vec<u32>>>,
}

impl Filter {
    /// Whether anybody on this shard wants the filter.
    #[inline]
    pub(super) fn is_wanted_here(&self) -> bool {
        !self.subscribers.is_empty() || !self.groups().is_empty()
    }

    #[inline]
    pub(super) fn groups(&self) -> &[u32] {
        match &self.more {
            None => &[],
            Some(more) => more.groups.as_ref().map_or(&[], |groups| groups),
        }
    }

    pub(super) fn add_group(&mut self, group: u32) {
        self.more.get_or_insert_default().groups.get_or_insert_default().push(group);
    }

    pub(super) fn remove_group(&mut self, group: u32) {
        let Some(groups) = self.more.as_mut().and_then(|more| more.groups.as_mut()) else { return };
        groups.retain(|&other| other != group);
        if groups.is_empty() {
            self.change(|more| more.groups = None);
        }
    }

    #[inline]
    pub(super) fn remote(&self) -> ShardMask {
        self.more.as_ref().map_or(ShardMask::NONE, |more| more.remote)
    }

    pub(super) fn set_remote(&mut self, remote: ShardMask) {
        self.change(|more| more.remote = remote);
    }

    fn change(&mut self, change: impl FnOnce(&mut More)) {
        let mut more = self.more.take().unwrap_or_default();
        change(&mut more);
        self.more = (!more.remote.is_empty() || more.groups.is_some()).then_some(more);
    }
}

pub(super) struct Filters {
    key: HashKey,
    filters: Chunks<Option<Filter>>,
    free: Vec<u32>,
    exact: HashTable<u32>,
}

impl Filters {
    /// An empty table. Texts are hashed under `key`.
    pub(super) fn new(key: HashKey) -> Self {
        Self { key, filters: Chunks::new(), free: Vec::new(), exact: HashTable::new() }
    }

    /// The filter without wildcards that is `name`, which has this hash.
    pub(super) fn find_exact(&self, hash: u64, name: &[u8]) -> Option<FilterId> {
        let found = self.exact.find(hash, |&index| self.exact_text(index) == Some(name));
        found.map(|&index| FilterId(index))
    }

    /// Whether `holds` for a filter without wildcards that has this hash.
    pub(super) fn any_exact(&self, hash: u64, mut holds: impl FnMut(FilterId) -> bool) -> bool {
        let has_hash = |index| self.exact_text(index).is_some_and(|text| self.key.hash(text) == hash);
        self.exact.find(hash, |&index| has_hash(index) && holds(FilterId(index))).is_some()
    }

    /// A filter without wildcards that is not in the table, with its text's hash.
    pub(super) fn insert_exact(&mut self, hash: u64, text: &str) -> FilterId {
        let filter = self.insert(Place::Exact(text.into()));
        let (filters, key) = (&self.filters, self.key);
        self.exact.insert_unique(hash, filter.0, |&index| match &filters[index] {
            Some(Filter { place: Place::Exact(text), .. }) => key.hash(text),
            _ => 0,
        });
        filter
    }

    /// A filter with wildcards, which has yet to be given its place.
    pub(super) fn insert_wild(&mut self) -> FilterId {
        self.insert(Place::Wild { node: 0 })
    }

    fn insert(&mut self, place: Place) -> FilterId {
        let filter = Some(Filter { place, subscribers: Few::None, more: None });
        let index = match self.free.pop() {
            Some(index) => {
                self.filters[index] = filter;
                index
            }
            None => {
                self.filters.push(filter);
                (self.filters.len() - 1) as u32
            }
        };
        FilterId(index)
    }

    /// Takes a filter out; `exact_hash` is the hash of its text if it has no wildcards.
    pub(super) fn remove(&mut self, filter: FilterId, exact_hash: Option<u64>) {
        let gone = self.filters[filter.0].take();
        debug_assert!(gone.as_ref().is_some_and(|gone| !gone.is_wanted_here() && gone.remote().is_empty()));
        if let Some(hash) = exact_hash
            && let Ok(entry) = self.exact.find_entry(hash, |&index| index == filter.0)
        {
            entry.remove();
        }
        self.free.push(filter.0);
    }

    #[inline]
    pub(super) fn get(&self, filter: FilterId) -> &Filter {
        self.filters[filter.0].as_ref().expect("a filter is used until it is released")
    }

    #[inline]
    pub(super) fn get_mut(&mut self, filter: FilterId) -> &mut Filter {
        self.filters[filter.0].as_mut().expect("a filter is used until it is released")
    }

    pub(super) fn len(&self) -> usize {
        self.filters.len() - self.free.len()
    }

    fn exact_text(&self, index: u32) -> Option<&[u8]> {
        match &self.filters.get(index)?.as_ref()?.place {
            Place::Exact(text) => Some(text),
            Place::Wild { .. } => None,
        }
    }
}
