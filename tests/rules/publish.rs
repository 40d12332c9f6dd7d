//! PUBLISH from a client: taken, answered, passed on.

use pelton_broker::Settings;
use pelton_broker::access::{Access, Rule, Scope};
use pelton_broker::counters::{Dropped, Ended};
use pelton_mqtt::{PacketType, Publish, QoS, ReasonCode, SubscribeOptions, Version};

use crate::broker::Broker;
use crate::client::{Client, id, message};

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[test]
fn each_qos_has_its_answer() {
    // covers [MQTT-3.3.4-1] [MQTT-4.3.1-1] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-2.2.1-5] [MQTT-4.3.3-11]
    // covers [MQTT311-3.3.4-1] [MQTT311-2.3.1-6] [MQTT311-4.3.1-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut subscriber = broker.client(version, "s");
        subscriber.subscribe("t", QoS::ExactlyOnce);
        let mut publisher = broker.client(version, "p");
        for qos in ALL_QOS {
            // `say` checks the answers and their identifiers.
            assert_eq!(publisher.say("t", "x", qos), ReasonCode::Success);
            let got = subscriber.take();
            assert_eq!((got.publish().qos, got.publish().dup), (qos, false));
        }
        publisher.expect_silence();
        subscriber.leave();
        publisher.leave();
    }
}

#[test]
fn version_5_is_told_that_nobody_listens() {
    // covers [MQTT-3.4.2-1] [MQTT-3.5.2-1]
    let broker = Broker::plain();
    let mut publisher = broker.client(Version::V5, "p");
    assert_eq!(publisher.say("t", "x", QoS::AtLeastOnce), ReasonCode::NoMatchingSubscribers);
    assert_eq!(publisher.say("t", "x", QoS::ExactlyOnce), ReasonCode::NoMatchingSubscribers);
}

#[test]
fn messages_come_at_the_lower_qos() {
    // covers [MQTT-3.8.4-8] [MQTT-3.3.4-2] [MQTT311-3.8.4-6] [MQTT311-3.3.5-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut publisher = broker.client(version, "p");
        for granted in ALL_QOS {
            let mut subscriber = broker.client(version, "s");
            subscriber.subscribe("t", granted);
            for published in ALL_QOS {
                publisher.say("t", "x", published);
                assert_eq!(subscriber.take().publish().qos, published.min(granted));
            }
            // A second subscription that matches raises it; there still is one copy.
            subscriber.subscribe("+", QoS::AtLeastOnce);
            publisher.say("t", "y", QoS::ExactlyOnce);
            assert_eq!(subscriber.take().publish().qos, granted.max(QoS::AtLeastOnce));
            subscriber.expect_silence();
            subscriber.leave();
        }
        publisher.leave();
    }
}

#[test]
fn dup_is_not_passed_on() {
    // covers [MQTT-3.3.1-3] [MQTT311-3.3.1-3] [MQTT-4.3.2-2] [MQTT-4.3.3-2] [MQTT-3.3.1-2]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut subscriber = broker.client(version, "s");
        subscriber.subscribe("t", QoS::ExactlyOnce);
        let mut publisher = broker.client(version, "p");
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            publisher.publish(&Publish { qos, dup: true, ..message("t", "x") });
            assert!(!subscriber.take().publish().dup);
        }
        // Nor invented where it cannot be.
        subscriber.subscribe("t", QoS::AtMostOnce);
        publisher.publish(&Publish { qos: QoS::AtLeastOnce, dup: true, ..message("t", "x") });
        assert!(!subscriber.take().publish().dup);
        subscriber.leave();
        publisher.leave();
    }
}

#[test]
fn what_matches_is_delivered_and_nothing_else() {
    // covers [MQTT-3.3.2-3] [MQTT-4.5.0-1] [MQTT-3.3.2-1] [MQTT-4.7.3-4] [MQTT311-3.3.2-3] [MQTT311-3.3.2-1]
    // covers [MQTT-4.7.1-1] [MQTT-4.7.1-2]
    let broker = Broker::start(Settings { dollar_topics_allowed: true, ..Settings::default() });
    let topics = ["a", "a/b", "a/b/c", "/", "/a", "a/", "A/b", "a//b", "ä", "a\u{308}", "$other/a", " "];
    let filters = ["a", "a/b", "#", "+", "a/#", "+/b", "a/+", "+/+", "/+", "+/", "a/+/b", "ä", " "];
    let matches: [(&str, &[&str]); 13] = [
        ("a", &["a"]),
        ("a/b", &["a/b"]),
        ("#", &["a", "a/b", "a/b/c", "/", "/a", "a/", "A/b", "a//b", "ä", "a\u{308}", " "]),
        ("+", &["a", "ä", "a\u{308}", " "]),
        ("a/#", &["a", "a/b", "a/b/c", "a/", "a//b"]),
        ("+/b", &["a/b", "A/b"]),
        ("a/+", &["a/b", "a/"]),
        ("+/+", &["a/b", "/", "/a", "a/", "A/b"]),
        ("/+", &["/", "/a"]),
        ("+/", &["/", "a/"]),
        ("a/+/b", &["a//b"]),
        ("ä", &["ä"]),
        (" ", &[" "]),
    ];
    for version in Version::ALL {
        let mut publisher = broker.client(version, "p");
        let mut subscribers: Vec<Client> =
            filters.iter().map(|filter| broker.client(version, &format!("s{filter}"))).collect();
        for (subscriber, filter) in subscribers.iter_mut().zip(filters) {
            subscriber.subscribe(filter, QoS::AtMostOnce);
        }
        for topic in topics {
            publisher.say(topic, topic, QoS::AtLeastOnce);
        }
        for (subscriber, filter) in subscribers.iter_mut().zip(filters) {
            let expected = matches.iter().find(|(of, _)| *of == filter).expect("every filter is there").1;
            for topic in expected {
                let got = subscriber.take();
                assert_eq!((&*got.topic(), &*got.payload()), (*topic, *topic), "{filter}");
            }
            subscriber.expect_silence();
        }
        for client in subscribers {
            client.leave();
        }
        publisher.leave();
    }
}

