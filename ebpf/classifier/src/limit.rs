//! Token buckets in one word: the time at which the bucket would be full again. Taking a token moves it on by the
//! time a token takes to come; it may not be farther ahead than the bucket is deep.

use crate::layout::Limit;

impl Limit {
    /// No limit.
    pub const OFF: Self = Self { interval_ns: 0, depth_ns: 0 };

    /// So many per second on average, and so many at once. None at all if either is zero.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        if per_second == 0 || burst == 0 {
            return Self { interval_ns: u64::MAX, depth_ns: 0 };
        }
        let interval_ns = 1_000_000_000 / per_second as u64;
        // A rate above one in a nanosecond is no limit a machine reaches.
        let interval_ns = if interval_ns == 0 { 1 } else { interval_ns };
        Self { interval_ns, depth_ns: interval_ns * burst as u64 }
    }

    /// Takes a token out of `bucket`, if there is one.
    #[inline(always)]
    pub fn take(&self, bucket: &mut u64, now_ns: u64) -> bool {
        if self.interval_ns == 0 {
            return true;
        }
        let full_at = if *bucket > now_ns { *bucket } else { now_ns };
        let ahead = full_at - now_ns;
        // With an interval of the end of time the depth is zero.
        if ahead.saturating_add(self.interval_ns) > self.depth_ns {
            return false;
        }
        *bucket = full_at + self.interval_ns;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_burst_and_then_the_rate() {
        let limit = Limit::new(100, 5);
        let mut bucket = 0;
        let taken = |bucket: &mut u64, now| (0..50).filter(|_| limit.take(bucket, now)).count();
        assert_eq!(taken(&mut bucket, 10 * MS), 5);
        assert_eq!(taken(&mut bucket, 19 * MS), 0);
        assert_eq!(taken(&mut bucket, 20 * MS), 1);
        assert_eq!(taken(&mut bucket, 55 * MS), 3);
        assert_eq!(taken(&mut bucket, 10_000 * MS), 5);
    }

    #[test]
    fn off_is_off_and_none_is_none() {
        let mut bucket = 0;
        assert!((0..1_000).all(|_| Limit::OFF.take(&mut bucket, 1)));
        for none in [Limit::new(0, 10), Limit::new(10, 0)] {
            assert!(!none.take(&mut bucket, u64::MAX / 2));
        }
        // The clock standing still or at its end is no way around.
        let limit = Limit::new(1, 1);
        let mut bucket = u64::MAX - 5_000_000_000;
        assert!(!limit.take(&mut bucket, 0));
    }
}
