//! What an acknowledgement does: what it frees, measures, and shows to be lost. RFC 5681, RFC 6582, RFC 6675,
//! RFC 8985; windows by RFC 9293 3.10.7.4 fifth.

use pelton_packet::Port;

use crate::cold::Cold;
use crate::counters::TcpCounter;
use crate::flight::Delivered;
use crate::prr::News;
use crate::segment::{Flags, Segment};
use crate::seq::{Seq, time_lt};
use crate::stack::Tcp;
use crate::tcb::{Facts, Hot, NO_COLD, Timer};

/// Duplicate acknowledgements that show a loss, RFC 5681 3.2.
pub(crate) const DUP_THRESHOLD: u8 = 3;

impl<P: Port> Tcp<P> {
    /// An acceptable acknowledgement.
    #[inline]
    pub(crate) fn acknowledged(&mut self, index: u32, segment: &Segment) {
        let hot = &mut self.tcbs[index];
        let (una, ack) = (hot.snd_una, segment.ack);
        // RFC 9293 3.1 MUST-1, REC-1.
        let window = segment.window;
        let advances = una.lt(ack);
        let same_window = window == hot.window;
        // RFC 9293 3.10.7.4: SND.WL2 is never beyond SND.UNA, so that its condition holds whenever this one does. What
        // acknowledges something new is newer than all before, be it sent again from an older place: the window of
        // before would reach beyond the edge that the peer says.
        if advances || (una == ack && hot.snd_wl1.le(segment.seq)) {
            let opened = hot.window == 0 && window > 0;
            let widened = hot.window < window;
            hot.window = window;
            hot.snd_wl1 = segment.seq;
            hot.window_max = hot.window_max.max(window);
            if opened {
                self.window_opened(index);
            } else if widened && self.tcbs[index].timer == Timer::Persist {
                self.window_widened(index);
            }
        }
        if !advances {
            self.probe_was_needless(index, segment);
        }
        if advances {
            self.advance(index, segment);
        } else if !segment.options.sack.is_empty() && self.tcbs[index].sacks() {
            // One that was overtaken by a later acknowledgement may still say something new.
            self.selective(index, segment);
        } else if ack == una
            && self.tcbs[index].flight() > 0
            && segment.len == 0
            && same_window
            && !segment.flags.has(Flags::FIN)
            && self.tcbs[index].timer != Timer::Persist
        {
            // RFC 5681 2: a duplicate acknowledgement; not the answer to a probe of the closed window.
            self.duplicate(index);
        }
        let hot = &self.tcbs[index];
        if hot.facts.has(Facts::BLOCKED) && !hot.facts.has(Facts::SERVICE) && (advances || !same_window) {
            self.serve(index);
        }
    }

    /// The window was closed and is open.
    fn window_opened(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        hot.stalled_ms = self.now_ms;
        if hot.timer == Timer::Persist {
            hot.backoff = 0;
            hot.timer = Timer::None;
            if hot.flight() > 0 {
                // What probed the window was refused by it.
                self.lose(index, None);
                self.rearm(index);
                self.serve(index);
            }
        }
    }

    /// The window was too little to be filled, and is wider. What was sent into it is waited for as anything else from now
    /// on, not for as long as its probes had come to be apart.
    fn window_widened(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        if hot.flight() > 0 {
            hot.backoff = 0;
            hot.timer = Timer::None;
            self.rearm(index);
        }
    }

