//! The walk over everything but the messages that begins each run: counts what refers to each segment, and
//! finds the records that are damaged or belong to nobody.

use pelton_storage_ops::{SessionId, SessionImage};

use crate::error::Fault;
use crate::layout::{self, Db, message, row, segment, session_of};
use crate::segments::Segments;
use crate::txn::{ReadCursor, ReadTxn, Record};

/// Damaged records that are moved aside at one start; further ones stay where they are and are passed over.
const DAMAGED_MAX: usize = 100_000;

/// What the walk found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) segments: Segments,
    /// Segments nothing refers to.
    pub(crate) unused: Vec<u64>,
    /// Records whose checksum or content is wrong.
    pub(crate) damaged: Vec<(Db, Vec<u8>)>,
    /// Records whose session is not there.
    pub(crate) orphans: u64,
}

/// The sessions that are there, asked for in ascending order.
struct Present<'t> {
    cursor: ReadCursor<'t>,
    at: Option<Record<'t>>,
}

impl<'t> Present<'t> {
    fn new(txn: &'t ReadTxn<'t>) -> Result<Self, Fault> {
        let mut cursor = txn.cursor(Db::Sessions)?;
        let at = cursor.next()?;
        Ok(Self { cursor, at })
    }

    fn has(&mut self, session: SessionId) -> Result<bool, Fault> {
        let key = layout::session_key(session);
        while self.at.is_some_and(|(at, _)| at < &key[..]) {
            self.at = self.cursor.next()?;
        }
        Ok(self.at.is_some_and(|(at, _)| at == key))
    }
}

/// Whether a record is what was written; rows of queues are read by their own means.
pub(crate) fn is_sound(db: Db, key: &[u8], value: &[u8]) -> bool {
    let Some(payload) = layout::unseal(db, key, value) else { return false };
    match db {
        Db::Sessions => session_of(key).is_some() && SessionImage::decode(payload).is_ok(),
        Db::Subscriptions => {
            key.len() == 21 && payload.len() >= 5 && std::str::from_utf8(&payload[5..]).is_ok()
        }
        Db::Received => key.len() == 14 && payload.is_empty(),
        Db::Retained => message::decode(payload).is_some(),
        Db::Meta => true,
        Db::Queues | Db::Segments | Db::Lost => false,
    }
}

impl Found {
    fn damaged(&mut self, db: Db, key: &[u8]) {
        if self.damaged.len() < DAMAGED_MAX {
            self.damaged.push((db, key.to_vec()));
        }
    }
}

/// Walks everything.
pub(crate) fn everything(txn: &ReadTxn<'_>) -> Result<Found, Fault> {
    let mut found = Found::default();
    for db in [Db::Sessions, Db::Subscriptions, Db::Received, Db::Retained] {
        let mut present = Present::new(txn)?;
        let mut cursor = txn.cursor(db)?;
        while let Some((key, value)) = cursor.next()? {
            if !is_sound(db, key, value) {
                found.damaged(db, key);
            } else if let (Db::Subscriptions | Db::Received, Some(session)) = (db, session_of(key)) {
                found.orphans += u64::from(!present.has(session)?);
            }
        }
    }
    let mut present = Present::new(txn)?;
    queues(txn, |key, row| {
        match row {
            Some(row) => {
                count(&mut found.segments, row);
                let session = session_of(key).expect("a row that was read has a session");
                found.orphans += u64::from(!present.has(session)?);
            }
            None => found.damaged(Db::Queues, key),
        }
        Ok(())
    })?;
    found.unused = numbers(txn, &mut found.segments)?;
    Ok(found)
}

/// Counts what refers to each segment.
pub(crate) fn segments(txn: &ReadTxn<'_>) -> Result<Segments, Fault> {
    let mut segments = Segments::default();
    queues(txn, |_, row| {
        if let Some(row) = row {
            count(&mut segments, row);
        }
        Ok(())
    })?;
    numbers(txn, &mut segments)?;
    Ok(segments)
}

fn count(segments: &mut Segments, row: row::Row<'_>) {
    let segment = row.segment;
    for entry in row {
        segments.count(segment, &entry);
    }
}

fn queues(
    txn: &ReadTxn<'_>,
    mut each: impl FnMut(&[u8], Option<row::Row<'_>>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut cursor = txn.cursor(Db::Queues)?;
    while let Some((key, value)) = cursor.next()? {
        let row = row::Row::read(key, value).filter(|row| {
            let mut entries = row.clone();
            entries.by_ref().for_each(drop);
            !entries.is_damaged()
        });
        each(key, row)?;
    }
    Ok(())
}

/// Finds the next number, and the segments nothing refers to. Only into those is looked, not into the many
/// that are in use: that would read the whole file.
fn numbers(txn: &ReadTxn<'_>, segments: &mut Segments) -> Result<Vec<u64>, Fault> {
    let mut cursor = txn.cursor(Db::Segments)?;
    let mut unused = Vec::new();
    while let Some((key, value)) = cursor.next()? {
        let Ok(key) = <[u8; 8]>::try_from(key) else { continue };
        let number = u64::from_be_bytes(key);
        segments.taken_up_to(number);
        if segments.is_used(number) {
            continue;
        }
        let first = match segment::Segment::read(number, value) {
            Some(part) if part.kind == segment::KIND_PART => number.saturating_sub(u64::from(part.count)),
            _ => number,
        };
        if !segments.is_used(first) {
            unused.push(number);
        }
    }
    Ok(unused)
}
