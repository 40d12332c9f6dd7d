use super::*;
use crate::golden::{decoded, golden, packet, refused};
use crate::packet::Packet;

fn ack<'a>(session_present: bool, reason: ReasonCode) -> Packet<'a> {
    Packet::ConnAck(ConnAck::new(session_present, reason))
}

/// covers [MQTT311-3.2.2-6]
#[test]
fn return_codes_of_3_x() {
    golden(Version::V311, ack(false, ReasonCode::Success), &[0x20, 2, 0, 0]);
    golden(Version::V311, ack(true, ReasonCode::Success), &[0x20, 2, 1, 0]);
    golden(Version::V311, ack(false, ReasonCode::UnsupportedProtocolVersion), &[0x20, 2, 0, 1]);
    golden(Version::V311, ack(false, ReasonCode::NotAuthorized), &[0x20, 2, 0, 5]);
    let mut out = Vec::new();
    ack(false, ReasonCode::ServerBusy).encode(Version::V311, &mut out);
    assert_eq!(out, [0x20, 2, 0, 3], "the nearest there is");
    out.clear();
    ack(false, ReasonCode::MalformedPacket).encode(Version::V311, &mut out);
    assert_eq!(out, [], "no code comes near");
    assert_eq!(ack(false, ReasonCode::MalformedPacket).encoded_len(Version::V311), 0);
}

/// 3.1 has no session present flag: nothing is written there, and nothing read.
#[test]
fn the_reserved_byte_of_3_1() {
    let mut out = Vec::new();
    ack(true, ReasonCode::Success).encode(Version::V31, &mut out);
    assert_eq!(out, [0x20, 2, 0, 0]);
    assert_eq!(decoded(Version::V31, &[0x20, 2, 0xFF, 2]), ack(false, ReasonCode::ClientIdentifierNotValid));
}

#[test]
fn every_property() {
    let block: &[u8] = &[
        0x11, 0, 0, 0, 1, // session expiry
        0x21, 0, 2, // receive maximum
        0x24, 1, // maximum QoS
        0x25, 0, // retain available
        0x27, 0, 0, 0, 3, // maximum packet size
        0x12, 0, 1, b'i', // assigned client identifier
        0x22, 0, 4, // topic alias maximum
        0x1F, 0, 1, b's', // reason string
        0x28, 0, // wildcard subscription available
        0x29, 1, // subscription identifiers available
        0x2A, 0, // shared subscription available
        0x13, 0, 5, // server keep alive
        0x1A, 0, 1, b'r', // response information
        0x1C, 0, 1, b'h', // server reference
        0x15, 0, 1, b'm', // authentication method
        0x16, 0, 1, 0, // authentication data
        0x26, 0, 1, b'k', 0, 1, b'v', // user
    ];
    let properties = ConnAckProperties {
        session_expiry: Some(1),
        receive_maximum: Some(2),
        maximum_qos: Some(QoS::AtLeastOnce),
        retain_available: Some(false),
        maximum_packet_size: Some(3),
        assigned_client_id: Some("i"),
        topic_alias_maximum: Some(4),
        reason_string: Some("s"),
        user_properties: UserProperties::new(&[("k", "v")]),
        wildcard_subscription_available: Some(false),
        subscription_ids_available: Some(true),
        shared_subscription_available: Some(false),
        server_keep_alive: Some(5),
        response_information: Some("r"),
        server_reference: Some("h"),
        authentication_method: Some("m"),
        authentication_data: Some(b"\0"),
    };
    let bytes = packet(0x20, &[&[1, 0, block.len() as u8], block]);
    golden(
        Version::V5,
        Packet::ConnAck(ConnAck { session_present: true, reason: ReasonCode::Success, properties }),
        &bytes,
    );
    golden(Version::V5, ack(false, ReasonCode::Banned), &[0x20, 3, 0, 0x8A, 0]);
}

/// covers [MQTT-3.2.2-1] [MQTT-3.2.2-6] [MQTT-3.2.2-8] [MQTT311-3.2.2-4]
#[test]
fn what_is_refused() {
    assert_eq!(refused(Version::V311, &[0x20, 2, 2, 0]), Violation::ConnAckFlagsReserved);
    assert_eq!(refused(Version::V5, &[0x20, 3, 0x80, 0, 0]), Violation::ConnAckFlagsReserved);
    assert_eq!(refused(Version::V311, &[0x20, 2, 1, 5]), Violation::SessionPresentOnRefusal);
    assert_eq!(refused(Version::V5, &[0x20, 3, 1, 0x87, 0]), Violation::SessionPresentOnRefusal);
    assert_eq!(refused(Version::V311, &[0x20, 2, 0, 6]), Violation::ReturnCodeReserved);
    assert_eq!(refused(Version::V5, &[0x20, 3, 0, 0x01, 0]), Violation::ReasonCodeNotAllowed);
    assert_eq!(refused(Version::V5, &[0x20, 3, 0, 0x93, 0]), Violation::ReasonCodeNotAllowed);
    assert_eq!(refused(Version::V311, &[0x20, 1, 0]), Violation::Truncated);
    assert_eq!(refused(Version::V311, &[0x20, 3, 0, 0, 0]), Violation::TrailingBytes);
    assert_eq!(refused(Version::V5, &[0x20, 2, 0, 0]), Violation::Truncated);
    assert_eq!(refused(Version::V5, &[0x20, 4, 0, 0, 0, 0]), Violation::TrailingBytes);
    for (byte, value) in [(0x24, 2), (0x25, 2), (0x28, 9), (0x29, 0xFF), (0x2A, 2)] {
        assert_eq!(refused(Version::V5, &[0x20, 5, 0, 0, 2, byte, value]), Violation::PropertyNotBoolean);
    }
}

#[test]
fn only_what_is_there_is_printed() {
    let properties = ConnAckProperties {
        server_keep_alive: Some(5),
        authentication_data: Some(b"s3cret"),
        ..ConnAckProperties::default()
    };
    assert_eq!(format!("{properties:?}"), "[ServerKeepAlive(5), AuthenticationData(6 B)]");
}
