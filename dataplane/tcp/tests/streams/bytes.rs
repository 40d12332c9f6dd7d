//! Frames of any bytes into a whole stack: every kind that is read has its turn, with bytes turned, put in, cut off, and
//! (mostly) checksums that are right again, so that what lies behind them is reached. Whatever comes: no panic, what goes
//! out is well formed, and no frame is left over.

use std::net::IpAddr;

use pelton_base::{ByteStreams, Ending, Mono, Rng, StreamEvent};
use pelton_packet::checksum::{Sum, pseudo_header};
use pelton_packet::memory::{MemoryPort, MemorySettings, pair};
use pelton_packet::parse::{ICMP, ICMPV6, TCP};
use pelton_packet::{Parsed, headers, parse};
use pelton_tcp::segment::{Flags, Options, SackBlocks, Segment};
use pelton_tcp::{Seq, Settings, Tcp, TcpCounter, TcpDrop};

use crate::host::{CLIENT_MAC, SERVER_MAC, client_address, interface, link, server_address};

/// Destination options of IPv6, which stand in front of TCP.
const DESTINATION_OPTIONS: u8 = 60;

fn segment(rng: &mut Rng) -> Segment {
    let mut sack = SackBlocks::default();
    for _ in 0..rng.below(3) {
        sack.push(Seq(rng.u64() as u32), Seq(rng.u64() as u32));
    }
    Segment {
        source: 2_000 + rng.below(4) as u16,
        destination: if rng.below(10) == 0 { 80 } else { 1883 },
        seq: Seq(rng.below(3) as u32),
        ack: Seq(rng.below(3) as u32),
        flags: [Flags::SYN, Flags::ACK, Flags(rng.u64() as u8)][rng.below(3) as usize],
        window: rng.u64() as u16,
        options: Options {
            mss: rng.chance(500).then(|| rng.u64() as u16),
            window_scale: rng.chance(300).then(|| rng.u64() as u8),
            sack_permitted: rng.chance(300),
            timestamps: (sack.as_slice().len() < 2).then(|| (rng.u64() as u32, 0)),
            sack: if rng.chance(200) { sack } else { SackBlocks::default() },
        },
        header: 0,
        len: if rng.chance(300) { rng.below(60) as u16 } else { 0 },
    }
}

/// A frame as it should be; where its IP header and the TCP or ICMP message start.
fn good(rng: &mut Rng, bytes: &mut Vec<u8>) -> Option<(usize, usize)> {
    let v6 = rng.below(3) == 0;
    let (from, to) = (client_address(v6, 2_000), server_address(v6));
    let mut link = link();
    link.vlan = rng.chance(200).then(|| rng.u64() as u16);
    let start = headers::bytes(link, from.ip());
    let ip = link.header_bytes();
    bytes.clear();
    bytes.resize(start, 0);
    match rng.below(8) {
        0 => {
            // Who has our address? RFC 826.
            bytes.truncate(12);
            bytes.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            bytes.extend_from_slice(&CLIENT_MAC.0);
            bytes.extend_from_slice(&[10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
            bytes[..6].fill(0xff);
            bytes[6..12].copy_from_slice(&CLIENT_MAC.0);
            return None;
        }
        kind @ 1..3 => {
            // A ping, a neighbour solicitation, or an error about a segment of ours.
            let message: &[u8] = match (v6, kind) {
                (false, 1) => &[8, 0, 0, 0, 0, 1, 0, 2, 9, 9, 9, 9],
                (true, 1) => &[
                    135, 0, 0, 0, 0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 0,
                    0, 0, 0, 2,
                ],
                (false, _) => &[3, 4, 0, 0, 0, 0, 2, 0],
                (true, _) => &[2, 0, 0, 0, 0, 0, 5, 0],
            };
            bytes.extend_from_slice(message);
            if kind == 2 {
                let quoted = bytes.len();
                bytes.resize(quoted + headers::ip_bytes(from.ip()) + 8, 0);
                let mut packet = vec![0; start];
                headers::write(&mut packet, link, to.ip(), from.ip(), TCP, 0, 20);
                bytes[quoted..quoted + start - ip].copy_from_slice(&packet[ip..]);
                let ports = [7, 91, 7, 208 + rng.below(4) as u8, 0, 0, 0, rng.below(3) as u8];
                bytes[quoted + start - ip..].copy_from_slice(&ports);
            }
            let len = bytes.len() - start;
            let protocol = if v6 { ICMPV6 } else { ICMP };
            headers::write(bytes, link, from.ip(), to.ip(), protocol, 0, len);
            if v6 && kind == 1 {
                // RFC 4861 7.1.1.
                bytes[ip + 7] = 255;
            }
        }
        kind => {
            let segment = segment(rng);
            let extra = if v6 && kind == 3 { 8 } else { 0 };
            let start = start + extra;
            bytes.resize(start + segment.header_bytes() + usize::from(segment.len), 7);
            let len = bytes.len() - start + extra;
            headers::write(bytes, link, from.ip(), to.ip(), TCP, 0, len);
            if extra != 0 {
                bytes[ip + 6] = DESTINATION_OPTIONS;
                bytes[start - 8..start].copy_from_slice(&[TCP, 0, 1, 4, 0, 0, 0, 0]);
            }
            segment.write(from.ip(), to.ip(), &mut bytes[start..]);
            return Some((ip, start));
        }
    }
    Some((ip, start))
}

fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let near = rng.below(80.min(bytes.len() as u64) + 1) as usize;
        match (rng.below(6), bytes.get_mut(near)) {
            (0, _) => bytes.truncate(at),
            (1, _) => bytes.insert(at, rng.u64() as u8),
            (2, Some(byte)) => *byte ^= 1 << rng.below(8),
            (3, Some(byte)) => *byte = byte.wrapping_add(1),
            (_, Some(byte)) => *byte = rng.u64() as u8,
            (_, None) => {}
        }
    }
}

