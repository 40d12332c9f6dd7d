//! Bad input of a client that is connected: the exact reason in version 5, the end before, a count always.

use pelton_base::Counters;
use pelton_broker::counters::Ended;
use pelton_mqtt::{ReasonCode, Version};

use crate::broker::Broker;

/// What a client sends, and what comes of it.
struct Case {
    what: &'static str,
    bytes: &'static [u8],
    reason: ReasonCode,
    why: Ended,
}

const fn case(what: &'static str, bytes: &'static [u8], reason: ReasonCode, why: Ended) -> Case {
    Case { what, bytes, reason, why }
}

/// Sends each on a connection of its own.
fn expect_each(version: Version, cases: &[Case]) {
    let broker = Broker::plain();
    let mut seen = Counters::default();
    let mut wrong = Vec::new();
    for Case { what, bytes, reason, why } in cases {
        let mut client = broker.client(version, "c");
        client.send(bytes);
        let told = client.refusal();
        let counted = broker.why_ended(&mut seen);
        let told_right = told == version.is_v5().then_some(*reason);
        if !told_right || counted != [why.name()] {
            wrong.push(format!("{} {what}: told {told:?}, counted {counted:?}", version.name()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const MALFORMED: ReasonCode = ReasonCode::MalformedPacket;
const PROTOCOL: ReasonCode = ReasonCode::ProtocolError;

/// Wrong in every version.
const ALWAYS: &[Case] = &[
    case("packet type 0", b"\x00\x00", MALFORMED, Ended::Malformed),
    case("a length of five bytes", b"\x30\x80\x80\x80\x80\x01", MALFORMED, Ended::Malformed),
    case("QoS 3", b"\x36\x05\0\x01t\0\x01", MALFORMED, Ended::Malformed),
    case("DUP at QoS 0", b"\x38\x04\0\x01tx", MALFORMED, Ended::Malformed),
    case("flags of PUBACK", b"\x41\x02\0\x01", MALFORMED, Ended::Malformed),
    case("flags of PUBREC", b"\x52\x02\0\x01", MALFORMED, Ended::Malformed),
    case("flags of PUBREL", b"\x60\x02\0\x01", MALFORMED, Ended::Malformed),
    case("flags of PUBCOMP", b"\x74\x02\0\x01", MALFORMED, Ended::Malformed),
    case("flags of PINGREQ", b"\xc1\x00", MALFORMED, Ended::Malformed),
    case("flags of DISCONNECT", b"\xe8\x00", MALFORMED, Ended::Malformed),
    case("flags of SUBSCRIBE", b"\x80\x06\0\x01\0\x01t\0", MALFORMED, Ended::Malformed),
    case("flags of UNSUBSCRIBE", b"\xa0\x05\0\x01\0\x01t", MALFORMED, Ended::Malformed),
    case("CONNACK from a client", b"\x20\x02\0\0", PROTOCOL, Ended::ProtocolError),
    case("PINGRESP from a client", b"\xd0\x00", PROTOCOL, Ended::ProtocolError),
    case("a topic longer than its packet", b"\x30\x04\0\x09tx", MALFORMED, Ended::Malformed),
    case("a topic with U+0000", b"\x30\x05\0\x03a\0b", MALFORMED, Ended::Malformed),
    case("a topic with a surrogate", b"\x30\x05\0\x03\xed\xa0\x80", MALFORMED, Ended::Malformed),
    case("a topic that is not UTF-8", b"\x30\x05\0\x03a\xffb", MALFORMED, Ended::Malformed),
    case("PUBACK cut short", b"\x40\x01\0", MALFORMED, Ended::Malformed),
    case("PINGREQ with a body", b"\xc0\x01\0", MALFORMED, Ended::Malformed),
];

const BEFORE_5: &[Case] = &[
    case("identifier 0", b"\x32\x06\0\x01t\0\0x", PROTOCOL, Ended::ProtocolError),
    case(
        "a topic with a wildcard",
        b"\x30\x05\0\x03a/#",
        ReasonCode::TopicNameInvalid,
        Ended::TopicNameInvalid,
    ),
    case("an empty topic", b"\x30\x03\0\0x", PROTOCOL, Ended::ProtocolError),
    case("SUBSCRIBE of nothing", b"\x82\x02\0\x01", PROTOCOL, Ended::ProtocolError),
    case("SUBSCRIBE with QoS 3", b"\x82\x06\0\x01\0\x01t\x03", PROTOCOL, Ended::ProtocolError),
    case("SUBSCRIBE with reserved bits", b"\x82\x06\0\x01\0\x01t\x04", MALFORMED, Ended::Malformed),
    case("SUBSCRIBE with identifier 0", b"\x82\x06\0\0\0\x01t\0", PROTOCOL, Ended::ProtocolError),
    case("a filter with U+0000", b"\x82\x08\0\x01\0\x03a\0b\0", MALFORMED, Ended::Malformed),
    case("UNSUBSCRIBE of nothing", b"\xa2\x02\0\x01", PROTOCOL, Ended::ProtocolError),
    case("DISCONNECT with a body", b"\xe0\x01\0", MALFORMED, Ended::Malformed),
    case("AUTH", b"\xf0\x00", MALFORMED, Ended::Malformed),
];

const IN_5: &[Case] = &[
    case("identifier 0", b"\x32\x07\0\x01t\0\0\0x", PROTOCOL, Ended::ProtocolError),
    case(
        "a topic with a wildcard",
        b"\x30\x06\0\x03a/+\0",
        ReasonCode::TopicNameInvalid,
        Ended::TopicNameInvalid,
    ),
    case("no property length", b"\x30\x03\0\x01t", MALFORMED, Ended::Malformed),
    case("properties longer than their packet", b"\x30\x04\0\x01t\x09", MALFORMED, Ended::Malformed),
    case("a property that does not exist", b"\x30\x06\0\x01t\x02\x7f\0", MALFORMED, Ended::Malformed),
    case("a property of another packet", b"\x30\x09\0\x01t\x05\x11\0\0\0\x01", MALFORMED, Ended::Malformed),
    case("a property twice", b"\x30\x08\0\x01t\x04\x01\0\x01\0", PROTOCOL, Ended::ProtocolError),
    case("payload format 2", b"\x30\x06\0\x01t\x02\x01\x02", PROTOCOL, Ended::ProtocolError),
    case(
        "a response topic with a wildcard",
        b"\x30\x08\0\x01t\x04\x08\0\x01#",
        PROTOCOL,
        Ended::ProtocolError,
    ),
    case(
        "a subscription identifier from a client",
        b"\x30\x06\0\x01t\x02\x0b\x01",
        PROTOCOL,
        Ended::ProtocolError,
    ),
    case("SUBSCRIBE of nothing", b"\x82\x03\0\x01\0", PROTOCOL, Ended::ProtocolError),
    case("SUBSCRIBE with QoS 3", b"\x82\x07\0\x01\0\0\x01t\x03", PROTOCOL, Ended::ProtocolError),
    case("SUBSCRIBE with reserved bits", b"\x82\x07\0\x01\0\0\x01t\x40", MALFORMED, Ended::Malformed),
    case("retain handling 3", b"\x82\x07\0\x01\0\0\x01t\x30", PROTOCOL, Ended::ProtocolError),
    case("subscription identifier 0", b"\x82\x09\0\x01\x02\x0b\0\0\x01t\0", PROTOCOL, Ended::ProtocolError),
    case(
        "no local on a shared subscription",
        b"\x82\x11\0\x01\0\0\x0b$share/gr/t\x04",
        PROTOCOL,
        Ended::ProtocolError,
    ),
    case("UNSUBSCRIBE of nothing", b"\xa2\x03\0\x01\0", PROTOCOL, Ended::ProtocolError),
    case(
        "PUBACK with a reason that is none of its own",
        b"\x40\x03\0\x01\x04",
        PROTOCOL,
        Ended::ProtocolError,
    ),
    case(
        "PUBREL with a reason that is none of its own",
        b"\x62\x03\0\x01\x80",
        PROTOCOL,
        Ended::ProtocolError,
    ),
    case("AUTH that nobody asked for", b"\xf0\x00", PROTOCOL, Ended::ProtocolError),
];

#[test]
fn what_is_wrong_in_every_version() {
    // covers [MQTT-4.13.1-1] [MQTT-4.13.2-1] [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
    // covers [MQTT-3.14.1-1] [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-3.3.1-2] [MQTT-3.3.1-4] [MQTT311-4.8.0-1]
    // covers [MQTT311-2.2.2-2] [MQTT311-1.5.3-1] [MQTT311-1.5.3-2] [MQTT311-3.14.1-1] [MQTT311-3.3.1-4]
    for version in Version::ALL {
        expect_each(version, ALWAYS);
    }
}

#[test]
fn what_is_wrong_before_version_5() {
    // covers [MQTT311-4.8.0-1] [MQTT311-3.8.3-3] [MQTT311-3.8.3-4] [MQTT311-3.10.3-2] [MQTT311-3.3.2-2]
    // covers [MQTT311-4.7.1-1] [MQTT311-4.7.3-1] [MQTT311-2.3.1-1]
    for version in [Version::V31, Version::V311] {
        expect_each(version, BEFORE_5);
    }
}

#[test]
fn what_is_wrong_in_version_5() {
    // covers [MQTT-4.13.1-1] [MQTT-3.8.3-2] [MQTT-3.8.3-4] [MQTT-3.8.3-5] [MQTT-3.10.3-2] [MQTT-3.3.2-2]
    // covers [MQTT-3.3.2-14] [MQTT-4.7.0-1] [MQTT-2.2.2-1]
    expect_each(Version::V5, IN_5);
}

#[test]
fn others_do_not_notice() {
    let broker = Broker::plain();
    let mut bystander = broker.client(Version::V5, "bystander");
    bystander.subscribe("t", pelton_mqtt::QoS::AtMostOnce);
    for case in ALWAYS {
        let mut client = broker.client(Version::V5, "c");
        client.send(case.bytes);
        client.expect_refusal(case.reason);
    }
    bystander.put_publish(&crate::client::message("t", "well"));
    assert_eq!(bystander.take().payload(), "well");
}
