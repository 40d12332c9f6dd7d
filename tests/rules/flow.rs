//! Flow control: Receive Maximum both ways.

use pelton_broker::Settings;
use pelton_broker::counters::Ended;
use pelton_mqtt::{Connect, PINGREQ, PacketType, Publish, QoS, ReasonCode, SubscribeOptions, Version};

use crate::broker::Broker;
use crate::client::{Client, id, message};

#[test]
fn no_more_is_sent_than_the_client_takes() {
    // covers [MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2]
    let broker = Broker::plain();
    let mut publisher = broker.client(Version::V5, "p");
    for maximum in [1, 3] {
        let mut connect = Connect::new(Version::V5, "s");
        connect.properties.receive_maximum = Some(maximum);
        let (mut subscriber, _) = Client::connect_as(&broker, &connect);
        subscriber.subscribe("t", QoS::ExactlyOnce);
        for n in 0..8 {
            let qos = if n % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            publisher.say("t", &n.to_string(), qos);
        }
        let mut under_way = std::collections::VecDeque::new();
        for n in 0..8 {
            if under_way.len() == usize::from(maximum) {
                subscriber.expect_silence();
                // QoS 2 makes room with PUBCOMP, not before.
                match under_way.pop_front().expect("it is full") {
                    (QoS::ExactlyOnce, packet_id) => {
                        subscriber.acknowledge(PacketType::PubRec, packet_id);
                        subscriber.expect(PacketType::PubRel);
                        subscriber.expect_silence();
                        subscriber.acknowledge(PacketType::PubComp, packet_id);
                    }
                    (_, packet_id) => subscriber.acknowledge(PacketType::PubAck, packet_id),
                }
            }
            let got = subscriber.expect(PacketType::Publish);
            assert_eq!(got.payload(), n.to_string());
            under_way.push_back((got.publish().qos, got.publish().packet_id));
        }
        subscriber.vanish();
    }
}

#[test]
fn a_refused_delivery_makes_room() {
    // covers [MQTT-3.3.4-9] [MQTT-4.4.0-2]
    let broker = Broker::plain();
    let mut connect = Connect::new(Version::V5, "s");
    connect.properties.receive_maximum = Some(1);
    let (mut subscriber, _) = Client::connect_as(&broker, &connect);
    subscriber.subscribe("t", QoS::ExactlyOnce);
    let mut publisher = broker.client(Version::V5, "p");
    publisher.say("t", "1", QoS::ExactlyOnce);
    publisher.say("t", "2", QoS::ExactlyOnce);
    let first = subscriber.receive().publish().packet_id.expect("QoS 2");
    subscriber.expect_silence();
    subscriber.acknowledge_with(PacketType::PubRec, first, ReasonCode::ImplementationSpecificError);
    assert_eq!(subscriber.take().payload(), "2");
}

#[test]
fn a_full_window_holds_nothing_else_back() {
    // covers [MQTT-3.3.4-10] [MQTT-4.9.0-3]
    let broker = Broker::plain();
    let mut connect = Connect::new(Version::V5, "s");
    connect.properties.receive_maximum = Some(1);
    let (mut client, _) = Client::connect_as(&broker, &connect);
    client.subscribe("t", QoS::AtLeastOnce);
    let mut publisher = broker.client(Version::V5, "p");
    for _ in 0..3 {
        publisher.say("t", "x", QoS::AtLeastOnce);
    }
    let held = client.receive().publish().packet_id;
    // Its own publishes, PINGREQ, SUBSCRIBE, UNSUBSCRIBE, and QoS 0 to it.
    client.subscribe("zero", QoS::AtMostOnce);
    assert_eq!(client.say("nobody", "x", QoS::AtLeastOnce), ReasonCode::NoMatchingSubscribers);
    assert_eq!(client.say("nobody", "x", QoS::ExactlyOnce), ReasonCode::NoMatchingSubscribers);
    publisher.say("zero", "0", QoS::AtLeastOnce);
    assert_eq!(client.take().payload(), "0");
    client.send(&PINGREQ);
    client.expect(PacketType::PingResp);
    assert_eq!(client.unsubscribe(&["zero"]), [ReasonCode::Success]);
    // The window is open again, and the rest comes.
    client.acknowledge(PacketType::PubAck, held);
    client.take();
    client.take();
    client.expect_silence();
}

#[test]
fn a_client_that_overruns_the_receive_maximum_is_ended() {
    let broker = Broker::start(Settings { receive_maximum: 5, ..Settings::default() });
    let (mut client, answer) = Client::try_connect(&broker, &Connect::new(Version::V5, "c"));
    assert_eq!(answer.connack().properties.receive_maximum, Some(5));
    for packet_id in 1..=5 {
        client.put_publish(&Publish {
            qos: QoS::ExactlyOnce,
            packet_id: Some(id(packet_id)),
            ..message("t", "x")
        });
        client.expect(PacketType::PubRec);
    }
    client.put_publish(&Publish { qos: QoS::ExactlyOnce, packet_id: Some(id(6)), ..message("t", "x") });
    client.expect_refusal(ReasonCode::ReceiveMaximumExceeded);
    broker.wait_ended(Ended::ReceiveMaximumExceeded, 1);
}

#[test]
fn an_older_client_knows_no_receive_maximum() {
    let broker = Broker::start(Settings { receive_maximum: 5, ..Settings::default() });
    let mut client = broker.client(Version::V311, "c");
    for n in 1..=20 {
        let qos = if n % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        client.put_publish(&Publish { qos, packet_id: Some(id(n)), ..message("t", "x") });
    }
    for n in 1..=20 {
        let kind = if n % 2 == 0 { PacketType::PubAck } else { PacketType::PubRec };
        assert_eq!(client.receive().ack(kind).packet_id, id(n));
    }
}

#[test]
fn a_window_that_shrank_holds_on_resumption() {
    // covers [MQTT-3.3.4-9] [MQTT-4.9.0-1]
    let broker = Broker::plain();
    let mut hello = Client::hello(Version::V5, "s", false);
    let (mut subscriber, _) = Client::connect_as(&broker, &hello);
    subscriber.subscribe_with("t", SubscribeOptions::new(QoS::AtLeastOnce));
    let mut publisher = broker.client(Version::V5, "p");
    for n in 0..6 {
        publisher.say("t", &n.to_string(), QoS::AtLeastOnce);
        subscriber.expect(PacketType::Publish);
    }
    subscriber.vanish();
    hello.properties.receive_maximum = Some(2);
    let (mut subscriber, _) = Client::connect_as(&broker, &hello);
    let first = subscriber.receive();
    let second = subscriber.receive();
    assert_eq!((first.payload(), second.payload()), ("0".into(), "1".into()));
    subscriber.expect_silence();
    subscriber.acknowledge(PacketType::PubAck, first.publish().packet_id);
    subscriber.acknowledge(PacketType::PubAck, second.publish().packet_id);
    for n in 2..6 {
        let got = subscriber.take();
        assert_eq!((got.payload(), got.publish().dup), (n.to_string(), true));
    }
    subscriber.expect_silence();
}
