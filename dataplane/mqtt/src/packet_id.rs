//! Packet identifiers: never zero.

use std::num::NonZeroU16;

/// The identifier that ties an acknowledgement to its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// `None` for zero, which no packet may carry.
    #[inline]
    pub const fn new(id: u16) -> Option<Self> {
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The two bytes on the wire.
    #[inline]
    pub const fn to_be_bytes(self) -> [u8; 2] {
        self.get().to_be_bytes()
    }
}
