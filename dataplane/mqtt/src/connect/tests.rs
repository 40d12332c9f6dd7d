use super::*;
use crate::error::ConnectRefusal;
use crate::golden::{decoded, golden, packet, refused};
use crate::packet::Packet;
use crate::reason::{ConnectReturnCode, ReasonCode};

fn plain(version: Version, client_id: &str) -> Connect<'_> {
    Connect { keep_alive: 60, ..Connect::new(version, client_id) }
}

/// A version 3.1.1 or 5 CONNECT from the level on.
fn mqtt(level: u8, parts: &[&[u8]]) -> Vec<u8> {
    packet(0x10, &[&[&b"\0\x04MQTT"[..], &[level]], parts].concat())
}

fn rule_of(level: u8, parts: &[&[u8]]) -> Violation {
    refused(Version::V5, &mqtt(level, parts))
}

/// Figure 3-6 of 3.1.1: user name, password, will at QoS 1, clean session, keep alive 10.
#[test]
fn the_example_of_3_1_1() {
    let will = Will {
        topic: TopicName::new("w").unwrap(),
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: false,
        delay_interval: 0,
        properties: PublishProperties::NONE,
    };
    let connect = Connect {
        keep_alive: 10,
        will: Some(will),
        user_name: Some("u"),
        password: Some(b"\x00p"),
        ..plain(Version::V311, "c")
    };
    let bytes = mqtt(4, &[&[0xCE, 0, 10], b"\0\x01c", b"\0\x01w", b"\0\x04gone", b"\0\x01u", b"\0\x02\0p"]);
    golden(Version::V311, Packet::Connect(connect), &bytes);
}

/// Figure 3-6 of 5.0: the same flags, and a session expiry interval of 10.
#[test]
fn the_example_of_5_0() {
    let block = [0x26, 0, 1, b'k', 0, 1, b'v', 0x02, 0, 0, 0, 3];
    let will = Will {
        topic: TopicName::new("w").unwrap(),
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: false,
        delay_interval: 7,
        properties: PublishProperties::new(&block).unwrap(),
    };
    let properties = ConnectProperties { session_expiry: Some(10), ..ConnectProperties::default() };
    let connect = Connect {
        keep_alive: 10,
        will: Some(will),
        user_name: Some("u"),
        password: Some(b"p"),
        properties,
        ..plain(Version::V5, "c")
    };
    let bytes = mqtt(
        5,
        &[
            &[0xCE, 0, 10, 5, 0x11, 0, 0, 0, 10],
            b"\0\x01c",
            &[17, 0x18, 0, 0, 0, 7],
            &block,
            b"\0\x01w",
            b"\0\x04gone",
            b"\0\x01u",
            b"\0\x01p",
        ],
    );
    golden(Version::V5, Packet::Connect(connect), &bytes);
    let Packet::Connect(connect) = decoded(Version::V311, &bytes) else { panic!("not CONNECT") };
    let will = connect.will.unwrap();
    assert_eq!(will.properties.message_expiry(), Some(3));
    assert_eq!(will.properties.forwardable(&mut Vec::new()), &block[..7]);
}

/// A will made from the properties of a PUBLISH: what belongs to a connection stays behind.
#[test]
fn a_will_holds_what_belongs_to_a_will() {
    let text = [0x03, 0, 1, b't'];
    for (block, left) in [
        ([&[0x23, 0, 1], &text[..]].concat(), &text[..]),
        ([&[0x0B, 1], &text[..]].concat(), &text[..]),
        ([&text[..], &[0x23, 0, 1, 0x0B, 1]].concat(), &text[..]),
        (text.to_vec(), &text[..]),
        (vec![0x0B, 1], &[]),
    ] {
        let will = Will {
            topic: TopicName::new("w").unwrap(),
            payload: b"",
            qos: QoS::AtMostOnce,
            retain: true,
            delay_interval: 0,
            properties: PublishProperties::new(&block).unwrap(),
        };
        let mut out = Vec::new();
        Connect { will: Some(will), ..plain(Version::V5, "c") }.encode(&mut out);
        let expected = mqtt(5, &[&[0x26, 0, 60, 0], b"\0\x01c", &[left.len() as u8], left, b"\0\x01w\0\0"]);
        assert_eq!(out, expected, "{block:02x?}");
    }
}

