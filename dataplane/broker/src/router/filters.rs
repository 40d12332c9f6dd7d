//! The table of filters: who subscribed to each on this shard, and which other shards have it.

use pelton_base::Chunks;
use smallvec::SmallVec;

use super::topics::TopicId;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Exact { topic: TopicId },
    Wild { node: u32 },
}

pub(super) struct Filter {
    pub(super) place: Place,
    pub(super) remote: ShardMask,
    pub(super) subscribers: SmallVec<[Subscriber; 2]>,
    /// Shared groups at home on this shard; boxed, since few filters have any.
    #[expect(clippy::box_collection, reason = "eight bytes in every filter for what few have")]
    groups: Option<Box<Vec<u32>>>,
}

impl Filter {
    /// Whether anybody on this shard wants the filter.
    #[inline]
    pub(super) fn is_wanted_here(&self) -> bool {
        !self.subscribers.is_empty() || self.groups.is_some()
    }

    #[inline]
    pub(super) fn groups(&self) -> &[u32] {
        self.groups.as_ref().map_or(&[], |groups| groups)
    }

    pub(super) fn add_group(&mut self, group: u32) {
        self.groups.get_or_insert_default().push(group);
    }

    pub(super) fn remove_group(&mut self, group: u32) {
        if let Some(groups) = &mut self.groups {
            groups.retain(|&other| other != group);
            if groups.is_empty() {
                self.groups = None;
            }
        }
    }
}

#[derive(Default)]
pub(super) struct Filters {
    filters: Chunks<Option<Filter>>,
    free: Vec<u32>,
}

impl Filters {
    pub(super) fn insert(&mut self, place: Place) -> FilterId {
        let filter = Filter { place, remote: ShardMask::NONE, subscribers: SmallVec::new(), groups: None };
        if let Some(index) = self.free.pop() {
            self.filters[index] = Some(filter);
            return FilterId(index);
        }
        self.filters.push(Some(filter));
        FilterId((self.filters.len() - 1) as u32)
    }

    pub(super) fn remove(&mut self, filter: FilterId) {
        let gone = self.filters[filter.0].take();
        debug_assert!(gone.is_some_and(|gone| !gone.is_wanted_here() && gone.remote.is_empty()));
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
}
