//! What stacks, ports and links of a run counted, added up.

use std::collections::BTreeMap;
use std::fmt;

/// What is kept of all that is counted, and how it is called in a summary.
const KEPT: [(&str, &str); 31] = [
    ("segments_out", "segments"),
    ("retransmissions", "retransmissions"),
    ("time_outs", "time-outs"),
    ("fast_recoveries", "fast recoveries"),
    ("tail_probes", "tail probes"),
    ("window_probes", "window probes"),
    ("out_of_order", "out of order"),
    ("fault_lost", "lost"),
    ("fault_lost_in_burst", "lost in bursts"),
    ("fault_doubled", "doubled"),
    ("fault_reordered", "reordered"),
    ("fault_damaged", "damaged"),
    ("fault_too_long", "cut off by the MTU"),
    ("black_holes", "black holes"),
    ("ports_without_frames", "ports without frames"),
    ("full_rings", "full rings"),
    ("stood_still", "jumps of the clock"),
    ("no_frame", "sends without a frame"),
    ("port_full", "sends into a full ring"),
    ("connected", "connections by our TCP"),
    ("of_another_tcp", "by another"),
    ("cookies_accepted", "by a cookie"),
    ("resets_out", "resets"),
    ("challenges", "challenges"),
    ("relayed_out", "frames relayed between shards"),
    ("cold_exhausted", "without recovery state"),
    ("bytes_retransmitted", "bytes sent again"),
    ("bytes_out", "bytes sent"),
    ("bytes_compared", "bytes compared"),
    ("keep_alives", "keep-alives"),
    ("linger_expired", "lingered in vain"),
];

/// The tally of a run, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpTally(BTreeMap<&'static str, u64>);

impl TcpTally {
    /// Adds what somebody counted.
    pub(crate) fn take(&mut self, figures: &[(&'static str, u64)]) {
        for &(name, n) in figures {
            if KEPT.iter().any(|&(kept, _)| kept == name) {
                *self.0.entry(name).or_default() += n;
            }
        }
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Self) {
        for (name, n) in &other.0 {
            *self.0.entry(name).or_default() += n;
        }
    }

    /// How often something was counted.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The averages over so many runs.
    pub const fn average(&self, runs: u64) -> Average<'_> {
        Average(self, runs)
    }
}

/// The averages of a tally, to be shown.
#[derive(Debug)]
pub struct Average<'a>(&'a TcpTally, u64);

impl fmt::Display for Average<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, words)) in KEPT.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let n = self.0.get(name) as f64 / self.1.max(1) as f64;
            let digits = usize::from(n < 100.0);
            write!(f, "{comma}{n:.digits$} {words}")?;
        }
        Ok(())
    }
}