/// Makes checksums right, as far as they are where they were.
fn repair(bytes: &mut [u8], (ip, start): (usize, usize)) {
    let Some(version) = bytes.get(ip).map(|byte| byte >> 4) else { return };
    let Some((below, message)) = bytes.split_at_mut_checked(start) else { return };
    let header = &mut below[ip..];
    let mut ends: Option<(IpAddr, IpAddr)> = None;
    if version == 4
        && let Some(header) = header.first_chunk_mut::<20>()
    {
        header[10..12].fill(0);
        let sum = Sum::ZERO.bytes(header).fold();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        let end = |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        ends = Some((end(12), end(16)));
        let total = usize::from(u16::from_be_bytes([header[2], header[3]])).saturating_sub(20);
        let len = total.min(message.len());
        mend(header[9], ends, &mut message[..len]);
    } else if let Some(header) = header.first_chunk::<40>() {
        let end = |at: usize| {
            let mut octets = [0; 16];
            octets.copy_from_slice(&header[at..at + 16]);
            IpAddr::from(octets)
        };
        ends = Some((end(8), end(24)));
        let next = if header[6] == DESTINATION_OPTIONS { TCP } else { header[6] };
        mend(next, ends, message);
    }
    let _ = ends;
}

fn mend(protocol: u8, ends: Option<(IpAddr, IpAddr)>, message: &mut [u8]) {
    let (at, pseudo) = match (protocol, ends) {
        (TCP, Some((from, to))) => (16, pseudo_header(from, to, TCP, message.len())),
        (ICMPV6, Some((from, to))) => (2, pseudo_header(from, to, ICMPV6, message.len())),
        (ICMP, _) => (2, Sum::ZERO),
        _ => return,
    };
    if message.len() >= at + 2 {
        message[at..at + 2].fill(0);
        let sum = pseudo.bytes(message).fold();
        message[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Takes what came out and looks whether it is well formed.
fn look(wire: &mut MemoryPort) -> u64 {
    let mut seen = 0;
    let sound = |frame: &[u8]| match parse(frame).unwrap_or_else(|why| panic!("{why:?}: {frame:02x?}")) {
        Parsed::Ip(datagram) if datagram.protocol == TCP => {
            Segment::parse(datagram.source, datagram.destination, datagram.payload(frame))
                .expect("what goes out is right");
        }
        _ => {}
    };
    while wire.look(sound).is_some() {
        seen += 1;
    }
    seen
}

fn turn(tcp: &mut Tcp<MemoryPort>, rng: &mut Rng, now: Mono) {
    tcp.poll(now);
    while let Some(event) = tcp.next() {
        match event {
            StreamEvent::Opened { stream, .. } => {
                tcp.bind(stream, 0);
                if rng.chance(500) {
                    tcp.close(stream, Ending::Abort);
                }
            }
            StreamEvent::Data { chunk, .. } => tcp.recycle(chunk),
            StreamEvent::Writable { .. } | StreamEvent::Closed { .. } => {}
        }
    }
    tcp.end_turn();
}

/// covers RFC 9293 3.9.2.3 MUST-57: nothing is said in the name of an address that is not ours.
#[test]
fn what_is_for_another_address_gets_no_answer() {
    let (port, mut wire) = pair(MemorySettings::default());
    let interface = interface(SERVER_MAC, &[server_address(false)]);
    let mut tcp = Tcp::new(port, interface, &[1883], Settings::default(), 1, Mono(0));
    let from = client_address(false, 2_000);
    let mut rng = Rng::with_seed(1);
    for (to, answers) in [([10, 0, 0, 1], 1), ([10, 0, 0, 3], 0), ([224, 0, 0, 1], 0), ([255; 4], 0)] {
        for flags in [Flags::SYN, Flags::ACK] {
            let segment = Segment { source: 2_000, destination: 80, flags, ..Segment::default() };
            let start = headers::bytes(link(), from.ip());
            let mut bytes = vec![0; start + segment.header_bytes()];
            headers::write(&mut bytes, link(), from.ip(), to.into(), TCP, 0, segment.header_bytes());
            segment.write(from.ip(), to.into(), &mut bytes[start..]);
            wire.inject(&bytes);
            turn(&mut tcp, &mut rng, Mono::from_ms(1));
            assert_eq!(look(&mut wire), answers, "{flags:?} to {to:?}");
        }
    }
    assert_eq!(tcp.drops().get(TcpDrop::NotForUs), 6);
}

#[test]
fn bytes_break_nothing() {
    // A longer run: PELTON_TCP_BYTES=10000000 cargo test --profile bench -p pelton-tcp --test streams bytes_break
    let frames = std::env::var("PELTON_TCP_BYTES").ok().and_then(|n| n.parse().ok()).unwrap_or(200_000);
    let mut rng = Rng::with_seed(1);
    let (port, mut wire) = pair(MemorySettings { frames: 256, ..MemorySettings::default() });
    let interface = interface(SERVER_MAC, &[server_address(false), server_address(true)]);
    let settings = Settings {
        connections_max: 8,
        half_open_max: 4,
        keep_alive_idle_ms: 1_000,
        user_timeout_ms: 2_000,
        ..Settings::default()
    };
    let mut tcp = Tcp::new(port, interface, &[1883], settings, 1, Mono(0));
    let (mut now, mut bytes, mut answers) = (Mono::from_ms(1_000), Vec::new(), 0);
    for n in 0..frames {
        let places = good(&mut rng, &mut bytes);
        damage(&mut rng, &mut bytes);
        if let Some(places) = places.filter(|_| rng.below(8) != 0) {
            repair(&mut bytes, places);
        }
        wire.inject(&bytes);
        if n % 16 == 0 {
            turn(&mut tcp, &mut rng, now);
            answers += look(&mut wire);
            now = now.plus_us(rng.below(100_000));
        }
    }
    for _ in 0..1_000 {
        turn(&mut tcp, &mut rng, now);
        look(&mut wire);
        now = now.plus_ms(500);
    }
    assert_eq!((tcp.usage().connections, tcp.usage().half_open), (0, 0));
    assert_eq!(tcp.port_ref().pool().outstanding(), 0);
    // Bytes that never come near being right would show nothing.
    let counters = tcp.counters();
    let reached = [TcpCounter::SegmentsIn, TcpCounter::Syns, TcpCounter::CookiesSent, TcpCounter::Answered];
    for reached in reached {
        assert!(counters.get(reached) > frames / 100, "{counters:?} {:?}", tcp.drops());
    }
    assert!(answers > frames / 10, "{answers} answers");
}
