//! What the stack costs: `cargo run --profile bench -p pelton-tcp --example cost -- [case connections rounds]`.
//!
//! Without arguments every case is timed at 1,000, 10,000 and 100,000 connections. With arguments one case is run,
//! for an instruction count under `valgrind --tool=callgrind` with two numbers of rounds; the difference is the cost
//! of the operations. `memory` prints the bytes that an idle connection takes, as the slope of resident memory.
//!
//! The port has its frames ready: what is timed is the stack, its demultiplexing included, and not a device.

use std::hint::black_box;
use std::net::SocketAddr;

use pelton_base::{ByteStreams, Mono, Outgoing, Rng, StreamEvent};
use pelton_packet::parse::TCP;
use pelton_packet::ready::Ready;
use pelton_packet::{Interface, Link, MacAddress, Parsed, Port, headers, parse};
use pelton_tcp::segment::{Flags, Options, Segment};
use pelton_tcp::{Seq, Settings, Tcp};

const US: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const THEM: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const PINGREQ: [u8; 2] = [0xc0, 0];
const PINGRESP: [u8; 2] = [0xd0, 0];
/// Segments in one turn.
const BURST: usize = 64;

/// A peer: what it has sent and got.
#[derive(Clone, Copy)]
struct Peer {
    seq: Seq,
    ack: Seq,
}

struct Bench {
    tcp: Tcp<Ready>,
    out: Outgoing,
    peers: Vec<Peer>,
    now: Mono,
    rng: Rng,
    data: u64,
}

fn address(peer: usize) -> SocketAddr {
    // Six thousand ports of each address.
    let (host, port) = (peer / 6_000, 10_000 + peer % 6_000);
    ([10, 1, (host >> 8) as u8, host as u8], port as u16).into()
}

impl Bench {
    fn new(connections: usize) -> Self {
        let interface = Interface { mac: US, addresses: vec![[10, 0, 0, 1].into()] };
        let mut port = Ready::new(1_024);
        port.keep = true;
        let settings = Settings { connections_max: connections as u32 + 1, ..Settings::default() };
        let now = Mono::from_ms(1_000);
        let mut bench = Self {
            tcp: Tcp::new(port, interface, &[1883], settings, 1, now),
            out: Outgoing::new(1 << 20),
            peers: Vec::with_capacity(connections),
            now,
            rng: Rng::with_seed(5),
            data: 0,
        };
        for peer in 0..connections {
            bench.open(peer);
        }
        bench.tcp.port().keep = false;
        bench
    }

    /// A frame from a peer; its data is `data`.
    fn put(&mut self, peer: usize, flags: Flags, data: &[u8]) {
        let state = self.peers[peer];
        self.put_raw(peer, flags, state.seq, state.ack, Options::default(), data);
    }

    fn put_raw(&mut self, peer: usize, flags: Flags, seq: Seq, ack: Seq, options: Options, data: &[u8]) {
        let (from, to) = (address(peer), SocketAddr::from(([10, 0, 0, 1], 1883)));
        let segment = Segment {
            source: from.port(),
            destination: to.port(),
            seq,
            ack,
            flags,
            window: 65_535,
            options,
            header: 0,
            len: data.len() as u16,
        };
        let link = Link { source: THEM, destination: US, vlan: None };
        let mut frame = self.tcp.port().take().expect("a frame");
        let (start, header) = (headers::bytes(link, from.ip()), segment.header_bytes());
        frame.set_range(0, start + header + data.len());
        headers::write(&mut frame, link, from.ip(), to.ip(), TCP, 0, header + data.len());
        frame[start + header..].copy_from_slice(data);
        segment.write(from.ip(), to.ip(), &mut frame[start..]);
        self.tcp.port().input.push(frame);
    }

    fn open(&mut self, peer: usize) {
        let options = Options { mss: Some(1_460), ..Options::default() };
        let isn = Seq(self.rng.u64() as u32);
        self.peers.push(Peer { seq: isn + 1, ack: Seq(0) });
        self.put_raw(peer, Flags::SYN, isn, Seq(0), options, &[]);
        self.turn();
        let last = self.tcp.port().output.pop().expect("a SYN-ACK");
        let Ok(Parsed::Ip(datagram)) = parse(&last) else { panic!("a SYN-ACK") };
        let answer = Segment::parse(datagram.source, datagram.destination, datagram.payload(&last))
            .expect("a SYN-ACK");
        self.peers[peer].ack = answer.seq + 1;
        self.put(peer, Flags::ACK, &[]);
        self.turn();
        self.tcp.port().output.clear();
    }

