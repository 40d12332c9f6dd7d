//! How a store is run.

use std::sync::Arc;

use pelton_base::HashKey;

/// What a completion promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Survives the end of the process and loss of power.
    #[default]
    Commit,
    /// Survives the end of the process; loss of power may undo the last transactions, and never corrupts.
    Relaxed,
    /// Survives nothing: the store begins empty every time. Queues still go to disk instead of memory.
    Memory,
}

/// Wakes a shard: called after something was put into its port's channels. It must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// How a store is run.
#[derive(Clone)]
pub struct Options {
    /// What a completion promises.
    pub policy: Policy,
    /// One waker for each shard.
    pub wakers: Vec<Wake>,
    /// The key of a store that is made anew; one that exists keeps its own (see [`crate::Engine::key`]).
    pub key: HashKey,
    /// Address space mapped at first. It costs nothing until it is used.
    pub map_bytes: u64,
    /// The largest the store may get; the map doubles up to this. A sixteenth of it, 16 MiB at most, is used
    /// on top for removals alone, as long as the disk has it.
    pub map_bytes_max: u64,
    /// Threads that read pages.
    pub readers: u16,
    /// Batches of a shard that may wait for the writer.
    pub batches_max: usize,
    /// Pages that may wait for a shard, and requests for them, per shard.
    pub pages_max: usize,
}

impl Options {
    /// The defaults, for shards with these wakers. `key` should be random.
    pub fn new(key: HashKey, wakers: Vec<Wake>) -> Self {
        Self {
            policy: Policy::Commit,
            wakers,
            key,
            map_bytes: 64 << 30,
            map_bytes_max: 1 << 40,
            readers: 1,
            batches_max: 64,
            pages_max: 1024,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("policy", &self.policy)
            .field("shards", &self.wakers.len())
            .field("map_bytes", &self.map_bytes)
            .field("map_bytes_max", &self.map_bytes_max)
            .finish_non_exhaustive()
    }
}
