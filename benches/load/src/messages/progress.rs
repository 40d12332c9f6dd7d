//! The progress line.

use super::Counts;
use crate::options::Options;

/// A line a second on runs that take long.
pub(crate) struct Progress {
    on: bool,
    begin_ns: u64,
    next_ns: u64,
    received: u64,
}

impl Progress {
    pub(crate) fn new(options: &Options, now_ns: u64) -> Self {
        let on = !options.quiet && options.warmup + options.duration >= 5.0;
        Self { on, begin_ns: now_ns, next_ns: now_ns + 1_000_000_000, received: 0 }
    }

    pub(crate) fn show(&mut self, now_ns: u64, counts: &Counts, published: u64) {
        if !self.on || now_ns < self.next_ns {
            return;
        }
        let seconds = (now_ns - self.next_ns) as f64 / 1e9 + 1.0;
        eprintln!(
            "{:4} s  {published} published, {} received, {:.0}/s; {} duplicated, {} out of order",
            (now_ns - self.begin_ns) / 1_000_000_000,
            counts.received,
            (counts.received - self.received) as f64 / seconds,
            counts.duplicated,
            counts.out_of_order
        );
        self.received = counts.received;
        self.next_ns = now_ns + 1_000_000_000;
    }
}
