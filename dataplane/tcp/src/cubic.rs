//! CUBIC, RFC 9438: how a window grows once a loss has said where the limit is. In bytes and milliseconds, without
//! floating point; the cube root is taken once after each reduction.

/// What is left of a window at a loss, in tenths (RFC 9438 4.6).
pub(crate) const BETA_TENTHS: u32 = 7;
/// RFC 9438 4.3: 3 (1 - beta) / (1 + beta), as a fraction: what grows like this with beta = 0.7 is as fast as Reno.
const ALPHA: (u64, u64) = (9, 17);
/// Beyond this many milliseconds from its plateau the curve is flatly over every window.
const DISTANCE_MAX_MS: i64 = 100_000;

/// What CUBIC remembers of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cubic {
    /// The window at the last reduction, or less if that had come before the one before was reached again; zero before
    /// any.
    max: u32,
    /// The window before the last reduction.
    prior: u32,
    epoch: Option<Epoch>,
}

/// What is known since the window last began to grow in congestion avoidance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Epoch {
    start_ms: u32,
    /// When it last grew, or did not because it was not used.
    seen_ms: u32,
    /// When the curve is at its plateau, from the start.
    k_ms: u32,
    /// The window of the plateau.
    plateau: u32,
    /// What Reno would have (RFC 9438 4.3), and what is left of a division.
    reno: u32,
    reno_rest: u64,
    /// What is left of a division of the window.
    rest: u64,
}

/// The greatest whole number whose cube is not above `n`, which is below 2^63.
fn cube_root(n: u64) -> u32 {
    let mut root = 0_u64;
    for bit in (0..21).rev() {
        let with = root | 1 << bit;
        if with * with * with <= n {
            root = with;
        }
    }
    root as u32
}

/// `n * factor / divisor`, with what is left carried over in `rest`.
fn divide(n: u64, divisor: u64, rest: &mut u64) -> u32 {
    let n = n + *rest;
    *rest = n % divisor;
    (n / divisor).min(u64::from(u32::MAX)) as u32
}

impl Cubic {
    /// The window is about to be reduced from `cwnd` bytes.
    pub(crate) fn reduced(&mut self, cwnd: u32) {
        self.epoch = None;
        self.prior = cwnd;
        // RFC 9438 4.7: who does not get to where he was before leaves room for others.
        self.max = if cwnd < self.max { (u64::from(cwnd) * 17 / 20) as u32 } else { cwnd };
    }

    /// The window was not used, so that it did not grow: this time does not count (RFC 9438 5.8).
    pub(crate) fn unused(&mut self, now_ms: u32) {
        if let Some(epoch) = &mut self.epoch {
            epoch.start_ms = epoch.start_ms.wrapping_add(now_ms.wrapping_sub(epoch.seen_ms));
            epoch.seen_ms = now_ms;
        }
    }

    /// The window after `acked` bytes were acknowledged in congestion avoidance. `size`: bytes of a full segment.
    pub(crate) fn grown(&mut self, cwnd: u32, acked: u32, size: u32, now_ms: u32, srtt_us: u32) -> u32 {
        let size = size.max(1);
        let prior = self.prior;
        let max = self.max;
        let epoch = self.epoch.get_or_insert_with(|| {
            let plateau = max.max(cwnd);
            // RFC 9438 4.2: K is the cube root of (W_max - cwnd) / C in seconds, C is 0.4 segments a second cubed.
            let k_ms = cube_root(u64::from(plateau - cwnd) * 2_500_000_000 / u64::from(size));
            Epoch { start_ms: now_ms, seen_ms: now_ms, k_ms, plateau, reno: cwnd, reno_rest: 0, rest: 0 }
        });
        epoch.seen_ms = now_ms;
        let elapsed_ms = now_ms.wrapping_sub(epoch.start_ms);
        // RFC 9438 4.3: as Reno from the window before the reduction on.
        let (up, down) = if epoch.reno < prior { ALPHA } else { (1, 1) };
        let cwnd_long = u64::from(cwnd.max(1));
        let reno = u64::from(acked) * u64::from(size) * up;
        let reno_more = divide(reno, cwnd_long * down, &mut epoch.reno_rest);
        epoch.reno = epoch.reno.saturating_add(reno_more);
        if epoch.at(elapsed_ms, size) < u64::from(epoch.reno) {
            return cwnd.max(epoch.reno);
        }
        // RFC 9438 4.4, 4.5: to where the curve is a round trip from now, by at most half of the window in one.
        let target = epoch.at(elapsed_ms.saturating_add(srtt_us / 1_000), size);
        let target = target.clamp(cwnd_long, cwnd_long + cwnd_long / 2);
        let more = divide((target - cwnd_long) * u64::from(acked.min(cwnd)), cwnd_long, &mut epoch.rest);
        cwnd.saturating_add(more)
    }
}

