//! What a transaction will write, made from the batches that go into it: per session, with everything left out
//! that is done and undone among them. A plan refers to the bytes of its batches by position and keeps its
//! memory from one transaction to the next.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;
use pelton_base::HashKey;
use pelton_storage_ops::batch::Step;
use pelton_storage_ops::{Batch, MessageHead, OpKind, Phase, SessionId, Target};

use crate::error::Fault;

/// Bytes of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slice {
    batch: u32,
    at: u32,
    len: u32,
}

impl Slice {
    /// The bytes.
    pub(crate) fn of<'a>(&self, batches: &'a [Batch]) -> &'a [u8] {
        &batches[self.batch as usize].bytes[self.at as usize..][..self.len as usize]
    }
}

/// A message some session is to keep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    /// Its fixed part.
    pub(crate) head: MessageHead,
    /// Its body.
    pub(crate) body: Slice,
    /// Deliveries that still need it. Without any it is not written.
    pub(crate) live: u32,
    /// It has its place.
    pub(crate) placed: bool,
    /// Where it was put.
    pub(crate) segment: u64,
    /// Where in the segment.
    pub(crate) index: u16,
}

/// An entry that is new in a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct New {
    /// Its place.
    pub(crate) sequence: u64,
    /// Number of the message in the plan.
    pub(crate) message: u32,
    /// QoS of the delivery.
    pub(crate) qos: u8,
    /// Retain flag of the delivery.
    pub(crate) retain: bool,
    /// Where it stands.
    pub(crate) phase: Phase,
    /// Over already.
    pub(crate) done: bool,
    /// Where its subscription identifiers are in the plan, in bytes.
    pub(crate) identifiers: (u32, u16),
}

/// What happened to an entry of a row that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// See [`OpKind::Sent`].
    Sent(u16),
    /// See [`OpKind::Released`].
    Released,
    /// See [`OpKind::Done`].
    Done,
}

/// A change of a stored entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// Which.
    pub(crate) sequence: u64,
    /// Keeps changes of one entry in order.
    pub(crate) order: u32,
    /// What happened.
    pub(crate) what: What,
}

/// A change of a subscription: options and identifier, or its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubscriptionChange {
    /// The filter.
    pub(crate) filter: Slice,
    /// What it becomes.
    pub(crate) becomes: Option<(u8, u32)>,
}

/// What one session is to become.
#[derive(Debug)]
pub(crate) struct Pending {
    /// The session.
    pub(crate) session: SessionId,
    /// Whether it exists, as far as the plan has come.
    exists: bool,
    /// Remove all that is stored before anything else.
    pub(crate) wipe: bool,
    /// Its new image.
    pub(crate) image: Option<Slice>,
    /// New entries, in order.
    pub(crate) new: Vec<New>,
    /// Changes of stored entries.
    pub(crate) changes: Vec<Change>,
    /// Changes of subscriptions, in order.
    pub(crate) subscriptions: Vec<SubscriptionChange>,
    /// Changes of QoS 2 identifiers received: the identifier, and whether it is there.
    pub(crate) received: Vec<(u16, bool)>,
}

/// What a retained message becomes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetainedChange {
    /// The topic.
    pub(crate) topic: Slice,
    /// The message with its body, or its end.
    pub(crate) becomes: Option<(MessageHead, Slice)>,
}

/// Sessions are numbered by us: nobody chooses collisions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }
}

/// A map by such numbers.
pub(crate) type Numbered<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

/// Which operations go into a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admit {
    /// All.
    All,
    /// Those that need no space to speak of, and are of no group: what can be done on a full disk.
    Removals,
}

impl Admit {
    /// Whether an operation goes in.
    pub(crate) fn takes(self, op: &pelton_storage_ops::Op) -> bool {
        self == Self::All
            || op.group.is_none()
                && matches!(
                    op.kind,
                    OpKind::EndSession { .. }
                        | OpKind::EndSubscription { .. }
                        | OpKind::EndRetained { .. }
                        | OpKind::Sent { .. }
                        | OpKind::Released { .. }
                        | OpKind::Done { .. }
                        | OpKind::Unreceived { .. }
                        | OpKind::Nothing
                )
    }
}

