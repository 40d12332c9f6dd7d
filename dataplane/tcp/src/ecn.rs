//! Explicit congestion notification, RFC 9293 3.8.2 SHLD-8, RFC 3168: routers mark instead of dropping, the receiver says
//! so until it hears that the sender has slowed down.

use pelton_packet::Port;

use crate::counters::TcpCounter;
use crate::prr::Prr;
use crate::segment::{Flags, Segment};
use crate::settings::Ecn;
use crate::stack::Tcp;
use crate::tcb::{Facts, Hot};

/// The mark of a packet whose sender takes part, RFC 3168 5.
const TAKES_PART: u8 = 2;
/// The mark of a router that is congested.
pub(crate) const CONGESTED: u8 = 3;

impl Ecn {
    /// Whether a SYN with these flags is agreed with. RFC 3168 6.1.1.
    pub(crate) fn agrees(self, syn: Flags) -> bool {
        self != Self::Off && syn.has(Flags::ECE.and(Flags::CWR))
    }

    /// Whether the answer to a SYN of ours with these flags agrees. RFC 3168 6.1.1: both flags are those of a host that
    /// sends back what it does not know.
    pub(crate) fn agreed(self, syn_ack: Flags) -> bool {
        self == Self::Ask && syn_ack.has(Flags::ECE) && !syn_ack.has(Flags::CWR)
    }
}

impl Hot {
    /// What a segment with `len` bytes at the end of what is under way (`fresh`) says beside `flags`, and how its packet
    /// is marked. RFC 3168 6.1.2, 6.1.4, 6.1.5: what is sent again is not, nor what has no data.
    pub(crate) const fn marks(&self, flags: Flags, fresh: bool) -> (Flags, u8) {
        let mut flags = flags;
        if !self.facts.has(Facts::ECN) {
            return (flags, 0);
        }
        if self.facts.has(Facts::ECN_ECHO) {
            flags = flags.and(Flags::ECE);
        }
        if !fresh {
            return (flags, 0);
        }
        if self.facts.has(Facts::CWR_OWED) {
            flags = flags.and(Flags::CWR);
        }
        (flags, TAKES_PART)
    }
}

impl<P: Port> Tcp<P> {
    /// A good segment of the peer came; `congested`: in a packet that a router has marked.
    pub(crate) fn take_marks(&mut self, index: u32, segment: &Segment, congested: bool) {
        let hot = &mut self.tcbs[index];
        if !hot.facts.has(Facts::ECN) {
            return;
        }
        // RFC 3168 6.1.3: it is said until the peer says that it has slowed down; this very packet may say both.
        if segment.flags.has(Flags::CWR) {
            hot.facts.clear(Facts::ECN_ECHO);
        }
        if congested {
            self.counters.add(TcpCounter::CongestionMet);
            if !hot.facts.has(Facts::ECN_ECHO) {
                hot.facts.set(Facts::ECN_ECHO.or(Facts::ACK_NOW));
                self.list(index);
            }
        }
    }

    /// Something new was acknowledged, of `flight` bytes; whether the peer says that the path to it is congested.
    /// RFC 3168 6.1.2: once in a round trip that is taken like a loss, but nothing is sent again.
    pub(crate) fn hear_echo(&mut self, index: u32, segment: &Segment, flight: u32, delivered: u32) -> bool {
        let hot = &self.tcbs[index];
        if !hot.facts.has(Facts::ECN) || !segment.flags.has(Flags::ECE) {
            return false;
        }
        let already = hot.snd_una.lt(hot.recover) && hot.recover.le(hot.snd_max);
        if hot.recovering() || already {
            return true;
        }
        self.counters.add(TcpCounter::CongestionEchoed);
        if hot.flight() > 0 {
            self.ensure_flight(index);
        }
        self.reduce(index, flight, false);
        let hot = &mut self.tcbs[index];
        hot.recover = hot.snd_max;
        match self.cold.get_mut(hot.cold) {
            Some(cold) if hot.flight() > 0 => {
                let left = (hot.flight() + delivered).saturating_sub(cold.flight.sacked_bytes());
                cold.prr = Some(Prr::new(left));
            }
            _ => hot.cwnd = hot.ssthresh,
        }
        true
    }
}
