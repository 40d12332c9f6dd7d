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

    /// What this clock is behind the system's monotonic one, nanoseconds.
    pub fn behind_system_ns(&self) -> u64 {
        let system = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now_ns = system.tv_sec as u64 * 1_000_000_000 + system.tv_nsec as u64;
        now_ns.wrapping_sub(self.mono().0)
    }

    /// Milliseconds since the Unix epoch.
    #[inline]
    pub fn wall(&self) -> Wall {
        Wall(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
    }
}
