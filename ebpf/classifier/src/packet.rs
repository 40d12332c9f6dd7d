//! From a frame to the transport header: Ethernet II with at most one VLAN tag, which is what the stack takes, IPv4
//! (options are passed over), IPv6 with a bounded number of extension headers. Options inside of those are not looked at:
//! the stack does.

use crate::frame::Frame;
use crate::layout::{Address, mapped};
use crate::reason::Reason;

/// The protocol number of ICMP.
pub const ICMP: u8 = 1;
/// The protocol number of TCP.
pub const TCP: u8 = 6;
/// The protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// IEEE 802.1Q: a customer's tag. Behind another one, or a provider's, nothing is the broker's: the stack takes none.
const VLAN: u16 = 0x8100;
/// IPv6 extension headers that are followed, as many as the stack does.
const EXTENSIONS_MAX: usize = 4;

/// An IP packet in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Packet {
    /// IPv6, not IPv4.
    pub v6: bool,
    /// The sender.
    pub source: Address,
    /// The receiver.
    pub destination: Address,
    /// What it carries.
    pub protocol: u8,
    /// Part of a packet, and the first one.
    pub first_fragment: bool,
    /// Nothing lies between the fixed IP header and the transport header.
    pub plain: bool,
    /// Where in the frame the IP header starts.
    pub header: u16,
    /// Where in the frame the transport header starts.
    pub start: u16,
    /// Where in the frame the packet ends; padding lies behind.
    pub end: u16,
}

impl Packet {
    /// None: to be filled by [`parse`].
    pub const EMPTY: Self = Self {
        v6: false,
        source: [0; 16],
        destination: [0; 16],
        protocol: 0,
        first_fragment: false,
        plain: false,
        header: 0,
        start: 0,
        end: 0,
    };
}

/// Takes a frame apart.
///
/// # Errors
/// Why it is none of the broker's: a reason that passes it.
#[inline(never)]
pub fn parse(frame: &impl Frame, into: &mut Packet) -> Result<(), Reason> {
    let mut at = 12;
    let mut ether_type = u16::from_be_bytes(frame.get(at).ok_or(Reason::PassMalformed)?);
    at += 2;
    if ether_type == VLAN {
        ether_type = u16::from_be_bytes(frame.get(at + 2).ok_or(Reason::PassMalformed)?);
        at += 4;
    }
    match ether_type {
        IPV4 => ipv4(frame, at, into),
        IPV6 => ipv6(frame, at, into),
        _ => Err(Reason::PassOther),
    }
}

/// Whether a packet that ends here is whole. No frame is longer than positions in it have bits.
#[inline(always)]
fn fits(frame: &impl Frame, end: usize) -> bool {
    end <= frame.len() && end <= u16::MAX as usize
}

#[inline(always)]
fn ipv4(frame: &impl Frame, at: usize, into: &mut Packet) -> Result<(), Reason> {
    let fixed: [u8; 20] = frame.get(at).ok_or(Reason::PassMalformed)?;
    let header_bytes = ((fixed[0] & 0xf) as usize) * 4;
    let total = u16::from_be_bytes([fixed[2], fixed[3]]) as usize;
    if fixed[0] >> 4 != 4 || header_bytes < 20 || total < header_bytes || !fits(frame, at + total) {
        return Err(Reason::PassMalformed);
    }
    let fragment = u16::from_be_bytes([fixed[6], fixed[7]]);
    if fragment & 0x1fff != 0 {
        return Err(Reason::PassFragment);
    }
    *into = Packet {
        v6: false,
        source: mapped([fixed[12], fixed[13], fixed[14], fixed[15]]),
        destination: mapped([fixed[16], fixed[17], fixed[18], fixed[19]]),
        protocol: fixed[9],
        first_fragment: fragment & 0x2000 != 0,
        plain: header_bytes == 20,
        header: at as u16,
        start: (at + header_bytes) as u16,
        end: (at + total) as u16,
    };
    Ok(())
}

#[inline(always)]
fn ipv6(frame: &impl Frame, at: usize, into: &mut Packet) -> Result<(), Reason> {
    let fixed: [u8; 8] = frame.get(at).ok_or(Reason::PassMalformed)?;
    let end = at + 40 + u16::from_be_bytes([fixed[4], fixed[5]]) as usize;
    if fixed[0] >> 4 != 6 || !fits(frame, end) {
        return Err(Reason::PassMalformed);
    }
    *into = Packet {
        v6: true,
        source: frame.get(at + 8).ok_or(Reason::PassMalformed)?,
        destination: frame.get(at + 24).ok_or(Reason::PassMalformed)?,
        protocol: fixed[6],
        first_fragment: false,
        plain: true,
        header: at as u16,
        start: (at + 40) as u16,
        end: end as u16,
    };
    for followed in 0..=EXTENSIONS_MAX {
        if !is_extension(into.protocol) {
            break;
        }
        if followed == EXTENSIONS_MAX {
            return Err(Reason::PassExtensions);
        }
        extension(frame, into)?;
    }
    Ok(())
}

// RFC 8200 4.1.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION)
}

/// Passes over an extension header.
#[inline(never)]
fn extension(frame: &impl Frame, packet: &mut Packet) -> Result<(), Reason> {
    let head: [u8; 4] = frame.get(packet.start as usize).ok_or(Reason::PassMalformed)?;
    let mut bytes = (head[1] as usize + 1) * 8;
    match packet.protocol {
        FRAGMENT => {
            if u16::from_be_bytes([head[2], head[3]]) & 0xfff8 != 0 {
                return Err(Reason::PassFragment);
            }
            // One that is all of the packet (RFC 6946) is a fragment all the same: the stack takes none.
            packet.first_fragment = true;
            bytes = 8;
        }
        // RFC 8200 4.4: with segments left it is not for this host to receive.
        ROUTING if head[3] != 0 => return Err(Reason::PassExtensions),
        _ => {}
    }
    let start = packet.start as usize + bytes;
    if start > packet.end as usize {
        return Err(Reason::PassMalformed);
    }
    packet.plain = false;
    packet.protocol = head[0];
    packet.start = start as u16;
    Ok(())
}
