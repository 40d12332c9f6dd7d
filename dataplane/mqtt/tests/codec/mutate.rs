//! Damage to a packet, of the kinds that faulty and hostile peers do.

use crate::random::Random;

/// Damages a packet in one to three places. Half of the time the remaining length is put right again, so that the
/// damage is found inside and not at the door.
pub(crate) fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len().max(1));
        match random.below(9) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.byte(),
            // The values that lengths, flags and identifiers turn on.
            2 if !bytes.is_empty() => {
                const EDGES: [u8; 16] =
                    [0, 1, 2, 3, 4, 5, 0x0B, 0x1F, 0x23, 0x26, b'#', b'+', 0x7F, 0x80, 0xC0, 0xFF];
                bytes[at] = EDGES[random.below(EDGES.len())];
            }
            3 => bytes.insert(at, random.byte()),
            4 if !bytes.is_empty() => _ = bytes.remove(at),
            5 => bytes.truncate(at),
            // A piece again: properties and entries that are there twice.
            6 if !bytes.is_empty() => {
                let end = (at + 1 + random.below(12)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(end..end, piece);
            }
            7 => bytes.extend((0..random.below(4)).map(|_| 0)),
            // The early bytes decide most.
            _ if !bytes.is_empty() => {
                let at = random.below(bytes.len().min(16));
                bytes[at] = bytes[at].wrapping_add(1 + random.below(3) as u8);
            }
            _ => {}
        }
    }
    if random.below(2) == 0 {
        put_length_right(bytes);
    }
}

/// Rewrites a remaining length of one byte, if it is one.
fn put_length_right(bytes: &mut [u8]) {
    if (2..130).contains(&bytes.len()) {
        bytes[1] = (bytes.len() - 2) as u8;
    }
}
