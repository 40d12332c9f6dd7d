//! CONNECT and CONNACK: who gets in, with what, and who does not.

use pelton_broker::Settings;
use pelton_broker::access::{Access, Rule, Scope};
use pelton_broker::counters::Ended;
use pelton_mqtt::{
    Connect, PINGREQ, PacketType, PublishProperties, QoS, ReasonCode, TopicName, Version, Will,
};

use crate::broker::Broker;
use crate::client::{Client, message};

fn will(topic: &str, qos: QoS, retain: bool) -> Will<'_> {
    Will {
        topic: TopicName::new(topic).expect("a topic name"),
        payload: b"gone",
        qos,
        retain,
        delay_interval: 0,
        properties: PublishProperties::NONE,
    }
}

/// What a refused CONNECT gets: a CONNACK and the end.
fn expect_refused(broker: &Broker, connect: &Connect<'_>, reason: ReasonCode) {
    let (mut client, answer) = Client::try_connect(broker, connect);
    let connack = answer.connack();
    assert_eq!((connack.reason, connack.session_present), (reason, false));
    client.expect_end();
}

#[test]
fn the_first_packet_is_connack() {
    // covers [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.0-2] [MQTT-3.1.2-6] [MQTT311-3.1.4-4] [MQTT311-3.2.0-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        // All of it in one write: SUBACK and the message must wait for CONNACK.
        let mut client = Client::open(&broker, version);
        let mut bytes = Vec::new();
        Connect::new(version, "c").encode(&mut bytes);
        bytes.extend_from_slice(&PINGREQ);
        message("t", "x").encode(version, &mut bytes);
        bytes.extend_from_slice(&PINGREQ);
        client.send(&bytes);
        let answer = client.expect(PacketType::ConnAck);
        assert_eq!(answer.connack().reason, ReasonCode::Success);
        assert!(!answer.connack().session_present);
        client.expect(PacketType::PingResp);
        client.expect(PacketType::PingResp);
        client.expect_silence();
        client.leave();
    }
}

#[test]
fn anything_before_connect_ends_the_connection() {
    // covers [MQTT-3.1.0-1] [MQTT-3.14.0-1] [MQTT311-3.1.0-1] [MQTT-3.15.1-1]
    let broker = Broker::plain();
    let mut first: Vec<Vec<u8>> = vec![PINGREQ.to_vec(), vec![0xE0, 0], vec![0x40, 2, 0, 1], vec![0xF0, 0]];
    let mut publish = Vec::new();
    message("t", "x").encode(Version::V311, &mut publish);
    first.push(publish);
    let count = first.len() as u64;
    for bytes in first {
        let mut client = Client::open(&broker, Version::V5);
        client.send(&bytes);
        client.expect_end();
    }
    broker.wait_ended(Ended::NotConnect, count);
    // AUTH with flags is malformed before it is out of place.
    let mut client = Client::open(&broker, Version::V5);
    client.send(&[0xF1, 0]);
    client.expect_end();
    broker.wait_ended(Ended::Malformed, 1);
}

#[test]
fn a_second_connect_ends_the_connection() {
    // covers [MQTT-3.1.0-2] [MQTT311-3.1.0-2]
    let broker = Broker::plain();
    for (n, version) in (1..).zip(Version::ALL) {
        let mut client = broker.client(version, "c");
        client.put(|out| Connect::new(version, "c").encode(out));
        client.expect_refusal(ReasonCode::ProtocolError);
        broker.wait_ended(Ended::SecondConnect, n);
    }
}

