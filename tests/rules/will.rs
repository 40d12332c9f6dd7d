//! Wills: published for those who go without saying so.

use std::time::{Duration, Instant};

use pelton_mqtt::{
    Connect, Disconnect, PacketType, Property, PublishProperties, QoS, ReasonCode, TopicName, Version, Will,
};

use crate::broker::Broker;
use crate::client::{Client, of, properties};

fn will(qos: QoS, retain: bool) -> Will<'static> {
    Will {
        topic: TopicName::new("will").expect("a topic name"),
        payload: b"gone",
        qos,
        retain,
        delay_interval: 0,
        properties: PublishProperties::NONE,
    }
}

/// A client with a will; its session ends with its connection.
fn mortal(broker: &Broker, version: Version, will: Will<'_>) -> Client {
    Client::connect_as(broker, &Connect { will: Some(will), ..Connect::new(version, "mortal") }).0
}

fn watcher(broker: &Broker, version: Version) -> Client {
    let mut client = broker.client(version, "watcher");
    client.subscribe("will", QoS::ExactlyOnce);
    client
}

#[test]
fn it_is_published_when_the_connection_is_lost() {
    // covers [MQTT-3.1.2-7] [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.1.2-14] [MQTT-3.1.2-15]
    // covers [MQTT311-3.1.2-8] [MQTT311-3.1.2-10] [MQTT311-3.1.2-16] [MQTT311-3.1.2-17]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut watcher = watcher(&broker, version);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for retain in [false, true] {
                mortal(&broker, version, will(qos, retain)).vanish();
                assert_eq!(watcher.take_message(), ("will".into(), "gone".into(), qos, false));
                // Once, and retained if it was to be.
                watcher.expect_silence();
                let mut late = broker.client(version, "late");
                late.subscribe("will", QoS::ExactlyOnce);
                if retain {
                    assert_eq!(late.take_message(), ("will".into(), "gone".into(), qos, true));
                    late.retain("will", "", QoS::AtMostOnce);
                    late.take();
                    watcher.take();
                }
                late.expect_silence();
                late.leave();
            }
        }
        watcher.leave();
    }
}

#[test]
fn it_is_published_when_the_client_breaks_the_protocol() {
    // covers [MQTT-3.1.2-8] [MQTT311-3.1.2-8]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut watcher = watcher(&broker, version);
        let mut client = mortal(&broker, version, will(QoS::AtMostOnce, false));
        client.send(&[0xD0, 0]);
        client.expect_refusal(ReasonCode::ProtocolError);
        assert_eq!(watcher.take().payload(), "gone");
        // Half a packet, and the end.
        let mut client = mortal(&broker, version, will(QoS::AtMostOnce, false));
        client.send(b"\x30\x10\0");
        client.vanish();
        assert_eq!(watcher.take().payload(), "gone");
        watcher.leave();
    }
}

#[test]
fn a_normal_disconnect_discards_it() {
    // covers [MQTT-3.14.4-3] [MQTT-3.1.2-10] [MQTT311-3.14.4-3] [MQTT311-3.1.2-10]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut watcher = watcher(&broker, version);
        mortal(&broker, version, will(QoS::AtMostOnce, false)).leave();
        broker.wait_online(1);
        watcher.expect_silence();
        watcher.leave();
    }
}

#[test]
fn any_other_disconnect_publishes_it() {
    // covers [MQTT-3.1.2-8] [MQTT-3.1.2-10]
    let broker = Broker::plain();
    let mut watcher = watcher(&broker, Version::V5);
    for reason in [ReasonCode::DisconnectWithWill, ReasonCode::UnspecifiedError, ReasonCode::ProtocolError] {
        let mut client = mortal(&broker, Version::V5, will(QoS::AtLeastOnce, false));
        client.put(|out| Disconnect::new(reason).encode(Version::V5, out));
        client.expect_end();
        assert_eq!(watcher.take().payload(), "gone");
    }
}

#[test]
fn shutting_down_publishes_it_before_anybody_is_sent_away() {
    // covers [MQTT-3.1.2-8]
    for round in 0..5 {
        let broker = Broker::plain();
        // On both shards, among those that die: who is sent away first is not theirs to choose.
        let (mut watchers, mut dying) = (Vec::new(), Vec::new());
        for n in 0..12 {
            let mut watcher = broker.client(Version::V5, &format!("watcher-{n}"));
            watcher.subscribe("will/#", QoS::AtMostOnce);
            let mut member = broker.client(Version::V5, &format!("member-{n}"));
            member.subscribe(&format!("$share/g-{n}/will/#"), QoS::AtMostOnce);
            watchers.extend([watcher, member]);
            let topic = format!("will/{n}");
            let will = Will {
                topic: TopicName::new(&topic).expect("a topic name"),
                ..will(QoS::AtLeastOnce, false)
            };
            let id = format!("mortal-{n}");
            dying.push(
                Client::connect_as(&broker, &Connect { will: Some(will), ..Connect::new(Version::V5, &id) })
                    .0,
            );
        }
        broker.shut_down();
        for watcher in &mut watchers {
            let mut topics: Vec<String> =
                (0..12).map(|_| watcher.expect(PacketType::Publish).topic()).collect();
            topics.sort_unstable();
            topics.dedup();
            assert_eq!(topics.len(), 12, "round {round}: {topics:?}");
            watcher.expect_refusal(ReasonCode::ServerShuttingDown);
        }
    }
}

