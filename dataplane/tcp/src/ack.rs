//! What an acknowledgement does: what it frees, measures, and shows to be lost. RFC 5681, RFC 6582, RFC 6675,
//! RFC 8985; windows by RFC 9293 3.10.7.4 fifth.

use pelton_packet::Port;

use crate::cold::Cold;
use crate::counters::TcpCounter;
use crate::flight::Delivered;
use crate::segment::{Flags, Segment};
use crate::seq::{Seq, time_lt};
use crate::stack::Tcp;
use crate::tcb::{Facts, NO_COLD, Timer};

/// Duplicate acknowledgements that show a loss, RFC 5681 3.2.
const DUP_THRESHOLD: u8 = 3;

impl<P: Port> Tcp<P> {
    /// An acceptable acknowledgement.
    #[inline]
    pub(crate) fn acknowledged(&mut self, index: u32, segment: &Segment) {
        let hot = &mut self.tcbs[index];
        let (una, ack) = (hot.snd_una, segment.ack);
        let window = segment.window;
        let advances = una.lt(ack);
        let same_window = window == hot.window;
        // RFC 9293 3.10.7.4: SND.WL2 is never beyond SND.UNA, so that its condition holds whenever this one does.
        if una.le(ack) && hot.snd_wl1.le(segment.seq) {
            let opened = hot.window == 0 && window > 0;
            hot.window = window;
            hot.snd_wl1 = segment.seq;
            hot.window_max = hot.window_max.max(window);
            if opened {
                self.window_opened(index);
            }
        }
        if advances {
            self.advance(index, segment);
        } else if ack == una && !segment.options.sack.is_empty() && self.tcbs[index].sacks() {
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

    #[inline]
    fn advance(&mut self, index: u32, segment: &Segment) {
        let now_us = self.now_us;
        let hot = &mut self.tcbs[index];
        let (ack, flight) = (segment.ack, hot.flight());
        let acked = ack.since(hot.snd_una);
        let mut rtt_us = None;
        if hot.cold == NO_COLD {
            if !hot.facts.has(Facts::RETRANSMITTED) {
                // All that is under way was sent at one time.
                rtt_us = Some(now_us.wrapping_sub(hot.sent_us));
            }
        } else if let Some(cold) = self.cold.get_mut(hot.cold) {
            if cold.flight.is_empty() {
                rtt_us = (!hot.facts.has(Facts::RETRANSMITTED)).then(|| now_us.wrapping_sub(hot.sent_us));
            } else {
                let delivered = cold.flight.acknowledged(ack, now_us, cold.min_rtt_us);
                rtt_us = delivered.rtt_us;
                let sacked = take_blocks(cold, segment, now_us, &mut rtt_us, hot.sacks());
                debug_assert!(sacked <= flight);
            }
        }
        if rtt_us.is_none()
            && hot.facts.has(Facts::TIMESTAMPS)
            && let Some((_, echo)) = segment.options.timestamps
        {
            // RFC 7323 4.1: with an echo it does not matter that something was sent twice. It does matter that the
            // first answer may have been lost: then the echo is of the first time, and what is measured is how long
            // we waited. After a time-out such a measurement would double the next wait, again and again.
            let elapsed_ms = self.now_ms.wrapping_add(hot.ts_offset).wrapping_sub(echo);
            let waited = hot.facts.has(Facts::LOSS) && elapsed_ms > hot.rto_base_ms(&self.settings);
            rtt_us = (elapsed_ms < 120_000 && !waited).then_some(elapsed_ms * 1_000);
        }
        if let Some(rtt_us) = rtt_us {
            hot.measured(rtt_us);
            if let Some(cold) = self.cold.get_mut(hot.cold) {
                cold.measured(rtt_us);
            }
        }
        hot.snd_una = ack;
        hot.stalled_ms = self.now_ms;
        hot.backoff = 0;
        hot.facts.clear(Facts::PROBED);
        if ack == hot.snd_max {
            hot.facts.clear(Facts::RETRANSMITTED.or(Facts::RESEND_HEAD));
        }
        if hot.recovering() {
            self.advance_in_recovery(index, ack, acked, flight);
        } else {
            hot.dup_acks = 0;
            hot.grow(acked, flight);
        }
        self.rearm(index);
        if self.tcbs[index].cold != NO_COLD {
            self.end_of_probe(index, segment);
            // What may be late has a timer of its own, which comes before that of the silence.
            self.detect(index);
            self.drop_cold_if_quiet(index);
        }
        if self.tcbs[index].facts.has(Facts::PEER_CLOSED) {
            self.list(index);
        }
        self.consume_soon(index);
    }

    fn advance_in_recovery(&mut self, index: u32, ack: Seq, acked: u32, flight: u32) {
        let hot = &mut self.tcbs[index];
        let size = hot.payload_max();
        if hot.recover.le(ack) {
            if hot.facts.has(Facts::RECOVERY) {
                // RFC 6582 3.2 step 3, full acknowledgement: option 2, with no bigger burst than at the start. Option 1
                // leaves two segments where all has arrived: the next loss is found by a time-out, and halves those.
                hot.cwnd = hot.ssthresh.min(hot.flight() + hot.initial_window());
            } else {
                // RFC 5681 3.1: the acknowledgement of what a time-out sent again is the first of slow start.
                hot.grow(acked, flight.max(hot.cwnd));
            }
            hot.facts.clear(Facts::RECOVERY.or(Facts::LOSS));
            hot.dup_acks = 0;
            return;
        }
        if hot.facts.has(Facts::LOSS) {
            // RFC 5681 3.1: slow start from one segment.
            hot.grow(acked, flight.max(hot.cwnd));
            hot.facts.put(Facts::RESEND_HEAD, hot.cold == NO_COLD);
        } else if !hot.sacks() {
            // RFC 6582 3.2 step 3, partial acknowledgement: the next hole is at the front. Of the duplicates one
            // fewer counts for each segment that turned out to have arrived; the hole was none.
            hot.dup_acks =
                hot.dup_acks.saturating_sub((acked / size.max(1)).saturating_sub(1).min(255) as u8);
            hot.facts.set(Facts::RESEND_HEAD);
            self.lose(index, Some(ack + size));
        } else if let Some(cold) = self.cold.get(hot.cold)
            && cold.flight.is_empty()
        {
            hot.facts.set(Facts::RESEND_HEAD);
        }
        self.serve(index);
    }

    /// A duplicate acknowledgement without SACK.
    fn duplicate(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        hot.dup_acks = hot.dup_acks.saturating_add(1);
        if hot.facts.has(Facts::RECOVERY) {
            // A segment has left the network: there is room for another (RFC 6582 3.2 step 2).
            self.serve(index);
            return;
        }
        // RFC 6582 3.2 step 1: not if this only echoes what a time-out sent again.
        if hot.dup_acks >= DUP_THRESHOLD && !hot.facts.has(Facts::LOSS) {
            let front = hot.snd_una + hot.payload_max();
            self.enter_recovery(index, Some(front));
        } else if hot.facts.has(Facts::BLOCKED) {
            // RFC 3042: limited transmit.
            self.serve(index);
        }
    }

    /// A duplicate acknowledgement with SACK blocks.
    fn selective(&mut self, index: u32, segment: &Segment) {
        let now_us = self.now_us;
        if self.tcbs[index].flight() == 0 || !self.ensure_flight(index) {
            return;
        }
        let hot = &mut self.tcbs[index];
        let Some(cold) = self.cold.get_mut(hot.cold) else { return };
        let mut rtt_us = None;
        let sacked = take_blocks(cold, segment, now_us, &mut rtt_us, true);
        if let Some(rtt_us) = rtt_us {
            cold.measured(rtt_us);
        }
        if sacked == 0 {
            return;
        }
        hot.dup_acks = hot.dup_acks.saturating_add(1);
        self.detect(index);
        let facts = self.tcbs[index].facts;
        if facts.has(Facts::BLOCKED) || facts.has(Facts::RECOVERY.or(Facts::LOSS)) {
            self.serve(index);
        }
    }

    /// RFC 8985 6.2 steps 4 and 5: what is lost by time.
    pub(crate) fn detect(&mut self, index: u32) {
        let now_us = self.now_us;
        let hot = &mut self.tcbs[index];
        if !hot.sacks() {
            return;
        }
        let Some(cold) = self.cold.get_mut(hot.cold) else { return };
        let size = hot.payload_max();
        let sacked = cold.flight.sacked_bytes();
        let many = sacked >= u32::from(DUP_THRESHOLD) * size || hot.dup_acks >= DUP_THRESHOLD;
        // RFC 8985 6.2 step 4: no patience while the path was never seen to reorder and the old rule would not
        // wait either.
        let reorder_window_us = if !cold.flight.rack.reordering_seen
            && (many || hot.facts.has(Facts::RECOVERY.or(Facts::LOSS)))
        {
            0
        } else {
            cold.least_rtt_us.min(hot.srtt_us) / 4
        };
        let (lost, next_us) = cold.flight.detect_losses(now_us, reorder_window_us);
        if let Some(next_us) = next_us {
            // Whole milliseconds: a little more patience than asked for.
            let at = self.now_ms.wrapping_add(next_us / 1_000 + 1);
            self.set_timer(index, Timer::Reorder, at);
        }
        if lost > 0 {
            if self.tcbs[index].recovering() {
                self.serve(index);
            } else {
                self.enter_recovery(index, None);
            }
        }
    }

    /// A loss was found. `front`: what is before it is lost (without SACK nobody says more).
    fn enter_recovery(&mut self, index: u32, front: Option<Seq>) {
        let hot = &mut self.tcbs[index];
        hot.reduce();
        hot.recover = hot.snd_max;
        // The first retransmission does not wait for room in the window (RFC 6675 5 step 4.3).
        hot.facts.set(Facts::RECOVERY.or(Facts::RESEND_HEAD));
        self.counters.add(TcpCounter::FastRecoveries);
        if let Some(front) = front {
            self.lose(index, Some(front));
        }
        if self.tcbs[index].timer == Timer::TailProbe {
            // RFC 8985 7.2: what is being repaired is not probed.
            self.rearm(index);
        }
        self.serve(index);
    }

    /// Marks what is under way before `limit`, or all of it, as lost.
    pub(crate) fn lose(&mut self, index: u32, limit: Option<Seq>) {
        if !self.ensure_flight(index) {
            // Without the means to say more: the first segment is sent again.
            self.tcbs[index].facts.set(Facts::RESEND_HEAD);
            return;
        }
        let hot = &self.tcbs[index];
        let limit_max = hot.snd_max;
        if let Some(cold) = self.cold.get_mut(hot.cold) {
            match limit {
                Some(limit) => {
                    cold.flight.lose_until(limit.min(limit_max));
                }
                None => cold.flight.lose_all(),
            }
        }
    }

    /// RFC 8985 7.4: a tail loss probe that was a retransmission and was needed has repaired a loss, which counts
    /// as one.
    fn end_of_probe(&mut self, index: u32, segment: &Segment) {
        let hot = &mut self.tcbs[index];
        let Some(cold) = self.cold.get_mut(hot.cold) else { return };
        let Some(end) = cold.probe_end else { return };
        if segment.ack.lt(end) {
            return;
        }
        cold.probe_end = None;
        // RFC 2883 4: a first block below the acknowledgement says that it came twice: nothing had been lost.
        let twice = segment.options.sack.as_slice().first().is_some_and(|block| block.1.le(segment.ack));
        if !twice && !hot.recovering() {
            hot.ssthresh = (hot.cwnd / 2).max(2 * hot.payload_max());
            hot.cwnd = hot.cwnd.min(hot.ssthresh);
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
                // Something near the least is known already.
                if hot.srtt_us != 0
                    && let Some(cold) = self.cold.get_mut(cold)
                {
                    cold.min_rtt_us = hot.srtt_us - hot.srtt_us / 4;
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
        if hot.flight() == 0
            && !hot.recovering()
            && let Some(cold) = self.cold.get(hot.cold)
            && cold.reassembly.is_empty()
            && cold.fin.is_none()
        {
            self.cold.put(std::mem::replace(&mut hot.cold, NO_COLD));
        }
    }
}

/// Takes in the SACK blocks of a segment; returns the bytes that are new.
fn take_blocks(
    cold: &mut Cold,
    segment: &Segment,
    now_us: u32,
    rtt_us: &mut Option<u32>,
    agreed: bool,
) -> u32 {
    if !agreed {
        return 0;
    }
    let mut sacked = 0;
    for &(left, right) in segment.options.sack.as_slice() {
        let Delivered { sacked: fresh, rtt_us: measured } =
            cold.flight.sacked(left.max(segment.ack), right, now_us, cold.min_rtt_us);
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