#[test]
fn a_protocol_nobody_speaks_is_told_so() {
    // covers [MQTT-3.1.2-1] [MQTT-3.1.2-2] [MQTT311-3.1.2-1] [MQTT311-3.1.2-2] [MQTT-3.1.4-1] [MQTT-3.1.4-6]
    let broker = Broker::plain();
    // A level above all that are known gets the CONNACK of 5.0, and what follows it is not looked at.
    let mut client = Client::open(&broker, Version::V5);
    client.send(b"\x10\x0d\0\x04MQTT\x06\x02\0\0\0\0\x01c\xc0\0");
    let answer = client.expect(PacketType::ConnAck);
    assert_eq!(answer.connack().reason, ReasonCode::UnsupportedProtocolVersion);
    client.expect_end();
    broker.wait_ended(Ended::UnsupportedVersion, 1);
    // One below gets the CONNACK of 3.1.1.
    let mut client = Client::open(&broker, Version::V311);
    client.send(b"\x10\x0d\0\x04MQTT\x02\x02\0\0\0\x01c");
    // The length promised a byte more: the level decides before the rest is there or not.
    client.send(b"x");
    let answer = client.expect(PacketType::ConnAck);
    assert_eq!(answer.body(), [0, 1]);
    client.expect_end();
    // Another protocol is none of ours.
    let mut client = Client::open(&broker, Version::V311);
    client.send(b"\x10\x0d\0\x04HTTP\x04\x02\0\0\0\x01c");
    client.expect_end();
}

#[test]
fn a_client_id_names_the_session() {
    // covers [MQTT-3.1.3-2] [MQTT-3.1.3-5] [MQTT311-3.1.3-2] [MQTT311-3.1.3-5]
    let broker = Broker::plain();
    let alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for version in Version::ALL {
        let mut parts: Vec<&str> = (1..=23).map(|len| &alphabet[len..2 * len]).collect();
        parts.push(&alphabet[39..]);
        for client_id in parts {
            let mut client = Client::connect(&broker, version, client_id, false);
            client.subscribe("mine", QoS::AtLeastOnce);
            client.leave();
            let (client, present) = Client::connect_as(&broker, &Client::hello(version, client_id, false));
            // 3.1 has no flag to say so.
            assert_eq!(present, version != Version::V31, "{client_id}");
            client.leave();
            // Another id is another session.
            let other = format!("{client_id}x");
            let (client, present) = Client::connect_as(&broker, &Client::hello(version, &other, false));
            assert!(!present, "{other}");
            client.leave();
            for gone in [client_id, &other] {
                Client::connect(&broker, version, gone, true).leave();
            }
        }
    }
    broker.wait_sessions(0);
}

#[test]
fn a_client_without_an_id_gets_one() {
    // covers [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16] [MQTT311-3.1.3-6]
    let broker = Broker::plain();
    let (first, answer) = Client::try_connect(&broker, &Client::hello(Version::V5, "", false));
    let assigned = answer.connack().properties.assigned_client_id.expect("an id was assigned").to_owned();
    assert!(!answer.connack().session_present);
    let (other, answer) = Client::try_connect(&broker, &Connect::new(Version::V5, ""));
    assert_ne!(answer.connack().properties.assigned_client_id, Some(&*assigned));
    // It is an id like any other: it names the session, and an id that was sent is not told.
    first.vanish();
    let (again, answer) = Client::try_connect(&broker, &Client::hello(Version::V5, &assigned, false));
    assert!(answer.connack().session_present);
    assert_eq!(answer.connack().properties.assigned_client_id, None);
    // 3.1.1 cannot be told, but gets in.
    let two = [0, 1].map(|_| broker.client(Version::V311, ""));
    broker.wait_online(4);
    for client in two.into_iter().chain([other, again]) {
        client.leave();
    }
}

#[test]
fn before_version_5_no_id_asks_for_a_clean_session() {
    // covers [MQTT311-3.1.3-8] [MQTT311-3.2.2-5]
    let broker = Broker::plain();
    let connect = Client::hello(Version::V311, "", false);
    expect_refused(&broker, &connect, ReasonCode::ClientIdentifierNotValid);
    expect_refused(&broker, &Connect::new(Version::V31, ""), ReasonCode::ClientIdentifierNotValid);
    broker.wait_ended(Ended::ClientIdInvalid, 2);
}