#[test]
fn version_3_1() {
    let bytes = packet(0x10, &[b"\0\x06MQIsdp", &[3, 0x02, 0, 60], b"\0\x01c"]);
    golden(Version::V31, Packet::Connect(plain(Version::V31, "c")), &bytes);
    // Longer than 3.1's 23 characters.
    let long = packet(0x10, &[b"\0\x06MQIsdp", &[3, 0x02, 0, 60], b"\0\x19a-rather-long-identifier!"]);
    golden(Version::V31, Packet::Connect(plain(Version::V31, "a-rather-long-identifier!")), &long);
    // An empty one never.
    let empty = packet(0x10, &[b"\0\x06MQIsdp", &[3, 0x02, 0, 60], b"\0\0"]);
    assert_eq!(refused(Version::V31, &empty), Violation::ClientIdEmpty);
    // Flags whose fields are missing at the end; unused bits.
    for (flags, fields) in [(0xC2, &b""[..]), (0xC2, b"\0\x01u"), (0x82, b""), (0x3B, b"")] {
        let bytes = packet(0x10, &[b"\0\x06MQIsdp", &[3, flags, 0, 60], b"\0\x01c", fields]);
        let Packet::Connect(connect) = decoded(Version::V31, &bytes) else { panic!("not CONNECT") };
        assert_eq!(connect.user_name, (!fields.is_empty()).then_some("u"));
        assert_eq!((connect.password, connect.will), (None, None));
    }
    let password_alone = packet(0x10, &[b"\0\x06MQIsdp", &[3, 0x42, 0, 60], b"\0\x01c\0\x01p"]);
    assert_eq!(refused(Version::V31, &password_alone), Violation::PasswordWithoutUserName);
}

#[test]
fn a_bridge() {
    let bridge = Connect { bridge: true, ..plain(Version::V311, "c") };
    golden(Version::V311, Packet::Connect(bridge), &mqtt(0x84, &[&[0x02, 0, 60], b"\0\x01c"]));
    let bytes = packet(0x10, &[b"\0\x06MQIsdp", &[0x83, 0x02, 0, 60], b"\0\x01c"]);
    golden(Version::V31, Packet::Connect(Connect { bridge: true, ..plain(Version::V31, "c") }), &bytes);
    assert_eq!(rule_of(0x85, &[&[0x02, 0, 60, 0], b"\0\x01c"]), Violation::ProtocolLevel);
}

/// covers [MQTT-3.1.2-1] [MQTT-3.1.2-2] [MQTT311-3.1.2-1] [MQTT311-3.1.2-2]
#[test]
fn names_and_levels() {
    let refusal = |name: &[u8], level: u8| {
        let body = [name, &[level, 0x02, 0, 60, 0, 0, 1, b'c']].concat();
        let error = Connect::decode(&body).unwrap_err();
        (error.rule(), error.reason() as u8, error.connect_refusal())
    };
    for name in [&b"\0\x04mqtt"[..], b"\0\x03MQT", b"\0\x05MQTTX", b"\0\x00", b"\0\x04MQT\xFF"] {
        assert_eq!(refusal(name, 4), (Violation::ProtocolName, 0x84, ConnectRefusal::Close));
    }
    let v3 = ConnectRefusal::ReturnCode(ConnectReturnCode::UnacceptableProtocolVersion);
    let v5 = ConnectRefusal::Reason(ReasonCode::UnsupportedProtocolVersion);
    for (name, level, expected) in [
        (&b"\0\x04MQTT"[..], 0, v3),
        (b"\0\x04MQTT", 3, v3),
        (b"\0\x04MQTT", 6, v5),
        (b"\0\x04MQTT", 0x7F, v5),
        (b"\0\x04MQTT", 0x83, v3),
        (b"\0\x06MQIsdp", 2, v3),
        (b"\0\x06MQIsdp", 4, v3),
        (b"\0\x06MQIsdp", 5, v5),
    ] {
        assert_eq!(refusal(name, level), (Violation::ProtocolLevel, 0x84, expected), "{name:?} {level}");
    }
}

