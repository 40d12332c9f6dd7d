//! For every rule a packet that breaks it, with the code the standard gives it written out once more.

use std::collections::BTreeSet;

use pelton_mqtt::{DecodeError, Frame, Packet, Sender, Version, Violation, decode_from, frame};

/// The largest packet these tests accept.
const MAX_PACKET: u32 = 100;

const V31: Version = Version::V31;
const V311: Version = Version::V311;
const V5: Version = Version::V5;

/// Judges bytes as a receiver does that also checks topics and filters.
fn judge(sender: Sender, version: Version, bytes: &[u8]) -> Result<(), DecodeError> {
    let (header, total) = match frame(bytes, MAX_PACKET)? {
        Frame::Complete { header, total } => (header, total),
        Frame::Partial { .. } => panic!("not whole: {bytes:02x?}"),
    };
    assert_eq!(total, bytes.len(), "one packet: {bytes:02x?}");
    match decode_from(sender, version, header, &bytes[usize::from(header.header_len)..])? {
        Packet::Publish(publish) if !publish.topic.is_empty() || !version.is_v5() => {
            publish.topic.check()?;
        }
        Packet::Subscribe(subscribe) => {
            for entry in subscribe.subscriptions {
                entry.filter.check()?;
            }
        }
        Packet::Unsubscribe(unsubscribe) => {
            for filter in unsubscribe.filters {
                filter.check()?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// First byte, remaining length, body.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 0x80);
    [&[first, body.len() as u8], body].concat()
}

/// A CONNECT of version 5 with these flags and properties, and what follows them.
fn connect_v5(flags: u8, block: &[u8], payload: &[u8]) -> Vec<u8> {
    packet(0x10, &[b"\0\x04MQTT\x05", &[flags, 0, 60, block.len() as u8][..], block, payload].concat())
}

/// A CONNECT of version 3.1.1.
fn connect_v311(flags: u8, payload: &[u8]) -> Vec<u8> {
    packet(0x10, &[b"\0\x04MQTT\x04", &[flags, 0, 60][..], payload].concat())
}

/// A version 5 PUBLISH at QoS 0 to `t`.
fn publish_v5(block: &[u8]) -> Vec<u8> {
    packet(0x30, &[b"\0\x01t", &[block.len() as u8][..], block].concat())
}

/// A version 5 SUBSCRIBE.
fn subscribe_v5(block: &[u8], payload: &[u8]) -> Vec<u8> {
    packet(0x82, &[&[0, 1, block.len() as u8][..], block, payload].concat())
}

/// A version 3.1.1 SUBSCRIBE to one filter.
fn subscribe_v311(filter: &[u8]) -> Vec<u8> {
    packet(0x82, &[&[0, 1, 0, filter.len() as u8][..], filter, &[0]].concat())
}

/// Rule, code, version, the side it comes from, packet.
fn vectors() -> Vec<(Violation, u8, Version, Sender, Vec<u8>)> {
    use Sender::{Client, Either, Server};
    use Violation::*;
    vec![
        // Fixed header and framing.
        (PacketTypeReserved, 0x81, V5, Client, vec![0x00, 0]),
        (PacketTypeReserved, 0x81, V311, Client, vec![0x0F, 0]),
        (AuthBeforeV5, 0x81, V311, Client, vec![0xF0, 0]),
        (AuthBeforeV5, 0x81, V31, Server, vec![0xF0, 0]),
        (FixedHeaderFlags, 0x81, V5, Client, packet(0x11, b"")),
        (FixedHeaderFlags, 0x81, V311, Client, packet(0x60, &[0, 1])), // [MQTT-3.6.1-1]
        (FixedHeaderFlags, 0x81, V311, Client, packet(0x6A, &[0, 1])), // DUP, as in 3.1
        (FixedHeaderFlags, 0x81, V5, Client, packet(0x80, b"\0\x01\0\0\x01a\0")), // [MQTT-3.8.1-1]
        (FixedHeaderFlags, 0x81, V5, Client, packet(0xA0, b"\0\x01\0\0\x01a")), // [MQTT-3.10.1-1]
        (FixedHeaderFlags, 0x81, V5, Client, packet(0xE1, b"")),       // [MQTT-3.14.1-1]
        (FixedHeaderFlags, 0x81, V5, Client, packet(0xF8, b"")),       // [MQTT-3.15.1-1]
        (FixedHeaderFlags, 0x81, V311, Client, packet(0xC2, b"")),
        (VariableIntegerTooLong, 0x81, V311, Client, vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x00]),
        (VariableIntegerTooLong, 0x81, V5, Client, publish_v5(&[0x0B, 0x80, 0x80, 0x80, 0x80, 0x01])),
        (VariableIntegerTooLong, 0x81, V5, Client, packet(0x30, b"\0\x01t\x80\x80\x80\x80\x00")),
        (VariableIntegerNotMinimal, 0x81, V5, Client, vec![0xC0, 0x80, 0x00]),
        (VariableIntegerNotMinimal, 0x81, V5, Client, packet(0x30, b"\0\x01t\x80\x00")),
        (PacketTooLarge, 0x95, V5, Client, vec![0x30, 0x63]),
        (PacketTooLarge, 0x95, V311, Client, vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F]),
        (WrongSender, 0x82, V5, Client, packet(0x20, &[0, 0, 0])),
        (WrongSender, 0x82, V311, Server, packet(0xE0, b"")),
        // Fields.
        (Truncated, 0x81, V311, Client, packet(0x30, &[0])),
        (Truncated, 0x81, V311, Client, packet(0x40, &[1])),
        (Truncated, 0x81, V5, Client, connect_v5(0x02, &[], b"\0\x05c")),
        (Truncated, 0x81, V5, Client, publish_v5(&[0x02, 0, 0])),
        (TrailingBytes, 0x81, V311, Client, packet(0x40, &[0, 1, 0])),
        (TrailingBytes, 0x81, V5, Client, packet(0xC0, &[0])),
        (TrailingBytes, 0x81, V311, Client, connect_v311(0x02, b"\0\x01c\0")),
        (StringNotUtf8, 0x81, V5, Client, connect_v5(0x02, &[], b"\0\x03\xED\xA0\x80")),
        (StringNotUtf8, 0x81, V311, Client, packet(0x30, b"\0\x02\xC0\x80")),
        (StringNotUtf8, 0x81, V5, Client, publish_v5(b"\x03\0\x01\xFF")),
        (StringHasNull, 0x81, V311, Client, packet(0x30, b"\0\x02a\0")),
        (StringHasNull, 0x81, V5, Client, subscribe_v5(&[], b"\0\x01\0\0")),
        (PacketIdZero, 0x82, V5, Client, packet(0x32, b"\0\x01t\0\0\0")),
        (PacketIdZero, 0x82, V311, Client, packet(0x62, &[0, 0])),
        // Topic names and filters.
        (TopicEmpty, 0x82, V5, Client, packet(0x30, &[0, 0, 0])),
        (TopicEmpty, 0x82, V311, Client, packet(0x30, &[0, 0])),
        (TopicEmpty, 0x82, V5, Client, connect_v5(0x06, &[], b"\0\x01c\0\0\0\0\0")),
        (TopicWildcard, 0x90, V5, Client, packet(0x30, b"\0\x03a/#\0")),
        (TopicWildcard, 0x90, V5, Client, connect_v5(0x06, &[], b"\0\x01c\0\0\x01+\0\0")),
        (FilterEmpty, 0x8F, V311, Client, subscribe_v311(b"")),
        (FilterMultiLevelWildcard, 0x8F, V311, Client, subscribe_v311(b"a/#/b")),
        (FilterSingleLevelWildcard, 0x8F, V5, Client, packet(0xA2, b"\0\x01\0\0\x02a+")),
        (FilterShareForm, 0x8F, V5, Client, subscribe_v5(&[], b"\0\x08$share/g\0")),
        (FilterShareForm, 0x8F, V5, Client, subscribe_v5(&[], b"\0\x0B$share/g+/a\0")),
        // Properties.
        (PropertyLengthOverrun, 0x81, V5, Client, packet(0x30, b"\0\x01t\x05\x01")),
        (PropertyUnknown, 0x81, V5, Client, publish_v5(&[0x04, 0])),
        (PropertyUnknown, 0x81, V5, Client, publish_v5(&[0x81, 0x00, 0])),
        (PropertyNotAllowed, 0x81, V5, Client, publish_v5(&[0x11, 0, 0, 0, 1])),
        (PropertyNotAllowed, 0x81, V5, Client, connect_v5(0x02, &[0x23, 0, 1], b"\0\x01c")),
        (PropertyRepeated, 0x82, V5, Client, publish_v5(&[0x01, 1, 0x01, 1])),
        (PropertyRepeated, 0x82, V5, Client, subscribe_v5(&[0x0B, 1, 0x0B, 2], b"\0\x01a\0")),
        (PropertyNotBoolean, 0x82, V5, Client, publish_v5(&[0x01, 2])),
        (PropertyNotBoolean, 0x82, V5, Server, packet(0x20, &[0, 0, 2, 0x24, 2])),
        (ReceiveMaximumZero, 0x82, V5, Client, connect_v5(0x02, &[0x21, 0, 0], b"\0\x01c")),
        (MaximumPacketSizeZero, 0x82, V5, Server, packet(0x20, &[0, 0, 5, 0x27, 0, 0, 0, 0])),
        (TopicAliasZero, 0x94, V5, Client, publish_v5(&[0x23, 0, 0])),
        (SubscriptionIdZero, 0x82, V5, Server, publish_v5(&[0x0B, 0])),
        (SubscriptionIdZero, 0x82, V5, Client, subscribe_v5(&[0x0B, 0], b"\0\x01a\0")),
        (SubscriptionIdFromClient, 0x82, V5, Client, publish_v5(&[0x0B, 1])),
        (ResponseTopicInvalid, 0x82, V5, Client, publish_v5(b"\x08\0\x01#")),
        (AuthDataWithoutMethod, 0x82, V5, Client, connect_v5(0x02, &[0x16, 0, 0], b"\0\x01c")),
        (AuthMethodMissing, 0x82, V5, Client, packet(0xF0, &[0x18, 0])),
        (SessionExpiryFromServer, 0x82, V5, Server, packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 1])),
        // CONNECT and CONNACK.
        (ProtocolName, 0x84, V5, Client, packet(0x10, b"\0\x04MQTX\x05\x02\0\0\0\0\0")),
        (ProtocolLevel, 0x84, V5, Client, packet(0x10, b"\0\x04MQTT\x06\x02\0\0\0\0\0")),
        (ProtocolLevel, 0x84, V311, Client, packet(0x10, b"\0\x06MQIsdp\x04\x02\0\0\0\x01c")),
        (ConnectFlagReserved, 0x81, V5, Client, connect_v5(0x03, &[], b"\0\x01c")),
        (WillQos3, 0x81, V5, Client, connect_v5(0x1E, &[], b"\0\x01c\0\0\x01w\0\0")),
        (WillFlagsWithoutWill, 0x82, V5, Client, connect_v5(0x22, &[], b"\0\x01c")),
        (WillFlagsWithoutWill, 0x82, V5, Client, connect_v5(0x0A, &[], b"\0\x01c")),
        (PasswordWithoutUserName, 0x82, V311, Client, connect_v311(0x42, b"\0\x01c\0\x01p")),
        (ClientIdEmpty, 0x85, V311, Client, connect_v311(0x00, b"\0\0")),
        (ConnAckFlagsReserved, 0x81, V5, Server, packet(0x20, &[2, 0, 0])),
        (SessionPresentOnRefusal, 0x82, V5, Server, packet(0x20, &[1, 0x87, 0])),
        (ReturnCodeReserved, 0x82, V311, Server, packet(0x20, &[0, 6])),
        (ReturnCodeReserved, 0x82, V311, Server, packet(0x90, &[0, 1, 3])),
        (ReasonCodeNotAllowed, 0x82, V5, Server, packet(0x20, &[0, 0x91, 0])), // [MQTT-3.2.2-8]
        (ReasonCodeNotAllowed, 0x82, V5, Client, packet(0x40, &[0, 1, 0x92])), // [MQTT-3.4.2-1]
        (ReasonCodeNotAllowed, 0x82, V5, Client, packet(0x50, &[0, 1, 0x01])), // [MQTT-3.5.2-1]
        (ReasonCodeNotAllowed, 0x82, V5, Client, packet(0x62, &[0, 1, 0x10])), // [MQTT-3.6.2-1]
        (ReasonCodeNotAllowed, 0x82, V5, Client, packet(0x70, &[0, 1, 0x80])), // [MQTT-3.7.2-1]
        (ReasonCodeNotAllowed, 0x82, V5, Server, packet(0x90, &[0, 1, 0, 0x81])), // [MQTT-3.9.3-2]
        (ReasonCodeNotAllowed, 0x82, V5, Server, packet(0xB0, &[0, 1, 0, 0x02])), // [MQTT-3.11.3-2]
        (ReasonCodeNotAllowed, 0x82, V5, Either, packet(0xE0, &[0x84])),       // [MQTT-3.14.2-1]
        (ReasonCodeNotAllowed, 0x82, V5, Either, packet(0xF0, &[0x80, 0])),    // [MQTT-3.15.2-1]
        // PUBLISH.
        (PublishQos3, 0x81, V5, Client, packet(0x36, b"\0\x01t\0\x01\0")),
        (PublishQos3, 0x81, V311, Server, packet(0x3F, b"\0\x01t\0\x01")),
        (DupOnQos0, 0x81, V5, Client, packet(0x38, b"\0\x01t\0")),
        // SUBSCRIBE, UNSUBSCRIBE and their acknowledgements.
        (SubscribeEmpty, 0x82, V5, Client, subscribe_v5(&[], b"")),
        (SubscribeEmpty, 0x82, V311, Client, packet(0x82, &[0, 1])),
        (UnsubscribeEmpty, 0x82, V5, Client, packet(0xA2, &[0, 1, 0])),
        (SubscribeReservedBits, 0x81, V5, Client, subscribe_v5(&[], b"\0\x01a\x40")),
        (SubscribeReservedBits, 0x81, V311, Client, packet(0x82, b"\0\x01\0\x01a\x04")),
        (SubscribeQos3, 0x82, V5, Client, subscribe_v5(&[], b"\0\x01a\x03")),
        (RetainHandling3, 0x82, V5, Client, subscribe_v5(&[], b"\0\x01a\x30")),
        (NoLocalOnShared, 0x82, V5, Client, subscribe_v5(&[], b"\0\x0A$share/g/a\x04")),
        (ReasonCodesEmpty, 0x82, V5, Server, packet(0x90, &[0, 1, 0])),
        (ReasonCodesEmpty, 0x82, V5, Server, packet(0xB0, &[0, 1, 0])),
    ]
}

