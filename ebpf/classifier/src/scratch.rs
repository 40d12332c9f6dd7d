//! Memory that the program works in. Its stack has 512 bytes for all that call each other; and what went through memory
//! the verifier has forgotten the ways to, so that ways do not multiply.

use crate::answer::{Agreed, Offer, REPLY_BYTES};
use crate::cookie::Tuple;
use crate::packet::Packet;
use crate::segment::HEADER_BYTES_MAX;

/// What is known of one frame.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    /// Where its parts lie.
    pub packet: Packet,
    /// Its TCP header, if it is answered.
    pub(crate) segment: [u8; HEADER_BYTES_MAX],
    /// What that offers.
    pub(crate) offer: Offer,
    /// What is agreed to.
    pub(crate) agreed: Agreed,
    /// The two ends.
    pub(crate) tuple: Tuple,
    /// The header of the answer.
    pub(crate) reply: [u8; REPLY_BYTES],
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            packet: Packet::EMPTY,
            segment: [0; HEADER_BYTES_MAX],
            offer: Offer::NONE,
            agreed: Agreed::default(),
            tuple: Tuple::NONE,
            reply: [0; REPLY_BYTES],
        }
    }
}
