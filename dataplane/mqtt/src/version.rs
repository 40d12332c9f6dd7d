//! The three versions of the protocol that are spoken, and how a CONNECT names them.

/// A protocol version; the number is the protocol level of its CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1 (`MQIsdp`, level 3).
    V31 = 3,
    /// MQTT 3.1.1 (`MQTT`, level 4).
    V311 = 4,
    /// MQTT 5.0 (`MQTT`, level 5).
    V5 = 5,
}

impl Version {
    /// All three, oldest first.
    pub const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];

    /// The version of a protocol level (without the bridge bit).
    pub const fn from_level(level: u8) -> Option<Self> {
        match level {
            3 => Some(Self::V31),
            4 => Some(Self::V311),
            5 => Some(Self::V5),
            _ => None,
        }
    }

    /// The protocol level a CONNECT carries.
    pub const fn level(self) -> u8 {
        self as u8
    }

    /// The protocol name a CONNECT carries.
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }

    /// Whether packets of this version carry properties and reason codes.
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }

    /// The number people say: `3.1`, `3.1.1`, `5.0`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_names_its_version() {
        for version in Version::ALL {
            assert_eq!(Version::from_level(version.level()), Some(version));
        }
        assert_eq!(Version::ALL.map(Version::name), ["3.1", "3.1.1", "5.0"]);
        assert_eq!(Version::from_level(6), None);
        assert_eq!(Version::from_level(0x83), None, "the bridge bit is not part of the level");
    }
}
