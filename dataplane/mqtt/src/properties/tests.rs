use super::*;
use crate::fixed_header::{MAX_PACKET, PacketType};
use crate::frame::{Frame, frame};
use crate::packet::decode;
use crate::version::Version;

/// Where a block can stand: the will's, and that of a packet type.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Will,
    In(PacketType),
}

const PLACES: [Place; 14] = {
    use PacketType::*;
    [
        Place::Will,
        Place::In(Connect),
        Place::In(ConnAck),
        Place::In(Publish),
        Place::In(PubAck),
        Place::In(PubRec),
        Place::In(PubRel),
        Place::In(PubComp),
        Place::In(Subscribe),
        Place::In(SubAck),
        Place::In(Unsubscribe),
        Place::In(UnsubAck),
        Place::In(Disconnect),
        Place::In(Auth),
    ]
};

/// A packet with this block in it and everything else in order.
fn packet_with(place: Place, block: &[u8]) -> Vec<u8> {
    let length = [block.len() as u8];
    let connect = |flags: u8, own: &[u8]| [b"\0\x04MQTT\x05", &[flags, 0, 0][..], own, b"\0\x01c"].concat();
    let (first, body) = match place {
        Place::Will => (0x10, [&connect(0x06, &[0]), &length[..], block, b"\0\x01w\0\0"].concat()),
        Place::In(packet_type) => {
            let sized = [&length[..], block].concat();
            let body = match packet_type {
                PacketType::Connect => connect(0x02, &sized),
                PacketType::ConnAck => [&[0, 0], &sized[..]].concat(),
                PacketType::Publish => [b"\0\x01t", &sized[..]].concat(),
                PacketType::Subscribe => [&[0, 1], &sized[..], b"\0\x01a\0"].concat(),
                PacketType::SubAck | PacketType::UnsubAck => [&[0, 1], &sized[..], &[0]].concat(),
                PacketType::Unsubscribe => [&[0, 1], &sized[..], b"\0\x01a"].concat(),
                PacketType::Disconnect | PacketType::Auth => [&[0], &sized[..]].concat(),
                _ => [&[0, 1, 0], &sized[..]].concat(),
            };
            (packet_type.first_byte(), body)
        }
    };
    assert!(body.len() < 128);
    [&[first, body.len() as u8], &body[..]].concat()
}

fn rule(place: Place, block: &[u8]) -> Option<Violation> {
    let bytes = packet_with(place, block);
    let Frame::Complete { header, .. } = frame(&bytes, MAX_PACKET).unwrap() else { panic!("cut") };
    decode(Version::V5, header, &bytes[2..]).err().map(DecodeError::rule)
}

/// One of every property, with a value that is right.
fn every() -> Vec<Property<'static>> {
    vec![
        Property::PayloadIsUtf8(true),
        Property::MessageExpiry(1),
        Property::ContentType("c"),
        Property::ResponseTopic(TopicName::new("r").unwrap()),
        Property::CorrelationData(&[0]),
        Property::SubscriptionId(1),
        Property::SessionExpiry(1),
        Property::AssignedClientId("i"),
        Property::ServerKeepAlive(1),
        Property::AuthenticationMethod("m"),
        Property::AuthenticationData(&[0]),
        Property::RequestProblemInformation(true),
        Property::WillDelay(1),
        Property::RequestResponseInformation(true),
        Property::ResponseInformation("r"),
        Property::ServerReference("s"),
        Property::ReasonString("r"),
        Property::ReceiveMaximum(1),
        Property::TopicAliasMaximum(1),
        Property::TopicAlias(1),
        Property::MaximumQos(QoS::AtLeastOnce),
        Property::RetainAvailable(true),
        Property::User("k", "v"),
        Property::MaximumPacketSize(1),
        Property::WildcardSubscriptionAvailable(true),
        Property::SubscriptionIdsAvailable(true),
        Property::SharedSubscriptionAvailable(true),
    ]
}

