use super::*;
use crate::golden::{decoded, golden, packet, refused};
use crate::packet::Packet;

fn entry(filter: &str, options: SubscribeOptions) -> Subscription<'_> {
    Subscription { filter: RawFilter::new(filter).unwrap(), options }
}

fn subscribe<'a>(list: &'a [Subscription<'a>]) -> Subscribe<'a> {
    Subscribe::new(PacketId::new(10).unwrap(), list)
}

/// The standard's own example: a/b at QoS 1, c/d at QoS 2, packet identifier 10.
#[test]
fn the_example_of_the_standard() {
    let filter = |text| RawFilter::new(text).unwrap();
    let list = [
        Subscription::new(filter("a/b"), QoS::AtLeastOnce),
        Subscription::new(filter("c/d"), QoS::ExactlyOnce),
    ];
    let payload = b"\0\x03a/b\x01\0\x03c/d\x02";
    golden(Version::V31, Packet::Subscribe(subscribe(&list)), &packet(0x82, &[&[0, 10], payload]));
    golden(Version::V311, Packet::Subscribe(subscribe(&list)), &packet(0x82, &[&[0, 10], payload]));
    golden(Version::V5, Packet::Subscribe(subscribe(&list)), &packet(0x82, &[&[0, 10, 0], payload]));
}

#[test]
fn options_and_properties_of_version_5() {
    let options = SubscribeOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let list = [entry("a", options)];
    let packet_5 = Subscribe {
        subscription_id: Some(268_435_455),
        user_properties: UserProperties::new(&[("k", "v")]),
        ..subscribe(&list)
    };
    let block = [0x0B, 0xFF, 0xFF, 0xFF, 0x7F, 0x26, 0, 1, b'k', 0, 1, b'v'];
    let bytes = packet(0x82, &[&[0, 10, block.len() as u8], &block, b"\0\x01a\x2E"]);
    golden(Version::V5, Packet::Subscribe(packet_5), &bytes);
    // 3.x has none of it.
    let mut out = Vec::new();
    packet_5.encode(Version::V311, &mut out);
    assert_eq!(out, packet(0x82, &[&[0, 10], b"\0\x01a\x02"]));
}

/// covers [MQTT-3.8.3-5] [MQTT311-3.8.3-4]: all 256 bytes in each version.
#[test]
fn every_options_byte() {
    for byte in 0..=u8::MAX {
        let got = SubscribeOptions::from_byte(Version::V5, byte).map_err(DecodeError::rule);
        let expected = if byte & 0xC0 != 0 {
            Err(Violation::SubscribeReservedBits)
        } else if byte & 3 == 3 {
            Err(Violation::SubscribeQos3)
        } else if byte & 0x30 == 0x30 {
            Err(Violation::RetainHandling3)
        } else {
            Ok(byte)
        };
        assert_eq!(got.map(|options| options.to_byte(Version::V5)), expected, "{byte:#x}");
        for version in [Version::V31, Version::V311] {
            let got = SubscribeOptions::from_byte(version, byte).map_err(DecodeError::rule);
            let expected = match byte {
                0..=2 => Ok(byte),
                3 => Err(Violation::SubscribeQos3),
                _ => Err(Violation::SubscribeReservedBits),
            };
            assert_eq!(got.map(|options| options.to_byte(version)), expected, "{byte:#x}");
        }
    }
}

/// covers [MQTT-3.8.3-1] [MQTT-3.8.3-2] [MQTT-3.8.3-4] [MQTT311-3.8.3-1] [MQTT311-3.8.3-3]
#[test]
fn what_is_refused() {
    let rule = |payload: &[u8]| refused(Version::V311, &packet(0x82, &[&[0, 10], payload]));
    assert_eq!(rule(b""), Violation::SubscribeEmpty);
    assert_eq!(rule(b"\0\x01a"), Violation::Truncated);
    assert_eq!(rule(b"\0\x01a\0\0"), Violation::Truncated);
    assert_eq!(rule(b"\0\x01\xFF\0"), Violation::StringNotUtf8);
    assert_eq!(rule(b"\0\x01a\0\0\x01\0\0"), Violation::StringHasNull, "the second entry counts too");
    assert_eq!(refused(Version::V311, &[0x82, 2, 0, 0]), Violation::PacketIdZero);
    let rule = |block: &[u8], payload: &[u8]| {
        refused(Version::V5, &packet(0x82, &[&[0, 10, block.len() as u8], block, payload]))
    };
    assert_eq!(rule(&[], b""), Violation::SubscribeEmpty);
    assert_eq!(rule(&[], b"\0\x0A$share/g/a\x04"), Violation::NoLocalOnShared);
    assert_eq!(rule(&[0x0B, 0], b"\0\x01a\0"), Violation::SubscriptionIdZero);
    assert_eq!(rule(&[0x0B, 1, 0x0B, 1], b"\0\x01a\0"), Violation::PropertyRepeated);
    assert_eq!(rule(&[0x1F, 0, 0], b"\0\x01a\0"), Violation::PropertyNotAllowed);
}

/// covers [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1]: what breaks the grammar alone is answered filter by filter.
#[test]
fn a_filter_with_a_wrong_wildcard_is_kept() {
    let bytes = packet(0x82, &[&[0, 10], b"\0\x01a\0\0\x02#a\x01\0\0\x02\0\x02a+\x02"]);
    let Packet::Subscribe(subscribe) = decoded(Version::V311, &bytes) else { panic!("not SUBSCRIBE") };
    let rules: Vec<_> = subscribe
        .subscriptions
        .iter()
        .map(|entry| entry.filter.check().err().map(DecodeError::rule))
        .collect();
    assert_eq!(
        rules,
        [
            None,
            Some(Violation::FilterMultiLevelWildcard),
            Some(Violation::FilterEmpty),
            Some(Violation::FilterSingleLevelWildcard)
        ]
    );
}

#[test]
fn lists_are_equal_by_their_entries() {
    let list = [entry("a", SubscribeOptions::default()), entry("b", SubscribeOptions::new(QoS::AtLeastOnce))];
    let whole = Subscriptions::new(&list);
    let bytes = packet(0x82, &[&[0, 10], b"\0\x01a\x00\0\x01b\x01"]);
    let Packet::Subscribe(decoded) = decoded(Version::V311, &bytes) else { panic!("not SUBSCRIBE") };
    assert_eq!(decoded.subscriptions, whole);
    assert_ne!(decoded.subscriptions, Subscriptions::new(&list[..1]));
    assert_ne!(decoded.subscriptions, Subscriptions::new(&[list[0], list[0]]));
    assert_eq!(format!("{:?}", decoded.subscriptions), format!("{list:?}"));
}
