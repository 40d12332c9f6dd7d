//! QoS 2 both ways: exactly once.

use std::time::Duration;

use pelton_mqtt::{PacketType, Property, Publish, QoS, ReasonCode, Version};

use crate::broker::Broker;
use crate::client::{Client, id, message, of, properties};

#[test]
fn a_publish_that_is_repeated_is_delivered_once() {
    // covers [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12] [MQTT311-4.3.3-2]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut subscriber = broker.client(version, "s");
        subscriber.subscribe("t", QoS::ExactlyOnce);
        let mut publisher = broker.client(version, "p");
        let publish = Publish { qos: QoS::ExactlyOnce, packet_id: Some(id(7)), ..message("t", "once") };
        for dup in [false, true, true] {
            publisher.put_publish(&Publish { dup, ..publish });
            let got = publisher.receive();
            assert_eq!(got.ack(PacketType::PubRec).packet_id, id(7));
            assert!(!got.ack(PacketType::PubRec).reason.is_error());
        }
        assert_eq!(subscriber.take().payload(), "once");
        subscriber.expect_silence();
        for expected in [ReasonCode::Success, ReasonCode::PacketIdentifierNotFound] {
            publisher.acknowledge(PacketType::PubRel, Some(id(7)));
            let got = publisher.receive();
            assert_eq!(got.ack(PacketType::PubComp).packet_id, id(7));
            let expected = if version.is_v5() { expected } else { ReasonCode::Success };
            assert_eq!(got.ack(PacketType::PubComp).reason, expected);
        }
        // Released: the identifier is free, and the same PUBLISH a new message.
        assert_eq!(publisher.publish(&publish), ReasonCode::Success);
        assert_eq!(subscriber.take().payload(), "once");
        subscriber.leave();
        publisher.leave();
    }
}

#[test]
fn a_publish_that_is_repeated_after_a_reconnect_is_delivered_once() {
    // covers [MQTT-4.3.3-10] [MQTT-4.1.0-1] [MQTT311-4.3.3-2] [MQTT311-4.1.0-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut subscriber = broker.client(version, "s");
        subscriber.subscribe("t", QoS::ExactlyOnce);
        let mut publisher = Client::connect(&broker, version, "p", false);
        let publish = Publish { qos: QoS::ExactlyOnce, packet_id: Some(id(7)), ..message("t", "once") };
        publisher.put_publish(&publish);
        publisher.expect(PacketType::PubRec);
        publisher.vanish();
        let (mut publisher, _) = Client::connect_as(&broker, &Client::hello(version, "p", false));
        assert_eq!(publisher.publish(&Publish { dup: true, ..publish }), ReasonCode::Success);
        assert_eq!(subscriber.take().payload(), "once");
        subscriber.expect_silence();
        subscriber.leave();
        publisher.leave();
        Client::connect(&broker, version, "p", true).leave();
    }
}

#[test]
fn a_delivery_goes_on_where_it_was() {
    // covers [MQTT-4.3.3-3] [MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-4.4.0-1] [MQTT-3.3.1-1]
    // covers [MQTT311-4.3.3-1] [MQTT311-4.4.0-1] [MQTT-2.2.1-5]
    let broker = Broker::plain();
    for version in Version::ALL {
        let hello = Client::hello(version, "c", false);
        let mut client = Client::connect(&broker, version, "c", false);
        client.subscribe("t", QoS::ExactlyOnce);
        let mut publisher = broker.client(version, "p");
        publisher.say("t", "x", QoS::ExactlyOnce);
        let got = client.receive();
        let packet_id = got.publish().packet_id;
        assert_eq!((got.publish().dup, got.publish().qos), (false, QoS::ExactlyOnce));
        client.vanish();
        // No PUBREC: the PUBLISH again.
        let (mut client, _) = Client::connect_as(&broker, &hello);
        let got = client.receive();
        assert_eq!((got.publish().packet_id, got.publish().dup), (packet_id, true));
        client.acknowledge(PacketType::PubRec, packet_id);
        assert_eq!(Some(client.receive().ack(PacketType::PubRel).packet_id), packet_id);
        client.vanish();
        // PUBREC, no PUBCOMP: PUBREL again, and never the PUBLISH.
        for _ in 0..2 {
            let (mut client, _) = Client::connect_as(&broker, &hello);
            assert_eq!(Some(client.receive().ack(PacketType::PubRel).packet_id), packet_id);
            client.expect_silence();
            client.vanish();
        }
        let (mut client, _) = Client::connect_as(&broker, &hello);
        client.expect(PacketType::PubRel);
        // A PUBREC that is repeated is answered by PUBREL once more.
        client.acknowledge(PacketType::PubRec, packet_id);
        let release = client.receive();
        assert_eq!(release.ack(PacketType::PubRel).reason, ReasonCode::Success);
        client.acknowledge(PacketType::PubComp, packet_id);
        client.leave();
        let (mut client, _) = Client::connect_as(&broker, &hello);
        client.expect_silence();
        client.leave();
        publisher.leave();
        Client::connect(&broker, version, "c", true).leave();
    }
}

