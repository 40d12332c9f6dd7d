//! The whole broker with its clients in one thread: over our TCP at both ends of a wire in memory, and over the kernel's
//! at both ends of its loopback. The shard, its settings, the clients and what they send are the same; processor time is
//! that of the process, so that what a message takes is counted at both ends, with the kernel's share of it.
//!
//! | file | what is there |
//! |---|---|
//! | `clients` | what clients send and how they check what they get |
//! | `ends` | their connections: our TCP, the kernel's |

pub mod clients;
pub mod ends;

use std::sync::Arc;
use std::time::Instant;

use pelton_base::{HashKey, Mono, Wall};
use pelton_broker::counters::Dropped;
use pelton_broker::{Settings, Setup};
use pelton_shard::{Shard, mesh};

use clients::{Case, Clients};
use ends::{Ends, Kernel, Ours, Writes};

/// Clients that connect at once: fewer than any queue of connections holds.
const CONNECTING: u32 = 64;
/// How long nothing may come back before something is taken to be lost.
const PATIENCE_NS: u64 = 60_000_000_000;

/// A shard, and its clients.
pub struct Whole<E: Ends> {
    shard: Shard<E::Streams>,
    ends: E,
    clients: Clients,
    writes: Writes,
    /// When the clock read zero. It stands still between runs.
    began: Instant,
    stopped: Instant,
}

/// What was counted from the start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Packets that the broker took.
    pub packets_in: u64,
    /// Publishes that it took.
    pub publishes_in: u64,
    /// Publishes that it sent.
    pub publishes_out: u64,
    /// Messages that it dropped.
    pub dropped: u64,
}

fn setup(count: u32) -> Setup {
    Setup {
        shard: 0,
        shards: 1,
        key: HashKey::new(1, 2),
        seed: 3,
        settings: Arc::new(Settings { connections_max: count + 1_000, ..Settings::default() }),
        mono: Mono::from_ms(1_000),
        wall: Wall(1_000_000),
    }
}

impl Whole<Ours> {
    /// Over our TCP.
    pub fn over_ours(count: u32) -> Self {
        let (transport, ends) = Ours::new(count, Mono::from_ms(1_000));
        Self::new(transport, ends, count)
    }
}

impl Whole<Kernel> {
    /// Over the kernel's. Takes two descriptors a client.
    pub fn over_kernel(count: u32) -> Self {
        let (transport, ends) = Kernel::new();
        Self::new(transport, ends, count)
    }

    /// The kernel's congestion control of these connections.
    pub fn congestion(&self) -> String {
        self.ends.congestion()
    }
}

impl<E: Ends> Whole<E> {
    /// So many clients, connected and subscribed.
    fn new(transport: E::Streams, ends: E, count: u32) -> Self {
        let (_, commands) = crossbeam_channel::bounded(1);
        let mesh = mesh(1).pop().expect("one mesh for one shard");
        let began = Instant::now();
        let mut whole = Self {
            shard: Shard::new(setup(count), transport, mesh, commands),
            ends,
            clients: Clients::new(count),
            writes: Writes::default(),
            began,
            stopped: began,
        };
        for first in (0..count).step_by(CONNECTING as usize) {
            for client in first..(first + CONNECTING).min(count) {
                let now = whole.now();
                whole.ends.open(client, now);
                whole.clients.connect(client, &mut whole.writes);
            }
            whole.settle();
        }
        whole.stopped = Instant::now();
        whole
    }

    fn now(&self) -> Mono {
        Mono(1_000_000_000 + self.began.elapsed().as_nanos() as u64)
    }

    /// What clients want to send leaves, the shard turns, and clients take what has come. When that was, and when the
    /// shard has something to do if nothing comes in before.
    fn turn(&mut self) -> (Mono, Mono) {
        self.writes.send(&mut self.ends);
        let now = self.now();
        let until = self.shard.turn(now, Wall(1_000_000)).until;
        let Self { ends, clients, writes, .. } = self;
        ends.take(now, |client, bytes| clients.see(client, bytes, writes));
        (now, until)
    }

    /// Turns until clients have all that they wait for.
    fn settle(&mut self) {
        let (mut left, mut since) = (u64::MAX, Mono::NEVER);
        while self.clients.outstanding() > 0 {
            let (now, _) = self.turn();
            if self.clients.outstanding() < left {
                (left, since) = (self.clients.outstanding(), now);
            }
            assert!(now.since(since) < PATIENCE_NS, "lost: {:?}", self.clients);
        }
    }

