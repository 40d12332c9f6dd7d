//! Errors about packets that were sent: what ICMP and ICMPv6 say, and which TCP segment they quote.

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, Ipv4Packet, Ipv6Packet};

use crate::checksum::{Sum, pseudo_header};
use crate::parse::{Datagram, ICMP, ICMPV6, TCP};

/// What a router or host says about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// It is too long for a link of this MTU. Zero from routers that do not say (RFC 1191 5).
    TooBig(u32),
    /// It could not be delivered. RFC 5927 5: never believed at once.
    Unreachable,
}

/// An error about a TCP segment that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// What is wrong.
    pub complaint: Complaint,
    /// Who sent the segment: one of our addresses.
    pub local: SocketAddr,
    /// Whom it was for.
    pub remote: SocketAddr,
    /// Its sequence number.
    pub sequence: u32,
}

/// Reads an error message about a TCP segment. `None` for anything else, a wrong checksum included.
pub fn read(datagram: &Datagram, frame: &[u8]) -> Option<IcmpError> {
    let message = datagram.payload(frame);
    match datagram.protocol {
        ICMP => {
            if Sum::ZERO.bytes(message).fold() != 0 {
                return None;
            }
            let packet = Icmpv4Packet::new_checked(message).ok()?;
            let complaint = match (packet.msg_type(), packet.msg_code()) {
                // RFC 1191 4: the MTU is in the low half of the word that is otherwise unused.
                (Icmpv4Message::DstUnreachable, 4) => {
                    Complaint::TooBig(u32::from(u16::from_be_bytes([message[6], message[7]])))
                }
                (Icmpv4Message::DstUnreachable | Icmpv4Message::TimeExceeded, _) => Complaint::Unreachable,
                // RFC 9293 3.9.2.2 MUST-55: source quench is one of these.
                _ => return None,
            };
            let quoted = message.get(8..)?;
            // The quotation may be cut (RFC 792: eight bytes behind the header), so lengths in it do not count.
            if quoted.len() < 20 {
                return None;
            }
            let header = Ipv4Packet::new_unchecked(quoted);
            let header_bytes = usize::from(header.header_len());
            if header.version() != 4 || header_bytes < 20 || u8::from(header.next_header()) != TCP {
                return None;
            }
            let (source, destination) = (IpAddr::V4(header.src_addr()), IpAddr::V4(header.dst_addr()));
            segment(complaint, source, destination, quoted.get(header_bytes..)?)
        }
        ICMPV6 => {
            let pseudo = pseudo_header(datagram.source, datagram.destination, ICMPV6, message.len());
            if pseudo.bytes(message).fold() != 0 {
                return None;
            }
            let packet = Icmpv6Packet::new_checked(message).ok()?;
            let complaint = match packet.msg_type() {
                // RFC 4443 3.2.
                Icmpv6Message::PktTooBig => {
                    Complaint::TooBig(u32::from_be_bytes([message[4], message[5], message[6], message[7]]))
                }
                Icmpv6Message::DstUnreachable | Icmpv6Message::TimeExceeded => Complaint::Unreachable,
                _ => return None,
            };
            let quoted = message.get(8..)?;
            if quoted.len() < 40 {
                return None;
            }
            let header = Ipv6Packet::new_unchecked(quoted);
            // We send no extension headers.
            if header.version() != 6 || u8::from(header.next_header()) != TCP {
                return None;
            }
            let (source, destination) = (IpAddr::V6(header.src_addr()), IpAddr::V6(header.dst_addr()));
            segment(complaint, source, destination, quoted.get(40..)?)
        }
        _ => None,
    }
}

fn segment(complaint: Complaint, source: IpAddr, destination: IpAddr, tcp: &[u8]) -> Option<IcmpError> {
    let (head, _) = tcp.split_first_chunk::<8>()?;
    Some(IcmpError {
        complaint,
        local: SocketAddr::new(source, u16::from_be_bytes([head[0], head[1]])),
        remote: SocketAddr::new(destination, u16::from_be_bytes([head[2], head[3]])),
        sequence: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers;
    use crate::link::Link;
    use crate::parse::{Parsed, parse};

    /// A router's message about a segment of ours, quoting its headers and eight bytes.
    fn message(v6: bool, kind: u8, code: u8, word: u32) -> Vec<u8> {
        let ip = |v4: &str, six: &str| -> IpAddr { if v6 { six } else { v4 }.parse().unwrap() };
        let (us, them, router) =
            (ip("10.0.0.1", "2001:db8::1"), ip("10.9.0.2", "2001:db8::2"), ip("10.5.0.1", "2001:db8::3"));
        let mut quoted = vec![0; headers::bytes(Link::default(), us)];
        headers::write(&mut quoted, Link::default(), us, them, TCP, 0, 1400);
        quoted.drain(..14);
        quoted.extend_from_slice(&[0x07, 0x5b, 0x12, 0x34, 0, 0, 0, 99]);
        let mut body = vec![kind, code, 0, 0];
        body.extend_from_slice(&word.to_be_bytes());
        body.extend_from_slice(&quoted);
        let protocol = if v6 { ICMPV6 } else { ICMP };
        let sum = if v6 { pseudo_header(router, us, ICMPV6, body.len()) } else { Sum::ZERO };
        let sum = sum.bytes(&body).fold();
        body[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut frame = vec![0; headers::bytes(Link::default(), us)];
        headers::write(&mut frame, Link::default(), router, us, protocol, 0, body.len());
        frame.extend_from_slice(&body);
        frame
    }

    fn read_frame(frame: &[u8]) -> Option<IcmpError> {
        let Ok(Parsed::Ip(datagram)) = parse(frame) else { panic!("not IP") };
        read(&datagram, frame)
    }

    // covers RFC 1191 4, RFC 4443 3.2, RFC 792, RFC 9293 3.9.2.2 MUST-54
    #[test]
    fn too_big_and_unreachable_name_the_segment() {
        for (v6, kind, code, word, complaint) in [
            (false, 3, 4, 1400, Complaint::TooBig(1400)),
            (false, 3, 4, 0, Complaint::TooBig(0)),
            (false, 3, 1, 0, Complaint::Unreachable),
            (true, 2, 0, 1280, Complaint::TooBig(1280)),
            (true, 1, 0, 0, Complaint::Unreachable),
        ] {
            let got = read_frame(&message(v6, kind, code, word)).unwrap();
            assert_eq!(got.complaint, complaint);
            assert_eq!((got.local.port(), got.remote.port(), got.sequence), (1883, 0x1234, 99));
            assert_eq!(got.local.is_ipv6(), v6);
        }
    }

    // covers RFC 9293 3.9.2.2 MUST-55
    #[test]
    fn what_is_damaged_cut_or_something_else_is_nothing() {
        for v6 in [false, true] {
            let good = message(v6, if v6 { 2 } else { 3 }, if v6 { 0 } else { 4 }, 1400);
            let at = good.len() - 1;
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(read_frame(&bad), None, "checksum");
            assert_eq!(read_frame(&message(v6, 128, 0, 0)), None, "a ping");
            assert_eq!(read_frame(&message(v6, 4, 0, 0)), None, "source quench, over IPv4");
        }
    }
}
