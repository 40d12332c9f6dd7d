//! Segments that belong to no connection: a SYN begins one, an ACK may bring a cookie back, all else is refused by a reset
//! or not answered at all (RFC 9293 3.10.7.1, 3.10.7.2).

use std::net::IpAddr;

use pelton_packet::{Frame, Port};

use crate::counters::{TcpCounter, TcpDrop};
use crate::segment::{Flags, Segment};
use crate::seq::Seq;
use crate::stack::{Arrival, Tcp, Way};

impl<P: Port> Tcp<P> {
    /// A segment that belongs to nothing.
    pub(crate) fn stray_segment(&mut self, arrival: &Arrival, frame: Frame) {
        let flags = arrival.segment.flags;
        // RFC 9293 3.9.2.3 MUST-63: what is from one of our own addresses, or from nobody's, is nothing.
        let remote = arrival.tuple.remote.ip();
        if self.interface.has(remote) || !is_host(remote) {
            self.drops.add(TcpDrop::NotForUs);
            self.port.put(frame);
            return;
        }
        match arrival.way {
            Way::Relayed => {
                // Its connection ended here, and the shard it came from has not heard of that yet.
                self.drops.add(TcpDrop::RelayStray);
                self.port.put(frame);
                return;
            }
            Way::Moving => {
                // The peer sends it again, and it is where it goes by then.
                self.drops.add(TcpDrop::Moving);
                self.port.put(frame);
                return;
            }
            Way::Port if self.is_searched(arrival) => {
                self.search(arrival, false, frame);
                return;
            }
            Way::Port | Way::Unfound => {}
        }
        if flags.has(Flags::RST) {
            self.drops.add(TcpDrop::StrayReset);
        } else if flags.has(Flags::SYN) && !flags.has(Flags::ACK) {
            if flags.has(Flags::FIN) {
                self.drops.add(TcpDrop::BadFlags);
            } else {
                self.listen_segment(arrival, None);
            }
        } else if flags.has(Flags::ACK) {
            if !flags.has(Flags::SYN) && self.cookies_are_about() {
                self.cookie_segment(arrival, frame);
                return;
            }
            self.refuse(arrival);
        } else {
            // RFC 9293 3.10.7.2 fourth: neither SYN nor ACK nor RST: should not occur.
            self.drops.add(TcpDrop::BadFlags);
        }
        self.port.put(frame);
    }

    /// A reset to what nobody is there for, RFC 9293 3.10.7.1, 3.5.2.
    pub(crate) fn refuse(&mut self, arrival: &Arrival) {
        // RFC 1122 3.2.1.3, RFC 9293 3.9.2.3 MUST-57: what is for another address, or for a group, gets no answer.
        if !self.interface.has(arrival.tuple.local.ip()) {
            self.drops.add(TcpDrop::NotForUs);
            return;
        }
        self.drops.add(TcpDrop::NoConnection);
        self.send_reset(arrival);
    }

    pub(crate) fn send_reset(&mut self, arrival: &Arrival) {
        let segment = &arrival.segment;
        if !self.resets.take(self.now, &mut self.rng) {
            self.drops.add(TcpDrop::ResetLimited);
            return;
        }
        let (seq, ack, flags) = if segment.flags.has(Flags::ACK) {
            (segment.ack, Seq(0), Flags::RST)
        } else {
            (Seq(0), segment.seq + segment.sequence_len(), Flags::RST.and(Flags::ACK))
        };
        let reset = Segment {
            source: segment.destination,
            destination: segment.source,
            seq,
            ack,
            flags,
            ..Segment::default()
        };
        self.counters.add(TcpCounter::ResetsOut);
        self.send_segment(arrival.link, arrival.tuple.local, arrival.tuple.remote, &reset, |_| {});
    }
}

/// Whether an address may be one of another host, RFC 1122 3.2.1.3.
pub(crate) const fn is_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !broadcast && !address.is_multicast() && !address.is_unspecified() && !address.is_loopback()
}
