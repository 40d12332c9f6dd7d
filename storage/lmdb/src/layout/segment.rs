//! Segments: many messages in one value of at most 65,520 bytes, which is what sixteen pages hold. A message
//! that does not fit is spread over consecutive segments of its own. Little-endian.
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 1 | kind: 0 messages, 1 first part of a long message, 2 further part |
//! | 1 | 1 | 0 |
//! | 2 | 2 | kind 0: number of messages; 1: number of parts; 2: which part this is |
//! | 4 | 4 | CRC32C of tag, key, the four bytes before this field, and the directory |
//! | 8 | 2n | kind 0: the directory: where each message ends, counted from the end of the directory |
//! | … | … | kind 0: messages; 1 and 2: the bytes of one message, in order |
//!
//! Here a message begins with its CRC32C (4 bytes), of tag, key, index (2 bytes) and all its bytes. Of a long
//! message key and index are those of its first part, and 0.

use super::{Db, checksum};

/// Most bytes of a segment.
pub(crate) const BYTES_MAX: usize = 65_520;
/// Before the directory.
pub(crate) const HEAD: usize = 8;
/// The checksum before each message.
pub(crate) const SUM: usize = 4;

/// Several messages.
pub(crate) const KIND_BATCH: u8 = 0;
/// The first part of a long message.
pub(crate) const KIND_LONG: u8 = 1;
/// A further part.
pub(crate) const KIND_PART: u8 = 2;

/// Bytes of a long message in each of its segments but the last.
pub(crate) const PART: usize = BYTES_MAX - HEAD;

/// Most messages of a segment.
const COUNT_MAX: u16 = (BYTES_MAX / (2 + SUM + super::message::HEAD)) as u16;

/// What a message adds to a segment: directory entry, checksum, `len` bytes.
pub(crate) const fn cost(len: usize) -> usize {
    2 + SUM + len
}

/// Whether a message of `len` bytes needs segments of its own.
pub(crate) const fn is_long(len: usize) -> bool {
    HEAD + cost(len) > BYTES_MAX
}

/// How many segments a long message takes.
pub(crate) const fn parts(len: usize) -> usize {
    (SUM + len).div_ceil(PART)
}

/// Key of a segment.
pub(crate) fn key(segment: u64) -> [u8; 8] {
    segment.to_be_bytes()
}

/// Checksum of a message: of the segment it begins in, its index there, its bytes.
pub(crate) fn message_sum(segment: u64, index: u16, parts: &[&[u8]]) -> u32 {
    message_sum_after(place_sum(segment), index, parts)
}

/// What the checksums of all messages of a segment begin with.
pub(crate) fn place_sum(segment: u64) -> u32 {
    checksum(Db::Segments, &key(segment), &[])
}

/// [`message_sum`] from [`place_sum`] on.
pub(crate) fn message_sum_after(place: u32, index: u16, parts: &[&[u8]]) -> u32 {
    let mut sum = crc32c::crc32c_append(place, &index.to_le_bytes());
    for part in parts {
        sum = crc32c::crc32c_append(sum, part);
    }
    sum
}

/// Fills in the head of a segment whose directory is in place.
pub(crate) fn finish(out: &mut [u8], segment: u64, kind: u8, count: u16) {
    out[0] = kind;
    out[1] = 0;
    out[2..4].copy_from_slice(&count.to_le_bytes());
    let directory = if kind == KIND_BATCH { 2 * usize::from(count) } else { 0 };
    let sum = checksum(Db::Segments, &key(segment), &[&out[..4], &out[HEAD..HEAD + directory]]);
    out[4..8].copy_from_slice(&sum.to_le_bytes());
}

