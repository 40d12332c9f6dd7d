//! Writes a plan into a transaction, in the order of the keys: segments first, then session by session.

mod queue;

use pelton_base::HashKey;
use pelton_storage_ops::Batch;

use crate::error::Fault;
use crate::layout::{self, Db, SESSION_KEY, message, row, segment};
use crate::plan::{Message, Pending, Plan, RetainedChange, SubscriptionChange};
use crate::segments::{SegmentChanges, Segments};
use crate::txn::WriteTxn;

/// What a transaction came to, for the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Messages written.
    pub(crate) messages: u64,
    /// Messages that need not be.
    pub(crate) overtaken: u64,
    /// Segments written.
    pub(crate) segments: u64,
    /// Their bytes.
    pub(crate) segment_bytes: u64,
    /// Segments freed.
    pub(crate) freed: u64,
    /// Records found damaged and moved aside.
    pub(crate) quarantined: u64,
    /// See [`crate::StoreEvent::HashesExhausted`].
    pub(crate) exhausted: u64,
}

/// Writes plans. Keeps its memory.
#[derive(Debug)]
pub(crate) struct Writing {
    key: HashKey,
    /// What the transaction does to the segments.
    pub(crate) changes: SegmentChanges,
    row: row::Writer,
    order: Vec<u32>,
    placing: Vec<u32>,
    stored: (Vec<u8>, Vec<u8>),
    scratch: Vec<u8>,
    freed: Vec<u64>,
    written: Written,
}

impl Writing {
    /// `key` is the store's.
    pub(crate) fn new(key: HashKey) -> Self {
        Self {
            key,
            changes: SegmentChanges::default(),
            row: row::Writer::default(),
            order: Vec::new(),
            placing: Vec::new(),
            stored: (Vec::new(), Vec::new()),
            scratch: Vec::new(),
            freed: Vec::new(),
            written: Written::default(),
        }
    }

    /// Writes all of `plan`.
    pub(crate) fn write(
        &mut self,
        txn: &mut WriteTxn<'_>,
        plan: &mut Plan,
        batches: &[Batch],
        segments: &Segments,
    ) -> Result<Written, Fault> {
        segments.begin(&mut self.changes);
        self.written = Written::default();
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend(0..plan.pending().len() as u32);
        order.sort_unstable_by_key(|&number| plan.pending()[number as usize].session);
        self.place(plan, &order);
        self.messages(txn, plan, batches)?;
        for &number in &order {
            self.session(txn, plan, number as usize, batches)?;
        }
        self.order = order;
        for change in &plan.retained {
            self.retained(txn, change, batches)?;
        }
        self.free(txn, segments)?;
        Ok(self.written)
    }

    /// Decides the order of the messages: those of one session side by side, so that its rows are few and long,
    /// and what it reads back lies together.
    fn place(&mut self, plan: &mut Plan, order: &[u32]) {
        self.placing.clear();
        let (pending, messages) = plan.pending_and_messages();
        for &number in order {
            for new in pending[number as usize].new.iter().filter(|new| new.needs_message()) {
                let message = &mut messages[new.message as usize];
                if !message.placed {
                    message.placed = true;
                    self.placing.push(new.message);
                }
            }
        }
        self.written.overtaken = (messages.len() - self.placing.len()) as u64;
    }

    fn messages(&mut self, txn: &mut WriteTxn<'_>, plan: &mut Plan, batches: &[Batch]) -> Result<(), Fault> {
        let placing = std::mem::take(&mut self.placing);
        let (mut start, mut bytes) = (0, segment::HEAD);
        for (at, &number) in placing.iter().enumerate() {
            let len = message::HEAD + plan.messages[number as usize].head.body_len();
            let fits = !segment::is_long(len) && bytes + segment::cost(len) <= segment::BYTES_MAX;
            if !fits {
                self.batch(txn, plan, &placing[start..at], bytes, batches)?;
                (start, bytes) = (at, segment::HEAD);
            }
            if segment::is_long(len) {
                self.long(txn, &mut plan.messages[number as usize], batches)?;
                start = at + 1;
            } else {
                bytes += segment::cost(len);
            }
        }
        self.batch(txn, plan, &placing[start..], bytes, batches)?;
        self.placing = placing;
        Ok(())
    }