/// What a transaction will write.
#[derive(Debug)]
pub(crate) struct Plan {
    key: HashKey,
    sessions: Numbered<SessionId, u32>,
    pending: Vec<Pending>,
    used: usize,
    /// Messages, in order.
    pub(crate) messages: Vec<Message>,
    /// Subscription identifiers of new entries.
    pub(crate) identifiers: Vec<u8>,
    topics: Numbered<u64, u32>,
    /// Changes of retained messages, in order.
    pub(crate) retained: Vec<RetainedChange>,
    /// Operations taken.
    pub(crate) operations: u64,
}

impl Plan {
    /// An empty plan. `key` is the store's.
    pub(crate) fn new(key: HashKey) -> Self {
        Self {
            key,
            sessions: Numbered::default(),
            pending: Vec::new(),
            used: 0,
            messages: Vec::new(),
            identifiers: Vec::new(),
            topics: Numbered::default(),
            retained: Vec::new(),
            operations: 0,
        }
    }

    /// Empties it.
    pub(crate) fn clear(&mut self) {
        self.sessions.clear();
        self.used = 0;
        self.messages.clear();
        self.identifiers.clear();
        self.topics.clear();
        self.retained.clear();
        self.operations = 0;
    }

    /// The sessions to write.
    pub(crate) fn pending(&mut self) -> &mut [Pending] {
        &mut self.pending[..self.used]
    }

    /// The sessions to write, and the messages.
    pub(crate) fn pending_and_messages(&mut self) -> (&[Pending], &mut [Message]) {
        (&self.pending[..self.used], &mut self.messages)
    }

    /// Takes the operations of `batches`; `exists` looks a session up in the store.
    pub(crate) fn take(
        &mut self,
        batches: &[Batch],
        admit: Admit,
        mut exists: impl FnMut(SessionId) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        for (number, batch) in batches.iter().enumerate() {
            let mut at = 0;
            for step in batch.walk() {
                let slice = Slice { batch: number as u32, at, len: step.bytes.len() as u32 };
                at += slice.len;
                if admit.takes(&step.op) {
                    self.step(batches, &step, slice, &mut exists)?;
                    self.operations += 1;
                }
            }
        }
        Ok(())
    }

    /// The number of what is pending for a session.
    fn of(
        &mut self,
        session: SessionId,
        exists: &mut impl FnMut(SessionId) -> Result<bool, Fault>,
    ) -> Result<usize, Fault> {
        if let Some(&number) = self.sessions.get(&session) {
            return Ok(number as usize);
        }
        let number = self.used;
        let exists = exists(session)?;
        if number == self.pending.len() {
            self.pending.push(Pending {
                session,
                exists,
                wipe: false,
                image: None,
                new: Vec::new(),
                changes: Vec::new(),
                subscriptions: Vec::new(),
                received: Vec::new(),
            });
        } else {
            self.pending[number].restart(session, exists);
        }
        self.used += 1;
        self.sessions.insert(session, number as u32);
        Ok(number)
    }

    fn step(
        &mut self,
        batches: &[Batch],
        step: &Step<'_>,
        slice: Slice,
        exists: &mut impl FnMut(SessionId) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        match step.op.kind {
            OpKind::PutSession { session, .. } => {
                let number = self.of(session, exists)?;
                let pending = &mut self.pending[number];
                pending.image = Some(slice);
                pending.exists = true;
            }
            OpKind::EndSession { session } => {
                let number = self.of(session, exists)?;
                let pending = &mut self.pending[number];
                for new in pending.new.iter().filter(|new| new.needs_message()) {
                    self.messages[new.message as usize].live -= 1;
                }
                // What the store has of it goes even where a damaged image let it seem absent.
                pending.restart(session, false);
                pending.wipe = true;
            }
            OpKind::PutSubscription { session, options, identifier, .. } => {
                let number = self.of(session, exists)?;
                let becomes = Some((options, identifier));
                self.pending[number].subscription(SubscriptionChange { filter: slice, becomes });
            }
            OpKind::EndSubscription { session, .. } => {
                let number = self.of(session, exists)?;
                self.pending[number].subscription(SubscriptionChange { filter: slice, becomes: None });
            }
            OpKind::Enqueue { message, .. } => {
                let number = self.messages.len() as u32;
                self.messages.push(Message {
                    head: message,
                    body: slice,
                    live: 0,
                    placed: false,
                    segment: 0,
                    index: 0,
                });
                let mut identifiers = step.identifiers;
                for target in step.targets {
                    let (own, rest) = identifiers.split_at(usize::from(target.identifiers));
                    identifiers = rest;
                    self.enqueue(target, own, number, exists)?;
                }
            }
            OpKind::Sent { session, sequence, packet_id } => {
                self.change(session, sequence, What::Sent(packet_id), exists)?;
            }
            OpKind::Released { session, sequence } => {
                self.change(session, sequence, What::Released, exists)?;
            }
            OpKind::Done { session, sequence } => self.change(session, sequence, What::Done, exists)?,
            OpKind::Received { session, packet_id } => {
                let number = self.of(session, exists)?;
                self.pending[number].received(packet_id, true);
            }
            OpKind::Unreceived { session, packet_id } => {
                let number = self.of(session, exists)?;
                self.pending[number].received(packet_id, false);
            }
            OpKind::PutRetained { message } => {
                let topic = Slice { len: u32::from(message.topic), ..slice };
                let topic_bytes = &step.bytes[..usize::from(message.topic)];
                self.retain(batches, topic_bytes, RetainedChange { topic, becomes: Some((message, slice)) });
            }
            OpKind::EndRetained { .. } => {
                self.retain(batches, step.bytes, RetainedChange { topic: slice, becomes: None });
            }
            OpKind::Nothing => {}
        }
        Ok(())
    }

