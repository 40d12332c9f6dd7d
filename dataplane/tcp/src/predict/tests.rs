//! Two stacks, one of which takes every segment the long way: the same frames go in, and everything is the same.

use super::*;
use crate::segment::{Options, SackBlocks, Segment};
use crate::seq::Seq;
use crate::settings::Settings;
use pelton_base::{ByteStreams, Ending, Mono, Outgoing, Rng, StreamEvent, StreamId};
use pelton_packet::memory::{MemoryPort, MemorySettings, pair};
use pelton_packet::parse::TCP;
use pelton_packet::{Interface, Link, MacAddress, Parsed, headers, parse};

const US: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const PEERS: usize = 3;

/// What a peer knows.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    seq: Seq,
    ack: Seq,
    stamp: u32,
    /// What was acknowledged last, to do it again.
    acked: Seq,
}

struct Side {
    tcp: Tcp<MemoryPort>,
    wire: MemoryPort,
    out: Outgoing,
    streams: Vec<Option<StreamId>>,
    log: Vec<String>,
}

impl Side {
    fn new(seed: u64, settings: &Settings, long_way: bool) -> Self {
        let (port, wire) = pair(MemorySettings { frames: 64, ..MemorySettings::default() });
        let interface = Interface { mac: US, addresses: vec![[10, 0, 0, 1].into()] };
        let mut tcp = Tcp::new(port, interface, &[1883], settings.clone(), seed, Mono(0));
        tcp.long_way = long_way;
        let mut out = Outgoing::new(1 << 20);
        (0..64).for_each(|index| out.open(index));
        Self { tcp, wire, out, streams: Vec::new(), log: Vec::new() }
    }

    fn transmit(&mut self, token: usize) {
        if let Some(stream) = self.streams[token] {
            let (queue, logs) = self.out.queue(token as u32);
            self.log.push(format!("{:?}", self.tcp.transmit(stream, queue, logs)));
            self.out.settle(token as u32);
        }
    }

    fn turn(&mut self, now: Mono, mut rng: Rng) {
        self.tcp.poll(now);
        while let Some(event) = self.tcp.next() {
            match event {
                StreamEvent::Opened { stream, .. } => {
                    self.tcp.bind(stream, self.streams.len() as u64);
                    self.streams.push(Some(stream));
                }
                StreamEvent::Data { token, chunk } => {
                    self.log.push(format!("{token} {:?}", &chunk[..]));
                    if let Some(stream) = self.streams[token as usize] {
                        self.tcp.consumed(stream, chunk.len());
                    }
                    self.tcp.recycle(chunk);
                }
                StreamEvent::Writable { token } => self.transmit(token as usize),
                StreamEvent::Closed { token, why } => {
                    self.log.push(format!("{token} {why:?}"));
                    self.streams[token as usize] = None;
                    self.out.discard(token as u32);
                }
            }
        }
        for token in 0..self.streams.len() {
            let Some(stream) = self.streams[token] else { continue };
            match rng.below(12) {
                0..3 => {
                    let len = [2, 100, 4_000][rng.below(3) as usize];
                    self.out.append(token as u32, |bytes| bytes.resize(bytes.len() + len, 9));
                    self.transmit(token);
                }
                3 if rng.below(20) == 0 => self.tcp.close(stream, Ending::Graceful),
                _ => {}
            }
        }
        self.tcp.end_turn();
    }

    /// All that can be seen from outside, and the blocks.
    fn state(&mut self) -> (Vec<Vec<u8>>, Vec<String>, Vec<String>) {
        let frames = std::iter::from_fn(|| self.wire.extract()).collect();
        let blocks = (0..self.tcp.tcbs.len() as u32).map(|index| format!("{:?}", self.tcp.tcbs[index]));
        let usage = format!("{:?} {:?} {:?}", self.tcp.usage(), self.tcp.counters, self.tcp.drops);
        (frames, std::mem::take(&mut self.log), blocks.chain([usage]).collect())
    }
}

