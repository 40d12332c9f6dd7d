//! What must hold of any bytes whatever.

use pelton_mqtt::{
    DecodeError, Frame, MAX_PACKET, Packet, Property, PublishProperties, RawFilter, Sender, UserProperties,
    Version, Violation, decode_from, frame,
};

/// Reads bytes as a peer would and holds what comes out to the codec's promises: no panic, framing that does not depend
/// on where the stream is cut, everything in an accepted packet can be read, and an accepted packet written again is the
/// same packet. Returns the rule that was broken, if one was; a topic's or a filter's own rule last.
pub(crate) fn examine(sender: Sender, version: Version, bytes: &[u8]) -> Option<Violation> {
    let framed = frame(bytes, MAX_PACKET);
    check_cuts(bytes);
    let (header, total) = match framed {
        Ok(Frame::Complete { header, total }) => (header, total),
        Ok(Frame::Partial { total }) => {
            assert!(total.is_none_or(|total| total > bytes.len()));
            return None;
        }
        Err(error) => return Some(error.rule()),
    };
    assert!(total <= bytes.len() && total == usize::from(header.header_len) + header.remaining as usize);
    let body = &bytes[usize::from(header.header_len)..total];
    let packet = match decode_from(sender, version, header, body) {
        Ok(packet) => packet,
        Err(error) => {
            assert!(error.reason().is_error());
            assert!(!error.to_string().is_empty());
            _ = error.connect_refusal();
            return Some(error.rule());
        }
    };
    assert_eq!(packet.packet_type(), header.packet_type);
    let own_rule = read_everything(&packet);

    let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
    let mut again = Vec::new();
    packet.encode(version, &mut again);
    assert_eq!(packet.encoded_len(version), again.len());
    let Ok(Frame::Complete { header, total }) = frame(&again, MAX_PACKET) else {
        panic!("{packet:?} is not whole")
    };
    assert_eq!(total, again.len());
    let reread = decode_from(sender, version, header, &again[usize::from(header.header_len)..]);
    assert_eq!(reread, Ok(packet));
    own_rule
}

/// A stream cut within the header, and just before the end, says the same as the whole, or waits.
fn check_cuts(bytes: &[u8]) {
    let whole = frame(bytes, MAX_PACKET);
    for cut in (0..bytes.len().min(6)).chain(bytes.len().checked_sub(1)) {
        match (frame(&bytes[..cut], MAX_PACKET), whole) {
            (Ok(Frame::Partial { total: None }), _) => {}
            (Ok(Frame::Partial { total: Some(early) }), Ok(Frame::Partial { total: Some(late) })) => {
                assert_eq!(early, late);
            }
            (Ok(Frame::Partial { total: Some(early) }), Ok(Frame::Complete { total, .. })) => {
                assert_eq!(early, total)
            }
            (early, late) => assert_eq!(early, late),
        }
    }
}

/// Looks at everything a packet offers; the rule that its topic or one of its filters breaks.
fn read_everything(packet: &Packet<'_>) -> Option<Violation> {
    assert!(!format!("{packet:?}").is_empty());
    match packet {
        Packet::Connect(connect) => {
            assert!(connect.password.is_none() || connect.user_name.is_some() || connect.version.is_v5());
            pairs(connect.properties.user_properties);
            if let Some(will) = &connect.will {
                assert!(!will.topic.as_str().is_empty());
                message(&will.properties);
            }
        }
        Packet::ConnAck(ack) => pairs(ack.properties.user_properties),
        Packet::Publish(publish) => {
            message(&publish.properties);
            if !publish.topic.is_empty() {
                return publish.topic.check().err().map(DecodeError::rule);
            }
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            pairs(ack.user_properties);
        }
        Packet::Subscribe(subscribe) => {
            assert!(subscribe.subscriptions.iter().next().is_some());
            pairs(subscribe.user_properties);
            return subscribe.subscriptions.iter().find_map(|entry| filter(entry.filter));
        }
        Packet::SubAck(ack) => assert_eq!(ack.reasons.iter().count(), ack.reasons.len()),
        Packet::Unsubscribe(unsubscribe) => {
            assert!(unsubscribe.filters.iter().next().is_some());
            return unsubscribe.filters.iter().find_map(filter);
        }
        Packet::UnsubAck(ack) => assert_eq!(ack.reasons.iter().count(), ack.reasons.len()),
        Packet::Disconnect(disconnect) => pairs(disconnect.user_properties),
        Packet::Auth(auth) => pairs(auth.user_properties),
        Packet::PingReq | Packet::PingResp => {}
    }
    None
}

fn pairs(user_properties: UserProperties<'_>) {
    assert_eq!(user_properties.is_empty(), user_properties.iter().next().is_none());
}

fn filter(filter: RawFilter<'_>) -> Option<Violation> {
    match filter.check() {
        Ok(checked) => {
            assert_eq!(checked.as_str(), filter.as_str());
            assert_eq!(checked.shared().is_some(), filter.is_shared());
            assert!(checked.levels().count() > 0);
            None
        }
        Err(error) => Some(error.rule()),
    }
}

fn message(properties: &PublishProperties<'_>) {
    let forwarded = |property: &Property<'_>| {
        matches!(
            property,
            Property::PayloadIsUtf8(_)
                | Property::ContentType(_)
                | Property::ResponseTopic(_)
                | Property::CorrelationData(_)
                | Property::User(..)
        )
    };
    let mut scratch = Vec::new();
    let passed_on = PublishProperties::new(properties.forwardable(&mut scratch)).expect("a block again");
    assert!(passed_on.iter().eq(properties.iter().filter(forwarded)));
    assert_eq!(properties.user_properties(), passed_on.user_properties());
    assert_eq!(properties.response_topic(), passed_on.response_topic());
    assert_eq!(properties.content_type(), passed_on.content_type());
    assert_eq!(properties.correlation_data(), passed_on.correlation_data());
    assert_eq!(properties.payload_is_utf8(), passed_on.payload_is_utf8());
    let find = |id: u8| properties.iter().any(|property| property.id() == id);
    assert_eq!(properties.message_expiry().is_some(), find(0x02));
    assert_eq!(properties.topic_alias().is_some(), find(0x23));
    assert_eq!(properties.subscription_ids().next().is_some(), find(0x0B));
}
