use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// The rules of section 4.7 once more, written over whole levels: the oracle.
fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        return false;
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    for (i, level) in filter.iter().enumerate() {
        match *level {
            "#" => return true,
            "+" if i < topic.len() => {}
            level if i < topic.len() && level == topic[i] => {}
            _ => return false,
        }
    }
    filter.len() == topic.len()
}

fn router() -> Router {
    Router::new(HashKey::new(1, 2), 8)
}

fn options(qos: QoS) -> Options {
    Options::new(qos, SubscribeOptions::default(), false)
}

fn subscribe(router: &mut Router, text: &str, session: u32) -> (FilterId, u32) {
    let filter = router.filter(text);
    let (position, _) =
        router.add(filter, Subscriber { session, slot: 0, options: options(QoS::AtMostOnce) });
    (filter, position)
}

fn wanted(router: &mut Router, topic: &str) -> BTreeSet<u32> {
    let topic = router.topic(topic.as_bytes());
    let filters: Vec<FilterId> = router.matched(topic).filters().collect();
    filters.iter().flat_map(|&filter| router.subscribers(filter).iter().map(|sub| sub.session)).collect()
}

#[test]
fn wildcards_as_in_section_4_7() {
    // covers [MQTT-4.7.1-2] [MQTT-4.7.1-1] [MQTT311-4.7.1-2] [MQTT311-4.7.1-3] [MQTT-4.7.2-1] [MQTT-4.7.3-4]
    let filters = ["a/b", "a/+", "a/#", "#", "+", "+/b", "/+", "+/+", "a/b/#", "$SYS/#", "$SYS/+", "A/b"];
    let mut router = router();
    for (session, filter) in filters.iter().enumerate() {
        subscribe(&mut router, filter, session as u32);
    }
    for topic in ["a/b", "a", "a/", "/a", "a/b/c", "$SYS/x", "$SYS", "A/b", "b"] {
        let want: BTreeSet<u32> =
            filters.iter().enumerate().filter(|(_, f)| matches(f, topic)).map(|(i, _)| i as u32).collect();
        assert_eq!(wanted(&mut router, topic), want, "{topic}");
    }
}

#[test]
fn removal_moves_the_last_into_the_gap() {
    let mut router = router();
    let (filter, first) = subscribe(&mut router, "a/b", 10);
    subscribe(&mut router, "a/b", 11);
    subscribe(&mut router, "a/b", 12);
    assert_eq!(router.remove(filter, first).map(|moved| moved.session), Some(12));
    assert_eq!(wanted(&mut router, "a/b"), BTreeSet::from([11, 12]));
}

#[test]
fn nothing_is_left_of_a_filter_nobody_wants() {
    let mut router = router();
    for text in ["a/+/c/#", "a/b", "#", "+"] {
        let (filter, position) = subscribe(&mut router, text, 1);
        assert_eq!(router.text(filter), text);
        router.remove(filter, position);
        assert!(router.must_tell(filter));
        router.release(filter);
        assert_eq!(router.find_filter(text), None);
    }
    assert_eq!((router.filter_count(), router.node_count(), router.topic_count()), (0, 1, 0));
}

#[test]
fn routes_of_other_shards_keep_a_filter_alive() {
    let mut router = router();
    router.add_wild_route("a/#", 3);
    let (filter, position) = subscribe(&mut router, "a/#", 1);
    router.remove(filter, position);
    router.release(filter);
    let topic = router.topic(b"a/x");
    assert_eq!(router.matched(topic).shards, ShardMask::one(3));
    assert!(router.matched(topic).is_empty());
    let hash = router.hash(b"a/x");
    router.add_exact_route(hash, 5);
    let topic = router.topic(b"a/x");
    assert_eq!(router.matched(topic).shards, ShardMask::one(3).and(ShardMask::one(5)));
    router.remove_exact_route(hash, 5);
    router.remove_wild_route("a/#", 3);
    let topic = router.topic(b"a/x");
    assert!(router.matched(topic).shards.is_empty());
    assert_eq!(router.filter_count(), 0);
}

#[test]
fn topics_beyond_the_memory_are_matched_all_the_same() {
    let mut router = router();
    subscribe(&mut router, "t/+", 1);
    for n in 0..100 {
        assert_eq!(wanted(&mut router, &format!("t/{n}")), BTreeSet::from([1]));
    }
    assert!(router.topic_count() <= 8);
}

#[test]
fn subscribed_topics_beyond_the_memory_are_matched_all_the_same() {
    let mut router = router();
    for n in 0..1_000 {
        subscribe(&mut router, &format!("t/{n}"), n);
    }
    assert_eq!(router.topic_count(), 0, "what nobody publishes to is not remembered");
    for n in (0..1_000).chain(0..1_000) {
        assert_eq!(wanted(&mut router, &format!("t/{n}")), BTreeSet::from([n]));
        assert_eq!(wanted(&mut router, &format!("x/{n}")), BTreeSet::new());
    }
    assert!(router.topic_count() <= 5 * 8, "{}", router.topic_count());
    for n in 0..1_000 {
        let filter = router.find_filter(&format!("t/{n}")).unwrap();
        router.remove(filter, 0);
        router.release(filter);
    }
    assert_eq!(router.filter_count(), 0);
    // What was forgotten left room, and what was remembered knows that nobody wants it.
    assert!(router.topic_count() <= 8, "{}", router.topic_count());
    for n in 0..1_000 {
        assert_eq!(wanted(&mut router, &format!("t/{n}")), BTreeSet::new());
    }
}

