//! What a shard's thread needs of its transport: the kernel's sockets alone, or several transports as one. Which it is
//! is chosen when the shards start, so that those who serve no interface past the kernel pay nothing for the choice.

use std::io;

use pelton_base::{ByteStreams, Mono, Wait};
use pelton_sockets::wake::Sleeper;
use pelton_sockets::{Listeners, Sockets};

/// A transport that a thread can drive.
pub(crate) trait Driven: ByteStreams + Wait + Sized {
    /// What it is made from, in the thread that drives it.
    type Parts: Send + 'static;

    /// Makes it.
    fn make(parts: Self::Parts, seed: u64, now: Mono) -> io::Result<Self>;

    /// Says whether the thread sleeps.
    fn sleeper(&self) -> &Sleeper;

    /// Whether the last wait brought anything.
    fn has_events(&self) -> bool;
}

impl Driven for Sockets {
    type Parts = (Listeners, Sleeper);

    fn make((listeners, sleeper): Self::Parts, _seed: u64, _now: Mono) -> io::Result<Self> {
        Self::new(listeners, sleeper)
    }

    fn sleeper(&self) -> &Sleeper {
        self.sleeper()
    }

    fn has_events(&self) -> bool {
        self.has_events()
    }
}
