//! QoS 1 both ways.

use pelton_broker::counters::Dropped;
use pelton_mqtt::{PacketType, Publish, QoS, ReasonCode, Version};

use crate::broker::Broker;
use crate::client::{Client, id, message};

#[test]
fn what_is_not_acknowledged_is_sent_again() {
    // covers [MQTT-4.3.2-3] [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-2.2.1-5] [MQTT311-4.3.2-1] [MQTT311-3.3.1-1]
    // covers [MQTT311-4.4.0-1] [MQTT311-2.3.1-4]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut client = Client::connect(&broker, version, "c", false);
        client.subscribe("t", QoS::AtLeastOnce);
        let mut publisher = broker.client(version, "p");
        publisher.say("t", "x", QoS::AtLeastOnce);
        let first = client.receive();
        let packet_id = first.publish().packet_id;
        assert!(!first.publish().dup);
        // As long as the connection lasts it is not sent again, however long that is.
        client.expect_silence();
        client.vanish();
        for _ in 0..3 {
            let (mut client, _) = Client::connect_as(&broker, &Client::hello(version, "c", false));
            let again = client.receive();
            assert_eq!((again.publish().packet_id, again.publish().dup), (packet_id, true));
            assert_eq!(again.payload(), "x");
            client.vanish();
        }
        let (mut client, _) = Client::connect_as(&broker, &Client::hello(version, "c", false));
        client.take();
        client.leave();
        let (mut client, _) = Client::connect_as(&broker, &Client::hello(version, "c", false));
        client.expect_silence();
        client.leave();
        Client::connect(&broker, version, "c", true).leave();
        publisher.leave();
    }
}

#[test]
fn the_same_identifier_after_puback_is_a_new_message() {
    // covers [MQTT-4.3.2-5] [MQTT311-4.3.2-2]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut subscriber = broker.client(version, "s");
        subscriber.subscribe("t", QoS::AtLeastOnce);
        let mut publisher = broker.client(version, "p");
        for (payload, dup) in [("1", false), ("2", false), ("3", true)] {
            let publish =
                Publish { qos: QoS::AtLeastOnce, dup, packet_id: Some(id(9)), ..message("t", payload) };
            assert_eq!(publisher.publish(&publish), ReasonCode::Success);
            assert_eq!(subscriber.take().payload(), payload);
        }
        subscriber.leave();
        publisher.leave();
    }
}

#[test]
fn identifiers_under_way_differ() {
    // covers [MQTT-4.3.2-1] [MQTT-2.2.1-4] [MQTT311-4.3.2-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut subscriber = broker.client(version, "s");
        subscriber.subscribe("t", QoS::AtLeastOnce);
        let mut publisher = broker.client(version, "p");
        let mut under_way = Vec::new();
        for n in 0..50 {
            publisher.say("t", &n.to_string(), QoS::AtLeastOnce);
            let packet_id = subscriber.receive().publish().packet_id;
            assert!(!under_way.contains(&packet_id), "{packet_id:?} is in use");
            // Two of three stay under way.
            if n % 3 == 0 {
                subscriber.acknowledge(PacketType::PubAck, packet_id);
            } else {
                under_way.push(packet_id);
            }
        }
        subscriber.leave();
        publisher.leave();
    }
}

#[test]
fn a_message_its_client_refuses_is_done_with() {
    // covers [MQTT-4.4.0-2]
    let broker = Broker::plain();
    let mut client = Client::connect(&broker, Version::V5, "c", false);
    client.subscribe("t", QoS::ExactlyOnce);
    let mut publisher = broker.client(Version::V5, "p");
    for (qos, kind) in [(QoS::AtLeastOnce, PacketType::PubAck), (QoS::ExactlyOnce, PacketType::PubRec)] {
        publisher.say("t", "x", qos);
        let packet_id = client.receive().publish().packet_id.expect("above QoS 0");
        client.acknowledge_with(kind, packet_id, ReasonCode::QuotaExceeded);
        client.expect_silence();
    }
    client.vanish();
    let (mut client, present) = Client::connect_as(&broker, &Client::hello(Version::V5, "c", false));
    assert!(present);
    client.expect_silence();
    broker.wait_dropped(Dropped::RefusedByClient, 2);
}

#[test]
fn an_acknowledgement_of_nothing_does_no_harm() {
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut client = broker.client(version, "c");
        client.acknowledge(PacketType::PubAck, Some(id(5)));
        client.acknowledge(PacketType::PubComp, Some(id(5)));
        client.expect_silence();
        client.leave();
    }
}
