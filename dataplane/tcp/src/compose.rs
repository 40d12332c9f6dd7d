//! The frame that nearly all of ours are, written in one go: Ethernet, tagged or not; IPv4; TCP with no options or the
//! timestamps alone. What goes into the checksums is summed as it is written.

use pelton_packet::checksum::Sum;
use pelton_packet::headers::HOPS;
use pelton_packet::parse::{IPV4, TCP, VLAN};
use pelton_packet::{Link, Port};

use crate::counters::{TcpCounter, TcpDrop};
use crate::plain::{IP_BYTES, STAMPED};
use crate::segment::{Flags, HEADER_BYTES, TIMESTAMP_BYTES};
use crate::seq::Seq;
use crate::stack::Tcp;

/// Bytes of an IPv4 header and a TCP header without options.
pub(crate) const IP_AND_TCP: usize = IP_BYTES + HEADER_BYTES;

/// A segment to an IPv4 peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outbound {
    pub(crate) local: u32,
    pub(crate) remote: u32,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
    pub(crate) seq: Seq,
    pub(crate) ack: Seq,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) stamps: Option<(u32, u32)>,
    /// Bytes of data.
    pub(crate) len: usize,
}

impl Outbound {
    fn header_bytes(&self) -> usize {
        HEADER_BYTES + if self.stamps.is_some() { TIMESTAMP_BYTES } else { 0 }
    }

    fn frame_bytes(&self, link: &Link) -> usize {
        link.header_bytes() + IP_BYTES + self.header_bytes() + self.len
    }

    /// Writes the frame; `write` writes its data. `None` if `frame` is shorter than
    /// [`frame_bytes`](Outbound::frame_bytes), with nothing of use written.
    #[inline]
    fn write(&self, link: &Link, frame: &mut [u8], write: impl FnOnce(&mut [u8])) -> Option<()> {
        let segment_bytes = self.header_bytes() + self.len;
        let (addressed, segment) = write_below(link, frame, self.local, self.remote, segment_bytes)?;
        let mut sum = addressed.word(u16::from(TCP)).word(segment_bytes as u16);
        let (fixed, mut rest) = segment.split_first_chunk_mut::<HEADER_BYTES>()?;
        let ports = (u32::from(self.local_port) << 16 | u32::from(self.remote_port)).to_be();
        let offset = (self.header_bytes() as u32 / 4) << 28;
        let offset = (offset | u32::from(self.flags.0) << 16 | u32::from(self.window)).to_be();
        let (seq, ack) = (self.seq.0.to_be(), self.ack.0.to_be());
        sum = sum.double(ports).double(seq).double(ack).double(offset);
        put(fixed, 0, ports);
        put(fixed, 4, seq);
        put(fixed, 8, ack);
        put(fixed, 12, offset);
        if let Some((stamp, echo)) = self.stamps {
            let (options, behind) = rest.split_first_chunk_mut::<TIMESTAMP_BYTES>()?;
            let (kind, stamp, echo) = (STAMPED.to_be(), stamp.to_be(), echo.to_be());
            sum = sum.double(kind).double(stamp).double(echo);
            put(options, 0, kind);
            put(options, 4, stamp);
            put(options, 8, echo);
            rest = behind;
        }
        if self.len > 0 {
            let data = rest.get_mut(..self.len)?;
            write(data);
            sum = sum.bytes(data);
        }
        // The checksum, and no urgent pointer.
        put(fixed, 16, (u32::from(sum.fold()) << 16).to_be());
        Some(())
    }
}