fn segment(rng: &mut Rng, seen: &mut Seen, peer: u16, stamps: bool, now: Mono) -> Vec<u8> {
    let opening = seen.ack == Seq(0);
    let flags = match rng.below(30) {
        _ if opening && rng.below(8) == 0 => Flags::SYN.and(Flags(rng.u64() as u8)),
        _ if opening => Flags::SYN,
        0 => Flags::ACK.and(Flags::FIN),
        1 => Flags::RST.and(Flags::ACK),
        2 => Flags::SYN,
        3 => Flags::ACK.and(Flags(0x20)),
        _ => Flags::ACK.and(Flags::PSH),
    };
    let stamp = (now.as_ms() as u32 + 7).wrapping_sub(if rng.below(20) == 0 { 500 } else { 0 });
    let stamped = if rng.below(30) == 0 { !stamps } else { stamps };
    let mut sack = SackBlocks::default();
    if rng.below(20) == 0 {
        sack.push(seen.seq.back(10), seen.seq);
    }
    let syn = flags.has(Flags::SYN);
    let options = Options {
        mss: (syn && rng.below(8) != 0).then(|| [1_460, 536, 9_000, 10][rng.below(4) as usize]),
        window_scale: (syn && rng.below(2) == 0).then(|| rng.below(15) as u8),
        sack_permitted: syn && peer != 1,
        timestamps: stamped.then_some((stamp, seen.stamp)),
        sack,
    };
    let near = |rng: &mut Rng, seq: Seq, far: u64| match rng.below(12) {
        0 => seq + rng.below(far) as u32,
        1 => seq.back(rng.below(far) as u32),
        _ => seq,
    };
    let ack = if rng.below(4) == 0 { seen.acked } else { near(rng, seen.seq, 4_000) };
    seen.acked = ack;
    let segment = Segment {
        source: 2_000 + peer,
        destination: 1883,
        seq: near(rng, seen.ack, 70_000),
        ack,
        flags,
        window: [65_535, 65_535, 5_000, 0][rng.below(4) as usize],
        options,
        header: 0,
        len: if flags.has(Flags::SYN) { 0 } else { [0, 0, 2, 1_000][rng.below(4) as usize] },
    };
    let from_mac = MacAddress([2, 0, 0, 0, 0, if rng.below(20) == 0 { 3 } else { 2 }]);
    let link = Link { source: from_mac, destination: US, vlan: None };
    let (from, to) = ([10, 0, 0, 2].into(), [10, 0, 0, 1].into());
    let mut bytes = vec![0; headers::bytes(link, from)];
    let start = bytes.len();
    let whole = segment.header_bytes() + usize::from(segment.len);
    headers::write(&mut bytes, link, from, to, TCP, 0, whole);
    bytes.resize(start + whole, 7);
    segment.write(from, to, &mut bytes[start..]);
    bytes
}

/// Returns the segments that came in order, and the SYNs that a cookie was the answer to.
fn case(seed: u64) -> (u64, u64) {
    let mut rng = Rng::with_seed(seed);
    let settings = Settings {
        connections_max: 8,
        half_open_max: [0, 1, 64][rng.below(3) as usize],
        window_scaling: rng.below(4) != 0,
        timestamps: rng.below(4) != 0,
        sack: rng.below(4) != 0,
        receive_window_bytes: [3_000, 65_535][rng.below(2) as usize],
        ..Settings::default()
    };
    let (mut quick, mut long) = (Side::new(seed, &settings, false), Side::new(seed, &settings, true));
    let mut seen = [Seen::default(); PEERS];
    let mut now = Mono::from_ms(1_000);
    for _ in 0..150 {
        for _ in 0..rng.below(4) {
            let peer = rng.below(PEERS as u64) as usize;
            let bytes = segment(&mut rng, &mut seen[peer], peer as u16, peer != 2, now);
            quick.wire.inject(&bytes);
            long.wire.inject(&bytes);
        }
        let doings = Rng::with_seed(rng.u64());
        quick.turn(now, doings.clone());
        long.turn(now, doings);
        let (was, other) = (quick.state(), long.state());
        assert_eq!(was, other, "seed {seed}");
        for frame in &was.0 {
            let Ok(Parsed::Ip(datagram)) = parse(frame) else { continue };
            let Ok(segment) = Segment::parse(datagram.source, datagram.destination, datagram.payload(frame))
            else {
                continue;
            };
            let seen = &mut seen[usize::from(segment.destination) - 2_000];
            if segment.flags.has(Flags::RST) {
                *seen = Seen::default();
                continue;
            }
            seen.seq = segment.seq + segment.sequence_len();
            seen.ack = segment.ack;
            seen.stamp = segment.options.timestamps.map_or(0, |(stamp, _)| stamp);
        }
        now = now + [0, 1_000, 1_000_000, 30_000_000, 400_000_000][rng.below(5) as usize];
    }
    assert_eq!((long.tcp.predicted, long.tcp.predicted_syns), (0, 0));
    (quick.tcp.predicted, quick.tcp.predicted_syns)
}

#[test]
fn the_short_way_does_what_the_long_way_does() {
    let (mut segments, mut syns) = (0, 0);
    for seed in 0..300 {
        let short = case(seed);
        (segments, syns) = (segments + short.0, syns + short.1);
    }
    assert!(segments > 3_000, "{segments} segments went the short way");
    assert!(syns > 500, "{syns} SYNs went the short way");
}
