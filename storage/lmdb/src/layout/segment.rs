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
    let mut sum = checksum(Db::Segments, &key(segment), &[&index.to_le_bytes()]);
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
