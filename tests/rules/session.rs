//! Sessions: made, resumed, taken over, ended.

use std::time::Duration;

use pelton_broker::Settings;
use pelton_broker::counters::{Dropped, Ended};
use pelton_mqtt::{Connect, Disconnect, PacketType, Publish, QoS, ReasonCode, Version};

use crate::broker::Broker;
use crate::client::{Client, message};

#[test]
fn a_session_is_resumed() {
    // covers [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.1.2-23] [MQTT-3.2.2-3] [MQTT-3.1.4-4] [MQTT-4.1.0-1]
    // covers [MQTT311-3.1.2-4] [MQTT311-3.2.2-2] [MQTT311-3.2.2-3] [MQTT311-3.1.4-3] [MQTT311-4.1.0-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        let hello = Client::hello(version, "c", false);
        let (mut client, present) = Client::connect_as(&broker, &hello);
        assert!(!present);
        client.subscribe("kept/#", QoS::ExactlyOnce);
        client.leave();
        let (mut client, present) = Client::connect_as(&broker, &hello);
        // 3.1 has no flag to say so.
        assert_eq!(present, version != Version::V31);
        let mut publisher = broker.client(version, "p");
        publisher.say("kept/1", "still subscribed", QoS::ExactlyOnce);
        assert_eq!(client.take().payload(), "still subscribed");
        // An end or another connection may overtake what is unread: PUBREL would come again.
        client.is_heard();
        // Also after an end that was none of its doing.
        client.vanish();
        let (client, present) = Client::connect_as(&broker, &hello);
        assert_eq!(present, version != Version::V31);
        client.leave();
        publisher.leave();
        Client::connect(&broker, version, "c", true).leave();
    }
}

#[test]
fn a_clean_start_begins_anew() {
    // covers [MQTT-3.1.2-4] [MQTT-3.2.2-2] [MQTT-3.1.4-4] [MQTT311-3.1.2-6] [MQTT311-3.2.2-1] [MQTT311-3.1.4-3]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut client = Client::connect(&broker, version, "c", false);
        client.subscribe("old", QoS::AtLeastOnce);
        client.leave();
        let mut publisher = broker.client(version, "p");
        publisher.say("old", "queued", QoS::AtLeastOnce);
        let (mut client, present) = Client::connect_as(&broker, &Client::hello(version, "c", true));
        assert!(!present);
        publisher.say("old", "live", QoS::AtLeastOnce);
        client.expect_silence();
        client.leave();
        // And what was clean is resumed by nobody.
        let (client, present) = Client::connect_as(&broker, &Client::hello(version, "c", false));
        assert!(!present);
        client.leave();
        Client::connect(&broker, version, "c", true).leave();
        publisher.leave();
    }
}

#[test]
fn what_comes_while_a_client_is_away_waits() {
    // covers [MQTT-4.5.0-1] [MQTT-3.1.2-23] [MQTT311-3.1.2-5] [MQTT311-4.5.0-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut client = Client::connect(&broker, version, "c", false);
        client.subscribe("away", QoS::ExactlyOnce);
        client.leave();
        let mut publisher = broker.client(version, "p");
        for (payload, qos) in [("0", QoS::AtMostOnce), ("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce)] {
            publisher.say("away", payload, qos);
        }
        let (mut client, _) = Client::connect_as(&broker, &Client::hello(version, "c", false));
        assert_eq!(client.take_message(), ("away".into(), "1".into(), QoS::AtLeastOnce, false));
        assert_eq!(client.take_message(), ("away".into(), "2".into(), QoS::ExactlyOnce, false));
        client.expect_silence();
        client.leave();
        publisher.leave();
        Client::connect(&broker, version, "c", true).leave();
    }
    // QoS 0 for those who are away is dropped, and counted.
    broker.wait_dropped(Dropped::OfflineQos0, 3);
}

#[test]
fn a_session_ends_when_its_expiry_has_passed() {
    // covers [MQTT-4.1.0-2]
    let broker = Broker::plain();
    let mut hello = Client::hello(Version::V5, "c", false);
    hello.properties.session_expiry = Some(1);
    Client::connect_as(&broker, &hello).0.leave();
    let (client, present) = Client::connect_as(&broker, &hello);
    assert!(present, "a second has not passed");
    // The interval runs from the end of the connection, not from its begin.
    std::thread::sleep(Duration::from_millis(1_300));
    broker.wait_sessions(1);
    client.leave();
    broker.wait_sessions(0);
    assert!(!Client::connect_as(&broker, &hello).1);
}

#[test]
fn a_session_without_expiry_ends_with_its_connection() {
    // covers [MQTT-4.1.0-2] [MQTT-4.1.0-1]
    let broker = Broker::plain();
    let mut hello = Client::hello(Version::V5, "c", false);
    hello.properties.session_expiry = None;
    let (mut client, _) = Client::connect_as(&broker, &hello);
    client.subscribe("a", QoS::AtLeastOnce);
    // As long as the connection lasts the session does.
    std::thread::sleep(Duration::from_millis(200));
    broker.wait_sessions(1);
    let mut publisher = broker.client(Version::V5, "p");
    publisher.say("a", "x", QoS::AtLeastOnce);
    client.take();
    publisher.leave();
    client.leave();
    broker.wait_sessions(0);
    assert!(!Client::connect_as(&broker, &hello).1);
}

