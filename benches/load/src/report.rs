//! What is told about a run.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::process::CpuTime;

/// A run, as it is printed with `--json`. What was not measured is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// 3, 4 or 5.
    pub mqtt_version: u8,
    /// QoS of publishes and subscriptions.
    pub qos: u8,
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// Connections that published.
    pub publishers: usize,
    /// Connections that were subscribed.
    pub subscribers: usize,
    /// Messages under way per publisher; absent at a fixed rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// Asked for, messages or connections a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_asked: Option<f64>,
    /// Seconds measured.
    pub seconds: f64,
    /// Deliveries (connect: connections) in that time.
    pub count: u64,
    /// The same in a second.
    pub rate: f64,
    /// Messages published in the whole run.
    pub published: u64,
    /// Messages that were due at a fixed rate and could not be sent in time.
    pub behind: u64,
    /// Deliveries that were to come of them.
    pub expected: u64,
    /// Deliveries that came, each counted once.
    pub received: u64,
    /// Deliveries that never came.
    pub lost: u64,
    /// Deliveries that came again.
    pub duplicated: u64,
    /// Deliveries that came after one that was published later by the same publisher.
    pub out_of_order: u64,
    /// Messages that came and were not for this subscriber in this run.
    pub foreign: u64,
    /// Messages whose last acknowledgement never came.
    pub unacknowledged: u64,
    /// Acknowledgements of nothing.
    pub stray_acknowledgements: u64,
    /// Connections that the broker closed.
    pub closed_by_broker: u64,
    /// Times that a publisher's window stood still for two seconds and what was under way was given up.
    pub stalls: u64,
    /// From a message's time to its delivery (connect: from the start of a connect to its CONNACK).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// What the broker used in the seconds measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<Used>,
    /// Part of a core the generator itself used, 0 to 1. Close to 1 it may be what limits.
    pub generator_cores: f64,
    /// Memory of connections that do nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<IdleMemory>,
    /// Memory of sessions whose clients are away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away: Option<AwayMemory>,
    /// CPU microseconds per message of the thread that was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_us_per_count: Option<f64>,
}

/// Quantiles of latencies, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub max_us: f64,
}

/// What a broker used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// CPU microseconds per delivery, or per connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_count: Option<f64>,
    /// Part of a core, 0 to 1; above 1 with several threads.
    pub cores: f64,
    /// Part of it in user space, by ticks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_share: Option<f64>,
    /// Anonymous memory in the end, bytes.
    pub anonymous_bytes: u64,
    /// Bytes written to disk per delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_bytes_per_count: Option<f64>,
}

/// Memory of idle connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IdleMemory {
    /// Connections at the first look.
    pub connections_from: usize,
    /// Connections at the second look.
    pub connections_to: usize,
    /// Anonymous memory without a connection, bytes.
    pub bytes_before: u64,
    /// Anonymous memory at the first look, bytes.
    pub bytes_from: u64,
    /// Anonymous memory at the second look, bytes.
    pub bytes_to: u64,
    /// The slope between the looks.
    pub bytes_per_connection: f64,
}

/// Memory of sessions whose clients are away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AwayMemory {
    /// Sessions made.
    pub sessions: usize,
    /// Anonymous memory before, bytes.
    pub bytes_before: u64,
    /// Anonymous memory with the sessions and without connections, bytes.
    pub bytes_after: u64,
    /// The difference for each.
    pub bytes_per_session: f64,
}

impl Used {
    /// From CPU time over some seconds.
    pub(crate) fn of(cpu: CpuTime, seconds: f64, count: u64, anonymous_bytes: u64) -> Self {
        Self {
            cpu_us_per_count: (count > 0).then(|| cpu.total_ns as f64 / 1_000.0 / count as f64),
            cores: cpu.total_ns as f64 / 1e9 / seconds,
            user_share: cpu.user_share(),
            anonymous_bytes,
            written_bytes_per_count: None,
        }
    }
}

