//! From a tuple's hash to what knows the connection: open addressing over 8-byte slots, with linear probing and
//! backward-shift removal, so that a look-up touches one cache line nearly always. The table has a fixed size, a
//! power of two at least twice the number of entries that can exist.

use pelton_base::mem::prefetch;

/// What a slot of the table points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A connection.
    Tcb(u32),
    /// A half-open connection.
    HalfOpen(u32),
    /// A connection in TIME-WAIT.
    TimeWait(u32),
    /// A connection that went to another shard.
    Moved(u32),
}

const INDEX_BITS: u32 = 29;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;

impl Entry {
    /// Never zero: that is an empty slot.
    const fn encode(self) -> u32 {
        match self {
            Self::Tcb(index) => 1 << INDEX_BITS | index,
            Self::HalfOpen(index) => 2 << INDEX_BITS | index,
            Self::TimeWait(index) => 3 << INDEX_BITS | index,
            Self::Moved(index) => 4 << INDEX_BITS | index,
        }
    }

    const fn decode(word: u32) -> Self {
        let index = word & INDEX_MASK;
        match word >> INDEX_BITS {
            1 => Self::Tcb(index),
            2 => Self::HalfOpen(index),
            3 => Self::TimeWait(index),
            _ => Self::Moved(index),
        }
    }
}

/// The table. A slot is the low half of the hash (where it belongs, and its tag) and the entry.
pub(crate) struct Demux {
    slots: Vec<u64>,
    mask: usize,
    used: usize,
}

impl Demux {
    /// A table for up to `entries` entries. Its memory is not touched before it is used.
    pub(crate) fn new(entries: usize) -> Self {
        assert!(entries < INDEX_MASK as usize, "an index fits its bits");
        let len = (entries * 2).next_power_of_two().max(16);
        Self { slots: vec![0; len], mask: len - 1, used: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.used
    }

    /// Asks for the slot where a look-up begins.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u32) {
        prefetch(&self.slots[hash as usize & self.mask]);
    }

    /// The first entry under this hash, not compared: the likely one, to prefetch what it points to.
    #[inline]
    pub(crate) fn candidate(&self, hash: u32) -> Option<Entry> {
        let slot = self.slots[hash as usize & self.mask];
        ((slot >> 32) as u32 == hash && slot as u32 != 0).then(|| Entry::decode(slot as u32))
    }

    /// The entry under this hash that is the one looked for.
    #[inline]
    pub(crate) fn find(&self, hash: u32, mut is: impl FnMut(Entry) -> bool) -> Option<Entry> {
        let mut at = hash as usize & self.mask;
        loop {
            let slot = self.slots[at];
            if slot as u32 == 0 {
                return None;
            }
            if (slot >> 32) as u32 == hash {
                let entry = Entry::decode(slot as u32);
                if is(entry) {
                    return Some(entry);
                }
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Adds an entry.
    ///
    /// # Panics
    /// If the table is full, which its size excludes.
    pub(crate) fn insert(&mut self, hash: u32, entry: Entry) {
        assert!(self.used < self.mask, "a table at most half full");
        let mut at = hash as usize & self.mask;
        while self.slots[at] as u32 != 0 {
            at = (at + 1) & self.mask;
        }
        self.slots[at] = u64::from(hash) << 32 | u64::from(entry.encode());
        self.used += 1;
    }

    fn position(&self, hash: u32, entry: Entry) -> Option<usize> {
        let want = u64::from(hash) << 32 | u64::from(entry.encode());
        let mut at = hash as usize & self.mask;
        while self.slots[at] as u32 != 0 {
            if self.slots[at] == want {
                return Some(at);
            }
            at = (at + 1) & self.mask;
        }
        None
    }

    /// Points an entry's slot to another.
    pub(crate) fn replace(&mut self, hash: u32, old: Entry, new: Entry) {
        let at = self.position(hash, old);
        debug_assert!(at.is_some(), "{old:?} is in the table");
        if let Some(at) = at {
            self.slots[at] = u64::from(hash) << 32 | u64::from(new.encode());
        }
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, hash: u32, entry: Entry) {
        let hole = self.position(hash, entry);
        debug_assert!(hole.is_some(), "{entry:?} is in the table");
        let Some(mut hole) = hole else { return };
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask;
            let slot = self.slots[at];
            if slot as u32 == 0 {
                break;
            }
            let home = (slot >> 32) as usize & self.mask;
            // It may move to the hole unless its home lies cyclically behind the hole.
            if (at.wrapping_sub(home) & self.mask) >= (at.wrapping_sub(hole) & self.mask) {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = 0;
        self.used -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Against a map, in a table so small and with hashes so alike that everything collides.
        #[test]
        fn agrees_with_a_map(steps in proptest::collection::vec((0..3u8, 0..40u32, 0..24u32), 0..300)) {
            let mut table = Demux::new(40);
            let mut model: BTreeMap<u32, (u32, Entry)> = BTreeMap::new();
            for (step, index, hash) in steps {
                // Hashes at the end of the table wrap around it.
                let hash = if hash > 12 { u32::MAX - hash % 8 } else { hash };
                match (step, model.get(&index).copied()) {
                    (0, None) => {
                        table.insert(hash, Entry::Tcb(index));
                        model.insert(index, (hash, Entry::Tcb(index)));
                    }
                    (1, Some((hash, entry))) => {
                        table.remove(hash, entry);
                        model.remove(&index);
                    }
                    (2, Some((hash, entry))) => {
                        let new = match entry { Entry::Tcb(_) => Entry::TimeWait(index), _ => Entry::Tcb(index) };
                        table.replace(hash, entry, new);
                        model.insert(index, (hash, new));
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), model.len());
                for &(hash, entry) in model.values() {
                    prop_assert_eq!(table.find(hash, |found| found == entry), Some(entry));
                }
                for hash in (0..13).chain(u32::MAX - 7..=u32::MAX) {
                    let mut found = 0;
                    table.find(hash, |_| { found += 1; false });
                    prop_assert_eq!(found, model.values().filter(|(h, _)| *h == hash).count());
                }
            }
        }
    }
}
