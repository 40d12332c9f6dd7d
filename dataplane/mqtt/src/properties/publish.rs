//! The properties of PUBLISH and of a will: kept as the bytes they came in, because a broker passes most of them
//! on as they are.

use super::{Property, UserProperties, VALID, Walk, id, skip};
use crate::error::{DecodeError, Violation};
use crate::qos::Sender;
use crate::text;
use crate::topic::TopicName;
use crate::wire::{Count, Reader, Sink};

/// What a server passes on unchanged [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17]
/// [MQTT-3.3.2-20], user properties in their order [MQTT-3.3.2-18]. Not the expiry interval, which it counts down,
/// not the alias and the subscription identifiers, which belong to one connection.
const FORWARDED: u64 = 1 << id::PAYLOAD_FORMAT
    | 1 << id::CONTENT_TYPE
    | 1 << id::RESPONSE_TOPIC
    | 1 << id::CORRELATION_DATA
    | 1 << id::USER_PROPERTY;

/// In `seen`, beside the property identifiers (all below 64): what is passed on is not in one piece.
const SPLIT: u64 = 1 << 63;

/// The validated property block of a PUBLISH or of a will.
///
/// The two values every broker asks for are read at once, the others on demand.
#[derive(Clone, Copy)]
pub struct PublishProperties<'a> {
    block: &'a [u8],
    /// The property identifiers in the block, a bit each, and [`SPLIT`].
    seen: u64,
    message_expiry: u32,
    topic_alias: u16,
    /// The piece of the block that is passed on, if it is one piece.
    forwarded: (u32, u32),
}

/// Whose block it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Publish(Sender),
    Will,
}

impl<'a> PublishProperties<'a> {
    /// No properties.
    pub const NONE: Self = Self { block: &[], seen: 0, message_expiry: 0, topic_alias: 0, forwarded: (0, 0) };

    /// The properties of a block that a sender has built with [`Property::encode`] (without the property length).
    ///
    /// # Errors
    /// As when a PUBLISH is decoded.
    pub fn new(block: &'a [u8]) -> Result<Self, DecodeError> {
        Self::parse(block, Place::Publish(Sender::Either))
    }

    /// Validates a block. Out of line: most PUBLISH packets have an empty one.
    #[inline(never)]
    pub(crate) fn parse(block: &'a [u8], place: Place) -> Result<Self, DecodeError> {
        let mut properties = Self { block, ..Self::NONE };
        let mut walk = Walk::new(block);
        let mut split = 0;
        while !walk.reader.is_empty() {
            let start = block.len() - walk.reader.rest().len();
            let identifier = properties.read_one(&mut walk.reader, place)?;
            walk.note(identifier)?;
            if FORWARDED >> identifier & 1 != 0 {
                let end = (block.len() - walk.reader.rest().len()) as u32;
                properties.forwarded = match properties.forwarded {
                    (_, 0) => (start as u32, end),
                    (from, to) if to as usize == start => (from, end),
                    first_piece => {
                        split = SPLIT;
                        first_piece
                    }
                };
            }
        }
        properties.seen = walk.seen | split;
        Ok(properties)
    }

    /// Reads one property for its rules and the two values that are kept; its identifier. The same rules as those of
    /// [`Property`], which also makes strings of what nobody may ever look at.
    #[inline]
    fn read_one(&mut self, reader: &mut Reader<'a>, place: Place) -> Result<u8, DecodeError> {
        let whole = *reader;
        let identifier = reader.u8()?;
        match identifier {
            id::MESSAGE_EXPIRY => self.message_expiry = reader.u32()?,
            id::CORRELATION_DATA => _ = reader.binary()?,
            // [MQTT-3.3.2-19]
            id::CONTENT_TYPE => text::check_only(reader.binary()?)?,
            // [MQTT-1.5.7-1]
            id::USER_PROPERTY => {
                text::check_only(reader.binary()?)?;
                text::check_only(reader.binary()?)?;
            }
            // [MQTT-3.3.2-8]
            id::TOPIC_ALIAS if place != Place::Will => {
                self.topic_alias = super::not_zero(reader.u16()?, Violation::TopicAliasZero)?;
            }
            _ => {
                *reader = whole;
                Self::read_rare(Property::read(reader)?, place)?;
            }
        }
        Ok(identifier)
    }

    fn read_rare(property: Property<'_>, place: Place) -> Result<(), DecodeError> {
        match property {
            Property::PayloadIsUtf8(_) | Property::ResponseTopic(_) => Ok(()),
            // [MQTT-3.3.4-6] Only a server says which subscriptions a message is for.
            Property::SubscriptionId(_) if place == Place::Publish(Sender::Client) => {
                Err(Violation::SubscriptionIdFromClient.into())
            }
            Property::SubscriptionId(_) if place != Place::Will => Ok(()),
            Property::WillDelay(_) if place == Place::Will => Ok(()),
            // 5.0 section 2.2.2.2, table 2-4.
            _ => Err(Violation::PropertyNotAllowed.into()),
        }
    }

    #[inline]
    const fn has(&self, property: u8) -> bool {
        self.seen >> property & 1 != 0
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.block.is_empty()
    }