#[test]
fn an_id_that_is_not_accepted_is_told_so() {
    // covers [MQTT-3.1.3-8] [MQTT311-3.1.3-9] [MQTT-3.2.2-6] [MQTT-3.2.2-7] [MQTT311-3.2.2-4] [MQTT311-3.2.2-5]
    // covers [MQTT-3.1.4-2] [MQTT-4.12.0-4]
    let broker = Broker::start(Settings { client_id_bytes_max: 64, ..Settings::default() });
    let long = "x".repeat(65);
    // Control characters: the rule of this broker, see docs/OPERATING.md.
    let refused = [&*long, "a\nb", "a\u{7f}", "\u{85}", "\u{1}"];
    for version in Version::ALL {
        for client_id in refused {
            expect_refused(&broker, &Connect::new(version, client_id), ReasonCode::ClientIdentifierNotValid);
        }
        for client_id in [&long[1..], "ünï/#+$ çödé", "\u{feff}", " "] {
            broker.client(version, client_id).leave();
        }
    }
    broker.wait_ended(Ended::ClientIdInvalid, 3 * refused.len() as u64);
}

#[test]
fn a_refused_connect_changes_nothing() {
    // covers [MQTT-3.1.4-6] [MQTT311-3.1.4-5] [MQTT-3.2.2-7]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut watcher = broker.client(version, "watcher");
        watcher.subscribe("#", QoS::AtMostOnce);
        let mut client = Client::open(&broker, version);
        let mut bytes = Vec::new();
        Connect::new(version, "not\nallowed").encode(&mut bytes);
        message("sneaked/in", "x").encode(version, &mut bytes);
        bytes.extend_from_slice(&PINGREQ);
        client.send(&bytes);
        assert!(client.expect(PacketType::ConnAck).connack().reason.is_error());
        client.expect_end();
        watcher.expect_silence();
        watcher.leave();
    }
}

#[test]
fn a_malformed_connect_of_version_5_gets_its_reason() {
    // covers [MQTT-3.1.4-1] [MQTT-4.13.1-1] [MQTT-4.13.2-1] [MQTT-3.1.3-1]
    let broker = Broker::plain();
    let cases: [(&[u8], ReasonCode); 5] = [
        // The reserved flag.
        (b"\x10\x0e\0\x04MQTT\x05\x03\0\0\0\0\x01c", ReasonCode::MalformedPacket),
        // Will QoS 3.
        (b"\x10\x0e\0\x04MQTT\x05\x1e\0\0\0\0\x01c", ReasonCode::MalformedPacket),
        // A byte too many behind the payload.
        (b"\x10\x0f\0\x04MQTT\x05\x02\0\0\0\0\x01cx", ReasonCode::MalformedPacket),
        // Receive Maximum 0.
        (b"\x10\x11\0\x04MQTT\x05\x02\0\0\x03\x21\0\0\0\x01c", ReasonCode::ProtocolError),
        // The fields of a will in another order: what stands where the topic should has a wildcard.
        (b"\x10\x15\0\x04MQTT\x05\x06\0\0\0\0\x01c\0\0\x01#\0\x01t", ReasonCode::TopicNameInvalid),
    ];
    for (bytes, reason) in cases {
        let mut client = Client::open(&broker, Version::V5);
        // Without its length byte being right a case would prove nothing.
        assert_eq!(usize::from(bytes[1]) + 2, bytes.len());
        client.send(bytes);
        let answer = client.expect(PacketType::ConnAck);
        assert_eq!(
            (answer.connack().reason, answer.connack().session_present),
            (reason, false),
            "{bytes:02x?}"
        );
        client.expect_end();
    }
}

#[test]
fn a_malformed_connect_of_an_older_version_gets_nothing() {
    // covers [MQTT311-3.1.4-1] [MQTT311-3.2.2-6]
    let broker = Broker::plain();
    let cases: [&[u8]; 3] = [
        b"\x10\x0d\0\x04MQTT\x04\x03\0\0\0\x01c",
        b"\x10\x0d\0\x04MQTT\x04\x1e\0\0\0\x01c",
        b"\x10\x0e\0\x04MQTT\x04\x02\0\0\0\x01cx",
    ];
    for bytes in cases {
        assert_eq!(usize::from(bytes[1]) + 2, bytes.len());
        let mut client = Client::open(&broker, Version::V311);
        client.send(bytes);
        client.expect_end();
    }
    broker.wait_ended(Ended::Malformed, 3);
}

