//! Says what an operator should know and clients will not tell: what was refused or dropped because a limit was
//! reached, a line each every ten seconds at most.

use std::time::{Duration, Instant};

use pelton_broker::counters::{Dropped, Ended, Stored};
use pelton_runtime::Fleet;
use tracing::warn;

use crate::sys::figures::Totals;

/// How often to look.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long the shards may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// A count that should not grow, and what to say when it does.
struct Alarm {
    count: fn(&Totals) -> u64,
    text: &'static str,
}

/// What is watched. `docs/OPERATING.md` says what to do about each.
const ALARMS: [Alarm; 11] = [
    Alarm {
        count: |totals| totals.transport("out_of_descriptors"),
        text: "times no connection could be accepted for want of file descriptors or memory",
    },
    Alarm {
        count: |totals| totals.tally.ended.get(Ended::Full),
        text: "connections closed: [shards] connections_max is reached",
    },
    Alarm {
        count: |totals| totals.tally.ended.get(Ended::NotReading) + totals.tally.ended.get(Ended::QueueFull),
        text: "clients disconnected because they take less than they are sent",
    },
    Alarm {
        count: |totals| totals.tally.dropped.get(Dropped::OutboundFull),
        text: "messages of QoS 0 dropped: clients do not read them fast enough",
    },
    Alarm {
        count: |totals| {
            totals.tally.dropped.get(Dropped::QueueFullOldest)
                + totals.tally.dropped.get(Dropped::QueueFullNewest)
        },
        text: "messages dropped: the queues of their sessions are full",
    },
    Alarm {
        count: |totals| totals.tally.dropped.get(Dropped::GroupQueueFull),
        text: "messages dropped: the queues of their shared subscriptions are full",
    },
    Alarm {
        count: |totals| totals.tally.dropped.get(Dropped::RetainedFull),
        text: "messages not retained: [retained] messages_max or bytes_max is reached",
    },
    Alarm {
        count: |totals| totals.tally.stored.get(Stored::Full) + totals.tally.stored.get(Stored::Failed),
        text: "operations the storage did not take: their publishers are refused or wait",
    },
    Alarm {
        count: |totals| totals.tally.dropped.get(Dropped::Damaged) + totals.tally.stored.get(Stored::Damaged),
        text: "stored records that cannot be read: the medium is damaged",
    },
    Alarm {
        count: |totals| totals.tally.ended.get(Ended::ConnectTimeout),
        text: "connections closed that sent no CONNECT in time",
    },
    Alarm {
        count: |totals| totals.interface("tap_gone"),
        text: "queues of TAP devices lost: the device was taken away; make it again and restart",
    },
];

/// The counts at the last look.
pub(crate) struct Watch {
    last: Instant,
    counts: [u64; ALARMS.len()],
}

impl Watch {
    /// A watch over a broker that begins now.
    pub(crate) fn new() -> Self {
        Self { last: Instant::now(), counts: [0; ALARMS.len()] }
    }

    /// Looks, if it is time.
    pub(crate) fn look_if_due(&mut self, fleet: &Fleet) {
        if self.last.elapsed() < INTERVAL {
            return;
        }
        self.last = Instant::now();
        let snapshots = fleet.snapshots(ANSWER);
        let silent = fleet.len() - snapshots.len();
        if silent != 0 {
            warn!("{silent} of {} shards did not answer in {ANSWER:?}", fleet.len());
            return;
        }
        for (number, text) in self.grown(&Totals::of(&snapshots)) {
            warn!("{number} {text}");
        }
    }

    /// What has grown since the last call, and by how much.
    fn grown(&mut self, totals: &Totals) -> Vec<(u64, &'static str)> {
        let mut grown = Vec::new();
        for (alarm, last) in ALARMS.iter().zip(&mut self.counts) {
            let count = (alarm.count)(totals);
            let new = count - std::mem::replace(last, count);
            if new != 0 {
                grown.push((new, alarm.text));
            }
        }
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_grown_is_said() {
        let mut watch = Watch::new();
        let mut totals = Totals::default();
        assert!(watch.grown(&totals).is_empty());
        totals.tally.dropped.add_n(Dropped::QueueFullNewest, 3);
        totals.tally.dropped.add_n(Dropped::QueueFullOldest, 4);
        totals.transport.push(("out_of_descriptors", 1));
        let said: Vec<u64> = watch.grown(&totals).into_iter().map(|(number, _)| number).collect();
        assert_eq!(said, [1, 7]);
        totals.tally.ended.add(Ended::Full);
        assert_eq!(watch.grown(&totals), [(1, ALARMS[1].text)]);
        assert!(watch.grown(&totals).is_empty());
    }
}
