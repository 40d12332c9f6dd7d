//! PUBLISH (5.0 and 3.1.1 section 3.3): the hot path.
//!
//! Decoding looks at flags, lengths and the packet identifier, and at the properties if there are any; the topic is
//! left to whoever can know it already ([`RawTopic`]). Encoding comes in two forms: [`Publish`] writes a packet as
//! a client or a tool does, [`PublishHead`] writes only what differs between the receivers of one message.

use crate::error::{DecodeError, Violation};
use crate::fixed_header::{MAX_REMAINING, PacketType, variable_len};
use crate::packet_id::PacketId;
use crate::properties::{self, Place, PublishProperties, id};
use crate::qos::{QoS, Sender};
use crate::topic::RawTopic;
use crate::version::Version;
use crate::wire::{Reader, Sink};

/// A decoded PUBLISH, a view of its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Sent again.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// To be retained, or was.
    pub retain: bool,
    /// The topic, unchecked. Empty only if the properties hold a topic alias (version 5), or in 3.x, where
    /// [`RawTopic::check`] refuses it.
    pub topic: RawTopic<'a>,
    /// There exactly above QoS 0.
    pub packet_id: Option<PacketId>,
    /// The properties; none before version 5.
    pub properties: PublishProperties<'a>,
    /// The message.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// A PUBLISH at QoS 0 without flags and properties.
    pub const fn new(topic: RawTopic<'a>, payload: &'a [u8]) -> Self {
        Self {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic,
            packet_id: None,
            properties: PublishProperties::NONE,
            payload,
        }
    }

    /// Decodes what either side may send. A broker uses [`Publish::decode_from_client`].
    ///
    /// `first` is the first byte of the packet, `body` what follows the fixed header. Who calls this without
    /// [`crate::decode`] calls [`FixedHeader::check`](crate::FixedHeader::check) as well.
    ///
    /// # Errors
    /// Every rule of 5.0 section 3.3 but those of the topic itself, see [`RawTopic::check`].
    #[inline]
    pub fn decode(version: Version, first: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode_from(Sender::Either, version, first, body)
    }

    /// Decodes what a client sent: a subscription identifier is refused.
    ///
    /// # Errors
    /// As [`Publish::decode`], and [`Violation::SubscriptionIdFromClient`].
    #[inline]
    pub fn decode_from_client(version: Version, first: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode_from(Sender::Client, version, first, body)
    }

    /// Decodes what a server sent.
    ///
    /// # Errors
    /// As [`Publish::decode`].
    #[inline]
    pub fn decode_from_server(version: Version, first: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode_from(Sender::Server, version, first, body)
    }

    #[inline]
    pub(crate) fn decode_from(
        sender: Sender,
        version: Version,
        first: u8,
        body: &'a [u8],
    ) -> Result<Self, DecodeError> {
        let dup = first & 0b1000 != 0;
        // [MQTT-3.3.1-4] [MQTT311-3.3.1-4] Both QoS bits set is no QoS.
        let Some(qos) = QoS::from_bits(first >> 1 & 0b11) else {
            return Err(Violation::PublishQos3.into());
        };
        // [MQTT-3.3.1-2] [MQTT311-3.3.1-2] What is not acknowledged is not sent again. Invalid flags: 0x81.
        if dup && qos == QoS::AtMostOnce {
            return Err(Violation::DupOnQos0.into());
        }
        let mut reader = Reader::new(body);
        // [MQTT-3.3.2-1]
        let topic = RawTopic::new(reader.binary()?);
        // [MQTT-2.2.1-2] [MQTT311-2.3.1-5] No packet identifier at QoS 0.
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(reader.packet_id()?) };
        let properties =
            if version.is_v5() { block(sender, topic, &mut reader)? } else { PublishProperties::NONE };
        Ok(Self { dup, qos, retain: first & 1 != 0, topic, packet_id, properties, payload: reader.rest() })
    }

    /// The length of [`Publish::encode`].
    pub fn encoded_len(&self, version: Version) -> usize {
        let (_, remaining) = self.lengths(version);
        1 + variable_len(remaining) + remaining
    }

    /// Property length and remaining length.
    #[inline]
    fn lengths(&self, version: Version) -> (usize, usize) {
        let fields = 2 + self.topic.as_bytes().len() + if self.packet_id.is_some() { 2 } else { 0 };
        if !version.is_v5() {
            return (0, fields + self.payload.len());
        }
        let block = self.properties.write_len(Place::Publish(Sender::Either));
        (block, fields + variable_len(block) + block + self.payload.len())
    }

    /// Appends the packet. Before version 5 the properties are left out.
    ///
    /// # Panics
    /// If the topic is longer than 65,535 bytes or the packet than [`MAX_PACKET`](crate::MAX_PACKET).
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let (block, remaining) = self.lengths(version);
        out.reserve(1 + variable_len(remaining) + remaining);
        start(out, (self.dup, self.qos, self.retain), remaining, self.topic.as_bytes(), self.packet_id);
        if version.is_v5() {
            out.variable(block as u32);
            self.properties.write(Place::Publish(Sender::Either), out);
        }
        out.extend_from_slice(self.payload);
    }
}

/// The property block of a version 5 PUBLISH. Most are empty, and then nothing is called.
#[inline]
fn block<'a>(
    sender: Sender,
    topic: RawTopic<'a>,
    reader: &mut Reader<'a>,
) -> Result<PublishProperties<'a>, DecodeError> {
    let block = properties::block(reader)?;
    let properties = if block.is_empty() {
        PublishProperties::NONE
    } else {
        PublishProperties::parse(block, Place::Publish(sender))?
    };
    if topic.is_empty() && properties.topic_alias().is_none() {
        // [MQTT-4.7.3-1], 5.0 section 3.3.2.1: no topic without an alias for it, a protocol error.
        return Err(Violation::TopicEmpty.into());
    }
    Ok(properties)
}

