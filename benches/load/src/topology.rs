//! Who publishes to whom.

use crate::options::{Options, Scenario};

/// A scenario as publishers with a topic each, and subscribers with a filter each.
///
/// Subscriber S is to get every message of the publishers `S * stride .. S * stride + heard`; in a shared group the
/// members together get them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topology {
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) heard: usize,
    pub(crate) stride: usize,
    /// Subscribers are the members of one shared group.
    pub(crate) shared: bool,
    topic: String,
    filter: Filter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    /// All topics, by one wildcard.
    All,
    /// All topics, by one wildcard, as a member of a group.
    Group,
    /// The topic with the subscriber's own number.
    Own,
    /// The topic of the only publisher.
    First,
}

impl Topology {
    /// `None` for the scenarios without messages.
    pub(crate) fn of(options: &Options) -> Option<Self> {
        let (publishers, subscribers, stride, filter) = match &options.scenario {
            Scenario::FanIn(scenario) => (scenario.count, scenario.subscribers, 0, Filter::All),
            Scenario::FanOut(scenario) => (1, scenario.count, 0, Filter::First),
            Scenario::Pairs(scenario) => (scenario.count, scenario.count, 1, Filter::Own),
            Scenario::Shared(scenario) => (scenario.count, scenario.group, 0, Filter::Group),
            Scenario::Connect(_) | Scenario::Idle(_) | Scenario::Away(_) => return None,
        };
        let publishers = publishers as usize;
        Some(Self {
            publishers,
            subscribers: subscribers as usize,
            heard: if stride == 0 { publishers } else { 1 },
            stride,
            shared: filter == Filter::Group,
            topic: options.topic.clone(),
            filter,
        })
    }

    /// Deliveries of one message.
    pub(crate) fn receivers(&self) -> usize {
        if self.shared || self.stride != 0 { 1 } else { self.subscribers }
    }

    pub(crate) fn topic(&self, publisher: usize) -> String {
        format!("{}/{publisher}", self.topic)
    }

    pub(crate) fn filter(&self, subscriber: usize) -> String {
        match self.filter {
            Filter::All => format!("{}/+", self.topic),
            Filter::Group => format!("$share/load/{}/+", self.topic),
            Filter::Own => self.topic(subscriber),
            Filter::First => self.topic(0),
        }
    }

    /// The place of the stream from a publisher to a subscriber among `subscribers * heard`; `None` if it is not to
    /// get anything from it.
    #[inline]
    pub(crate) fn stream(&self, subscriber: usize, publisher: usize) -> Option<usize> {
        let nth = publisher.checked_sub(subscriber * self.stride)?;
        (nth < self.heard).then(|| subscriber * self.heard + nth)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn topology(line: &str) -> Topology {
        Topology::of(&Options::parse_from(line.split(' '))).unwrap()
    }

    #[test]
    fn who_hears_whom() {
        let pairs = topology("pelton-load pairs -c 3");
        assert_eq!(
            (pairs.receivers(), pairs.topic(2), pairs.filter(2)),
            (1, "load/2".into(), "load/2".into())
        );
        assert_eq!([pairs.stream(2, 2), pairs.stream(2, 1), pairs.stream(0, 1)], [Some(2), None, None]);

        let fan_in = topology("pelton-load fan-in -c 4 --subscribers 2 -t a/b");
        assert_eq!((fan_in.receivers(), fan_in.filter(1)), (2, "a/b/+".into()));
        assert_eq!([fan_in.stream(0, 3), fan_in.stream(1, 0), fan_in.stream(1, 4)], [Some(3), Some(4), None]);

        let fan_out = topology("pelton-load fan-out -c 5");
        assert_eq!(
            (fan_out.receivers(), fan_out.topic(0), fan_out.filter(4)),
            (5, "load/0".into(), "load/0".into())
        );
        assert_eq!([fan_out.stream(4, 0), fan_out.stream(4, 1)], [Some(4), None]);

        let shared = topology("pelton-load shared -c 2 -g 3");
        assert_eq!((shared.receivers(), shared.filter(0)), (1, "$share/load/load/+".into()));
    }
}
