//! The fixed header: packet type, flags, remaining length (5.0 section 2.1, 3.1.1 section 2.2).

use crate::error::{DecodeError, Violation};
use crate::qos::Sender;
use crate::version::Version;

/// The largest remaining length four bytes can say.
pub const MAX_REMAINING: u32 = 268_435_455;

/// The largest packet there is: first byte, four bytes of length, [`MAX_REMAINING`].
pub const MAX_PACKET: u32 = MAX_REMAINING + 5;

/// The packet types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Client: connect.
    Connect = 1,
    /// Server: the answer to CONNECT.
    ConnAck,
    /// A message.
    Publish,
    /// QoS 1: accepted.
    PubAck,
    /// QoS 2, first answer: received.
    PubRec,
    /// QoS 2, second step: release.
    PubRel,
    /// QoS 2, last answer: complete.
    PubComp,
    /// Client: subscribe.
    Subscribe,
    /// Server: the answer to SUBSCRIBE.
    SubAck,
    /// Client: unsubscribe.
    Unsubscribe,
    /// Server: the answer to UNSUBSCRIBE.
    UnsubAck,
    /// Client: ping.
    PingReq,
    /// Server: the answer to PINGREQ.
    PingResp,
    /// The last packet of a connection.
    Disconnect,
    /// Authentication exchange, version 5.
    Auth,
}

/// For each packet type the values of the four flag bits that can be right in some version, as a set.
///
/// 3.1 counts PUBREL, SUBSCRIBE and UNSUBSCRIBE as QoS 1 messages that carry DUP when they are sent again; from
/// 3.1.1 on that bit is reserved, which [`FixedHeader::check`] sees to. PUBLISH may have everything but QoS 3, and
/// DUP only above QoS 0.
const FLAGS: [u16; 16] = {
    let mut flags = [1; 16];
    flags[0] = 0;
    flags[PacketType::Publish as usize] = 0b0011_1100_0011_1111;
    flags[PacketType::PubRel as usize] = 1 << 0b0010 | 1 << 0b1010;
    flags[PacketType::Subscribe as usize] = 1 << 0b0010 | 1 << 0b1010;
    flags[PacketType::Unsubscribe as usize] = 1 << 0b0010 | 1 << 0b1010;
    flags
};

impl PacketType {
    /// All fifteen.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::ConnAck,
        Self::Publish,
        Self::PubAck,
        Self::PubRec,
        Self::PubRel,
        Self::PubComp,
        Self::Subscribe,
        Self::SubAck,
        Self::Unsubscribe,
        Self::UnsubAck,
        Self::PingReq,
        Self::PingResp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// The type of a number; `None` for 0 and above 15.
    #[inline]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The first byte of such a packet; for PUBLISH that of QoS 0 without flags.
    #[inline]
    pub const fn first_byte(self) -> u8 {
        let flags = match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }

    /// The name in the standards.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    /// The side that sends packets of this type (5.0 table 2-1, 3.1.1 table 2.1).
    pub const fn sent_by(self, version: Version) -> Sender {
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::PingReq => Sender::Client,
            Self::ConnAck | Self::SubAck | Self::UnsubAck | Self::PingResp => Sender::Server,
            Self::Disconnect if !version.is_v5() => Sender::Client,
            _ => Sender::Either,
        }
    }

    #[inline]
    pub(crate) const fn bit(self) -> u16 {
        1 << self as u8
    }

    /// The type of a packet by its first byte, whose flags are right in at least one version.
    #[inline]
    pub(crate) fn of_first_byte(first: u8) -> Result<Self, DecodeError> {
        match Self::from_bits(first >> 4) {
            Some(packet_type) if FLAGS[usize::from(first >> 4)] >> (first & 0x0F) & 1 != 0 => Ok(packet_type),
            _ => Err(wrong_first_byte(first)),
        }
    }
}

#[cold]
fn wrong_first_byte(first: u8) -> DecodeError {
    match PacketType::from_bits(first >> 4) {
        // 5.0 section 2.1.2: type 0 is reserved.
        None => Violation::PacketTypeReserved,
        // [MQTT-3.3.1-4] [MQTT311-3.3.1-4] Both QoS bits set.
        Some(PacketType::Publish) if first & 0b0110 == 0b0110 => Violation::PublishQos3,
        // [MQTT-3.3.1-2] [MQTT311-3.3.1-2] Flags that contradict each other are invalid flags: 0x81.
        Some(PacketType::Publish) => Violation::DupOnQos0,
        // [MQTT-2.1.3-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1] [MQTT311-2.2.2-2] Any other value of a reserved bit.
        Some(_) => Violation::FixedHeaderFlags,
    }
    .into()
}

