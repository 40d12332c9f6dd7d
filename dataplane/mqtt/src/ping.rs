//! PINGREQ and PINGRESP (5.0 and 3.1.1 sections 3.12 and 3.13): two bytes each, in every version.

use crate::error::{DecodeError, Violation};

/// A whole PINGREQ.
pub const PINGREQ: [u8; 2] = [0xC0, 0];

/// A whole PINGRESP.
pub const PINGRESP: [u8; 2] = [0xD0, 0];

/// A ping has no body (sections 3.12.2 and 3.12.3, 3.13.2 and 3.13.3).
#[inline]
pub(crate) fn check_body(body: &[u8]) -> Result<(), DecodeError> {
    if body.is_empty() { Ok(()) } else { Err(Violation::TrailingBytes.into()) }
}
