//! Storage that is full or failing.
//!
//! The first operation that fails opens the fault: from then on publishes that would need a promise are not
//! taken (v5: 0x97; v3: the packet waits in front of its connection), and after a second a probe lets them
//! through again. Subscribers go on all the while. What removes something from storage is tried again until
//! it succeeds; what adds something is given up, and whoever was promised it is told.

use hashbrown::{HashMap, HashSet};
use pelton_base::{HashKey, Key, Mono};
use pelton_mqtt::{QoS, TopicFilter};
use pelton_storage_ops::{Batch, Failure, OpKind, SessionId, Target};

use crate::broker::{Broker, Handled};
use crate::counters::Stored;
use crate::inflight::Delivery;
use crate::link::Hold;
use crate::message::Publication;
use crate::persist::promise::What;

/// How long publishes are refused before storage is tried again.
const PROBE_MS: u64 = 1_000;

/// The state of the storage as this shard sees it.
#[derive(Debug, Default)]
pub(crate) struct Fault {
    state: State,
    /// Operations to be tried again, with their bytes.
    again: Vec<(OpKind, Box<[u8]>)>,
    /// Ends of messages that were tried again. A page that is under way may have been read before they took effect.
    ends: Vec<End>,
    /// Topics whose retained message is not in storage as it is here.
    topics: Option<HashSet<Box<[u8]>, HashKey>>,
    /// Sessions whose image is not in storage as it is here.
    sessions: Vec<Key>,
    /// QoS 2 deliveries whose identifiers have to be stored before they are sent. An identifier of QoS 1 that
    /// is not stored costs its message the DUP flag after a crash, nothing else.
    identifiers: Vec<(Key, u64)>,
    /// Subscriptions that are not in storage as they are here.
    subscriptions: Vec<(Key, Box<str>)>,
    /// Connections whose input waits until storage is tried again: not looked at before, however long that is.
    held: Vec<Key>,
    /// Answers that wait for what is tried again.
    answers: Vec<What>,
}

/// The end of a stored message that is tried again.
#[derive(Clone, Copy, Debug)]
struct End {
    session: SessionId,
    sequence: u64,
    /// Of the operation.
    number: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Well,
    /// Refusing until then.
    Open(Mono),
    /// Trying: well if the operations from this number on succeed.
    Probing(u64),
}

impl Fault {
    /// Whether publishes that need storage are refused.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// When storage is tried again.
    pub(crate) fn next_probe(&self) -> Option<Mono> {
        match self.state {
            State::Open(until) => Some(until),
            _ => None,
        }
    }

    /// Whether the end of a stored message could not be written yet, or only after what is being read now.
    pub(crate) fn is_over(&self, session: SessionId, sequence: u64) -> bool {
        let end = OpKind::Done { session, sequence };
        self.again.iter().any(|(kind, _)| *kind == end)
            || self.ends.iter().any(|end| (end.session, end.sequence) == (session, sequence))
    }

    /// Whether some retained message is not in storage as it is here.
    pub(crate) fn has_topics(&self) -> bool {
        self.topics.is_some()
    }

    pub(crate) fn keep_subscription(&mut self, session: Key, filter: &str) {
        self.subscriptions.push((session, filter.into()));
    }

    pub(crate) fn keep(&mut self, answer: What) {
        self.answers.push(answer);
    }
}

impl Broker {
    /// A completion without failures.
    pub(crate) fn storage_is_well(&mut self) {
        if let State::Probing(from) = self.core.persist.fault.state
            && self.core.persist.done > from
        {
            self.core.persist.fault.state = State::Well;
        }
    }

    /// Whether storage takes what it is given, as far as is known.
    pub fn is_storage_well(&self) -> bool {
        self.core.persist.fault.state == State::Well
    }

    /// Tries storage again when it is time.
    pub(crate) fn probe_storage(&mut self) {
        let State::Open(until) = self.core.persist.fault.state else { return };
        if until > self.core.mono {
            return;
        }
        let first = self.core.persist.number();
        self.core.persist.fault.state = State::Probing(first);
        self.try_again();
        let answers = std::mem::take(&mut self.core.persist.fault.answers);
        for answer in answers {
            self.core.persist.promise(first, u32::MAX, answer);
        }
        self.ask_for_room();
        for link in std::mem::take(&mut self.core.persist.fault.held) {
            if let Some(held) = self.core.links.get_mut(link)
                && held.hold() == Some(Hold::Storage)
            {
                held.set_hold(None, link, &mut self.core.out);
                self.effects.resumed.push(link);
            }
        }
    }

