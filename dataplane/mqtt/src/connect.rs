//! CONNECT (5.0 and 3.1.1 section 3.1): the packet that says which version is spoken.
//!
//! 3.1 is read as its own document asks, where that is laxer: bit 0 of the flags and will bits without a will were
//! "unused" there, and a user name or password whose flag is set may be missing from the end of the packet.

use crate::error::{DecodeError, Violation};
use crate::fixed_header::PacketType;
use crate::properties::{self, Place, Property, PublishProperties, UserProperties, Walk};
use crate::qos::QoS;
use crate::topic::{RawTopic, TopicName};
use crate::version::Version;
use crate::wire::{self, Body, Reader, Sink};

/// Set in the protocol level of 3.x by a server that connects as a bridge to another: mosquitto's convention.
const BRIDGE_BIT: u8 = 0x80;

const RESERVED: u8 = 0x01;
const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS_AT: u32 = 3;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// A client's request for a connection, a view of its packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version the client speaks.
    pub version: Version,
    /// The client is another server's bridge (3.x only).
    pub bridge: bool,
    /// Start with an empty session. Before version 5 the session also ends with the connection (clean session).
    pub clean_start: bool,
    /// Seconds; 0 for none.
    pub keep_alive: u16,
    /// Empty if the server is to choose: in version 5, and in 3.1.1 with a clean session. Of any length: 3.1 limits
    /// it to 23 characters, which clients of its time ignored and brokers let pass.
    pub client_id: &'a str,
    /// The will.
    pub will: Option<Will<'a>>,
    /// User name.
    pub user_name: Option<&'a str>,
    /// Password; before version 5 only together with a user name.
    pub password: Option<&'a [u8]>,
    /// The properties; none before version 5.
    pub properties: ConnectProperties<'a>,
}

/// What is published for a client that goes without saying so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// The topic, checked.
    pub topic: TopicName<'a>,
    /// The message. In 3.1 it is said to be a string; any bytes are taken.
    pub payload: &'a [u8],
    /// Quality of service.
    pub qos: QoS,
    /// To be retained.
    pub retain: bool,
    /// How long after the connection's end to publish it, in seconds; 0 before version 5.
    pub delay_interval: u32,
    /// The properties of the message to come. A delay among them does not count; [`Will::delay_interval`] does.
    pub properties: PublishProperties<'a>,
}

/// Properties of CONNECT. `None` is "absent"; what that stands for is said at each.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectProperties<'a> {
    /// Session expiry interval, seconds; absent 0; `u32::MAX` never.
    pub session_expiry: Option<u32>,
    /// Receive maximum, not 0; absent 65,535.
    pub receive_maximum: Option<u16>,
    /// Maximum packet size, bytes, not 0; absent no limit.
    pub maximum_packet_size: Option<u32>,
    /// Topic alias maximum; absent 0.
    pub topic_alias_maximum: Option<u16>,
    /// Request response information; absent false.
    pub request_response_information: Option<bool>,
    /// Request problem information; absent true.
    pub request_problem_information: Option<bool>,
    /// Authentication method.
    pub authentication_method: Option<&'a str>,
    /// Authentication data; only with a method.
    pub authentication_data: Option<&'a [u8]>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Connect<'a> {
    /// A CONNECT with a clean start and nothing else: no keep alive, no will, nobody's name.
    pub fn new(version: Version, client_id: &'a str) -> Self {
        Self {
            version,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_id,
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties::default(),
        }
    }

    /// Decodes the body, version and all.
    ///
    /// # Errors
    /// Every rule of section 3.1. See [`DecodeError::connect_refusal`] for the answer to each.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (version, bridge) = protocol(&mut reader)?;
        Self::decode_rest(version, bridge, reader).map_err(|error| error.in_connect(version))
    }

    fn decode_rest(version: Version, bridge: bool, mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let flags = flags(version, reader.u8()?)?;
        let keep_alive = reader.u16()?;
        let properties = if version.is_v5() {
            ConnectProperties::read(&mut reader)?
        } else {
            ConnectProperties::default()
        };
        // [MQTT-3.1.3-1] [MQTT311-3.1.3-1] The payload, in this order.
        // [MQTT-3.1.3-3] [MQTT-3.1.3-4] [MQTT311-3.1.3-3] [MQTT311-3.1.3-4]
        let client_id = reader.string()?;
        let clean_start = flags & CLEAN_START != 0;
        // [MQTT-3.1.3-6] A version 5 server may name the client itself. [MQTT311-3.1.3-7] [MQTT311-3.1.3-8] In
        // 3.1.1 only one that keeps no session; 3.1 asks for at least one character.
        let may_be_empty = version.is_v5() || (version == Version::V311 && clean_start);
        if client_id.is_empty() && !may_be_empty {
            return Err(Violation::ClientIdEmpty.into());
        }
        let will = if flags & WILL != 0 { Some(Will::read(version, flags, &mut reader)?) } else { None };
        // 3.1 section 3.1: the remaining length has precedence over the user name flag and the password flag.
        let missing = |reader: &Reader<'_>| version == Version::V31 && reader.is_empty();
        // [MQTT-3.1.2-17] [MQTT-3.1.3-12] [MQTT311-3.1.2-19] [MQTT311-3.1.3-11]
        let user_name =
            if flags & USER_NAME != 0 && !missing(&reader) { Some(reader.string()?) } else { None };
        // [MQTT-3.1.2-19] [MQTT311-3.1.2-21]
        let password = if flags & PASSWORD != 0 && !missing(&reader) { Some(reader.binary()?) } else { None };
        // [MQTT-3.1.2-16] [MQTT-3.1.2-18] [MQTT311-3.1.2-18] [MQTT311-3.1.2-20] What no flag announces is too much.
        reader.finish()?;
        Ok(Self {
            version,
            bridge,
            clean_start,
            keep_alive,
            client_id,
            will,
            user_name,
            password,
            properties,
        })
    }

    /// The length of [`Connect::encode`].
    pub fn encoded_len(&self) -> usize {
        wire::encoded_len(self, self.version)
    }

    /// Appends the packet, in its own version. Properties are left out before version 5, the bridge bit in it.
    ///
    /// # Panics
    /// If a string, the password or the will's payload is longer than 65,535 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        wire::encode(self, self.version, out);
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= WILL | will.qos.bits() << WILL_QOS_AT;
            if will.retain {
                flags |= WILL_RETAIN;
            }
        }
        if self.user_name.is_some() {
            flags |= USER_NAME;
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        flags
    }
}

