//! The router: topics among 10, 10,000 and 1,000,000 filters, seen before or not.

use std::hint::black_box;

use pelton_base::HashKey;
use pelton_broker::router::{Options, Router, Subscriber, Wanted};
use pelton_mqtt::{QoS, SubscribeOptions};

use crate::Workload;

/// What the filters look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `site/N/temperature`.
    Exact,
    /// `site/N/+`.
    Plus,
    /// `site/N/#`.
    Hash,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Plus => "+",
            Self::Hash => "#",
        }
    }

    fn filter(self, n: u32) -> String {
        match self {
            Self::Exact => format!("site/{n}/temperature"),
            Self::Plus => format!("site/{n}/+"),
            Self::Hash => format!("site/{n}/#"),
        }
    }
}

/// A router with `filters` filters of one shape.
pub fn router(shape: Shape, filters: u32, remembered: usize) -> Router {
    let mut router = Router::new(HashKey::new(1, 2), remembered);
    let options = Options::new(QoS::AtMostOnce, SubscribeOptions::new(QoS::AtMostOnce), false);
    for n in 0..filters {
        let filter = router.filter(&shape.filter(n));
        router.add(filter, Subscriber { session: n, slot: 0, options });
    }
    router
}

fn look_up(router: &mut Router, topic: &str) -> usize {
    let topic = match router.known_topic(topic.as_bytes()) {
        Some(topic) => topic,
        None => router.topic(topic.as_bytes()),
    };
    let Wanted::By(filter) = router.matched(topic).wanted() else { panic!("one filter matches") };
    router.subscribers(filter).len()
}

/// Look-ups among `filters` filters: of topics seen before, and of topics that have to be matched anew.
pub fn workloads_of(filters: u32) -> Vec<Workload> {
    const RUN: u64 = 1000;
    let mut all = Vec::new();
    for shape in [Shape::Exact, Shape::Plus, Shape::Hash] {
        let name = shape.name();
        // Topics spread over the filters, a thousand of them.
        let topics: Vec<String> =
            (0..RUN as u32).map(|n| format!("site/{}/temperature", n.wrapping_mul(7919) % filters)).collect();
        let mut known = router(shape, filters, 65_536);
        let seen = topics.clone();
        all.push(Workload::new(format!("router/{filters} filters/{name}/seen before"), RUN, move || {
            for topic in &seen {
                black_box(look_up(&mut known, topic));
            }
        }));
        if shape != Shape::Exact {
            // Nothing is remembered: every look-up walks the trie.
            let mut forgetful = router(shape, filters, 0);
            all.push(Workload::new(format!("router/{filters} filters/{name}/walked"), RUN, move || {
                for topic in &topics {
                    black_box(look_up(&mut forgetful, topic));
                }
            }));
        }
    }
    let mut busy = router(Shape::Exact, filters, 65_536);
    let options = Options::new(QoS::AtMostOnce, SubscribeOptions::new(QoS::AtMostOnce), false);
    all.push(Workload::new(format!("router/{filters} filters/subscribe and unsubscribe"), RUN, move || {
        for n in 0..RUN as u32 {
            let filter = busy.filter(&format!("churn/{n}/x"));
            let (position, _) = busy.add(filter, Subscriber { session: n, slot: 0, options });
            busy.remove(filter, position);
            busy.release(filter);
        }
    }));
    all
}

/// The workloads whose instructions are counted.
pub fn small() -> Vec<Workload> {
    workloads_of(10_000)
}
