//! What goes in front of a transport header: Ethernet, VLAN tag, IPv4 or IPv6.

use std::net::IpAddr;

use crate::checksum::Sum;
use crate::link::Link;
use crate::parse::{IPV4, IPV6, VLAN};

/// Hops a packet of ours may take.
pub const HOPS: u8 = 64;

/// Bytes of an IP header of ours.
#[inline]
pub const fn ip_bytes(address: IpAddr) -> usize {
    if address.is_ipv4() { 20 } else { 40 }
}

/// Bytes that [`write()`] writes.
#[inline]
pub const fn bytes(link: Link, source: IpAddr) -> usize {
    link.header_bytes() + ip_bytes(source)
}

/// Writes the headers for `payload` bytes of `protocol` to the front of `into`. IPv4 packets must not be
/// fragmented and carry the identification zero, RFC 6864 4.1.
///
/// # Panics
/// If `into` is shorter than [`bytes`], or the addresses are of two families.
#[inline]
pub fn write(
    into: &mut [u8],
    link: Link,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ecn: u8,
    payload: usize,
) {
    let (ethernet, ip) = into.split_at_mut(link.header_bytes());
    ethernet[..6].copy_from_slice(&link.destination.0);
    ethernet[6..12].copy_from_slice(&link.source.0);
    let ether_type = if source.is_ipv4() { IPV4 } else { IPV6 }.to_be_bytes();
    match link.vlan {
        None => ethernet[12..14].copy_from_slice(&ether_type),
        Some(tag) => {
            ethernet[12..14].copy_from_slice(&VLAN.to_be_bytes());
            ethernet[14..16].copy_from_slice(&tag.to_be_bytes());
            ethernet[16..18].copy_from_slice(&ether_type);
        }
    }
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let ip = &mut ip[..20];
            let [a, b] = ((20 + payload) as u16).to_be_bytes();
            // Version and length, no DSCP; total length; identification; do not fragment (RFC 1191 3); RFC 9293 3.9.2 MUST-49.
            ip[..12].copy_from_slice(&[0x45, ecn, a, b, 0, 0, 0x40, 0, HOPS, protocol, 0, 0]);
            ip[12..16].copy_from_slice(&source.octets());
            ip[16..20].copy_from_slice(&destination.octets());
            let checksum = Sum::ZERO.bytes(ip).fold();
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let ip = &mut ip[..40];
            let [a, b] = (payload as u16).to_be_bytes();
            ip[..8].copy_from_slice(&[0x60, ecn << 4, 0, 0, a, b, protocol, HOPS]);
            ip[8..24].copy_from_slice(&source.octets());
            ip[24..40].copy_from_slice(&destination.octets());
        }
        _ => panic!("a packet has addresses of one family"),
    }
}
