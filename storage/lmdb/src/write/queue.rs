//! Rows of queues: new ones, and those in which something happened.

use pelton_storage_ops::Phase;

use crate::error::Fault;
use crate::layout::{Db, SESSION_KEY, queue_key, row};
use crate::plan::{Change, Message, Pending, What};
use crate::segments::Waiting;
use crate::txn::WriteTxn;

use super::Writing;

impl Writing {
    /// Writes the entries that are new and not over.
    pub(super) fn new_entries(
        &mut self,
        txn: &mut WriteTxn<'_>,
        pending: &Pending,
        messages: &[Message],
        identifiers: &[u8],
    ) -> Result<(), Fault> {
        let mut base = 0;
        // The segment of the row; unknown while the row has entries without messages only.
        let mut segment: Option<u64> = None;
        let mut waiting = Waiting::default();
        self.row.begin(0, 0);
        for new in pending.new.iter().filter(|new| !new.done) {
            let own = new.needs_message().then(|| messages[new.message as usize].segment);
            let (at, len) = (new.identifiers.0 as usize, usize::from(new.identifiers.1));
            let fits = self.row.has_room(len / 4) && (own.is_none() || segment.is_none() || own == segment);
            if self.row.is_empty() || !fits {
                self.put_row(txn, pending, base, segment)?;
                self.come(segment, std::mem::take(&mut waiting));
                (base, segment) = (new.sequence, None);
                self.row.begin(base, 0);
            }
            segment = segment.or(own);
            let message = &messages[new.message as usize];
            let entry = row::Entry {
                sequence: new.sequence,
                qos: new.qos,
                retain: new.retain,
                phase: new.phase,
                index: message.index,
                body: message.head.body_len() as u32,
                identifiers: &identifiers[at..at + len],
            };
            waiting += Waiting::of(&entry);
            self.row.push(&entry);
        }
        self.put_row(txn, pending, base, segment)?;
        self.come(segment, waiting);
        Ok(())
    }

    /// A row of a segment has come.
    fn come(&mut self, segment: Option<u64>, waiting: Waiting) {
        if let Some(segment) = segment {
            self.changes.come(segment, waiting);
        }
    }

    fn put_row(
        &mut self,
        txn: &mut WriteTxn<'_>,
        pending: &Pending,
        base: u64,
        segment: Option<u64>,
    ) -> Result<(), Fault> {
        if self.row.is_empty() {
            return Ok(());
        }
        if let Some(segment) = segment {
            self.row.set_segment(segment);
        }
        let key = queue_key(pending.session, base);
        txn.put(Db::Queues, &key, self.row.finish(&key))
    }

    /// Rewrites the rows in which something happened.
    pub(super) fn changed_entries(
        &mut self,
        txn: &mut WriteTxn<'_>,
        pending: &mut Pending,
    ) -> Result<(), Fault> {
        pending.changes.sort_unstable_by_key(|change| (change.sequence, change.order));
        let mut changes = &pending.changes[..];
        while let Some(first) = changes.first() {
            let wanted = queue_key(pending.session, first.sequence);
            if !self.find_row(txn, &wanted)? {
                // No row can have it; the next change is looked for on its own.
                changes = &changes[1..];
                continue;
            }
            let left = self.change_row(txn, pending, changes)?;
            // What lies behind the row it could only be in is of an entry that is not there.
            changes = if left.len() == changes.len() { &changes[1..] } else { left };
        }
        Ok(())
    }

    /// Copies the row that may have the entry `wanted` into `self.stored`. `false` if there is none.
    fn find_row(&mut self, txn: &mut WriteTxn<'_>, wanted: &[u8; 20]) -> Result<bool, Fault> {
        let exact = txn.seek(Db::Queues, wanted)?.map(|(key, _)| key == wanted);
        let record = match exact {
            Some(true) => txn.seek(Db::Queues, wanted)?,
            Some(false) => txn.previous(Db::Queues)?,
            None => txn.last(Db::Queues)?,
        };
        let Some((key, value)) =
            record.filter(|(key, _)| key.get(..SESSION_KEY) == wanted.get(..SESSION_KEY))
        else {
            return Ok(false);
        };
        self.stored.0.clear();
        self.stored.0.extend_from_slice(key);
        self.stored.1.clear();
        self.stored.1.extend_from_slice(value);
        Ok(true)
    }

    /// Applies the first of `changes` to the row in `self.stored`; returns those that lie behind the row.
    fn change_row<'c>(
        &mut self,
        txn: &mut WriteTxn<'_>,
        pending: &Pending,
        mut changes: &'c [Change],
    ) -> Result<&'c [Change], Fault> {
        let (key, value) = std::mem::take(&mut self.stored);
        let rest = (|| {
            let Some(row) = row::Row::read(&key, &value) else {
                // Which messages it referred to cannot be known any more: its segment, whichever that is, may be kept
                // for nobody until the next start, which counts the rows that are sound. To count too little here
                // would free what others wait for.
                self.quarantine(txn, Db::Queues, &key, &value)?;
                return Ok(changes);
            };
            let segment = row.segment;
            let mut base = crate::layout::base_of(&key).expect("a row that was read has a base");
            let (mut touched, mut put) = (false, 0);
            self.row.begin(base, segment);
            for mut entry in row {
                let mut gone = false;
                while let Some(change) = changes.first().filter(|change| change.sequence <= entry.sequence) {
                    changes = &changes[1..];
                    if change.sequence < entry.sequence || gone {
                        continue;
                    }
                    touched = true;
                    match (change.what, entry.phase) {
                        (What::Done, _) => {
                            gone = true;
                            self.changes.gone(segment, &entry);
                        }
                        (What::Sent(packet_id), Phase::Queued | Phase::Sent(_)) => {
                            entry.phase = Phase::Sent(packet_id);
                        }
                        (What::Released, Phase::Sent(packet_id)) => {
                            self.changes.gone(segment, &entry);
                            entry.phase = Phase::Released(packet_id);
                            entry.identifiers = &[];
                        }
                        _ => {}
                    }
                }
                if gone {
                    continue;
                }
                if !self.row.has_room(entry.identifiers.len() / 4) {
                    // Packet identifiers made it longer than a row may be: the rest becomes one of its own.
                    self.put_row(txn, pending, base, None)?;
                    put += 1;
                    base = entry.sequence;
                    self.row.begin(base, segment);
                }
                self.row.push(&entry);
            }
            if touched && !self.row.is_empty() {
                self.put_row(txn, pending, base, None)?;
            } else if touched && put == 0 {
                txn.delete(Db::Queues, &key)?;
            }
            Ok(changes)
        })();
        self.stored = (key, value);
        rest
    }
}