/// A segment whose head and directory are right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    segment: u64,
    /// See the table.
    pub(crate) kind: u8,
    /// See the table.
    pub(crate) count: u16,
    directory: &'a [u8],
    /// Behind the directory.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Checks head and directory.
    pub(crate) fn read(segment: u64, value: &'a [u8]) -> Option<Self> {
        let (head, rest) = value.split_first_chunk::<HEAD>()?;
        let kind = head[0];
        let count = u16::from_le_bytes([head[2], head[3]]);
        let directory = if kind == KIND_BATCH { 2 * usize::from(count) } else { 0 };
        let (directory, bytes) = rest.split_at_checked(directory)?;
        let sum = checksum(Db::Segments, &key(segment), &[&head[..4], directory]);
        (kind <= KIND_PART && sum.to_le_bytes() == head[4..]).then_some(Self {
            segment,
            kind,
            count,
            directory,
            bytes,
        })
    }

    /// Reads what can be read of a segment whose head or directory is damaged: its messages have checksums of
    /// their own, so that of a whole segment two are lost, not all.
    pub(crate) fn salvage(segment: u64, value: &'a [u8]) -> Option<Self> {
        let (head, rest) = value.split_first_chunk::<HEAD>()?;
        let found = u16::from_le_bytes([head[2], head[3]]);
        // Where kind or number of messages are what is wrong, the checksum tells the right ones.
        let right = (1..=COUNT_MAX).find(|&count| {
            rest.get(..2 * usize::from(count)).is_some_and(|directory| {
                let before = [KIND_BATCH, 0, count.to_le_bytes()[0], count.to_le_bytes()[1]];
                let last =
                    u16::from_le_bytes([directory[directory.len() - 2], directory[directory.len() - 1]]);
                usize::from(last) == rest.len() - directory.len()
                    && checksum(Db::Segments, &key(segment), &[&before, directory]).to_le_bytes() == head[4..]
            })
        });
        if right.is_none() && (head[0] == KIND_LONG || head[0] == KIND_PART) {
            return Some(Self { segment, kind: head[0], count: found, directory: &[], bytes: rest });
        }
        let count = right.unwrap_or(found);
        let (directory, bytes) = rest.split_at_checked(2 * usize::from(count))?;
        Some(Self { segment, kind: KIND_BATCH, count, directory, bytes })
    }

    /// The bytes of a message, if they are what was written.
    pub(crate) fn message(&self, index: u16) -> Option<&'a [u8]> {
        let end_of = |index: usize| {
            let at = 2 * index;
            let end = self.directory.get(at..at + 2)?;
            Some(usize::from(u16::from_le_bytes([end[0], end[1]])))
        };
        let start = if index == 0 { 0 } else { end_of(usize::from(index) - 1)? };
        let whole = self.bytes.get(start..end_of(usize::from(index))?)?;
        self.verified(index, whole)
    }

    /// `whole` without its checksum, if that is right.
    pub(crate) fn verified<'b>(&self, index: u16, whole: &'b [u8]) -> Option<&'b [u8]> {
        let (sum, bytes) = whole.split_first_chunk::<SUM>()?;
        (message_sum(self.segment, index, &[bytes]) == u32::from_le_bytes(*sum)).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(messages: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![0; HEAD];
        let mut end = 0;
        for message in messages {
            end += SUM + message.len();
            out.extend_from_slice(&(end as u16).to_le_bytes());
        }
        for (index, message) in (0..).zip(messages) {
            out.extend_from_slice(&message_sum(7, index, &[message]).to_le_bytes());
            out.extend_from_slice(message);
        }
        finish(&mut out, 7, KIND_BATCH, messages.len() as u16);
        out
    }

    #[test]
    fn a_flipped_bit_costs_two_messages_at_most() {
        let messages: [&[u8]; 5] = [b"zero", b"one", b"two and more", b"three", b"four"];
        let sound = batch(&messages);
        let read = Segment::read(7, &sound).expect("as it was written");
        assert_eq!((0..5).filter_map(|index| read.message(index)).collect::<Vec<_>>(), messages);
        assert!(Segment::read(8, &sound).is_none(), "another place");
        for bit in 0..sound.len() * 8 {
            let mut flipped = sound.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let segment = Segment::read(7, &flipped).or_else(|| Segment::salvage(7, &flipped)).expect("read");
            let mut lost = 0;
            for (index, message) in (0..).zip(messages) {
                match segment.message(index) {
                    Some(found) => assert_eq!(found, message, "bit {bit}"),
                    None => lost += 1,
                }
            }
            assert!(lost <= 2, "bit {bit} cost {lost} messages");
        }
    }
}