/// Writes what is below a segment of so many bytes. The sum of the addresses, and where the segment goes.
#[inline]
pub(crate) fn write_below<'a>(
    link: &Link,
    frame: &'a mut [u8],
    local: u32,
    remote: u32,
    segment_bytes: usize,
) -> Option<(Sum, &'a mut [u8])> {
    let (addresses, typed) = frame.split_first_chunk_mut::<12>()?;
    addresses[..6].copy_from_slice(&link.destination.0);
    addresses[6..].copy_from_slice(&link.source.0);
    let packet = match link.vlan {
        None => {
            let (head, packet) = typed.split_first_chunk_mut::<2>()?;
            *head = IPV4.to_be_bytes();
            packet
        }
        Some(tag) => {
            let (head, packet) = typed.split_first_chunk_mut::<6>()?;
            let [a, b] = tag.to_be_bytes();
            let ([c, d], [e, f]) = (VLAN.to_be_bytes(), IPV4.to_be_bytes());
            *head = [c, d, a, b, e, f];
            packet
        }
    };
    let (ip, segment) = packet.split_first_chunk_mut::<IP_BYTES>()?;
    let addressed = Sum::ZERO.double(remote.to_be()).double(local.to_be());
    // Version and length, no DSCP, total length; identification zero (RFC 6864 4.1), do not fragment.
    let total = (0x4500 << 16 | (IP_BYTES + segment_bytes) as u32).to_be();
    let hops = u32::from(HOPS) << 24 | u32::from(TCP) << 16;
    let (fragment, hops) = (0x4000u32.to_be(), hops.to_be());
    let sum = addressed.double(total).double(fragment).double(hops).fold();
    let hops = hops | (u32::from(sum)).to_be();
    put(ip, 0, total);
    put(ip, 4, fragment);
    put(ip, 8, hops);
    put(ip, 12, local.to_be());
    put(ip, 16, remote.to_be());
    Some((addressed, segment))
}

#[inline]
pub(crate) fn put<const N: usize>(into: &mut [u8; N], at: usize, word: u32) {
    into[at..at + 4].copy_from_slice(&word.to_ne_bytes());
}

impl<P: Port> Tcp<P> {
    /// Sends a segment; `write` writes its data. Whether that worked.
    #[inline]
    pub(crate) fn send_outbound(
        &mut self,
        link: u16,
        outbound: &Outbound,
        write: impl FnOnce(&mut [u8]),
    ) -> bool {
        let link = self.links.get(link);
        self.send_frame(outbound.frame_bytes(&link), |frame| outbound.write(&link, frame, write))
    }

    /// Sends a frame of so many bytes that `write` writes. Whether that worked.
    #[inline]
    pub(crate) fn send_frame(&mut self, bytes: usize, write: impl FnOnce(&mut [u8]) -> Option<()>) -> bool {
        let Some(mut frame) = self.port.take() else {
            self.drops.add(TcpDrop::NoFrame);
            return false;
        };
        frame.set_range(0, bytes);
        let written = write(&mut frame);
        assert!(written.is_some(), "a frame as long as was computed");
        match self.port.send(self.now, frame) {
            Ok(()) => {
                self.counters.add(TcpCounter::SegmentsOut);
                true
            }
            Err(frame) => {
                self.drops.add(TcpDrop::PortFull);
                self.port.put(frame);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    use crate::segment::{Options, Segment};
    use pelton_packet::{MacAddress, headers};
    use proptest::prelude::*;

    proptest! {
        /// To the last byte what the long way writes.
        #[test]
        fn agrees_with_the_long_way(
            vlan: Option<u16>, stamps: Option<(u32, u32)>, local: u32, remote: u32, ports: (u16, u16), seq: u32,
            ack: u32, flags: u8, window: u16, data in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let source = MacAddress([2, 0, 0, 0, 0, 1]);
            let link = Link { source, destination: MacAddress([6, 5, 4, 3, 2, 1]), vlan };
            let outbound = Outbound {
                local, remote, local_port: ports.0, remote_port: ports.1, seq: Seq(seq), ack: Seq(ack),
                flags: Flags(flags), window, stamps, len: data.len(),
            };
            let mut quick = vec![0xaa; outbound.frame_bytes(&link)];
            prop_assert!(outbound.write(&link, &mut quick, |into| into.copy_from_slice(&data)).is_some());
            let segment = Segment {
                source: ports.0, destination: ports.1, seq: Seq(seq), ack: Seq(ack), flags: Flags(flags), window,
                options: Options { timestamps: stamps, ..Options::default() }, header: 0, len: data.len() as u16,
            };
            let (local, remote) = (Ipv4Addr::from_bits(local).into(), Ipv4Addr::from_bits(remote).into());
            let start = headers::bytes(link, local);
            let whole = segment.header_bytes() + data.len();
            let mut long = vec![0xbb; start + whole];
            headers::write(&mut long, link, local, remote, TCP, 0, whole);
            long[start + segment.header_bytes()..].copy_from_slice(&data);
            segment.write(local, remote, &mut long[start..]);
            prop_assert_eq!(quick, long);
        }
    }
}
