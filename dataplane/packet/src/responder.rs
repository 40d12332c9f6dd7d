//! Answers where no kernel does: ARP, neighbour solicitations and pings for the addresses of an interface. All of
//! it is rare, so it goes through `smoltcp::wire`.

use std::net::IpAddr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr,
    NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
};

use crate::headers;
use crate::link::{Interface, Link, MacAddress};
use crate::parse::{ARP, Datagram, ICMP, ICMPV6, VLAN};

/// The answer to an ARP request for one of the interface's addresses, written to `into` as a frame; how many bytes
/// it has. `None` if there is nothing to answer.
pub fn arp(interface: &Interface, link: Link, packet: &[u8], into: &mut [u8]) -> Option<usize> {
    let request = ArpRepr::parse(&ArpPacket::new_checked(packet).ok()?).ok()?;
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = request
    else {
        return None;
    };
    // RFC 826. An unspecified sender is a probe (RFC 5227 2.1.1) and gets its answer too.
    if operation != ArpOperation::Request
        || !interface.has(IpAddr::V4(target_protocol_addr))
        || MacAddress(source_hardware_addr.0).is_multicast()
    {
        return None;
    }
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(interface.mac.0),
        source_protocol_addr: target_protocol_addr,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    let link =
        Link { source: interface.mac, destination: MacAddress(source_hardware_addr.0), vlan: link.vlan };
    let start = ethernet(link, ARP, into)?;
    let len = reply.buffer_len();
    reply.emit(&mut ArpPacket::new_unchecked(into.get_mut(start..start + len)?));
    Some(start + len)
}

/// The answer to a ping or a neighbour solicitation, as [`arp`].
pub fn icmp(interface: &Interface, datagram: &Datagram, frame: &[u8], into: &mut [u8]) -> Option<usize> {
    match datagram.protocol {
        ICMP => ping(interface, datagram, frame, into),
        ICMPV6 => icmpv6(interface, datagram, frame, into),
        _ => None,
    }
}

fn ping(interface: &Interface, datagram: &Datagram, frame: &[u8], into: &mut [u8]) -> Option<usize> {
    // RFC 1122 3.2.2.6: requests to us are answered; those to a broadcast address are not.
    if !interface.has(datagram.destination) {
        return None;
    }
    let packet = Icmpv4Packet::new_checked(datagram.payload(frame)).ok()?;
    let Icmpv4Repr::EchoRequest { ident, seq_no, data } =
        Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default()).ok()?
    else {
        return None;
    };
    let reply = Icmpv4Repr::EchoReply { ident, seq_no, data };
    let len = reply.buffer_len();
    let place = answer(interface, datagram, ICMP, len, into)?;
    reply.emit(
        &mut Icmpv4Packet::new_unchecked(into.get_mut(place..place + len)?),
        &ChecksumCapabilities::default(),
    );
    Some(place + len)
}

fn icmpv6(interface: &Interface, datagram: &Datagram, frame: &[u8], into: &mut [u8]) -> Option<usize> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (datagram.source, datagram.destination) else {
        return None;
    };
    let capabilities = ChecksumCapabilities::default();
    let packet = Icmpv6Packet::new_checked(datagram.payload(frame)).ok()?;
    let request = Icmpv6Repr::parse(&source, &destination, &packet, &capabilities).ok()?;
    let (reply, from) = match request {
        Icmpv6Repr::EchoRequest { ident, seq_no, data } if interface.has(datagram.destination) => {
            (Icmpv6Repr::EchoReply { ident, seq_no, data }, destination)
        }
        // RFC 4861 7.1.1: only with the hop limit nobody can forge from afar. An unspecified source is another
        // host's check for a duplicate of its address, which is answered to all nodes; we do not, since the
        // address is ours already and the other host's check ends there by our answer to its next solicitation.
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, .. })
            if datagram.hops == 255 && interface.has(IpAddr::V6(target_addr)) && !source.is_unspecified() =>
        {
            let flags = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
            let lladdr = Some(RawHardwareAddress::from(EthernetAddress(interface.mac.0)));
            (Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { flags, target_addr, lladdr }), target_addr)
        }
        _ => return None,
    };
    let len = reply.buffer_len();
    let mut back = *datagram;
    back.destination = IpAddr::V6(from);
    let place = answer(interface, &back, ICMPV6, len, into)?;
    if matches!(reply, Icmpv6Repr::Ndisc(_)) {
        // RFC 4861 7.1.2: so must the answer have it.
        into[place - 40 + 7] = 255;
    }
    let packet = &mut Icmpv6Packet::new_unchecked(into.get_mut(place..place + len)?);
    reply.emit(&from, &source, packet, &capabilities);
    Some(place + len)
}

/// Writes the headers of an answer to `datagram`; where its payload goes.
fn answer(
    interface: &Interface,
    datagram: &Datagram,
    protocol: u8,
    len: usize,
    into: &mut [u8],
) -> Option<usize> {
    let link = Link { source: interface.mac, ..datagram.link.reverse() };
    if link.destination.is_multicast() {
        return None;
    }
    let place = headers::bytes(link, datagram.source);
    if into.len() < place + len {
        return None;
    }
    headers::write(into, link, datagram.destination, datagram.source, protocol, 0, len);
    Some(place)
}

