use super::*;
use crate::golden::{decoded, golden, packet, refused, refused_from};
use crate::packet::Packet;
use crate::properties::{Property, UserProperties};

const EVERY_PROPERTY: &[u8] = &[
    0x01, 0x01, // payload format
    0x02, 0x00, 0x00, 0x00, 0x0A, // message expiry
    0x03, 0x00, 0x01, b't', // content type
    0x26, 0x00, 0x01, b'k', 0x00, 0x01, b'1', // user
    0x23, 0x00, 0x07, // topic alias
    0x08, 0x00, 0x01, b'r', // response topic
    0x09, 0x00, 0x02, 0xFF, 0x00, // correlation data
    0x26, 0x00, 0x01, b'k', 0x00, 0x01, b'2', // user, the same name again
    0x0B, 0x81, 0x01, // subscription identifier 129
    0x0B, 0x02, // and 2
];

fn id(number: u16) -> Option<PacketId> {
    PacketId::new(number)
}

fn plain<'a>(topic: &'a [u8], payload: &'a [u8]) -> Publish<'a> {
    Publish::new(RawTopic::new(topic), payload)
}

/// The standard's own example (figure 3-9 of 5.0, 3.11 of 3.1.1): topic a/b, packet identifier 10.
#[test]
fn the_example_of_the_standard() {
    let publish = Publish { qos: QoS::AtLeastOnce, packet_id: id(10), ..plain(b"a/b", b"") };
    let fields = [0x00, 0x03, b'a', b'/', b'b', 0x00, 0x0A];
    golden(Version::V311, Packet::Publish(publish), &packet(0x32, &[&fields]));
    golden(Version::V31, Packet::Publish(publish), &packet(0x32, &[&fields]));
    golden(Version::V5, Packet::Publish(publish), &packet(0x32, &[&fields, &[0x00]]));
}

/// covers [MQTT-2.2.1-2] [MQTT311-2.3.1-5]: at QoS 0 the payload begins right behind the topic.
#[test]
fn flags_and_payload() {
    golden(
        Version::V311,
        Packet::Publish(plain(b"t", b"\0\x01hi")),
        &[0x30, 7, 0, 1, b't', 0, 1, b'h', b'i'],
    );
    let all = Publish {
        dup: true,
        qos: QoS::ExactlyOnce,
        retain: true,
        packet_id: id(0x1234),
        ..plain(b"t", b"x")
    };
    golden(Version::V311, Packet::Publish(all), &[0x3D, 6, 0, 1, b't', 0x12, 0x34, b'x']);
    let retained = Publish { retain: true, ..plain(b"t", b"") };
    golden(Version::V5, Packet::Publish(retained), &[0x31, 4, 0, 1, b't', 0]);
}

/// covers [MQTT-3.3.1-2] [MQTT-3.3.1-4] [MQTT-2.2.1-3] [MQTT-4.7.3-1] [MQTT311-3.3.1-2] [MQTT311-3.3.1-4]
#[test]
fn what_is_refused() {
    for version in Version::ALL {
        // Whoever calls the decoder without the framing finds the same.
        let rule = |first| Publish::decode(version, first, b"\0\x01t\0\0").unwrap_err().rule();
        assert_eq!(rule(0x36), Violation::PublishQos3);
        assert_eq!(rule(0x3E), Violation::PublishQos3);
        assert_eq!(rule(0x38), Violation::DupOnQos0);
        assert_eq!(rule(0x32), Violation::PacketIdZero);
        assert_eq!(refused(version, &[0x30, 1, 0]), Violation::Truncated);
        assert_eq!(refused(version, &[0x30, 4, 0, 3, b'a', b'b']), Violation::Truncated);
        assert_eq!(refused(version, &[0x32, 4, 0, 1, b't', 0]), Violation::Truncated);
    }
    assert_eq!(refused(Version::V5, &[0x30, 3, 0, 1, b't']), Violation::Truncated, "no property length");
    assert_eq!(refused(Version::V5, &[0x30, 4, 0, 1, b't', 1]), Violation::PropertyLengthOverrun);
    assert_eq!(refused(Version::V5, &[0x30, 3, 0, 0, 0]), Violation::TopicEmpty);
}

/// covers [MQTT-3.3.2-8]: in 3.x an empty topic is left to the topic's check, in version 5 an alias may stand for it.
#[test]
fn an_empty_topic() {
    let Packet::Publish(publish) = decoded(Version::V311, &[0x30, 2, 0, 0]) else { panic!("not PUBLISH") };
    assert_eq!(publish.topic.check().unwrap_err().rule(), Violation::TopicEmpty);
    let aliased = packet(0x30, &[&[0, 0, 3, 0x23, 0, 1], b"x"]);
    let Packet::Publish(publish) = decoded(Version::V5, &aliased) else { panic!("not PUBLISH") };
    assert!(publish.topic.is_empty());
    assert_eq!(publish.properties.topic_alias(), Some(1));
    let zero = packet(0x30, &[&[0, 0, 3, 0x23, 0, 0]]);
    assert_eq!(refused(Version::V5, &zero), Violation::TopicAliasZero);
}

