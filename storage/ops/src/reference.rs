//! The reference store: everything in memory, in the plainest form, with what a crash would leave.
//!
//! [`ReferenceStore::apply`] takes batches into the transaction that is open, [`ReferenceStore::commit`] makes
//! it durable, [`ReferenceStore::crash`] forgets it. The simulator uses it as its disk; the LMDB engine is
//! compared with it, operation for operation.
//!
//! Durable is what survives the end of the process. Where the medium syncs lazily ([`ReferenceStore::set_lazy`])
//! a loss of power takes more: [`ReferenceStore::lose_power`] draws a [`Fate`] for every page that was written
//! since the last sync. A transaction of which a page is lost or torn did not happen, nor did any behind it: what
//! is left is a prefix, as the LMDB engine is shown to leave one by replaying its writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::batch::{Batch, Completion, Failure, MessageHead, OpKind, SessionId, Step, Target};
use crate::group::whole;
use crate::image::SessionImage;
use crate::page::{Entry, Loaded, LoadedSession, Page, PageRequest, Phase};

/// A queued message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// QoS of the delivery.
    pub qos: u8,
    /// Retain flag of the delivery.
    pub retain: bool,
    /// Where it stands.
    pub phase: Phase,
    /// Matched subscription identifiers.
    pub identifiers: Vec<u32>,
    /// The message.
    pub message: Option<(MessageHead, Vec<u8>)>,
}

/// A session with all it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The encoded image.
    pub image: Vec<u8>,
    /// Filter to options and identifier.
    pub subscriptions: BTreeMap<String, (u8, u32)>,
    /// The queue, by sequence number.
    pub queue: BTreeMap<u64, Queued>,
    /// QoS 2 identifiers received and not released.
    pub received: BTreeSet<u16>,
}

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Sessions.
    pub sessions: BTreeMap<SessionId, Stored>,
    /// Retained messages by topic.
    pub retained: BTreeMap<Vec<u8>, (MessageHead, Vec<u8>)>,
}

/// A store in memory.
#[derive(Clone, Debug, Default)]
pub struct ReferenceStore {
    durable: State,
    open: State,
    /// Batches that wait for the rest of a group, and those behind them, in the order they came.
    held: Vec<Batch>,
    /// Per shard: what the commit of the open transaction tells it.
    told: BTreeMap<u16, Completion>,
    /// What is wrong with the medium.
    fault: Option<Failure>,
    /// Commits do not wait for the medium.
    lazy: bool,
    /// Pages of the open transaction.
    pages: u64,
    /// Transactions that a loss of power may undo, oldest first.
    unsynced: VecDeque<Unsynced>,
}

/// What becomes of a page that was written and not synced when power is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It got to the medium in time.
    Kept,
    /// It did not.
    Lost,
    /// A part of it did; its checksum says so.
    Torn,
}

/// A transaction that is not synced.
#[derive(Clone, Debug)]
struct Unsynced {
    before: State,
    pages: u64,
}

impl ReferenceStore {
    /// Takes a batch into the open transaction, or holds it until the groups it has a part in are whole.
    pub fn apply(&mut self, batch: Batch) {
        self.held.push(batch);
        let ready = whole(&self.held);
        for (batch, ready) in std::mem::take(&mut self.held).into_iter().zip(ready) {
            if ready {
                self.apply_now(batch);
            } else {
                self.held.push(batch);
            }
        }
    }

    /// From here on the medium is full (what needs space fails) or broken (everything fails), or well again.
    pub fn set_fault(&mut self, fault: Option<Failure>) {
        self.fault = fault;
    }

    fn apply_now(&mut self, batch: Batch) {
        let told = self.told.entry(batch.shard).or_default();
        for step in batch.walk() {
            match self.fault {
                Some(fault) if fault == Failure::Failed || step.op.group.is_some() || needs_space(&step) => {
                    told.failed.push((step.number, fault));
                }
                _ => self.open.apply(&step),
            }
        }
        told.until = batch.end();
        self.pages += batch.ops.len() as u64;
        told.returned.push(batch);
    }

    /// From here on commits do not wait for the medium, or they do.
    pub fn set_lazy(&mut self, lazy: bool) {
        self.lazy = lazy;
    }