#[test]
fn identifiers_under_way_differ() {
    // covers [MQTT-4.3.3-1] [MQTT-2.2.1-4] [MQTT311-4.3.3-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut subscriber = broker.client(version, "s");
        subscriber.subscribe("t", QoS::ExactlyOnce);
        let mut publisher = broker.client(version, "p");
        let mut under_way = Vec::new();
        for n in 0..60 {
            publisher.say("t", &n.to_string(), QoS::ExactlyOnce);
            let packet_id = subscriber.receive().publish().packet_id;
            assert!(!under_way.contains(&packet_id), "{packet_id:?} is in use");
            match n % 3 {
                // Done with.
                0 => {
                    subscriber.acknowledge(PacketType::PubRec, packet_id);
                    subscriber.expect(PacketType::PubRel);
                    subscriber.acknowledge(PacketType::PubComp, packet_id);
                }
                // Received, not released.
                1 => {
                    subscriber.acknowledge(PacketType::PubRec, packet_id);
                    subscriber.expect(PacketType::PubRel);
                    under_way.push(packet_id);
                }
                _ => under_way.push(packet_id),
            }
        }
        subscriber.leave();
        publisher.leave();
    }
}

#[test]
fn pubrec_of_nothing_is_told_so() {
    // covers [MQTT-3.6.2-1] [MQTT-3.7.2-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut client = broker.client(version, "c");
        client.acknowledge(PacketType::PubRec, Some(id(5)));
        let got = client.receive();
        let expected =
            if version.is_v5() { ReasonCode::PacketIdentifierNotFound } else { ReasonCode::Success };
        assert_eq!(got.ack(PacketType::PubRel).reason, expected);
        client.leave();
    }
}

#[test]
fn a_message_that_was_sent_does_not_expire() {
    // covers [MQTT-4.3.3-7] [MQTT-4.3.3-13]
    let broker = Broker::plain();
    let mut client = Client::connect(&broker, Version::V5, "c", false);
    client.subscribe("t", QoS::ExactlyOnce);
    let mut publisher = broker.client(Version::V5, "p");
    let block = properties(&[Property::MessageExpiry(1)]);
    let publish = Publish { qos: QoS::ExactlyOnce, properties: of(&block), ..message("t", "x") };
    let sent = publisher.put_publish(&publish);
    publisher.expect(PacketType::PubRec);
    let packet_id = client.receive().publish().packet_id;
    client.vanish();
    std::thread::sleep(Duration::from_millis(1_500));
    // To its receiver it is sent again, and from its sender the exchange goes on.
    let (mut client, _) = Client::connect_as(&broker, &Client::hello(Version::V5, "c", false));
    let again = client.take();
    assert_eq!((again.publish().packet_id, again.payload()), (packet_id, "x".into()));
    publisher.acknowledge(PacketType::PubRel, sent);
    let got = publisher.receive();
    assert_eq!(got.ack(PacketType::PubComp).reason, ReasonCode::Success);
}