/// A fixed header that has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedHeader {
    /// The packet type.
    pub packet_type: PacketType,
    /// The whole first byte: packet type and flags.
    pub first: u8,
    /// Bytes after the fixed header.
    pub remaining: u32,
    /// Bytes of the fixed header itself, 2 to 5.
    pub header_len: u8,
}

impl FixedHeader {
    /// What only the version can decide; [`crate::frame()`] has checked the rest. [`crate::decode`] calls this; who
    /// calls a packet's own `decode` calls it first.
    ///
    /// # Errors
    /// [`Violation::AuthBeforeV5`], [`Violation::FixedHeaderFlags`], [`Violation::VariableIntegerNotMinimal`].
    #[inline]
    pub fn check(self, version: Version) -> Result<(), DecodeError> {
        if version.is_v5() {
            // [MQTT-1.5.5-1] 3.1.1 has no such rule, and encoders for small devices reserve a fixed number of
            // length bytes and fill them up.
            if self.header_len > 2
                && usize::from(self.header_len) != 1 + variable_len(self.remaining as usize)
            {
                return Err(Violation::VariableIntegerNotMinimal.into());
            }
        } else if self.packet_type == PacketType::Auth {
            return Err(Violation::AuthBeforeV5.into());
        }
        // [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] DUP outside PUBLISH: 3.1 only.
        if self.first & 0x0F == 0b1010 && self.packet_type != PacketType::Publish && version != Version::V31 {
            return Err(Violation::FixedHeaderFlags.into());
        }
        Ok(())
    }
}

/// How many bytes a variable byte integer takes.
#[inline]
pub(crate) const fn variable_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every first byte, against the tables of the standards written out once more.
    /// covers [MQTT-2.1.3-1] [MQTT311-2.2.2-1] [MQTT311-2.2.2-2] [MQTT-3.3.1-2] [MQTT-3.3.1-4]
    #[test]
    fn every_first_byte() {
        for first in 0..=u8::MAX {
            let expected = match (first >> 4, first & 0x0F) {
                (0, _) => Err(Violation::PacketTypeReserved),
                (3, 0b0110 | 0b0111 | 0b1110 | 0b1111) => Err(Violation::PublishQos3),
                (3, 0b1000 | 0b1001) => Err(Violation::DupOnQos0),
                (3, _) | (6 | 8 | 10, 0b0010 | 0b1010) => Ok(first >> 4),
                (6 | 8 | 10, _) => Err(Violation::FixedHeaderFlags),
                (number, 0) => Ok(number),
                (_, _) => Err(Violation::FixedHeaderFlags),
            };
            let got = PacketType::of_first_byte(first).map(|kind| kind as u8).map_err(DecodeError::rule);
            assert_eq!(got, expected, "{first:#04x}");
        }
    }

    #[test]
    fn the_usual_first_byte_is_right() {
        for packet_type in PacketType::ALL {
            assert_eq!(PacketType::of_first_byte(packet_type.first_byte()), Ok(packet_type));
            // The standard's name is ours in capitals.
            assert_eq!(packet_type.name(), format!("{packet_type:?}").to_uppercase());
        }
    }

    /// covers [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-1.5.5-1]
    #[test]
    fn what_the_version_decides() {
        let header = |first: u8, remaining, header_len| {
            let packet_type = PacketType::from_bits(first >> 4).unwrap();
            FixedHeader { packet_type, first, remaining, header_len }
        };
        for first in [0x6A, 0x8A, 0xAA] {
            assert_eq!(header(first, 2, 2).check(Version::V31), Ok(()));
            for version in [Version::V311, Version::V5] {
                let rule = header(first, 2, 2).check(version).unwrap_err().rule();
                assert_eq!(rule, Violation::FixedHeaderFlags);
            }
        }
        assert_eq!(header(0x3A, 9, 2).check(Version::V5), Ok(()), "PUBLISH has a DUP flag");
        assert_eq!(header(0xF0, 0, 2).check(Version::V5), Ok(()));
        assert_eq!(header(0xF0, 0, 2).check(Version::V311).unwrap_err().rule(), Violation::AuthBeforeV5);
        for (remaining, header_len) in [(0, 3), (127, 3), (128, 4), (2_097_151, 5)] {
            let header = header(0x30, remaining, header_len);
            assert_eq!(header.check(Version::V311), Ok(()));
            assert_eq!(header.check(Version::V5).unwrap_err().rule(), Violation::VariableIntegerNotMinimal);
        }
        for (remaining, header_len) in [(0, 2), (128, 3), (16_384, 4), (2_097_152, 5)] {
            assert_eq!(header(0x30, remaining, header_len).check(Version::V5), Ok(()));
        }
    }
}
