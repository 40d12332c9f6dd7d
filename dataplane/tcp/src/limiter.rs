//! How many answers to strangers leave per second.

use pelton_base::{Mono, Rng};

/// A budget per second. Its size varies by a random half from second to second: a stranger who counts answers must
/// not learn from them what others got (RFC 5961 10, CVE-2016-5696).
#[derive(Debug)]
pub(crate) struct Limiter {
    per_second: u32,
    second: u64,
    left: u32,
}

impl Limiter {
    pub(crate) const fn new(per_second: u32) -> Self {
        Self { per_second, second: u64::MAX, left: 0 }
    }

    /// Whether one more may leave.
    pub(crate) fn take(&mut self, now: Mono, rng: &mut Rng) -> bool {
        let second = now.0 / 1_000_000_000;
        if second != self.second {
            self.second = second;
            let half = self.per_second / 2;
            self.left = self.per_second - half + rng.below(u64::from(half) + 1) as u32;
        }
        let allowed = self.left > 0;
        self.left -= u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers RFC 5961 7, 10
    #[test]
    fn so_many_per_second_and_not_always_the_same() {
        let (mut limiter, mut rng) = (Limiter::new(100), Rng::with_seed(1));
        let counts: Vec<usize> = (0..20u64)
            .map(|second| (0..200).filter(|_| limiter.take(Mono(second * 1_000_000_000), &mut rng)).count())
            .collect();
        assert!(counts.iter().all(|&count| (50..=100).contains(&count)), "{counts:?}");
        assert!(counts.iter().any(|&count| count != counts[0]));
    }
}
