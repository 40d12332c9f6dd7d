//! SUBSCRIBE (5.0 and 3.1.1 section 3.8).
//!
//! What makes the packet malformed is found when it is decoded; a filter that is a proper string and breaks only
//! the wildcard grammar is kept, and its [`RawFilter::check`] says so: it is answered in SUBACK.

use crate::error::{DecodeError, Violation};
use crate::fixed_header::PacketType;
use crate::packet_id::PacketId;
use crate::properties::{self, Property, UserProperties, Walk};
use crate::qos::QoS;
use crate::text;
use crate::topic::RawFilter;
use crate::version::Version;
use crate::wire::{self, Body, Reader, Sink};

/// A request for subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// Subscription identifier, 1 to 268,435,455, for all of the subscriptions; none before version 5.
    pub subscription_id: Option<u32>,
    /// User properties; none before version 5.
    pub user_properties: UserProperties<'a>,
    /// The subscriptions, at least one.
    pub subscriptions: Subscriptions<'a>,
}

/// One entry of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The filter, whose grammar is not yet checked.
    pub filter: RawFilter<'a>,
    /// The options.
    pub options: SubscribeOptions,
}

/// Subscription options. Before version 5 there is only the QoS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscribeOptions {
    /// The highest QoS at which messages are sent.
    pub qos: QoS,
    /// Not to the client that published.
    pub no_local: bool,
    /// Keep the publisher's retain flag.
    pub retain_as_published: bool,
    /// Which retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// What happens to retained messages when a subscription is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// They are sent.
    #[default]
    Send = 0,
    /// They are sent if the subscription is new.
    SendIfNew = 1,
    /// They are not sent.
    DoNotSend = 2,
}

const QOS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RETAIN_HANDLING_AT: u32 = 4;
const RESERVED_V5: u8 = 0b1100_0000;

impl SubscribeOptions {
    /// Options that ask for a QoS and leave the rest as in 3.x.
    pub const fn new(qos: QoS) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }

    /// The options of a byte.
    ///
    /// # Errors
    /// [`Violation::SubscribeReservedBits`], [`Violation::SubscribeQos3`], [`Violation::RetainHandling3`].
    pub fn from_byte(version: Version, byte: u8) -> Result<Self, DecodeError> {
        let reserved = if version.is_v5() { RESERVED_V5 } else { !QOS };
        // [MQTT-3.8.3-5] [MQTT311-3.8.3-4]
        if byte & reserved != 0 {
            return Err(Violation::SubscribeReservedBits.into());
        }
        // 5.0 section 3.8.3.1, [MQTT311-3.8.3-4]: 3 is no QoS; a protocol error here, unlike in PUBLISH.
        let Some(qos) = QoS::from_bits(byte & QOS) else {
            return Err(Violation::SubscribeQos3.into());
        };
        let retain_handling = match byte >> RETAIN_HANDLING_AT & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            // 5.0 section 3.8.3.1: a protocol error.
            _ => return Err(Violation::RetainHandling3.into()),
        };
        let (no_local, retain_as_published) = (byte & NO_LOCAL != 0, byte & RETAIN_AS_PUBLISHED != 0);
        Ok(Self { qos, no_local, retain_as_published, retain_handling })
    }

    /// The byte of the options; before version 5 the QoS alone.
    pub const fn to_byte(self, version: Version) -> u8 {
        let mut byte = self.qos.bits();
        if version.is_v5() {
            byte |= (self.retain_handling as u8) << RETAIN_HANDLING_AT;
            if self.no_local {
                byte |= NO_LOCAL;
            }
            if self.retain_as_published {
                byte |= RETAIN_AS_PUBLISHED;
            }
        }
        byte
    }
}

impl<'a> Subscription<'a> {
    /// A subscription that asks for a QoS and leaves the other options as in 3.x.
    pub const fn new(filter: RawFilter<'a>, qos: QoS) -> Self {
        Self { filter, options: SubscribeOptions::new(qos) }
    }
}