    #[inline]
    fn advance(&mut self, index: u32, segment: &Segment) {
        let now_us = self.now_us;
        let hot = &mut self.tcbs[index];
        let (una, ack, flight) = (hot.snd_una, segment.ack, hot.flight());
        let acked = ack.since(una);
        let mut rtt_us = None;
        // Bytes that are known to have arrived since before.
        let mut delivered = acked;
        if hot.cold == NO_COLD {
            if !hot.facts.has(Facts::RETRANSMITTED) {
                // RFC 6298 3, RFC 9293 3.8.1 MUST-18. All that is under way was sent at one time.
                rtt_us = Some(now_us.wrapping_sub(hot.sent_us));
            }
        } else if let Some(cold) = self.cold.get_mut(hot.cold) {
            if cold.flight.is_empty() {
                rtt_us = (!hot.facts.has(Facts::RETRANSMITTED)).then(|| now_us.wrapping_sub(hot.sent_us));
            } else {
                let arrived = cold.flight.acknowledged(ack, now_us, cold.min_rtt_us);
                rtt_us = arrived.rtt_us;
                let sacked = take_blocks(cold, segment, ack, now_us, &mut rtt_us, hot.sacks());
                debug_assert!(sacked <= flight);
                delivered = arrived.bytes + sacked;
            }
        }
        if let Some(rtt_us) = rtt_us {
            hot.measured(rtt_us);
            if let Some(cold) = self.cold.get_mut(hot.cold) {
                cold.measured(rtt_us);
            }
        } else if hot.facts.has(Facts::TIMESTAMPS)
            && let Some((_, echo)) = segment.options.timestamps
        {
            // RFC 7323 4.1: with an echo it does not matter that something was sent twice. It does matter that the
            // first answer may have been lost: then the echo is of the first time, and what is measured is how long
            // we waited. After a time-out such a measurement would double the next wait, again and again. Of the least
            // round trip it says nothing: whole milliseconds are none at all where the peer is near.
            let elapsed_ms = self.now_ms.wrapping_add(hot.ts_offset).wrapping_sub(echo);
            let waited = hot.facts.has(Facts::LOSS) && elapsed_ms > hot.rto_base_ms(&self.settings);
            if elapsed_ms < 120_000 && !waited {
                hot.measured(elapsed_ms * 1_000);
            }
        }
        hot.snd_una = ack;
        hot.stalled_ms = self.now_ms;
        hot.backoff = 0;
        hot.facts.clear(Facts::PROBED);
        if ack == hot.snd_max {
            hot.facts.clear(Facts::RETRANSMITTED.or(Facts::RESEND_HEAD));
        }
        if !hot.sacks() && hot.cold != NO_COLD {
            delivered -= hot.known_by_duplicates(acked);
        }
        if hot.cold != NO_COLD {
            self.take_back_if_in_vain(index, segment, true);
        }
        let echo = self.hear_echo(index, segment, flight, delivered);
        if self.tcbs[index].recovering() {
            self.advance_in_recovery(index, ack, acked, delivered);
        } else {
            self.tcbs[index].dup_acks = 0;
            self.forget_undo(index);
            if !self.end_of_reduction(index) && !echo {
                self.grow(index, delivered, flight);
            }
        }
        self.rearm(index);
        self.end_of_probe(index, segment, una);
        if self.tcbs[index].cold != NO_COLD {
            // What may be late has a timer of its own, which comes before that of the silence.
            let lost = self.detect(index, delivered, acked);
            self.proportion(index, News { delivered, safe: lost == 0 && !echo });
            self.drop_cold_if_quiet(index);
        }
        if self.tcbs[index].facts.has(Facts::PEER_CLOSED) {
            self.list(index);
        }
        self.consume_soon(index);
    }

    /// A duplicate acknowledgement without SACK.
    fn duplicate(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        let size = hot.payload_max();
        // Each stands for a segment that arrived behind the one that is missing. How many there are under way is known
        // for full ones only: beyond as many a duplicate makes no room, however often the peer says so. The first few
        // count all the same, since segments may be small.
        let news = u32::from(hot.dup_acks) * size + size < hot.flight().max(2 * size);
        let delivered = if news { size } else { 0 };
        if news || hot.dup_acks < DUP_THRESHOLD {
            hot.dup_acks = hot.dup_acks.saturating_add(1);
        }
        if hot.facts.has(Facts::RECOVERY) {
            // A segment has left the network: there is room for another (RFC 6582 3.2 step 2).
            self.proportion(index, News { delivered, safe: false });
            self.serve(index);
            return;
        }
        // RFC 6582 3.2 step 1: not if this only echoes what a time-out sent again.
        if hot.dup_acks >= DUP_THRESHOLD && !hot.facts.has(Facts::LOSS) {
            let front = hot.snd_una + size;
            self.enter_recovery(index, Some(front), delivered, 0);
            self.proportion(index, News { delivered, safe: false });
        } else if hot.facts.has(Facts::BLOCKED) {
            // RFC 3042 2: limited transmit.
            self.serve(index);
        }
    }

