//! Topic aliases, both ways.

use pelton_broker::Settings;
use pelton_broker::counters::Ended;
use pelton_mqtt::{Connect, Property, Publish, QoS, ReasonCode, Version};

use crate::broker::Broker;
use crate::client::{Client, message, of, properties};

fn alias(number: u16) -> Vec<u8> {
    properties(&[Property::TopicAlias(number)])
}

/// A client that takes so many aliases.
fn taking(broker: &Broker, client_id: &str, maximum: Option<u16>) -> Client {
    let mut connect = Connect::new(Version::V5, client_id);
    connect.properties.topic_alias_maximum = maximum;
    Client::connect_as(broker, &connect).0
}

#[test]
fn every_alias_up_to_the_maximum_is_taken() {
    // covers [MQTT-3.3.2-12]
    let broker = Broker::start(Settings { topic_alias_maximum: 10, ..Settings::default() });
    let (mut publisher, answer) = Client::try_connect(&broker, &Connect::new(Version::V5, "p"));
    assert_eq!(answer.connack().properties.topic_alias_maximum, Some(10));
    let mut subscriber = broker.client(Version::V311, "s");
    subscriber.subscribe("#", QoS::ExactlyOnce);
    for round in 0..2 {
        for number in 1..=10 {
            let (block, topic) = (alias(number), format!("topic/{round}/{number}"));
            let named = Publish { properties: of(&block), ..message(&topic, "by name") };
            publisher.publish(&named);
            publisher.publish(&Publish {
                properties: of(&block),
                qos: QoS::ExactlyOnce,
                ..message("", "by alias")
            });
            for payload in ["by name", "by alias"] {
                let got = subscriber.take();
                assert_eq!((got.topic(), &*got.payload()), (topic.clone(), payload));
            }
        }
    }
}

#[test]
fn an_alias_that_is_not_allowed_ends_the_connection() {
    // covers [MQTT-3.3.2-8] [MQTT-4.13.1-1]
    let broker = Broker::start(Settings { topic_alias_maximum: 10, ..Settings::default() });
    let block = alias(11);
    let mut publisher = broker.client(Version::V5, "p");
    publisher.put_publish(&Publish { properties: of(&block), ..message("t", "x") });
    publisher.expect_refusal(ReasonCode::TopicAliasInvalid);
    // 0, which no encoder makes.
    let mut publisher = broker.client(Version::V5, "p");
    publisher.send(b"\x30\x07\0\x01t\x03\x23\0\0");
    publisher.expect_refusal(ReasonCode::TopicAliasInvalid);
    broker.wait_ended(Ended::TopicAliasInvalid, 2);
    // One that was not set.
    let block = alias(5);
    let mut publisher = broker.client(Version::V5, "p");
    publisher.put_publish(&Publish { properties: of(&block), ..message("", "x") });
    publisher.expect_refusal(ReasonCode::ProtocolError);
    // No topic and no alias either.
    let mut publisher = broker.client(Version::V5, "p");
    publisher.put_publish(&message("", "x"));
    publisher.expect_refusal(ReasonCode::ProtocolError);
}

#[test]
fn aliases_end_with_their_connection() {
    // covers [MQTT-3.3.2-7]
    let broker = Broker::plain();
    let block = alias(1);
    let mut publisher = Client::connect(&broker, Version::V5, "p", false);
    publisher.publish(&Publish { properties: of(&block), qos: QoS::AtLeastOnce, ..message("t", "x") });
    publisher.vanish();
    let (mut publisher, present) = Client::connect_as(&broker, &Client::hello(Version::V5, "p", false));
    assert!(present);
    publisher.put_publish(&Publish { properties: of(&block), ..message("", "x") });
    publisher.expect_refusal(ReasonCode::ProtocolError);

    // The other way: a new connection is told the topic's name first.
    let mut hello = Client::hello(Version::V5, "s", false);
    hello.properties.topic_alias_maximum = Some(5);
    let mut sender = broker.client(Version::V5, "q");
    for _ in 0..2 {
        let (mut subscriber, _) = Client::connect_as(&broker, &hello);
        subscriber.subscribe("a/long/topic", QoS::AtMostOnce);
        for name in ["a/long/topic", ""] {
            sender.say("a/long/topic", "x", QoS::AtLeastOnce);
            let got = subscriber.take();
            assert_eq!((&*got.topic(), got.publish().properties.topic_alias()), (name, Some(1)));
        }
        subscriber.vanish();
    }
}

#[test]
fn the_client_says_how_many_aliases_it_takes() {
    // covers [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11]
    let broker = Broker::plain();
    let mut sender = broker.client(Version::V5, "q");
    for maximum in [None, Some(0), Some(1), Some(3)] {
        let most = maximum.unwrap_or(0);
        let mut subscriber = taking(&broker, "s", maximum);
        subscriber.subscribe("topic/+", QoS::AtLeastOnce);
        let mut seen = 0;
        for n in 0..6 {
            for time in 0..2 {
                let topic = format!("topic/{n}");
                sender.say(&topic, &topic, QoS::AtLeastOnce);
                let got = subscriber.take();
                let number = got.publish().properties.topic_alias();
                assert!(number.unwrap_or(0) <= most, "{number:?} of {maximum:?}");
                seen = seen.max(number.unwrap_or(0));
                // A topic is only left out where its alias has been set.
                assert!(!got.topic().is_empty() || (time == 1 && number.is_some()));
                assert_eq!(got.payload(), topic);
            }
        }
        assert_eq!(seen, most, "aliases are used where they are taken");
        subscriber.leave();
    }
}

#[test]
fn an_alias_is_each_receivers_own() {
    let broker = Broker::plain();
    let block = alias(7);
    let mut publisher = broker.client(Version::V5, "p");
    let mut plain = broker.client(Version::V5, "plain");
    plain.subscribe("topic/one", QoS::AtMostOnce);
    let mut aliased = taking(&broker, "aliased", Some(9));
    aliased.subscribe("topic/one", QoS::AtMostOnce);
    publisher.publish(&Publish { properties: of(&block), ..message("topic/one", "x") });
    assert_eq!(plain.take().publish().properties.topic_alias(), None);
    assert_eq!(aliased.take().publish().properties.topic_alias(), Some(1));
}
