//! A message as it is stored: 36 bytes, then topic, forwarded properties and payload. Little-endian.
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 1 | QoS as published in bits 0 and 1, retain in bit 2, others 0 |
//! | 1 | 1 | 0 |
//! | 2 | 2 | length of the topic |
//! | 4 | 4 | length of the forwarded properties |
//! | 8 | 4 | length of the payload |
//! | 12 | 8 | expiry, milliseconds since the epoch; `u64::MAX` for never |
//! | 20 | 8 | serial number of the publisher's session, 0 for none |
//! | 28 | 8 | hash of the publisher's client id |
//! | 36 | … | body |

use pelton_base::Wall;
use pelton_storage_ops::MessageHead;

/// Bytes before the body.
pub(crate) const HEAD: usize = 36;

/// The bytes before the body.
pub(crate) fn encode(head: &MessageHead) -> [u8; HEAD] {
    let mut out = [0; HEAD];
    out[0] = head.qos & 3 | u8::from(head.retain) << 2;
    out[2..4].copy_from_slice(&head.topic.to_le_bytes());
    out[4..8].copy_from_slice(&head.forwarded.to_le_bytes());
    out[8..12].copy_from_slice(&head.payload.to_le_bytes());
    out[12..20].copy_from_slice(&head.expires.0.to_le_bytes());
    out[20..28].copy_from_slice(&head.publisher.to_le_bytes());
    out[28..36].copy_from_slice(&head.client_hash.to_le_bytes());
    out
}

/// A message and its body. `None` if the lengths are not those of `bytes`.
pub(crate) fn decode(bytes: &[u8]) -> Option<(MessageHead, &[u8])> {
    let (fixed, body) = bytes.split_first_chunk::<HEAD>()?;
    let u32_at = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    let head = MessageHead {
        topic: u16::from_le_bytes([fixed[2], fixed[3]]),
        forwarded: u32_at(4),
        payload: u32_at(8),
        qos: fixed[0] & 3,
        retain: fixed[0] & 4 != 0,
        expires: Wall(u64_at(12)),
        publisher: u64_at(20),
        client_hash: u64_at(28),
    };
    (head.body_len() == body.len()).then_some((head, body))
}
