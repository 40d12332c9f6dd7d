//! Packet boundaries in a stream of bytes that may be cut anywhere.
//!
//! Nothing is parsed twice: whoever holds a partial packet remembers its `total` and calls again when that many
//! bytes are there. What can be refused by the header is refused as soon as the bytes that show it are there: a
//! wrong first byte at once, a packet that is too large before any of it is stored.

use crate::error::{DecodeError, Violation};
use crate::fixed_header::{FixedHeader, PacketType};

/// What the bytes at hand amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole packet is there.
    Complete {
        /// Its fixed header; the body is the bytes from `header.header_len` to `total`.
        header: FixedHeader,
        /// The bytes of the whole packet.
        total: usize,
    },
    /// More bytes are needed.
    Partial {
        /// The bytes of the whole packet, known once its fixed header is there.
        total: Option<usize>,
    },
}

/// Finds the packet at the start of `bytes`. `max_packet` is the largest that is accepted, fixed header included
/// ([`MAX_PACKET`](crate::MAX_PACKET) for no limit of one's own).
///
/// # Errors
/// [`Violation::PacketTypeReserved`], [`Violation::FixedHeaderFlags`], [`Violation::PublishQos3`],
/// [`Violation::DupOnQos0`], [`Violation::VariableIntegerTooLong`], [`Violation::PacketTooLarge`]. What depends on
/// the version is left to [`FixedHeader::check`].
#[inline]
pub fn frame(bytes: &[u8], max_packet: u32) -> Result<Frame, DecodeError> {
    let Some(&first) = bytes.first() else {
        return Ok(Frame::Partial { total: None });
    };
    let packet_type = PacketType::of_first_byte(first)?;
    let (remaining, header_len) = match bytes.get(1) {
        Some(&length) if length < 0x80 => (u32::from(length), 2),
        Some(_) => match long_length(bytes)? {
            Some(length) => length,
            None => return Ok(Frame::Partial { total: None }),
        },
        None => return Ok(Frame::Partial { total: None }),
    };
    let total = u32::from(header_len) + remaining;
    if total > max_packet {
        // [MQTT-3.1.2-24] [MQTT-3.2.2-15] 5.0 sections 3.1.2.11.4 and 3.2.2.3.6 name the code, 0x95.
        return Err(Violation::PacketTooLarge.into());
    }
    let total = total as usize;
    if bytes.len() < total {
        return Ok(Frame::Partial { total: Some(total) });
    }
    Ok(Frame::Complete { header: FixedHeader { packet_type, first, remaining, header_len }, total })
}

/// A remaining length of two to four bytes, with the length of its fixed header; `None` if it is cut.
fn long_length(bytes: &[u8]) -> Result<Option<(u32, u8)>, DecodeError> {
    let mut remaining = 0;
    for index in 0..4 {
        let Some(&byte) = bytes.get(1 + index) else {
            return Ok(None);
        };
        remaining |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((remaining, index as u8 + 2)));
        }
    }
    // 5.0 section 1.5.5, 3.1.1 section 2.2.3: four bytes at most, so a fourth that goes on is wrong already.
    Err(Violation::VariableIntegerTooLong.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed_header::MAX_PACKET;

    fn rule(bytes: &[u8], max_packet: u32) -> Option<Violation> {
        frame(bytes, max_packet).err().map(DecodeError::rule)
    }

    #[test]
    fn a_packet_cut_anywhere_is_partial_until_its_last_byte() {
        let packet = [0x32, 0x05, 0, 1, b'a', 0, 1, 0xC0, 0x00];
        assert_eq!(frame(&[], MAX_PACKET), Ok(Frame::Partial { total: None }));
        assert_eq!(frame(&packet[..1], MAX_PACKET), Ok(Frame::Partial { total: None }));
        for cut in 2..7 {
            assert_eq!(frame(&packet[..cut], MAX_PACKET), Ok(Frame::Partial { total: Some(7) }));
        }
        let header =
            FixedHeader { packet_type: PacketType::Publish, first: 0x32, remaining: 5, header_len: 2 };
        assert_eq!(frame(&packet[..7], MAX_PACKET), Ok(Frame::Complete { header, total: 7 }));
        assert_eq!(
            frame(&packet, MAX_PACKET),
            Ok(Frame::Complete { header, total: 7 }),
            "the next packet waits"
        );
    }

    #[test]
    fn lengths_of_two_to_four_bytes() {
        for (bytes, total) in [
            (&[0x30, 0x80, 0x01][..], 3 + 128),
            (&[0x30, 0xFF, 0x7F], 3 + 16_383),
            (&[0x30, 0x80, 0x80, 0x01], 4 + 16_384),
            (&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 5 + 268_435_455),
        ] {
            assert_eq!(frame(bytes, MAX_PACKET), Ok(Frame::Partial { total: Some(total) }));
            for cut in 1..bytes.len() {
                assert_eq!(frame(&bytes[..cut], MAX_PACKET), Ok(Frame::Partial { total: None }));
            }
        }
    }

    #[test]
    fn a_length_that_goes_on_is_refused_at_its_fourth_byte() {
        assert_eq!(rule(&[0x30, 0x80, 0x80, 0x80], MAX_PACKET), None);
        assert_eq!(
            rule(&[0x30, 0x80, 0x80, 0x80, 0x80], MAX_PACKET),
            Some(Violation::VariableIntegerTooLong)
        );
        assert_eq!(
            rule(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], MAX_PACKET),
            Some(Violation::VariableIntegerTooLong)
        );
    }

    /// The standard's padded forms pass here; version 5 refuses them once it is known to be version 5.
    #[test]
    fn a_padded_length_is_read_as_what_it_says() {
        let Ok(Frame::Complete { header, total }) = frame(&[0xC0, 0x80, 0x80, 0x00], MAX_PACKET) else {
            panic!("three length bytes that say 0");
        };
        assert_eq!((header.remaining, header.header_len, total), (0, 4, 4));
    }

    #[test]
    fn a_wrong_first_byte_is_refused_alone() {
        assert_eq!(rule(&[0x00], MAX_PACKET), Some(Violation::PacketTypeReserved));
        assert_eq!(rule(&[0x36], MAX_PACKET), Some(Violation::PublishQos3));
        assert_eq!(rule(&[0x38], MAX_PACKET), Some(Violation::DupOnQos0));
        assert_eq!(rule(&[0x80], MAX_PACKET), Some(Violation::FixedHeaderFlags));
    }

    /// covers [MQTT-3.1.2-24] [MQTT-3.2.2-15]: judged by the header alone, and by the size of the whole packet.
    #[test]
    fn a_large_packet_is_refused_by_its_header() {
        assert_eq!(rule(&[0x30, 0x0A], 12), None);
        assert_eq!(rule(&[0x30, 0x0B], 12), Some(Violation::PacketTooLarge));
        assert_eq!(rule(&[0x30, 0x80, 0x80, 0x01], 16_388), None);
        assert_eq!(rule(&[0x30, 0x80, 0x80, 0x01], 16_387), Some(Violation::PacketTooLarge));
    }
}
