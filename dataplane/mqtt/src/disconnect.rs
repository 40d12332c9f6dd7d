//! DISCONNECT (5.0 and 3.1.1 section 3.14). Before version 5 only a client sends it, and it says nothing.

use crate::error::{DecodeError, Violation};
use crate::fixed_header::PacketType;
use crate::properties::{self, Property, UserProperties, Walk};
use crate::qos::Sender;
use crate::reason::ReasonCode;
use crate::version::Version;
use crate::wire::{self, Body, Reader, Sink};

/// The last packet of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why; before version 5 always success, that is, a normal disconnection.
    pub reason: ReasonCode,
    /// Session expiry interval in seconds, in place of the one in CONNECT. From a client only.
    pub session_expiry: Option<u32>,
    /// A text for people.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// Another server to use. From a server.
    pub server_reference: Option<&'a str>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT without properties.
    pub const fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            session_expiry: None,
            reason_string: None,
            user_properties: UserProperties::NONE,
            server_reference: None,
        }
    }

    /// Decodes the body.
    ///
    /// # Errors
    /// Every rule of section 3.14 that does not need the session.
    pub fn decode(sender: Sender, version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut disconnect = Self::default();
        // 5.0 section 3.14.2.1: without reason code, success; 3.14.2.2.1: without property length, no properties.
        if version.is_v5() && !reader.is_empty() {
            // [MQTT-3.14.2-1]
            disconnect.reason = ReasonCode::decode(reader.u8()?, PacketType::Disconnect, sender)?;
            if !reader.is_empty() {
                disconnect.read_properties(sender, &mut reader)?;
            }
        }
        reader.finish()?;
        Ok(disconnect)
    }

    fn read_properties(&mut self, sender: Sender, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        let block = properties::block(reader)?;
        let mut walk = Walk::new(block);
        while let Some(property) = walk.next()? {
            match property {
                // [MQTT-3.14.2-2] A server does not send it.
                Property::SessionExpiry(_) if sender == Sender::Server => {
                    return Err(Violation::SessionExpiryFromServer.into());
                }
                Property::SessionExpiry(seconds) => self.session_expiry = Some(seconds),
                Property::ReasonString(text) => self.reason_string = Some(text),
                Property::ServerReference(text) => self.server_reference = Some(text),
                Property::User(..) => {}
                // 5.0 section 2.2.2.2, table 2-4.
                _ => return Err(Violation::PropertyNotAllowed.into()),
            }
        }
        self.user_properties = UserProperties::of_block(block, walk.seen);
        Ok(())
    }

    fn has_properties(&self) -> bool {
        self.session_expiry.is_some()
            || self.reason_string.is_some()
            || self.server_reference.is_some()
            || !self.user_properties.is_empty()
    }

    /// The length of [`Disconnect::encode`].
    pub fn encoded_len(&self, version: Version) -> usize {
        wire::encoded_len(self, version)
    }

    /// Appends the packet, in the shortest form there is for its content. Before version 5 that is two bytes, which
    /// only a client may send.
    ///
    /// # Panics
    /// If a string is longer than 65,535 bytes.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        wire::encode(self, version, out);
    }
}

impl Body for Disconnect<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Disconnect.first_byte()
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        if !version.is_v5() || (self.reason == ReasonCode::Success && !self.has_properties()) {
            return;
        }
        sink.u8(self.reason as u8);
        if self.has_properties() {
            properties::write(sink, |put| {
                if let Some(seconds) = self.session_expiry {
                    put(Property::SessionExpiry(seconds));
                }
                if let Some(text) = self.reason_string {
                    put(Property::ReasonString(text));
                }
                if let Some(text) = self.server_reference {
                    put(Property::ServerReference(text));
                }
                self.user_properties.each(put);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{decoded, golden, packet, refused, refused_from};
    use crate::packet::Packet;

    #[test]
    fn normal_disconnection_is_two_bytes_in_every_version() {
        for version in Version::ALL {
            golden(version, Packet::Disconnect(Disconnect::default()), &[0xE0, 0]);
        }
    }

    /// Figure 3-24 of 5.0: a session expiry interval of 0, here with each other form.
    #[test]
    fn forms_of_version_5() {
        let expiry = Disconnect { session_expiry: Some(0), ..Disconnect::default() };
        golden(Version::V5, Packet::Disconnect(expiry), &[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 0]);
        let will = Disconnect::new(ReasonCode::DisconnectWithWill);
        golden(Version::V5, Packet::Disconnect(will), &[0xE0, 1, 4]);
        let moved = Disconnect {
            reason_string: Some("s"),
            server_reference: Some("h"),
            user_properties: UserProperties::new(&[("k", "v")]),
            ..Disconnect::new(ReasonCode::ServerMoved)
        };
        let block = b"\x1F\0\x01s\x1C\0\x01h\x26\0\x01k\0\x01v";
        golden(Version::V5, Packet::Disconnect(moved), &packet(0xE0, &[&[0x9D, block.len() as u8], block]));
        // An empty property block need not be there and may be; so may a plain success.
        assert_eq!(decoded(Version::V5, &[0xE0, 2, 4, 0]), Packet::Disconnect(will));
        assert_eq!(decoded(Version::V5, &[0xE0, 1, 0]), Packet::Disconnect(Disconnect::default()));
    }

    /// covers [MQTT-3.14.2-1] [MQTT-3.14.2-2]
    #[test]
    fn what_is_refused() {
        assert_eq!(refused(Version::V311, &[0xE0, 1, 0]), Violation::TrailingBytes);
        assert_eq!(refused(Version::V5, &[0xE0, 3, 0, 0, 0]), Violation::TrailingBytes);
        for code in [0x01, 0x84, 0x91, 0xA3] {
            assert_eq!(refused(Version::V5, &[0xE0, 1, code]), Violation::ReasonCodeNotAllowed);
        }
        let expiry = [0xE0, 7, 0, 5, 0x11, 0, 0, 0, 1];
        assert_eq!(refused_from(Sender::Server, Version::V5, &expiry), Violation::SessionExpiryFromServer);
        let of_client = [0xE0, 1, 0x04];
        assert_eq!(refused_from(Sender::Server, Version::V5, &of_client), Violation::ReasonCodeNotAllowed);
        let of_server = [0xE0, 1, 0x8B];
        assert_eq!(refused_from(Sender::Client, Version::V5, &of_server), Violation::ReasonCodeNotAllowed);
    }
}
