//! The timer of a connection: one entry for whichever of its deadlines is next, among those of the next second
//! ([`Soon`](crate::soon::Soon)) or in the wheel; one of the wheel's stays there while a nearer one is in the other. A
//! deadline that moves later only changes a word; the entry fires at the old time, sees that, and moves itself.

use pelton_base::{Mono, StreamEnd};
use pelton_packet::Port;

use crate::ack::has_come;
use crate::counters::TcpCounter;
use crate::prr::News;
use crate::seq::time_lt;
use crate::settings::Settings;
use crate::stack::Tcp;
use crate::tcb::{Facts, Hot, State, Timer};

impl Facts {
    /// Whether a connection that waits for no acknowledgement need not be looked at in the next second: all that it
    /// waits for is for the wheel.
    #[inline]
    pub(crate) const fn needs_no_look(self, settings: &Settings) -> bool {
        let asks = settings.keep_alive_ms(self.has(Self::WATCHED)) != 0;
        !self.has(Self::LINGER) && (self.has(Self::WHEEL) || !asks)
    }
}

impl Hot {
    /// What a silence after something was sent is met with, and when.
    ///
    /// RFC 6298 5.3: from now on. RFC 8985 7.2: one probe per silence. Other than there also while a loss is being
    /// repaired, as RFC 9002 6.2 has it: the repair may be lost as well, and where nothing is sent behind it only a
    /// time-out would show that, a hundred round trips later. Not after a time-out until something has come through.
    #[inline]
    fn silence(&self, rto_ms: u32, peer_ack_delay_ms: u32) -> (Timer, u32) {
        let probe = self.backoff == 0
            && !self.facts.has(Facts::PROBED.or(Facts::ORPHAN))
            && self.state != State::SynSent
            && self.state != State::SynReceived
            && self.srtt_us != 0;
        let wait_ms = if probe { self.probe_wait_ms(peer_ack_delay_ms) } else { u32::MAX };
        if wait_ms < rto_ms { (Timer::TailProbe, wait_ms) } else { (Timer::Retransmit, rto_ms) }
    }

    /// How long a silence is before it is probed, RFC 8985 7.2.
    #[inline]
    fn probe_wait_ms(&self, peer_ack_delay_ms: u32) -> u32 {
        // What was measured is no longer than two minutes.
        let mut wait_us = self.srtt_us.saturating_mul(2);
        // What fills a gap is acknowledged at once (RFC 5681 4.2).
        if self.flight() <= self.payload_max() && !self.facts.has(Facts::RECOVERY) {
            wait_us = wait_us.saturating_add(peer_ack_delay_ms.saturating_mul(1_000));
        }
        wait_us.div_ceil(1_000).max(2)
    }
}

impl<P: Port> Tcp<P> {
    /// A 32-bit time near now as an instant.
    fn instant(&self, at_ms: u32) -> Mono {
        let ahead = at_ms.wrapping_sub(self.now_ms) as i32;
        Mono::from_ms(self.now.as_ms().saturating_add_signed(i64::from(ahead)))
    }

    pub(crate) fn set_timer(&mut self, index: u32, timer: Timer, at_ms: u32) {
        let hot = &mut self.tcbs[index];
        hot.timer = timer;
        hot.timer_at_ms = at_ms;
        // The other deadlines have been seen to: one that is before what is armed cannot be.
        if time_lt(at_ms, hot.fires_at_ms) || !self.soon.want_again(index) {
            self.arm(index);
        }
    }

    /// What the connection waits for now, after something was sent or acknowledged.
    pub(crate) fn rearm(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        if hot.flight() == 0 {
            // RFC 6298 5.2.
            hot.timer = Timer::None;
            if hot.facts.has(Facts::BLOCKED) {
                self.rearm_blocked(index);
            } else {
                self.dismiss(index);
            }
            return;
        }
        let rto_ms = hot.rto_ms(&self.settings);
        // RFC 9293 3.8.6 MUST-35.
        let timer = if hot.window == 0 && matches!(hot.state, State::Established | State::CloseWait) {
            (Timer::Persist, rto_ms)
        } else {
            hot.silence(rto_ms, self.settings.peer_ack_delay_ms)
        };
        self.set_timer(index, timer.0, self.now_ms.wrapping_add(timer.1));
    }