    /// Makes the open transaction durable. Returns what each shard is told.
    pub fn commit(&mut self) -> Vec<(u16, Completion)> {
        let before = std::mem::replace(&mut self.durable, self.open.clone());
        // The page that says which transaction is the last is written by each.
        self.unsynced.push_back(Unsynced { before, pages: std::mem::take(&mut self.pages) + 1 });
        if !self.lazy {
            self.sync();
        }
        std::mem::take(&mut self.told).into_iter().collect()
    }

    /// The medium has all that is durable.
    pub fn sync(&mut self) {
        self.unsynced.clear();
    }

    /// How many transactions a loss of power may undo.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// The process ends: what was not committed is gone.
    pub fn crash(&mut self) {
        self.open = self.durable.clone();
        self.held.clear();
        self.told.clear();
        self.pages = 0;
    }

    /// Power is lost: what was not committed is gone, and of what was not synced the transactions from the first
    /// on that has not all its pages. Returns how many are undone.
    pub fn lose_power(&mut self, mut fate: impl FnMut() -> Fate) -> usize {
        // Every page has its fate, whatever became of those before.
        let whole: Vec<bool> = self
            .unsynced
            .iter()
            .map(|transaction| (0..transaction.pages).filter(|_| fate() != Fate::Kept).count() == 0)
            .collect();
        let kept = whole.iter().take_while(|whole| **whole).count();
        let undone = self.unsynced.len() - kept;
        if let Some(first) = self.unsynced.drain(..).nth(kept) {
            self.durable = first.before;
        }
        self.unsynced.clear();
        self.crash();
        undone
    }

    /// What is durable.
    pub fn durable(&self) -> &State {
        &self.durable
    }

    /// What is durable, as it is handed out at the start.
    pub fn load(&self) -> Vec<Loaded> {
        let sessions = self.durable.sessions.iter().map(|(&session, stored)| {
            let live = stored.queue.values();
            Loaded::Session(Box::new(LoadedSession {
                session,
                image: SessionImage::decode(&stored.image).expect("the store keeps what it was given"),
                subscriptions: stored
                    .subscriptions
                    .iter()
                    .map(|(filter, &(options, identifier))| (filter.clone(), options, identifier))
                    .collect(),
                received: stored.received.iter().copied().collect(),
                next_sequence: stored.queue.last_key_value().map_or(0, |(last, _)| last + 1),
                queued_messages: stored.queue.len() as u32,
                queued_bytes: live
                    .map(|queued| queued.message.as_ref().map_or(0, |(head, _)| head.body_len() as u64))
                    .sum(),
            }))
        });
        let retained =
            self.durable.retained.values().map(|(head, body)| Loaded::Retained(*head, body.clone()));
        sessions.chain(retained).collect()
    }

    /// Serves a page of what is durable.
    pub fn page(&self, request: &PageRequest) -> Page {
        let mut page = Page { token: request.token, complete: true, ..Page::default() };
        let Some(stored) = self.durable.sessions.get(&request.session) else { return page };
        for (&sequence, queued) in stored.queue.range(request.from..) {
            if page.entries.len() == request.messages_max as usize
                || (page.bytes.len() >= request.bytes_max as usize && !page.entries.is_empty())
            {
                page.complete = false;
                break;
            }
            page.identifiers.extend_from_slice(&queued.identifiers);
            if let Some((_, body)) = &queued.message {
                page.bytes.extend_from_slice(body);
            }
            page.entries.push(Entry {
                sequence,
                qos: queued.qos,
                retain: queued.retain,
                phase: queued.phase,
                identifiers: queued.identifiers.len() as u8,
                message: queued.message.as_ref().map(|(head, _)| *head),
            });
        }
        page
    }
}

/// Whether an operation makes the store larger.
fn needs_space(step: &Step<'_>) -> bool {
    matches!(
        step.op.kind,
        OpKind::PutSession { .. }
            | OpKind::PutSubscription { .. }
            | OpKind::Enqueue { .. }
            | OpKind::Received { .. }
            | OpKind::PutRetained { .. }
    )
}

