//! What was asked for. The letters are those of emqtt-bench where it has one for the same thing.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use pelton_mqtt::{QoS, TopicName, Version};

use crate::failure::Failure;
use crate::stamp::STAMP_BYTES;

/// Puts load on an MQTT broker and tells what became of every message.
///
/// Without a rate the loop is closed: each publisher has a window of messages under way, counted by the deliveries
/// seen, and latency is that of a full queue. With --rate or -I the loop is open: messages are sent at fixed times,
/// and latency counts from the time a message was to be sent.
#[derive(Clone, Debug, Parser)]
#[command(name = "pelton-load", version, disable_help_flag = true, disable_version_flag = true)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub scenario: Scenario,

    /// Print this help.
    #[arg(long, action = clap::ArgAction::Help, global = true)]
    pub help: Option<bool>,
    /// Host name or address of the broker.
    #[arg(short = 'h', long, default_value = "127.0.0.1", global = true)]
    pub host: String,
    /// Port of the broker.
    #[arg(short, long, default_value_t = 1883, global = true)]
    pub port: u16,
    /// MQTT version: 3 (3.1), 4 (3.1.1) or 5.
    #[arg(short = 'V', long = "mqtt-version", default_value = "4", value_parser = parse_version, global = true)]
    pub version: Version,
    /// User name.
    #[arg(short, long, global = true)]
    pub username: Option<String>,
    /// Password.
    #[arg(short = 'P', long, global = true)]
    pub password: Option<String>,
    /// Keep alive in seconds; 0 for none.
    #[arg(short, long, default_value_t = 300, global = true)]
    pub keepalive: u16,
    /// QoS of publishes and subscriptions: 0, 1 or 2.
    #[arg(short, long, default_value = "0", value_parser = parse_qos, global = true)]
    pub qos: QoS,
    /// Payload size in bytes, at least 24.
    #[arg(short, long, default_value_t = 256, global = true)]
    pub size: usize,
    /// What topics begin with. Publisher N has the topic TOPIC/N (fan-out: TOPIC/0).
    #[arg(short, long, default_value = "load", global = true)]
    pub topic: String,
    /// Closed loop: messages under way per publisher. Above QoS 0 also the most unacknowledged.
    #[arg(short = 'F', long = "inflight", default_value_t = 64, global = true)]
    pub window: u16,
    /// Open loop: messages per second of all publishers together (connect: connections per second).
    #[arg(long, global = true)]
    pub rate: Option<f64>,
    /// Open loop: milliseconds between the messages of a publisher.
    #[arg(short = 'I', long = "interval-of-msg", conflicts_with = "rate", global = true)]
    pub message_interval_ms: Option<f64>,
    /// Milliseconds between two connects when opening.
    #[arg(short = 'i', long, default_value_t = 0.0, global = true)]
    pub interval: f64,
    /// Connections being opened at the same time.
    #[arg(long, default_value_t = 64, global = true)]
    pub opening: usize,
    /// Seconds measured.
    #[arg(short, long, default_value_t = 10.0, global = true)]
    pub duration: f64,
    /// Seconds of load before the measurement.
    #[arg(long, default_value_t = 1.0, global = true)]
    pub warmup: f64,
    /// Seconds to wait in the end for what is still under way.
    #[arg(long, default_value_t = 5.0, global = true)]
    pub drain: f64,
    /// Before the load, so many clients connect, subscribe to TOPIC/# and leave.
    #[arg(long, default_value_t = 0, global = true)]
    pub visitors: usize,
    /// Process id of the broker, to measure its CPU time and memory.
    #[arg(long, global = true)]
    pub broker_pid: Option<u32>,
    /// Measure this thread of the broker, too.
    #[arg(long, global = true)]
    pub thread: Option<String>,
    /// Subscribers have sessions that stay: what is for them waits in the broker until they acknowledge it.
    #[arg(long, global = true)]
    pub stays: bool,
    /// Core to run on.
    #[arg(long, global = true)]
    pub core: Option<usize>,
    /// Never sleep: look for events again and again. Takes a whole core, and the wake-up out of the latencies.
    #[arg(long, global = true)]
    pub spin: bool,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress lines.
    #[arg(long, global = true)]
    pub quiet: bool,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Scenario {
    /// Many publishers with a topic each, one subscriber to all of them.
    FanIn(FanIn),
    /// One publisher, many subscribers to its topic.
    FanOut(FanOut),
    /// Pairs of a publisher and a subscriber.
    Pairs(Pairs),
    /// Many publishers, one shared subscription with many members.
    Shared(Shared),
    /// Connect and disconnect again and again, or with --hold open connections and keep them.
    Connect(Churn),
    /// Connections with one subscription each that do nothing: memory per connection, CPU of the idle broker.
    Idle(Idle),
    /// Sessions whose clients are away: memory per session, and CPU of messages to them (-q 1 or 2).
    Away(Away),
}

/// Options of `fan-in`.
#[derive(Clone, Debug, Args)]
pub struct FanIn {
    /// Publishers.
    #[arg(short, long, default_value_t = 50)]
    pub count: u32,
    /// Subscribers; each gets everything.
    #[arg(long, default_value_t = 1)]
    pub subscribers: u32,
}

