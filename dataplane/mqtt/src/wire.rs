//! The data types of the wire (5.0 section 1.5): reading them out of a packet's body, writing them into a
//! buffer. What is written is first counted by the same code, so that lengths and bytes cannot disagree.

use crate::error::{DecodeError, Violation};
use crate::fixed_header::{MAX_REMAINING, variable_len};
use crate::packet_id::PacketId;
use crate::text;
use crate::version::Version;

/// A cursor over the bytes of one packet or one property block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(Violation::Truncated.into());
        };
        self.rest = rest;
        Ok(*head)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((head, rest)) = self.rest.split_at_checked(count) else {
            return Err(Violation::Truncated.into());
        };
        self.rest = rest;
        Ok(head)
    }

    /// Bytes behind a two-byte length.
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A UTF-8 string behind a two-byte length.
    pub(crate) fn string(&mut self) -> Result<&'a str, DecodeError> {
        text::check(self.binary()?)
    }

    /// A variable byte integer inside a packet: version 5 only, therefore held to its shortest form.
    pub(crate) fn variable(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for index in 0..4 {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                if byte == 0 && index != 0 {
                    // [MQTT-1.5.5-1] The last byte adds nothing: one byte less would have done.
                    return Err(Violation::VariableIntegerNotMinimal.into());
                }
                return Ok(value);
            }
        }
        // 5.0 section 1.5.5: four bytes at most.
        Err(Violation::VariableIntegerTooLong.into())
    }

    /// A packet identifier.
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        // [MQTT-2.2.1-3] [MQTT311-2.3.1-1] Never zero.
        PacketId::new(self.u16()?).ok_or(Violation::PacketIdZero.into())
    }

    /// Ends the packet: nothing may be left.
    #[inline]
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(Violation::TrailingBytes.into()) }
    }
}

/// Where encoded bytes go: into a buffer, or only into a count.
pub(crate) trait Sink {
    fn bytes(&mut self, bytes: &[u8]);

    #[inline]
    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    #[inline]
    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// # Panics
    /// Above 65,535 bytes, which no length field can say [MQTT-4.7.3-3].
    fn binary(&mut self, bytes: &[u8]) {
        self.u16(u16::try_from(bytes.len()).expect("a string or binary field within 65,535 bytes"));
        self.bytes(bytes);
    }

    #[inline]
    fn string(&mut self, text: &str) {
        self.binary(text.as_bytes());
    }

    /// # Panics
    /// Above 268,435,455, which four bytes cannot say.
    #[inline]
    fn variable(&mut self, value: u32) {
        assert!(value <= MAX_REMAINING, "a variable byte integer within four bytes");
        let mut rest = value;
        while rest >= 0x80 {
            self.u8(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.u8(rest as u8);
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts what would be written.
#[derive(Default)]
pub(crate) struct Count(pub(crate) usize);

impl Sink for Count {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// A packet as the encoder sees it: a first byte, and a body that is counted and then written.
pub(crate) trait Body {
    fn first_byte(&self) -> u8;
    fn write<S: Sink>(&self, version: Version, sink: &mut S);
}

/// The length of the body alone.
pub(crate) fn body_len(body: &impl Body, version: Version) -> usize {
    let mut count = Count::default();
    body.write(version, &mut count);
    count.0
}

/// The length of the whole packet.
pub(crate) fn encoded_len(body: &impl Body, version: Version) -> usize {
    let length = body_len(body, version);
    1 + variable_len(length) + length
}

/// Appends the whole packet.
pub(crate) fn encode(body: &impl Body, version: Version, out: &mut Vec<u8>) {
    let length = body_len(body, version);
    out.reserve(1 + variable_len(length) + length);
    out.u8(body.first_byte());
    out.variable(u32::try_from(length).expect("a packet within 268,435,460 bytes"));
    body.write(version, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(bytes: &[u8]) -> Result<u32, Violation> {
        Reader::new(bytes).variable().map_err(DecodeError::rule)
    }

    /// The limits of each length, table 1-1 of 5.0.
    #[test]
    fn variable_byte_integers_at_the_limits_of_each_length() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ] {
            let mut out = Vec::new();
            out.variable(value);
            assert_eq!(out, bytes);
            assert_eq!(variable(bytes), Ok(value));
            assert_eq!(variable_len(value as usize), bytes.len());
        }
    }

    /// covers [MQTT-1.5.5-1]
    #[test]
    fn longer_forms_of_a_variable_byte_integer_are_refused() {
        assert_eq!(variable(&[0x80, 0x00]), Err(Violation::VariableIntegerNotMinimal));
        assert_eq!(variable(&[0xFF, 0x80, 0x00]), Err(Violation::VariableIntegerNotMinimal));
        assert_eq!(variable(&[0x80, 0x80, 0x80, 0x80, 0x01]), Err(Violation::VariableIntegerTooLong));
        assert_eq!(variable(&[0x80, 0x80]), Err(Violation::Truncated));
    }

    /// covers [MQTT-2.2.1-3] [MQTT311-2.3.1-1]
    #[test]
    fn a_packet_identifier_is_not_zero() {
        let id = |bytes| Reader::new(bytes).packet_id().map(PacketId::get).map_err(DecodeError::rule);
        assert_eq!(id(&[0x01, 0x02]), Ok(0x0102));
        assert_eq!(id(&[0, 0]), Err(Violation::PacketIdZero));
        assert_eq!(id(&[1]), Err(Violation::Truncated));
    }

    #[test]
    #[should_panic(expected = "within 65,535 bytes")]
    fn a_field_longer_than_its_length_can_say_is_our_own_bug() {
        Vec::new().binary(&[0; 65_536]);
    }
}
