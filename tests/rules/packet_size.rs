//! Maximum Packet Size of a client: nothing larger is sent to it, of whatever kind. The client of these tests
//! checks every packet it gets against what it said.

use pelton_broker::Settings;
use pelton_broker::access::{Access, Rule, Scope};
use pelton_broker::counters::Dropped;
use pelton_mqtt::{Connect, PacketType, Publish, QoS, ReasonCode, SubscribeOptions, Version};

use crate::broker::Broker;
use crate::client::{Client, id, message};

fn taking<'a>(client_id: &'a str, packet_bytes_max: u32) -> Connect<'a> {
    let mut connect = Connect::new(Version::V5, client_id);
    connect.properties.maximum_packet_size = Some(packet_bytes_max);
    connect
}

/// A broker that announces nothing: its CONNACK has five bytes.
fn quiet() -> Settings {
    Settings {
        packet_bytes_max: pelton_mqtt::MAX_PACKET,
        receive_maximum: u16::MAX,
        topic_alias_maximum: 0,
        ..Settings::default()
    }
}

#[test]
fn a_message_too_large_counts_as_delivered() {
    // covers [MQTT-3.1.2-24] [MQTT-3.1.2-25]
    let broker = Broker::plain();
    let mut hello = taking("c", 100);
    hello.clean_start = false;
    hello.properties.session_expiry = Some(100);
    let (mut client, _) = Client::connect_as(&broker, &hello);
    client.subscribe("t", QoS::ExactlyOnce);
    let mut publisher = broker.client(Version::V5, "p");
    let mut dropped = 0;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        // Fixed header 2, topic 3, identifier 2, properties 1.
        let fits = 100 - 6 - if qos == QoS::AtMostOnce { 0 } else { 2 };
        publisher.say("t", &"x".repeat(fits), qos);
        assert_eq!(client.take().total, 100);
        publisher.say("t", &"x".repeat(fits + 1), qos);
        publisher.say("t", "small", qos);
        assert_eq!(client.take().payload(), "small");
        dropped += 1;
        broker.wait_dropped(Dropped::TooLargeForClient, dropped);
    }
    // It is not kept for later either, and what was queued is measured by the connection it goes to.
    client.vanish();
    publisher.say("t", &"x".repeat(50), QoS::AtLeastOnce);
    publisher.say("t", "small", QoS::AtLeastOnce);
    let mut smaller = hello;
    smaller.properties.maximum_packet_size = Some(40);
    let (mut client, _) = Client::connect_as(&broker, &smaller);
    assert_eq!(client.take().payload(), "small");
    client.expect_silence();
    client.vanish();
    let (mut client, _) = Client::connect_as(&broker, &hello);
    client.expect_silence();
}

#[test]
fn acknowledgements_say_no_more_than_they_must() {
    // covers [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3]
    // covers [MQTT-3.7.2-2] [MQTT-3.7.2-3] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2]
    // covers [MQTT-3.14.2-3] [MQTT-3.14.2-4] [MQTT-3.2.2-19] [MQTT-3.2.2-20] [MQTT-3.1.2-29]
    let rule =
        Rule { allow: false, scope: Scope::Both, client_id: None, user_name: None, filter: "no".into() };
    let access = Access { rules: vec![rule], ..Access::default() };
    let settings = Settings { access, server_reference: Some("another.example".into()), ..quiet() };
    let broker = Broker::start(settings);
    for problem_information in [false, true] {
        // Everything that has something to complain of, to a client that takes hardly anything.
        let mut connect = taking("c", 9);
        connect.properties.request_problem_information = Some(problem_information);
        let (mut client, answer) = Client::try_connect(&broker, &connect);
        assert_eq!(answer.total, 5);
        assert_eq!(client.say("no", "x", QoS::AtLeastOnce), ReasonCode::NotAuthorized);
        assert_eq!(client.say("no", "x", QoS::ExactlyOnce), ReasonCode::NotAuthorized);
        client.acknowledge(PacketType::PubRec, Some(id(9)));
        assert!(client.receive().ack(PacketType::PubRel).reason.is_error());
        client.acknowledge(PacketType::PubRel, Some(id(9)));
        assert!(client.receive().ack(PacketType::PubComp).reason.is_error());
        assert!(client.subscribe_with("no", SubscribeOptions::new(QoS::AtMostOnce)).is_error());
        assert_eq!(client.unsubscribe(&["none"]), [ReasonCode::NoSubscriptionExisted]);
        client.send(&[0xD0, 0]);
        client.expect_refusal(ReasonCode::ProtocolError);
    }
    let (mut client, _) = Client::try_connect(&broker, &taking("c", 9));
    // The reference would not fit into its DISCONNECT.
    broker.shut_down();
    client.expect_refusal(ReasonCode::ServerShuttingDown);
}

#[test]
fn a_connack_leaves_out_what_does_not_fit() {
    // covers [MQTT-3.1.2-24] [MQTT-3.2.2-19]
    let broker = Broker::start(Settings { response_information: Some("x".repeat(100)), ..quiet() });
    let mut connect = taking("c", 100);
    connect.properties.request_response_information = Some(true);
    let (client, answer) = Client::try_connect(&broker, &connect);
    assert_eq!(answer.connack().reason, ReasonCode::Success);
    assert_eq!(answer.connack().properties.response_information, None);
    client.leave();
    connect.properties.maximum_packet_size = Some(200);
    let (_, answer) = Client::try_connect(&broker, &connect);
    assert!(answer.connack().properties.response_information.is_some());
}

#[test]
fn a_client_that_takes_no_connack_gets_none() {
    // covers [MQTT-3.1.2-24]
    let broker = Broker::plain();
    let mut client = Client::open(&broker, Version::V5);
    client.put(|out| taking("c", 6).encode(out));
    client.expect_end();
    broker.wait_sessions(0);
}

#[test]
fn a_suback_that_is_too_large_ends_the_connection() {
    // covers [MQTT-3.1.2-24] [MQTT-3.14.4-2]
    let broker = Broker::start(quiet());
    let (mut client, _) = Client::connect_as(&broker, &taking("c", 10));
    let filters: Vec<String> = (0..20).map(|n| format!("t/{n}")).collect();
    let list: Vec<_> =
        filters.iter().map(|filter| (&**filter, SubscribeOptions::new(QoS::AtMostOnce))).collect();
    client.put_subscribe(&list, None);
    client.expect_refusal(ReasonCode::PacketTooLarge);
}

#[test]
fn an_alias_does_not_make_a_message_too_large() {
    // covers [MQTT-3.1.2-24] [MQTT-3.1.2-26]
    let broker = Broker::start(quiet());
    let mut connect = taking("c", 30);
    connect.properties.topic_alias_maximum = Some(10);
    let (mut client, _) = Client::connect_as(&broker, &connect);
    client.subscribe("a/topic", QoS::AtMostOnce);
    let mut publisher = broker.client(Version::V5, "p");
    // 2 + 9 + 1 and the payload: with an alias being set it would be 3 more.
    for len in [18, 17, 16, 15, 14, 18, 0, 18] {
        publisher.publish(&Publish { qos: QoS::AtLeastOnce, ..message("a/topic", &"x".repeat(len)) });
        let got = client.take();
        assert_eq!(got.payload().len(), len);
    }
}
