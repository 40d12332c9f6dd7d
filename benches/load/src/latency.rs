//! Latencies, in a histogram of fixed size.

use hdrhistogram::Histogram;

use crate::report::Latency;

/// The largest latency told apart from others.
const HIGHEST_NS: u64 = 600_000_000_000;

pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    /// Three digits of every latency.
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, HIGHEST_NS, 3).expect("the bounds are right"))
    }

    #[inline]
    pub(crate) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    pub(crate) fn summary(&self) -> Option<Latency> {
        let us = |ns: u64| ns as f64 / 1_000.0;
        let quantile = |quantile: f64| us(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Latency {
            mean_us: self.0.mean() / 1_000.0,
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p99_9_us: quantile(0.999),
            max_us: us(self.0.max()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_thousandth() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.summary(), None);
        for us in 1..=10_000 {
            latencies.record(us * 1_000);
        }
        let summary = latencies.summary().unwrap();
        for (got, expected) in [
            (summary.p50_us, 5_000.0),
            (summary.p90_us, 9_000.0),
            (summary.p99_us, 9_900.0),
            (summary.p99_9_us, 9_990.0),
            (summary.max_us, 10_000.0),
            (summary.mean_us, 5_000.5),
        ] {
            assert!((got / expected - 1.0_f64).abs() < 0.001, "{got} {expected}");
        }
        latencies.clear();
        assert_eq!(latencies.summary(), None);
    }
}
