//! What is done about losses: how they are found (RFC 8985 6.2, RFC 6675), what is sent again and how much meanwhile
//! (RFC 6582, RFC 6675, RFC 9937), and how it is taken back when nothing had been lost (RFC 4015).

use pelton_packet::Port;

use crate::ack::DUP_THRESHOLD;
use crate::counters::TcpCounter;
use crate::prr::{News, Prr};
use crate::segment::{Flags, Segment};
use crate::seq::{Seq, time_lt};
use crate::stack::Tcp;
use crate::tcb::{Facts, NO_COLD, Timer};

impl<P: Port> Tcp<P> {
    /// Something new was acknowledged while a loss is repaired.
    pub(crate) fn advance_in_recovery(&mut self, index: u32, ack: Seq, acked: u32, delivered: u32) {
        let hot = &mut self.tcbs[index];
        let size = hot.payload_max();
        // RFC 5681 3.1, RFC 3465 2.3: after a time-out slow start from one segment; where nothing says what of that which
        // is acknowledged had arrived long before, by a segment for each acknowledgement.
        let segments = if hot.sacks() { 2 } else { 1 };
        if hot.recover.le(ack) {
            if hot.facts.has(Facts::RECOVERY) {
                self.reduced(index);
            } else {
                hot.grow_by(delivered, segments);
            }
            let hot = &mut self.tcbs[index];
            hot.facts.clear(Facts::RECOVERY.or(Facts::LOSS));
            hot.dup_acks = 0;
            if let Some(cold) = self.cold.get_mut(hot.cold) {
                cold.flight.rack.recovered();
            }
            return;
        }
        // What was sent again goes beyond this acknowledgement, which so is no answer to it: what it acknowledges had only
        // been late, and so may be what follows. Where segments are small each of them would have a whole one sent again.
        let answers = match self.cold.get(hot.cold) {
            Some(cold) => cold.repaired.le(ack),
            None => acked >= size || self.now_us.wrapping_sub(hot.sent_us) >= hot.srtt_us / 2,
        };
        if hot.facts.has(Facts::LOSS) {
            hot.grow_by(delivered, segments);
            hot.facts.put(Facts::RESEND_HEAD, answers && hot.cold == NO_COLD);
        } else if !hot.sacks() {
            // RFC 6582 3.2 step 3, partial acknowledgement: the next hole is at the front. Of the duplicates one
            // fewer counts for each segment that turned out to have arrived; the hole was none.
            hot.dup_acks =
                hot.dup_acks.saturating_sub((acked / size.max(1)).saturating_sub(1).min(255) as u8);
            if answers {
                hot.facts.set(Facts::RESEND_HEAD);
                self.lose(index, Some(ack + size));
            }
        } else if let Some(cold) = self.cold.get(hot.cold)
            && cold.flight.is_empty()
        {
            hot.facts.set(Facts::RESEND_HEAD);
        }
        self.serve(index);
    }

    /// The window has come down to the threshold. RFC 9937 6.2: that is the window from here on; with no bigger burst
    /// than at the start, where less is under way.
    fn reduced(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        hot.cwnd = hot.ssthresh.min(hot.flight() + hot.initial_window());
        if let Some(cold) = self.cold.get_mut(hot.cold) {
            cold.prr = None;
        }
    }

    /// Whether the window is coming down although nothing is being repaired, or did until now.
    pub(crate) fn end_of_reduction(&mut self, index: u32) -> bool {
        let hot = &self.tcbs[index];
        let reducing = self.cold.get(hot.cold).is_some_and(|cold| cold.prr.is_some());
        if reducing && hot.recover.le(hot.snd_una) {
            self.reduced(index);
        }
        reducing
    }

    /// RFC 9937 6.2: what may be sent after an acknowledgement while the window comes down.
    pub(crate) fn proportion(&mut self, index: u32, news: News) {
        let told = |prr: &Prr| news.delivered > 0 || prr.is_new();
        if !self.cold.get(self.tcbs[index].cold).and_then(|cold| cold.prr.as_ref()).is_some_and(told) {
            return;
        }
        let pipe = self.pipe(index);
        let hot = &mut self.tcbs[index];
        if let Some(cold) = self.cold.get_mut(hot.cold)
            && let Some(prr) = &mut cold.prr
        {
            hot.cwnd = prr.window(news, pipe, hot.ssthresh, hot.payload_max());
        }
    }

