//! What the path to a peer carries (RFC 9293 3.7.2): routers' words about segments that were too long (RFC 1191, RFC 8201), believed
//! only about segments under way (RFC 5927), and the suspicion that a router says nothing (RFC 2923 2.1).

use std::net::SocketAddr;

use pelton_base::TooBig;
use pelton_packet::Port;
use pelton_packet::icmp::{Complaint, IcmpError};

use crate::counters::{TcpCounter, TcpDrop};
use crate::demux::Entry;
use crate::seq::Seq;
use crate::stack::Tcp;
use crate::tcb::{Facts, State};
use crate::tuple::Tuple;

/// The segment size that every IPv4 path carries (RFC 9293 3.7.1 MUST-15), and every IPv6 path (RFC 8200 5, RFC 8201 4).
const MSS_FLOOR_V4: u16 = 536;
const MSS_FLOOR_V6: u16 = 1220;
/// Time-outs in a row with a long segment under way that make a black hole likely.
const TIME_OUTS: u8 = 2;

impl<P: Port> Tcp<P> {
    /// A router or the peer's host complains about something that was sent, RFC 9293 3.9.2.2 MUST-54.
    pub(crate) fn complaint(&mut self, error: &IcmpError) {
        match self.subject(error.local, error.remote) {
            Some(index) => self.complaint_about(index, error),
            None => self.drops.add(TcpDrop::BadIcmp),
        }
    }

    /// The same, from whoever reads such words in the stacks' place and tells all of them: most do not know the
    /// connection.
    pub(crate) fn told_too_big(&mut self, told: &TooBig) {
        let &TooBig { local, remote, mtu_bytes, sequence } = told;
        if let Some(index) = self.subject(local, remote) {
            let complaint = Complaint::TooBig(mtu_bytes);
            self.complaint_about(index, &IcmpError { complaint, local, remote, sequence });
        }
    }

    fn subject(&self, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        let tuple = Tuple { local, remote };
        match self.demux.find(self.keys.demux.hash(&tuple), |entry| self.is(entry, &tuple)) {
            Some(Entry::Tcb(index)) => Some(index),
            _ => None,
        }
    }

    fn complaint_about(&mut self, index: u32, error: &IcmpError) {
        let hot = &self.tcbs[index];
        let sequence = Seq(error.sequence);
        // RFC 5927 4.1: who does not know what is under way did not see it.
        if !(hot.snd_una.le(sequence) && sequence.lt(hot.snd_max)) {
            self.drops.add(TcpDrop::BadIcmp);
            return;
        }
        let Complaint::TooBig(mtu) = error.complaint else {
            // RFC 9293 3.9.2.2 MUST-56, SHLD-26: soft errors do not end a connection. Its time-outs do. What are called
            // hard ones are no better known to be true (RFC 5927 5).
            return;
        };
        let v6 = hot.facts.has(Facts::V6);
        let (floor, headers) = if v6 { (MSS_FLOOR_V6, 60) } else { (MSS_FLOOR_V4, 40) };
        let mss = match mtu {
            // RFC 1191 5: a router that does not say; the next lower size that is common.
            0 if hot.mss > MSS_FLOOR_V6 => MSS_FLOOR_V6,
            0 => floor,
            mtu => (mtu.saturating_sub(headers).min(65_535) as u16).max(floor),
        };
        let before = self.tcbs[index].mss;
        if self.tcbs[index].shrink_mss(mss) {
            self.narrowed(index, before, true);
            self.counters.add(TcpCounter::PathMtuLowered);
            if !matches!(self.tcbs[index].state, State::SynSent | State::SynReceived) {
                // RFC 1191 6.4: what was too long is gone; this is no congestion.
                self.lose(index, None);
                self.tcbs[index].facts.set(Facts::RESEND_HEAD);
                self.serve(index);
            }
        }
    }

    /// RFC 4821 7.7, a time-out: if what is longer than every path must carry vanishes again and again, shorter segments are tried.
    pub(crate) fn suspect_black_hole(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        if hot.backoff < TIME_OUTS {
            return;
        }
        let longest = hot.flight().min(u32::from(hot.mss));
        let mss = if longest > u32::from(MSS_FLOOR_V6) {
            MSS_FLOOR_V6
        } else if longest > u32::from(MSS_FLOOR_V4) && !hot.facts.has(Facts::V6) {
            MSS_FLOOR_V4
        } else {
            return;
        };
        let before = hot.mss;
        if hot.shrink_mss(mss) {
            self.narrowed(index, before, false);
            self.counters.add(TcpCounter::BlackHoleSuspected);
        }
    }
}