    /// New data was sent. RFC 8985 7.2: with more than a segment under way the peer does not delay its acknowledgement,
    /// and the probe need not wait for that any more. It never comes later than it would have.
    pub(crate) fn hasten_probe(&mut self, index: u32) {
        let wait_ms = self.tcbs[index].probe_wait_ms(self.settings.peer_ack_delay_ms);
        let at = self.now_ms.wrapping_add(wait_ms);
        if time_lt(at, self.tcbs[index].timer_at_ms) {
            self.set_timer(index, Timer::TailProbe, at);
        }
    }

    /// Nothing is under way and what is queued may not leave: the window is probed, RFC 9293 3.8.6.1 MUST-36, SHLD-29.
    pub(crate) fn rearm_blocked(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        if hot.timer != Timer::Persist {
            hot.stalled_ms = self.now_ms;
        }
        let at = self.now_ms.wrapping_add(hot.rto_ms(&self.settings));
        self.set_timer(index, Timer::Persist, at);
    }

    pub(crate) fn linger(&mut self, index: u32, ms: u32) {
        let hot = &mut self.tcbs[index];
        hot.linger_at_ms = self.now_ms.wrapping_add(ms);
        hot.facts.set(Facts::LINGER);
        self.arm(index);
    }

    /// The next of a connection's deadlines.
    fn deadline(&self, index: u32) -> Option<u32> {
        let hot = &self.tcbs[index];
        let mut next = (hot.timer != Timer::None).then_some(hot.timer_at_ms);
        let mut also = |at: u32| {
            next = Some(next.map_or(at, |next| if time_lt(at, next) { at } else { next }));
        };
        if hot.facts.has(Facts::LINGER) {
            also(hot.linger_at_ms);
        }
        if let Some(at) = self.keep_alive_at(index) {
            also(at);
        }
        next
    }

    /// When the peer is asked whether it is there, RFC 9293 3.8.4 MUST-26. Not while something is under way: that asks too; nor while the
    /// shard holds the connection's data back.
    fn keep_alive_at(&self, index: u32) -> Option<u32> {
        let settings = &self.settings;
        let hot = &self.tcbs[index];
        let idle_ms = settings.keep_alive_ms(hot.facts.has(Facts::WATCHED));
        let wanted = idle_ms != 0
            && matches!(hot.state, State::Established | State::CloseWait)
            && hot.flight() == 0
            && !hot.facts.has(Facts::PAUSED);
        wanted.then(|| {
            let waited = u32::from(hot.probes).wrapping_mul(settings.keep_alive_interval_ms);
            hot.last_rx_ms.wrapping_add(idle_ms).wrapping_add(waited)
        })
    }

    /// Has the connection come up no later than its next deadline: in the list of the next second, or, if that is too far
    /// ahead or the list is full, by the wheel.
    pub(crate) fn arm(&mut self, index: u32) {
        let Some(at) = self.deadline(index) else { return };
        let instant = self.instant(at);
        let hot = &mut self.tcbs[index];
        if !time_lt(at, hot.fires_at_ms) && self.soon.want_again(index) {
            return;
        }
        if self.soon.push(index, instant.as_ms()) {
            hot.fires_at_ms = at;
        } else if !hot.facts.has(Facts::WHEEL)
            || self.wheel.deadline(index).is_none_or(|armed| instant < armed)
        {
            hot.facts.set(Facts::WHEEL);
            self.wheel.set(index, instant);
        }
    }

    /// Nothing is under way any more, and the timer of before is off: when the connection comes up in the list of the next
    /// second, nothing is due. What else it waits for is for the wheel.
    #[inline]
    pub(crate) fn dismiss(&mut self, index: u32) {
        if self.tcbs[index].facts.needs_no_look(&self.settings) {
            self.soon.dismiss(index);
        }
    }

