//! The clocks of a process: one origin for all its shards.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pelton_base::{Mono, Wall};

/// Monotonic and wall time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Nanoseconds since the start, plus one second: zero never occurs.
    #[inline]
    pub fn mono(&self) -> Mono {
        Mono(self.origin.elapsed().as_nanos() as u64 + 1_000_000_000)
    }

    /// Milliseconds since the Unix epoch.
    #[inline]
    pub fn wall(&self) -> Wall {
        Wall(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
    }
}
