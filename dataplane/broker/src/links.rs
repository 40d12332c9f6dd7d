//! The connections of a shard, each in a cache line of its own. A table like [`pelton_base::Slots`], with the generation
//! inside the record, where it fits a gap.

use pelton_base::{Chunks, Key, Outgoing};

use crate::link::{Link, State};

/// Connections by key.
#[derive(Default)]
pub(crate) struct Links {
    links: Chunks<Link>,
    free: Vec<u32>,
}

impl Links {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.links.len() - self.free.len()
    }

    /// Asks for the connection under `key`, which will be wanted soon.
    #[inline]
    pub(crate) fn prefetch(&self, key: Key) {
        self.links.prefetch(key.index);
    }

    /// Puts a new connection in.
    pub(crate) fn insert(&mut self) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.links.len() as u32;
            self.links.grow_to(index);
            index
        });
        let place = &mut self.links[index];
        let generation = place.generation.wrapping_add(1);
        debug_assert_eq!(generation & 1, 1);
        place.generation = generation;
        Key { index, generation }
    }

    /// Takes a connection out; its key is stale from here on.
    pub(crate) fn remove(&mut self, key: Key, out: &mut Outgoing) {
        if let Some(place) = self.get_mut(key) {
            place.enter(State::Ending, key, out);
            let generation = place.generation.wrapping_add(1);
            *place = Link::default();
            place.generation = generation;
            self.free.push(key.index);
        }
    }

    /// The connection under `key`, if it is still the one the key was made for.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&Link> {
        self.links.get(key.index).filter(|link| link.generation == key.generation && key.generation & 1 == 1)
    }

    /// As [`Links::get`], mutable.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Link> {
        let live = |link: &&mut Link| link.generation == key.generation && key.generation & 1 == 1;
        self.links.get_mut(key.index).filter(live)
    }

    /// The full key of an index in use.
    pub(crate) fn key_at(&self, index: u32) -> Option<Key> {
        let generation = self.links.get(index)?.generation;
        (generation & 1 == 1).then_some(Key { index, generation })
    }

    /// The keys of all connections, in index order, for callers that change the table as they go.
    pub(crate) fn keys(&self) -> Vec<Key> {
        (0..self.links.len() as u32).filter_map(|index| self.key_at(index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let (mut links, mut out) = (Links::default(), Outgoing::default());
        (0..2).for_each(|index| out.open(index));
        let first = links.insert();
        let other = links.insert();
        links.remove(first, &mut out);
        links.remove(first, &mut out);
        assert_eq!((links.len(), links.keys()), (1, vec![other]));
        assert!(links.get(first).is_none() && links.key_at(first.index).is_none());
        let free = Key { generation: first.generation + 1, ..first };
        assert!(links.get(free).is_none() && links.get_mut(free).is_none(), "a free place has no key");
        let second = links.insert();
        assert_eq!(second.index, first.index, "the place is used again");
        assert!(links.get_mut(first).is_none() && links.get_mut(second).is_some());
        assert!(links.get(Key::NONE).is_none());
        assert_eq!(links.keys(), [second, other]);
    }
}
