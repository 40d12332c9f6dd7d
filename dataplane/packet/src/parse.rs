//! From a frame to the transport header: Ethernet II with at most one VLAN tag, IPv4 (options are passed over),
//! IPv6 with a bounded number of extension headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::Sum;
use crate::counters::PacketDrop;
use crate::link::{Link, MacAddress};

/// The EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// The EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// The EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// The EtherType of a VLAN tag.
pub const VLAN: u16 = 0x8100;

/// The protocol number of ICMP.
pub const ICMP: u8 = 1;
/// The protocol number of TCP.
pub const TCP: u8 = 6;
/// The protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// IPv6 extension headers that are followed. RFC 8200 names six kinds, each once; nobody sends them before TCP.
const EXTENSIONS_MAX: usize = 4;

/// An IP packet in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// How the frame travelled.
    pub link: Link,
    /// The sender.
    pub source: IpAddr,
    /// The receiver.
    pub destination: IpAddr,
    /// What it carries: [`TCP`], [`ICMP`], [`ICMPV6`], or something else.
    pub protocol: u8,
    /// The ECN field, RFC 3168 5.
    pub ecn: u8,
    /// Hops left (IPv4: time to live).
    pub hops: u8,
    /// Where in the frame the IP header starts.
    pub header: u16,
    /// Where in the frame the transport header starts.
    pub start: u16,
    /// Bytes from there on; padding of the frame not counted.
    pub len: u16,
}

impl Datagram {
    /// The transport header and its payload.
    #[inline]
    pub fn payload<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[usize::from(self.start)..][..usize::from(self.len)]
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// An IP packet.
    Ip(Datagram),
    /// An ARP packet.
    Arp {
        /// How the frame travelled.
        link: Link,
        /// Where in the frame the ARP packet starts.
        start: usize,
    },
}

/// Takes a frame apart.
///
/// # Errors
/// Why it goes no further.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Parsed, PacketDrop> {
    let (ethernet, rest) = frame.split_first_chunk::<14>().ok_or(PacketDrop::Truncated)?;
    let mut link = Link { source: mac(&ethernet[6..]), destination: mac(ethernet), vlan: None };
    let mut ether_type = u16::from_be_bytes([ethernet[12], ethernet[13]]);
    let mut start = 14;
    if ether_type == VLAN {
        let (tag, _) = rest.split_first_chunk::<4>().ok_or(PacketDrop::Truncated)?;
        link.vlan = Some(u16::from_be_bytes([tag[0], tag[1]]));
        ether_type = u16::from_be_bytes([tag[2], tag[3]]);
        start = 18;
    }
    match ether_type {
        IPV4 => ipv4(frame, link, start).map(Parsed::Ip),
        IPV6 => ipv6(frame, link, start).map(Parsed::Ip),
        ARP => Ok(Parsed::Arp { link, start }),
        VLAN | 0x88a8 => Err(PacketDrop::StackedVlan),
        _ => Err(PacketDrop::OtherEtherType),
    }
}

fn mac(bytes: &[u8]) -> MacAddress {
    MacAddress([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]])
}

#[inline]
fn ipv4(frame: &[u8], link: Link, start: usize) -> Result<Datagram, PacketDrop> {
    let packet = &frame[start..];
    let (fixed, _) = packet.split_first_chunk::<20>().ok_or(PacketDrop::Truncated)?;
    // RFC 1122 3.2.1.8, RFC 9293 3.9.2 MUST-50: options are passed over.
    let header_bytes = usize::from(fixed[0] & 0xf) * 4;
    if fixed[0] >> 4 != 4 || header_bytes < 20 {
        return Err(PacketDrop::BadIpHeader);
    }
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if packet.len() < total || total < header_bytes {
        return Err(PacketDrop::Truncated);
    }
    // RFC 1122 3.2.1.2: a host verifies the header checksum.
    if Sum::ZERO.bytes(&packet[..header_bytes]).fold() != 0 {
        return Err(PacketDrop::BadIpChecksum);
    }
    // More fragments, or an offset.
    if u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff != 0 {
        return Err(PacketDrop::Fragment);
    }
    let source = Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]);
    // RFC 1122 3.2.1.3: none of these is a source address.
    if source.is_multicast() || source.is_broadcast() || source.is_unspecified() {
        return Err(PacketDrop::BadSource);
    }
    Ok(Datagram {
        link,
        source: IpAddr::V4(source),
        destination: IpAddr::V4(Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19])),
        protocol: fixed[9],
        ecn: fixed[1] & 3,
        hops: fixed[8],
        header: start as u16,
        start: (start + header_bytes) as u16,
        len: (total - header_bytes) as u16,
    })
}

