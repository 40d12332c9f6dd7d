//! SUBSCRIBE and SUBACK.

use pelton_broker::Settings;
use pelton_broker::access::{Access, Rule, Scope};
use pelton_mqtt::{PacketType, Publish, QoS, ReasonCode, RetainHandling, SubscribeOptions, Version};

use crate::broker::Broker;
use crate::client::message;

const PLAIN: SubscribeOptions = SubscribeOptions::new(QoS::AtMostOnce);

#[test]
fn each_filter_has_its_code_in_its_place() {
    // covers [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-2.2.1-6]
    // covers [MQTT311-3.8.4-1] [MQTT311-3.8.4-2] [MQTT311-3.8.4-4] [MQTT311-3.8.4-5] [MQTT311-3.9.3-1]
    // covers [MQTT311-2.3.1-7] [MQTT311-3.9.3-2] [MQTT-3.9.3-2]
    let rule = Rule {
        allow: false,
        scope: Scope::Subscribe,
        client_id: None,
        user_name: None,
        filter: "no/#".into(),
    };
    let access = Access { rules: vec![rule], ..Access::default() };
    let broker = Broker::start(Settings { access, ..Settings::default() });
    for version in Version::ALL {
        let mut client = broker.client(version, "c");
        let qos = SubscribeOptions::new;
        // `subscribe_all` checks the identifier.
        let codes = client.subscribe_all(
            &[
                ("two", qos(QoS::ExactlyOnce)),
                ("no/way", qos(QoS::AtLeastOnce)),
                ("zero", qos(QoS::AtMostOnce)),
                ("bad/#/filter", qos(QoS::AtMostOnce)),
                ("one", qos(QoS::AtLeastOnce)),
            ],
            None,
        );
        let (denied, invalid) = if version.is_v5() {
            (ReasonCode::NotAuthorized, ReasonCode::TopicFilterInvalid)
        } else {
            (ReasonCode::UnspecifiedError, ReasonCode::UnspecifiedError)
        };
        let granted = ReasonCode::granted;
        assert_eq!(
            codes,
            [granted(QoS::ExactlyOnce), denied, granted(QoS::AtMostOnce), invalid, granted(QoS::AtLeastOnce)]
        );
        // Each that was granted is a subscription of its own.
        let mut publisher = broker.client(version, "p");
        for (topic, qos) in [("two", QoS::ExactlyOnce), ("zero", QoS::AtMostOnce), ("one", QoS::AtLeastOnce)]
        {
            publisher.say(topic, "x", QoS::ExactlyOnce);
            assert_eq!(client.take_message(), (topic.into(), "x".into(), qos, false));
        }
        publisher.say("no/way", "x", QoS::ExactlyOnce);
        client.expect_silence();
        client.leave();
        publisher.leave();
    }
}

#[test]
fn the_same_filter_twice_in_a_packet_is_one_subscription() {
    // covers [MQTT-3.8.4-5] [MQTT-3.8.4-3] [MQTT311-3.8.4-4]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut client = broker.client(version, "c");
        let codes = client.subscribe_all(
            &[("t", SubscribeOptions::new(QoS::AtMostOnce)), ("t", SubscribeOptions::new(QoS::ExactlyOnce))],
            None,
        );
        assert_eq!(codes, [ReasonCode::Success, ReasonCode::GrantedQos2]);
        let mut publisher = broker.client(version, "p");
        publisher.say("t", "x", QoS::ExactlyOnce);
        assert_eq!(client.take().publish().qos, QoS::ExactlyOnce);
        client.expect_silence();
        client.leave();
        publisher.leave();
    }
}

#[test]
fn the_same_filter_again_replaces_the_subscription() {
    // covers [MQTT-3.8.4-3] [MQTT-3.8.4-4] [MQTT311-3.8.4-3]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut publisher = broker.client(version, "p");
        publisher.retain("t/kept", "kept", QoS::ExactlyOnce);
        let mut client = broker.client(version, "c");
        for qos in [QoS::AtLeastOnce, QoS::AtMostOnce, QoS::ExactlyOnce] {
            client.subscribe("t/+", qos);
            // Retained messages come each time, at the new QoS.
            assert_eq!(client.take_message(), ("t/kept".into(), "kept".into(), qos, true));
            publisher.say("t/live", "live", QoS::ExactlyOnce);
            assert_eq!(client.take_message(), ("t/live".into(), "live".into(), qos, false));
            client.expect_silence();
        }
        publisher.retain("t/kept", "", QoS::AtLeastOnce);
        client.take();
        client.leave();
        publisher.leave();
    }
}

