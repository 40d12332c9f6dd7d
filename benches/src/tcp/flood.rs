//! A flood of SYNs while clients ping: how long an answer takes then, and without.
//!
//! Frames arrive at the times of a schedule; a turn takes what has arrived and lasts as long as the thread's clock says it
//! computed. So a machine that has other things to do changes neither side.

use std::time::Duration;

use pelton_mqtt::PINGREQ;
use pelton_tcp::segment::Flags;
use rustix::time::{ClockId, clock_gettime};

use super::{BURST, Bench, PINGRESP};

/// What arrives in a second.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// SYNs, each from somewhere else.
    pub syns: u64,
    /// PINGREQ, each of some client.
    pub pings: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// From arrival to the end of the turn that answered, sorted, in nanoseconds.
    pub latencies: Vec<u64>,
    /// SYN-ACKs.
    pub answers: u64,
    /// How much of the time the shard computed.
    pub busy: f64,
}

impl Outcome {
    /// The latency that a part of all is below.
    pub fn quantile(&self, part: f64) -> u64 {
        self.latencies[((self.latencies.len() - 1) as f64 * part) as usize]
    }
}

fn computed() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What asking takes by itself.
fn asking() -> u64 {
    let ask = || {
        let before = computed();
        (computed() - before).as_nanos() as u64
    };
    (0..1_000).map(|_| ask()).min().unwrap_or(0)
}

impl Bench {
    /// A load for so long.
    ///
    /// # Panics
    /// If a ping has no answer.
    pub fn under(&mut self, load: Load, seconds: f64) -> Outcome {
        let end = (seconds * 1e9) as u64;
        let every = |rate: u64| 1_000_000_000u64.checked_div(rate).unwrap_or(u64::MAX);
        let (every_syn, every_ping) = (every(load.syns), every(load.pings));
        let (mut next_syn, mut next_ping, mut at) = (every_syn, every_ping, 0);
        let (mut outcome, mut busy) = (Outcome::default(), 0);
        let asking = asking();
        let mut arrived: Vec<(u32, u64)> = Vec::new();
        while at < end {
            at = at.max(next_syn.min(next_ping));
            arrived.clear();
            let mut syns = 0;
            while arrived.len() + syns < BURST && next_syn.min(next_ping) <= at {
                if next_syn < next_ping {
                    self.strangers = 8_000_000 + (self.strangers + 1) % 80_000_000;
                    self.put_syn(self.strangers, syns as u32);
                    (next_syn, syns) = (next_syn + every_syn, syns + 1);
                } else {
                    let peer = self.rng.below(u64::from(self.hot)) as u32;
                    // One that has no answer yet sends nothing more.
                    if arrived.iter().all(|&(other, _)| other != peer) {
                        self.put(peer, Flags::ACK.and(Flags::PSH), &PINGREQ);
                        arrived.push((peer, next_ping));
                    }
                    next_ping += every_ping;
                }
            }
            let (before, sent) = (computed(), self.sent());
            self.turn();
            let took = ((computed() - before).as_nanos() as u64).saturating_sub(asking).max(1);
            let answers = self.sent() - sent;
            assert!(answers >= arrived.len() as u64, "an answer for each");
            outcome.answers += answers - arrived.len() as u64;
            (at, busy) = (at + took, busy + took);
            for &(peer, since) in &arrived {
                outcome.latencies.push(at - since);
                self.acknowledge(peer, PINGRESP);
            }
            // Acknowledgements are a part of neither.
            if !arrived.is_empty() {
                self.turn();
                self.turn();
            }
        }
        outcome.latencies.sort_unstable();
        outcome.busy = busy as f64 / at as f64;
        outcome
    }
}