#[test]
fn every_rule_has_a_packet_that_breaks_it() {
    let mut broken = BTreeSet::new();
    for (rule, code, version, sender, bytes) in vectors() {
        match judge(sender, version, &bytes) {
            Ok(()) => panic!("accepted, though it breaks {rule:?}: {bytes:02x?}"),
            Err(error) => {
                assert_eq!(error.rule(), rule, "{bytes:02x?}");
                assert_eq!(error.reason() as u8, code, "{rule:?}");
            }
        }
        broken.insert(rule);
    }
    let missing: Vec<_> = Violation::ALL.iter().filter(|rule| !broken.contains(rule)).collect();
    assert!(missing.is_empty(), "rules without a red case: {missing:?}");
}

/// The same packets with the fault taken out, so that it is the fault that is refused and nothing beside it.
#[test]
fn the_same_packets_without_the_fault_are_accepted() {
    use Sender::{Client, Either, Server};
    let right: Vec<(Version, Sender, Vec<u8>)> = vec![
        (V31, Client, packet(0x6A, &[0, 1])),
        (V311, Client, vec![0xC0, 0x80, 0x00]),
        (V5, Client, packet(0xF0, &[0x18, 4, 0x15, 0, 1, b'm'])),
        (V5, Client, packet(0x62, &[0, 1])),
        (V5, Client, connect_v5(0x02, &[], b"\0\x01c")),
        (V5, Client, connect_v5(0x06, &[], b"\0\x01c\0\0\x01w\0\0")),
        (V5, Client, connect_v5(0x02, &[0x15, 0, 0, 0x16, 0, 0, 0x21, 0, 1, 0x27, 0, 0, 0, 1], b"\0\x01c")),
        (V5, Client, connect_v5(0x42, &[], b"\0\x01c\0\x01p")),
        (V311, Client, connect_v311(0x02, b"\0\0")),
        (V311, Client, connect_v311(0x36, b"\0\x01c\0\x01w\0\0")),
        (V5, Client, publish_v5(&[0x01, 1, 0x02, 0, 0, 0, 1, 0x23, 0, 1])),
        (V5, Server, publish_v5(&[0x0B, 1, 0x0B, 2])),
        (V5, Client, packet(0x3C, b"\0\x01t\0\x01\0")),
        (V5, Client, subscribe_v5(&[0x0B, 1], b"\0\x0A$share/g/a\x2A")),
        (V311, Client, packet(0xA2, b"\0\x01\0\x03a/+")),
        (V5, Server, packet(0x20, &[1, 0, 2, 0x24, 1])),
        (V5, Server, packet(0x90, &[0, 1, 0, 0x87])),
        (V5, Server, packet(0xB0, &[0, 1, 0, 0x11])),
        (V5, Client, packet(0xE0, &[4, 5, 0x11, 0, 0, 0, 1])),
        (V5, Server, packet(0xE0, &[0x8B])),
        (V5, Either, packet(0xF0, b"")),
    ];
    for (version, sender, bytes) in right {
        assert_eq!(judge(sender, version, &bytes), Ok(()), "{bytes:02x?}");
    }
}

/// The list of rules as a table, one line each: what documents are made from.
#[test]
fn the_rules_make_a_table() {
    let table: Vec<String> = Violation::ALL
        .iter()
        .map(|rule| {
            let reason = rule.reason();
            format!(
                "| {} | 0x{:02x} {} | {} | {} |",
                rule.name(),
                reason as u8,
                reason.name(),
                rule.help(),
                rule.citation()
            )
        })
        .collect();
    assert_eq!(table.len(), Violation::ALL.len());
    assert!(table.iter().all(|line| line.matches('|').count() == 5 && line.is_ascii()));
}