    /// Leaves a packet in front of its connection until storage is tried again.
    pub(crate) fn hold_for_storage(&mut self, key: Key) -> Handled {
        if !self.core.persist.fault.is_open() {
            return self.hold_for_room(key);
        }
        if let Some(link) = self.core.links.get_mut(key) {
            link.set_hold(Some(Hold::Storage), key, &mut self.core.out);
            self.core.persist.fault.held.push(key);
        }
        Handled::Hold(Hold::Storage)
    }

    /// Operations were decided, or a page has come: forgets the ends that no page will contradict any more.
    pub(crate) fn forget_ends(&mut self) {
        let persist = &mut self.core.persist;
        if !persist.fault.ends.is_empty() {
            let mut ends = std::mem::take(&mut persist.fault.ends);
            ends.retain(|end| end.number >= persist.done || persist.is_reading(end.session.serial));
            persist.fault.ends = ends;
        }
    }

    fn try_again(&mut self) {
        let again = std::mem::take(&mut self.core.persist.fault.again);
        let ends_any = again.iter().any(|(kind, _)| matches!(kind, OpKind::EndSubscription { .. }));
        let by_serial = ends_any.then(|| self.sessions_by_serial());
        for (kind, bytes) in again {
            // Its client may have subscribed again since.
            if let OpKind::EndSubscription { session, .. } = kind
                && let Some(&key) = by_serial.as_ref().and_then(|by_serial| by_serial.get(&session.serial))
                && let Some(filter) =
                    std::str::from_utf8(&bytes).ok().and_then(|text| TopicFilter::new(text).ok())
                && self.slot_in(key, filter).is_some()
            {
                continue;
            }
            let number = self.core.persist.push(kind, &[&bytes]);
            if let OpKind::Done { session, sequence } = kind {
                self.core.persist.fault.ends.push(End { session, sequence, number });
            }
        }
        for key in std::mem::take(&mut self.core.persist.fault.sessions) {
            self.put_session(key);
        }
        for (key, filter) in std::mem::take(&mut self.core.persist.fault.subscriptions) {
            self.put_subscription_again(key, &filter);
        }
        for (key, sequence) in std::mem::take(&mut self.core.persist.fault.identifiers) {
            // It may have been read again since, by another connection, and got another identifier.
            let number = self.core.persist.number();
            let Some(session) = self.core.sessions.get(key).map(|session| session.id()) else { continue };
            let Some(delivery) = self.unsent(key, sequence).filter(|delivery| delivery.held) else {
                continue;
            };
            delivery.held = false;
            delivery.number = number as u32;
            let packet_id = delivery.packet_id.get();
            self.core.persist.push(OpKind::Sent { session, sequence, packet_id }, &[]);
            self.core.persist.promise(number, u32::MAX, What::Pump(key));
        }
        for topic in self.core.persist.fault.topics.take().into_iter().flatten() {
            self.put_retained(&topic);
        }
    }

    /// Storage is tried again in a while.
    pub(crate) fn open_fault(&mut self) {
        self.core.persist.fault.state = State::Open(self.core.mono.plus_ms(PROBE_MS));
    }

    /// Stages a subscription as it stands by now, if it does.
    fn put_subscription_again(&mut self, key: Key, text: &str) {
        let Ok(filter) = TopicFilter::new(text) else { return };
        let Some(slot) = self.slot_in(key, filter) else { return };
        let Some(session) = self.core.sessions.get(key) else { return };
        let subscription = &session.subscriptions[slot];
        let (options, identifier) = (subscription.options(), subscription.identifier());
        self.put_subscription(key, filter, options, identifier);
    }

