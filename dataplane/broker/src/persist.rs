//! What goes to storage: the operations of a turn, who waits for them, and what storage is asked for.
//!
//! Only sessions that outlive their connections have anything here, and retained messages. A publish stages
//! one [`OpKind::Enqueue`] with all its targets on this shard: targets are noted as the deliveries are made,
//! and the operation is completed ([`Persist::seal`]) when the publish has been routed, or before any other
//! operation. Operations are numbered; whoever promised something waits in [`promise`] for the number of the
//! last one it depends on.
//!
//! | module | what it owns |
//! |---|---|
//! | [`backlog`] | what a session keeps of its stored queue while its client is here and while it is away |
//! | [`route`] | a publish with promises: its parts on this shard and the others, and when it is settled |
//! | [`deliver`] | the delivery of one message to one stored session |
//! | [`acknowledge`] | what acknowledgements mean to storage |
//! | [`connect`] | CONNECT and SUBSCRIBE with storage |
//! | [`ending`] | the end of sessions, and messages that leave one queue for another |
//! | [`page`] | reading a queue back |
//! | [`promise`] | what was promised, and what happens when it is decided |
//! | [`fault`] | storage that is full or failing |
//! | [`group`] | queues of shared groups |
//! | [`image`] | sessions as they are stored |
//! | [`load`] | what is found at the start |

mod acknowledge;
pub mod backlog;
mod connect;
mod deliver;
pub(crate) mod ending;
mod fault;
pub(crate) mod group;
mod image;
pub(crate) mod load;
mod page;
mod promise;
pub(crate) mod route;

use std::collections::VecDeque;

use hashbrown::HashMap;
use pelton_base::{HashKey, Key, Wall};
use pelton_storage_ops::{Batch, Group, MessageHead, OpKind, PageRequest, SessionId, Target};

use crate::message::Publication;
use crate::persist::ending::Endings;
use crate::persist::fault::Fault;
use crate::persist::promise::{Promise, What};
use crate::settings::Storage;

pub use load::LoadError;

/// Emptied batches kept for the turns to come.
const SPARE_BATCHES: usize = 8;

/// What a shard has for its storage. Inert if there is none.
pub(crate) struct Persist {
    settings: Option<Storage>,
    batch: Batch,
    /// Operations below this number are decided.
    done: u64,
    /// Targets of the enqueue that is not sealed yet: the last ones of the batch.
    open: u32,
    /// The group of the publish in hand.
    group: Option<Group>,
    /// The publish in hand is to take effect in one batch.
    pub(crate) undivided: bool,
    /// The group that the next publish from another shard belongs to.
    pub(crate) arriving: Option<Group>,
    last_group: u64,
    /// Weights of the batches that storage has, oldest first, and their sum.
    weights: VecDeque<usize>,
    weight: usize,
    /// More is staged or undecided than may be: publishes wait.
    pub(crate) congested: bool,
    spare: Vec<Batch>,
    promises: VecDeque<Promise>,
    requests: Vec<PageRequest>,
    last_token: u64,
    /// Sessions whose pages are asked for, by token, with their serial numbers; groups apart, with where the page
    /// begins.
    asked: HashMap<u64, (Key, u64), HashKey>,
    groups_asked: HashMap<u64, (SessionId, u64), HashKey>,
    /// Sessions whose CONNACK waits, with their connections.
    pub(crate) connecting: HashMap<u32, Key, HashKey>,
    /// Queues of shared groups found at the start, until a member joins.
    pub(crate) groups_found: HashMap<Box<str>, load::GroupFound, HashKey>,
    pub(crate) endings: Endings,
    /// Some retained messages that storage has found no room here.
    pub(crate) retained_left_out: bool,
    pub(crate) fault: Fault,
    scratch: Vec<u8>,
}