#[test]
fn replacing_loses_nothing() {
    // covers [MQTT-3.8.4-4] [MQTT311-3.8.4-3] [MQTT-4.6.0-5] [MQTT-4.6.0-6]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut client = broker.client(version, "c");
        client.subscribe("t", QoS::AtLeastOnce);
        let mut publisher = broker.client(version, "p");
        let mut next = 0;
        for n in 0..60 {
            publisher.put_publish(&Publish { qos: QoS::AtLeastOnce, ..message("t", &n.to_string()) });
            if n % 10 == 5 {
                client.put_subscribe(&[("t", SubscribeOptions::new(QoS::AtLeastOnce))], None);
            }
        }
        let mut answers = 0;
        while next < 60 || answers < 6 {
            let got = client.receive();
            if got.packet_type() == PacketType::SubAck {
                answers += 1;
                continue;
            }
            assert_eq!(got.payload(), next.to_string());
            client.acknowledge(PacketType::PubAck, got.publish().packet_id);
            next += 1;
        }
        client.leave();
        publisher.vanish();
    }
}

#[test]
fn no_local_keeps_a_clients_own_messages_from_it() {
    // covers [MQTT-3.8.3-3]
    let broker = Broker::plain();
    let mut client = broker.client(Version::V5, "c");
    let mut other = broker.client(Version::V5, "other");
    let no_local = SubscribeOptions { no_local: true, ..SubscribeOptions::new(QoS::AtLeastOnce) };
    client.subscribe_with("t/#", no_local);
    client.say("t/1", "own", QoS::AtLeastOnce);
    client.expect_silence();
    other.say("t/1", "another's", QoS::AtLeastOnce);
    assert_eq!(client.take().payload(), "another's");
    // A second subscription without the option takes what the first leaves out.
    client.subscribe_with("t/2", SubscribeOptions::new(QoS::AtMostOnce));
    client.put_publish(&message("t/2", "own"));
    assert_eq!(client.take().payload(), "own");
    client.put_publish(&message("t/1", "own"));
    client.expect_silence();
}

#[test]
fn no_local_holds_for_retained_messages_too() {
    // covers [MQTT-3.8.3-3]
    let broker = Broker::plain();
    let mut client = broker.client(Version::V5, "c");
    client.retain("t", "own", QoS::AtLeastOnce);
    let no_local = SubscribeOptions { no_local: true, ..PLAIN };
    client.subscribe_with("t", no_local);
    client.expect_silence();
    let mut other = broker.client(Version::V5, "other");
    other.subscribe_with("t", no_local);
    assert_eq!(other.take().payload(), "own");
    other.retain("t", "", QoS::AtLeastOnce);
}

#[test]
fn no_local_and_shared_do_not_go_together() {
    // covers [MQTT-3.8.3-4]
    let broker = Broker::plain();
    let mut client = broker.client(Version::V5, "c");
    client.put_subscribe(&[("$share/g/t", SubscribeOptions { no_local: true, ..PLAIN })], None);
    client.expect_refusal(ReasonCode::ProtocolError);
}

#[test]
fn retain_as_published() {
    // covers [MQTT-3.3.1-12] [MQTT-3.3.1-13] [MQTT311-3.3.1-9]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut plain = broker.client(version, "plain");
        plain.subscribe("t", QoS::AtMostOnce);
        let mut published = broker.client(Version::V5, "published");
        published.subscribe_with("t", SubscribeOptions { retain_as_published: true, ..PLAIN });
        let mut publisher = broker.client(version, "p");
        for retain in [true, false] {
            publisher.publish(&Publish { retain, qos: QoS::AtLeastOnce, ..message("t", "x") });
            assert!(!plain.take().publish().retain);
            assert_eq!(published.take().publish().retain, retain);
        }
        publisher.retain("t", "", QoS::AtLeastOnce);
        plain.take();
        published.take();
        for client in [plain, published, publisher] {
            client.leave();
        }
    }
}

