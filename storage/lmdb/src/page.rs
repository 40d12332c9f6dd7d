//! Reads pages of queues, in short transactions, away from the shards: a page of the map that is not in memory
//! stalls whoever touches it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use pelton_storage_ops::{Answer, Entry, MessageHead, Page, PageRequest};

use crate::error::Fault;
use crate::layout::segment::{KIND_BATCH, KIND_LONG, KIND_PART, Segment};
use crate::layout::{Db, SESSION_KEY, message, queue_key, row, segment, session_key};
use crate::map::Map;
use crate::options::Wake;
use crate::status::{Shared, StoreEvent};
use crate::txn::{ReadTxn, Record};

/// How soon to look again whether a shard takes its answers that did not.
const PAUSE: Duration = Duration::from_millis(1);
/// How long to wait where nothing is to be done but what comes.
const FOR_LONG: Duration = Duration::from_secs(3_600);

/// Reads messages, keeping the segment at hand: neighbours in a queue are mostly neighbours in a segment.
pub(crate) struct Messages<'t> {
    txn: &'t ReadTxn<'t>,
    at_hand: Option<(u64, Option<Segment<'t>>)>,
    long: Vec<u8>,
}

impl<'t> Messages<'t> {
    pub(crate) fn new(txn: &'t ReadTxn<'t>) -> Self {
        Self { txn, at_hand: None, long: Vec::new() }
    }

    fn segment(&mut self, number: u64) -> Result<Option<Segment<'t>>, Fault> {
        match self.at_hand {
            Some((at_hand, segment)) if at_hand == number => Ok(segment),
            _ => {
                let value = self.txn.get(Db::Segments, &segment::key(number))?;
                let segment = value.and_then(|value| {
                    Segment::read(number, value).or_else(|| Segment::salvage(number, value))
                });
                self.at_hand = Some((number, segment));
                Ok(segment)
            }
        }
    }

    /// A message and its body; `None` if it is not what was written.
    pub(crate) fn get(&mut self, number: u64, index: u16) -> Result<Option<(MessageHead, &[u8])>, Fault> {
        let Some(first) = self.segment(number)? else { return Ok(None) };
        match first.kind {
            KIND_BATCH => Ok(first.message(index).and_then(message::decode)),
            KIND_LONG => {
                self.long.clear();
                self.long.extend_from_slice(first.bytes);
                for part in 1..first.count {
                    match self.segment(number + u64::from(part))? {
                        Some(found) if (found.kind, found.count) == (KIND_PART, part) => {
                            self.long.extend_from_slice(found.bytes);
                        }
                        _ => return Ok(None),
                    }
                }
                Ok(first.verified(0, &self.long).and_then(message::decode))
            }
            _ => Ok(None),
        }
    }
}

/// Reads what `request` asks for.
pub(crate) fn read(txn: &ReadTxn<'_>, request: &PageRequest, shared: &Shared) -> Result<Page, Fault> {
    let mut page = Page { token: request.token, complete: true, ..Page::default() };
    let mut messages = Messages::new(txn);
    let mut cursor = txn.cursor(Db::Queues)?;
    let prefix = session_key(request.session);
    let is_own = |record: &Record<'_>| record.0.get(..SESSION_KEY) == Some(&prefix[..]);
    let wanted = queue_key(request.session, request.from);
    let at = cursor.seek(&wanted)?;
    let mut record = at.filter(is_own);
    if record.is_none_or(|(key, _)| key != wanted) {
        // The row before may reach beyond `from`.
        let before = if at.is_some() { cursor.previous()? } else { cursor.last()? };
        match before.filter(is_own) {
            Some(before) => record = Some(before),
            // The cursor has moved: back to where the search ended.
            None if record.is_some() => record = cursor.seek(&wanted)?,
            None => {}
        }
    }
    'rows: while let Some((key, value)) = record.filter(is_own) {
        let Some(row) = row::Row::read(key, value) else {
            shared.add(StoreEvent::RecordsQuarantined, 1);
            record = cursor.next()?;
            continue;
        };
        let segment = row.segment;
        for entry in row.skip_while(|entry| entry.sequence < request.from) {
            if page.entries.len() == request.messages_max as usize
                || (page.bytes.len() >= request.bytes_max as usize && !page.entries.is_empty())
            {
                page.complete = false;
                break 'rows;
            }
            let mut head = None;
            if entry.has_message() {
                match messages.get(segment, entry.index)? {
                    Some((found, body)) => {
                        head = Some(found);
                        page.bytes.extend_from_slice(body);
                    }
                    None => page.damaged += 1,
                }
            }
            page.identifiers.extend(entry.identifiers());
            page.entries.push(Entry {
                sequence: entry.sequence,
                qos: entry.qos,
                retain: entry.retain,
                phase: entry.phase,
                identifiers: (entry.identifiers.len() / 4) as u8,
                message: head,
            });
        }
        record = cursor.next()?;
    }
    Ok(page)
}

/// A thread that reads pages.
pub(crate) struct Reader {
    pub(crate) map: Arc<Map>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) requests: Receiver<PageRequest>,
    /// Answers that may wait for a shard before its pages do.
    pub(crate) pages_max: usize,
    /// For each shard: where its pages go, and how it is woken.
    pub(crate) shards: Vec<(Sender<Answer>, Wake)>,
}

impl Reader {
    /// Serves requests until nobody can ask any more.
    pub(crate) fn run(self) {
        // Of shards that do not take their answers. None is forgotten: who asks for a page asks for no other before
        // it has come. Bounded by what a shard asks for at once.
        let mut put_off: VecDeque<PageRequest> = VecDeque::new();
        loop {
            for _ in 0..put_off.len() {
                let Some(request) = put_off.pop_front() else { break };
                if !self.serve(&request) {
                    put_off.push_back(request);
                }
            }
            let timeout = if put_off.is_empty() { FOR_LONG } else { PAUSE };
            match self.requests.recv_timeout(timeout) {
                Ok(request) if self.serve(&request) => {}
                Ok(request) => put_off.push_back(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reads and delivers a page; `false` if its shard has no place for it now.
    fn serve(&self, request: &PageRequest) -> bool {
        let Some((answers, wake)) = self.shards.get(usize::from(request.shard)) else { return true };
        // The last places of the channel are for completions. A shard empties it with every turn.
        if answers.len() >= self.pages_max {
            wake();
            return false;
        }
        let live = self.map.live();
        let page = live.read().and_then(|txn| read(&txn, request, &self.shared));
        drop(live);
        // What cannot be read now may be later: the page is empty and says that it is not complete.
        let page = page.unwrap_or(Page { token: request.token, complete: false, ..Page::default() });
        let (messages, damaged) = (page.entries.len() as u64, u64::from(page.damaged));
        match answers.try_send(Answer::Page(page)) {
            Ok(()) => {}
            // Another reader was faster.
            Err(TrySendError::Full(_)) => return false,
            Err(TrySendError::Disconnected(_)) => self.shared.add(StoreEvent::PagesDropped, 1),
        }
        self.shared.add(StoreEvent::PagesRead, 1);
        self.shared.add(StoreEvent::MessagesRead, messages);
        self.shared.add(StoreEvent::MessagesDamaged, damaged);
        wake();
        true
    }
}
