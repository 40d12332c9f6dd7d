//! Round trip times and the congestion window: RFC 6298, RFC 5681 with appropriate byte counting (RFC 3465),
//! RFC 6928, RFC 7661's rule that a window that is not used does not grow.

use crate::settings::Settings;
use crate::tcb::{Facts, Hot};

/// Segments that may be sent at the start, RFC 6928.
const INITIAL_SEGMENTS: u32 = 10;
/// Bytes that those may have together.
const INITIAL_BYTES: u32 = 14_600;
/// A window nobody needs to exceed.
const WINDOW_MAX: u32 = 1 << 30;

impl Hot {
    /// RFC 6928 2.
    pub(crate) fn initial_window(&self) -> u32 {
        let size = self.payload_max();
        (INITIAL_SEGMENTS * size).min(INITIAL_BYTES.max(2 * size))
    }

    /// RFC 6298 2: a measurement.
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

    /// The retransmission time-out without back-off, RFC 6298 2.
    #[inline]
    pub(crate) fn rto_base_ms(&self, settings: &Settings) -> u32 {
        if self.srtt_us == 0 {
            return settings.rto_initial_ms;
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

    /// New data was acknowledged outside of recovery; `flight` was under way before.
    #[inline]
    pub(crate) fn grow(&mut self, acked: u32, flight: u32) {
        let size = self.payload_max();
        let slow_start = self.cwnd < self.ssthresh;
        // RFC 7661 4.3: a window of which half lies idle (slow start), or a segment's worth, says nothing. It was full
        // if there is more to send and the peer would take it: several acknowledgements may come before there is a
        // turn to fill it again.
        let used =
            if slow_start { flight.saturating_mul(2) >= self.cwnd } else { flight + size >= self.cwnd };
        let held_back = self.facts.has(Facts::BLOCKED) && self.cwnd < self.snd_wnd();
        if !used && !held_back {
            return;
        }
        self.cwnd += if slow_start {
            // RFC 3465 2.2, with L = 2.
            acked.min(2 * size)
        } else {
            // RFC 5681 3.1 equation 3, for the bytes that were acknowledged.
            (u64::from(acked.min(self.cwnd)) * u64::from(size) / u64::from(self.cwnd)).max(1) as u32
        };
        self.cwnd = self.cwnd.min(WINDOW_MAX);
    }

    /// A loss: RFC 5681 3.1 equation 4.
    pub(crate) fn reduce(&mut self) {
        self.ssthresh = (self.flight() / 2).max(2 * self.payload_max());
        self.cwnd = self.ssthresh;
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

    // covers RFC 6298 2.2, 2.3, 2.4, 5.5
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

    // covers RFC 5681 3.1, RFC 3465 2.2, RFC 7661 4.3
    #[test]
    fn the_window_grows_by_what_is_acknowledged_when_it_is_used() {
        let mut hot = hot();
        hot.grow(2_920, 1_460);
        assert_eq!(hot.cwnd, 14_600, "hardly used");
        hot.grow(14_600, 14_600);
        assert_eq!(hot.cwnd, 14_600 + 2_920, "at most two segments an ACK");
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