    /// Writes a segment of the messages with these numbers, `bytes` together.
    fn batch(
        &mut self,
        txn: &mut WriteTxn<'_>,
        plan: &mut Plan,
        numbers: &[u32],
        bytes: usize,
        batches: &[Batch],
    ) -> Result<(), Fault> {
        if numbers.is_empty() {
            return Ok(());
        }
        let count = numbers.len() as u16;
        let segment = self.changes.take(1);
        let out = txn.append(Db::Segments, &segment::key(segment), bytes)?;
        let (head, mut bodies) = out.split_at_mut(segment::HEAD + 2 * numbers.len());
        let before = segment::place_sum(segment);
        let mut end = 0;
        for (index, &number) in (0..count).zip(numbers) {
            let message = &mut plan.messages[number as usize];
            let fixed = message::encode(&message.head);
            let body = message.body.of(batches);
            let (place, rest) = bodies.split_at_mut(segment::SUM + fixed.len() + body.len());
            bodies = rest;
            let sum = segment::message_sum_after(before, index, &[&fixed, body]);
            place[..segment::SUM].copy_from_slice(&sum.to_le_bytes());
            place[segment::SUM..][..fixed.len()].copy_from_slice(&fixed);
            place[segment::SUM + fixed.len()..].copy_from_slice(body);
            end += place.len();
            head[segment::HEAD + 2 * usize::from(index)..][..2].copy_from_slice(&(end as u16).to_le_bytes());
            (message.segment, message.index) = (segment, index);
        }
        assert!(bodies.is_empty(), "the segment is exactly as long as its messages");
        segment::finish(out, segment, segment::KIND_BATCH, count);
        self.written.messages += u64::from(count);
        self.written.segments += 1;
        self.written.segment_bytes += bytes as u64;
        Ok(())
    }

    fn long(
        &mut self,
        txn: &mut WriteTxn<'_>,
        message: &mut Message,
        batches: &[Batch],
    ) -> Result<(), Fault> {
        let fixed = message::encode(&message.head);
        let body = message.body.of(batches);
        let parts = segment::parts(fixed.len() + body.len());
        let first = self.changes.take(parts as u64);
        let mut start = [0; segment::SUM + message::HEAD];
        start[..segment::SUM].copy_from_slice(&segment::message_sum(first, 0, &[&fixed, body]).to_le_bytes());
        start[segment::SUM..].copy_from_slice(&fixed);
        let mut rest = body;
        for part in 0..parts {
            let before: &[u8] = if part == 0 { &start } else { &[] };
            let (now, later) = rest.split_at(rest.len().min(segment::PART - before.len()));
            rest = later;
            let number = first + part as u64;
            let len = segment::HEAD + before.len() + now.len();
            let out = txn.append(Db::Segments, &segment::key(number), len)?;
            out[segment::HEAD..][..before.len()].copy_from_slice(before);
            out[segment::HEAD + before.len()..].copy_from_slice(now);
            let (kind, count) =
                if part == 0 { (segment::KIND_LONG, parts) } else { (segment::KIND_PART, part) };
            segment::finish(out, number, kind, count as u16);
            self.written.segment_bytes += len as u64;
        }
        (message.segment, message.index) = (first, 0);
        self.written.messages += 1;
        self.written.segments += parts as u64;
        Ok(())
    }

