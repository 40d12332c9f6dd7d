//! The frame that nearly all are: Ethernet, tagged or not; IPv4 without options, not a fragment; TCP with no options
//! or the timestamps alone, laid out as RFC 7323 appendix A recommends, or a SYN with options in words of four bytes. It
//! is read in one go, with everything at its fixed place, into few bytes. Any other frame, and any in which something is
//! wrong, is for [`parse`](pelton_packet::parse()) and [`Segment`], which say what it is.

use std::net::{Ipv4Addr, SocketAddr};

use pelton_packet::checksum::Sum;
use pelton_packet::parse::{IPV4, TCP, VLAN};
use pelton_packet::{LinkKey, MacAddress};

use crate::ecn::CONGESTED;
use crate::offer::Offer;
use crate::segment::{Flags, HEADER_BYTES, Options, Segment, TIMESTAMP_BYTES};
use crate::seq::Seq;
use crate::tuple::Tuple;

/// Bytes of an IPv4 header without options.
pub(crate) const IP_BYTES: usize = 20;
/// Two paddings, the kind and the length of the timestamps.
pub(crate) const STAMPED: u32 = 0x0101_080a;

/// What there is to know of a plain frame; its checksums are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) link: LinkKey,
    pub(crate) remote: u32,
    pub(crate) local: u32,
    pub(crate) remote_port: u16,
    pub(crate) local_port: u16,
    pub(crate) seq: Seq,
    pub(crate) ack: Seq,
    /// Time stamp and echo, if `stamped`.
    pub(crate) stamp: u32,
    pub(crate) echo: u32,
    pub(crate) window: u16,
    pub(crate) flags: Flags,
    pub(crate) stamped: bool,
    /// Where in the frame its data starts.
    pub(crate) data: u16,
    /// Bytes of data.
    pub(crate) len: u16,
}

/// What there is to know of a SYN with options; `plain` has those of its timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) plain: Plain,
    pub(crate) offer: Offer,
    /// Bytes of the TCP header.
    header: u8,
}

impl Plain {
    /// Reads a frame for the station `mac`, if it is a plain one.
    #[inline]
    pub(crate) fn read(frame: &[u8], mac: MacAddress) -> Option<Self> {
        read::<false>(frame, mac).map(|(plain, _)| plain)
    }

    /// The two ends.
    pub(crate) fn tuple(&self) -> Tuple {
        let end = |address: u32, port| SocketAddr::new(Ipv4Addr::from_bits(address).into(), port);
        Tuple { local: end(self.local, self.local_port), remote: end(self.remote, self.remote_port) }
    }

    /// The segment, as reading it the long way gives it.
    pub(crate) fn segment(&self) -> Segment {
        let timestamps = self.stamped.then_some((self.stamp, self.echo));
        let options = Options { timestamps, ..Options::default() };
        Segment {
            source: self.remote_port,
            destination: self.local_port,
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            header: (HEADER_BYTES + if self.stamped { TIMESTAMP_BYTES } else { 0 }) as u8,
            options,
            len: self.len,
        }
    }
}

impl Opening {
    /// Reads a frame for the station `mac`, if it is a SYN with options as usual.
    #[inline]
    pub(crate) fn read(frame: &[u8], mac: MacAddress) -> Option<Self> {
        let (plain, header) = read::<true>(frame, mac)?;
        let options = usize::from(plain.data) + HEADER_BYTES - header..usize::from(plain.data);
        let (offer, stamps) = Offer::read(frame.get(options)?)?;
        let (stamp, echo) = stamps.unwrap_or_default();
        let plain = Plain { stamped: offer.timestamps, stamp, echo, ..plain };
        Some(Self { plain, header: header as u8, offer })
    }

    /// The segment, as reading it the long way gives it.
    pub(crate) fn segment(&self) -> Segment {
        let plain = self.plain.segment();
        let options = Options {
            mss: self.offer.mss,
            window_scale: self.offer.scale,
            sack_permitted: self.offer.sack,
            ..plain.options
        };
        Segment { header: self.header, options, ..plain }
    }
}

