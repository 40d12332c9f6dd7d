//! What is written is what is read, for every packet type and version.

use pelton_mqtt::{
    Frame, MAX_PACKET, Packet, PacketId, PacketType, Property, Publish, PublishHead, Sender, Version, decode,
    frame,
};
use proptest::prelude::*;

use crate::corpus::{Seed, with_packet};
use crate::examine::examine;

fn seed() -> impl Strategy<Value = Seed> {
    let text = prop_oneof![
        4 => "[a-z/]{0,12}",
        2 => "[a-z/+#$ü\u{FEFF}]{0,12}",
        1 => "\\PC{0,24}",
        1 => Just("$share/g/a".to_owned()),
    ];
    let bytes = prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => proptest::collection::vec(any::<u8>(), 100..300),
        1 => Just(vec![0x55; 20_000]),
    ];
    let number = prop_oneof![0..4u32, 0..70_000u32, any::<u32>()];
    (
        proptest::collection::vec(text, 0..6),
        proptest::collection::vec(bytes, 0..4),
        proptest::collection::vec(number, 0..8),
        any::<u64>(),
    )
        .prop_map(|(strings, blobs, numbers, bits)| Seed { strings, blobs, numbers, bits })
}

/// Decodes one packet at the start of a stream.
fn first_packet(version: Version, stream: &[u8]) -> (Packet<'_>, usize) {
    match frame(stream, MAX_PACKET) {
        Ok(Frame::Complete { header, total }) => {
            let body = &stream[usize::from(header.header_len)..total];
            (decode(version, header, body).unwrap_or_else(|error| panic!("{error}: {stream:02x?}")), total)
        }
        other => panic!("{other:?}: {stream:02x?}"),
    }
}