    /// The wheel fires for a connection.
    pub(crate) fn wheel_fired(&mut self, index: u32) {
        self.tcbs[index].facts.clear(Facts::WHEEL);
        self.timer_fired(index);
    }

    /// A connection comes up in the list of those to be looked at soon. It may be another's place by now, or have been
    /// looked at before.
    pub(crate) fn soon_fired(&mut self, index: u32) {
        let hot = &self.tcbs[index];
        let meant =
            hot.generation & 1 == 1 && self.soon.is_wanted(index) && has_come(hot.fires_at_ms, self.now_ms);
        if meant {
            self.soon.forget(index);
            self.timer_fired(index);
        }
    }

    fn timer_fired(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        debug_assert!(hot.generation & 1 == 1, "a timer of a live connection");
        if hot.timer != Timer::None && has_come(hot.timer_at_ms, self.now_ms) {
            let generation = hot.generation;
            match std::mem::take(&mut hot.timer) {
                Timer::None => {}
                Timer::Retransmit => self.retransmission_due(index),
                Timer::TailProbe => self.tail_probe_due(index),
                Timer::Reorder => self.reorder_due(index),
                Timer::Persist => self.persist_due(index),
            }
            if self.tcbs[index].generation != generation {
                return;
            }
        }
        let hot = &mut self.tcbs[index];
        if hot.facts.has(Facts::LINGER) && has_come(hot.linger_at_ms, self.now_ms) {
            hot.facts.clear(Facts::LINGER);
            self.linger_expired(index);
            return;
        }
        if let Some(at) = self.keep_alive_at(index)
            && has_come(at, self.now_ms)
        {
            let hot = &mut self.tcbs[index];
            // RFC 9293 3.8.4 MUST-29.
            if hot.probes >= self.settings.keep_alive_probes {
                self.give_up(index);
                return;
            }
            hot.probes += 1;
            self.send_keep_alive(index);
        }
        self.arm(index);
    }

    /// Whether a connection has been without progress for too long; it is given up then (RFC 9293 3.8.3 MUST-20), and so is one
    /// that answers and takes nothing (RFC 9293 3.8.6 SHLD-17, 3.8.6.1 MUST-37). RFC 9293 3.10.8.
    fn stalled(&mut self, index: u32) -> bool {
        let hot = &self.tcbs[index];
        let stalled_ms = self.now_ms.wrapping_sub(hot.stalled_ms);
        let stalled = stalled_ms >= self.settings.user_timeout_ms;
        if stalled {
            self.give_up(index);
        }
        stalled
    }

    fn give_up(&mut self, index: u32) {
        self.counters.add(TcpCounter::TimedOut);
        self.reset_peer(index);
        self.end(index, StreamEnd::TimedOut);
    }

    /// RFC 6298 5.4, 5.5, 5.6, RFC 9293 3.8.2 MUST-19.
    fn retransmission_due(&mut self, index: u32) {
        if self.stalled(index) {
            return;
        }
        self.counters.add(TcpCounter::TimeOuts);
        let hot = &mut self.tcbs[index];
        match hot.state {
            State::SynSent | State::SynReceived => {
                hot.backoff = hot.backoff.saturating_add(1);
                self.send_syn(index);
                let rto_ms = self.tcbs[index].rto_ms(&self.settings);
                self.set_timer(index, Timer::Retransmit, self.now_ms.wrapping_add(rto_ms));
                return;
            }
            _ => {}
        }
        self.path_probe_lost(index);
        let hot = &mut self.tcbs[index];
        // RFC 5681 3.1: the threshold comes down once, not each time the same segment is lost.
        if hot.backoff == 0 || !hot.facts.has(Facts::LOSS) {
            let flight = hot.flight();
            self.ensure_flight(index);
            self.reduce(index, flight, true);
        }
        if let Some(cold) = self.cold_of(index) {
            cold.prr = None;
            // What a probe repaired counts by this.
            cold.probe = None;
        }
        let hot = &mut self.tcbs[index];
        hot.facts.clear(Facts::PROBE_ACKED);
        // RFC 6582 4.
        hot.recover = hot.snd_max;
        hot.dup_acks = 0;
        hot.backoff = hot.backoff.saturating_add(1);
        hot.facts.clear(Facts::RECOVERY);
        hot.facts.set(Facts::LOSS.or(Facts::RESEND_HEAD).or(Facts::RETRANSMITTED));
        self.suspect_black_hole(index);
        let hot = &mut self.tcbs[index];
        hot.cwnd = hot.payload_max();
        self.lose(index, None);
        let rto_ms = self.tcbs[index].rto_ms(&self.settings);
        self.set_timer(index, Timer::Retransmit, self.now_ms.wrapping_add(rto_ms));
        self.resend_soon(index);
    }