    /// RFC 8985 6.2 steps 4 and 5: what is lost by time. `delivered` bytes are newly known to have arrived, `acked`
    /// bytes have just been acknowledged. Returns the bytes newly lost.
    pub(crate) fn detect(&mut self, index: u32, delivered: u32, acked: u32) -> u32 {
        let now_us = self.now_us;
        let hot = &mut self.tcbs[index];
        if !hot.sacks() {
            return 0;
        }
        let Some(cold) = self.cold.get_mut(hot.cold) else { return 0 };
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
            cold.flight.rack.reorder_window_us(cold.least_rtt_us, hot.srtt_us)
        };
        let (lost, next_us) = cold.flight.detect_losses(now_us, reorder_window_us);
        if cold.prr.is_some() {
            // What turns out to be lost makes no room by itself.
            hot.cwnd = hot.cwnd.saturating_sub(lost);
        }
        if let Some(next_us) = next_us {
            // Whole milliseconds: a little more patience than asked for.
            let at = self.now_ms.wrapping_add(next_us / 1_000 + 1);
            self.set_timer(index, Timer::Reorder, at);
        }
        if lost > 0 {
            if self.tcbs[index].recovering() {
                self.serve(index);
            } else {
                self.enter_recovery(index, None, delivered, acked);
            }
        }
        lost
    }

    /// A loss was found. `front`: what is before it is lost (without SACK nobody says more).
    pub(crate) fn enter_recovery(&mut self, index: u32, front: Option<Seq>, delivered: u32, acked: u32) {
        if !self.narrow.is_empty() && self.only_probe_lost(index) {
            return;
        }
        let flight = self.tcbs[index].flight();
        if front.is_some() {
            self.ensure_flight(index);
        }
        self.reduce(index, flight + acked, true);
        let hot = &mut self.tcbs[index];
        hot.cwnd = hot.ssthresh;
        hot.recover = hot.snd_max;
        // The first retransmission does not wait for room in the window (RFC 6675 5 step 4.3).
        hot.facts.set(Facts::RECOVERY.or(Facts::RESEND_HEAD));
        hot.facts.clear(Facts::PROBE_ACKED);
        self.counters.add(TcpCounter::FastRecoveries);
        if let Some(cold) = self.cold.get_mut(hot.cold) {
            let arrived = if hot.sacks() {
                cold.flight.sacked_bytes()
            } else {
                u32::from(hot.dup_acks) * hot.payload_max()
            };
            // RFC 8985 7.4: what a probe repaired counts once, by this.
            cold.probe = None;
            cold.repaired = hot.snd_una;
            cold.prr = Some(Prr::new((flight + delivered).saturating_sub(arrived)));
        }
        if let Some(front) = front {
            self.lose(index, Some(front));
        }
        if self.tcbs[index].timer == Timer::TailProbe {
            // The silence counts from the repair.
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

    /// The tail loss probe that it is not known of whether it was needed, if there is one, and its stamp; `una` is what
    /// was acknowledged before what is looked at.
    fn probe(&self, index: u32, una: Seq) -> Option<(Seq, Option<u32>)> {
        let hot = &self.tcbs[index];
        let acked = hot.facts.has(Facts::PROBE_ACKED).then_some((una, None));
        acked.or_else(|| self.cold.get(hot.cold).and_then(|cold| cold.probe))
    }

    fn forget_probe(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        hot.facts.clear(Facts::PROBE_ACKED);
        if let Some(cold) = self.cold.get_mut(hot.cold) {
            cold.probe = None;
        }
    }

    /// Something new was acknowledged, from `una` on. RFC 8985 7.4.2: a tail loss probe that was a retransmission and was
    /// needed has repaired a loss, which counts as one.
    pub(crate) fn end_of_probe(&mut self, index: u32, segment: &Segment, una: Seq) {
        let Some((end, stamp)) = self.probe(index, una) else { return };
        if segment.ack.lt(end) {
            return;
        }
        // What it answers is what came first of the two (RFC 7323 4.3).
        let echo = segment.options.timestamps.and_then(|(_, echo)| stamp.map(|stamp| (echo, stamp)));
        // RFC 2883 5: what came twice had not been lost.
        let needless = twice(segment).is_some() || echo.is_some_and(|(echo, stamp)| time_lt(echo, stamp));
        if segment.ack == end && !needless && echo.is_none() {
            // The late answer to the first would be the same. If it was that, that to the probe says that it came twice,
            // before anything behind it is acknowledged.
            return;
        }
        self.forget_probe(index);
        let hot = &self.tcbs[index];
        let reducing = self.cold.get(hot.cold).is_some_and(|cold| cold.prr.is_some());
        if !needless && !hot.recovering() && !reducing {
            self.reduce(index, u32::MAX, false);
            let hot = &mut self.tcbs[index];
            hot.cwnd = hot.cwnd.min(hot.ssthresh);
        }
    }

    /// Nothing new was acknowledged. RFC 8985 7.4.2: a peer that says that the tail loss probe came twice, or that
    /// acknowledges its end twice, has got both.
    pub(crate) fn probe_was_needless(&mut self, index: u32, segment: &Segment) {
        let Some((end, _)) = self.probe(index, self.tcbs[index].snd_una) else { return };
        let again = segment.len == 0 && !segment.flags.has(Flags::FIN) && segment.options.sack.is_empty();
        if segment.ack == end && (again || twice(segment).is_some_and(|(_, right)| right == end)) {
            self.forget_probe(index);
        }
    }

    /// A peer that has not said until now that what was sent again came twice will not (RFC 3708 3): more than a window
    /// behind it has arrived.
    pub(crate) fn forget_undo(&mut self, index: u32) {
        let hot = &self.tcbs[index];
        if let Some(cold) = self.cold.get_mut(hot.cold)
            && cold.undo.is_some()
            && (hot.recover + hot.cwnd).le(hot.snd_una)
        {
            cold.undo = None;
        }
    }

    /// Takes the last reduction back if an acknowledgement shows that it was for nothing, and takes in what it says that
    /// came twice. `advances`: it acknowledges something new.
    pub(crate) fn take_back_if_in_vain(&mut self, index: u32, segment: &Segment, advances: bool) {
        let hot = &self.tcbs[index];
        let (una, snd_max) = (hot.snd_una, hot.snd_max);
        let Some(cold) = self.cold.get_mut(hot.cold) else { return };
        let mut in_vain = false;
        if hot.sacks()
            && let Some((left, right)) = twice(segment)
            && cold.probe.is_none_or(|(end, _)| end != right)
        {
            cold.flight.rack.came_twice(una, snd_max);
            in_vain = cold.undo.as_mut().is_some_and(|undo| undo.twice(left, right));
        }
        if advances
            && hot.recovering()
            && hot.facts.has(Facts::TIMESTAMPS)
            && let Some((_, echo)) = segment.options.timestamps
        {
            in_vain |= cold.undo.as_mut().is_some_and(|undo| undo.echoed(echo));
        }
        if in_vain && let Some(undo) = cold.undo.take() {
            self.counters.add(TcpCounter::Undone);
            cold.flight.find_all();
            cold.prr = None;
            cold.cubic = undo.cubic;
            let hot = &mut self.tcbs[index];
            // RFC 4015 3.3: at once no more than at the start, and soon what it was.
            let burst = hot.flight() + hot.initial_window();
            hot.ssthresh = undo.threshold();
            hot.cwnd = undo.cwnd.min(burst).max(hot.cwnd);
            hot.dup_acks = 0;
            hot.facts.clear(Facts::RECOVERY.or(Facts::LOSS).or(Facts::RESEND_HEAD));
            self.serve(index);
        }
    }
}

/// What a segment says to have come twice: RFC 2883 4, a first block that is acknowledged, or inside of the second.
fn twice(segment: &Segment) -> Option<(Seq, Seq)> {
    let blocks = segment.options.sack.as_slice();
    let &(left, right) = blocks.first()?;
    let inside = blocks.get(1).is_some_and(|&(from, to)| from.le(left) && right.le(to));
    (left.lt(right) && (right.le(segment.ack) || inside)).then_some((left, right))
}
