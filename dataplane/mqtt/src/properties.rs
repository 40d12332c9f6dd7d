//! Properties of version 5 (section 2.2.2): identifier, type and value rules of each, and blocks of them.
//!
//! A block is walked once when its packet is decoded; every rule is checked there. What a packet keeps for later
//! is either the values or the block's bytes, and reading those again cannot fail.

use crate::error::{DecodeError, Violation};
use crate::qos::QoS;
use crate::topic::TopicName;
use crate::wire::{Count, Reader, Sink};

mod publish;
mod user;

pub(crate) use publish::Place;
pub use publish::PublishProperties;
pub use user::{UserProperties, UserPropertyIter};

/// One property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// Payload format indicator: whether the payload is UTF-8 text.
    PayloadIsUtf8(bool),
    /// Message expiry interval, seconds.
    MessageExpiry(u32),
    /// Content type.
    ContentType(&'a str),
    /// Response topic.
    ResponseTopic(TopicName<'a>),
    /// Correlation data.
    CorrelationData(&'a [u8]),
    /// Subscription identifier, 1 to 268,435,455.
    SubscriptionId(u32),
    /// Session expiry interval, seconds.
    SessionExpiry(u32),
    /// Assigned client identifier.
    AssignedClientId(&'a str),
    /// Server keep alive, seconds.
    ServerKeepAlive(u16),
    /// Authentication method.
    AuthenticationMethod(&'a str),
    /// Authentication data.
    AuthenticationData(&'a [u8]),
    /// Request problem information.
    RequestProblemInformation(bool),
    /// Will delay interval, seconds.
    WillDelay(u32),
    /// Request response information.
    RequestResponseInformation(bool),
    /// Response information.
    ResponseInformation(&'a str),
    /// Server reference.
    ServerReference(&'a str),
    /// Reason string.
    ReasonString(&'a str),
    /// Receive maximum, not zero.
    ReceiveMaximum(u16),
    /// Topic alias maximum.
    TopicAliasMaximum(u16),
    /// Topic alias, not zero.
    TopicAlias(u16),
    /// Maximum QoS, 0 or 1.
    MaximumQos(QoS),
    /// Retain available.
    RetainAvailable(bool),
    /// User property: name and value.
    User(&'a str, &'a str),
    /// Maximum packet size, bytes, not zero.
    MaximumPacketSize(u32),
    /// Wildcard subscription available.
    WildcardSubscriptionAvailable(bool),
    /// Subscription identifiers available.
    SubscriptionIdsAvailable(bool),
    /// Shared subscription available.
    SharedSubscriptionAvailable(bool),
}

/// Property identifiers, 5.0 table 2-4. All fit one byte, and all are below 64: a block's are a set in one word.
pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_ID: u8 = 0x0B;
    pub(crate) const SESSION_EXPIRY: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(crate) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub(crate) const WILL_DELAY: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub(crate) const RESPONSE_INFORMATION: u8 = 0x1A;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1C;
    pub(crate) const REASON_STRING: u8 = 0x1F;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(crate) const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub(crate) const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
    pub(crate) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

impl<'a> Property<'a> {
    /// The property identifier.
    pub const fn id(&self) -> u8 {
        match self {
            Self::PayloadIsUtf8(_) => id::PAYLOAD_FORMAT,
            Self::MessageExpiry(_) => id::MESSAGE_EXPIRY,
            Self::ContentType(_) => id::CONTENT_TYPE,
            Self::ResponseTopic(_) => id::RESPONSE_TOPIC,
            Self::CorrelationData(_) => id::CORRELATION_DATA,
            Self::SubscriptionId(_) => id::SUBSCRIPTION_ID,
            Self::SessionExpiry(_) => id::SESSION_EXPIRY,
            Self::AssignedClientId(_) => id::ASSIGNED_CLIENT_ID,
            Self::ServerKeepAlive(_) => id::SERVER_KEEP_ALIVE,
            Self::AuthenticationMethod(_) => id::AUTHENTICATION_METHOD,
            Self::AuthenticationData(_) => id::AUTHENTICATION_DATA,
            Self::RequestProblemInformation(_) => id::REQUEST_PROBLEM_INFORMATION,
            Self::WillDelay(_) => id::WILL_DELAY,
            Self::RequestResponseInformation(_) => id::REQUEST_RESPONSE_INFORMATION,
            Self::ResponseInformation(_) => id::RESPONSE_INFORMATION,
            Self::ServerReference(_) => id::SERVER_REFERENCE,
            Self::ReasonString(_) => id::REASON_STRING,
            Self::ReceiveMaximum(_) => id::RECEIVE_MAXIMUM,
            Self::TopicAliasMaximum(_) => id::TOPIC_ALIAS_MAXIMUM,
            Self::TopicAlias(_) => id::TOPIC_ALIAS,
            Self::MaximumQos(_) => id::MAXIMUM_QOS,
            Self::RetainAvailable(_) => id::RETAIN_AVAILABLE,
            Self::User(..) => id::USER_PROPERTY,
            Self::MaximumPacketSize(_) => id::MAXIMUM_PACKET_SIZE,
            Self::WildcardSubscriptionAvailable(_) => id::WILDCARD_SUBSCRIPTION_AVAILABLE,
            Self::SubscriptionIdsAvailable(_) => id::SUBSCRIPTION_IDS_AVAILABLE,
            Self::SharedSubscriptionAvailable(_) => id::SHARED_SUBSCRIPTION_AVAILABLE,
        }
    }

    /// Reads one property and checks its value.
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            id::PAYLOAD_FORMAT => Self::PayloadIsUtf8(boolean(reader)?),
            id::MESSAGE_EXPIRY => Self::MessageExpiry(reader.u32()?),
            // [MQTT-3.3.2-19]
            id::CONTENT_TYPE => Self::ContentType(reader.string()?),
            id::RESPONSE_TOPIC => Self::ResponseTopic(response_topic(reader)?),
            id::CORRELATION_DATA => Self::CorrelationData(reader.binary()?),
            // 5.0 sections 3.3.2.3.8 and 3.8.2.1.2: not 0.
            id::SUBSCRIPTION_ID => {
                Self::SubscriptionId(not_zero(reader.variable()?, Violation::SubscriptionIdZero)?)
            }
            id::SESSION_EXPIRY => Self::SessionExpiry(reader.u32()?),
            id::ASSIGNED_CLIENT_ID => Self::AssignedClientId(reader.string()?),
            id::SERVER_KEEP_ALIVE => Self::ServerKeepAlive(reader.u16()?),
            id::AUTHENTICATION_METHOD => Self::AuthenticationMethod(reader.string()?),
            id::AUTHENTICATION_DATA => Self::AuthenticationData(reader.binary()?),
            id::REQUEST_PROBLEM_INFORMATION => Self::RequestProblemInformation(boolean(reader)?),
            id::WILL_DELAY => Self::WillDelay(reader.u32()?),
            id::REQUEST_RESPONSE_INFORMATION => Self::RequestResponseInformation(boolean(reader)?),
            id::RESPONSE_INFORMATION => Self::ResponseInformation(reader.string()?),
            id::SERVER_REFERENCE => Self::ServerReference(reader.string()?),
            id::REASON_STRING => Self::ReasonString(reader.string()?),
            // 5.0 sections 3.1.2.11.3 and 3.2.2.3.3: not 0.
            id::RECEIVE_MAXIMUM => {
                Self::ReceiveMaximum(not_zero(reader.u16()?, Violation::ReceiveMaximumZero)?)
            }
            id::TOPIC_ALIAS_MAXIMUM => Self::TopicAliasMaximum(reader.u16()?),
            // [MQTT-3.3.2-8] Not 0; 5.0 section 3.3.4 names the code, 0x94.
            id::TOPIC_ALIAS => Self::TopicAlias(not_zero(reader.u16()?, Violation::TopicAliasZero)?),
            id::MAXIMUM_QOS => {
                Self::MaximumQos(if boolean(reader)? { QoS::AtLeastOnce } else { QoS::AtMostOnce })
            }
            id::RETAIN_AVAILABLE => Self::RetainAvailable(boolean(reader)?),
            // [MQTT-1.5.7-1] Both parts are strings.
            id::USER_PROPERTY => Self::User(reader.string()?, reader.string()?),
            // 5.0 sections 3.1.2.11.4 and 3.2.2.3.6: not 0.
            id::MAXIMUM_PACKET_SIZE => {
                Self::MaximumPacketSize(not_zero(reader.u32()?, Violation::MaximumPacketSizeZero)?)
            }
            id::WILDCARD_SUBSCRIPTION_AVAILABLE => Self::WildcardSubscriptionAvailable(boolean(reader)?),
            id::SUBSCRIPTION_IDS_AVAILABLE => Self::SubscriptionIdsAvailable(boolean(reader)?),
            id::SHARED_SUBSCRIPTION_AVAILABLE => Self::SharedSubscriptionAvailable(boolean(reader)?),
            // 5.0 section 2.2.2.2. An identifier is a variable byte integer in name; all there are fit one byte,
            // and no longer form of them is allowed, so a first byte from 0x80 is unknown too.
            _ => return Err(Violation::PropertyUnknown.into()),
        })
    }

    /// Appends the property as it stands in a block: how a sender builds the block of a
    /// [`PublishProperties`]. Values are not checked.
    ///
    /// # Panics
    /// If a string is longer than 65,535 bytes or a subscription identifier above 268,435,455.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    pub(crate) fn write<S: Sink>(&self, sink: &mut S) {
        sink.u8(self.id());
        match *self {
            Self::PayloadIsUtf8(flag)
            | Self::RequestProblemInformation(flag)
            | Self::RequestResponseInformation(flag)
            | Self::RetainAvailable(flag)
            | Self::WildcardSubscriptionAvailable(flag)
            | Self::SubscriptionIdsAvailable(flag)
            | Self::SharedSubscriptionAvailable(flag) => sink.u8(u8::from(flag)),
            Self::MaximumQos(qos) => sink.u8(qos.bits()),
            Self::ServerKeepAlive(number)
            | Self::ReceiveMaximum(number)
            | Self::TopicAliasMaximum(number)
            | Self::TopicAlias(number) => sink.u16(number),
            Self::MessageExpiry(number)
            | Self::SessionExpiry(number)
            | Self::WillDelay(number)
            | Self::MaximumPacketSize(number) => sink.u32(number),
            Self::SubscriptionId(number) => sink.variable(number),
            Self::ContentType(text)
            | Self::AssignedClientId(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => sink.string(text),
            Self::ResponseTopic(topic) => sink.string(topic.as_str()),
            Self::CorrelationData(bytes) | Self::AuthenticationData(bytes) => sink.binary(bytes),
            Self::User(name, value) => {
                sink.string(name);
                sink.string(value);
            }
        }
    }
}

/// Steps over one property of a block that has been validated, without reading its value again; its identifier.
fn skip(reader: &mut Reader<'_>) -> u8 {
    step_over(reader).expect(VALID)
}

const VALID: &str = "a block that was validated when its packet was decoded";

fn step_over(reader: &mut Reader<'_>) -> Result<u8, DecodeError> {
    let identifier = reader.u8()?;
    match identifier {
        id::PAYLOAD_FORMAT
        | id::REQUEST_PROBLEM_INFORMATION
        | id::REQUEST_RESPONSE_INFORMATION
        | id::MAXIMUM_QOS
        | id::RETAIN_AVAILABLE
        | id::WILDCARD_SUBSCRIPTION_AVAILABLE
        | id::SUBSCRIPTION_IDS_AVAILABLE
        | id::SHARED_SUBSCRIPTION_AVAILABLE => reader.take(1)?,
        id::SERVER_KEEP_ALIVE | id::RECEIVE_MAXIMUM | id::TOPIC_ALIAS_MAXIMUM | id::TOPIC_ALIAS => {
            reader.take(2)?
        }
        id::MESSAGE_EXPIRY | id::SESSION_EXPIRY | id::WILL_DELAY | id::MAXIMUM_PACKET_SIZE => {
            reader.take(4)?
        }
        id::SUBSCRIPTION_ID => {
            reader.variable()?;
            &[]
        }
        id::USER_PROPERTY => {
            reader.binary()?;
            reader.binary()?
        }
        _ => reader.binary()?,
    };
    Ok(identifier)
}

/// A byte that must be 0 or 1.
fn boolean(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        // 5.0 sections 3.1.2.11.6 and others: any other value is a protocol error.
        _ => Err(Violation::PropertyNotBoolean.into()),
    }
}

fn not_zero<T: Default + PartialEq>(value: T, rule: Violation) -> Result<T, DecodeError> {
    if value == T::default() { Err(rule.into()) } else { Ok(value) }
}

fn response_topic<'a>(reader: &mut Reader<'a>) -> Result<TopicName<'a>, DecodeError> {
    // [MQTT-3.3.2-13] A string, and [MQTT-3.3.2-14] [MQTT-4.7.3-1] a topic name.
    TopicName::new(reader.string()?).map_err(|_| Violation::ResponseTopicInvalid.into())
}

/// A walk over one block: each property with its value checked, and none twice that may be there once. Whether a
/// property belongs into the packet is for the packet to say, which knows what to do with it.
pub(crate) struct Walk<'a> {
    pub(crate) reader: Reader<'a>,
    /// The identifiers so far, a bit each.
    pub(crate) seen: u64,
}

impl<'a> Walk<'a> {
    pub(crate) const fn new(block: &'a [u8]) -> Self {
        Self { reader: Reader::new(block), seen: 0 }
    }

    /// The next property; `None` at the end of the block.
    pub(crate) fn next(&mut self) -> Result<Option<Property<'a>>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let property = Property::read(&mut self.reader)?;
        self.note(property.id())?;
        Ok(Some(property))
    }

    /// Takes note of a property that has been read.
    #[inline]
    pub(crate) fn note(&mut self, identifier: u8) -> Result<(), DecodeError> {
        let bit = 1 << identifier;
        // A user property may be there any number of times. So may a subscription identifier, in PUBLISH;
        // SUBSCRIBE sees to its own.
        const REPEATABLE: u64 = 1 << id::USER_PROPERTY | 1 << id::SUBSCRIPTION_ID;
        if self.seen & bit & !REPEATABLE != 0 {
            // 5.0 sections 3.1.2.11 and others: a protocol error for every one of them.
            return Err(Violation::PropertyRepeated.into());
        }
        self.seen |= bit;
        Ok(())
    }
}

