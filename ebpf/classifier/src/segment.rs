//! The fixed TCP header (RFC 9293 3.1), and what no honest peer sends.

use crate::frame::Frame;
use crate::layout::Address;
use crate::packet::Packet;
use crate::reason::Reason;

/// Bytes of a header without options.
pub const HEADER_BYTES: usize = 20;
/// Bytes of the longest header.
pub const HEADER_BYTES_MAX: usize = 60;

/// The flags of a segment.
pub mod flags {
    /// No more data comes.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// The connection is reset.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// Source and destination port, in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The sender's.
    pub source: [u8; 2],
    /// The receiver's.
    pub destination: [u8; 2],
}

/// The ports in front of a TCP header.
#[inline(always)]
pub fn ports(frame: &impl Frame, packet: &Packet) -> Option<Ports> {
    let start = packet.start as usize;
    if start + 4 > packet.end as usize {
        return None;
    }
    let [a, b, c, d] = frame.get(start)?;
    Some(Ports { source: [a, b], destination: [c, d] })
}

/// A TCP header, as far as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Sequence number.
    pub sequence: u32,
    /// Bytes of it, with options.
    pub bytes: usize,
    /// Flags.
    pub flags: u8,
}

/// The header of a segment.
///
/// # Errors
/// [`Reason::DropHeader`].
#[inline(always)]
pub fn header(frame: &impl Frame, packet: &Packet) -> Result<Header, Reason> {
    let start = packet.start as usize;
    let sequence = frame.get(start + 4).ok_or(Reason::DropHeader)?;
    let [offset, flags] = frame.get(start + 12).ok_or(Reason::DropHeader)?;
    let bytes = (offset >> 4) as usize * 4;
    if bytes < HEADER_BYTES || start + bytes > packet.end as usize {
        return Err(Reason::DropHeader);
    }
    Ok(Header { sequence: u32::from_be_bytes(sequence), bytes, flags })
}

/// Flags that make sense together: a SYN neither ends nor resets, and behind the handshake everything but a reset
/// acknowledges (RFC 9293 3.10.7.4 fifth).
#[inline(always)]
pub const fn flags_are_sane(flags: u8) -> bool {
    if flags & flags::SYN != 0 {
        flags & (flags::FIN | flags::RST) == 0
    } else {
        flags & (flags::ACK | flags::RST) != 0
    }
}

/// A source a peer can have. (A destination that IPv6 has not on any wire is refused with it.)
#[inline(always)]
pub fn source_is_sane(packet: &Packet, ports: &Ports) -> bool {
    let source = &packet.source;
    let address = if packet.v6 {
        // RFC 4291 2.4: multicast, unspecified, loopback. RFC 6890 table 20: mapped IPv4 addresses are not on any
        // wire.
        !(source[0] == 0xff || is_low(source) || is_low(&packet.destination))
    } else {
        // RFC 1122 3.2.1.3: this network, loopback, multicast and above.
        !matches!(source[12], 0 | 127 | 224..=255)
    };
    address && packet.source != packet.destination && ports.source != [0; 2]
}

/// In `::/80`: unspecified, loopback, IPv4 in IPv6.
#[inline(always)]
fn is_low(address: &Address) -> bool {
    let mut any = 0;
    for byte in &address[..10] {
        any |= byte;
    }
    any == 0
}
