//! Round trip times and the congestion window: RFC 6298, RFC 5681 with appropriate byte counting (RFC 3465), RFC 9438,
//! RFC 6928, RFC 7661's rule that a window that is not used does not grow.

use pelton_packet::Port;

use crate::cubic::BETA_TENTHS;
use crate::settings::{Congestion, Settings};
use crate::stack::Tcp;
use crate::tcb::{Facts, Hot};
use crate::undo::Undo;

/// Segments that may be sent at the start, RFC 6928.
const INITIAL_SEGMENTS: u32 = 10;
/// Bytes that those may have together.
const INITIAL_BYTES: u32 = 14_600;
/// Segments by which the window grows for one acknowledgement in slow start, RFC 9406 4.2.
const SEGMENTS_PER_ACK: u32 = 8;
/// A window nobody needs to exceed.
const WINDOW_MAX: u32 = 1 << 30;

impl Hot {
    /// RFC 6928 2.
    pub(crate) fn initial_window(&self) -> u32 {
        let size = self.payload_max();
        (INITIAL_SEGMENTS * size).min(INITIAL_BYTES.max(2 * size))
    }

    /// RFC 6298 2.2, 2.3, 4: a measurement.
    #[inline]
    pub(crate) fn measured(&mut self, rtt_us: u32) {
        // A minute and more is no round trip but a clock that wrapped.
        if rtt_us > 120_000_000 {
            return;
        }
        let rtt_us = rtt_us.max(1);
        if self.srtt_us == 0 {
            self.srtt_us = rtt_us;
            self.rttvar_us = rtt_us / 2;
        } else {
            let deviation = self.srtt_us.abs_diff(rtt_us);
            self.rttvar_us = self.rttvar_us - self.rttvar_us / 4 + deviation / 4;
            self.srtt_us = self.srtt_us - self.srtt_us / 8 + rtt_us / 8;
        }
    }

    /// The retransmission time-out without back-off, RFC 6298 2.1, 2.4, 2.5.
    #[inline]
    pub(crate) fn rto_base_ms(&self, settings: &Settings) -> u32 {
        if self.srtt_us == 0 {
            // RFC 6298 5.7: what a lost SYN left, see `start_windows`.
            return settings.rto_initial_ms.max(self.rttvar_us / 1_000);
        }
        let rto_us = self.srtt_us.saturating_add((4 * u64::from(self.rttvar_us)).min(1 << 31) as u32);
        (rto_us.div_ceil(1_000)).clamp(settings.rto_min_ms, settings.rto_max_ms)
    }

    /// The retransmission time-out, doubled for each time it ran out (RFC 6298 5.5).
    #[inline]
    pub(crate) fn rto_ms(&self, settings: &Settings) -> u32 {
        let backed_off = u64::from(self.rto_base_ms(settings)) << self.backoff.min(16);
        backed_off.min(u64::from(settings.rto_max_ms)) as u32
    }

    #[inline]
    const fn slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Whether the window was used when `flight` bytes were under way.
    #[inline]
    fn window_used(&self, flight: u32) -> bool {
        let size = self.payload_max();
        // RFC 7661 4.3: a window of which half lies idle (slow start), or a segment's worth, says nothing. It was full
        // if there is more to send and the peer would take it: several acknowledgements may come before there is a
        // turn to fill it again.
        let used =
            if self.slow_start() { flight.saturating_mul(2) > self.cwnd } else { flight + size >= self.cwnd };
        used || (self.facts.has(Facts::BLOCKED) && self.cwnd < self.snd_wnd())
    }

    /// New data has arrived, `delivered` bytes, outside of recovery; `flight` was under way before.
    #[inline]
    pub(crate) fn grow(&mut self, delivered: u32, flight: u32) {
        if self.window_used(flight) {
            self.grow_by(delivered, SEGMENTS_PER_ACK);
        }
    }

    /// The same, for a window that was used; in slow start by so many segments at most.
    #[inline]
    pub(crate) fn grow_by(&mut self, delivered: u32, segments: u32) {
        let size = self.payload_max();
        self.cwnd += if self.slow_start() {
            // RFC 3465 2.2, RFC 9406 4.2.
            delivered.min(segments * size)
        } else {
            // RFC 3465 2.1, RFC 5681 3.1 equation 3, for the bytes that have arrived.
            (u64::from(delivered.min(self.cwnd)) * u64::from(size) / u64::from(self.cwnd)).max(1) as u32
        };
        self.cwnd = self.cwnd.min(WINDOW_MAX);
    }

    /// Nothing was sent for a while: what the window was says nothing any more (RFC 5681 4.1).
    #[inline]
    pub(crate) fn restart_if_idle(&mut self, now_us: u32, settings: &Settings) {
        if self.cwnd > self.initial_window() && self.flight() == 0 && !self.recovering() {
            let idle_us = now_us.wrapping_sub(self.sent_us);
            if idle_us / 1_000 > self.rto_base_ms(settings) {
                self.cwnd = self.initial_window();
            }
        }
    }

    /// Whether a segment size of `mss` bytes replaces the present one; it never grows.
    pub(crate) fn shrink_mss(&mut self, mss: u16) -> bool {
        let shrinks = mss < self.mss;
        if shrinks {
            self.mss = mss;
        }
        shrinks
    }

    /// Whether the connection agreed on SACK.
    #[inline]
    pub(crate) const fn sacks(&self) -> bool {
        self.facts.has(Facts::SACK)
    }
}

impl Congestion {
    /// What is left of a window: RFC 9438 4.6, RFC 5681 3.1 equation 4.
    const fn left(self, window: u32) -> u32 {
        match self {
            Self::Cubic => (window as u64 * BETA_TENTHS as u64 / 10) as u32,
            Self::NewReno => window / 2,
        }
    }
}