/// Cuts the block out of a packet: a property length and as many bytes.
#[inline]
pub(crate) fn block<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let length = reader.variable()?;
    // 5.0 section 2.2.2.1: what is counted must be there.
    reader.take(length as usize).map_err(|_| Violation::PropertyLengthOverrun.into())
}

/// Writes the property length and the properties that `each` puts.
pub(crate) fn write<S: Sink>(sink: &mut S, each: impl Fn(&mut dyn FnMut(Property<'_>))) {
    let mut count = Count::default();
    each(&mut |property| property.write(&mut count));
    // [MQTT-2.2.2-1] The length is there even when it is 0.
    sink.variable(u32::try_from(count.0).expect("properties within 268,435,455 bytes"));
    each(&mut |property| property.write(sink));
}

/// Reads a block that may hold a reason string and user properties and nothing else, as those of the
/// acknowledgements do.
pub(crate) fn reason_string_and_user<'a>(
    reader: &mut Reader<'a>,
) -> Result<(Option<&'a str>, UserProperties<'a>), DecodeError> {
    let block = block(reader)?;
    let mut reason_string = None;
    let mut walk = Walk::new(block);
    while let Some(property) = walk.next()? {
        match property {
            Property::ReasonString(text) => reason_string = Some(text),
            Property::User(..) => {}
            // 5.0 section 2.2.2.2, table 2-4.
            _ => return Err(Violation::PropertyNotAllowed.into()),
        }
    }
    Ok((reason_string, UserProperties::of_block(block, walk.seen)))
}

#[cfg(test)]
mod tests;