#[test]
fn every_property() {
    let fields = [0x00, 0x01, b't', 0x00, 0x05];
    let bytes = packet(0x32, &[&fields, &[EVERY_PROPERTY.len() as u8], EVERY_PROPERTY, b"payload"]);
    let properties = PublishProperties::new(EVERY_PROPERTY).unwrap();
    let publish = Publish { qos: QoS::AtLeastOnce, packet_id: id(5), properties, ..plain(b"t", b"payload") };
    golden(Version::V5, Packet::Publish(publish), &bytes);

    assert!(properties.payload_is_utf8());
    assert_eq!(properties.message_expiry(), Some(10));
    assert_eq!(properties.topic_alias(), Some(7));
    assert_eq!(properties.content_type(), Some("t"));
    assert_eq!(properties.response_topic().map(|topic| topic.as_str()), Some("r"));
    assert_eq!(properties.correlation_data(), Some(&b"\xFF\x00"[..]));
    assert_eq!(properties.subscription_ids().collect::<Vec<_>>(), [129, 2]);
    assert_eq!(properties.user_properties(), UserProperties::new(&[("k", "1"), ("k", "2")]));
    assert_eq!(properties.iter().count(), 10);
    assert!(!properties.is_empty() && PublishProperties::NONE.is_empty());
    assert_eq!(PublishProperties::NONE.iter().count(), 0);
    assert_eq!(PublishProperties::NONE.message_expiry(), None);
}

/// covers [MQTT-3.3.2-4]: absent, 0 and 1 are three things to forward and two to know.
#[test]
fn the_payload_format() {
    assert!(PublishProperties::new(&[1, 1]).unwrap().payload_is_utf8());
    assert!(!PublishProperties::new(&[1, 0]).unwrap().payload_is_utf8());
    assert!(!PublishProperties::new(&[2, 0, 0, 0, 1]).unwrap().payload_is_utf8());
    assert!(!PublishProperties::NONE.payload_is_utf8());
}

#[test]
fn properties_are_equal_by_content_and_order() {
    let of = |block| PublishProperties::new(block).unwrap();
    assert_eq!(of(&[1, 1, 0x23, 0, 1]), of(&[1, 1, 0x23, 0, 1]));
    assert_ne!(of(&[1, 1, 0x23, 0, 1]), of(&[1, 1, 0x23, 0, 2]));
    assert_ne!(of(&[1, 1, 0x23, 0, 1]), of(&[0x23, 0, 1, 1, 1]));
    assert_ne!(of(&[1, 1]), PublishProperties::NONE);
    assert_eq!(format!("{:?}", of(&[1, 1, 0x23, 0, 1])), "[PayloadIsUtf8(true), TopicAlias(1)]");
}

/// covers [MQTT-3.3.4-6]
#[test]
fn a_client_names_no_subscription() {
    let bytes = packet(0x30, &[&[0, 1, b't', 2, 0x0B, 1]]);
    assert_eq!(refused_from(Sender::Client, Version::V5, &bytes), Violation::SubscriptionIdFromClient);
    for sender in [Sender::Server, Sender::Either] {
        assert!(Publish::decode_from(sender, Version::V5, 0x30, &bytes[2..]).is_ok());
    }
}

/// covers [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
#[test]
fn what_is_forwarded() {
    let mut scratch = vec![0xEE];
    let expected: &[u8] = &[
        0x01, 0x01, 0x03, 0x00, 0x01, b't', 0x26, 0x00, 0x01, b'k', 0x00, 0x01, b'1', 0x08, 0x00, 0x01, b'r',
        0x09, 0x00, 0x02, 0xFF, 0x00, 0x26, 0x00, 0x01, b'k', 0x00, 0x01, b'2',
    ];
    let split = PublishProperties::new(EVERY_PROPERTY).unwrap();
    assert_eq!(split.forwardable(&mut scratch), expected);
    assert_eq!(split.forwardable(&mut scratch), expected, "the scratch is cleared");
    // Nothing to leave out, something at the start, something at the end: a piece of the packet itself.
    let mut untouched = Vec::new();
    for (before, after) in [(&[][..], &[][..]), (&[2, 0, 0, 0, 1][..], &[]), (&[], &[0x23, 0, 1])] {
        let block = [before, expected, after].concat();
        let properties = PublishProperties::new(&block).unwrap();
        let forwarded = properties.forwardable(&mut untouched);
        assert_eq!(forwarded, expected);
        assert_eq!(forwarded.as_ptr(), block[before.len()..].as_ptr(), "borrowed");
    }
    assert!(untouched.is_empty());
    // Nothing that is passed on, and nothing at all.
    let own = PublishProperties::new(&[2, 0, 0, 0, 1, 0x23, 0, 1]).unwrap();
    assert_eq!(own.forwardable(&mut scratch), []);
    assert_eq!(PublishProperties::NONE.forwardable(&mut scratch), []);
}

