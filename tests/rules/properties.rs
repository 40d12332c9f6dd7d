//! Properties of a message on their way from publisher to subscriber.

use std::time::Duration;

use pelton_broker::Settings;
use pelton_broker::counters::{Dropped, Ended};
use pelton_mqtt::{Connect, Property, Publish, PublishProperties, QoS, ReasonCode, TopicName, Version, Will};

use crate::broker::Broker;
use crate::client::{Client, message, of, properties};

fn all() -> Vec<Property<'static>> {
    vec![
        Property::User("z", "last letter first"),
        Property::PayloadIsUtf8(true),
        Property::ContentType("text/plain; charset=utf-8"),
        Property::User("a", ""),
        Property::ResponseTopic(TopicName::new("answers/here").expect("a topic name")),
        Property::User("z", "again"),
        Property::CorrelationData(&[0, 1, 254, 255]),
        Property::User("", "\u{feff}no name"),
    ]
}

fn expect_all(got: &Publish<'_>) {
    let seen = got.properties;
    assert!(seen.payload_is_utf8());
    assert_eq!(seen.content_type(), Some("text/plain; charset=utf-8"));
    assert_eq!(seen.response_topic().map(|topic| topic.as_str()), Some("answers/here"));
    assert_eq!(seen.correlation_data(), Some(&[0, 1, 254, 255][..]));
    let pairs: Vec<_> = seen.user_properties().iter().collect();
    assert_eq!(pairs, [("z", "last letter first"), ("a", ""), ("z", "again"), ("", "\u{feff}no name")]);
}

#[test]
fn they_are_passed_on_as_they_came() {
    // covers [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
    // covers [MQTT-1.5.4-3]
    let broker = Broker::plain();
    let mut subscribers: Vec<Client> = (0..3)
        .map(|n| {
            let mut client = broker.client(Version::V5, &format!("s{n}"));
            client.subscribe(["t", "+", "#"][n], QoS::ExactlyOnce);
            client
        })
        .collect();
    let mut old = broker.client(Version::V311, "old");
    old.subscribe("t", QoS::ExactlyOnce);
    let mut publisher = broker.client(Version::V5, "p");
    let block = properties(&all());
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        publisher.publish(&Publish { qos, properties: of(&block), ..message("t", "payload") });
        for subscriber in &mut subscribers {
            let got = subscriber.take();
            expect_all(&got.publish());
            assert_eq!(got.payload(), "payload");
        }
        // Who cannot have them gets the message without.
        assert_eq!(old.take().payload(), "payload");
    }
}

#[test]
fn they_wait_with_their_message() {
    // covers [MQTT-3.3.2-4] [MQTT-3.3.2-17] [MQTT-3.3.2-18]
    let broker = Broker::plain();
    let hello = Client::hello(Version::V5, "c", false);
    let mut client = Client::connect(&broker, Version::V5, "c", false);
    client.subscribe("t", QoS::AtLeastOnce);
    client.leave();
    let mut publisher = broker.client(Version::V5, "p");
    let block = properties(&all());
    let publish = Publish { qos: QoS::AtLeastOnce, properties: of(&block), ..message("t", "x") };
    publisher.publish(&publish);
    publisher.publish(&Publish { retain: true, ..publish });
    let (mut client, _) = Client::connect_as(&broker, &hello);
    expect_all(&client.receive().publish());
    client.vanish();
    let (mut client, _) = Client::connect_as(&broker, &hello);
    expect_all(&client.take().publish());
    expect_all(&client.take().publish());
    client.subscribe("t", QoS::AtLeastOnce);
    let kept = client.take();
    assert!(kept.publish().retain);
    expect_all(&kept.publish());
}