/// Options of `fan-out`.
#[derive(Clone, Debug, Args)]
pub struct FanOut {
    /// Subscribers.
    #[arg(short, long, default_value_t = 500)]
    pub count: u32,
}

/// Options of `pairs`.
#[derive(Clone, Debug, Args)]
pub struct Pairs {
    /// Pairs.
    #[arg(short, long, default_value_t = 100)]
    pub count: u32,
}

/// Options of `shared`.
#[derive(Clone, Debug, Args)]
pub struct Shared {
    /// Publishers.
    #[arg(short, long, default_value_t = 50)]
    pub count: u32,
    /// Members of the group.
    #[arg(short, long, default_value_t = 10)]
    pub group: u32,
}

/// Options of `connect`.
#[derive(Clone, Debug, Args)]
pub struct Churn {
    /// Connections under way at a time; with --hold, connections to open in all.
    #[arg(short, long, default_value_t = 64)]
    pub count: u32,
    /// Keep the connections until the end.
    #[arg(long)]
    pub hold: bool,
}

/// Options of `idle`.
#[derive(Clone, Debug, Args)]
pub struct Idle {
    /// Connections in the end.
    #[arg(short, long, default_value_t = 15_000)]
    pub count: u32,
    /// Connections at the first look at the broker's memory.
    #[arg(long, default_value_t = 5_000)]
    pub from: u32,
    /// Seconds before each look, in which every connection is pinged twice.
    #[arg(long, default_value_t = 3.0)]
    pub settle: f64,
}

/// Options of `away`.
#[derive(Clone, Debug, Args)]
pub struct Away {
    /// Sessions.
    #[arg(short, long, default_value_t = 100)]
    pub count: u32,
    /// Publishers; 0 to make the sessions and no more.
    #[arg(long, default_value_t = 0)]
    pub publishers: u32,
}

impl Scenario {
    /// The name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::FanIn(_) => "fan-in",
            Self::FanOut(_) => "fan-out",
            Self::Pairs(_) => "pairs",
            Self::Shared(_) => "shared",
            Self::Connect(_) => "connect",
            Self::Idle(_) => "idle",
            Self::Away(_) => "away",
        }
    }
}

impl Options {
    /// Checks what the parser could not.
    ///
    /// # Errors
    /// [`Failure::Option`].
    pub fn check(&self) -> Result<(), Failure> {
        let wrong = |text: String| Err(Failure::Option(text));
        let counts = match &self.scenario {
            Scenario::FanIn(scenario) => [scenario.count, scenario.subscribers],
            Scenario::FanOut(scenario) => [scenario.count, 1],
            Scenario::Pairs(scenario) => [scenario.count, 1],
            Scenario::Shared(scenario) => [scenario.count, scenario.group],
            Scenario::Connect(scenario) => [scenario.count, 1],
            Scenario::Idle(scenario) => [scenario.count, 1],
            Scenario::Away(scenario) => [scenario.count, 1],
        };
        if counts.contains(&0) || self.window == 0 || self.opening == 0 {
            return wrong("counts, the window (-F) and --opening are at least 1".into());
        }
        if let Scenario::Idle(idle) = &self.scenario
            && idle.from >= idle.count
        {
            return wrong(format!("--from {} must be below --count {}", idle.from, idle.count));
        }
        if self.size < STAMP_BYTES {
            return wrong(format!(
                "-s {} is too small: {STAMP_BYTES} bytes say whose message it is, its number and its time",
                self.size
            ));
        }
        if self.size > 200 << 20 {
            return wrong(format!("-s {} is larger than a packet may be", self.size));
        }
        if TopicName::new(&self.topic).is_err() {
            return wrong(format!("-t {}: not the name of a topic", self.topic));
        }
        let intervals = [Some(self.duration), self.rate, self.message_interval_ms];
        if intervals.into_iter().flatten().any(|value| !(value > 0.0 && value < 1e9)) {
            return wrong("--duration, --rate and -I are above 0".into());
        }
        let waits = [self.warmup, self.drain, self.interval];
        if waits.into_iter().any(|value| !(0.0..1e6).contains(&value)) {
            return wrong("--warmup, --drain and -i are not below 0".into());
        }
        Ok(())
    }

    /// Messages per second of all publishers together, if the loop is open.
    pub(crate) fn total_rate(&self, publishers: usize) -> Option<f64> {
        self.rate.or_else(|| self.message_interval_ms.map(|ms| publishers as f64 * 1_000.0 / ms))
    }

    pub(crate) fn warmup(&self) -> Duration {
        Duration::from_secs_f64(self.warmup)
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.duration)
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs_f64(self.drain)
    }
}

fn parse_qos(text: &str) -> Result<QoS, String> {
    match text {
        "0" => Ok(QoS::AtMostOnce),
        "1" => Ok(QoS::AtLeastOnce),
        "2" => Ok(QoS::ExactlyOnce),
        _ => Err("0, 1 or 2".into()),
    }
}

fn parse_version(text: &str) -> Result<Version, String> {
    match text {
        "3" | "3.1" => Ok(Version::V31),
        "4" | "3.1.1" => Ok(Version::V311),
        "5" | "5.0" => Ok(Version::V5),
        _ => Err("3, 4 or 5".into()),
    }
}
