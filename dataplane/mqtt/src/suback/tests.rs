use super::*;
use crate::golden::{decoded, golden, packet, refused};
use crate::packet::Packet;

/// The standard's own example of 3.1.1: QoS 0, QoS 2, failure.
#[test]
fn the_example_of_3_1_1() {
    let reasons = [ReasonCode::Success, ReasonCode::GrantedQos2, ReasonCode::UnspecifiedError];
    let ack = SubAck::new(PacketId::new(10).unwrap(), &reasons);
    golden(Version::V311, Packet::SubAck(ack), &[0x90, 5, 0, 10, 0x00, 0x02, 0x80]);
    golden(Version::V5, Packet::SubAck(ack), &[0x90, 6, 0, 10, 0, 0x00, 0x02, 0x80]);
}

#[test]
fn codes_and_properties_of_version_5() {
    let reasons = [ReasonCode::NotAuthorized, ReasonCode::WildcardSubscriptionsNotSupported];
    let ack = SubAck {
        reason_string: Some("no"),
        user_properties: UserProperties::new(&[("", "x")]),
        ..SubAck::new(PacketId::new(1).unwrap(), &reasons)
    };
    let block = [0x1F, 0, 2, b'n', b'o', 0x26, 0, 0, 0, 1, b'x'];
    let bytes = packet(0x90, &[&[0, 1, block.len() as u8], &block, &[0x87, 0xA2]]);
    golden(Version::V5, Packet::SubAck(ack), &bytes);
    // 3.x has one failure.
    let mut out = Vec::new();
    ack.encode(Version::V31, &mut out);
    assert_eq!(out, [0x90, 4, 0, 1, 0x80, 0x80]);
    let Packet::SubAck(ack) = decoded(Version::V5, &bytes) else { panic!("not SUBACK") };
    assert_eq!((ack.reasons.len(), ack.reasons.is_empty()), (2, false));
}

/// covers [MQTT-3.9.3-2] [MQTT-3.8.4-6] [MQTT311-3.9.3-2] [MQTT311-3.8.4-5]
#[test]
fn what_is_refused() {
    for code in [0x03, 0x7F, 0x81, 0x87] {
        assert_eq!(refused(Version::V311, &[0x90, 4, 0, 1, 0, code]), Violation::ReturnCodeReserved);
    }
    for code in [0x03, 0x11, 0x93, 0xFF] {
        assert_eq!(refused(Version::V5, &[0x90, 5, 0, 1, 0, 0, code]), Violation::ReasonCodeNotAllowed);
    }
    assert_eq!(refused(Version::V311, &[0x90, 2, 0, 1]), Violation::ReasonCodesEmpty);
    assert_eq!(refused(Version::V5, &[0x90, 3, 0, 1, 0]), Violation::ReasonCodesEmpty);
    assert_eq!(refused(Version::V5, &[0x90, 2, 0, 1]), Violation::Truncated);
    assert_eq!(refused(Version::V311, &[0x90, 3, 0, 0, 0]), Violation::PacketIdZero);
    assert_eq!(refused(Version::V5, &[0x90, 6, 0, 1, 2, 0x0B, 1, 0]), Violation::PropertyNotAllowed);
}

#[test]
fn lists_are_equal_by_their_codes() {
    let codes = [ReasonCode::Success, ReasonCode::GrantedQos1];
    let list = ReasonCodes::new(&codes);
    let decoded = ReasonCodes::decode(PacketType::SubAck, &[0, 1]).unwrap();
    assert_eq!(list, decoded);
    assert_ne!(list, ReasonCodes::decode(PacketType::SubAck, &[0]).unwrap());
    assert_ne!(list, ReasonCodes::decode(PacketType::SubAck, &[0, 2]).unwrap());
    assert_eq!(format!("{decoded:?}"), "[Success, GrantedQos1]");
    assert!(ReasonCodes::new(&[]).is_empty() && !decoded.is_empty());
}