#[test]
fn the_expiry_counts_down_while_a_message_waits() {
    // covers [MQTT-3.3.2-5] [MQTT-3.3.2-6]
    let broker = Broker::plain();
    let mut client = Client::connect(&broker, Version::V5, "c", false);
    client.subscribe("t", QoS::AtLeastOnce);
    let mut publisher = broker.client(Version::V5, "p");
    let say = |publisher: &mut Client, payload: &str, seconds| {
        let block = properties(&[Property::MessageExpiry(seconds)]);
        publisher.publish(&Publish {
            qos: QoS::AtLeastOnce,
            properties: of(&block),
            ..message("t", payload)
        });
    };
    say(&mut publisher, "at once", 100);
    assert_eq!(client.take().publish().properties.message_expiry(), Some(100));
    client.leave();
    say(&mut publisher, "short", 1);
    say(&mut publisher, "long", 100);
    publisher.say("t", "for ever", QoS::AtLeastOnce);
    std::thread::sleep(Duration::from_millis(1_500));
    let (mut client, _) = Client::connect_as(&broker, &Client::hello(Version::V5, "c", false));
    let got = client.take();
    assert_eq!(got.payload(), "long");
    let left = got.publish().properties.message_expiry();
    assert!(matches!(left, Some(98..=99)), "{left:?} of 100 are left");
    let got = client.take();
    assert_eq!((got.payload(), got.publish().properties.message_expiry()), ("for ever".into(), None));
    client.expect_silence();
    broker.wait_dropped(Dropped::Expired, 1);
}

#[test]
fn a_payload_is_checked_if_the_operator_wants_it() {
    let broker = Broker::start(Settings { payload_format_checked: true, ..Settings::default() });
    let block = properties(&[Property::PayloadIsUtf8(true)]);
    let bad = Publish { properties: of(&block), payload: b"\xff", ..message("t", "") };
    let mut publisher = broker.client(Version::V5, "p");
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        assert_eq!(publisher.publish(&Publish { qos, ..bad }), ReasonCode::PayloadFormatInvalid);
    }
    let good = Publish { qos: QoS::AtLeastOnce, payload: "ü".as_bytes(), ..bad };
    assert_eq!(publisher.publish(&good), ReasonCode::NoMatchingSubscribers);
    publisher.put_publish(&bad);
    publisher.expect_refusal(ReasonCode::PayloadFormatInvalid);
    broker.wait_dropped(Dropped::PayloadFormat, 3);
    broker.wait_ended(Ended::ProtocolError, 1);
    // By default it is not.
    let broker = Broker::plain();
    let mut publisher = broker.client(Version::V5, "p");
    let unchecked = Publish { qos: QoS::AtLeastOnce, ..bad };
    assert_eq!(publisher.publish(&unchecked), ReasonCode::NoMatchingSubscribers);
}

#[test]
fn a_message_of_an_older_version_has_none() {
    // covers [MQTT-2.2.2-1]
    let broker = Broker::plain();
    let mut subscriber = broker.client(Version::V5, "s");
    subscriber.subscribe("t", QoS::AtMostOnce);
    broker.client(Version::V311, "p").say("t", "x", QoS::AtLeastOnce);
    let got = subscriber.take();
    // Topic, a property length of 0, payload.
    assert_eq!(got.body(), b"\0\x01t\0x");
}

#[test]
fn a_message_without_expiry_gets_the_operators() {
    let broker = Broker::start(Settings { message_expiry_default: Some(60), ..Settings::default() });
    let mut client = broker.client(Version::V5, "c");
    client.subscribe("t", QoS::AtLeastOnce);
    let expect = |client: &mut Client, from, to| {
        let left = client.take().publish().properties.message_expiry();
        assert!(left.is_some_and(|left| (from..=to).contains(&left)), "{left:?}");
    };
    for version in Version::ALL {
        let mut publisher = broker.client(version, "p");
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            publisher.say("t", "without", qos);
            expect(&mut client, 50, 60);
        }
        publisher.leave();
        let will = Will {
            topic: TopicName::new("t").expect("a topic name"),
            payload: b"gone",
            qos: QoS::AtMostOnce,
            retain: false,
            delay_interval: 0,
            properties: PublishProperties::NONE,
        };
        let hello = Connect { will: Some(will), ..Connect::new(version, "mortal") };
        Client::connect_as(&broker, &hello).0.vanish();
        expect(&mut client, 50, 60);
    }
    // Its own counts, be it longer or shorter.
    let mut publisher = broker.client(Version::V5, "p");
    for own in [5, 600] {
        let block = properties(&[Property::MessageExpiry(own)]);
        publisher.put_publish(&Publish { properties: of(&block), ..message("t", "its own") });
        expect(&mut client, own - 5, own);
    }
}
