//! The end of a connection: DISCONNECT of either side.

use pelton_broker::counters::Ended;
use pelton_mqtt::{Disconnect, PINGREQ, PacketType, QoS, ReasonCode, Version};

use crate::broker::Broker;
use crate::client::{Client, message};

#[test]
fn nothing_follows_a_disconnect() {
    // covers [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-3.14.2-1] [MQTT-4.13.2-1]
    let broker = Broker::plain();
    let mut client = broker.client(Version::V5, "c");
    client.subscribe("t", QoS::AtMostOnce);
    // A violation between two requests that have answers: one is answered, then the connection ends.
    let mut bytes = PINGREQ.to_vec();
    bytes.extend_from_slice(&[0xD0, 0]);
    bytes.extend_from_slice(&PINGREQ);
    message("t", "x").encode(Version::V5, &mut bytes);
    client.send(&bytes);
    client.expect(PacketType::PingResp);
    client.expect_refusal(ReasonCode::ProtocolError);
    broker.wait_ended(Ended::ProtocolError, 1);
}

#[test]
fn what_follows_a_clients_disconnect_is_nothing() {
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut watcher = broker.client(version, "w");
        watcher.subscribe("t", QoS::AtMostOnce);
        let mut client = broker.client(version, "c");
        let mut bytes = Vec::new();
        Disconnect::new(ReasonCode::Success).encode(version, &mut bytes);
        message("t", "x").encode(version, &mut bytes);
        bytes.extend_from_slice(&PINGREQ);
        client.send(&bytes);
        client.expect_end();
        watcher.expect_silence();
        watcher.leave();
    }
}

#[test]
fn reserved_flags_end_the_connection() {
    // covers [MQTT-3.14.1-1] [MQTT311-3.14.1-1] [MQTT-3.15.1-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        for flags in 1..16 {
            let mut client = broker.client(version, "c");
            client.send(&[0xE0 | flags, 0]);
            client.expect_refusal(ReasonCode::MalformedPacket);
        }
    }
    for flags in 1..16 {
        let mut client = broker.client(Version::V5, "c");
        client.send(&[0xF0 | flags, 0]);
        client.expect_refusal(ReasonCode::MalformedPacket);
    }
    broker.wait_ended(Ended::Malformed, 4 * 15);
}

#[test]
fn shutting_down_is_told() {
    // covers [MQTT-3.14.4-2]
    let broker = Broker::plain();
    let mut clients: Vec<Client> =
        Version::ALL.iter().map(|&version| broker.client(version, version.name())).collect();
    broker.shut_down();
    for client in &mut clients {
        client.expect_refusal(ReasonCode::ServerShuttingDown);
    }
}

#[test]
fn a_reason_code_no_client_sends_is_refused() {
    // covers [MQTT-3.14.2-1]
    let broker = Broker::plain();
    // Defined for a server, defined for another packet, not defined.
    for code in [0x8B, 0x01, 0x42] {
        let mut client = broker.client(Version::V5, "c");
        client.send(&[0xE0, 1, code]);
        let got = client.expect(PacketType::Disconnect);
        assert!(got.body()[0] == 0x81 || got.body()[0] == 0x82, "{:02x?}", got.body());
        client.expect_end();
    }
}