#[test]
fn retain_handling() {
    // covers [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
    let broker = Broker::plain();
    let mut publisher = broker.client(Version::V5, "p");
    publisher.retain("t/1", "kept", QoS::AtLeastOnce);
    let handling = |retain_handling| SubscribeOptions { retain_handling, ..PLAIN };
    let mut client = broker.client(Version::V5, "c");
    client.subscribe_with("t/#", handling(RetainHandling::DoNotSend));
    client.expect_silence();
    // It is there already.
    client.subscribe_with("t/#", handling(RetainHandling::SendIfNew));
    client.expect_silence();
    client.subscribe_with("t/#", handling(RetainHandling::Send));
    assert!(client.take().publish().retain);
    client.expect_silence();
    client.unsubscribe(&["t/#"]);
    client.subscribe_with("t/#", handling(RetainHandling::SendIfNew));
    assert!(client.take().publish().retain);
    client.expect_silence();
    publisher.retain("t/1", "", QoS::AtLeastOnce);
}

#[test]
fn identifiers_of_all_that_match_come_with_one_copy() {
    // covers [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT311-3.3.5-1]
    let broker = Broker::plain();
    let mut client = broker.client(Version::V5, "c");
    let filters = [
        ("a/b", Some(1), QoS::AtMostOnce),
        ("a/+", Some(268_435_455), QoS::ExactlyOnce),
        ("#", None, QoS::AtLeastOnce),
        ("a/#", Some(1), QoS::AtMostOnce),
        ("other", Some(4), QoS::AtMostOnce),
    ];
    for (filter, identifier, qos) in filters {
        client.subscribe_all(&[(filter, SubscribeOptions::new(qos))], identifier);
    }
    let mut publisher = broker.client(Version::V5, "p");
    publisher.say("a/b", "x", QoS::ExactlyOnce);
    let got = client.take();
    assert_eq!(got.publish().qos, QoS::ExactlyOnce);
    let mut identifiers: Vec<u32> = got.publish().properties.subscription_ids().collect();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [1, 1, 268_435_455]);
    client.expect_silence();
    // Replaced without an identifier: it has none any more.
    client.subscribe_all(&[("a/+", SubscribeOptions::new(QoS::ExactlyOnce))], None);
    publisher.say("a/c", "x", QoS::AtMostOnce);
    let got = client.take();
    assert_eq!(got.publish().properties.subscription_ids().collect::<Vec<_>>(), [1]);
}

#[test]
fn retained_messages_and_queued_ones_carry_their_identifier() {
    // covers [MQTT-3.3.4-3]
    let broker = Broker::plain();
    let mut publisher = broker.client(Version::V5, "p");
    publisher.retain("t", "kept", QoS::AtLeastOnce);
    let hello = crate::client::Client::hello(Version::V5, "c", false);
    let (mut client, _) = crate::client::Client::connect_as(&broker, &hello);
    client.subscribe_all(&[("t", SubscribeOptions::new(QoS::AtLeastOnce))], Some(9));
    assert_eq!(client.take().publish().properties.subscription_ids().collect::<Vec<_>>(), [9]);
    client.vanish();
    publisher.say("t", "queued", QoS::AtLeastOnce);
    let (mut client, _) = crate::client::Client::connect_as(&broker, &hello);
    let got = client.receive();
    assert_eq!(got.publish().properties.subscription_ids().collect::<Vec<_>>(), [9]);
    client.vanish();
    let (mut client, _) = crate::client::Client::connect_as(&broker, &hello);
    let again = client.take();
    assert!(again.publish().dup);
    assert_eq!(again.publish().properties.subscription_ids().collect::<Vec<_>>(), [9]);
    publisher.retain("t", "", QoS::AtLeastOnce);
}

#[test]
fn a_message_after_suback_is_matched_whoever_publishes_it() {
    // covers [MQTT-4.5.0-1] [MQTT311-7.0.0-2]
    let broker = Broker::plain();
    let mut publishers: Vec<_> = (0..4).map(|n| broker.client(Version::V5, &format!("p{n}"))).collect();
    for round in 0..20 {
        let mut client = broker.client(Version::V5, "c");
        let topic = format!("t/{round}");
        client.subscribe(if round % 2 == 0 { &topic } else { "t/+" }, QoS::AtMostOnce);
        for publisher in &mut publishers {
            publisher.put_publish(&message(&topic, "x"));
        }
        for _ in 0..publishers.len() {
            assert_eq!(client.take().topic(), topic);
        }
        client.leave();
    }
}