#[test]
fn what_the_server_does_not_do_is_refused_and_announced() {
    // covers [MQTT-3.2.2-9] [MQTT-3.2.2-12] [MQTT-3.2.2-13]
    let settings = Settings { qos_max: QoS::AtLeastOnce, retain_available: false, ..Settings::default() };
    let broker = Broker::start(settings);
    let (client, answer) = Client::try_connect(&broker, &Connect::new(Version::V5, "c"));
    assert_eq!(answer.connack().properties.maximum_qos, Some(QoS::AtLeastOnce));
    assert_eq!(answer.connack().properties.retain_available, Some(false));
    client.leave();
    let with = |will| Connect { will: Some(will), ..Connect::new(Version::V5, "c") };
    expect_refused(&broker, &with(will("w", QoS::ExactlyOnce, false)), ReasonCode::QosNotSupported);
    expect_refused(&broker, &with(will("w", QoS::AtMostOnce, true)), ReasonCode::RetainNotSupported);
    broker.wait_ended(Ended::NotSupported, 2);
}

#[test]
fn only_what_differs_from_the_standard_is_announced() {
    // covers [MQTT-2.2.2-1] [MQTT-3.1.2-28] [MQTT-4.12.0-6]
    let broker = Broker::start(Settings {
        packet_bytes_max: pelton_mqtt::MAX_PACKET,
        receive_maximum: u16::MAX,
        topic_alias_maximum: 0,
        response_information: Some("answers/".into()),
        ..Settings::default()
    });
    let (client, answer) = Client::try_connect(&broker, &Connect::new(Version::V5, "c"));
    // Flags, reason, and a property length of 0: nobody asked for anything.
    assert_eq!(answer.body(), [0, 0, 0]);
    client.leave();
    let mut asking = Connect::new(Version::V5, "c");
    asking.properties.request_response_information = Some(true);
    let (client, answer) = Client::try_connect(&broker, &asking);
    assert_eq!(answer.connack().properties.response_information, Some("answers/"));
    assert_eq!(answer.connack().properties.authentication_method, None);
    client.leave();
}

#[test]
fn extended_authentication_is_not_offered() {
    // covers [MQTT-4.12.0-1] [MQTT-4.12.1-2] [MQTT-4.12.0-6]
    let broker = Broker::plain();
    let mut connect = Connect::new(Version::V5, "c");
    connect.properties.authentication_method = Some("SCRAM-SHA-256");
    expect_refused(&broker, &connect, ReasonCode::BadAuthenticationMethod);
    // AUTH without it, and a re-authentication of what was never authenticated that way.
    for auth in [&b"\xf0\x00"[..], b"\xf0\x07\x19\x05\x15\0\x02ab", b"\xf0\x07\x18\x05\x15\0\x02ab"] {
        let mut client = broker.client(Version::V5, "c");
        client.send(auth);
        client.expect_refusal(ReasonCode::ProtocolError);
    }
}

#[test]
fn a_will_the_rules_forbid_keeps_its_client_out() {
    // covers [MQTT-3.1.4-2]
    let rule =
        Rule { allow: false, scope: Scope::Publish, client_id: None, user_name: None, filter: "no".into() };
    let access = Access { rules: vec![rule], ..Access::default() };
    let broker = Broker::start(Settings { access, ..Settings::default() });
    for version in Version::ALL {
        let connect =
            |topic| Connect { will: Some(will(topic, QoS::AtMostOnce, false)), ..Connect::new(version, "c") };
        expect_refused(&broker, &connect("no"), ReasonCode::NotAuthorized);
        Client::connect_as(&broker, &connect("yes")).0.leave();
    }
}

#[test]
fn name_and_password_are_taken() {
    // covers [MQTT-3.1.3-1] [MQTT311-3.1.3-1] [MQTT-3.1.3-12]
    let broker = Broker::plain();
    for version in Version::ALL {
        let connect = Connect {
            user_name: Some("ann"),
            password: Some(b"\0\xff"),
            will: Some(will("w", QoS::AtLeastOnce, false)),
            ..Connect::new(version, "c")
        };
        Client::connect_as(&broker, &connect).0.leave();
    }
}
