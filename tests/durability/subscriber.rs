//! A subscriber as the standard wants it: it keeps the identifiers of QoS 2 messages it was given across
//! reconnects, and counts each message once. It checks everything it gets.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use pelton_base::Rng;
use pelton_mqtt::{PacketType, QoS, Version};

use crate::link::{Got, Link, Lost};
use crate::run::Stage;

/// How long a subscriber that has everything listens for what must not come.
const QUIET: Duration = Duration::from_millis(300);

/// When a subscriber is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Always.
    Online,
    /// Now and then, and it leaves in the middle of things.
    Visits,
    /// Not before all is published.
    Away,
}

pub(crate) struct Subscriber<'a> {
    name: &'a str,
    version: Version,
    habit: Habit,
    /// The last number of each publisher, by topic.
    seen: HashMap<String, u64>,
    /// QoS 2 identifiers between PUBLISH and PUBREL.
    held: HashSet<u16>,
    /// QoS 1 messages that came again.
    again: u64,
}

impl<'a> Subscriber<'a> {
    /// A subscriber whose subscriptions are acknowledged.
    pub(crate) fn subscribed(name: &'a str, version: Version, habit: Habit, address: SocketAddr) -> Self {
        let (mut link, _) = Link::open(address, version, name, false).expect("the broker runs");
        link.subscribe(&["q1/+", "q2/+"]).expect("the broker runs");
        Self { name, version, habit, seen: HashMap::new(), held: HashSet::new(), again: 0 }
    }

    /// Takes messages until it has all; returns how many of QoS 1 came again.
    pub(crate) fn run(&mut self, address: SocketAddr, stage: &Stage, rng: &mut Rng) -> u64 {
        loop {
            self.check_time(stage, "is not connected");
            let totals = stage.totals();
            if self.habit == Habit::Away && totals.is_none() {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            if self.habit == Habit::Visits && totals.is_none() {
                std::thread::sleep(Duration::from_millis(rng.below(1_500)));
            }
            let Ok((mut link, present)) = Link::open(address, self.version, self.name, false) else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            assert!(present, "{}: the session is gone", self.name);
            let visit = (self.habit == Habit::Visits && totals.is_none()).then(|| rng.below(400));
            if let Ok(true) = self.take(&mut link, stage, visit) {
                return self.again;
            }
        }
    }

    /// Takes what comes; whether that was all there ever will be.
    fn take(&mut self, link: &mut Link, stage: &Stage, visit: Option<u64>) -> Result<bool, Lost> {
        let mut left = visit;
        loop {
            if let Some(left) = &mut left {
                if *left == 0 {
                    return Ok(false);
                }
                *left -= 1;
            }
            let Some(got) = link.next(QUIET)? else {
                self.check_time(stage, "is connected");
                if stage.totals().is_some_and(|totals| *totals == self.seen) && self.held.is_empty() {
                    return Ok(true);
                }
                continue;
            };
            match got {
                Got::Publish { topic, payload, qos, id } => {
                    let id = id.unwrap_or_else(|| panic!("{}: QoS 0 on {topic}", self.name));
                    let number = u64::from_be_bytes(payload.try_into().expect("eight bytes were published"));
                    match qos {
                        QoS::ExactlyOnce => {
                            if self.held.insert(id) {
                                self.count(topic, number, qos);
                            }
                            link.acknowledge(PacketType::PubRec, id)?;
                        }
                        _ => {
                            self.count(topic, number, qos);
                            link.acknowledge(PacketType::PubAck, id)?;
                        }
                    }
                }
                Got::Ack { kind: PacketType::PubRel, id } => {
                    self.held.remove(&id);
                    link.acknowledge(PacketType::PubComp, id)?;
                }
                other => panic!("{}: {other:?}", self.name),
            }
        }
    }

    /// Panics if the run takes too long, with what is missing.
    fn check_time(&self, stage: &Stage, how: &str) {
        let Self { name, seen, held, .. } = self;
        stage.check_time(format_args!(
            "{name}, who {how} and has {seen:?} of {:?}, and of QoS 2 half {held:?},",
            stage.totals()
        ));
    }

    /// Every message comes, in order: QoS 2 once, QoS 1 at least once.
    fn count(&mut self, topic: String, number: u64, qos: QoS) {
        let last = self.seen.entry(topic.clone()).or_default();
        if number == *last + 1 {
            *last = number;
        } else if number <= *last && qos == QoS::AtLeastOnce {
            self.again += 1;
        } else {
            panic!("{}: {number} follows {last} on {topic}", self.name);
        }
    }
}