fn ipv6(frame: &[u8], link: Link, start: usize) -> Result<Datagram, PacketDrop> {
    let packet = &frame[start..];
    let (fixed, rest) = packet.split_first_chunk::<40>().ok_or(PacketDrop::Truncated)?;
    if fixed[0] >> 4 != 6 {
        return Err(PacketDrop::BadIpHeader);
    }
    let payload_bytes = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    let mut payload = rest.get(..payload_bytes).ok_or(PacketDrop::Truncated)?;
    let source = ipv6_address(&fixed[8..24]);
    if source.is_multicast() {
        return Err(PacketDrop::BadSource);
    }
    let mut protocol = fixed[6];
    let mut followed = 0;
    while let Some(len) = extension(protocol, payload)? {
        if followed == EXTENSIONS_MAX {
            return Err(PacketDrop::TooManyExtensions);
        }
        followed += 1;
        protocol = payload[0];
        payload = &payload[len..];
    }
    // RFC 4291 2.5.2: a neighbour that has no address yet may ask, but there is no answering it by this one.
    if protocol == TCP && source.is_unspecified() {
        return Err(PacketDrop::BadSource);
    }
    Ok(Datagram {
        link,
        source: IpAddr::V6(source),
        destination: IpAddr::V6(ipv6_address(&fixed[24..40])),
        protocol,
        ecn: fixed[1] >> 4 & 3,
        hops: fixed[7],
        header: start as u16,
        start: (start + 40 + payload_bytes - payload.len()) as u16,
        len: payload.len() as u16,
    })
}

/// The length of an extension header, if `protocol` is one.
fn extension(protocol: u8, payload: &[u8]) -> Result<Option<usize>, PacketDrop> {
    // RFC 8200 4.1.
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    match protocol {
        HOP_BY_HOP | ROUTING | DESTINATION => {
            let (head, _) = payload.split_first_chunk::<8>().ok_or(PacketDrop::Truncated)?;
            // RFC 8200 4.4: with segments left it is not for us to receive.
            if protocol == ROUTING && head[3] != 0 {
                return Err(PacketDrop::BadExtension);
            }
            let len = (usize::from(head[1]) + 1) * 8;
            let options = payload.get(..len).ok_or(PacketDrop::Truncated)?;
            if protocol != ROUTING && !options_may_be_skipped(&options[2..]) {
                return Err(PacketDrop::BadExtension);
            }
            Ok(Some(len))
        }
        // RFC 8200 4.5.
        FRAGMENT => Err(PacketDrop::Fragment),
        _ => Ok(None),
    }
}

/// RFC 8200 4.2: an unknown option says by its two highest bits whether the packet may be processed.
fn options_may_be_skipped(mut options: &[u8]) -> bool {
    while let [kind, rest @ ..] = options {
        if *kind == 0 {
            options = rest;
            continue;
        }
        let [len, rest @ ..] = rest else { return false };
        let Some(behind) = rest.get(usize::from(*len)..) else { return false };
        if kind >> 6 != 0 {
            return false;
        }
        options = behind;
    }
    true
}

