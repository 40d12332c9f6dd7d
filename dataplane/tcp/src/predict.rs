//! The segments that nearly all are: on an open connection where nothing is amiss, what comes is the next in order
//! or nothing, and acknowledges all that is under way or nothing new. For these all the steps of
//! [`input`](crate::input) come down to a few words that are changed; whatever else comes goes through the steps.

use pelton_base::Key;
use pelton_packet::{Frame, Port};

use crate::chunk::Chunk;
use crate::counters::TcpCounter;
use crate::input::Owed;
use crate::plain::Plain;
use crate::segment::Flags;
use crate::seq::time_lt;
use crate::stack::{Arrival, Event, Tcp};
use crate::tcb::{Facts, Hot, NO_COLD, State, Timer};

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

/// What makes a segment an unusual one.
const UNUSUAL_FLAGS: Flags = Flags::SYN.and(Flags::FIN).and(Flags::RST).and(Flags::ECE).and(Flags::CWR);

impl Facts {
    /// The shard may be told to take off what was acknowledged: it is not yet, nor about to be.
    #[inline]
    const fn may_be_consumed(self) -> bool {
        !self.has(Self::CONSUME.or(Self::SERVICE).or(Self::ORPHAN))
    }
}

impl Hot {
    /// Whether a segment is as expected: then [`Hot::take_plain`] and [`Hot::receive`] are all there is to it.
    #[inline]
    fn predicts(&self, plain: &Plain) -> bool {
        let flags = Flags::ACK.and(UNUSUAL_FLAGS);
        let end = plain.seq + u32::from(plain.len);
        self.state == State::Established
            && !self.facts.has(UNUSUAL)
            && self.cold == NO_COLD
            && self.timer != Timer::Persist
            && self.window != 0
            && plain.flags.0 & flags.0 == Flags::ACK.0
            && plain.seq == self.rcv_nxt
            && end.le(self.rcv_edge)
            && plain.stamped == self.facts.has(Facts::TIMESTAMPS)
            && !(plain.stamped && time_lt(plain.stamp, self.ts_recent))
            // All that is under way, or nothing new; the latter must not be a duplicate acknowledgement.
            && (plain.ack == self.snd_max || (plain.ack == self.snd_una && plain.len != 0))
    }

    /// Everything for a segment that was predicted but its data. Whether it acknowledges something new: all that was
    /// under way.
    #[inline]
    fn take_plain(&mut self, plain: &Plain, now_ms: u32, now_us: u32, delayed_ack_ms: u32) -> bool {
        let advances = plain.ack != self.snd_una;
        // RFC 7323 4.3.
        if plain.stamped && !self.facts.has(Facts::ACK_OWED) {
            self.ts_recent = plain.stamp;
        }
        // RFC 9293 3.10.7.4; what acknowledges something new is newer than all before.
        if advances || self.snd_wl1.le(plain.seq) {
            self.window = plain.window;
            self.snd_wl1 = plain.seq;
            self.window_max = self.window_max.max(plain.window);
        }
        self.hear(now_ms, u32::from(plain.len), delayed_ack_ms);
        self.probes = 0;
        if advances {
            let flight = self.flight();
            self.measured(now_us.wrapping_sub(self.sent_us));
            self.snd_una = plain.ack;
            self.stalled_ms = now_ms;
            self.backoff = 0;
            self.dup_acks = 0;
            self.timer = Timer::None;
            self.facts.clear(Facts::PROBED);
            self.grow(flight, flight);
        }
        advances
    }

    /// In-order data goes to the shard, of a connection that was not closed. What is owed for it.
    #[inline]
    fn receive(&mut self, len: u32) -> Owed {
        self.rcv_nxt += len;
        self.held += len;
        self.owe_ack()
    }
}

impl<P: Port> Tcp<P> {
    /// A plain segment for a connection.
    #[inline]
    pub(crate) fn plain_segment(&mut self, index: u32, plain: &Plain, hash: u32, mut frame: Frame) {
        self.acknowledge_pair(index, plain.len);
        let hot = &mut self.tcbs[index];
        let predicted = hot.predicts(plain) && self.links.arrives(hot.link, plain.link);
        #[cfg(test)]
        let predicted = predicted && !self.long_way;
        if !predicted {
            self.segment_arrives(index, &Arrival::of_plain(plain, hash), frame);
            return;
        }
        #[cfg(test)]
        {
            self.predicted += 1;
        }
        let key = Key { index, generation: hot.generation };
        if hot.take_plain(plain, self.now_ms, self.now_us, self.settings.delayed_ack_ms) {
            if hot.facts.needs_no_look(&self.settings) {
                self.soon.dismiss(index);
            }
            if hot.facts.may_be_consumed() {
                hot.facts.set(Facts::CONSUME);
                self.consume.push(key);
            }
        }
        if plain.len == 0 {
            self.port.put(frame);
            return;
        }
        let owed = hot.receive(u32::from(plain.len));
        // An answer starts a timer.
        self.soon.prefetch(index);
        frame.set_range(frame.start() + usize::from(plain.data), usize::from(plain.len));
        self.counters.add_n(TcpCounter::BytesIn, u64::from(plain.len));
        match owed {
            Owed::Known => {}
            Owed::Delayed => self.heard.push(key),
            Owed::Now => self.list(index),
        }
        self.events.push_back(Event::Data(key, Chunk::Frame(frame)));
    }

    /// The shard takes what was acknowledged off its queue when there is time.
    #[inline]
    pub(crate) fn consume_soon(&mut self, index: u32) {
        let key = self.tcbs.key(index);
        let hot = &mut self.tcbs[index];
        if hot.facts.may_be_consumed() {
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