/// Protocol name and level.
fn protocol(reader: &mut Reader<'_>) -> Result<(Version, bool), DecodeError> {
    let name = reader.binary()?;
    // [MQTT-3.1.2-1] [MQTT311-3.1.2-1] Another name is another protocol.
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(Violation::ProtocolName.into());
    }
    let level = reader.u8()?;
    let unsupported = || {
        // [MQTT-3.1.2-2] [MQTT311-3.1.2-2] A client of a later version than ours understands version 5's refusal
        // better than 3.1.1's, one of an earlier version the other way round.
        let version = if level & !BRIDGE_BIT >= 5 { Version::V5 } else { Version::V311 };
        DecodeError::from(Violation::ProtocolLevel).in_connect(version)
    };
    let version = Version::from_level(level & !BRIDGE_BIT).ok_or_else(unsupported)?;
    let bridge = level & BRIDGE_BIT != 0;
    if name != version.protocol_name().as_bytes() || (bridge && version.is_v5()) {
        return Err(unsupported());
    }
    Ok((version, bridge))
}

/// Checks the connect flags.
fn flags(version: Version, flags: u8) -> Result<u8, DecodeError> {
    // [MQTT-3.1.2-3] [MQTT311-3.1.2-3] 3.1 does not use the bit and does not ask for its value.
    if flags & RESERVED != 0 && version != Version::V31 {
        return Err(Violation::ConnectFlagReserved.into());
    }
    if flags & WILL != 0 {
        // [MQTT-3.1.2-12] [MQTT311-3.1.2-14] 3 is no QoS.
        if QoS::from_bits(flags >> WILL_QOS_AT & 0b11).is_none() {
            return Err(Violation::WillQos3.into());
        }
    } else if flags & (WILL_RETAIN | 0b11 << WILL_QOS_AT) != 0 && version != Version::V31 {
        // [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT311-3.1.2-13] [MQTT311-3.1.2-15] No code is named; the flags can
        // be read and contradict each other: a protocol error. 3.1 calls the bits unused without the flag.
        return Err(Violation::WillFlagsWithoutWill.into());
    }
    // [MQTT311-3.1.2-22] In 3.1 alike; version 5 allows a password alone.
    if flags & (USER_NAME | PASSWORD) == PASSWORD && !version.is_v5() {
        return Err(Violation::PasswordWithoutUserName.into());
    }
    Ok(flags)
}