    fn enqueue(
        &mut self,
        target: &Target,
        identifiers: &[u32],
        message: u32,
        exists: &mut impl FnMut(SessionId) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let number = self.of(target.session, exists)?;
        let pending = &mut self.pending[number];
        if !pending.exists {
            return Ok(());
        }
        let at = self.identifiers.len() as u32;
        for identifier in identifiers {
            self.identifiers.extend_from_slice(&identifier.to_le_bytes());
        }
        let phase = match target.packet_id {
            0 => Phase::Queued,
            packet_id => Phase::Sent(packet_id),
        };
        pending.new.push(New {
            sequence: target.sequence,
            message,
            qos: target.qos,
            retain: target.retain,
            phase,
            done: false,
            identifiers: (at, 4 * identifiers.len() as u16),
        });
        self.messages[message as usize].live += 1;
        Ok(())
    }

    fn change(
        &mut self,
        session: SessionId,
        sequence: u64,
        what: What,
        exists: &mut impl FnMut(SessionId) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let number = self.of(session, exists)?;
        let pending = &mut self.pending[number];
        if !pending.exists {
            return Ok(());
        }
        let Ok(at) = pending.new.binary_search_by_key(&sequence, |new| new.sequence) else {
            let order = pending.changes.len() as u32;
            pending.changes.push(Change { sequence, order, what });
            return Ok(());
        };
        let new = &mut pending.new[at];
        let needed = new.needs_message();
        if !new.done {
            (new.phase, new.done) = match (what, new.phase) {
                (What::Done, phase) => (phase, true),
                (What::Sent(packet_id), Phase::Queued | Phase::Sent(_)) => (Phase::Sent(packet_id), false),
                (What::Released, Phase::Sent(packet_id)) => (Phase::Released(packet_id), false),
                (_, phase) => (phase, false),
            };
        }
        if needed && !new.needs_message() {
            new.identifiers.1 = 0;
            self.messages[new.message as usize].live -= 1;
        }
        Ok(())
    }

    fn retain(&mut self, batches: &[Batch], topic: &[u8], change: RetainedChange) {
        // Of one topic only the last is written. (Where two topics of one hash meet, both are written, in
        // order.)
        let hash = self.key.hash(topic);
        let number = self.retained.len() as u32;
        match self.topics.get(&hash) {
            Some(&earlier) if self.retained[earlier as usize].topic.of(batches) == topic => {
                self.retained[earlier as usize] = change;
            }
            _ => {
                self.topics.insert(hash, number);
                self.retained.push(change);
            }
        }
    }
}

impl New {
    /// Whether its message must be there.
    pub(crate) fn needs_message(&self) -> bool {
        !self.done && !matches!(self.phase, Phase::Released(_))
    }
}

impl Pending {
    fn restart(&mut self, session: SessionId, exists: bool) {
        self.session = session;
        self.exists = exists;
        self.wipe = false;
        self.image = None;
        self.new.clear();
        self.changes.clear();
        self.subscriptions.clear();
        self.received.clear();
    }

    fn subscription(&mut self, change: SubscriptionChange) {
        if self.exists {
            self.subscriptions.push(change);
        }
    }

    fn received(&mut self, packet_id: u16, is_there: bool) {
        if self.exists {
            self.received.push((packet_id, is_there));
        }
    }
}