fn ethernet(link: Link, ether_type: u16, into: &mut [u8]) -> Option<usize> {
    let header = into.get_mut(..link.header_bytes())?;
    header[..6].copy_from_slice(&link.destination.0);
    header[6..12].copy_from_slice(&link.source.0);
    let at = match link.vlan {
        None => 12,
        Some(tag) => {
            header[12..14].copy_from_slice(&VLAN.to_be_bytes());
            header[14..16].copy_from_slice(&tag.to_be_bytes());
            16
        }
    };
    header[at..at + 2].copy_from_slice(&ether_type.to_be_bytes());
    Some(at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Parsed, parse};
    use smoltcp::wire::Ipv6Address;

    const THEM: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

    fn interface() -> Interface {
        Interface {
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            addresses: vec!["10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap()],
        }
    }

    fn arp_request(target: [u8; 4]) -> Vec<u8> {
        let request = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: EthernetAddress(THEM.0),
            source_protocol_addr: [10, 0, 0, 9].into(),
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: target.into(),
        };
        let mut bytes = vec![0; request.buffer_len()];
        request.emit(&mut ArpPacket::new_unchecked(&mut bytes[..]));
        bytes
    }

    // covers RFC 826, RFC 5227 2.1.1
    #[test]
    fn arp_is_answered_for_our_address_alone() {
        let link = Link { source: THEM, destination: MacAddress::BROADCAST, vlan: Some(7) };
        let mut into = [0; 100];
        let len = arp(&interface(), link, &arp_request([10, 0, 0, 1]), &mut into).unwrap();
        let Ok(Parsed::Arp { link: back, start }) = parse(&into[..len]) else { panic!("not ARP") };
        assert_eq!((back.destination, back.source, back.vlan), (THEM, interface().mac, Some(7)));
        let reply = ArpRepr::parse(&ArpPacket::new_checked(&into[start..len]).unwrap()).unwrap();
        let ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, .. } = reply
        else {
            panic!("{reply:?}")
        };
        assert_eq!(operation, ArpOperation::Reply);
        assert_eq!(source_hardware_addr.0, interface().mac.0);
        assert_eq!(source_protocol_addr.octets(), [10, 0, 0, 1]);
        assert_eq!(arp(&interface(), link, &arp_request([10, 0, 0, 2]), &mut into), None);
        assert_eq!(arp(&interface(), link, &[0; 5], &mut into), None);
        let mut probe = arp_request([10, 0, 0, 1]);
        probe[14..18].fill(0);
        assert!(arp(&interface(), link, &probe, &mut into).is_some(), "from who has no address yet");
    }

    fn datagram(bytes: &[u8]) -> Datagram {
        match parse(bytes) {
            Ok(Parsed::Ip(datagram)) => datagram,
            other => panic!("{other:?}"),
        }
    }

    // covers RFC 1122 3.2.2.6
    #[test]
    fn a_ping_comes_back() {
        let link = Link { source: THEM, destination: interface().mac, vlan: None };
        let request = Icmpv4Repr::EchoRequest { ident: 5, seq_no: 6, data: b"are you there" };
        let len = request.buffer_len();
        for (to, answered) in [("10.0.0.1", true), ("10.0.0.255", false)] {
            let mut frame = vec![0; 34 + len];
            headers::write(&mut frame, link, "10.0.0.9".parse().unwrap(), to.parse().unwrap(), ICMP, 0, len);
            request
                .emit(&mut Icmpv4Packet::new_unchecked(&mut frame[34..]), &ChecksumCapabilities::default());
            let mut into = [0; 200];
            let got = icmp(&interface(), &datagram(&frame), &frame, &mut into);
            assert_eq!(got.is_some(), answered, "{to}");
            let Some(len) = got else { continue };
            let back = datagram(&into[..len]);
            assert_eq!((back.link.destination, back.destination.to_string()), (THEM, "10.0.0.9".to_owned()));
            let packet = Icmpv4Packet::new_checked(back.payload(&into)).unwrap();
            let reply = Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default()).unwrap();
            assert_eq!(reply, Icmpv4Repr::EchoReply { ident: 5, seq_no: 6, data: b"are you there" });
        }
    }

    // covers RFC 4861 7.1.1, 7.1.2
    #[test]
    fn a_neighbour_is_told_our_address() {
        let (us, them): (Ipv6Address, Ipv6Address) = ("fe80::1".parse().unwrap(), "fe80::9".parse().unwrap());
        let request = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr: us, lladdr: None });
        let len = request.buffer_len();
        let group: Ipv6Address = "ff02::1:ff00:1".parse().unwrap();
        let link = Link { source: THEM, destination: MacAddress([0x33, 0x33, 0xff, 0, 0, 1]), vlan: None };
        for (hops, answered) in [(255, true), (64, false)] {
            let mut frame = vec![0; 54 + len];
            headers::write(&mut frame, link, IpAddr::V6(them), IpAddr::V6(group), ICMPV6, 0, len);
            frame[14 + 7] = hops;
            let caps = ChecksumCapabilities::default();
            request.emit(&them, &group, &mut Icmpv6Packet::new_unchecked(&mut frame[54..]), &caps);
            let mut into = [0; 200];
            let got = icmp(&interface(), &datagram(&frame), &frame, &mut into);
            assert_eq!(got.is_some(), answered, "hop limit {hops}");
            let Some(len) = got else { continue };
            let back = datagram(&into[..len]);
            assert_eq!((back.hops, back.source, back.destination), (255, IpAddr::V6(us), IpAddr::V6(them)));
            let packet = Icmpv6Packet::new_checked(back.payload(&into)).unwrap();
            let reply = Icmpv6Repr::parse(&us, &them, &packet, &caps).unwrap();
            let Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { target_addr, lladdr, .. }) = reply else {
                panic!("{reply:?}")
            };
            assert_eq!(target_addr, us);
            assert_eq!(lladdr.unwrap().as_bytes(), interface().mac.0);
        }
    }
}