    /// The block as it came, without the property length.
    #[inline]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.block
    }

    /// Message expiry interval, seconds.
    #[inline]
    pub const fn message_expiry(&self) -> Option<u32> {
        if self.has(id::MESSAGE_EXPIRY) { Some(self.message_expiry) } else { None }
    }

    /// Topic alias, never 0.
    #[inline]
    pub const fn topic_alias(&self) -> Option<u16> {
        if self.has(id::TOPIC_ALIAS) { Some(self.topic_alias) } else { None }
    }

    /// Whether the payload is said to be UTF-8 text. Nobody has checked it.
    pub fn payload_is_utf8(&self) -> bool {
        self.has(id::PAYLOAD_FORMAT) && self.iter().any(|property| property == Property::PayloadIsUtf8(true))
    }

    /// Response topic.
    pub fn response_topic(&self) -> Option<TopicName<'a>> {
        self.find(id::RESPONSE_TOPIC, |property| match property {
            Property::ResponseTopic(topic) => Some(topic),
            _ => None,
        })
    }

    /// Correlation data.
    pub fn correlation_data(&self) -> Option<&'a [u8]> {
        self.find(id::CORRELATION_DATA, |property| match property {
            Property::CorrelationData(bytes) => Some(bytes),
            _ => None,
        })
    }

    /// Content type.
    pub fn content_type(&self) -> Option<&'a str> {
        self.find(id::CONTENT_TYPE, |property| match property {
            Property::ContentType(text) => Some(text),
            _ => None,
        })
    }

    /// Subscription identifiers, of a PUBLISH that a server sent.
    pub fn subscription_ids(&self) -> impl Iterator<Item = u32> + use<'a> {
        let block = if self.has(id::SUBSCRIPTION_ID) { self.block } else { &[] };
        PropertyIter(Reader::new(block)).filter_map(|property| match property {
            Property::SubscriptionId(id) => Some(id),
            _ => None,
        })
    }

    /// User properties.
    pub const fn user_properties(&self) -> UserProperties<'a> {
        UserProperties::of_block(self.block, self.seen)
    }

    /// Every property, in order.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        PropertyIter(Reader::new(self.block))
    }

    /// Will delay interval, seconds: of a will's block.
    pub(crate) fn will_delay(&self) -> Option<u32> {
        self.find(id::WILL_DELAY, |property| match property {
            Property::WillDelay(seconds) => Some(seconds),
            _ => None,
        })
    }

    fn find<T>(&self, property: u8, pick: impl FnMut(Property<'a>) -> Option<T>) -> Option<T> {
        if self.has(property) { self.iter().find_map(pick) } else { None }
    }

    /// The encoded properties a server passes on unchanged, in the sender's order: payload format indicator,
    /// response topic, correlation data, user properties, content type. Borrowed from the packet when they stand in
    /// one piece, otherwise put together in `scratch`, which is cleared.
    #[inline]
    pub fn forwardable<'s>(&self, scratch: &'s mut Vec<u8>) -> &'s [u8]
    where
        'a: 's,
    {
        if self.seen & SPLIT == 0 {
            return &self.block[self.forwarded.0 as usize..self.forwarded.1 as usize];
        }
        self.compact(scratch);
        scratch
    }

    /// Which properties a client library writes first is its own affair: an expiry interval between two that
    /// are passed on is common. So this is copying by length, nothing is validated again.
    fn compact(&self, scratch: &mut Vec<u8>) {
        scratch.clear();
        let mut reader = Reader::new(self.block);
        while !reader.is_empty() {
            let before = reader.rest();
            if FORWARDED >> skip(&mut reader) & 1 != 0 {
                scratch.extend_from_slice(&before[..before.len() - reader.rest().len()]);
            }
        }
    }

    /// The length of [`PublishProperties::write`].
    #[inline]
    pub(crate) fn write_len(&self, place: Place) -> usize {
        if self.is_verbatim(place) {
            return self.block.len();
        }
        let mut count = Count::default();
        self.write(place, &mut count);
        count.0
    }

    /// Writes what of the block belongs into such a packet, without the property length. A will's delay stays
    /// behind, in a PUBLISH because it has no place there, in a will because it has a field of its own there.
    #[inline]
    pub(crate) fn write<S: Sink>(&self, place: Place, sink: &mut S) {
        if self.is_verbatim(place) {
            return sink.bytes(self.block);
        }
        for property in self.iter() {
            let elsewhere = match property {
                Property::WillDelay(_) => true,
                Property::TopicAlias(_) | Property::SubscriptionId(_) => place == Place::Will,
                _ => false,
            };
            if !elsewhere {
                property.write(sink);
            }
        }
    }

    #[inline]
    fn is_verbatim(&self, place: Place) -> bool {
        let elsewhere = match place {
            Place::Publish(_) => 1 << id::WILL_DELAY,
            Place::Will => 1 << id::WILL_DELAY | 1 << id::TOPIC_ALIAS | 1 << id::SUBSCRIPTION_ID,
        };
        self.seen & elsewhere == 0
    }
}

impl Default for PublishProperties<'_> {
    fn default() -> Self {
        Self::NONE
    }
}

impl PartialEq for PublishProperties<'_> {
    /// The same properties in the same order; a will's delay, which has a field of its own, does not count.
    fn eq(&self, other: &Self) -> bool {
        let of_message = |property: &Property<'_>| !matches!(property, Property::WillDelay(_));
        self.iter().filter(of_message).eq(other.iter().filter(of_message))
    }
}

impl Eq for PublishProperties<'_> {}

impl std::fmt::Debug for PublishProperties<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Reads a validated block again.
struct PropertyIter<'a>(Reader<'a>);

impl<'a> Iterator for PropertyIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        if self.0.is_empty() {
            return None;
        }
        Some(Property::read(&mut self.0).expect(VALID))
    }
}