proptest! {
    /// Encoded, decoded, the same; of the length that was announced; and the bytes behind it do not matter.
    #[test]
    fn every_packet_comes_back(seed in seed(), behind in proptest::collection::vec(any::<u8>(), 0..9)) {
        for version in Version::ALL {
            for packet_type in PacketType::ALL {
                with_packet(&seed, packet_type, version, |packet| {
                    prop_assert_eq!(packet.packet_type(), packet_type);
                    let mut stream = Vec::new();
                    packet.encode(version, &mut stream);
                    let length = stream.len();
                    prop_assert_eq!(packet.encoded_len(version), length);
                    stream.extend_from_slice(&behind);
                    let (decoded, total) = first_packet(version, &stream);
                    prop_assert_eq!(decoded, packet);
                    prop_assert_eq!(total, length);
                    Ok(())
                }).transpose()?;
            }
        }
    }

    /// A packet that arrives byte by byte is partial until its last byte, says its length as soon as the fixed header
    /// is there, and is then the packet it was.
    #[test]
    fn a_packet_cut_at_every_byte(seed in seed()) {
        for version in Version::ALL {
            for packet_type in PacketType::ALL {
                with_packet(&seed, packet_type, version, |packet| {
                    let mut bytes = Vec::new();
                    packet.encode(version, &mut bytes);
                    let header_len = 1 + bytes[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
                    let step = (bytes.len() / 200).max(1);
                    for cut in (0..header_len + 2).chain((0..bytes.len()).step_by(step)).filter(|&cut| cut < bytes.len()) {
                        let total = (cut >= header_len).then_some(bytes.len());
                        prop_assert_eq!(frame(&bytes[..cut], MAX_PACKET), Ok(Frame::Partial { total }));
                    }
                    prop_assert_eq!(first_packet(version, &bytes).0, packet);
                    Ok(())
                }).transpose()?;
            }
        }
    }

    /// Any bytes, under any first byte, in any version, from either side.
    #[test]
    fn arbitrary_bytes_do_no_harm(mut bytes in proptest::collection::vec(any::<u8>(), 2..160), cut in any::<bool>()) {
        if !cut {
            bytes[1] = (bytes.len() - 2).min(127) as u8;
        }
        for version in Version::ALL {
            for sender in [Sender::Client, Sender::Server, Sender::Either] {
                examine(sender, version, &bytes);
            }
        }
    }

    /// A body is judged by itself: what stands before and behind it in the buffer is not looked at.
    #[test]
    fn nothing_is_read_beyond_the_packet(seed in seed(), first in any::<u8>(), last in any::<u8>()) {
        for version in Version::ALL {
            for packet_type in PacketType::ALL {
                with_packet(&seed, packet_type, version, |packet| {
                    let mut buffer = vec![first; 3];
                    packet.encode(version, &mut buffer);
                    let end = buffer.len();
                    buffer.extend([last; 5]);
                    let Ok(Frame::Complete { header, total }) = frame(&buffer[3..end], MAX_PACKET) else {
                        panic!("not whole");
                    };
                    let start = 3 + usize::from(header.header_len);
                    prop_assert_eq!(3 + total, end);
                    prop_assert_eq!(decode(version, header, &buffer[start..end]), Ok(packet));
                    // Cut short, it is refused or another packet, never the same with bytes from behind.
                    if end > start {
                        let shorter = pelton_mqtt::FixedHeader { remaining: header.remaining - 1, ..header };
                        let decoded = decode(version, shorter, &buffer[start..end - 1]);
                        prop_assert_ne!(decoded, Ok(packet));
                    }
                    Ok(())
                }).transpose()?;
            }
        }
    }

    /// One message for many receivers: each head with the shared tail behind it is a packet that says what the head
    /// says and what was forwarded, and a copy with another packet identifier is that packet with that identifier.
    #[test]
    fn a_head_and_the_shared_tail_are_a_packet(
        seed in seed(),
        alias in proptest::option::of(1..=u16::MAX),
        expiry in proptest::option::of(any::<u32>()),
        subscription_ids in proptest::collection::vec(1..=268_435_455u32, 0..4),
        other_id in 1..=u16::MAX,
        topic_again in any::<bool>(),
    ) {
        for version in Version::ALL {
            with_packet(&seed, PacketType::Publish, Version::V5, |packet| {
                let Packet::Publish(message) = packet else { panic!("not PUBLISH") };
                let mut scratch = Vec::new();
                let forwarded = message.properties.forwardable(&mut scratch);
                let has_topic = !message.topic.is_empty() && (topic_again || alias.is_none() || !version.is_v5());
                let topic = match (has_topic, alias) {
                    (true, _) => message.topic.as_bytes(),
                    (false, Some(_)) if version.is_v5() => b"",
                    (false, _) => b"t",
                };
                let head = PublishHead {
                    dup: message.dup,
                    qos: message.qos,
                    retain: message.retain,
                    topic,
                    packet_id: message.packet_id,
                    topic_alias: alias,
                    message_expiry: expiry,
                    subscription_ids: &subscription_ids,
                    forwarded_len: forwarded.len(),
                    payload_len: message.payload.len(),
                };
                let mut bytes = Vec::new();
                let id_at = head.encode(version, &mut bytes);
                prop_assert_eq!(id_at.is_some(), message.packet_id.is_some());
                prop_assert_eq!(bytes.len(), head.head_len(version));
                if version.is_v5() {
                    bytes.extend_from_slice(forwarded);
                }
                bytes.extend_from_slice(message.payload);
                prop_assert_eq!(bytes.len(), head.encoded_len(version));

                let check = |bytes: &[u8], packet_id: Option<PacketId>| {
                    let (Packet::Publish(got), _) = first_packet(version, bytes) else { panic!("not PUBLISH") };
                    let flags = |publish: &Publish<'_>| (publish.dup, publish.qos, publish.retain);
                    prop_assert_eq!(flags(&got), flags(&message));
                    prop_assert_eq!(got.topic.as_bytes(), topic);
                    prop_assert_eq!((got.packet_id, got.payload), (packet_id, message.payload));
                    let of_head = |property: &Property<'_>| {
                        let (expiry, alias, ids) = (0x02, 0x23, 0x0B);
                        [expiry, alias, ids].contains(&property.id())
                    };
                    let mut own: Vec<_> = expiry.map(Property::MessageExpiry).into_iter().collect();
                    own.extend(alias.map(Property::TopicAlias));
                    own.extend(subscription_ids.iter().copied().map(Property::SubscriptionId));
                    if !version.is_v5() {
                        prop_assert!(got.properties.is_empty());
                        return Ok(());
                    }
                    prop_assert!(got.properties.iter().filter(of_head).eq(own));
                    let passed_on = got.properties.iter().filter(|property| !of_head(property));
                    prop_assert!(passed_on.eq(message.properties.iter().filter(|property| !of_head(property))));
                    Ok(())
                };
                check(&bytes, message.packet_id)?;
                if let Some(at) = id_at {
                    bytes[at..at + 2].copy_from_slice(&other_id.to_be_bytes());
                    check(&bytes, PacketId::new(other_id))?;
                }
                Ok(())
            }).transpose()?;
        }
    }
}
