//! What the broker publishes about itself: `$SYS/broker/...` under mosquitto's names, and every counter by its reason
//! below `$SYS/broker/pelton/...`. The figures come from snapshots of all shards; the first shard publishes them,
//! retained, and only those that have changed.

pub(crate) mod figures;
pub(crate) mod loads;
pub(crate) mod reasons;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pelton_ebpf_loader::Counts;
use pelton_mqtt::QoS;
use pelton_runtime::Fleet;
use pelton_shard::Command;

use figures::{FIGURES, Figures, StorageFigures, Totals};
use loads::Loads;

/// How long the shards may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// The figures as they were last published.
pub(crate) struct SysTree {
    interval: Option<Duration>,
    started: Instant,
    last: Option<Instant>,
    loads: Loads,
    connected_max: usize,
    published: HashMap<String, String>,
}

impl SysTree {
    /// A tree that is published every `interval_seconds`, never if that is 0.
    pub(crate) fn new(interval_seconds: u32) -> Self {
        let interval = Duration::from_secs(interval_seconds.into());
        Self {
            interval: (interval_seconds != 0).then_some(interval),
            started: Instant::now(),
            last: None,
            loads: Loads::default(),
            connected_max: 0,
            published: HashMap::new(),
        }
    }

    /// When to publish next; `None` for never.
    pub(crate) fn due(&self) -> Option<Instant> {
        let interval = self.interval?;
        Some(self.last.map_or(self.started, |last| last + interval))
    }

    /// Publishes what has changed, if it is time.
    pub(crate) fn publish_if_due(
        &mut self,
        fleet: &Fleet,
        storage: impl FnOnce() -> StorageFigures,
        programs: impl FnOnce() -> Vec<(String, Counts)>,
    ) {
        let now = Instant::now();
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        let elapsed = self.last.map_or(Duration::ZERO, |last| now.duration_since(last));
        self.last = Some(now);
        let snapshots = fleet.snapshots(ANSWER);
        if snapshots.len() < fleet.len() {
            // Sums that leave a shard out would look like a loss of clients. `Watch` says that it is silent.
            return;
        }
        let totals = Totals { programs: programs(), ..Totals::of(&snapshots) };
        self.loads.update(&totals, elapsed);
        self.connected_max = self.connected_max.max(totals.sessions_online);
        let figures = Figures {
            uptime_seconds: now.duration_since(self.started).as_secs(),
            connected_max: self.connected_max,
            resident_bytes: figures::resident_bytes(),
            storage: storage(),
            totals,
        };
        let values = FIGURES
            .iter()
            .map(|figure| (figure.topic.to_owned(), (figure.value)(&figures)))
            .chain(self.loads.values())
            .chain(reasons::values(&figures.totals, &figures.storage));
        for (topic, value) in values {
            if self.published.get(&topic) == Some(&value) {
                continue;
            }
            let command = Command::Publish {
                topic: topic.clone(),
                payload: value.clone().into_bytes(),
                qos: QoS::AtMostOnce,
                retain: true,
            };
            // A shard whose channel is full gets it the next time.
            if fleet.send(0, command) {
                self.published.insert(topic, value);
            }
        }
    }
}
