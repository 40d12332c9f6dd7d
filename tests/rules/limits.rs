//! Limits an operator sets: of topics, filters, subscriptions, packets, connections.

use pelton_broker::Settings;
use pelton_broker::counters::Ended;
use pelton_mqtt::{
    Connect, PacketType, PublishProperties, QoS, ReasonCode, SubscribeOptions, TopicName, Version, Will,
};

use crate::broker::Broker;
use crate::client::{Client, message};

#[test]
fn a_packet_above_the_maximum_ends_the_connection() {
    let broker = Broker::start(Settings { packet_bytes_max: 1_000, ..Settings::default() });
    let (client, answer) = Client::try_connect(&broker, &Connect::new(Version::V5, "c"));
    assert_eq!(answer.connack().properties.maximum_packet_size, Some(1_000));
    client.leave();
    for (n, version) in (1..).zip(Version::ALL) {
        let mut client = broker.client(version, "c");
        // Fixed header 3, topic 3, properties 1 in version 5: exactly the maximum, and a byte more.
        let payload = "x".repeat(1_000 - 6 - usize::from(version.is_v5()));
        client.subscribe("t", QoS::AtMostOnce);
        client.put_publish(&message("t", &payload));
        assert_eq!(client.take().payload(), payload);
        // The header alone condemns it: the rest need not come.
        client.put(|out| {
            message("t", &format!("{payload}x")).encode(version, out);
            out.truncate(4);
        });
        client.expect_refusal(ReasonCode::PacketTooLarge);
        broker.wait_ended(Ended::PacketTooLarge, n);
    }
    // Also as the first packet.
    let mut client = Client::open(&broker, Version::V5);
    client.send(b"\x10\xff\x7f");
    client.expect_end();
    broker.wait_ended(Ended::PacketTooLarge, 4);
}

#[test]
fn a_topic_above_the_limits_is_refused() {
    // covers [MQTT-4.7.3-3]
    let broker = Broker::start(Settings { topic_bytes_max: 20, topic_levels_max: 4, ..Settings::default() });
    let fits = ["x".repeat(20), "1/2/3/4".into()];
    let too_much = ["x".repeat(21), "1/2/3/4/5".into(), "////".into()];
    let mut client = broker.client(Version::V5, "c");
    for topic in &fits {
        assert_eq!(client.say(topic, "x", QoS::AtLeastOnce), ReasonCode::NoMatchingSubscribers);
        assert_eq!(client.subscribe_with(topic, SubscribeOptions::new(QoS::AtMostOnce)), ReasonCode::Success);
    }
    for topic in &too_much {
        // Told in the acknowledgement: the connection goes on.
        assert_eq!(client.say(topic, "x", QoS::AtLeastOnce), ReasonCode::TopicNameInvalid);
        assert_eq!(client.say(topic, "x", QoS::ExactlyOnce), ReasonCode::TopicNameInvalid);
        let refused = client.subscribe_with(topic, SubscribeOptions::new(QoS::AtMostOnce));
        assert_eq!(refused, ReasonCode::TopicFilterInvalid);
    }
    // At QoS 0, and before version 5, only the end of the connection says it.
    let mut ended = 0;
    for version in Version::ALL {
        for topic in &too_much {
            let mut client = broker.client(version, "c0");
            client.put_publish(&message(topic, "x"));
            client.expect_refusal(ReasonCode::TopicNameInvalid);
            ended += 1;
            broker.wait_ended(Ended::TopicNameInvalid, ended);
        }
        if !version.is_v5() {
            let mut client = broker.client(version, "c0");
            let refused = client.subscribe_with(&too_much[0], SubscribeOptions::new(QoS::AtMostOnce));
            assert_eq!(refused, ReasonCode::UnspecifiedError);
            client.leave();
        }
    }
    // A will is refused with its CONNECT.
    let will = Will {
        topic: TopicName::new(&too_much[0]).expect("a topic name"),
        payload: b"",
        qos: QoS::AtMostOnce,
        retain: false,
        delay_interval: 0,
        properties: PublishProperties::NONE,
    };
    let connect = Connect { will: Some(will), ..Connect::new(Version::V5, "w") };
    let (mut client, answer) = Client::try_connect(&broker, &connect);
    assert_eq!(answer.connack().reason, ReasonCode::TopicNameInvalid);
    client.expect_end();
}

