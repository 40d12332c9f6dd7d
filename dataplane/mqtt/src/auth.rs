//! AUTH (5.0 section 3.15): a step of an extended authentication. Version 5 only.

use crate::error::{DecodeError, Violation};
use crate::fixed_header::PacketType;
use crate::properties::{self, Property, UserProperties, Walk};
use crate::qos::Sender;
use crate::reason::ReasonCode;
use crate::version::Version;
use crate::wire::{self, Body, Reader, Sink};

/// A step of an authentication exchange.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success (from a server), continue, or re-authenticate (from a client).
    pub reason: ReasonCode,
    /// The method; absent only from the shortest form, an AUTH without a body. Whether it is the CONNECT's is for the
    /// connection to compare [MQTT-4.12.0-5].
    pub authentication_method: Option<&'a str>,
    /// The method's data.
    pub authentication_data: Option<&'a [u8]>,
    /// A text for people.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    /// Decodes the body.
    ///
    /// # Errors
    /// Every rule of section 3.15 that does not need the connection's history.
    pub fn decode(sender: Sender, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut auth = Self::default();
        if reader.is_empty() {
            // 5.0 section 3.15.2.1: success without properties may be said by nothing at all. It is a success all
            // the same, which is a server's to send [MQTT-3.15.2-1].
            return if sender == Sender::Client {
                Err(Violation::ReasonCodeNotAllowed.into())
            } else {
                Ok(auth)
            };
        }
        // [MQTT-3.15.2-1]
        auth.reason = ReasonCode::decode(reader.u8()?, PacketType::Auth, sender)?;
        let block = properties::block(&mut reader)?;
        let mut walk = Walk::new(block);
        while let Some(property) = walk.next()? {
            match property {
                Property::AuthenticationMethod(text) => auth.authentication_method = Some(text),
                Property::AuthenticationData(bytes) => auth.authentication_data = Some(bytes),
                Property::ReasonString(text) => auth.reason_string = Some(text),
                Property::User(..) => {}
                // 5.0 section 2.2.2.2, table 2-4.
                _ => return Err(Violation::PropertyNotAllowed.into()),
            }
        }
        auth.user_properties = UserProperties::of_block(block, walk.seen);
        reader.finish()?;
        // 5.0 section 3.15.2.2.2: a protocol error to omit it.
        if auth.authentication_method.is_none() {
            return Err(Violation::AuthMethodMissing.into());
        }
        Ok(auth)
    }

    fn is_bare(&self) -> bool {
        *self == Self::default()
    }

    /// The length of [`Auth::encode`].
    pub fn encoded_len(&self) -> usize {
        wire::encoded_len(self, Version::V5)
    }

    /// Appends the packet.
    ///
    /// # Panics
    /// If a string or the data is longer than 65,535 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        wire::encode(self, Version::V5, out);
    }
}

impl std::fmt::Debug for Auth<'_> {
    /// Authentication data is not printed, only its length.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth")
            .field("reason", &self.reason)
            .field("authentication_method", &self.authentication_method)
            .field("authentication_data_len", &self.authentication_data.map(<[u8]>::len))
            .field("reason_string", &self.reason_string)
            .field("user_properties", &self.user_properties)
            .finish()
    }
}

impl Body for Auth<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Auth.first_byte()
    }

    fn write<S: Sink>(&self, _version: Version, sink: &mut S) {
        if self.is_bare() {
            return;
        }
        sink.u8(self.reason as u8);
        properties::write(sink, |put| {
            if let Some(text) = self.authentication_method {
                put(Property::AuthenticationMethod(text));
            }
            if let Some(bytes) = self.authentication_data {
                put(Property::AuthenticationData(bytes));
            }
            if let Some(text) = self.reason_string {
                put(Property::ReasonString(text));
            }
            self.user_properties.each(put);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{decoded, golden, packet, refused, refused_from};
    use crate::packet::Packet;

    #[test]
    fn forms() {
        golden(Version::V5, Packet::Auth(Auth::default()), &[0xF0, 0]);
        let auth = Auth {
            reason: ReasonCode::ContinueAuthentication,
            authentication_method: Some("m"),
            authentication_data: Some(b"\0\xFF"),
            reason_string: Some("s"),
            user_properties: UserProperties::new(&[("k", "v")]),
        };
        let block = b"\x15\0\x01m\x16\0\x02\0\xFF\x1F\0\x01s\x26\0\x01k\0\x01v";
        golden(Version::V5, Packet::Auth(auth), &packet(0xF0, &[&[0x18, block.len() as u8], block]));
    }

    /// covers [MQTT-3.15.2-1] [MQTT-4.12.0-5] [MQTT-4.12.1-1]
    #[test]
    fn what_is_refused() {
        assert_eq!(refused(Version::V5, &[0xF0, 2, 0x18, 0]), Violation::AuthMethodMissing);
        assert_eq!(refused(Version::V5, &[0xF0, 1, 0x18]), Violation::Truncated);
        assert_eq!(refused(Version::V5, &[0xF0, 2, 0x87, 0]), Violation::ReasonCodeNotAllowed);
        assert_eq!(refused(Version::V5, &[0xF0, 7, 0x18, 4, 0x15, 0, 1, b'm', 0]), Violation::TrailingBytes);
        let with = |code| [0xF0, 6, code, 4, 0x15, 0, 1, b'm'];
        assert_eq!(refused_from(Sender::Server, Version::V5, &with(0x19)), Violation::ReasonCodeNotAllowed);
        assert_eq!(refused_from(Sender::Client, Version::V5, &with(0x00)), Violation::ReasonCodeNotAllowed);
        assert_eq!(refused_from(Sender::Client, Version::V5, &[0xF0, 0]), Violation::ReasonCodeNotAllowed);
        assert!(matches!(decoded(Version::V5, &with(0x19)), Packet::Auth(_)));
    }

    #[test]
    fn data_is_not_printed() {
        let auth = Auth { authentication_data: Some(b"s3cret"), ..Auth::default() };
        let text = format!("{auth:?}");
        assert!(text.contains("authentication_data_len: Some(6)") && !text.contains("115"), "{text}");
    }
}
