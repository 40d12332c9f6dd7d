//! Retained messages.

use std::time::Duration;

use pelton_mqtt::{Property, Publish, QoS, Version};

use crate::broker::Broker;
use crate::client::{Client, Got, message, of, properties};

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// What a new subscriber gets.
fn kept(broker: &Broker, version: Version, filter: &str) -> Vec<(String, String, QoS, bool)> {
    let mut client = broker.client(version, "looking");
    client.subscribe(filter, QoS::ExactlyOnce);
    let mut got: Vec<_> = client.take_all().iter().map(Got::message).collect();
    got.sort();
    // A QoS 2 exchange may still be open; nothing of it is left behind.
    client.vanish();
    got
}

/// A client whose subscription stands, its retained messages fetched.
fn subscriber(broker: &Broker, version: Version, qos: QoS) -> Client {
    let mut client = broker.client(version, "subscriber");
    client.subscribe("t", qos);
    client.expect_silence();
    client
}

#[test]
fn the_last_one_is_kept_with_its_qos() {
    // covers [MQTT-3.3.1-5] [MQTT-3.3.1-9] [MQTT311-3.3.1-5] [MQTT311-3.3.1-6] [MQTT311-3.3.1-7] [MQTT311-3.3.1-8]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut publisher = broker.client(version, "p");
        for qos in ALL_QOS {
            publisher.retain("t", "before", QoS::ExactlyOnce);
            publisher.retain("t", &format!("{qos:?}"), qos);
            // No acknowledgement says that QoS 0 has come.
            publisher.is_heard();
            let expected = vec![("t".into(), format!("{qos:?}"), qos, true)];
            assert_eq!(kept(&broker, version, "t"), expected);
            assert_eq!(kept(&broker, version, "+"), expected);
        }
        publisher.retain("t", "", QoS::AtLeastOnce);
        publisher.leave();
    }
}

#[test]
fn a_new_subscription_gets_one_of_each_topic() {
    // covers [MQTT-3.3.1-9] [MQTT311-3.3.1-6] [MQTT-4.7.2-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut publisher = broker.client(version, "p");
        let topics: Vec<String> = (0..40).map(|n| format!("room/{}/{n}", n % 4)).collect();
        for topic in &topics {
            publisher.retain(topic, topic, QoS::AtLeastOnce);
        }
        let of = |filter: &str| -> Vec<String> {
            kept(&broker, version, filter).into_iter().map(|(topic, ..)| topic).collect()
        };
        let mut all = topics.clone();
        all.sort();
        assert_eq!(of("room/#"), all);
        assert_eq!(of("#"), all);
        let two: Vec<String> = all.iter().filter(|topic| topic.starts_with("room/2/")).cloned().collect();
        assert_eq!(of("room/2/+"), two);
        assert_eq!(of("room/2/2"), ["room/2/2"]);
        assert_eq!(of("room/2"), [""; 0]);
        for topic in &topics {
            publisher.retain(topic, "", QoS::AtLeastOnce);
        }
        publisher.leave();
    }
}

#[test]
fn an_empty_one_removes_and_is_delivered() {
    // covers [MQTT-3.3.1-6] [MQTT-3.3.1-7] [MQTT311-3.3.1-10] [MQTT311-3.3.1-11]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut publisher = broker.client(version, "p");
        let mut subscriber = subscriber(&broker, version, QoS::ExactlyOnce);
        for qos in ALL_QOS {
            publisher.retain("t", "x", QoS::AtLeastOnce);
            assert_eq!(subscriber.take_message(), ("t".into(), "x".into(), QoS::AtLeastOnce, false));
            publisher.retain("t", "", qos);
            // To those who are there it is a message like any other.
            assert_eq!(subscriber.take_message(), ("t".into(), String::new(), qos, false));
            assert!(kept(&broker, version, "t").is_empty());
        }
        publisher.leave();
        subscriber.leave();
    }
}

#[test]
fn one_that_is_not_to_be_retained_changes_nothing() {
    // covers [MQTT-3.3.1-8] [MQTT311-3.3.1-12]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut publisher = broker.client(version, "p");
        for qos in ALL_QOS {
            publisher.say("t", "not kept", qos);
            assert!(kept(&broker, version, "t").is_empty());
        }
        publisher.retain("t", "kept", QoS::AtLeastOnce);
        for qos in ALL_QOS {
            publisher.say("t", "not kept", qos);
            publisher.say("t", "", qos);
        }
        assert_eq!(kept(&broker, version, "t"), [("t".into(), "kept".into(), QoS::AtLeastOnce, true)]);
        publisher.retain("t", "", QoS::AtLeastOnce);
        publisher.leave();
    }
}

#[test]
fn they_are_no_part_of_a_session() {
    // covers [MQTT311-3.1.2-7] [MQTT-3.3.1-5]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut publisher = Client::connect(&broker, version, "p", false);
        publisher.retain("t", "kept", QoS::AtLeastOnce);
        publisher.leave();
        Client::connect(&broker, version, "p", true).leave();
        broker.wait_sessions(0);
        assert_eq!(kept(&broker, version, "t").len(), 1);
        broker.client(version, "q").retain("t", "", QoS::AtLeastOnce);
    }
}

#[test]
fn to_a_subscription_that_stands_they_are_not_retained() {
    // covers [MQTT-3.3.1-12] [MQTT311-3.3.1-9] [MQTT311-3.3.1-8]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut subscriber = subscriber(&broker, version, QoS::AtMostOnce);
        let mut publisher = broker.client(version, "p");
        publisher.retain("t", "live", QoS::AtLeastOnce);
        assert!(!subscriber.take().publish().retain);
        assert!(kept(&broker, version, "t")[0].3);
        publisher.retain("t", "", QoS::AtLeastOnce);
        subscriber.take();
        publisher.leave();
        subscriber.leave();
    }
}

#[test]
fn one_that_has_expired_is_not_sent() {
    // covers [MQTT-3.3.2-5] [MQTT-3.3.2-6]
    let broker = Broker::plain();
    let mut publisher = broker.client(Version::V5, "p");
    let block = properties(&[Property::MessageExpiry(2)]);
    let publish = Publish { retain: true, properties: of(&block), ..message("t", "short") };
    publisher.publish(&Publish { qos: QoS::AtLeastOnce, ..publish });
    std::thread::sleep(Duration::from_millis(1_100));
    let mut client = broker.client(Version::V5, "c");
    client.subscribe("t", QoS::AtMostOnce);
    let left = client.take().publish().properties.message_expiry();
    assert!(left == Some(1), "{left:?} of 2 seconds are left");
    std::thread::sleep(Duration::from_millis(1_300));
    assert!(kept(&broker, Version::V5, "t").is_empty());
}
