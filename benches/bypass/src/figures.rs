//! What became of the clients and their messages.

use hdrhistogram::Histogram;

/// The longest time that is told apart from others.
const HIGHEST_US: u64 = 600_000_000;

/// Times in microseconds, three digits of each.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, HIGHEST_US, 3).expect("the bounds are right"))
    }
}

impl Times {
    pub(crate) fn record(&mut self, us: u64) {
        self.0.saturating_record(us.max(1));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// A few quantiles; `None` if there was nothing.
    pub fn summary(&self) -> Option<Summary> {
        (!self.0.is_empty()).then(|| Summary {
            count: self.0.len(),
            p50_us: self.0.value_at_quantile(0.5),
            p99_us: self.0.value_at_quantile(0.99),
            p99_9_us: self.0.value_at_quantile(0.999),
            max_us: self.0.max(),
        })
    }
}

/// Quantiles of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many times there were.
    pub count: u64,
    /// Half took no longer, microseconds.
    pub p50_us: u64,
    /// 99 % took no longer.
    pub p99_us: u64,
    /// 99.9 % took no longer.
    pub p99_9_us: u64,
    /// None took longer.
    pub max_us: u64,
}

impl Summary {
    /// As JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "count": self.count, "p50_us": self.p50_us, "p99_us": self.p99_us,
            "p99_9_us": self.p99_9_us, "max_us": self.max_us,
        })
    }
}

/// What was counted of a crowd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were begun.
    pub begun: u32,
    /// Clients that have been accepted (and have their subscription, if one was wanted) and are still there.
    pub ready: u32,
    /// Clients the broker refused, in MQTT.
    pub refused: u32,
    /// Connections that could not be opened.
    pub failed: u32,
    /// Clients whose connection ended later.
    pub lost: u32,
    /// Pings sent.
    pub pings: u64,
    /// Pings answered.
    pub pongs: u64,
    /// Pings that were not answered until the next was due.
    pub missed: u64,
    /// Messages published.
    pub published: u64,
    /// Messages that were not published, their client having one under way or not being there.
    pub skipped: u64,
    /// Messages acknowledged (QoS 1).
    pub acknowledged: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Packets that were not understood.
    pub strange: u64,
}
