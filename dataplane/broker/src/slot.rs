//! Where clients and retained topics live: 1,024 slots by keyed hash, dealt over the shards.
//!
//! The hash does not depend on the number of shards, so that what is stored by slot is found by any number
//! of cores; only the deal does.

use pelton_base::HashKey;

/// How many slots there are, for good: stored data is keyed by slot.
pub const SLOTS: u16 = 1024;

/// A slot of the keyed hash space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u16);

impl Slot {
    /// The slot of a client id or a topic.
    pub fn of(key: HashKey, name: &[u8]) -> Self {
        Self::of_hash(key.hash(name))
    }

    /// The slot of what has this hash.
    pub const fn of_hash(hash: u64) -> Self {
        Self((hash >> 32) as u16 % SLOTS)
    }

    /// The shard that owns the slot when there are `shards` shards.
    pub const fn shard(self, shards: u16) -> u16 {
        self.0 % shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_dealt_evenly() {
        let key = HashKey::new(7, 8);
        let mut per_shard = [0u32; 3];
        for n in 0..30_000 {
            per_shard[usize::from(Slot::of(key, format!("client-{n}").as_bytes()).shard(3))] += 1;
        }
        assert!(per_shard.iter().all(|&n| n > 9_000), "{per_shard:?}");
    }
}