    fn session(
        &mut self,
        txn: &mut WriteTxn<'_>,
        plan: &mut Plan,
        number: usize,
        batches: &[Batch],
    ) -> Result<(), Fault> {
        // The plan's messages and identifiers are read while its pending sessions change.
        let messages = std::mem::take(&mut plan.messages);
        let identifiers = std::mem::take(&mut plan.identifiers);
        let pending = &mut plan.pending()[number];
        let result = (|| {
            if pending.wipe {
                self.wipe(txn, pending)?;
            }
            let key = layout::session_key(pending.session);
            if let Some(image) = pending.image {
                layout::seal(&mut self.scratch, Db::Sessions, &key, &[image.of(batches)]);
                txn.put(Db::Sessions, &key, &self.scratch)?;
            }
            for change in &pending.subscriptions {
                self.subscription(txn, pending, change, batches)?;
            }
            self.received(txn, pending)?;
            self.changed_entries(txn, pending)?;
            self.new_entries(txn, pending, &messages, &identifiers)
        })();
        plan.messages = messages;
        plan.identifiers = identifiers;
        result
    }

    fn wipe(&mut self, txn: &mut WriteTxn<'_>, pending: &Pending) -> Result<(), Fault> {
        let key = layout::session_key(pending.session);
        txn.delete(Db::Sessions, &key)?;
        for db in [Db::Subscriptions, Db::Received, Db::Queues] {
            while let Some((found, value)) = txn.seek(db, &key)? {
                if found.get(..SESSION_KEY) != Some(&key[..]) {
                    break;
                }
                // Of a damaged row the segment stays until the next start, as in `change_row`.
                if db == Db::Queues
                    && let Some(row) = row::Row::read(found, value)
                {
                    let segment = row.segment;
                    for entry in row {
                        self.changes.gone(segment, &entry);
                    }
                }
                txn.delete_here(db)?;
            }
        }
        Ok(())
    }

    fn subscription(
        &mut self,
        txn: &mut WriteTxn<'_>,
        pending: &Pending,
        change: &SubscriptionChange,
        batches: &[Batch],
    ) -> Result<(), Fault> {
        let filter = change.filter.of(batches);
        let mut key = layout::subscription_key(pending.session, self.key.hash(filter), 0);
        let place = place(txn, Db::Subscriptions, &key, |payload| payload.get(5..) == Some(filter))?;
        match (change.becomes, place.found, place.free) {
            (None, Some(number), _) => {
                key[key.len() - 1] = number;
                txn.delete(Db::Subscriptions, &key)?;
            }
            (Some((options, identifier)), Some(number), _)
            | (Some((options, identifier)), None, Some(number)) => {
                key[key.len() - 1] = number;
                let parts: [&[u8]; 3] = [&[options], &identifier.to_le_bytes(), filter];
                layout::seal(&mut self.scratch, Db::Subscriptions, &key, &parts);
                txn.put(Db::Subscriptions, &key, &self.scratch)?;
            }
            (Some(_), None, None) => self.written.exhausted += 1,
            (None, None, _) => {}
        }
        Ok(())
    }

    fn received(&mut self, txn: &mut WriteTxn<'_>, pending: &mut Pending) -> Result<(), Fault> {
        // Stable, so that the last word on an identifier is the last of its run.
        pending.received.sort_by_key(|&(packet_id, _)| packet_id);
        for run in pending.received.chunk_by(|a, b| a.0 == b.0) {
            let &(packet_id, is_there) = run.last().expect("a run has at least one");
            let key = layout::received_key(pending.session, packet_id);
            if is_there {
                txn.put(Db::Received, &key, &layout::checksum(Db::Received, &key, &[]).to_le_bytes())?;
            } else {
                txn.delete(Db::Received, &key)?;
            }
        }
        Ok(())
    }

