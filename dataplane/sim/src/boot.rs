//! A shard that starts: what was found in the store is loaded step by step, as `pelton-runtime` does it, until
//! every shard has its own and knows of the others'. No client is heard before.

use crossbeam_channel::{Receiver, TryRecvError};
use pelton_base::{Mono, Rng, Wall};
use pelton_broker::router::ShardMask;
use pelton_shard::{Shard, StoragePort};
use pelton_storage_ops::Loaded;

use crate::transport::Transport;

/// How far a shard is with its loading.
#[derive(Debug)]
pub(crate) struct Boot {
    found: Receiver<Loaded>,
    /// Nothing more is loaded here.
    ended: bool,
    /// The others know all that was loaded here.
    pub(crate) is_loaded: bool,
}

impl Boot {
    /// A shard begins to load what comes by its port.
    pub(crate) fn begin(shard: &mut Shard<Transport>, port: StoragePort) -> Self {
        let found = port.loaded.clone();
        shard.attach(port);
        Self { found, ended: false, is_loaded: false }
    }

    /// Loads some, and takes in what storage and the other shards say meanwhile. Returns the shards to wake.
    pub(crate) fn step(
        &mut self,
        shard: &mut Shard<Transport>,
        rng: &mut Rng,
        mono: Mono,
        wall: Wall,
    ) -> ShardMask {
        let mut woken = shard.load_turn(mono, wall);
        let mut some = rng.between(1, 8);
        while !self.ended && some != 0 && shard.takes_load() {
            some -= 1;
            match self.found.try_recv() {
                Ok(loaded) => {
                    shard.load(loaded).expect("what was stored is loaded");
                    if shard.broker().is_congested() {
                        woken = woken.and(shard.load_turn(mono, wall));
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    shard.end_load();
                    self.ended = true;
                }
            }
        }
        woken = woken.and(shard.load_turn(mono, wall));
        self.is_loaded |= self.ended && shard.is_loaded();
        woken
    }
}
