//! A SYN to a listener while cookies are sent, answered in one go: what a flood consists of. Any other goes through
//! [`handshake`](crate::handshake), and so does this one where something is not as usual.

use std::net::{IpAddr, Ipv4Addr};

use pelton_packet::checksum::Sum;
use pelton_packet::parse::TCP;
use pelton_packet::{Link, Port};

use crate::compose::{IP_AND_TCP, put, write_below};
use crate::cookie;
use crate::counters::TcpCounter;
use crate::plain::{Opening, Plain, STAMPED};
use crate::segment::{Flags, HEADER_BYTES};
use crate::seq::Seq;
use crate::stack::Tcp;
use crate::stray::is_host;
use crate::tables::end_word;
use crate::tuple::hash_v4;

/// A SYN-ACK to an IPv4 peer.
#[derive(Clone, Copy, Debug)]
struct SynAck {
    local: u32,
    remote: u32,
    local_port: u16,
    remote_port: u16,
    seq: Seq,
    ack: Seq,
    window: u16,
    mss: u16,
    scale: Option<u8>,
    sack: bool,
    stamps: Option<(u32, u32)>,
}

impl SynAck {
    /// The options in the order of [`Segment::write`](crate::segment::Segment::write), and how many words they are.
    fn options(&self) -> ([u32; 6], usize) {
        let mut words = [0x0204 << 16 | u32::from(self.mss), 0, 0, 0, 0, 0];
        let mut used = 1;
        if let Some(scale) = self.scale {
            words[used] = 0x0103_0300 | u32::from(scale);
            used += 1;
        }
        if self.sack {
            words[used] = 0x0101_0402;
            used += 1;
        }
        if let Some((stamp, echo)) = self.stamps {
            words[used..used + 3].copy_from_slice(&[STAMPED, stamp, echo]);
            used += 3;
        }
        (words, used)
    }

    /// Writes the frame. `None` if `frame` is too short, with nothing of use written.
    #[inline]
    fn write(&self, link: &Link, options: &[u32], frame: &mut [u8]) -> Option<()> {
        let bytes = HEADER_BYTES + 4 * options.len();
        let (addressed, segment) = write_below(link, frame, self.local, self.remote, bytes)?;
        let (fixed, rest) = segment.split_first_chunk_mut::<HEADER_BYTES>()?;
        let flags = Flags::SYN.and(Flags::ACK);
        let offset = (bytes as u32 / 4) << 28 | u32::from(flags.0) << 16 | u32::from(self.window);
        let ports = u32::from(self.local_port) << 16 | u32::from(self.remote_port);
        let mut sum: Sum = addressed.word(u16::from(TCP)).word(bytes as u16);
        for (at, word) in [ports, self.seq.0, self.ack.0, offset].into_iter().enumerate() {
            put(fixed, 4 * at, word.to_be());
            sum = sum.double(word.to_be());
        }
        for (place, word) in rest.as_chunks_mut::<4>().0.iter_mut().zip(options) {
            *place = word.to_be_bytes();
            sum = sum.double(word.to_be());
        }
        // The checksum, and no urgent pointer.
        put(fixed, 16, (u32::from(sum.fold()) << 16).to_be());
        Some(())
    }
}

impl<P: Port> Tcp<P> {
    /// Answers a SYN that belongs to nothing with a cookie. Where that is not so simple nothing is done.
    #[inline]
    pub(crate) fn answered_by_cookie(&mut self, opening: &Opening) -> bool {
        #[cfg(test)]
        if self.long_way {
            return false;
        }
        let plain = &opening.plain;
        let &Plain { local, remote, local_port, remote_port, .. } = plain;
        let flags = Flags::SYN.and(Flags::ACK).and(Flags::FIN).and(Flags::RST);
        let usual = plain.flags.0 & flags.0 == Flags::SYN.0
            && self.half_open.is_full()
            && !self.tcbs.is_full()
            && self.locals.is_first_listener(end_word(local, local_port));
        // RFC 9293 3.9.2.3: one of our own or of nobody is for the long way to drop.
        let from = IpAddr::from(Ipv4Addr::from(remote));
        if !usual || self.interface.has(from) || !is_host(from) {
            return false;
        }
        self.counters.add(TcpCounter::Syns);
        let agreed = self.agree_by_cookie(opening.offer, true);
        let (cookies, stamps) = (self.keys.cookie, self.keys.stamps);
        let ends = |key| hash_v4(key, remote, local, remote_port, local_port);
        let reply = SynAck {
            local,
            remote,
            local_port,
            remote_port,
            seq: cookie::make(cookies, ends(cookies), plain.seq, agreed.mss, self.now),
            ack: plain.seq + 1,
            window: self.settings.receive_window_bytes.min(65_535) as u16,
            mss: self.own_mss(true),
            scale: agreed.scale.map(|_| self.settings.receive_scale()),
            sack: agreed.sack,
            stamps: agreed.timestamps.then(|| {
                let now = self.now_ms.wrapping_add(ends(stamps) as u32);
                (cookie::stamp(now, agreed), plain.stamp)
            }),
        };
        self.count_cookie();
        let link = plain.link.link().reverse();
        let (options, used) = reply.options();
        let bytes = link.header_bytes() + IP_AND_TCP + 4 * used;
        self.send_frame(bytes, |frame| reply.write(&link, &options[..used], frame));
        #[cfg(test)]
        {
            self.predicted_syns += 1;
        }
        true
    }
}