#[test]
fn a_topic_in_the_scratch_place_has_the_filter_of_the_moment() {
    let mut router = Router::new(HashKey::new(1, 2), 0);
    for round in 0..2 {
        assert_eq!(wanted(&mut router, "a"), BTreeSet::new(), "{round}");
        let (filter, position) = subscribe(&mut router, "a", round);
        assert_eq!(wanted(&mut router, "a"), BTreeSet::from([round]));
        router.remove(filter, position);
        router.release(filter);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe(String, u32),
    Unsubscribe(usize),
    Route(String, u16, bool),
    Look(String),
}

fn level() -> impl Strategy<Value = String> {
    prop_oneof!["[abc]", Just(String::new()), Just("$SYS".to_owned())]
}

fn topic() -> impl Strategy<Value = String> {
    proptest::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("empty", |t| !t.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let inner = prop_oneof![3 => level(), 1 => Just("+".to_owned())];
    (proptest::collection::vec(inner, 1..5), any::<bool>())
        .prop_map(|(mut levels, tail)| {
            if tail {
                levels.push("#".to_owned());
            }
            levels.join("/")
        })
        .prop_filter("empty", |t| !t.is_empty())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (filter(), 0..20u32).prop_map(|(text, session)| Step::Subscribe(text, session)),
        2 => any::<usize>().prop_map(Step::Unsubscribe),
        2 => (filter(), 0..4u16, any::<bool>()).prop_map(|(text, shard, add)| Step::Route(text, shard, add)),
        4 => topic().prop_map(Step::Look),
    ]
}

proptest! {
    /// Any history of subscriptions and routes leads to what matching each filter by itself says.
    #[test]
    fn agrees_with_matching_one_by_one(steps in proptest::collection::vec(step(), 1..150)) {
        let mut router = router();
        // (filter text) -> sessions in the order of the filter's list
        let mut lists: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        let mut routes: BTreeSet<(String, u16)> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Subscribe(text, session) => {
                    let list = lists.entry(text.clone()).or_default();
                    if !list.contains(&session) {
                        let (_, position) = subscribe(&mut router, &text, session);
                        prop_assert_eq!(position as usize, list.len());
                        list.push(session);
                    }
                }
                Step::Unsubscribe(n) => {
                    let all: Vec<(String, usize)> = lists
                        .iter()
                        .flat_map(|(text, list)| (0..list.len()).map(move |i| (text.clone(), i)))
                        .collect();
                    if let Some((text, position)) = all.get(n % all.len().max(1)) {
                        let filter = router.find_filter(text).unwrap();
                        let moved = router.remove(filter, *position as u32);
                        let list = lists.get_mut(text).unwrap();
                        list.swap_remove(*position);
                        prop_assert_eq!(moved.map(|sub| sub.session), list.get(*position).copied());
                        router.release(filter);
                        if list.is_empty() {
                            lists.remove(text);
                        }
                    }
                }
                Step::Route(text, shard, add) => {
                    let hash = router.hash(text.as_bytes());
                    match (has_wildcard(&text), add) {
                        (true, true) => router.add_wild_route(&text, shard),
                        (true, false) => router.remove_wild_route(&text, shard),
                        (false, true) => router.add_exact_route(hash, shard),
                        (false, false) => router.remove_exact_route(hash, shard),
                    }
                    if add {
                        routes.insert((text, shard));
                    } else {
                        routes.remove(&(text, shard));
                    }
                }
                Step::Look(name) => {
                    let want: BTreeSet<u32> = lists
                        .iter()
                        .filter(|(text, _)| matches(text, &name))
                        .flat_map(|(_, list)| list.iter().copied())
                        .collect();
                    prop_assert_eq!(wanted(&mut router, &name), want);
                    let topic = router.topic(name.as_bytes());
                    let shards = router.matched(topic).shards;
                    let want: BTreeSet<u16> =
                        routes.iter().filter(|(text, _)| matches(text, &name)).map(|&(_, shard)| shard).collect();
                    prop_assert_eq!(shards.iter().collect::<BTreeSet<_>>(), want);
                }
            }
        }
        // What is left is what is wanted, and it all goes.
        let texts: Vec<String> = lists.keys().cloned().collect();
        for text in texts {
            let filter = router.find_filter(&text).unwrap();
            while !router.subscribers(filter).is_empty() {
                router.remove(filter, 0);
            }
            router.release(filter);
        }
        for (text, shard) in routes {
            if has_wildcard(&text) {
                router.remove_wild_route(&text, shard);
            }
        }
        prop_assert_eq!((router.filter_count(), router.node_count()), (0, 1));
    }
}

#[test]
fn a_topic_is_believed_only_while_it_is_the_same() {
    let mut router = Router::new(HashKey::new(1, 2), 0);
    // Nothing is remembered: the topic stands in the scratch place, which is the next one's as well.
    let scratch = router.topic(b"x");
    assert!(!router.is_topic(scratch, b"x"));
    let mut router = self::router();
    let options = Options::new(QoS::AtMostOnce, SubscribeOptions::new(QoS::AtMostOnce), false);
    let subscriber = Subscriber { session: 1, slot: 0, options };
    let filter = router.filter("a");
    let (position, _) = router.add(filter, subscriber);
    let topic = router.topic(b"a");
    assert_eq!(router.known_topic(b"a"), Some(topic));
    assert!(router.is_topic(topic, b"a") && !router.is_topic(topic, b"b") && !router.is_topic(topic, b""));
    router.remove(filter, position);
    router.release(filter);
    assert!(!router.is_topic(topic, b"a") && !router.is_topic(topic, b""), "forgotten");
    let filter = router.filter("b");
    router.add(filter, subscriber);
    assert_eq!(router.topic(b"b"), topic, "its place is taken");
    assert!(!router.is_topic(topic, b"a"));
    assert!(!router.is_topic(TopicId::NONE, b"a"));
}
