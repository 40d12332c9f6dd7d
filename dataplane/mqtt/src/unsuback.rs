//! UNSUBACK (5.0 and 3.1.1 section 3.11).

use crate::error::DecodeError;
use crate::fixed_header::PacketType;
use crate::packet_id::PacketId;
use crate::properties::{self, UserProperties};
use crate::reason::ReasonCode;
use crate::suback::{ReasonCodes, write_properties};
use crate::version::Version;
use crate::wire::{self, Body, Reader, Sink};

/// The answer to an UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// The UNSUBSCRIBE it answers.
    pub packet_id: PacketId,
    /// A text for people; none before version 5.
    pub reason_string: Option<&'a str>,
    /// User properties; none before version 5.
    pub user_properties: UserProperties<'a>,
    /// A code for each filter, in order; none before version 5.
    pub reasons: ReasonCodes<'a>,
}

impl<'a> UnsubAck<'a> {
    /// An UNSUBACK without properties.
    pub const fn new(packet_id: PacketId, reasons: &'a [ReasonCode]) -> Self {
        let reasons = ReasonCodes::new(reasons);
        Self { packet_id, reason_string: None, user_properties: UserProperties::NONE, reasons }
    }

    /// Decodes the body.
    ///
    /// # Errors
    /// Every rule of section 3.11.
    pub fn decode(version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut ack = Self::new(reader.packet_id()?, &[]);
        if version.is_v5() {
            (ack.reason_string, ack.user_properties) = properties::reason_string_and_user(&mut reader)?;
            // [MQTT-3.11.3-2]
            ack.reasons = ReasonCodes::decode(PacketType::UnsubAck, reader.rest())?;
        } else {
            // 3.1.1 section 3.11.3: no payload.
            reader.finish()?;
        }
        Ok(ack)
    }

    /// The length of [`UnsubAck::encode`].
    pub fn encoded_len(&self, version: Version) -> usize {
        wire::encoded_len(self, version)
    }

    /// Appends the packet. Before version 5 that is the packet identifier alone.
    ///
    /// # Panics
    /// If a string is longer than 65,535 bytes.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        wire::encode(self, version, out);
    }
}

impl Body for UnsubAck<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::UnsubAck.first_byte()
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        if version.is_v5() {
            write_properties(sink, self.reason_string, self.user_properties);
            for reason in self.reasons {
                sink.u8(reason as u8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Violation;
    use crate::golden::{golden, packet, refused};
    use crate::packet::Packet;

    #[test]
    fn forms() {
        let id = PacketId::new(10).unwrap();
        golden(Version::V31, Packet::UnsubAck(UnsubAck::new(id, &[])), &[0xB0, 2, 0, 10]);
        golden(Version::V311, Packet::UnsubAck(UnsubAck::new(id, &[])), &[0xB0, 2, 0, 10]);
        let reasons = [ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
        let ack = UnsubAck::new(id, &reasons);
        golden(Version::V5, Packet::UnsubAck(ack), &[0xB0, 5, 0, 10, 0, 0x00, 0x11]);
        let ack =
            UnsubAck { reason_string: Some("s"), user_properties: UserProperties::new(&[("k", "v")]), ..ack };
        let bytes = packet(0xB0, &[&[0, 10, 11], b"\x1F\0\x01s\x26\0\x01k\0\x01v", &[0x00, 0x11]]);
        golden(Version::V5, Packet::UnsubAck(ack), &bytes);
        let mut out = Vec::new();
        ack.encode(Version::V311, &mut out);
        assert_eq!(out, [0xB0, 2, 0, 10], "before version 5 there are no codes");
    }

    /// covers [MQTT-3.11.3-2]
    #[test]
    fn what_is_refused() {
        assert_eq!(refused(Version::V311, &[0xB0, 3, 0, 10, 0]), Violation::TrailingBytes);
        assert_eq!(refused(Version::V5, &[0xB0, 3, 0, 10, 0]), Violation::ReasonCodesEmpty);
        assert_eq!(refused(Version::V5, &[0xB0, 4, 0, 10, 0, 0x01]), Violation::ReasonCodeNotAllowed);
        assert_eq!(refused(Version::V5, &[0xB0, 4, 0, 0, 0, 0x00]), Violation::PacketIdZero);
    }
}