impl Epoch {
    /// The curve after so many milliseconds, in bytes (RFC 9438 4.2 figure 1).
    fn at(&self, elapsed_ms: u32, size: u32) -> u64 {
        let distance =
            (i64::from(elapsed_ms) - i64::from(self.k_ms)).clamp(-DISTANCE_MAX_MS, DISTANCE_MAX_MS);
        // 0.4 (t - K)^3 segments, in two steps so that it fits.
        let bytes = distance.pow(3) / 100 * i64::from(size) * 2 / 50_000_000;
        i64::from(self.plateau).saturating_add(bytes).max(0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cube_roots() {
        for root in [0_u64, 1, 2, 3, 10, 999, 1_000, 1_390_000, (1 << 21) - 1] {
            assert_eq!(u64::from(cube_root(root.pow(3))), root);
            if root > 0 {
                assert_eq!(u64::from(cube_root(root.pow(3) - 1)), root - 1);
            }
        }
    }

    /// RFC 9438 4.2, 4.3, 4.4, 4.5, 4.7 in floating point, in segments and seconds.
    #[derive(Default)]
    struct Model {
        max: f64,
        prior: f64,
        epoch: Option<(f64, f64, f64)>,
        reno: f64,
    }

    impl Model {
        fn reduced(&mut self, cwnd: f64) {
            self.epoch = None;
            self.prior = cwnd;
            self.max = if cwnd < self.max { cwnd * (1.0 + 0.7) / 2.0 } else { cwnd };
        }

        fn grown(&mut self, cwnd: f64, acked: f64, now: f64, rtt: f64) -> f64 {
            if self.epoch.is_none() {
                let plateau = self.max.max(cwnd);
                self.epoch = Some((now, ((plateau - cwnd) / 0.4).cbrt(), plateau));
                self.reno = cwnd;
            }
            let (start, k, plateau) = self.epoch.unwrap();
            let at = |t: f64| 0.4 * (t - k).powi(3) + plateau;
            let alpha = if self.reno < self.prior { 3.0 * 0.3 / 1.7 } else { 1.0 };
            self.reno += alpha * acked / cwnd;
            let t = now - start;
            if at(t) < self.reno {
                return cwnd.max(self.reno);
            }
            let target = at(t + rtt).clamp(cwnd, 1.5 * cwnd);
            cwnd + (target - cwnd) * acked / cwnd
        }
    }

    proptest! {
        /// The whole numbers follow the model over losses and round trips, within a segment and a few thousandths.
        // covers RFC 9438 4.2, 4.3, 4.4, 4.5, 4.6
        #[test]
        fn agrees_with_floating_point(
            size in 500..1460_u32, first in 4..400_u32, rtt_ms in 1..300_u32,
            losses in proptest::collection::vec(1..120_usize, 1..6),
        ) {
            let (mut cubic, mut model) = (Cubic::default(), Model::default());
            let mut cwnd = first * size;
            let mut exact;
            let mut now_ms = u32::MAX - 5_000;
            let mut seconds = 0.0;
            for rounds in losses {
                // Whether one got back to where one was must not hang on the last byte.
                exact = f64::from(cwnd) / f64::from(size);
                model.max = f64::from(cubic.max) / f64::from(size);
                cubic.reduced(cwnd);
                model.reduced(exact);
                cwnd = (cwnd / 10 * BETA_TENTHS).max(2 * size);
                exact = (exact * 0.7).max(2.0);
                for _ in 0..rounds {
                    // Two segments an acknowledgement, as many as the window has.
                    for _ in 0..(cwnd / size / 2).max(1) {
                        cwnd = cubic.grown(cwnd, 2 * size, size, now_ms, rtt_ms * 1_000);
                        exact = model.grown(exact, 2.0, seconds, f64::from(rtt_ms) / 1_000.0);
                    }
                    now_ms = now_ms.wrapping_add(rtt_ms);
                    seconds += f64::from(rtt_ms) / 1_000.0;
                    let got = f64::from(cwnd) / f64::from(size);
                    prop_assert!((got - exact).abs() <= 1.0 + exact * 0.02, "{got} instead of {exact}");
                }
            }
        }

        /// Whatever comes: no overflow, never less than it was, and never by more than is acknowledged.
        #[test]
        fn never_shrinks_nor_leaps(
            start in 1_000..(1_u32 << 30), size in 1..9_000_u32,
            steps in proptest::collection::vec((0..100_000_u32, any::<u32>(), any::<u32>(), any::<bool>()), 1..50),
        ) {
            let mut cubic = Cubic::default();
            let mut cwnd = start;
            for (acked, now_ms, srtt_us, lost) in steps {
                if lost {
                    cubic.reduced(cwnd);
                    cwnd = (cwnd / 10 * BETA_TENTHS).max(2 * size);
                } else {
                    let before = cwnd;
                    cwnd = cubic.grown(cwnd, acked, size, now_ms, srtt_us).min(1 << 30);
                    prop_assert!(cwnd >= before.min(1 << 30));
                    let most = u64::from(before) + u64::from(acked) * u64::from(size) / u64::from(before) + u64::from(acked);
                    prop_assert!(u64::from(cwnd) <= most + u64::from(size), "{before} to {cwnd} by {acked}");
                }
            }
        }
    }

    // covers RFC 9438 5.8
    #[test]
    fn time_in_which_the_window_is_not_used_does_not_count() {
        let grow = |pause: bool| {
            let mut cubic = Cubic::default();
            cubic.reduced(200_000);
            let mut cwnd = 140_000;
            let mut now_ms = 0;
            for round in 0..40 {
                if round == 20 && pause {
                    cubic.unused(now_ms - 50 + 30_000);
                    now_ms += 30_000;
                }
                for _ in 0..cwnd / 2_000 {
                    cwnd = cubic.grown(cwnd, 2_000, 1_000, now_ms, 50_000);
                }
                now_ms += 50;
            }
            cwnd
        };
        assert_eq!(grow(true), grow(false));
    }

    // covers RFC 9438 4.7
    #[test]
    fn who_did_not_get_back_to_where_he_was_leaves_room() {
        let mut cubic = Cubic::default();
        cubic.reduced(100_000);
        assert_eq!(cubic.max, 100_000);
        cubic.reduced(90_000);
        assert_eq!(cubic.max, 76_500);
        cubic.reduced(90_000);
        assert_eq!(cubic.max, 90_000);
    }
}