    /// What a shard does in a turn, with a broker that answers pings.
    #[inline(never)]
    fn turn(&mut self) {
        self.now = self.now + 20_000;
        self.tcp.poll(self.now);
        while let Some(event) = self.tcp.next() {
            match event {
                StreamEvent::Opened { stream, .. } => {
                    let index = stream.0 as u32;
                    self.out.open(index);
                    self.tcp.bind(stream, stream.0);
                }
                StreamEvent::Data { token, chunk } => {
                    self.data += chunk.len() as u64;
                    self.tcp.consumed(pelton_base::StreamId(token), chunk.len());
                    if chunk[..] == PINGREQ {
                        self.out.append(token as u32, |bytes| bytes.extend_from_slice(&PINGRESP));
                        self.transmit(token);
                    }
                    self.tcp.recycle(chunk);
                }
                StreamEvent::Writable { token } => self.transmit(token),
                StreamEvent::Closed { token, why } => panic!("{token}: {why:?}"),
            }
        }
        self.tcp.end_turn();
    }

    fn transmit(&mut self, token: u64) {
        let (queue, logs) = self.out.queue(token as u32);
        black_box(self.tcp.transmit(pelton_base::StreamId(token), queue, logs));
        self.out.settle(token as u32);
    }

    fn some_peers(&mut self) -> Vec<usize> {
        let count = self.peers.len() as u64;
        (0..BURST).map(|_| self.rng.below(count) as usize).collect()
    }
}

/// Puts in a burst of PINGREQ.
fn pings(bench: &mut Bench, peers: &[usize]) {
    for &peer in peers {
        bench.put(peer, Flags::ACK.and(Flags::PSH), &PINGREQ);
        bench.peers[peer].seq += 2;
    }
}

/// Puts in the acknowledgements of the PINGRESP.
fn acks(bench: &mut Bench, peers: &[usize]) {
    for &peer in peers {
        bench.peers[peer].ack += 2;
        bench.put(peer, Flags::ACK, &[]);
    }
}

/// Prepares a burst, whose handling is then measured (`measured`), and does what must come before and after.
fn round(bench: &mut Bench, case: &str, mut measured: impl FnMut(&mut Bench)) {
    let peers = bench.some_peers();
    match case {
        "ping" => {
            pings(bench, &peers);
            measured(bench);
            acks(bench, &peers);
            bench.turn();
            bench.turn();
            return;
        }
        // The turn that takes what is acknowledged off the queue is a part of it.
        "ack" => {
            pings(bench, &peers);
            bench.turn();
            acks(bench, &peers);
            measured(bench);
            measured(bench);
            return;
        }
        _ => {}
    }
    for peer in peers {
        match case {
            // An acknowledgement that brings nothing new: header, table, connection, windows.
            "idle" => bench.put(peer, Flags::ACK, &[]),
            // 64 bytes that nobody answers but the stack.
            "data" => {
                bench.put(peer, Flags::ACK.and(Flags::PSH), &[b'x'; 64]);
                bench.peers[peer].seq += 64;
            }
            "syn" => {
                let n = bench.rng.below(1 << 20) as usize + 2_000_000;
                let options = Options { mss: Some(1_460), timestamps: Some((1, 0)), ..Options::default() };
                let isn = Seq(bench.rng.u64() as u32);
                bench.put_raw(n, Flags::SYN, isn, Seq(0), options, &[]);
            }
            other => panic!("no case {other}"),
        }
    }
    measured(bench);
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn time(case: &str, connections: usize) -> f64 {
    let mut bench = Bench::new(connections);
    let mut best = f64::MAX;
    // The best of many: the machine has other things to do.
    for _ in 0..20 {
        let mut spent = 0.0;
        let rounds = 100;
        for _ in 0..rounds {
            round(&mut bench, case, |bench| {
                let before = std::time::Instant::now();
                bench.turn();
                spent += before.elapsed().as_secs_f64();
            });
        }
        best = best.min(spent / (rounds * BURST) as f64);
    }
    best * 1e9
}

#[expect(clippy::disallowed_methods, reason = "it reads what the system says of memory")]
fn resident() -> usize {
    let text = std::fs::read("/proc/self/statm").unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4_096
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["memory"] => {
            let mut bench = Bench::new(0);
            let settings = Settings { connections_max: 400_001, ..Settings::default() };
            let mut port = Ready::new(1_024);
            port.keep = true;
            let interface = Interface { mac: US, addresses: vec![[10, 0, 0, 1].into()] };
            bench.tcp = Tcp::new(port, interface, &[1883], settings, 1, bench.now);
            bench.peers = vec![Peer { seq: Seq(1), ack: Seq(1) }; 400_000];
            bench.peers.clear();
            let mut last = 0;
            for step in 0..4 {
                let before = resident();
                for peer in step * 100_000..(step + 1) * 100_000 {
                    bench.open(peer);
                }
                last = (resident() - before) / 100_000;
                println!("{} connections: {last} bytes each for the last 100,000", (step + 1) * 100_000);
            }
            println!("{last}");
        }
        [case, connections, rounds] => {
            let mut bench = Bench::new(connections.parse().unwrap_or(1_000));
            for _ in 0..rounds.parse().unwrap_or(1) {
                round(&mut bench, case, Bench::turn);
            }
        }
        _ => {
            for case in ["idle", "ack", "ping", "data", "syn"] {
                for connections in [1_000, 10_000, 100_000] {
                    println!("{case:>5} {connections:>8} connections {:>8.1} ns", time(case, connections));
                }
            }
        }
    }
}