    /// A duplicate acknowledgement with SACK blocks, RFC 5681 4.3.
    fn selective(&mut self, index: u32, segment: &Segment) {
        let now_us = self.now_us;
        if self.tcbs[index].cold != NO_COLD {
            self.take_back_if_in_vain(index, segment, false);
        }
        if self.tcbs[index].flight() == 0 || !self.ensure_flight(index) {
            return;
        }
        let hot = &mut self.tcbs[index];
        let Some(cold) = self.cold.get_mut(hot.cold) else { return };
        let mut rtt_us = None;
        let delivered = take_blocks(cold, segment, hot.snd_una, now_us, &mut rtt_us, true);
        if let Some(rtt_us) = rtt_us {
            cold.measured(rtt_us);
        }
        if delivered == 0 {
            return;
        }
        hot.dup_acks = hot.dup_acks.saturating_add(1);
        self.detect(index, delivered, 0);
        self.proportion(index, News { delivered, safe: false });
        let facts = self.tcbs[index].facts;
        if facts.has(Facts::BLOCKED) || facts.has(Facts::RECOVERY.or(Facts::LOSS)) {
            self.serve(index);
        }
    }

    /// The cold state of a connection, if it has any.
    pub(crate) fn cold_of(&mut self, index: u32) -> Option<&mut Cold> {
        self.cold.get_mut(self.tcbs[index].cold)
    }

    /// Gives a connection cold state; whether it has it now.
    pub(crate) fn ensure_cold(&mut self, index: u32) -> bool {
        if self.tcbs[index].cold != NO_COLD {
            return true;
        }
        match self.cold.take() {
            Some(cold) => {
                let hot = &mut self.tcbs[index];
                hot.cold = cold;
                if let Some(cold) = self.cold.get_mut(cold) {
                    cold.repaired = hot.snd_una;
                    // Something near the least is known already.
                    if hot.srtt_us != 0 {
                        cold.min_rtt_us = hot.srtt_us - hot.srtt_us / 4;
                    }
                }
                true
            }
            None => {
                self.counters.add(TcpCounter::ColdExhausted);
                false
            }
        }
    }

    /// Gives a connection a record of what is under way; whether it has one now.
    pub(crate) fn ensure_flight(&mut self, index: u32) -> bool {
        if !self.ensure_cold(index) {
            return false;
        }
        let hot = &self.tcbs[index];
        let resent = hot.facts.has(Facts::RETRANSMITTED);
        if let Some(cold) = self.cold.get_mut(hot.cold)
            && cold.flight.is_empty()
            && hot.flight() > 0
        {
            cold.flight.sent(hot.snd_una, hot.snd_max, hot.sent_us, resent);
        }
        true
    }

    /// Gives cold state back that is not needed any more.
    pub(crate) fn drop_cold_if_quiet(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        // While there is more to be sent it is the same flow still, and what was learnt of the path holds.
        if hot.flight() == 0
            && !hot.recovering()
            && !hot.facts.has(Facts::BLOCKED)
            && let Some(cold) = self.cold.get(hot.cold)
            && cold.reassembly.is_empty()
            && cold.fin.is_none()
        {
            hot.facts.put(Facts::PROBE_ACKED, cold.probe.is_some());
            self.cold.put(std::mem::replace(&mut hot.cold, NO_COLD));
        }
    }
}

impl Hot {
    /// Bytes of `acked` that duplicates stood for before. The first segment of them was missing, so it had none.
    fn known_by_duplicates(&self, acked: u32) -> u32 {
        let size = self.payload_max().max(1);
        u32::from(self.dup_acks).min((acked / size).saturating_sub(1)) * size
    }
}

/// Takes in the SACK blocks of a segment; returns the bytes that are new.
fn take_blocks(
    cold: &mut Cold,
    segment: &Segment,
    una: Seq,
    now_us: u32,
    rtt_us: &mut Option<u32>,
    agreed: bool,
) -> u32 {
    if !agreed {
        return 0;
    }
    let mut sacked = 0;
    for &(left, right) in segment.options.sack.as_slice() {
        let Delivered { bytes: fresh, rtt_us: measured } =
            cold.flight.sacked(left.max(una), right, now_us, cold.min_rtt_us);
        sacked += fresh;
        *rtt_us = rtt_us.or(measured);
    }
    sacked
}

/// Whether a 32-bit time has come.
#[inline]
pub(crate) const fn has_come(at: u32, now: u32) -> bool {
    !time_lt(now, at)
}