/// Table 2-4 of 5.0, written out once more, by property.
fn allowed(id: u8, place: Place) -> bool {
    use PacketType::*;
    const MESSAGE: &[Place] = &[Place::Will, Place::In(Publish)];
    const REASON_STRING: [PacketType; 9] =
        [ConnAck, PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck, Disconnect, Auth];
    match id {
        0x01 | 0x02 | 0x03 | 0x08 | 0x09 => MESSAGE.contains(&place),
        0x0B => [Place::In(Publish), Place::In(Subscribe)].contains(&place),
        0x11 => [Place::In(Connect), Place::In(ConnAck), Place::In(Disconnect)].contains(&place),
        0x15 | 0x16 => [Place::In(Connect), Place::In(ConnAck), Place::In(Auth)].contains(&place),
        0x17 | 0x19 => place == Place::In(Connect),
        0x18 => place == Place::Will,
        0x1C => [Place::In(ConnAck), Place::In(Disconnect)].contains(&place),
        0x1F => REASON_STRING.iter().any(|&packet| place == Place::In(packet)),
        0x21 | 0x22 | 0x27 => [Place::In(Connect), Place::In(ConnAck)].contains(&place),
        0x23 => place == Place::In(Publish),
        0x12 | 0x13 | 0x1A | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => place == Place::In(ConnAck),
        0x26 => true,
        _ => unreachable!("not an identifier: {id:#x}"),
    }
}

/// Every property in every packet: allowed or refused as the table says; twice only where that is allowed; cut at
/// every byte refused.
#[test]
fn every_property_in_every_packet() {
    for place in PLACES {
        for property in every() {
            // Two properties need company: an AUTH needs its method, authentication data anywhere does.
            let mut block = Vec::new();
            let company = place == Place::In(PacketType::Auth) || property.id() == id::AUTHENTICATION_DATA;
            if company
                && property.id() != id::AUTHENTICATION_METHOD
                && allowed(id::AUTHENTICATION_METHOD, place)
            {
                Property::AuthenticationMethod("m").encode(&mut block);
            }
            let start = block.len();
            property.encode(&mut block);
            let expected = (!allowed(property.id(), place)).then_some(Violation::PropertyNotAllowed);
            assert_eq!(rule(place, &block), expected, "{property:?} in {place:?}");
            if expected.is_some() {
                continue;
            }
            for cut in start + 1..block.len() {
                assert_eq!(rule(place, &block[..cut]), Some(Violation::Truncated), "{property:?} at {cut}");
            }
            property.encode(&mut block);
            let repeatable = property.id() == id::USER_PROPERTY
                || (property.id() == id::SUBSCRIPTION_ID && place == Place::In(PacketType::Publish));
            let expected = (!repeatable).then_some(Violation::PropertyRepeated);
            assert_eq!(rule(place, &block), expected, "{property:?} twice in {place:?}");
        }
    }
}

#[test]
fn reading_writing_and_stepping_over_agree() {
    for property in every() {
        let mut bytes = Vec::new();
        property.encode(&mut bytes);
        assert_eq!(bytes[0], property.id());
        let length = bytes.len();
        bytes.extend_from_slice(&[0xEE; 3]);
        let mut reader = Reader::new(&bytes);
        assert_eq!(Property::read(&mut reader), Ok(property));
        assert_eq!(reader.rest().len(), 3);
        let mut reader = Reader::new(&bytes);
        assert_eq!(skip(&mut reader), property.id());
        assert_eq!(bytes.len() - reader.rest().len(), length, "{property:?}");
    }
}

#[test]
fn identifiers_that_are_not_there() {
    let known: Vec<u8> = every().iter().map(Property::id).collect();
    assert_eq!(known.len(), 27);
    for byte in 0..=u8::MAX {
        if !known.contains(&byte) {
            for place in PLACES {
                assert_eq!(rule(place, &[byte, 0, 0, 0, 0]), Some(Violation::PropertyUnknown), "{byte:#x}");
            }
        }
    }
}