impl<P: Port> Tcp<P> {
    /// As [`Hot::grow`]; by the curve where there is one. Without cold state nothing is known of a loss: then it is as
    /// RFC 5681 has it, which the curve is never below.
    pub(crate) fn grow(&mut self, index: u32, delivered: u32, flight: u32) {
        let (now_ms, congestion) = (self.now_ms, self.settings.congestion);
        let hot = &mut self.tcbs[index];
        let Some(cold) = self.cold.get_mut(hot.cold) else { return hot.grow(delivered, flight) };
        if !hot.window_used(flight) {
            cold.cubic.unused(now_ms);
        } else if hot.slow_start() || congestion == Congestion::NewReno {
            hot.grow_by(delivered, SEGMENTS_PER_ACK);
        } else if delivered > 0 {
            let grown = cold.cubic.grown(hot.cwnd, delivered, hot.payload_max(), now_ms, hot.srtt_us);
            hot.cwnd = grown.min(WINDOW_MAX);
        }
    }

    /// The path is congested: the threshold comes down from what was under way, `flight` bytes, but for what limited
    /// transmit added to the window (RFC 3042). What was before is kept, if it may have been for nothing.
    pub(crate) fn reduce(&mut self, index: u32, flight: u32, undo: bool) {
        let congestion = self.settings.congestion;
        let hot = &mut self.tcbs[index];
        // RFC 5681 4.3: a retransmission that was lost as well counts once more, from where the threshold is by now.
        let again = hot.facts.has(Facts::RECOVERY);
        let base = if again { hot.ssthresh } else { hot.cwnd }.min(flight);
        if let Some(cold) = self.cold.get_mut(hot.cold) {
            if !again {
                cold.undo = undo.then(|| Undo::new(hot, cold.cubic));
            }
            cold.cubic.reduced(base);
        }
        hot.ssthresh = congestion.left(base).max(2 * hot.payload_max());
        // RFC 3168 6.1.2: the peer hears of it, whatever the reason.
        hot.facts.put(Facts::CWR_OWED, hot.facts.has(Facts::ECN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hot() -> Hot {
        Hot { mss: 1460, cwnd: 14_600, ssthresh: u32::MAX, ..Hot::default() }
    }

    // covers RFC 6928 2
    #[test]
    fn ten_segments_at_first_but_no_more_bytes_than_of_common_ones() {
        assert_eq!(hot().initial_window(), 14_600);
        assert_eq!(Hot { mss: 536, ..hot() }.initial_window(), 5_360);
        assert_eq!(Hot { mss: 8960, ..hot() }.initial_window(), 17_920);
    }

    // covers RFC 6298 2.1, 2.2, 2.3, 2.5, 4, 5.5
    #[test]
    fn the_time_out_follows_the_round_trips() {
        let settings = Settings::default();
        let mut hot = hot();
        assert_eq!(hot.rto_ms(&settings), 1_000, "nothing measured");
        hot.measured(500_000);
        assert_eq!((hot.srtt_us, hot.rttvar_us), (500_000, 250_000));
        assert_eq!(hot.rto_ms(&settings), 1_500);
        hot.measured(100_000);
        assert_eq!((hot.srtt_us, hot.rttvar_us), (450_000, 287_500));
        hot.backoff = 2;
        assert_eq!(hot.rto_ms(&settings), 4 * 1_600);
        hot.backoff = 40;
        assert_eq!(hot.rto_ms(&settings), 60_000);
        let mut near = Hot { backoff: 0, ..hot };
        for _ in 0..200 {
            near.measured(200);
        }
        assert_eq!(near.rto_ms(&settings), 300, "the floor");
    }

    // covers RFC 5681 3.1, RFC 3465 2.1, 2.2, RFC 9406 4.2, RFC 7661 4.3
    #[test]
    fn the_window_grows_by_what_is_acknowledged_when_it_is_used() {
        let mut hot = hot();
        hot.grow(2_920, 1_460);
        assert_eq!(hot.cwnd, 14_600, "hardly used");
        hot.grow(7_300, 7_300);
        assert_eq!(hot.cwnd, 14_600, "a half");
        hot.grow(2_920, 14_600);
        assert_eq!(hot.cwnd, 14_600 + 2_920);
        hot.grow(14_600, 17_520);
        assert_eq!(hot.cwnd, 17_520 + 11_680, "at most eight segments an ACK");
        hot.ssthresh = 10_000;
        hot.cwnd = 14_600;
        hot.grow(1_460, 14_600);
        assert_eq!(hot.cwnd, 14_746, "a tenth of a segment for a tenth of the window");
    }

    // covers RFC 7661 4.3
    #[test]
    fn a_window_that_holds_data_back_was_full() {
        let mut hot = Hot { ssthresh: 10_000, window: 65_535, ..hot() };
        hot.facts.set(Facts::BLOCKED);
        hot.grow(1_460, 1_460);
        assert_eq!(hot.cwnd, 14_746, "the last of several acknowledgements of one turn");
        hot.window = 14_000;
        hot.grow(1_460, 1_460);
        assert_eq!(hot.cwnd, 14_746, "the peer's window held it back");
    }

    // covers RFC 5681 4.1
    #[test]
    fn an_idle_window_is_the_initial_one() {
        let settings = Settings::default();
        let mut hot = Hot { cwnd: 100_000, srtt_us: 1_000, sent_us: 1_000_000, ..hot() };
        hot.restart_if_idle(1_200_000, &settings);
        assert_eq!(hot.cwnd, 100_000);
        hot.restart_if_idle(1_400_000, &settings);
        assert_eq!(hot.cwnd, 14_600);
    }
}