/// Reads a SYN with options (`SYN`), which are left for later, or what has none but timestamps. Says how long its
/// header is too.
#[inline]
fn read<const SYN: bool>(frame: &[u8], mac: MacAddress) -> Option<(Plain, usize)> {
    let (addresses, typed) = frame.split_first_chunk::<12>()?;
    let (head, rest) = typed.split_first_chunk::<2>()?;
    let (vlan, packet, start) = match u16::from_be_bytes(*head) {
        IPV4 => (None, rest, 14),
        VLAN => {
            let (tag, rest) = rest.split_first_chunk::<4>()?;
            if u16::from_be_bytes([tag[2], tag[3]]) != IPV4 {
                return None;
            }
            (Some(u16::from_be_bytes([tag[0], tag[1]])), rest, 18)
        }
        _ => return None,
    };
    let fixed = packet.first_chunk::<{ IP_BYTES + HEADER_BYTES }>()?;
    let word = |at: usize| u32::from_ne_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let be = |at: usize| u32::from_be(word(at));
    let half = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let total = usize::from(half(2));
    // Version and length, not marked by a router (RFC 3168 5), no fragment, the protocol, a source that may be one
    // (RFC 1122 3.2.1.3).
    let usual =
        fixed[0] == 0x45 && fixed[1] & CONGESTED != CONGESTED && half(6) & 0x3fff == 0 && fixed[9] == TCP;
    let link = LinkKey::of(addresses, vlan);
    if !usual || fixed[12] >= 224 || be(12) == 0 || !link.is_for(mac) {
        return None;
    }
    let flags = Flags(fixed[33]);
    let (stamped, header) = match fixed[32] >> 4 {
        words @ 6.. if SYN && flags.has(Flags::SYN) => (false, usize::from(words) * 4),
        5 if !SYN => (false, HEADER_BYTES),
        8 if !SYN => (true, HEADER_BYTES + TIMESTAMP_BYTES),
        _ => return None,
    };
    let segment = packet.get(IP_BYTES..total)?;
    let len = segment.len().checked_sub(header)?;
    // RFC 1122 3.2.1.2, RFC 9293 3.1 MUST-3.
    let addressed = Sum::ZERO.double(word(12)).double(word(16));
    let ip = addressed.double(word(0)).double(word(4)).double(word(8));
    let tcp = addressed.word(u16::from(TCP)).word(segment.len() as u16).bytes(segment);
    if ip.fold() != 0 || tcp.fold() != 0 {
        return None;
    }
    let (mut stamp, mut echo) = (0, 0);
    if stamped {
        let options = segment[HEADER_BYTES..].first_chunk::<TIMESTAMP_BYTES>()?;
        let option =
            |at: usize| u32::from_be_bytes([options[at], options[at + 1], options[at + 2], options[at + 3]]);
        if option(0) != STAMPED {
            return None;
        }
        (stamp, echo) = (option(4), option(8));
    }
    Some((
        Plain {
            link,
            remote: be(12),
            local: be(16),
            remote_port: half(20),
            local_port: half(22),
            seq: Seq(be(24)),
            ack: Seq(be(28)),
            stamp,
            echo,
            window: half(34),
            flags,
            stamped,
            data: (start + IP_BYTES + header) as u16,
            len: len as u16,
        },
        header,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelton_packet::{Link, Parsed, headers, parse};
    use proptest::prelude::*;

    const US: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const THEM: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

    fn frame(vlan: Option<u16>, segment: &Segment, padding: usize) -> Vec<u8> {
        let link = Link { source: THEM, destination: US, vlan };
        let (from, to) = ("10.1.2.3".parse().unwrap(), "10.0.0.1".parse().unwrap());
        let mut bytes = vec![0; headers::bytes(link, from)];
        let start = bytes.len();
        let whole = segment.header_bytes() + usize::from(segment.len);
        headers::write(&mut bytes, link, from, to, TCP, 0, whole);
        bytes.resize(start + whole, 7);
        segment.write(from, to, &mut bytes[start..]);
        bytes.resize(start + whole + padding, 0);
        bytes
    }

    /// Whichever way is open to a frame.
    fn quick(bytes: &[u8]) -> Option<(Plain, Segment)> {
        let opening = Opening::read(bytes, US).map(|opening| (opening.plain, opening.segment()));
        let plain = Plain::read(bytes, US).map(|plain| (plain, plain.segment()));
        if let (Some(plain), Some(opening)) = (plain, opening) {
            assert_eq!(plain, opening, "a SYN with timestamps alone is both");
        }
        plain.or(opening)
    }

    proptest! {
        /// What is taken for plain is what the long way reads, to the last field; and what is meant to be plain is.
        #[test]
        fn agrees_with_the_long_way(
            vlan: Option<u16>, timestamps: Option<(u32, u32)>, mss: Option<u16>, odd in 0..4u8, flags: u8,
            scale in proptest::option::of(0..15u8), sack: bool,
            seq: u32, ack: u32, window: u16, len in 0..200u16, padding in 0..20usize, damage in 0..600usize, bit in 0..8u8,
        ) {
            let mut options = Options { timestamps, mss: mss.filter(|_| odd == 0), ..Options::default() };
            let syn = Flags(flags).has(Flags::SYN);
            if syn {
                (options.window_scale, options.sack_permitted) = (scale, sack);
            }
            let mut segment = Segment {
                source: 5, destination: 1883, seq: Seq(seq), ack: Seq(ack), flags: Flags(flags), window, options,
                header: 0, len,
            };
            segment.header = segment.header_bytes() as u8;
            let mut bytes = frame(vlan, &segment, padding);
            let short = quick(&bytes);
            prop_assert_eq!(short.is_some(), options.mss.is_none() || syn);
            if let Some((plain, quick)) = short {
                prop_assert_eq!(quick, segment);
                prop_assert_eq!(plain.link, Link { source: THEM, destination: US, vlan }.key());
                prop_assert_eq!(plain.tuple().remote, "10.1.2.3:5".parse().unwrap());
                prop_assert_eq!(plain.tuple().local, "10.0.0.1:1883".parse().unwrap());
            }
            // Whatever is damaged: never plain what the long way refuses or reads otherwise.
            if let Some(byte) = bytes.get_mut(damage) {
                *byte ^= 1 << bit;
            }
            if let Some((plain, quick)) = quick(&bytes) {
                let Ok(Parsed::Ip(datagram)) = parse(&bytes) else { panic!("plain, but not a datagram") };
                let slow = Segment::parse(datagram.source, datagram.destination, datagram.payload(&bytes));
                prop_assert_eq!(slow, Ok(quick));
                prop_assert_eq!(datagram.link.destination, US);
                prop_assert_eq!(datagram.link.key(), plain.link);
                prop_assert_eq!(plain.tuple().remote.ip(), datagram.source);
                prop_assert_eq!(plain.tuple().local.ip(), datagram.destination);
                let data = usize::from(datagram.start) + usize::from(quick.header);
                prop_assert_eq!(usize::from(plain.data), data);
            }
        }

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = quick(&bytes);
        }
    }

    #[test]
    fn sources_that_are_none_are_not_plain() {
        let segment = Segment { source: 5, flags: Flags::ACK, ..Segment::default() };
        let good = frame(None, &segment, 0);
        for source in [[0, 0, 0, 0], [224, 0, 0, 1], [255, 255, 255, 255]] {
            let mut bytes = good.clone();
            bytes[26..30].copy_from_slice(&source);
            bytes[24..26].fill(0);
            let sum = Sum::ZERO.bytes(&bytes[14..34]).fold();
            bytes[24..26].copy_from_slice(&sum.to_be_bytes());
            assert_eq!(Plain::read(&bytes, US), None);
            assert!(parse(&bytes).is_err());
        }
        assert!(Plain::read(&good, US).is_some());
        assert_eq!(Plain::read(&good, THEM), None, "for another station");
    }
}
