//! CONNACK (5.0 and 3.1.1 section 3.2).

use crate::error::{DecodeError, Violation};
use crate::fixed_header::PacketType;
use crate::properties::{self, Property, UserProperties, Walk};
use crate::qos::{QoS, Sender};
use crate::reason::{ConnectReturnCode, ReasonCode};
use crate::version::Version;
use crate::wire::{self, Body, Reader, Sink};

/// The answer to a CONNECT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// The server has a session for the client. Not said in 3.1.
    pub session_present: bool,
    /// Accepted, or why not. In 3.x it travels as one of six return codes.
    pub reason: ReasonCode,
    /// The properties; none before version 5.
    pub properties: ConnAckProperties<'a>,
}

/// Properties of CONNACK. `None` is "absent"; what that stands for is said at each.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnAckProperties<'a> {
    /// Session expiry interval, seconds; absent: the client's.
    pub session_expiry: Option<u32>,
    /// Receive maximum, not 0; absent 65,535.
    pub receive_maximum: Option<u16>,
    /// Maximum QoS, 0 or 1; absent 2.
    pub maximum_qos: Option<QoS>,
    /// Retain available; absent true.
    pub retain_available: Option<bool>,
    /// Maximum packet size, bytes, not 0; absent no limit.
    pub maximum_packet_size: Option<u32>,
    /// The client identifier the server has chosen.
    pub assigned_client_id: Option<&'a str>,
    /// Topic alias maximum; absent 0.
    pub topic_alias_maximum: Option<u16>,
    /// A text for people.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// Wildcard subscription available; absent true.
    pub wildcard_subscription_available: Option<bool>,
    /// Subscription identifiers available; absent true.
    pub subscription_ids_available: Option<bool>,
    /// Shared subscription available; absent true.
    pub shared_subscription_available: Option<bool>,
    /// The keep alive the client is to use, seconds; absent: the client's.
    pub server_keep_alive: Option<u16>,
    /// Response information.
    pub response_information: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
    /// Authentication method.
    pub authentication_method: Option<&'a str>,
    /// Authentication data.
    pub authentication_data: Option<&'a [u8]>,
}

impl<'a> ConnAck<'a> {
    /// A CONNACK without properties.
    pub fn new(session_present: bool, reason: ReasonCode) -> Self {
        Self { session_present, reason, properties: ConnAckProperties::default() }
    }

    /// Decodes the body.
    ///
    /// # Errors
    /// Every rule of section 3.2.
    pub fn decode(version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let flags = reader.u8()?;
        let code = reader.u8()?;
        let (reason, properties) = if version.is_v5() {
            // [MQTT-3.2.2-8]
            let reason = ReasonCode::decode(code, PacketType::ConnAck, Sender::Either)?;
            (reason, ConnAckProperties::read(&mut reader)?)
        } else {
            // 3.1.1 section 3.2.2.3: the other codes are reserved.
            let reason = ConnectReturnCode::reason(code).ok_or(Violation::ReturnCodeReserved)?;
            (reason, ConnAckProperties::default())
        };
        reader.finish()?;
        // 3.1 has no flags here, and no rule for the byte.
        if version == Version::V31 {
            return Ok(Self { session_present: false, reason, properties });
        }
        // [MQTT-3.2.2-1], 3.1.1 section 3.2.2.1.
        if flags > 1 {
            return Err(Violation::ConnAckFlagsReserved.into());
        }
        let session_present = flags == 1;
        // [MQTT-3.2.2-6] [MQTT311-3.2.2-4]
        if session_present && reason != ReasonCode::Success {
            return Err(Violation::SessionPresentOnRefusal.into());
        }
        Ok(Self { session_present, reason, properties })
    }

    /// The length of [`ConnAck::encode`].
    pub fn encoded_len(&self, version: Version) -> usize {
        if self.is_silent(version) { 0 } else { wire::encoded_len(self, version) }
    }