/// Everything before the properties.
#[inline]
fn start(
    out: &mut Vec<u8>,
    (dup, qos, retain): (bool, QoS, bool),
    remaining: usize,
    topic: &[u8],
    packet_id: Option<PacketId>,
) {
    debug_assert_eq!(packet_id.is_some(), qos != QoS::AtMostOnce, "a packet identifier exactly above QoS 0");
    debug_assert!(!dup || qos != QoS::AtMostOnce, "DUP only above QoS 0");
    assert!(remaining <= MAX_REMAINING as usize, "a packet within 268,435,460 bytes");
    out.push(PacketType::Publish.first_byte() | u8::from(dup) << 3 | qos.bits() << 1 | u8::from(retain));
    out.variable(remaining as u32);
    out.binary(topic);
    if let Some(id) = packet_id {
        out.extend_from_slice(&id.to_be_bytes());
    }
}

/// What of an outgoing PUBLISH differs between receivers: everything before a tail of forwarded properties and
/// payload, `forwarded ++ payload`, that all receivers of a message share.
///
/// The head of a QoS 1 message with a topic alias and nothing else is 10 bytes, plus what lengths above 127 take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishHead<'a> {
    /// Sent again.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Retained, or the subscription keeps the publisher's flag.
    pub retain: bool,
    /// The topic; empty when the alias stands for it.
    pub topic: &'a [u8],
    /// There exactly above QoS 0.
    pub packet_id: Option<PacketId>,
    /// Topic alias, not 0.
    pub topic_alias: Option<u16>,
    /// What is left of the message expiry interval, seconds.
    pub message_expiry: Option<u32>,
    /// The subscriptions the message is for: each 1 to 268,435,455.
    pub subscription_ids: &'a [u32],
    /// Bytes of forwarded properties at the start of the tail. Counts as 0 before version 5, where the tail is the
    /// payload alone.
    pub forwarded_len: usize,
    /// Bytes of payload at the end of the tail.
    pub payload_len: usize,
}

impl PublishHead<'_> {
    /// Bytes of the properties the head holds itself.
    #[inline]
    fn own_len(&self) -> usize {
        let ids: usize = self.subscription_ids.iter().map(|&id| 1 + variable_len(id as usize)).sum();
        let alias = if self.topic_alias.is_some() { 3 } else { 0 };
        let expiry = if self.message_expiry.is_some() { 5 } else { 0 };
        alias + expiry + ids
    }

    /// Property length and remaining length.
    #[inline]
    fn lengths(&self, version: Version) -> (usize, usize) {
        let fields = 2 + self.topic.len() + if self.packet_id.is_some() { 2 } else { 0 };
        if !version.is_v5() {
            return (0, fields + self.payload_len);
        }
        let block = self.own_len() + self.forwarded_len;
        (block, fields + variable_len(block) + block + self.payload_len)
    }

    /// The exact size of the packet, head and tail: what a receiver's maximum packet size is compared with
    /// [MQTT-3.1.2-24]. A message that only just fitted its publisher's packet can grow past
    /// [`MAX_PACKET`](crate::MAX_PACKET) here; it must not be encoded then.
    #[inline]
    pub fn encoded_len(&self, version: Version) -> usize {
        let (_, remaining) = self.lengths(version);
        1 + variable_len(remaining) + remaining
    }

    /// The bytes of the head alone: what [`PublishHead::encode`] appends.
    #[inline]
    pub fn head_len(&self, version: Version) -> usize {
        self.encoded_len(version) - self.tail_len(version)
    }

    #[inline]
    fn tail_len(&self, version: Version) -> usize {
        self.payload_len + if version.is_v5() { self.forwarded_len } else { 0 }
    }

    /// Appends the head. Returns where in it the packet identifier is, counted from the head's first byte, so that
    /// a copy for the next receiver can be patched; `None` at QoS 0.
    ///
    /// # Panics
    /// If the topic is longer than 65,535 bytes or the packet than [`MAX_PACKET`](crate::MAX_PACKET).
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Option<usize> {
        let (block, remaining) = self.lengths(version);
        out.reserve(1 + variable_len(remaining) + remaining - self.tail_len(version));
        let head = out.len();
        start(out, (self.dup, self.qos, self.retain), remaining, self.topic, self.packet_id);
        let id_at = self.packet_id.map(|_| out.len() - size_of::<u16>() - head);
        if version.is_v5() {
            out.variable(block as u32);
            self.own_properties(out);
        }
        id_at
    }

    /// The own properties, written as the arrays they are: what [`Property`](crate::Property) writes byte by byte.
    #[inline]
    fn own_properties(&self, out: &mut Vec<u8>) {
        if let Some(seconds) = self.message_expiry {
            let [a, b, c, d] = seconds.to_be_bytes();
            out.extend_from_slice(&[id::MESSAGE_EXPIRY, a, b, c, d]);
        }
        if let Some(alias) = self.topic_alias {
            debug_assert_ne!(alias, 0, "[MQTT-3.3.2-8]");
            let [high, low] = alias.to_be_bytes();
            out.extend_from_slice(&[id::TOPIC_ALIAS, high, low]);
        }
        for &subscription in self.subscription_ids {
            debug_assert_ne!(subscription, 0, "a subscription identifier is not 0");
            out.push(id::SUBSCRIPTION_ID);
            out.variable(subscription);
        }
    }
}

#[cfg(test)]
mod tests;
