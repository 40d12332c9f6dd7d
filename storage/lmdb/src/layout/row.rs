//! Rows of queues: a stretch of one session's queue whose messages are in one segment. A row's key ends with
//! the lowest sequence number it can have. Little-endian.
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 4 | CRC32C of tag, key and all that follows |
//! | 4 | 8 | the segment |
//! | 12 | … | entries, at least one |
//!
//! An entry:
//!
//! | bytes | what |
//! |---:|---|
//! | 1 | bits 0, 1: QoS; 2: retain; 3, 4: phase (0 queued, 1 sent, 2 released); 5: identifiers; 6: gap; 7: 0 |
//! | 1 to 10 | with bit 6: LEB128, how far its sequence number is beyond the one expected (that of the entry before it and one; of the first, the key's) |
//! | 2 | in phases 1 and 2: packet identifier |
//! | 2 | in phases 0 and 1: index in the segment |
//! | 1 to 5 | in phases 0 and 1: LEB128, length of the message's body |
//! | 1 + 4n | with bit 5: how many subscription identifiers, and they |

use pelton_storage_ops::Phase;

use super::{Db, checksum};

/// Rows are not made longer than this, so that they never take pages of their own.
pub(crate) const BYTES_MAX: usize = 1_900;
/// Before the entries.
pub(crate) const HEAD: usize = 12;

const RETAIN: u8 = 1 << 2;
const SENT: u8 = 1 << 3;
const RELEASED: u8 = 2 << 3;
const PHASE: u8 = 3 << 3;
const IDENTIFIERS: u8 = 1 << 5;
const GAP: u8 = 1 << 6;

/// An entry of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Its place in the queue.
    pub(crate) sequence: u64,
    /// QoS of the delivery.
    pub(crate) qos: u8,
    /// Retain flag of the delivery.
    pub(crate) retain: bool,
    /// Where it stands.
    pub(crate) phase: Phase,
    /// Index in the segment; 0 if released.
    pub(crate) index: u16,
    /// Length of the body; 0 if released.
    pub(crate) body: u32,
    /// Subscription identifiers, four bytes each.
    pub(crate) identifiers: &'a [u8],
}

impl Entry<'_> {
    /// Whether it refers to a message.
    pub(crate) fn has_message(&self) -> bool {
        !matches!(self.phase, Phase::Released(_))
    }

    /// Its subscription identifiers.
    pub(crate) fn identifiers(&self) -> impl Iterator<Item = u32> {
        self.identifiers.chunks_exact(4).map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]]))
    }
}

/// Makes rows.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
    expected: u64,
}

impl Writer {
    /// Begins a row whose key ends with `base`.
    pub(crate) fn begin(&mut self, base: u64, segment: u64) {
        self.out.clear();
        self.out.extend_from_slice(&[0; 4]);
        self.out.extend_from_slice(&segment.to_le_bytes());
        self.expected = base;
    }

    /// Says later which segment it is.
    pub(crate) fn set_segment(&mut self, segment: u64) {
        self.out[4..HEAD].copy_from_slice(&segment.to_le_bytes());
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.out.len() == HEAD
    }

    /// Whether another entry with so many identifiers fits for sure.
    pub(crate) fn has_room(&self, identifiers: usize) -> bool {
        self.out.len() + 21 + 4 * identifiers <= BYTES_MAX
    }

    /// Adds an entry. Sequence numbers must ascend.
    pub(crate) fn push(&mut self, entry: &Entry<'_>) {
        let gap = entry.sequence.wrapping_sub(self.expected);
        let (phase, packet_id) = match entry.phase {
            Phase::Queued => (0, None),
            Phase::Sent(packet_id) => (SENT, Some(packet_id)),
            Phase::Released(packet_id) => (RELEASED, Some(packet_id)),
        };
        let mut flags = entry.qos & 3 | phase;
        if entry.retain {
            flags |= RETAIN;
        }
        if !entry.identifiers.is_empty() {
            flags |= IDENTIFIERS;
        }
        if gap != 0 {
            flags |= GAP;
        }
        self.out.push(flags);
        if gap != 0 {
            leb128(&mut self.out, gap);
        }
        if let Some(packet_id) = packet_id {
            self.out.extend_from_slice(&packet_id.to_le_bytes());
        }
        if entry.has_message() {
            self.out.extend_from_slice(&entry.index.to_le_bytes());
            leb128(&mut self.out, u64::from(entry.body));
        }
        if !entry.identifiers.is_empty() {
            self.out.push((entry.identifiers.len() / 4) as u8);
            self.out.extend_from_slice(entry.identifiers);
        }
        self.expected = entry.sequence.wrapping_add(1);
    }