#[test]
fn dollar_topics_are_apart() {
    // covers [MQTT-4.7.2-1] [MQTT311-4.7.2-1]
    let broker = Broker::start(Settings { dollar_topics_allowed: true, ..Settings::default() });
    for version in Version::ALL {
        let mut apart = broker.client(version, "apart");
        for filter in ["#", "+/a", "+/#", "+/+"] {
            apart.subscribe(filter, QoS::AtMostOnce);
        }
        let mut named = broker.client(version, "named");
        named.subscribe("$dollar/#", QoS::AtMostOnce);
        let mut publisher = broker.client(version, "p");
        publisher.say("$dollar/a", "x", QoS::AtLeastOnce);
        assert_eq!(named.take().topic(), "$dollar/a");
        apart.expect_silence();
        for client in [apart, named, publisher] {
            client.leave();
        }
    }
}

#[test]
fn dollar_topics_are_closed_unless_opened() {
    let broker = Broker::plain();
    let mut publisher = broker.client(Version::V5, "p");
    assert_eq!(publisher.say("$dollar/a", "x", QoS::AtLeastOnce), ReasonCode::NotAuthorized);
    assert_eq!(publisher.say("$SYS/broker/version", "x", QoS::AtLeastOnce), ReasonCode::NotAuthorized);
    broker.wait_dropped(Dropped::NotAuthorized, 2);
}

#[test]
fn a_publish_that_is_not_allowed_is_told_where_it_can_be() {
    // covers [MQTT311-3.3.5-2] [MQTT-4.3.3-9]
    let rule =
        Rule { allow: false, scope: Scope::Publish, client_id: None, user_name: None, filter: "no/#".into() };
    let access = Access { rules: vec![rule], ..Access::default() };
    let broker = Broker::start(Settings { access, ..Settings::default() });
    for version in Version::ALL {
        let mut watcher = broker.client(version, "w");
        watcher.subscribe("no/#", QoS::ExactlyOnce);
        let mut publisher = broker.client(version, "p");
        let told = if version.is_v5() { ReasonCode::NotAuthorized } else { ReasonCode::Success };
        for qos in ALL_QOS {
            let reason = publisher.say("no/way", "x", qos);
            assert_eq!(reason, if qos == QoS::AtMostOnce { ReasonCode::Success } else { told });
        }
        watcher.expect_silence();
        publisher.expect_silence();
        // After a PUBREC that refuses, the identifier is free: the same one is a new message.
        if version.is_v5() {
            let refused =
                Publish { qos: QoS::ExactlyOnce, packet_id: Some(id(77)), ..message("no/way", "x") };
            for _ in 0..2 {
                publisher.put_publish(&refused);
                let got = publisher.receive();
                assert_eq!(got.ack(PacketType::PubRec).reason, ReasonCode::NotAuthorized);
            }
            watcher.subscribe("yes", QoS::ExactlyOnce);
            let taken = Publish { qos: QoS::ExactlyOnce, packet_id: Some(id(77)), ..message("yes", "y") };
            assert_eq!(publisher.publish(&taken), ReasonCode::Success);
            assert_eq!(watcher.take().payload(), "y");
        }
        watcher.leave();
        publisher.leave();
    }
    broker.wait_dropped(Dropped::NotAuthorized, 3 * 3 + 2);
}

#[test]
fn what_the_server_does_not_do_ends_the_connection() {
    // covers [MQTT-3.2.2-10]
    let settings = Settings { qos_max: QoS::AtMostOnce, retain_available: false, ..Settings::default() };
    let broker = Broker::start(settings);
    let mut client = broker.client(Version::V5, "c");
    // Any QoS can be asked for; what is granted is what there is.
    for qos in ALL_QOS {
        let granted = client.subscribe_with("t", SubscribeOptions::new(qos));
        assert_eq!(granted, ReasonCode::granted(QoS::AtMostOnce));
    }
    client.put_publish(&Publish { qos: QoS::AtLeastOnce, ..message("t", "x") });
    client.expect_refusal(ReasonCode::QosNotSupported);
    let mut client = broker.client(Version::V5, "c");
    client.put_publish(&Publish { retain: true, ..message("t", "x") });
    client.expect_refusal(ReasonCode::RetainNotSupported);
    broker.wait_ended(Ended::NotSupported, 2);
}
