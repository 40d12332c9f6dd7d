//! Test vectors, read in both directions: bytes to packet, packet to the same bytes.

use crate::error::{DecodeError, Violation};
use crate::fixed_header::MAX_PACKET;
use crate::frame::{Frame, frame};
use crate::packet::{Packet, decode_from};
use crate::qos::Sender;
use crate::version::Version;

fn decode(sender: Sender, version: Version, bytes: &[u8]) -> Result<Packet<'_>, DecodeError> {
    match frame(bytes, MAX_PACKET)? {
        Frame::Complete { header, total } => {
            assert_eq!(total, bytes.len(), "one packet");
            decode_from(sender, version, header, &bytes[usize::from(header.header_len)..])
        }
        partial @ Frame::Partial { .. } => panic!("a vector that is not whole: {partial:?}"),
    }
}

/// The packet of bytes that are right.
pub(crate) fn decoded(version: Version, bytes: &[u8]) -> Packet<'_> {
    decode(Sender::Either, version, bytes).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"))
}

/// Bytes and packet say the same, in both directions.
pub(crate) fn golden(version: Version, packet: Packet<'_>, bytes: &[u8]) {
    assert_eq!(decoded(version, bytes), packet);
    let mut out = vec![0xAA];
    packet.encode(version, &mut out);
    assert_eq!(out[0], 0xAA, "appended");
    assert_eq!(&out[1..], bytes, "{packet:?}");
    assert_eq!(packet.encoded_len(version), bytes.len());
}

/// The rule that bytes break.
pub(crate) fn refused(version: Version, bytes: &[u8]) -> Violation {
    refused_from(Sender::Either, version, bytes)
}

/// The rule that bytes break when they come from this side.
pub(crate) fn refused_from(sender: Sender, version: Version, bytes: &[u8]) -> Violation {
    match decode(sender, version, bytes) {
        Err(error) => error.rule(),
        Ok(packet) => panic!("accepted: {packet:?}"),
    }
}

/// A packet from its first byte and the parts of its body.
pub(crate) fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    assert!(body.len() < 128, "a short vector");
    [&[first, body.len() as u8], body.as_slice()].concat()
}
