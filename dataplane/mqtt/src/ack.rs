//! PUBACK, PUBREC, PUBREL and PUBCOMP (5.0 and 3.1.1 sections 3.4 to 3.7): one shape, four types.

use crate::error::DecodeError;
use crate::fixed_header::PacketType;
use crate::packet_id::PacketId;
use crate::properties::{self, Property, UserProperties};
use crate::qos::Sender;
use crate::reason::ReasonCode;
use crate::version::Version;
use crate::wire::{self, Body, Reader, Sink};

/// An acknowledgement of a publication. Which one is said by its packet type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The packet it is about.
    pub packet_id: PacketId,
    /// The outcome; before version 5 always success.
    pub reason: ReasonCode,
    /// A text for people.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Ack<'a> {
    /// An acknowledgement without properties.
    #[inline]
    pub const fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { packet_id, reason, reason_string: None, user_properties: UserProperties::NONE }
    }

    /// Decodes the body of a packet of this type.
    ///
    /// # Errors
    /// Every rule of the packet type's section.
    #[inline]
    pub fn decode(packet_type: PacketType, version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        // 5.0 section 3.4.2.1: without reason code, success; 3.4.2.2.1: without property length, no properties.
        if reader.is_empty() {
            return Ok(Self::new(packet_id, ReasonCode::Success));
        }
        Self::decode_rest(packet_type, version, packet_id, reader)
    }

    fn decode_rest(
        packet_type: PacketType,
        version: Version,
        packet_id: PacketId,
        mut reader: Reader<'a>,
    ) -> Result<Self, DecodeError> {
        let mut ack = Self::new(packet_id, ReasonCode::Success);
        if version.is_v5() {
            // [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
            ack.reason = ReasonCode::decode(reader.u8()?, packet_type, Sender::Either)?;
            if !reader.is_empty() {
                (ack.reason_string, ack.user_properties) = properties::reason_string_and_user(&mut reader)?;
            }
        }
        reader.finish()?;
        Ok(ack)
    }

    fn has_properties(&self) -> bool {
        self.reason_string.is_some() || !self.user_properties.is_empty()
    }

    /// The length of [`Ack::encode`].
    pub fn encoded_len(&self, version: Version) -> usize {
        wire::encoded_len(&(PacketType::PubAck, self), version)
    }

    /// Appends a packet of this type, in the shortest form there is for its content. Before version 5 that is the
    /// packet identifier alone.
    ///
    /// # Panics
    /// If a string is longer than 65,535 bytes.
    #[inline]
    pub fn encode(&self, packet_type: PacketType, version: Version, out: &mut Vec<u8>) {
        if !version.is_v5() || (self.reason == ReasonCode::Success && !self.has_properties()) {
            let [high, low] = self.packet_id.to_be_bytes();
            return out.extend_from_slice(&[packet_type.first_byte(), 2, high, low]);
        }
        wire::encode(&(packet_type, self), version, out);
    }
}

impl Body for (PacketType, &Ack<'_>) {
    fn first_byte(&self) -> u8 {
        self.0.first_byte()
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        let ack = self.1;
        sink.u16(ack.packet_id.get());
        if !version.is_v5() || (ack.reason == ReasonCode::Success && !ack.has_properties()) {
            return;
        }
        sink.u8(ack.reason as u8);
        if ack.has_properties() {
            properties::write(sink, |put| {
                if let Some(text) = ack.reason_string {
                    put(Property::ReasonString(text));
                }
                ack.user_properties.each(put);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Violation;
    use crate::golden::{golden, packet, refused};
    use crate::packet::Packet;

    const FOUR: [(PacketType, u8); 4] = [
        (PacketType::PubAck, 0x40),
        (PacketType::PubRec, 0x50),
        (PacketType::PubRel, 0x62),
        (PacketType::PubComp, 0x70),
    ];

    fn of_type(packet_type: PacketType, ack: Ack<'_>) -> Packet<'_> {
        match packet_type {
            PacketType::PubAck => Packet::PubAck(ack),
            PacketType::PubRec => Packet::PubRec(ack),
            PacketType::PubRel => Packet::PubRel(ack),
            _ => Packet::PubComp(ack),
        }
    }

    fn id() -> PacketId {
        PacketId::new(0x0A0B).unwrap()
    }

    #[test]
    fn the_short_form_is_that_of_every_version() {
        for (packet_type, first) in FOUR {
            for version in Version::ALL {
                let ack = Ack::new(id(), ReasonCode::Success);
                golden(version, of_type(packet_type, ack), &[first, 2, 0x0A, 0x0B]);
            }
        }
    }

    #[test]
    fn the_longer_forms_of_version_5() {
        for (packet_type, first) in FOUR {
            let reason = match packet_type {
                PacketType::PubAck | PacketType::PubRec => ReasonCode::QuotaExceeded,
                _ => ReasonCode::PacketIdentifierNotFound,
            };
            let ack = Ack::new(id(), reason);
            golden(Version::V5, of_type(packet_type, ack), &[first, 3, 0x0A, 0x0B, reason as u8]);
            let ack = Ack { reason_string: Some("s"), ..ack };
            let bytes = packet(first, &[&[0x0A, 0x0B, reason as u8, 4, 0x1F, 0, 1, b's']]);
            golden(Version::V5, of_type(packet_type, ack), &bytes);
            let success =
                Ack { reason: ReasonCode::Success, user_properties: UserProperties::new(&[("", "")]), ..ack };
            let bytes = packet(first, &[&[0x0A, 0x0B, 0, 9, 0x1F, 0, 1, b's', 0x26, 0, 0, 0, 0]]);
            golden(Version::V5, of_type(packet_type, success), &bytes);
            // An empty property block need not be there and may be.
            let empty = [first, 4, 0x0A, 0x0B, reason as u8, 0];
            assert_eq!(
                crate::golden::decoded(Version::V5, &empty),
                of_type(packet_type, Ack::new(id(), reason))
            );
        }
    }

    /// covers [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-2.2.1-5]
    #[test]
    fn what_is_refused() {
        for (packet_type, first) in FOUR {
            assert_eq!(refused(Version::V311, &[first, 2, 0, 0]), Violation::PacketIdZero);
            assert_eq!(refused(Version::V311, &[first, 1, 0]), Violation::Truncated);
            assert_eq!(refused(Version::V311, &[first, 3, 0, 1, 0]), Violation::TrailingBytes);
            assert_eq!(refused(Version::V31, &[first, 3, 0, 1, 0]), Violation::TrailingBytes);
            assert_eq!(refused(Version::V5, &[first, 5, 0, 1, 0, 0, 0]), Violation::TrailingBytes);
            assert_eq!(refused(Version::V5, &[first, 4, 0, 1, 0, 1]), Violation::PropertyLengthOverrun);
            let other = if packet_type == PacketType::PubAck || packet_type == PacketType::PubRec {
                0x92
            } else {
                0x97
            };
            for code in [0x01, 0x81, 0xFF, other] {
                assert_eq!(refused(Version::V5, &[first, 3, 0, 1, code]), Violation::ReasonCodeNotAllowed);
            }
        }
    }

    #[test]
    fn before_version_5_there_is_only_success() {
        let ack = Ack { reason_string: Some("s"), ..Ack::new(id(), ReasonCode::NotAuthorized) };
        let mut out = Vec::new();
        ack.encode(PacketType::PubAck, Version::V311, &mut out);
        assert_eq!(out, [0x40, 2, 0x0A, 0x0B]);
        assert_eq!(ack.encoded_len(Version::V311), 4);
    }
}