/// A head and the shared tail are the packet that the plain encoder writes.
#[test]
fn a_head_and_its_tail_are_a_packet() {
    let tail = [0x03, 0x00, 0x01, b't'];
    let payload = [0x55; 200];
    let head = PublishHead {
        qos: QoS::AtLeastOnce,
        topic: b"a/b",
        packet_id: id(0x0102),
        topic_alias: Some(9),
        message_expiry: Some(60),
        subscription_ids: &[1, 300],
        forwarded_len: tail.len(),
        payload_len: payload.len(),
        ..PublishHead::default()
    };
    let mut out = vec![0xAA; 3];
    let id_at = head.encode(Version::V5, &mut out);
    let head_len = out.len() - 3;
    assert_eq!(id_at, Some(8));
    assert_eq!(out[3 + 8..3 + 10], [0x01, 0x02]);
    out.extend_from_slice(&tail);
    out.extend_from_slice(&payload);
    assert_eq!(head.encoded_len(Version::V5), out.len() - 3);
    assert_eq!(out.len() - 3, head_len + tail.len() + payload.len());

    let Packet::Publish(publish) = decoded(Version::V5, &out[3..]) else { panic!("not PUBLISH") };
    assert_eq!(publish.topic.as_bytes(), b"a/b");
    assert_eq!(publish.packet_id, id(0x0102));
    assert_eq!(publish.payload, payload);
    assert_eq!(
        publish.properties.iter().collect::<Vec<_>>(),
        [
            Property::MessageExpiry(60),
            Property::TopicAlias(9),
            Property::SubscriptionId(1),
            Property::SubscriptionId(300),
            Property::ContentType("t")
        ]
    );
}

#[test]
fn a_head_before_version_5_has_no_properties() {
    let head = PublishHead {
        dup: true,
        qos: QoS::ExactlyOnce,
        retain: true,
        topic: b"t",
        packet_id: id(1),
        topic_alias: Some(1),
        message_expiry: Some(1),
        subscription_ids: &[1],
        forwarded_len: 50,
        payload_len: 1,
    };
    for version in [Version::V31, Version::V311] {
        let mut out = Vec::new();
        assert_eq!(head.encode(version, &mut out), Some(5));
        assert_eq!(out, [0x3D, 6, 0, 1, b't', 0, 1]);
        assert_eq!(head.encoded_len(version), out.len() + 1);
    }
}

/// The smallest heads: an alias in place of the topic, 10 bytes at QoS 1.
#[test]
fn small_heads() {
    let head = PublishHead {
        qos: QoS::AtLeastOnce,
        packet_id: id(1),
        topic_alias: Some(1),
        payload_len: 64,
        ..PublishHead::default()
    };
    let mut out = Vec::new();
    head.encode(Version::V5, &mut out);
    assert_eq!(out, [0x32, 72, 0, 0, 0, 1, 3, 0x23, 0, 1]);
    let mut out = Vec::new();
    let head = PublishHead { topic: b"t", payload_len: 1, ..PublishHead::default() };
    assert_eq!(head.encode(Version::V5, &mut out), None, "no packet identifier at QoS 0");
    assert_eq!(out, [0x30, 5, 0, 1, b't', 0]);
}

#[test]
#[should_panic(expected = "within 268,435,460 bytes")]
fn a_packet_above_the_limit_is_our_own_bug() {
    let head = PublishHead { topic: b"t", payload_len: 268_435_455, ..PublishHead::default() };
    assert!(head.encoded_len(Version::V311) > crate::MAX_PACKET as usize);
    head.encode(Version::V311, &mut Vec::new());
}

/// A will's properties, published: the delay stays behind.
#[test]
fn a_will_delay_has_no_place_in_publish() {
    let block = [0x18, 0, 0, 0, 5, 0x03, 0, 1, b't'];
    let properties = PublishProperties::parse(&block, Place::Will).unwrap();
    let mut out = Vec::new();
    Publish { properties, ..plain(b"a", b"") }.encode(Version::V5, &mut out);
    assert_eq!(out, [0x30, 8, 0, 1, b'a', 4, 0x03, 0, 1, b't']);
    assert_eq!(properties.forwardable(&mut Vec::new()), [0x03, 0, 1, b't']);
}