impl<'a> Will<'a> {
    fn read(version: Version, flags: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        // [MQTT-3.1.2-9] [MQTT311-3.1.2-9] All of it must be there.
        let properties = if version.is_v5() {
            PublishProperties::parse(properties::block(reader)?, Place::Will)?
        } else {
            PublishProperties::NONE
        };
        // [MQTT-3.1.3-11] [MQTT311-3.1.3-10] A string, and as it will be published, a topic name.
        let topic = RawTopic::new(reader.binary()?).check()?;
        let payload = reader.binary()?;
        let qos = QoS::from_bits(flags >> WILL_QOS_AT & 0b11).expect("flags that were checked");
        let delay_interval = properties.will_delay().unwrap_or(0);
        Ok(Self { topic, payload, qos, retain: flags & WILL_RETAIN != 0, delay_interval, properties })
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        if version.is_v5() {
            // Absent stands for 0.
            let delay = (self.delay_interval != 0).then_some(Property::WillDelay(self.delay_interval));
            let length = self.properties.write_len(Place::Will) + if delay.is_some() { 5 } else { 0 };
            sink.variable(length as u32);
            if let Some(delay) = delay {
                delay.write(sink);
            }
            self.properties.write(Place::Will, sink);
        }
        sink.string(self.topic.as_str());
        sink.binary(self.payload);
    }
}

impl<'a> ConnectProperties<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let block = properties::block(reader)?;
        let mut this = Self::default();
        let mut walk = Walk::new(block);
        while let Some(property) = walk.next()? {
            match property {
                Property::SessionExpiry(seconds) => this.session_expiry = Some(seconds),
                Property::ReceiveMaximum(count) => this.receive_maximum = Some(count),
                Property::MaximumPacketSize(bytes) => this.maximum_packet_size = Some(bytes),
                Property::TopicAliasMaximum(alias) => this.topic_alias_maximum = Some(alias),
                Property::RequestResponseInformation(flag) => this.request_response_information = Some(flag),
                Property::RequestProblemInformation(flag) => this.request_problem_information = Some(flag),
                Property::AuthenticationMethod(text) => this.authentication_method = Some(text),
                Property::AuthenticationData(bytes) => this.authentication_data = Some(bytes),
                Property::User(..) => {}
                // 5.0 section 2.2.2.2, table 2-4.
                _ => return Err(Violation::PropertyNotAllowed.into()),
            }
        }
        // 5.0 section 3.1.2.11.10: a protocol error.
        if this.authentication_data.is_some() && this.authentication_method.is_none() {
            return Err(Violation::AuthDataWithoutMethod.into());
        }
        this.user_properties = UserProperties::of_block(block, walk.seen);
        Ok(this)
    }

    fn each(&self, put: &mut dyn FnMut(Property<'_>)) {
        let mut put_some = |property: Option<Property<'_>>| {
            if let Some(property) = property {
                put(property);
            }
        };
        put_some(self.session_expiry.map(Property::SessionExpiry));
        put_some(self.receive_maximum.map(Property::ReceiveMaximum));
        put_some(self.maximum_packet_size.map(Property::MaximumPacketSize));
        put_some(self.topic_alias_maximum.map(Property::TopicAliasMaximum));
        put_some(self.request_response_information.map(Property::RequestResponseInformation));
        put_some(self.request_problem_information.map(Property::RequestProblemInformation));
        put_some(self.authentication_method.map(Property::AuthenticationMethod));
        put_some(self.authentication_data.map(Property::AuthenticationData));
        self.user_properties.each(put);
    }
}

impl Body for Connect<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Connect.first_byte()
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.string(version.protocol_name());
        let bridge = if self.bridge && !version.is_v5() { BRIDGE_BIT } else { 0 };
        sink.u8(version.level() | bridge);
        sink.u8(self.flags());
        sink.u16(self.keep_alive);
        if version.is_v5() {
            properties::write(sink, |put| self.properties.each(put));
        }
        sink.string(self.client_id);
        if let Some(will) = &self.will {
            will.write(version, sink);
        }
        if let Some(user_name) = self.user_name {
            sink.string(user_name);
        }
        if let Some(password) = self.password {
            sink.binary(password);
        }
    }
}

impl std::fmt::Debug for Connect<'_> {
    /// A password is not printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("bridge", &self.bridge)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("user_name", &self.user_name)
            .field("password_len", &self.password.map(<[u8]>::len))
            .field("properties", &self.properties)
            .finish()
    }
}

impl std::fmt::Debug for ConnectProperties<'_> {
    /// Authentication data is not printed, only its length.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectProperties")
            .field("session_expiry", &self.session_expiry)
            .field("receive_maximum", &self.receive_maximum)
            .field("maximum_packet_size", &self.maximum_packet_size)
            .field("topic_alias_maximum", &self.topic_alias_maximum)
            .field("request_response_information", &self.request_response_information)
            .field("request_problem_information", &self.request_problem_information)
            .field("authentication_method", &self.authentication_method)
            .field("authentication_data_len", &self.authentication_data.map(<[u8]>::len))
            .field("user_properties", &self.user_properties)
            .finish()
    }
}

#[cfg(test)]
mod tests;