/// covers [MQTT-3.1.2-3] [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13] [MQTT311-3.1.2-3] [MQTT311-3.1.2-13]
/// [MQTT311-3.1.2-14] [MQTT311-3.1.2-15] [MQTT311-3.1.2-22]
#[test]
fn flags_that_cannot_be() {
    for (level, properties) in [(4, &[][..]), (5, &[0])] {
        let rule = |flags: u8| rule_of(level, &[&[flags, 0, 60], properties, b"\0\x01c"]);
        assert_eq!(rule(0x03), Violation::ConnectFlagReserved);
        assert_eq!(rule(0x1E), Violation::WillQos3);
        for flags in [0x0A, 0x12, 0x1A, 0x22] {
            assert_eq!(rule(flags), Violation::WillFlagsWithoutWill, "{flags:#x}");
        }
    }
    assert_eq!(rule_of(4, &[&[0x42, 0, 60], b"\0\x01c\0\x01p"]), Violation::PasswordWithoutUserName);
    let connect = Connect { password: Some(b"p"), ..plain(Version::V5, "c") };
    golden(Version::V5, Packet::Connect(connect), &mqtt(5, &[&[0x42, 0, 60, 0], b"\0\x01c\0\x01p"]));
}

/// covers [MQTT-3.1.3-6] [MQTT311-3.1.3-7] [MQTT311-3.1.3-8]
#[test]
fn an_empty_client_identifier() {
    golden(Version::V311, Packet::Connect(plain(Version::V311, "")), &mqtt(4, &[&[0x02, 0, 60, 0, 0]]));
    let body = &mqtt(4, &[&[0x00, 0, 60, 0, 0]])[2..];
    let error = Connect::decode(body).unwrap_err();
    assert_eq!(error.rule(), Violation::ClientIdEmpty);
    assert_eq!(error.connect_refusal(), ConnectRefusal::ReturnCode(ConnectReturnCode::IdentifierRejected));
    let resumed = Connect { clean_start: false, ..plain(Version::V5, "") };
    golden(Version::V5, Packet::Connect(resumed), &mqtt(5, &[&[0x00, 0, 60, 0, 0, 0]]));
}

/// covers [MQTT-3.1.2-9] [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.3-3]
/// [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12] [MQTT311-3.1.2-18] [MQTT311-3.1.2-20]
#[test]
fn the_payload_is_what_the_flags_say() {
    let rule = |flags: u8, payload: &[u8]| rule_of(4, &[&[flags, 0, 60], payload]);
    assert_eq!(rule(0x02, b""), Violation::Truncated);
    assert_eq!(rule(0x02, b"\0\x01c\0\x01u"), Violation::TrailingBytes);
    assert_eq!(rule(0x82, b"\0\x01c"), Violation::Truncated);
    assert_eq!(rule(0xC2, b"\0\x01c\0\x01u"), Violation::Truncated);
    assert_eq!(rule(0x06, b"\0\x01c"), Violation::Truncated);
    assert_eq!(rule(0x06, b"\0\x01c\0\x01w"), Violation::Truncated);
    assert_eq!(rule(0x02, b"\0\x01\xFF"), Violation::StringNotUtf8);
    assert_eq!(rule(0x02, b"\0\x01\0"), Violation::StringHasNull);
    assert_eq!(rule(0x06, b"\0\x01c\0\x01\xFF\0\0"), Violation::StringNotUtf8);
    assert_eq!(rule(0x06, b"\0\x01c\0\x01#\0\0"), Violation::TopicWildcard);
    assert_eq!(rule(0x06, b"\0\x01c\0\0\0\0"), Violation::TopicEmpty);
    assert_eq!(rule(0x82, b"\0\x01c\0\x01\xFF"), Violation::StringNotUtf8);
}