#[test]
fn the_longest_topic_there_can_be() {
    // covers [MQTT-4.7.3-3] [MQTT311-4.7.3-3]
    let broker = Broker::start(Settings { topic_bytes_max: u16::MAX, ..Settings::default() });
    let topic = "x".repeat(65_535);
    for version in Version::ALL {
        let mut client = broker.client(version, "c");
        client.subscribe(&topic, QoS::AtMostOnce);
        client.put_publish(&message(&topic, "payload"));
        let got = client.take();
        assert_eq!((got.topic().len(), &*got.payload()), (65_535, "payload"));
        client.leave();
    }
}

#[test]
fn a_session_has_so_many_subscriptions() {
    let broker = Broker::start(Settings { subscriptions_max: 3, ..Settings::default() });
    for version in [Version::V311, Version::V5] {
        let mut client = broker.client(version, "c");
        for filter in ["a", "b", "$share/g/c"] {
            client.subscribe(filter, QoS::AtMostOnce);
        }
        let refused = client.subscribe_with("d", SubscribeOptions::new(QoS::AtMostOnce));
        let expected = if version.is_v5() { ReasonCode::QuotaExceeded } else { ReasonCode::UnspecifiedError };
        assert_eq!(refused, expected);
        // One that is there can be replaced; one that has gone makes room.
        client.subscribe("a", QoS::ExactlyOnce);
        client.unsubscribe(&["b"]);
        client.subscribe("d", QoS::AtMostOnce);
        client.leave();
    }
}

#[test]
fn the_limit_of_subscriptions_holds_within_one_packet() {
    let broker = Broker::start(Settings { subscriptions_max: 3, ..Settings::default() });
    let mut client = broker.client(Version::V5, "c");
    let filters: Vec<_> =
        ["a", "b", "c", "d", "e"].map(|filter| (filter, SubscribeOptions::new(QoS::AtMostOnce))).to_vec();
    let codes = client.subscribe_all(&filters, None);
    let (good, full) = (ReasonCode::Success, ReasonCode::QuotaExceeded);
    assert_eq!(codes, [good, good, good, full, full]);
}

#[test]
fn a_broker_has_so_many_connections() {
    let broker = Broker::start(Settings { connections_max: 2, ..Settings::default() });
    // Two shards of two: how the system spreads them is its own affair, five never fit.
    let mut open = 0;
    let mut clients: Vec<Client> = (0..5).map(|_| Client::open(&broker, Version::V5)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let client_id = format!("c{n}");
        let mut bytes = Vec::new();
        Connect::new(Version::V5, &client_id).encode(&mut bytes);
        client.try_send(&bytes);
        if let Some(got) = client.next() {
            assert_eq!(got.packet_type(), PacketType::ConnAck);
            open += 1;
        }
    }
    assert!((2..=4).contains(&open), "{open} of 5 got in");
    broker.wait_ended(Ended::Full, 5 - open);
}

#[test]
fn wildcards_and_shared_subscriptions_can_be_switched_off() {
    // covers [MQTT311-3.8.3-2]
    let settings = Settings { wildcard_available: false, shared_available: false, ..Settings::default() };
    let broker = Broker::start(settings);
    let (mut client, answer) = Client::try_connect(&broker, &Connect::new(Version::V5, "c"));
    assert_eq!(answer.connack().properties.wildcard_subscription_available, Some(false));
    assert_eq!(answer.connack().properties.shared_subscription_available, Some(false));
    let options = SubscribeOptions::new(QoS::AtMostOnce);
    let codes = client.subscribe_all(&[("#", options), ("a", options), ("$share/g/a", options)], None);
    assert_eq!(
        codes,
        [
            ReasonCode::WildcardSubscriptionsNotSupported,
            ReasonCode::Success,
            ReasonCode::SharedSubscriptionsNotSupported
        ]
    );
    let mut client = broker.client(Version::V311, "d");
    let codes = client.subscribe_all(&[("+/a", options), ("a", options), ("$share/g/a", options)], None);
    assert_eq!(codes, [ReasonCode::UnspecifiedError, ReasonCode::Success, ReasonCode::UnspecifiedError]);
}