    /// The row.
    pub(crate) fn finish(&mut self, key: &[u8]) -> &[u8] {
        let sum = checksum(Db::Queues, key, &[&self.out[4..]]);
        self.out[..4].copy_from_slice(&sum.to_le_bytes());
        &self.out
    }
}

fn leb128(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A row whose checksum is right.
#[derive(Clone, Debug)]
pub(crate) struct Row<'a> {
    /// The segment of its messages.
    pub(crate) segment: u64,
    rest: &'a [u8],
    expected: u64,
    damaged: bool,
}

impl<'a> Row<'a> {
    /// Checks a row. The entries follow from it as an iterator.
    pub(crate) fn read(key: &[u8], value: &'a [u8]) -> Option<Self> {
        let base = super::base_of(key)?;
        let payload = super::unseal(Db::Queues, key, value)?;
        let (segment, rest) = payload.split_first_chunk::<8>()?;
        Some(Self { segment: u64::from_le_bytes(*segment), rest, expected: base, damaged: false })
    }

    /// Whether the entries ended before the bytes did. With a right checksum only a wrong writer does that.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    fn leb128(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn entry(&mut self) -> Option<Entry<'a>> {
        let [flags] = self.take()?;
        let gap = if flags & GAP != 0 { self.leb128()? } else { 0 };
        let sequence = self.expected.checked_add(gap)?;
        let phase = match flags & PHASE {
            0 => Phase::Queued,
            SENT => Phase::Sent(u16::from_le_bytes(self.take()?)),
            RELEASED => Phase::Released(u16::from_le_bytes(self.take()?)),
            _ => return None,
        };
        let (index, body) = match phase {
            Phase::Released(_) => (0, 0),
            _ => (u16::from_le_bytes(self.take()?), u32::try_from(self.leb128()?).ok()?),
        };
        let count = if flags & IDENTIFIERS != 0 { usize::from(self.take::<1>()?[0]) } else { 0 };
        let (identifiers, rest) = self.rest.split_at_checked(4 * count)?;
        self.rest = rest;
        self.expected = sequence.wrapping_add(1);
        Some(Entry { sequence, qos: flags & 3, retain: flags & RETAIN != 0, phase, index, body, identifiers })
    }
}

impl<'a> Iterator for Row<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.rest.is_empty() || self.damaged {
            return None;
        }
        let entry = self.entry();
        self.damaged = entry.is_none();
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue_key;
    use super::*;
    use pelton_storage_ops::SessionId;
    use proptest::prelude::*;

    type Parts = (u64, u8, bool, u8, u16, u16, u32, Vec<u32>);

    fn parts() -> impl Strategy<Value = Vec<Parts>> {
        let identifiers = prop_oneof![Just(Vec::new()), proptest::collection::vec(any::<u32>(), 0..20)];
        let gap = prop_oneof![Just(0u64), 0..300u64, any::<u32>().prop_map(u64::from)];
        let entry =
            (gap, 0..3u8, any::<bool>(), 0..3u8, any::<u16>(), any::<u16>(), any::<u32>(), identifiers);
        proptest::collection::vec(entry, 1..20)
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(base in any::<u32>(), segment in any::<u64>(), parts in parts()) {
            let base = u64::from(base);
            let key = queue_key(SessionId { slot: 3, serial: 9 }, base);
            let bytes: Vec<Vec<u8>> = parts
                .iter()
                .map(|part| part.7.iter().flat_map(|id| id.to_le_bytes()).collect())
                .collect();
            let mut sequence = base;
            let entries: Vec<Entry<'_>> = parts
                .iter()
                .zip(&bytes)
                .map(|(&(gap, qos, retain, phase, packet_id, index, body, _), identifiers)| {
                    sequence += gap;
                    let phase = [Phase::Queued, Phase::Sent(packet_id), Phase::Released(packet_id)]
                        [usize::from(phase)];
                    let (index, body) =
                        if matches!(phase, Phase::Released(_)) { (0, 0) } else { (index, body) };
                    sequence += 1;
                    Entry { sequence: sequence - 1, qos, retain, phase, index, body, identifiers }
                })
                .collect();
            let mut writer = Writer::default();
            writer.begin(base, segment);
            for entry in &entries {
                writer.push(entry);
            }
            let row = writer.finish(&key).to_vec();
            let mut read = Row::read(&key, &row).expect("what was written can be read");
            prop_assert_eq!(read.segment, segment);
            let back: Vec<Entry<'_>> = read.by_ref().collect();
            prop_assert!(!read.is_damaged());
            prop_assert_eq!(back, entries);
        }

        #[test]
        fn anything_is_a_row_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let key = queue_key(SessionId { slot: 3, serial: 9 }, 0);
            let mut sealed = Vec::new();
            super::super::seal(&mut sealed, Db::Queues, &key, &[&bytes]);
            if let Some(row) = Row::read(&key, &sealed) {
                row.for_each(drop);
            }
        }
    }
}