/// covers [MQTT-3.3.2-8] [MQTT-3.3.2-13] [MQTT-3.3.2-14] [MQTT-3.3.2-19] [MQTT-1.5.7-1] [MQTT-1.5.5-1]
#[test]
fn values_that_cannot_be() {
    let publish = |block: &[u8]| rule(Place::In(PacketType::Publish), block);
    assert_eq!(publish(&[0x01, 2]), Some(Violation::PropertyNotBoolean));
    assert_eq!(publish(&[0x23, 0, 0]), Some(Violation::TopicAliasZero));
    assert_eq!(publish(&[0x0B, 0]), Some(Violation::SubscriptionIdZero));
    assert_eq!(publish(&[0x0B, 0x81, 0x00]), Some(Violation::VariableIntegerNotMinimal));
    assert_eq!(publish(&[0x0B, 0xFF, 0xFF, 0xFF, 0xFF]), Some(Violation::VariableIntegerTooLong));
    for topic in [&b"\0\x01#"[..], b"\0\x03a/+", b"\0\0"] {
        assert_eq!(publish(&[&[0x08], topic].concat()), Some(Violation::ResponseTopicInvalid));
    }
    for text in [&b"\0\x01\xFF"[..], b"\0\x02\xC0\x80"] {
        for head in [&[0x03][..], &[0x08], &[0x26], &[0x26, 0, 1, b'k']] {
            assert_eq!(publish(&[head, text, b"\0\0"].concat()), Some(Violation::StringNotUtf8));
        }
    }
    assert_eq!(publish(b"\x03\0\x01\0"), Some(Violation::StringHasNull));
    assert_eq!(publish(b"\x26\0\x01k\0\x01\0"), Some(Violation::StringHasNull));
    assert_eq!(publish(b"\x08\0\x01\0"), Some(Violation::StringHasNull));
    let connect = |block: &[u8]| rule(Place::In(PacketType::Connect), block);
    assert_eq!(connect(&[0x21, 0, 0]), Some(Violation::ReceiveMaximumZero));
    assert_eq!(connect(&[0x27, 0, 0, 0, 0]), Some(Violation::MaximumPacketSizeZero));
    assert_eq!(connect(&[0x17, 2]), Some(Violation::PropertyNotBoolean));
    assert_eq!(connect(&[0x19, 0xFF]), Some(Violation::PropertyNotBoolean));
    assert_eq!(connect(&[0x22, 0, 0]), None, "a topic alias maximum of 0 is a value like others");
    assert_eq!(connect(&[0x11, 0, 0, 0, 0]), None);
}

#[test]
fn a_length_beyond_the_packet() {
    for place in
        [Place::In(PacketType::ConnAck), Place::In(PacketType::PubAck), Place::In(PacketType::Disconnect)]
    {
        let mut bytes = packet_with(place, &[]);
        *bytes.last_mut().unwrap() = 1;
        let Frame::Complete { header, .. } = frame(&bytes, MAX_PACKET).unwrap() else { panic!("cut") };
        let error = decode(Version::V5, header, &bytes[2..]).unwrap_err();
        assert_eq!(error.rule(), Violation::PropertyLengthOverrun, "{place:?}");
    }
}

#[test]
fn user_properties_of_a_list_and_of_a_packet() {
    let pairs = [("a", "1"), ("", ""), ("a", "2")];
    let list = UserProperties::new(&pairs);
    let mut block = Vec::new();
    for (index, &(name, value)) in pairs.iter().enumerate() {
        Property::ReceiveMaximum(index as u16 + 1).encode(&mut block);
        Property::User(name, value).encode(&mut block);
    }
    Property::ServerReference("s").encode(&mut block);
    let decoded = UserProperties::of_block(&block, 1 << id::USER_PROPERTY);
    assert_eq!(decoded, list);
    assert_eq!(decoded.iter().collect::<Vec<_>>(), pairs);
    assert!(!decoded.is_empty() && UserProperties::NONE.is_empty());
    assert_eq!(UserProperties::of_block(&block, 0), UserProperties::NONE);
    assert_ne!(decoded, UserProperties::new(&pairs[..2]));
    assert_eq!(format!("{list:?}"), r#"[("a", "1"), ("", ""), ("a", "2")]"#);
}
