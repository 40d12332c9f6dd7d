//! A dense table of values under generation-checked keys: a key that outlived its value finds nothing, never
//! somebody else's value.

use crate::chunks::Chunks;

/// Names a value in a [`Slots`] table: an index, and the generation the index had when the value went in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Position in the table; dense, reused.
    pub index: u32,
    /// Odd while the slot is taken; a stale key has an older one.
    pub generation: u32,
}

impl Key {
    /// A key no table gives out.
    pub const NONE: Self = Self { index: u32::MAX, generation: 0 };

    /// Whether this is [`Key::NONE`].
    pub const fn is_none(self) -> bool {
        self.index == u32::MAX
    }

    /// The key as one word, for places that carry an opaque token.
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The inverse of [`Key::to_u64`].
    pub const fn from_u64(word: u64) -> Self {
        Self { index: word as u32, generation: (word >> 32) as u32 }
    }
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slot<T> {
    /// Never taken.
    fn default() -> Self {
        Self { generation: 0, value: None }
    }
}

/// A table that gives each value a [`Key`]. Insert, look-up and removal are O(1); memory is reused, last
/// freed first, so that a table with churn stays warm.
pub struct Slots<T> {
    slots: Chunks<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slots<T> {
    /// An empty table.
    pub const fn new() -> Self {
        Self { slots: Chunks::new(), free: Vec::new() }
    }

    /// How many values are in the table.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Asks for what `key` names, which will be wanted soon.
    #[inline]
    pub fn prefetch(&self, key: Key) {
        self.slots.prefetch(key.index);
    }

    /// Whether the table holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of indices ever in use at once: an upper bound for every [`Key::index`].
    pub fn capacity_used(&self) -> usize {
        self.slots.len()
    }

    /// The key the next [`Slots::insert`] will return.
    pub fn next_key(&self) -> Key {
        match self.free.last() {
            Some(&index) => Key { index, generation: self.slots[index].generation.wrapping_add(1) },
            None => Key { index: self.slots.len() as u32, generation: 1 },
        }
    }

    /// Puts a value in.
    ///
    /// # Panics
    /// At 2^32 - 1 values: callers bound their tables far below.
    pub fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index];
            slot.generation = slot.generation.wrapping_add(1);
            slot.value = Some(value);
            return Key { index, generation: slot.generation };
        }
        let index = u32::try_from(self.slots.len()).expect("a table below 2^32 values");
        assert!(index != u32::MAX, "a table below 2^32 - 1 values");
        self.slots.push(Slot { generation: 1, value: Some(value) });
        Key { index, generation: 1 }
    }

    /// The value under `key`, if it is still the one the key was made for.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.index) {
            Some(slot) if slot.generation == key.generation => slot.value.as_ref(),
            _ => None,
        }
    }

    /// As [`Slots::get`], mutable.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.index) {
            Some(slot) if slot.generation == key.generation => slot.value.as_mut(),
            _ => None,
        }
    }

    /// The value at an index that is known to be taken (an index kept by a structure that is updated when
    /// the value goes).
    #[inline]
    pub fn at(&self, index: u32) -> Option<&T> {
        self.slots.get(index).and_then(|slot| slot.value.as_ref())
    }

    /// As [`Slots::at`], mutable.
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index).and_then(|slot| slot.value.as_mut())
    }

    /// The full key of an index in use.
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let slot = self.slots.get(index)?;
        slot.value.as_ref()?;
        Some(Key { index, generation: slot.generation })
    }

    /// Takes the value out; its key is stale from here on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// All values with their keys, in index order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let value = slot.value.as_ref()?;
            Some((Key { index: index as u32, generation: slot.generation }, value))
        })
    }

    /// The keys of all values, in index order, for callers that change the table as they go.
    pub fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

impl<T> std::fmt::Debug for Slots<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slots").field("len", &self.len()).field("capacity_used", &self.slots.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slots = Slots::new();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!(second.index, first.index, "the index is reused");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn the_next_key_is_foretold() {
        let mut slots = Slots::new();
        for round in 0..10 {
            let foretold = slots.next_key();
            let key = slots.insert(round);
            assert_eq!(foretold, key);
            if round % 3 == 0 {
                slots.remove(key);
            }
        }
    }

    proptest! {
        /// Any sequence of insertions and removals agrees with an ordered map.
        #[test]
        fn agrees_with_a_map(steps in proptest::collection::vec((any::<bool>(), any::<u16>()), 0..400)) {
            let mut slots = Slots::new();
            let mut model = BTreeMap::new();
            let mut keys = Vec::new();
            for (insert, n) in steps {
                if insert || keys.is_empty() {
                    let key = slots.insert(n);
                    prop_assert!(model.insert(key, n).is_none());
                    keys.push(key);
                } else {
                    let key = keys[n as usize % keys.len()];
                    prop_assert_eq!(slots.remove(key), model.remove(&key));
                }
                prop_assert_eq!(slots.len(), model.len());
            }
            for key in keys {
                prop_assert_eq!(slots.get(key), model.get(&key));
            }
        }
    }
}
