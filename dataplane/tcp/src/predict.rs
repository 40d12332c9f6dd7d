//! The segments that nearly all are: on an open connection where nothing is amiss, what comes is the next in order
//! or nothing, and acknowledges all that is under way or nothing new. For these all the steps of
//! [`input`](crate::input) come down to a few words that are changed; whatever else comes goes through the steps.

use pelton_packet::{Frame, Port};

use crate::counters::TcpCounter;
use crate::plain::Plain;
use crate::segment::Flags;
use crate::seq::time_lt;
use crate::stack::{Arrival, Tcp};
use crate::tcb::{Facts, NO_COLD, State, Timer};

/// What makes a connection an unusual one.
const UNUSUAL: Facts = Facts::V6
    .or(Facts::BLOCKED)
    .or(Facts::APP_CLOSED)
    .or(Facts::FIN_SENT)
    .or(Facts::ORPHAN)
    .or(Facts::RETRANSMITTED)
    .or(Facts::RESEND_HEAD)
    .or(Facts::RECOVERY)
    .or(Facts::LOSS)
    .or(Facts::TAIL_PROBE)
    .or(Facts::WINDOW_PROBE)
    .or(Facts::PROBE_ACKED)
    .or(Facts::PEER_CLOSED)
    .or(Facts::FIN_STARVED);

impl<P: Port> Tcp<P> {
    /// A plain segment for a connection.
    #[inline]
    pub(crate) fn plain_segment(&mut self, index: u32, plain: &Plain, hash: u32, frame: Frame) {
        self.acknowledge_pair(index, plain.len);
        if !self.predicted(index, plain) {
            self.segment_arrives(index, &Arrival::of_plain(plain, hash), frame);
            return;
        }
        if plain.len == 0 {
            self.port.put(frame);
            return;
        }
        let mut frame = frame;
        frame.set_range(frame.start() + usize::from(plain.data), usize::from(plain.len));
        self.deliver(index, frame);
        self.owe_ack(index);
    }

    /// Does everything for a segment but take its data. Where that is not so simple nothing is changed.
    #[inline]
    fn predicted(&mut self, index: u32, plain: &Plain) -> bool {
        #[cfg(test)]
        if self.long_way {
            return false;
        }
        let hot = &mut self.tcbs[index];
        let flags =
            Flags::ACK.and(Flags::SYN).and(Flags::FIN).and(Flags::RST).and(Flags::ECE).and(Flags::CWR);
        let end = plain.seq + u32::from(plain.len);
        let usual = hot.state == State::Established
            && !hot.facts.has(UNUSUAL)
            && hot.cold == NO_COLD
            && hot.timer != Timer::Persist
            && hot.window != 0
            && plain.flags.0 & flags.0 == Flags::ACK.0
            && plain.seq == hot.rcv_nxt
            && end.le(hot.rcv_edge)
            && plain.stamped == hot.facts.has(Facts::TIMESTAMPS)
            && !(plain.stamped && time_lt(plain.stamp, hot.ts_recent))
            && self.links.arrives(hot.link, plain.link);
        if !usual {
            return false;
        }
        // All that is under way, or nothing new; the latter must not be a duplicate acknowledgement.
        let advances = plain.ack != hot.snd_una;
        if plain.ack != hot.snd_max && (advances || plain.len == 0) {
            return false;
        }
        // RFC 7323 4.3.
        if plain.stamped && !hot.facts.has(Facts::ACK_OWED) {
            hot.ts_recent = plain.stamp;
        }
        // RFC 9293 3.10.7.4; what acknowledges something new is newer than all before.
        if advances || hot.snd_wl1.le(plain.seq) {
            hot.window = plain.window;
            hot.snd_wl1 = plain.seq;
            hot.window_max = hot.window_max.max(plain.window);
        }
        hot.hear(self.now_ms, u32::from(plain.len), self.settings.delayed_ack_ms);
        hot.probes = 0;
        if advances {
            let flight = hot.flight();
            hot.measured(self.now_us.wrapping_sub(hot.sent_us));
            hot.snd_una = plain.ack;
            hot.stalled_ms = self.now_ms;
            hot.backoff = 0;
            hot.dup_acks = 0;
            hot.timer = Timer::None;
            hot.facts.clear(Facts::PROBED);
            hot.grow(flight, flight);
            self.dismiss(index);
            self.consume_soon(index);
        }
        #[cfg(test)]
        {
            self.predicted += 1;
        }
        true
    }

    /// The shard takes what was acknowledged off its queue when there is time.
    #[inline]
    pub(crate) fn consume_soon(&mut self, index: u32) {
        let key = self.tcbs.key(index);
        let hot = &mut self.tcbs[index];
        if !hot.facts.has(Facts::CONSUME.or(Facts::SERVICE).or(Facts::ORPHAN)) {
            hot.facts.set(Facts::CONSUME);
            self.consume.push(key);
        }
    }

    /// Counts a segment that came in.
    #[inline]
    pub(crate) fn count_in(&mut self) {
        self.counters.add(TcpCounter::SegmentsIn);
    }
}

#[cfg(test)]
mod tests;
