//! SUBACK (5.0 and 3.1.1 section 3.9), and the lists of codes that it shares with UNSUBACK.

use crate::error::{DecodeError, Violation};
use crate::fixed_header::PacketType;
use crate::packet_id::PacketId;
use crate::properties::{self, Property, UserProperties};
use crate::qos::Sender;
use crate::reason::ReasonCode;
use crate::version::Version;
use crate::wire::{self, Body, Reader, Sink};

/// The answer to a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// The SUBSCRIBE it answers.
    pub packet_id: PacketId,
    /// A text for people; none before version 5.
    pub reason_string: Option<&'a str>,
    /// User properties; none before version 5.
    pub user_properties: UserProperties<'a>,
    /// A code for each filter, in order. In 3.x every failure travels as 0x80.
    pub reasons: ReasonCodes<'a>,
}

impl<'a> SubAck<'a> {
    /// A SUBACK without properties.
    pub const fn new(packet_id: PacketId, reasons: &'a [ReasonCode]) -> Self {
        let reasons = ReasonCodes::new(reasons);
        Self { packet_id, reason_string: None, user_properties: UserProperties::NONE, reasons }
    }

    /// Decodes the body.
    ///
    /// # Errors
    /// Every rule of section 3.9.
    pub fn decode(version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let (reason_string, user_properties) = if version.is_v5() {
            properties::reason_string_and_user(&mut reader)?
        } else {
            (None, UserProperties::NONE)
        };
        let codes = reader.rest();
        // [MQTT311-3.9.3-2] Before version 5: three grants and one failure.
        if !version.is_v5() && codes.iter().any(|code| !matches!(code, 0 | 1 | 2 | 0x80)) {
            return Err(Violation::ReturnCodeReserved.into());
        }
        // [MQTT-3.9.3-2]
        let reasons = ReasonCodes::decode(PacketType::SubAck, codes)?;
        Ok(Self { packet_id, reason_string, user_properties, reasons })
    }

    /// The length of [`SubAck::encode`].
    pub fn encoded_len(&self, version: Version) -> usize {
        wire::encoded_len(self, version)
    }

    /// Appends the packet.
    ///
    /// # Panics
    /// If a string is longer than 65,535 bytes.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        wire::encode(self, version, out);
    }
}

impl Body for SubAck<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::SubAck.first_byte()
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        if version.is_v5() {
            write_properties(sink, self.reason_string, self.user_properties);
        }
        for reason in self.reasons {
            let reason =
                if version.is_v5() || !reason.is_error() { reason } else { ReasonCode::UnspecifiedError };
            sink.u8(reason as u8);
        }
    }
}

/// The property block of SUBACK and UNSUBACK.
pub(crate) fn write_properties<S: Sink>(sink: &mut S, reason_string: Option<&str>, user: UserProperties<'_>) {
    properties::write(sink, |put| {
        if let Some(text) = reason_string {
            put(Property::ReasonString(text));
        }
        user.each(put);
    });
}

/// A list of reason codes. Decoded, it is a view of the packet's bytes; to encode, it is made from a slice.
#[derive(Clone, Copy)]
pub struct ReasonCodes<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    /// Bytes that have been validated.
    Bytes(&'a [u8]),
    List(&'a [ReasonCode]),
}

impl<'a> ReasonCodes<'a> {
    /// These, in this order.
    pub const fn new(list: &'a [ReasonCode]) -> Self {
        Self(Source::List(list))
    }

    pub(crate) fn decode(packet: PacketType, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        // [MQTT-3.8.4-6] [MQTT-3.11.3-2] [MQTT311-3.8.4-5] One for each filter, of which there was at least one.
        if bytes.is_empty() {
            return Err(Violation::ReasonCodesEmpty.into());
        }
        for &byte in bytes {
            ReasonCode::decode(byte, packet, Sender::Either)?;
        }
        Ok(Self(Source::Bytes(bytes)))
    }

    /// How many there are.
    pub const fn len(self) -> usize {
        match self.0 {
            Source::Bytes(bytes) => bytes.len(),
            Source::List(list) => list.len(),
        }
    }

    /// Whether there is none: only in an UNSUBACK before version 5.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The codes, in order.
    pub fn iter(self) -> ReasonCodeIter<'a> {
        ReasonCodeIter(self.0)
    }
}

impl<'a> IntoIterator for ReasonCodes<'a> {
    type Item = ReasonCode;
    type IntoIter = ReasonCodeIter<'a>;

    fn into_iter(self) -> ReasonCodeIter<'a> {
        self.iter()
    }
}

impl PartialEq for ReasonCodes<'_> {
    /// The same codes in the same order, wherever they are kept.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for ReasonCodes<'_> {}

impl std::fmt::Debug for ReasonCodes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Iterator over [`ReasonCodes`].
#[derive(Clone)]
pub struct ReasonCodeIter<'a>(Source<'a>);

impl Iterator for ReasonCodeIter<'_> {
    type Item = ReasonCode;

    fn next(&mut self) -> Option<ReasonCode> {
        match &mut self.0 {
            Source::Bytes(bytes) => {
                let (first, rest) = bytes.split_first()?;
                *bytes = rest;
                ReasonCode::from_u8(*first)
            }
            Source::List(list) => {
                let (first, rest) = list.split_first()?;
                *list = rest;
                Some(*first)
            }
        }
    }
}

#[cfg(test)]
mod tests;