    /// Operations failed: takes back what was counted on, and remembers what to try again.
    pub(crate) fn undo(&mut self, failed: &[(u64, Failure)], batches: &[Batch]) {
        self.open_fault();
        for (_, failure) in failed {
            let why = match failure {
                Failure::Full => Stored::Full,
                Failure::Failed => Stored::Failed,
            };
            self.core.tally.stored.add(why);
        }
        let by_serial = self.sessions_by_serial();
        for step in batches.iter().flat_map(Batch::walk) {
            if failed.binary_search_by_key(&step.number, |&(number, _)| number).is_err() {
                continue;
            }
            let key_of = |session: SessionId| by_serial.get(&session.serial).copied();
            match step.op.kind {
                OpKind::Enqueue { message, .. } => {
                    for target in step.targets {
                        match key_of(target.session) {
                            Some(key) => self.undo_target(key, target, message.body_len()),
                            None => self.undo_group_target(target.session, target.sequence),
                        }
                    }
                }
                OpKind::PutSession { session, .. } => {
                    match key_of(session) {
                        Some(key) => self.core.persist.fault.sessions.push(key),
                        // A group's: it is made with the next message.
                        None => self.groups.unmake_store(session),
                    }
                }
                OpKind::PutRetained { message } => {
                    self.retained_failed(&step.bytes[..usize::from(message.topic)]);
                }
                OpKind::EndRetained { .. } => self.retained_failed(step.bytes),
                OpKind::Done { session, sequence }
                    if step.op.group.is_some() && self.is_with_hand_over(session, sequence) => {}
                OpKind::EndSession { .. }
                | OpKind::EndSubscription { .. }
                | OpKind::Released { .. }
                | OpKind::Done { .. }
                | OpKind::Unreceived { .. } => {
                    self.core.persist.fault.again.push((step.op.kind, step.bytes.into()));
                }
                OpKind::Sent { session, sequence, .. } => {
                    if let Some(key) = key_of(session)
                        && self.unsent(key, sequence).is_some_and(|delivery| {
                            delivery.held = delivery.exactly_once;
                            delivery.held
                        })
                    {
                        self.core.persist.fault.identifiers.push((key, sequence));
                    }
                }
                // What the client that subscribes is told is the matter of its SUBSCRIBE.
                OpKind::PutSubscription { session, .. } => {
                    if let (Some(key), Ok(filter)) = (key_of(session), std::str::from_utf8(step.bytes)) {
                        self.core.persist.fault.keep_subscription(key, filter);
                    }
                }
                // Told to the publisher.
                OpKind::Received { .. } | OpKind::Nothing => {}
            }
        }
    }

    fn sessions_by_serial(&self) -> HashMap<u64, Key, HashKey> {
        let mut map = HashMap::with_hasher(self.key);
        map.extend(self.core.sessions.iter().map(|(key, session)| (session.serial.0, key)));
        map
    }

    fn unsent(&mut self, session: Key, sequence: u64) -> Option<&mut Delivery> {
        self.core.sessions.get_mut(session)?.window.as_mut()?.inflight.unsent_mut(sequence as u32)
    }

    fn retained_failed(&mut self, topic: &[u8]) {
        let key = self.key;
        let topics = self.core.persist.fault.topics.get_or_insert_with(|| HashSet::with_hasher(key));
        topics.insert(topic.into());
    }

    /// A message is not in a session's stored queue after all. A client that is connected gets it from memory
    /// all the same, unless it is QoS 2: its publisher is told that it was not taken, and sends it again.
    fn undo_target(&mut self, session: Key, target: &Target, bytes: usize) {
        let core = &mut self.core;
        let Some(session) = core.sessions.get_mut(session) else { return };
        let connected = !session.link().is_none();
        let backlog = &mut session.backlog;
        let in_memory = connected && target.sequence < backlog.read_from();
        if in_memory && target.qos != QoS::ExactlyOnce as u8 {
            return;
        }
        backlog.done(u32::try_from(bytes).unwrap_or(u32::MAX));
        let Some(window) = &mut session.window else { return };
        if let Some(reader) = &mut window.reader {
            let messages = &mut core.messages;
            reader.tail.retain(
                |queued| queued.sequence != target.sequence,
                |queued| messages.release(queued.message),
            );
        }
        let low = target.sequence as u32;
        let messages = &mut core.messages;
        window.inflight.retain(
            |delivery| delivery.sequence != low || !delivery.exactly_once,
            |delivery| delivery.message.some().into_iter().for_each(|message| messages.release(message)),
        );
        let messages = &mut core.messages;
        window
            .queue
            .retain(|queued| queued.sequence != target.sequence, |queued| messages.release(queued.message));
    }

    /// Stages a topic's retained message as it is now.
    pub(crate) fn put_retained(&mut self, topic: &[u8]) {
        let persist = &mut self.core.persist;
        match self.retained.get(topic) {
            Some(publication) => {
                let kind = OpKind::PutRetained { message: super::head_of(&publication) };
                let Publication { topic, forwarded, payload, .. } = publication;
                persist.push(kind, &[topic, forwarded, payload]);
            }
            None => {
                persist.push(OpKind::EndRetained { topic: topic.len() as u16 }, &[topic]);
            }
        }
    }
}