    /// Has so many messages sent and taken, `window` operations at a time. No time passes between runs: an
    /// acknowledgement that waits for company when one ends is not overdue when the next begins.
    pub fn run(&mut self, case: Case, messages: u64, window: u32) {
        self.began += self.stopped.elapsed();
        let mut left = messages / self.clients.fan_out(case);
        while left > 0 {
            let burst = left.min(u64::from(window)) as u32;
            self.clients.begin(case, burst, &mut self.writes);
            self.settle();
            left -= u64::from(burst);
        }
        // The last acknowledgements of clients are taken as well.
        loop {
            let (now, until) = self.turn();
            if until > now {
                break;
            }
        }
        self.stopped = Instant::now();
    }

    /// Messages that come of one operation.
    pub fn fan_out(&self, case: Case) -> u64 {
        self.clients.fan_out(case)
    }

    /// What was counted by the broker and its transport.
    pub fn counted(&self) -> Counted {
        let snapshot = self.shard.snapshot();
        let traffic = |name| snapshot.tally.traffic.iter().find(|&(at, _)| at == name).map_or(0, |(_, n)| n);
        let dropped = Dropped::ALL.iter().map(|&why| snapshot.tally.dropped.get(why)).sum();
        Counted {
            packets_in: traffic("packets_in"),
            publishes_in: traffic("publish_in"),
            publishes_out: traffic("publish_out"),
            dropped,
        }
    }

    /// Segments that either end sent again, as far as the transport says.
    pub fn sent_again(&self) -> u64 {
        let figures = self.shard.snapshot().transport;
        let of_shard = figures.iter().find(|&&(name, _)| name == "retransmissions").map_or(0, |&(_, n)| n);
        of_shard + self.ends.sent_again()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clients::PAYLOAD_BYTES;

    fn counts<E: Ends>(mut whole: Whole<E>, count: u64) {
        let start = whole.counted();
        assert_eq!(start.packets_in, count, "SUBSCRIBE: what comes after CONNECT is counted");
        whole.run(Case::Ping, 1_000, 64);
        assert_eq!(whole.counted(), Counted { packets_in: start.packets_in + 1_000, ..start });
        let start = whole.counted();
        whole.run(Case::Qos0, 1_000, 1);
        let expected = Counted {
            packets_in: start.packets_in + 1_000,
            publishes_in: start.publishes_in + 1_000,
            publishes_out: start.publishes_out + 1_000,
            ..start
        };
        assert_eq!(whole.counted(), expected);
        let start = whole.counted();
        whole.run(Case::Qos1, 1_000, 64);
        // Each is acknowledged by who gets it.
        let expected = Counted {
            packets_in: start.packets_in + 2_000,
            publishes_in: start.publishes_in + 1_000,
            publishes_out: start.publishes_out + 1_000,
            ..start
        };
        assert_eq!(whole.counted(), expected);
        let start = whole.counted();
        whole.run(Case::FanOut, 10_000, 64);
        let operations = 10_000 / whole.clients.fan_out(Case::FanOut);
        let expected = Counted {
            packets_in: start.packets_in + operations,
            publishes_in: start.publishes_in + operations,
            publishes_out: start.publishes_out + 10_000,
            ..start
        };
        assert_eq!(whole.counted(), expected);
        assert_eq!(expected.dropped, 0);
    }

    #[test]
    fn what_clients_count_is_what_the_broker_counts() {
        for count in [1, 100, 200] {
            counts(Whole::over_ours(count), count.into());
            counts(Whole::over_kernel(count), count.into());
        }
    }

    #[test]
    fn nothing_is_overdue_after_a_pause() {
        let mut whole = Whole::over_ours(100);
        whole.run(Case::Ping, 1_000, 64);
        std::thread::sleep(std::time::Duration::from_millis(400));
        whole.run(Case::Ping, 1_000, 64);
        assert_eq!(whole.sent_again(), 0);
    }

    #[test]
    #[should_panic(expected = "the payload of message 1")]
    fn a_payload_that_is_another_is_seen() {
        let (mut clients, mut writes) = (Clients::new(1), Writes::default());
        clients.begin(Case::Qos0, 2, &mut writes);
        let mut packets = writes.bytes().to_vec();
        let last = packets.len() - PAYLOAD_BYTES + 20;
        packets[last] ^= 1;
        clients.see(0, &packets, &mut writes);
    }

    #[test]
    #[should_panic(expected = "the payload of message 0")]
    fn a_message_that_is_missing_is_seen() {
        let (mut clients, mut writes) = (Clients::new(1), Writes::default());
        clients.begin(Case::Qos0, 2, &mut writes);
        let packets = writes.bytes().to_vec();
        clients.see(0, &packets[packets.len() / 2..], &mut writes);
    }
}