impl<'a> Subscribe<'a> {
    /// A SUBSCRIBE without properties.
    pub const fn new(packet_id: PacketId, subscriptions: &'a [Subscription<'a>]) -> Self {
        let subscriptions = Subscriptions::new(subscriptions);
        Self { packet_id, subscription_id: None, user_properties: UserProperties::NONE, subscriptions }
    }

    /// Decodes the body.
    ///
    /// # Errors
    /// Every rule of section 3.8 but the grammar of filters, see [`RawFilter::check`].
    pub fn decode(version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let mut subscription_id = None;
        let mut user_properties = UserProperties::NONE;
        if version.is_v5() {
            let block = properties::block(&mut reader)?;
            let mut walk = Walk::new(block);
            while let Some(property) = walk.next()? {
                match property {
                    // 5.0 section 3.8.2.1.2: once, unlike in PUBLISH.
                    Property::SubscriptionId(_) if subscription_id.is_some() => {
                        return Err(Violation::PropertyRepeated.into());
                    }
                    Property::SubscriptionId(id) => subscription_id = Some(id),
                    Property::User(..) => {}
                    // 5.0 section 2.2.2.2, table 2-4.
                    _ => return Err(Violation::PropertyNotAllowed.into()),
                }
            }
            user_properties = UserProperties::of_block(block, walk.seen);
        }
        let payload = reader.rest();
        // [MQTT-3.8.3-2] [MQTT311-3.8.3-3]
        if payload.is_empty() {
            return Err(Violation::SubscribeEmpty.into());
        }
        while !reader.is_empty() {
            // [MQTT-3.8.3-1] [MQTT311-3.8.3-1]
            let filter = RawFilter::well_formed(reader.string()?);
            let options = SubscribeOptions::from_byte(version, reader.u8()?)?;
            // [MQTT-3.8.3-4] A protocol error of the whole packet, not of this filter.
            if options.no_local && filter.is_shared() {
                return Err(Violation::NoLocalOnShared.into());
            }
        }
        let subscriptions = Subscriptions(Source::Payload(version, payload));
        Ok(Self { packet_id, subscription_id, user_properties, subscriptions })
    }

    /// The length of [`Subscribe::encode`].
    pub fn encoded_len(&self, version: Version) -> usize {
        wire::encoded_len(self, version)
    }

    /// Appends the packet. Properties and options that 3.x does not have are left out there.
    ///
    /// # Panics
    /// If a string is longer than 65,535 bytes.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        wire::encode(self, version, out);
    }
}

impl Body for Subscribe<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Subscribe.first_byte()
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        if version.is_v5() {
            properties::write(sink, |put| {
                if let Some(id) = self.subscription_id {
                    put(Property::SubscriptionId(id));
                }
                self.user_properties.each(put);
            });
        }
        for subscription in self.subscriptions {
            sink.string(subscription.filter.as_str());
            sink.u8(subscription.options.to_byte(version));
        }
    }
}

/// The entries of a SUBSCRIBE. Decoded, they are a view of the packet's bytes; to encode, they are made from a
/// slice.
#[derive(Clone, Copy)]
pub struct Subscriptions<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    /// A payload that has been validated.
    Payload(Version, &'a [u8]),
    List(&'a [Subscription<'a>]),
}

impl<'a> Subscriptions<'a> {
    /// These, in this order.
    pub const fn new(list: &'a [Subscription<'a>]) -> Self {
        Self(Source::List(list))
    }

    /// The entries, in order.
    pub fn iter(self) -> SubscriptionIter<'a> {
        SubscriptionIter(self.0)
    }
}

impl<'a> IntoIterator for Subscriptions<'a> {
    type Item = Subscription<'a>;
    type IntoIter = SubscriptionIter<'a>;

    fn into_iter(self) -> SubscriptionIter<'a> {
        self.iter()
    }
}

impl PartialEq for Subscriptions<'_> {
    /// The same entries in the same order, wherever they are kept.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Subscriptions<'_> {}

impl std::fmt::Debug for Subscriptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Iterator over [`Subscriptions`].
#[derive(Clone)]
pub struct SubscriptionIter<'a>(Source<'a>);

impl<'a> Iterator for SubscriptionIter<'a> {
    type Item = Subscription<'a>;

    fn next(&mut self) -> Option<Subscription<'a>> {
        match &mut self.0 {
            Source::List(list) => {
                let (first, rest) = list.split_first()?;
                *list = rest;
                Some(*first)
            }
            Source::Payload(version, payload) => {
                let mut reader = Reader::new(payload);
                let filter = RawFilter::well_formed(text::checked(reader.binary().ok()?));
                let options = SubscribeOptions::from_byte(*version, reader.u8().ok()?).ok()?;
                *payload = reader.rest();
                Some(Subscription { filter, options })
            }
        }
    }
}

#[cfg(test)]
mod tests;