impl Report {
    /// Writes it as JSON, with a line end.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_json(&self, mut out: impl io::Write) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut out, self).map_err(io::Error::from)?;
        Ok(writeln!(out)?)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.mqtt_version {
            3 => "3.1",
            4 => "3.1.1",
            _ => "5",
        };
        write!(f, "{}: MQTT {version}", self.scenario)?;
        if self.publishers > 0 {
            write!(
                f,
                ", QoS {}, {} bytes, {} publishers, {} subscribers",
                self.qos, self.payload_bytes, self.publishers, self.subscribers
            )?;
        }
        match (self.window, self.rate_asked) {
            (_, Some(rate)) => writeln!(f, ", {rate:.0}/s asked for")?,
            (Some(window), _) => writeln!(f, ", window {window}")?,
            _ => writeln!(f)?,
        }
        let what = match (&self.away, self.publishers) {
            (Some(_), 0) => "sessions",
            (Some(_), _) => "acknowledged",
            (None, 0) => "connections",
            (None, _) => "deliveries",
        };
        if self.idle.is_none() {
            writeln!(f, "rate       {:.0} {what}/s over {:.1} s", self.rate, self.seconds)?;
        }
        if let Some(latency) = &self.latency {
            let Latency { mean_us, p50_us, p90_us, p99_us, p99_9_us, max_us } = latency;
            writeln!(
                f,
                "latency    p50 {p50_us:.0}  p90 {p90_us:.0}  p99 {p99_us:.0}  p99.9 {p99_9_us:.0}  \
                 max {max_us:.0}  mean {mean_us:.0} us"
            )?;
        }
        if self.publishers > 0 && self.away.is_none() {
            writeln!(
                f,
                "messages   {} published, {} of {} deliveries received",
                self.published, self.received, self.expected
            )?;
            writeln!(
                f,
                "           {} lost, {} duplicated, {} out of order, {} foreign, {} unacknowledged",
                self.lost, self.duplicated, self.out_of_order, self.foreign, self.unacknowledged
            )?;
        }
        for (count, text) in [
            (self.closed_by_broker, "connections were closed by the broker"),
            (self.behind, "messages were due and could not be sent: the broker is slower than the rate"),
            (self.stalls, "times a window stood still and was given up"),
            (self.stray_acknowledgements, "acknowledgements of nothing"),
        ] {
            if count > 0 {
                writeln!(f, "           {count} {text}")?;
            }
        }
        if let Some(idle) = &self.idle {
            writeln!(
                f,
                "memory     {:.0} bytes per connection from {} to {} ({} -> {} -> {} KiB)",
                idle.bytes_per_connection,
                idle.connections_from,
                idle.connections_to,
                idle.bytes_before / 1024,
                idle.bytes_from / 1024,
                idle.bytes_to / 1024
            )?;
        }
        if let Some(away) = &self.away {
            writeln!(
                f,
                "memory     {:.0} bytes per session of {} ({} -> {} KiB)",
                away.bytes_per_session,
                away.sessions,
                away.bytes_before / 1024,
                away.bytes_after / 1024
            )?;
        }
        if let Some(us) = self.thread_us_per_count {
            writeln!(f, "thread     {us:.3} us CPU each")?;
        }
        if let Some(broker) = &self.broker {
            write!(f, "broker     ")?;
            if let Some(us) = broker.cpu_us_per_count {
                write!(f, "{us:.3} us CPU each, ")?;
            }
            write!(f, "{:.1} % of a core", broker.cores * 100.0)?;
            if let Some(user) = broker.user_share {
                write!(f, " ({:.0} % user)", user * 100.0)?;
            }
            write!(f, ", {:.1} MiB", broker.anonymous_bytes as f64 / (1 << 20) as f64)?;
            match broker.written_bytes_per_count {
                Some(bytes) if bytes > 0.0 => writeln!(f, ", {bytes:.0} bytes to disk each")?,
                _ => writeln!(f)?,
            }
        }
        writeln!(f, "generator  {:.0} % of a core", self.generator_cores * 100.0)
    }
}
