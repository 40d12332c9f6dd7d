//! Keep Alive, and time that runs out for those who do not speak.

use std::time::{Duration, Instant};

use pelton_broker::Settings;
use pelton_broker::counters::Ended;
use pelton_mqtt::{
    Connect, PINGREQ, PacketType, PublishProperties, QoS, ReasonCode, TopicName, Version, Will,
};

use crate::broker::Broker;
use crate::client::Client;

#[test]
fn a_silent_client_is_cut_off_as_if_the_network_had_failed() {
    // covers [MQTT-3.1.2-22] [MQTT-3.2.2-22] [MQTT311-3.1.2-24]
    let broker = Broker::plain();
    for (n, version) in (1..).zip(Version::ALL) {
        let mut watcher = broker.client(version, "w");
        watcher.subscribe("will", QoS::AtMostOnce);
        let will = Will {
            topic: TopicName::new("will").expect("a topic name"),
            payload: b"silent",
            qos: QoS::AtMostOnce,
            retain: false,
            delay_interval: 0,
            properties: PublishProperties::NONE,
        };
        let connect = Connect { keep_alive: 1, will: Some(will), ..Connect::new(version, "c") };
        let (mut client, answer) = Client::try_connect(&broker, &connect);
        assert_eq!(answer.connack().properties.server_keep_alive, None);
        // Any packet will do, and keeps it alive for another one and a half seconds.
        let mut begin = Instant::now();
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(700));
            begin = Instant::now();
            client.send(&PINGREQ);
            client.expect(PacketType::PingResp);
        }
        client.expect_refusal(ReasonCode::KeepAliveTimeout);
        let after = begin.elapsed();
        assert!(after >= Duration::from_millis(1_490) && after < Duration::from_millis(4_000), "{after:?}");
        assert_eq!(watcher.take().payload(), "silent");
        broker.wait_ended(Ended::KeepAlive, n);
        watcher.leave();
    }
}

#[test]
fn without_keep_alive_silence_is_no_matter() {
    let broker = Broker::plain();
    let mut client = broker.client(Version::V5, "c");
    std::thread::sleep(Duration::from_millis(2_000));
    client.expect_silence();
}

#[test]
fn the_servers_keep_alive_holds() {
    // covers [MQTT-3.1.2-22]
    let broker = Broker::start(Settings { keep_alive_max: 1, ..Settings::default() });
    for asked in [0, 60] {
        let connect = Connect { keep_alive: asked, ..Connect::new(Version::V5, "c") };
        let (mut client, answer) = Client::try_connect(&broker, &connect);
        assert_eq!(answer.connack().properties.server_keep_alive, Some(1));
        client.expect_refusal(ReasonCode::KeepAliveTimeout);
    }
    // A client that asks for less, or cannot be told, keeps its own.
    let connect = Connect { keep_alive: 1, ..Connect::new(Version::V5, "c") };
    let (client, answer) = Client::try_connect(&broker, &connect);
    assert_eq!(answer.connack().properties.server_keep_alive, None);
    client.leave();
}

#[test]
fn pingreq_is_answered() {
    // covers [MQTT-3.12.4-1] [MQTT311-3.12.4-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut client = broker.client(version, "c");
        for _ in 0..3 {
            client.send(&PINGREQ);
            assert!(client.expect(PacketType::PingResp).body().is_empty());
        }
        client.leave();
    }
}

#[test]
fn no_connect_in_time_is_the_end() {
    let broker = Broker::start(Settings { connect_timeout_ms: 200, ..Settings::default() });
    let mut silent = Client::open(&broker, Version::V5);
    let mut half = Client::open(&broker, Version::V5);
    half.send(b"\x10\x0d\0\x04MQTT");
    let begin = Instant::now();
    silent.expect_end();
    half.expect_end();
    assert!(begin.elapsed() < Duration::from_secs(2));
    broker.wait_ended(Ended::ConnectTimeout, 2);
}