#[test]
fn no_will_no_message() {
    // covers [MQTT311-3.1.2-12]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut watcher = broker.client(version, "watcher");
        watcher.subscribe("#", QoS::ExactlyOnce);
        broker.client(version, "mortal").vanish();
        broker.wait_online(1);
        watcher.expect_silence();
        watcher.leave();
    }
}

#[test]
fn it_waits_for_its_delay() {
    // covers [MQTT-3.1.2-8]
    let broker = Broker::plain();
    let mut watcher = watcher(&broker, Version::V5);
    let delayed = Will { delay_interval: 1, ..will(QoS::AtLeastOnce, false) };
    let hello = Connect { will: Some(delayed), ..Client::hello(Version::V5, "mortal", false) };
    let (client, _) = Client::connect_as(&broker, &hello);
    let begin = Instant::now();
    client.vanish();
    assert_eq!(watcher.take().payload(), "gone");
    let after = begin.elapsed();
    assert!(after >= Duration::from_millis(990) && after < Duration::from_millis(2_500), "{after:?}");
    watcher.expect_silence();
}

#[test]
fn a_client_that_is_back_in_time_keeps_it_unsent() {
    // covers [MQTT-3.1.3-9] [MQTT-3.1.2-8]
    let broker = Broker::plain();
    let mut watcher = watcher(&broker, Version::V5);
    let delayed = Will { delay_interval: 1, ..will(QoS::AtLeastOnce, false) };
    let hello = Connect { will: Some(delayed), ..Client::hello(Version::V5, "mortal", false) };
    let (client, _) = Client::connect_as(&broker, &hello);
    client.vanish();
    broker.wait_online(1);
    let (client, present) = Client::connect_as(&broker, &hello);
    assert!(present);
    std::thread::sleep(Duration::from_millis(1_300));
    watcher.expect_silence();
    // Taking over is being back, too.
    let (other, _) = Client::connect_as(&broker, &hello);
    std::thread::sleep(Duration::from_millis(1_300));
    watcher.expect_silence();
    other.leave();
    drop(client);
}

#[test]
fn the_end_of_the_session_is_the_end_of_the_delay() {
    // covers [MQTT-3.1.2-8] [MQTT-4.1.0-2]
    let broker = Broker::plain();
    let mut watcher = watcher(&broker, Version::V5);
    let delayed = Will { delay_interval: 100, ..will(QoS::AtLeastOnce, false) };
    // By its expiry,
    let mut hello = Connect { will: Some(delayed), ..Client::hello(Version::V5, "mortal", false) };
    hello.properties.session_expiry = Some(1);
    Client::connect_as(&broker, &hello).0.vanish();
    broker.wait_online(1);
    watcher.expect_silence();
    assert_eq!(watcher.take().payload(), "gone");
    // with its connection,
    hello.properties.session_expiry = None;
    Client::connect_as(&broker, &hello).0.vanish();
    assert_eq!(watcher.take().payload(), "gone");
    // by a clean start: that ends the session before the delay has.
    hello.properties.session_expiry = Some(100);
    Client::connect_as(&broker, &hello).0.vanish();
    broker.wait_online(1);
    Client::connect(&broker, Version::V5, "mortal", true).leave();
    assert_eq!(watcher.take().payload(), "gone");
}

#[test]
fn a_takeover_ends_the_connection_that_had_it() {
    // covers [MQTT-3.1.2-8] [MQTT311-3.1.2-8]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut watcher = watcher(&broker, version);
        let first = mortal(&broker, version, will(QoS::AtMostOnce, false));
        broker.client(version, "mortal").leave();
        assert_eq!(watcher.take().payload(), "gone");
        watcher.expect_silence();
        watcher.leave();
        drop(first);
    }
}

#[test]
fn its_properties_come_with_it() {
    // covers [MQTT-3.1.3-10] [MQTT-3.1.2-9] [MQTT-3.3.2-18]
    let broker = Broker::plain();
    let mut watcher = watcher(&broker, Version::V5);
    let list = [
        Property::User("b", "1"),
        Property::ContentType("text/plain"),
        Property::User("a", "2"),
        Property::User("b", "0"),
        Property::CorrelationData(&[0, 255]),
        Property::MessageExpiry(100),
        Property::PayloadIsUtf8(true),
        Property::ResponseTopic(TopicName::new("answer").expect("a topic name")),
    ];
    let block = properties(&list);
    mortal(&broker, Version::V5, Will { properties: of(&block), ..will(QoS::AtLeastOnce, false) }).vanish();
    let got = watcher.take();
    let seen = got.publish().properties;
    let pairs: Vec<_> = seen.user_properties().iter().collect();
    assert_eq!(pairs, [("b", "1"), ("a", "2"), ("b", "0")]);
    assert_eq!(seen.content_type(), Some("text/plain"));
    assert_eq!(seen.correlation_data(), Some(&[0, 255][..]));
    assert_eq!(seen.response_topic().map(|topic| topic.as_str()), Some("answer"));
    assert!(seen.payload_is_utf8() && seen.message_expiry() == Some(100));
}