    /// Has something sent again that is under way: by way of the shard, whose queue holds it, or at once if it is
    /// nothing but our FIN.
    fn resend_soon(&mut self, index: u32) {
        let hot = &self.tcbs[index];
        if hot.facts.has(Facts::FIN_SENT) && hot.flight() == 1 {
            let seq = hot.snd_una;
            if self.send_fin_segment(index, seq) {
                self.counters.add(TcpCounter::Retransmissions);
                let now_us = self.now_us;
                let hot = &mut self.tcbs[index];
                hot.facts.set(Facts::RETRANSMITTED);
                hot.facts.clear(Facts::RESEND_HEAD);
                if let Some(cold) = self.cold_of(index) {
                    cold.flight.resent(seq, seq + 1, now_us);
                }
            } else {
                self.wait(index);
            }
            return;
        }
        self.serve(index);
    }

    /// RFC 8985 7.3.
    fn tail_probe_due(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        hot.facts.set(Facts::PROBED);
        if hot.recovering() {
            self.repeat_repair(index);
            return;
        }
        let at = self.now_ms.wrapping_add(hot.rto_ms(&self.settings));
        if hot.facts.has(Facts::FIN_SENT) && hot.flight() == 1 {
            self.counters.add(TcpCounter::TailProbes);
        } else {
            hot.facts.set(Facts::TAIL_PROBE);
        }
        self.set_timer(index, Timer::Retransmit, at);
        self.resend_soon(index);
    }

    /// Nothing was heard of what was sent again first: it is sent once more.
    fn repeat_repair(&mut self, index: u32) {
        self.counters.add(TcpCounter::TailProbes);
        let hot = &self.tcbs[index];
        let (flight, front) = (hot.flight(), hot.snd_una + hot.payload_max());
        if hot.facts.has(Facts::RECOVERY) {
            // RFC 5681 4.3: a retransmission that is lost is a second sign that the path is congested.
            self.reduce(index, flight, false);
        }
        self.lose(index, Some(front));
        let hot = &mut self.tcbs[index];
        hot.facts.set(Facts::RESEND_HEAD);
        let at = self.now_ms.wrapping_add(hot.rto_ms(&self.settings));
        self.set_timer(index, Timer::Retransmit, at);
        self.resend_soon(index);
    }

    /// RFC 8985 6.3: what was waited for is lost by now.
    fn reorder_due(&mut self, index: u32) {
        if self.detect(index, 0, 0) > 0 {
            self.proportion(index, News::default());
        }
        if self.tcbs[index].timer == Timer::None {
            self.rearm(index);
        }
    }

    /// RFC 9293 3.8.6.1 SHLD-30: the window is probed, at growing intervals.
    fn persist_due(&mut self, index: u32) {
        if self.stalled(index) {
            return;
        }
        let hot = &mut self.tcbs[index];
        hot.facts.set(Facts::WINDOW_PROBE);
        hot.backoff = hot.backoff.saturating_add(1);
        let rto_ms = hot.rto_ms(&self.settings);
        self.set_timer(index, Timer::Persist, self.now_ms.wrapping_add(rto_ms));
        self.serve(index);
    }
}