#[test]
fn disconnect_can_change_the_expiry() {
    let broker = Broker::plain();
    let leave_with = |expiry, asked| {
        let mut hello = Client::hello(Version::V5, "c", false);
        hello.properties.session_expiry = expiry;
        let (mut client, _) = Client::connect_as(&broker, &hello);
        let mut disconnect = Disconnect::new(ReasonCode::Success);
        disconnect.session_expiry = Some(asked);
        client.put(|out| disconnect.encode(Version::V5, out));
        client
    };
    leave_with(Some(100), 0).expect_end();
    broker.wait_sessions(0);
    leave_with(Some(100), 200).expect_end();
    broker.wait_sessions(1);
    Client::connect(&broker, Version::V5, "c", true).leave();
    // A session that was to end with its connection cannot be kept at its end: section 3.14.2.2.2.
    leave_with(None, 100).expect_refusal(ReasonCode::ProtocolError);
    broker.wait_sessions(0);
    leave_with(None, 0).expect_end();
}

#[test]
fn the_operator_bounds_the_expiry() {
    let broker = Broker::start(Settings { session_expiry_max: 60, ..Settings::default() });
    let (client, answer) = Client::try_connect(&broker, &Client::hello(Version::V5, "c", false));
    assert_eq!(answer.connack().properties.session_expiry, Some(60), "3600 were asked for");
    client.leave();
    let mut hello = Client::hello(Version::V5, "d", false);
    hello.properties.session_expiry = Some(60);
    let (client, answer) = Client::try_connect(&broker, &hello);
    assert_eq!(answer.connack().properties.session_expiry, None, "as asked for");
    client.leave();
}

#[test]
fn a_session_is_taken_over() {
    // covers [MQTT-3.1.4-3] [MQTT311-3.1.4-2] [MQTT-4.13.2-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        for clean in [false, true] {
            let mut first = Client::connect(&broker, version, "c", clean);
            first.subscribe("t", QoS::AtLeastOnce);
            let (mut second, present) = Client::connect_as(&broker, &Client::hello(version, "c", false));
            assert_eq!(present, !clean && version != Version::V31);
            first.expect_refusal(ReasonCode::SessionTakenOver);
            let mut publisher = broker.client(version, "p");
            publisher.say("t", "for the second", QoS::AtLeastOnce);
            if !clean {
                assert_eq!(second.take().payload(), "for the second");
            }
            second.expect_silence();
            second.leave();
            publisher.leave();
            Client::connect(&broker, version, "c", true).leave();
        }
    }
    broker.wait_ended(Ended::TakenOver, 6);
}

#[test]
fn an_id_is_one_in_all_versions() {
    // covers [MQTT-3.1.4-3] [MQTT-3.1.3-2]
    let broker = Broker::plain();
    let mut old = Client::connect(&broker, Version::V311, "c", false);
    old.subscribe("t", QoS::ExactlyOnce);
    let (mut new, present) = Client::connect_as(&broker, &Client::hello(Version::V5, "c", false));
    assert!(present);
    old.expect_end();
    let mut publisher = broker.client(Version::V5, "p");
    publisher.say("t", "x", QoS::ExactlyOnce);
    assert_eq!(new.take().payload(), "x");
    new.is_heard();
    let older = Client::connect(&broker, Version::V31, "c", false);
    new.expect_refusal(ReasonCode::SessionTakenOver);
    older.leave();
}

#[test]
fn nothing_of_a_connection_is_lost_when_another_takes_its_session() {
    // covers [MQTT-4.1.0-1] [MQTT-4.4.0-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut first = Client::connect(&broker, version, "c", false);
        first.subscribe("t", QoS::AtLeastOnce);
        let mut publisher = broker.client(version, "p");
        for n in 0..20 {
            publisher.say("t", &n.to_string(), QoS::AtLeastOnce);
        }
        // None of the twenty was acknowledged.
        let (mut second, _) = Client::connect_as(&broker, &Client::hello(version, "c", false));
        for n in 0..20 {
            let got = second.take();
            assert_eq!((got.payload(), got.publish().dup), (n.to_string(), true));
        }
        second.expect_silence();
        second.leave();
        publisher.leave();
        Client::connect(&broker, version, "c", true).leave();
        drop(first);
    }
}

#[test]
fn a_publish_right_before_the_end_counts() {
    // covers [MQTT-4.2.0-1] [MQTT311-7.1.1-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut watcher = broker.client(version, "w");
        watcher.subscribe("last", QoS::AtMostOnce);
        let mut client = Client::open(&broker, version);
        let mut bytes = Vec::new();
        Connect::new(version, "c").encode(&mut bytes);
        for n in 0..100 {
            Publish { ..message("last", &n.to_string()) }.encode(version, &mut bytes);
        }
        Disconnect::new(ReasonCode::Success).encode(version, &mut bytes);
        client.send(&bytes);
        client.hush();
        client.expect(PacketType::ConnAck);
        client.expect_end();
        for n in 0..100 {
            assert_eq!(watcher.take().payload(), n.to_string());
        }
        watcher.leave();
    }
}
