//! Peers of the stack that are eight bytes each: what they send is made up from that.

use std::net::{Ipv4Addr, SocketAddr};

use pelton_packet::checksum::Sum;
use pelton_packet::parse::TCP;
use pelton_packet::{Frame, Link, MacAddress, headers};
use pelton_tcp::Seq;
use pelton_tcp::segment::{Flags, Options, Segment};

/// The stack's station.
pub const US: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
/// The station all peers are behind.
pub const THEM: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
/// The stack's end.
pub const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 1), 1883);

/// Peers of one address.
const PORTS: u32 = 50_000;
const FIRST_PORT: u32 = 10_000;
const FIRST_ADDRESS: u32 = 0x0a01_0000;
/// Link header, IPv4, TCP with timestamps.
const HEADERS: usize = 14 + 20 + 32;

/// The next numbers of a peer, its own and the stack's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer {
    /// What it sends next.
    pub seq: u32,
    /// What it has of the stack.
    pub ack: u32,
}

/// A peer's end.
pub fn end(peer: u32) -> (u32, u16) {
    (FIRST_ADDRESS + peer / PORTS, (FIRST_PORT + peer % PORTS) as u16)
}

/// Whose frame it is that was sent to a peer, and its sequence number and flags.
pub fn answer(frame: &[u8]) -> (u32, u32, Flags) {
    let word = |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let port = u32::from(u16::from_be_bytes([frame[36], frame[37]]));
    ((word(30) - FIRST_ADDRESS) * PORTS + port - FIRST_PORT, word(38), Flags(frame[47]))
}

/// Writes a segment of an open connection. Made at fixed places, since it is counted with what it is for.
#[inline]
pub fn write(frame: &mut Frame, from: u32, peer: Peer, flags: Flags, stamp: u32, data: &[u8]) {
    frame.set_range(0, HEADERS + data.len());
    let (address, port) = end(from);
    let words = [
        0x4500 << 16 | (HEADERS - 14 + data.len()) as u32,
        0x4000,
        64 << 24 | u32::from(TCP) << 16,
        address,
        SERVER.0.to_bits(),
        u32::from(port) << 16 | u32::from(SERVER.1),
        peer.seq,
        peer.ack,
        8 << 28 | u32::from(flags.0) << 16 | 65_535,
        0,
        0x0101_080a,
        stamp,
        0,
    ];
    let bytes: &mut [u8] = frame;
    bytes[..6].copy_from_slice(&US.0);
    bytes[6..12].copy_from_slice(&THEM.0);
    bytes[12..14].copy_from_slice(&[8, 0]);
    let (fixed, rest) = bytes[14..].split_at_mut(52);
    for (place, word) in fixed.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
    rest.copy_from_slice(data);
    let sum = Sum::ZERO.bytes(&fixed[..20]).fold();
    fixed[10..12].copy_from_slice(&sum.to_be_bytes());
    let sum = Sum::ZERO.bytes(&fixed[12..]).word(u16::from(TCP)).word((32 + data.len()) as u16);
    let sum = sum.bytes(rest).fold();
    fixed[36..38].copy_from_slice(&sum.to_be_bytes());
}

/// Writes a SYN as Linux sends it.
pub fn write_syn(frame: &mut Frame, from: u32, seq: u32, stamp: u32) {
    let (address, port) = end(from);
    let from = SocketAddr::from((Ipv4Addr::from_bits(address), port));
    let options = Options {
        mss: Some(1_460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some((stamp, 0)),
        ..Options::default()
    };
    let segment = Segment {
        source: port,
        destination: SERVER.1,
        seq: Seq(seq),
        flags: Flags::SYN,
        window: 65_535,
        options,
        ..Segment::default()
    };
    let link = Link { source: THEM, destination: US, vlan: None };
    let start = headers::bytes(link, from.ip());
    let header = segment.header_bytes();
    frame.set_range(0, start + header);
    headers::write(frame, link, from.ip(), SERVER.0.into(), TCP, 0, header);
    segment.write(from.ip(), SERVER.0.into(), &mut frame[start..]);
}