impl Persist {
    pub(crate) fn new(settings: Option<Storage>, shard: u16, key: HashKey) -> Self {
        Self {
            settings,
            batch: Batch { shard, ..Batch::default() },
            done: 0,
            open: 0,
            group: None,
            undivided: false,
            arriving: None,
            last_group: 0,
            weights: VecDeque::new(),
            weight: 0,
            congested: false,
            spare: Vec::new(),
            promises: VecDeque::new(),
            requests: Vec::new(),
            last_token: 0,
            asked: HashMap::with_hasher(key),
            groups_asked: HashMap::with_hasher(key),
            connecting: HashMap::with_hasher(key),
            groups_found: HashMap::with_hasher(key),
            endings: Endings::new(key),
            retained_left_out: false,
            fault: Fault::default(),
            scratch: Vec::new(),
        }
    }

    /// Whether there is a storage.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.settings.is_some()
    }

    fn settings(&self) -> &Storage {
        self.settings.as_ref().expect("asked only where there is a storage")
    }

    /// The number the next operation gets, an enqueue that is still open counted.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.batch.end() + u64::from(self.open != 0)
    }

    /// Whether the operation is decided.
    #[inline]
    fn is_done(&self, number: u64) -> bool {
        number < self.done
    }

    /// The operation of which the low half of the number was kept: one of the last 2^32.
    #[inline]
    fn number_of(&self, low: u32) -> u64 {
        let last = self.number();
        last.saturating_sub(u64::from((last as u32).wrapping_sub(low)))
    }

    /// Stages an operation; returns its number.
    pub(crate) fn push(&mut self, kind: OpKind, parts: &[&[u8]]) -> u64 {
        debug_assert!(self.open == 0, "an enqueue is sealed before anything else is staged");
        let number = self.batch.push(kind, self.group, parts);
        self.weigh();
        number
    }

    fn weigh(&mut self) {
        if let Some(settings) = &self.settings {
            self.congested = self.batch.weight() + self.weight > settings.bytes_max as usize;
        }
    }

    /// Notes a target of the publication in hand; returns the number of the enqueue it will be part of.
    fn target(&mut self, target: Target, identifiers: &[u32]) -> u64 {
        // Storage has room for 255 of one delivery.
        let identifiers = &identifiers[..identifiers.len().min(usize::from(u8::MAX))];
        self.batch.targets.push(Target { identifiers: identifiers.len() as u8, ..target });
        self.batch.identifiers.extend_from_slice(identifiers);
        self.open += 1;
        self.batch.end()
    }

    /// Completes the enqueue of the publication in hand, if it has any target.
    #[inline]
    pub(crate) fn seal(&mut self, publication: &Publication<'_>) {
        if self.open != 0 {
            self.seal_now(publication);
        }
    }

    fn seal_now(&mut self, publication: &Publication<'_>) {
        let kind = OpKind::Enqueue { message: head_of(publication), targets: self.open };
        self.open = 0;
        self.push(kind, &[publication.topic, publication.forwarded, publication.payload]);
    }

    /// Whether no retained message is in storage that is not here.
    pub(crate) fn has_retained_as_here(&self) -> bool {
        self.number() == self.done && !self.retained_left_out && !self.fault.has_topics()
    }

    /// Whether a page of a session is under way.
    fn is_reading(&self, serial: u64) -> bool {
        self.asked.values().any(|&(_, asked)| asked == serial)
    }

    /// From here on operations take effect together, or fail together.
    fn begin_group(&mut self) {
        self.group = Some(self.new_group(1));
    }

    fn end_group(&mut self) {
        self.group = None;
    }

    /// A group for a publish that other shards have parts in.
    fn new_group(&mut self, parts: u16) -> Group {
        self.last_group += 1;
        Group { id: u64::from(self.batch.shard) << 48 | self.last_group, parts }
    }

    /// Somebody waits for all that is staged from `first` on.
    fn promise(&mut self, first: u64, left: u32, what: What) {
        self.promises.push_back(Promise { first, end: self.number(), left, what });
    }

    /// What was staged since the last call, to be sent to storage.
    fn take(&mut self) -> Option<Batch> {
        if self.batch.is_empty() {
            return None;
        }
        debug_assert!(self.open == 0, "an enqueue is sealed in its turn");
        let mut next = self.spare.pop().unwrap_or_default();
        next.restart(self.batch.end());
        next.shard = self.batch.shard;
        let batch = std::mem::replace(&mut self.batch, next);
        let weight = batch.weight();
        self.weights.push_back(weight);
        self.weight += weight;
        Some(batch)
    }

    /// A batch that storage is through with.
    fn give_back(&mut self, batch: Batch) {
        if let Some(weight) = self.weights.pop_front() {
            self.weight -= weight;
        }
        if self.spare.len() < SPARE_BATCHES {
            self.spare.push(batch);
        }
        self.weigh();
    }

    /// Operations staged or under way.
    pub(crate) fn waiting(&self) -> usize {
        (self.batch.end() - self.done) as usize
            + self.promises.len()
            + self.connecting.len()
            + self.asked.len()
    }
}