impl State {
    fn apply(&mut self, step: &Step<'_>) {
        match step.op.kind {
            OpKind::PutSession { session, .. } => {
                self.sessions.entry(session).or_default().image = step.bytes.to_vec();
            }
            OpKind::EndSession { session } => {
                self.sessions.remove(&session);
            }
            OpKind::PutSubscription { session, options, identifier, .. } => {
                if let Some(stored) = self.sessions.get_mut(&session) {
                    let filter = String::from_utf8_lossy(step.bytes).into_owned();
                    stored.subscriptions.insert(filter, (options, identifier));
                }
            }
            OpKind::EndSubscription { session, .. } => {
                if let Some(stored) = self.sessions.get_mut(&session) {
                    stored.subscriptions.remove(&*String::from_utf8_lossy(step.bytes));
                }
            }
            OpKind::Enqueue { message, .. } => {
                let mut identifiers = step.identifiers;
                for target in step.targets {
                    let (own, rest) = identifiers.split_at(usize::from(target.identifiers));
                    identifiers = rest;
                    self.enqueue(target, own, message, step.bytes);
                }
            }
            OpKind::Sent { session, sequence, packet_id } => {
                if let Some(queued) = self.queued(session, sequence)
                    && !matches!(queued.phase, Phase::Released(_))
                {
                    queued.phase = Phase::Sent(packet_id);
                }
            }
            OpKind::Released { session, sequence } => {
                if let Some(queued) = self.queued(session, sequence)
                    && let Phase::Sent(packet_id) = queued.phase
                {
                    queued.phase = Phase::Released(packet_id);
                    queued.message = None;
                    queued.identifiers.clear();
                }
            }
            OpKind::Done { session, sequence } => {
                if let Some(stored) = self.sessions.get_mut(&session) {
                    stored.queue.remove(&sequence);
                }
            }
            OpKind::Received { session, packet_id } => {
                if let Some(stored) = self.sessions.get_mut(&session) {
                    stored.received.insert(packet_id);
                }
            }
            OpKind::Unreceived { session, packet_id } => {
                if let Some(stored) = self.sessions.get_mut(&session) {
                    stored.received.remove(&packet_id);
                }
            }
            OpKind::PutRetained { message } => {
                let topic = step.bytes[..usize::from(message.topic)].to_vec();
                self.retained.insert(topic, (message, step.bytes.to_vec()));
            }
            OpKind::EndRetained { .. } => {
                self.retained.remove(step.bytes);
            }
            OpKind::Nothing => {}
        }
    }

    fn enqueue(&mut self, target: &Target, identifiers: &[u32], message: MessageHead, body: &[u8]) {
        // The session may have ended since: operations of one shard are in order, those of a group's home and
        // its members' shards are not.
        let Some(stored) = self.sessions.get_mut(&target.session) else { return };
        let phase = match target.packet_id {
            0 => Phase::Queued,
            packet_id => Phase::Sent(packet_id),
        };
        stored.queue.insert(
            target.sequence,
            Queued {
                qos: target.qos,
                retain: target.retain,
                phase,
                identifiers: identifiers.to_vec(),
                message: Some((message, body.to_vec())),
            },
        );
    }