fn ipv6_address(bytes: &[u8]) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(bytes);
    Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers;
    use proptest::prelude::*;

    fn frame(source: &str, destination: &str, vlan: Option<u16>, payload: &[u8]) -> Vec<u8> {
        let link = Link {
            source: MacAddress([2, 0, 0, 0, 0, 1]),
            destination: MacAddress([2, 0, 0, 0, 0, 2]),
            vlan,
        };
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let mut bytes = vec![0; headers::bytes(link, source)];
        headers::write(&mut bytes, link, source, destination, TCP, 0, payload.len());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn datagram(frame: &[u8]) -> Datagram {
        match parse(frame) {
            Ok(Parsed::Ip(datagram)) => datagram,
            other => panic!("{other:?}"),
        }
    }

    // covers RFC 1191 3, RFC 6864 4.1
    #[test]
    fn what_is_written_is_read_and_padding_is_not_payload() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fe80::1", "2001:db8::2")] {
            for vlan in [None, Some(0x6005)] {
                let mut bytes = frame(source, destination, vlan, b"payload");
                bytes.extend_from_slice(&[0; 20]);
                let got = datagram(&bytes);
                assert_eq!(got.source, source.parse::<IpAddr>().unwrap());
                assert_eq!(got.destination, destination.parse::<IpAddr>().unwrap());
                assert_eq!((got.link.vlan, got.protocol), (vlan, TCP));
                assert_eq!(got.payload(&bytes), b"payload");
                if source.contains('.') {
                    let at = usize::from(got.header);
                    assert_eq!(
                        bytes[at + 4..at + 8],
                        [0, 0, 0x40, 0],
                        "no identification; not to be fragmented"
                    );
                }
            }
        }
    }

    // covers RFC 1122 3.2.1.2, 3.2.1.3, RFC 4291 2.5.2
    #[test]
    fn fragments_and_damage_are_refused() {
        let good = frame("10.0.0.1", "10.0.0.2", None, b"payload");
        for (at, value, why) in [
            (14 + 8, 1, PacketDrop::BadIpChecksum),
            (14, 0x65, PacketDrop::BadIpHeader),
            (14, 0x44, PacketDrop::BadIpHeader),
            (14 + 3, 200, PacketDrop::Truncated),
            (12, 0x09, PacketDrop::OtherEtherType),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(parse(&bad), Err(why), "byte {at} = {value}");
        }
        let mut fragment = good.clone();
        fragment[14 + 6] = 0x20;
        fragment[14 + 10..14 + 12].fill(0);
        let sum = Sum::ZERO.bytes(&fragment[14..34]).fold();
        fragment[14 + 10..14 + 12].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(parse(&fragment), Err(PacketDrop::Fragment));
        assert_eq!(parse(&frame("224.0.0.1", "10.0.0.2", None, b"")), Err(PacketDrop::BadSource));
        assert_eq!(parse(&frame("::", "fe80::1", None, b"")), Err(PacketDrop::BadSource));
        for len in 0..good.len() {
            assert_eq!(parse(&good[..len]), Err(PacketDrop::Truncated), "{len} bytes");
        }
    }

    // covers RFC 1122 3.2.1.8, RFC 9293 3.9.2 MUST-50
    #[test]
    fn options_of_ip_are_passed_over() {
        let mut bytes = frame("10.0.0.1", "10.0.0.2", None, b"....payload");
        // The first four bytes of the payload become a router alert.
        bytes[34..38].copy_from_slice(&[0x94, 4, 0, 0]);
        bytes[14] = 0x46;
        bytes[24..26].fill(0);
        let sum = Sum::ZERO.bytes(&bytes[14..38]).fold();
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(datagram(&bytes).payload(&bytes), b"payload");
    }

    /// An IPv6 packet with `n` destination-options headers, each with one option of `kind`.
    fn extended(n: usize, kind: u8) -> Vec<u8> {
        let mut payload = Vec::new();
        for at in 0..n {
            let next = if at + 1 == n { TCP } else { 60 };
            payload.extend_from_slice(&[next, 0, kind, 4, 0, 0, 0, 0]);
        }
        payload.extend_from_slice(b"tcp");
        let mut bytes = frame("fe80::1", "fe80::2", None, &payload);
        if n > 0 {
            bytes[14 + 6] = 60;
        }
        bytes
    }

    // covers RFC 8200 4.1, 4.2, 4.4
    #[test]
    fn extension_headers_are_followed_so_far_and_no_farther() {
        for n in 0..=EXTENSIONS_MAX {
            let bytes = extended(n, 1);
            let got = datagram(&bytes);
            assert_eq!((got.protocol, got.payload(&bytes)), (TCP, b"tcp".as_slice()), "{n} headers");
        }
        assert_eq!(parse(&extended(EXTENSIONS_MAX + 1, 1)), Err(PacketDrop::TooManyExtensions));
        assert_eq!(parse(&extended(1, 0x80)), Err(PacketDrop::BadExtension));
        for (left, read) in [(0, true), (1, false)] {
            let mut routed = extended(1, left);
            routed[14 + 6] = 43;
            routed[14 + 40 + 3] = left;
            assert_eq!(parse(&routed).is_ok(), read, "a routing header with {left} segments left");
        }
        let mut fragment = extended(1, 1);
        fragment[14 + 6] = 44;
        assert_eq!(parse(&fragment), Err(PacketDrop::Fragment));
    }

    proptest! {
        /// No bytes make it panic, and what it names is inside of the frame.
        #[test]
        fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), kind in 0..4u8) {
            if let (Some(place), Some(value)) = (bytes.get_mut(12..14), [IPV4, IPV6, ARP, VLAN].get(usize::from(kind))) {
                place.copy_from_slice(&value.to_be_bytes());
            }
            if let Ok(Parsed::Ip(datagram)) = parse(&bytes) {
                let _ = datagram.payload(&bytes);
            }
        }
    }
}