    fn retained(
        &mut self,
        txn: &mut WriteTxn<'_>,
        change: &RetainedChange,
        batches: &[Batch],
    ) -> Result<(), Fault> {
        let topic = change.topic.of(batches);
        let mut key = std::mem::take(&mut self.scratch);
        let shared = layout::retained_key(&mut key, topic, |topic| self.key.hash(topic));
        let place = if shared {
            place(txn, Db::Retained, &key, |payload| {
                message::decode(payload).is_some_and(|(head, body)| &body[..usize::from(head.topic)] == topic)
            })?
        } else {
            Place { found: None, free: None }
        };
        if shared {
            match place.found.or(place.free) {
                Some(number) => *key.last_mut().expect("a long key has a number") = number,
                None => {
                    self.written.exhausted += 1;
                    self.scratch = key;
                    return Ok(());
                }
            }
        }
        let result = match change.becomes {
            None => txn.delete(Db::Retained, &key).map(drop),
            Some((head, body)) => {
                let (fixed, body) = (message::encode(&head), body.of(batches));
                let sum = layout::checksum(Db::Retained, &key, &[&fixed, body]).to_le_bytes();
                txn.reserve(Db::Retained, &key, sum.len() + fixed.len() + body.len()).map(|out| {
                    out[..4].copy_from_slice(&sum);
                    out[4..4 + fixed.len()].copy_from_slice(&fixed);
                    out[4 + fixed.len()..].copy_from_slice(body);
                })
            }
        };
        self.scratch = key;
        result
    }

    fn free(&mut self, txn: &mut WriteTxn<'_>, segments: &Segments) -> Result<(), Fault> {
        self.freed.clear();
        self.freed.extend(segments.freed(&self.changes));
        self.freed.sort_unstable();
        for &first in &self.freed {
            let key = segment::key(first);
            let parts = match txn.get(Db::Segments, &key)? {
                Some(value) => match segment::Segment::read(first, value) {
                    Some(found) if found.kind == segment::KIND_LONG => u64::from(found.count),
                    _ => 1,
                },
                None => continue,
            };
            for number in first..first + parts {
                txn.delete(Db::Segments, &segment::key(number))?;
            }
            self.written.freed += parts;
        }
        Ok(())
    }

    /// Moves a damaged record aside, as it is.
    pub(crate) fn quarantine(
        &mut self,
        txn: &mut WriteTxn<'_>,
        db: Db,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Fault> {
        quarantine(txn, db, key, value)?;
        self.written.quarantined += 1;
        Ok(())
    }
}

/// Moves a damaged record aside, as it is: its key gets the database's tag in front.
pub(crate) fn quarantine(txn: &mut WriteTxn<'_>, db: Db, key: &[u8], value: &[u8]) -> Result<(), Fault> {
    let mut aside = Vec::with_capacity(key.len() + 1);
    aside.push(db.tag());
    aside.extend_from_slice(&key[..key.len().min(510)]);
    txn.put(Db::Lost, &aside, value)?;
    txn.delete(db, key)?;
    Ok(())
}

/// Where a record whose key ends with a number is, and the lowest number that is free.
struct Place {
    found: Option<u8>,
    free: Option<u8>,
}

/// Looks among the records whose keys differ from `key` in the last byte only.
fn place(
    txn: &mut WriteTxn<'_>,
    db: Db,
    key: &[u8],
    is_same: impl Fn(&[u8]) -> bool,
) -> Result<Place, Fault> {
    let prefix = &key[..key.len() - 1];
    let mut place = Place { found: None, free: None };
    let mut expected = 0u16;
    let mut record = txn.seek(db, key)?;
    while let Some((found, value)) = record {
        let Some((&number, _)) = found.split_last().filter(|(_, start)| *start == prefix) else { break };
        if layout::unseal(db, found, value).is_some_and(&is_same) {
            place.found = Some(number);
        }
        if place.free.is_none() && u16::from(number) != expected {
            place.free = Some(expected as u8);
        }
        expected = u16::from(number) + 1;
        record = txn.next(db)?;
    }
    place.free = place.free.or(u8::try_from(expected).ok());
    Ok(place)
}