    fn queued(&mut self, session: SessionId, sequence: u64) -> Option<&mut Queued> {
        self.sessions.get_mut(&session)?.queue.get_mut(&sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelton_base::Wall;

    const SESSION: SessionId = SessionId { slot: 7, serial: 1 };

    fn head(topic: &str, payload: &[u8]) -> MessageHead {
        MessageHead {
            topic: topic.len() as u16,
            forwarded: 0,
            payload: payload.len() as u32,
            qos: 1,
            retain: false,
            expires: Wall::NEVER,
            publisher: 0,
            client_hash: 0,
        }
    }

    fn image(client_id: &str) -> Vec<u8> {
        let image = SessionImage {
            kind: crate::SessionKind::Client,
            client_id: client_id.to_owned(),
            expiry_seconds: 60,
            expires: Wall::NEVER,
            will: None,
        };
        let mut bytes = Vec::new();
        image.encode(&mut bytes);
        bytes
    }

    fn enqueue(batch: &mut Batch, sequence: u64, payload: &[u8]) {
        let target =
            Target { session: SESSION, sequence, qos: 1, retain: false, packet_id: 0, identifiers: 1 };
        batch.targets.push(target);
        batch.identifiers.push(sequence as u32 + 100);
        let kind = OpKind::Enqueue { message: head("t", payload), targets: 1 };
        batch.push(kind, None, &[b"t", payload]);
    }

    fn store() -> ReferenceStore {
        let mut store = ReferenceStore::default();
        let mut batch = Batch::default();
        let image = image("client");
        batch.push(OpKind::PutSession { session: SESSION, image: image.len() as u32 }, None, &[&image]);
        for sequence in 0..5 {
            enqueue(&mut batch, sequence, b"payload");
        }
        store.apply(batch);
        store
    }

    #[test]
    fn a_crash_leaves_what_was_committed() {
        let mut store = store();
        let told = store.commit();
        assert_eq!((told.len(), told[0].0, told[0].1.until, told[0].1.returned.len()), (1, 0, 6, 1));
        assert!(told[0].1.failed.is_empty());
        let before = store.durable().clone();
        let mut batch = Batch { first: 6, ..Batch::default() };
        batch.push(OpKind::Done { session: SESSION, sequence: 0 }, None, &[]);
        store.apply(batch);
        assert_eq!(store.durable(), &before, "not before the commit");
        store.crash();
        assert!(store.commit().is_empty());
        assert_eq!(store.durable(), &before);
    }

    #[test]
    fn a_loss_of_power_leaves_a_prefix_of_what_was_not_synced() {
        let mut lazy = store();
        lazy.commit();
        lazy.set_lazy(true);
        let mut states = vec![lazy.durable().clone()];
        for sequence in 0..4 {
            let mut batch = Batch { first: 6 + sequence, ..Batch::default() };
            batch.push(OpKind::Done { session: SESSION, sequence }, None, &[]);
            lazy.apply(batch);
            lazy.commit();
            states.push(lazy.durable().clone());
        }
        // Each has two pages: what it says, and that it is the last.
        for (bad, fate) in
            [(0, Fate::Lost), (1, Fate::Torn), (4, Fate::Torn), (7, Fate::Lost), (8, Fate::Lost)]
        {
            let mut store = lazy.clone();
            let mut page = 0;
            let undone = store.lose_power(|| {
                page += 1;
                if page - 1 == bad { fate } else { Fate::Kept }
            });
            assert_eq!((page, undone), (8, 4 - bad / 2), "page {bad}");
            assert_eq!(store.durable(), &states[bad / 2], "page {bad}");
            assert_eq!(store.open, store.durable, "what comes next builds on what is left");
        }
        // The end of the process takes nothing, and what is synced stays.
        lazy.crash();
        assert_eq!((lazy.durable(), lazy.unsynced()), (&states[4], 4));
        lazy.sync();
        assert_eq!((lazy.lose_power(|| Fate::Lost), lazy.durable()), (0, &states[4]));
    }

    #[test]
    fn a_full_medium_still_forgets() {
        let mut store = store();
        store.commit();
        store.set_fault(Some(Failure::Full));
        let mut batch = Batch { first: 6, ..Batch::default() };
        enqueue(&mut batch, 5, b"payload");
        batch.push(OpKind::Done { session: SESSION, sequence: 0 }, None, &[]);
        store.apply(batch.clone());
        let told = store.commit().remove(0).1;
        assert_eq!(told, Completion { until: 8, failed: vec![(6, Failure::Full)], returned: vec![batch] });
        let queue = &store.durable().sessions[&SESSION].queue;
        assert_eq!(queue.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_queue_is_read_in_pages() {
        let mut store = store();
        store.commit();
        let request =
            PageRequest { token: 9, shard: 0, session: SESSION, from: 1, messages_max: 3, bytes_max: 1000 };
        let page = store.page(&request);
        assert_eq!(page.entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((page.token, page.complete, &page.identifiers[..]), (9, false, &[101, 102, 103][..]));
        let page = store.page(&PageRequest { from: 4, ..request });
        assert!(page.complete && page.entries.len() == 1);
        assert_eq!(page.bytes, b"tpayload");
    }

    #[test]
    fn a_released_message_is_only_its_identifier() {
        let mut store = store();
        let mut batch = Batch { first: 6, ..Batch::default() };
        batch.push(OpKind::Sent { session: SESSION, sequence: 0, packet_id: 17 }, None, &[]);
        batch.push(OpKind::Released { session: SESSION, sequence: 0 }, None, &[]);
        store.apply(batch);
        store.commit();
        let request =
            PageRequest { token: 0, shard: 0, session: SESSION, from: 0, messages_max: 1, bytes_max: 1000 };
        let entry = store.page(&request).entries[0];
        assert_eq!((entry.phase, entry.message), (Phase::Released(17), None));
    }
}
