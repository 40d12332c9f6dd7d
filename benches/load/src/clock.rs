//! The clock of a run: nanoseconds since its start.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now_ns(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

pub(crate) fn ns(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}