/// A message as storage has it.
fn head_of(publication: &Publication<'_>) -> MessageHead {
    MessageHead {
        topic: publication.topic.len() as u16,
        forwarded: publication.forwarded.len() as u32,
        payload: publication.payload.len() as u32,
        qos: publication.qos as u8,
        retain: publication.retain,
        expires: publication.expires,
        publisher: publication.publisher.0,
        client_hash: publication.client_hash,
    }
}

/// A stored message as a publication.
fn publication_of<'a>(head: &MessageHead, body: &'a [u8]) -> Publication<'a> {
    let (topic, rest) = body.split_at(usize::from(head.topic));
    let (forwarded, payload) = rest.split_at(head.forwarded as usize);
    Publication {
        topic,
        forwarded,
        payload,
        qos: pelton_mqtt::QoS::from_bits(head.qos).unwrap_or(pelton_mqtt::QoS::AtLeastOnce),
        retain: head.retain,
        expires: head.expires,
        publisher: crate::message::Publisher(head.publisher),
        client_hash: head.client_hash,
        wire: None,
    }
}

/// Milliseconds of 2020-01-01, where serial numbers begin.
const SERIALS_FROM: Wall = Wall(1_577_836_800_000);

/// The part of a serial number that counts up; the rest is the shard that gave it out.
pub(crate) const SERIAL_COUNT: u64 = (1 << 48) - 1;

/// The first serial number of a process that begins now: above all that an earlier one can have given out,
/// as long as it gave out fewer than 256 a millisecond on average, and wall time has not gone back. Enough
/// until 2054. If it has gone back they begin above all that are in the store: what is given out a second time
/// then is that of a session of which nothing is left. Its end took along all that was stored under it, and for
/// No Local a stored message is told by the hash of its publisher's client id.
pub(crate) fn first_serial(now: Wall) -> u64 {
    (now.since(SERIALS_FROM) << 8) & SERIAL_COUNT
}

impl std::fmt::Debug for Persist {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Persist")
            .field("on", &self.is_on())
            .field("done", &self.done)
            .field("end", &self.batch.end())
            .field("promises", &self.promises.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_identifiers_than_there_is_room_for_are_left_out() {
        let mut persist = Persist::new(Some(Storage::default()), 0, HashKey::new(1, 2));
        let target = Target {
            session: SessionId { slot: 1, serial: 1 },
            sequence: 0,
            qos: 1,
            retain: false,
            packet_id: 0,
            identifiers: 0,
        };
        let many: Vec<u32> = (1..=300).collect();
        persist.target(target, &many);
        persist.target(target, &[1_000]);
        let publication = Publication {
            topic: b"t",
            forwarded: b"",
            payload: b"",
            qos: pelton_mqtt::QoS::AtLeastOnce,
            retain: false,
            expires: Wall::NEVER,
            publisher: crate::message::Publisher(0),
            client_hash: 0,
            wire: None,
        };
        persist.seal(&publication);
        let batch = persist.take().expect("something is staged");
        let step = batch.walk().next().expect("an enqueue");
        let (first, second) = step.identifiers.split_at(usize::from(step.targets[0].identifiers));
        assert_eq!((first, second), (&many[..255], &[1_000][..]));
    }
}
