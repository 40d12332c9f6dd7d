//! UNSUBSCRIBE and UNSUBACK.

use pelton_mqtt::{PacketType, QoS, ReasonCode, Version};

use crate::broker::Broker;
use crate::client::Client;

#[test]
fn what_is_equal_goes_and_nothing_else() {
    // covers [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1]
    // covers [MQTT-2.2.1-6] [MQTT311-3.10.4-1] [MQTT311-3.10.4-2] [MQTT311-3.10.4-4] [MQTT311-3.10.4-5]
    // covers [MQTT311-3.10.4-6] [MQTT311-2.3.1-7] [MQTT-3.11.3-2]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut client = broker.client(version, "c");
        for filter in ["a/b", "a/+", "b", "c/#"] {
            client.subscribe(filter, QoS::AtMostOnce);
        }
        // `unsubscribe` checks the identifier. None of these is equal to one there is, though some match.
        let codes = client.unsubscribe(&["a/c", "#", "+/b", "A/b", "c", "c/+"]);
        let none = ReasonCode::NoSubscriptionExisted;
        assert_eq!(codes, if version.is_v5() { vec![none; 6] } else { vec![] });
        let codes = client.unsubscribe(&["b", "nothing", "a/+", "b"]);
        if version.is_v5() {
            assert_eq!(codes, [ReasonCode::Success, none, ReasonCode::Success, none]);
        }
        let mut publisher = broker.client(version, "p");
        for topic in ["a/b", "a/x", "b", "c/d"] {
            publisher.say(topic, "x", QoS::AtLeastOnce);
        }
        assert_eq!(client.take().topic(), "a/b");
        assert_eq!(client.take().topic(), "c/d");
        client.expect_silence();
        client.leave();
        publisher.leave();
    }
}

#[test]
fn what_is_under_way_is_completed() {
    // covers [MQTT-3.10.4-3] [MQTT311-3.10.4-3]
    let broker = Broker::plain();
    for version in Version::ALL {
        let hello = Client::hello(version, "c", false);
        let mut client = Client::connect(&broker, version, "c", false);
        client.subscribe("t", QoS::ExactlyOnce);
        let mut publisher = broker.client(version, "p");
        publisher.say("t", "one", QoS::AtLeastOnce);
        publisher.say("t", "two", QoS::ExactlyOnce);
        let one = client.receive().publish().packet_id;
        let two = client.receive().publish().packet_id;
        client.unsubscribe(&["t"]);
        publisher.say("t", "three", QoS::ExactlyOnce);
        client.expect_silence();
        // In this connection.
        client.acknowledge(PacketType::PubRec, two);
        client.expect(PacketType::PubRel);
        client.vanish();
        // And in the next.
        let (mut client, _) = Client::connect_as(&broker, &hello);
        let mut seen = [client.receive(), client.receive()];
        seen.sort_by_key(|got| got.packet_type() as u8);
        assert_eq!((seen[0].publish().packet_id, seen[0].payload()), (one, "one".into()));
        assert_eq!(Some(seen[1].ack(PacketType::PubRel).packet_id), two);
        client.acknowledge(PacketType::PubAck, one);
        client.acknowledge(PacketType::PubComp, two);
        client.expect_silence();
        client.leave();
        publisher.leave();
        Client::connect(&broker, version, "c", true).leave();
    }
}

#[test]
fn a_shared_subscription_is_left_by_its_whole_name() {
    // covers [MQTT-3.10.4-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut client = broker.client(version, "c");
        client.subscribe("$share/g/t", QoS::AtMostOnce);
        client.unsubscribe(&["t", "$share/h/t"]);
        let mut publisher = broker.client(version, "p");
        publisher.say("t", "still in", QoS::AtLeastOnce);
        assert_eq!(client.take().payload(), "still in");
        let codes = client.unsubscribe(&["$share/g/t"]);
        assert!(!version.is_v5() || codes == [ReasonCode::Success]);
        publisher.say("t", "gone", QoS::AtLeastOnce);
        client.expect_silence();
        client.leave();
        publisher.leave();
    }
}