    /// Appends the packet. Before version 5, for a reason that no return code comes near, nothing: there the
    /// connection is closed without a CONNACK [MQTT311-3.2.2-6].
    ///
    /// # Panics
    /// If a string or the data is longer than 65,535 bytes.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        if !self.is_silent(version) {
            wire::encode(self, version, out);
        }
    }

    fn is_silent(&self, version: Version) -> bool {
        !version.is_v5() && self.reason.connect_return_code().is_none()
    }
}

impl<'a> ConnAckProperties<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let block = properties::block(reader)?;
        let mut this = Self::default();
        let mut walk = Walk::new(block);
        while let Some(property) = walk.next()? {
            match property {
                Property::SessionExpiry(seconds) => this.session_expiry = Some(seconds),
                Property::ReceiveMaximum(count) => this.receive_maximum = Some(count),
                Property::MaximumQos(qos) => this.maximum_qos = Some(qos),
                Property::RetainAvailable(flag) => this.retain_available = Some(flag),
                Property::MaximumPacketSize(bytes) => this.maximum_packet_size = Some(bytes),
                Property::AssignedClientId(text) => this.assigned_client_id = Some(text),
                Property::TopicAliasMaximum(alias) => this.topic_alias_maximum = Some(alias),
                Property::ReasonString(text) => this.reason_string = Some(text),
                Property::WildcardSubscriptionAvailable(flag) => {
                    this.wildcard_subscription_available = Some(flag)
                }
                Property::SubscriptionIdsAvailable(flag) => this.subscription_ids_available = Some(flag),
                Property::SharedSubscriptionAvailable(flag) => {
                    this.shared_subscription_available = Some(flag)
                }
                Property::ServerKeepAlive(seconds) => this.server_keep_alive = Some(seconds),
                Property::ResponseInformation(text) => this.response_information = Some(text),
                Property::ServerReference(text) => this.server_reference = Some(text),
                Property::AuthenticationMethod(text) => this.authentication_method = Some(text),
                Property::AuthenticationData(bytes) => this.authentication_data = Some(bytes),
                Property::User(..) => {}
                // 5.0 section 2.2.2.2, table 2-4.
                _ => return Err(Violation::PropertyNotAllowed.into()),
            }
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
        put_some(self.maximum_qos.map(Property::MaximumQos));
        put_some(self.retain_available.map(Property::RetainAvailable));
        put_some(self.maximum_packet_size.map(Property::MaximumPacketSize));
        put_some(self.assigned_client_id.map(Property::AssignedClientId));
        put_some(self.topic_alias_maximum.map(Property::TopicAliasMaximum));
        put_some(self.reason_string.map(Property::ReasonString));
        put_some(self.wildcard_subscription_available.map(Property::WildcardSubscriptionAvailable));
        put_some(self.subscription_ids_available.map(Property::SubscriptionIdsAvailable));
        put_some(self.shared_subscription_available.map(Property::SharedSubscriptionAvailable));
        put_some(self.server_keep_alive.map(Property::ServerKeepAlive));
        put_some(self.response_information.map(Property::ResponseInformation));
        put_some(self.server_reference.map(Property::ServerReference));
        put_some(self.authentication_method.map(Property::AuthenticationMethod));
        put_some(self.authentication_data.map(Property::AuthenticationData));
        self.user_properties.each(put);
    }
}

impl Body for ConnAck<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::ConnAck.first_byte()
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        // 3.1 keeps the byte for later use.
        sink.u8(u8::from(self.session_present && version != Version::V31));
        if version.is_v5() {
            sink.u8(self.reason as u8);
            properties::write(sink, |put| self.properties.each(put));
        } else {
            sink.u8(self.reason.connect_return_code().expect("a reason that has a return code") as u8);
        }
    }
}

impl std::fmt::Debug for ConnAckProperties<'_> {
    /// Only what is there, and of authentication data only the length.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut list = f.debug_list();
        self.each(&mut |property| {
            match property {
                Property::AuthenticationData(bytes) => {
                    list.entry(&format_args!("AuthenticationData({} B)", bytes.len()))
                }
                property => list.entry(&property),
            };
        });
        list.finish()
    }
}

#[cfg(test)]
mod tests;