#[test]
fn every_property() {
    let block: &[u8] = &[
        0x11, 0xFF, 0xFF, 0xFF, 0xFF, // session expiry
        0x21, 0x00, 0x14, // receive maximum
        0x27, 0x00, 0x00, 0x10, 0x00, // maximum packet size
        0x22, 0x00, 0x0A, // topic alias maximum
        0x19, 0x01, // request response information
        0x17, 0x00, // request problem information
        0x15, 0x00, 0x01, b'm', // authentication method
        0x16, 0x00, 0x02, 0x00, 0xFF, // authentication data
        0x26, 0x00, 0x01, b'a', 0x00, 0x01, b'b', // user
        0x26, 0x00, 0x00, 0x00, 0x00, // user, empty
    ];
    let properties = ConnectProperties {
        session_expiry: Some(u32::MAX),
        receive_maximum: Some(20),
        maximum_packet_size: Some(4096),
        topic_alias_maximum: Some(10),
        request_response_information: Some(true),
        request_problem_information: Some(false),
        authentication_method: Some("m"),
        authentication_data: Some(b"\x00\xFF"),
        user_properties: UserProperties::new(&[("a", "b"), ("", "")]),
    };
    let connect = Connect { properties, ..plain(Version::V5, "c") };
    let bytes = mqtt(5, &[&[0x02, 0, 60, block.len() as u8], block, b"\0\x01c"]);
    golden(Version::V5, Packet::Connect(connect), &bytes);
}

#[test]
fn properties_that_cannot_be() {
    let rule = |block: &[u8]| rule_of(5, &[&[0x02, 0, 60, block.len() as u8], block, b"\0\x01c"]);
    assert_eq!(rule(&[0x16, 0, 0]), Violation::AuthDataWithoutMethod);
    assert_eq!(rule(&[0x21, 0, 0]), Violation::ReceiveMaximumZero);
    assert_eq!(rule(&[0x27, 0, 0, 0, 0]), Violation::MaximumPacketSizeZero);
    assert_eq!(rule(&[0x01, 0]), Violation::PropertyNotAllowed);
    // A will's block is a will's alone, and the other way round.
    let rule = |block: &[u8]| {
        rule_of(5, &[&[0x06, 0, 60, 0], b"\0\x01c", &[block.len() as u8], block, b"\0\x01w\0\0"])
    };
    assert_eq!(rule(&[0x11, 0, 0, 0, 1]), Violation::PropertyNotAllowed);
    assert_eq!(rule(&[0x23, 0, 1]), Violation::PropertyNotAllowed);
    assert_eq!(rule(&[0x0B, 1]), Violation::PropertyNotAllowed);
    assert_eq!(rule(&[0x18, 0, 0, 0, 1, 0x18, 0, 0, 0, 1]), Violation::PropertyRepeated);
    assert_eq!(rule(&[0x08, 0, 1, b'#']), Violation::ResponseTopicInvalid);
}

/// covers [MQTT311-3.1.4-1]: a 3.x CONNECT that does not conform gets no CONNACK, a version 5 one its reason.
#[test]
fn the_version_is_known_once_it_is_read() {
    let refusal = |body: &[u8]| Connect::decode(body).unwrap_err().connect_refusal();
    assert_eq!(refusal(b"\0\x04MQT"), ConnectRefusal::Close);
    assert_eq!(refusal(b"\0\x04MQTT\x04"), ConnectRefusal::Close);
    assert_eq!(refusal(b"\0\x04MQTT\x05"), ConnectRefusal::Reason(ReasonCode::MalformedPacket));
    assert_eq!(Connect::decode(b"\0\x04MQTT\x05").unwrap_err().connect_version(), Some(Version::V5));
}

#[test]
fn passwords_are_not_printed() {
    let properties = ConnectProperties {
        authentication_method: Some("m"),
        authentication_data: Some(b"s3cret"),
        ..Default::default()
    };
    let connect =
        Connect { user_name: Some("u"), password: Some(b"s3cret"), properties, ..plain(Version::V5, "c") };
    let text = format!("{connect:?}");
    assert!(
        text.contains("password_len: Some(6)") && text.contains("authentication_data_len: Some(6)"),
        "{text}"
    );
    assert!(!text.contains("s3cret") && !text.contains("115"), "{text}");
}
