//! What the shards of a process say to each other.
//!
//! Everything for one target in one turn goes into one [`Chunk`]: the records as [`Item`]s, and their bytes
//! (topics, payloads, client ids) one after the other in one buffer, so that a publish costs its target no
//! allocation and a turn costs one ring entry. Requests and publishes travel as data chunks, answers as
//! [`Reply`]s in chunks of their own: a shard can always take answers, whatever its state.
//!
//! Nothing here waits. What is staged for a target is bounded by pausing publishers
//! ([`Outbox::is_congested`]); a paused publisher has its packet in hand, so a full ring is back-pressure,
//! never a loss.

use pelton_base::{Key, Wall};
use pelton_mqtt::{QoS, ReasonCode};

use crate::message::{Publication, Publisher};
use crate::retained::Stamp;
use crate::router::{Options, ShardMask};
use crate::shared::GroupRef;

/// The fixed part of a publish on the mesh; topic, forwarded properties and payload follow in the bytes.
#[derive(Clone, Copy, Debug)]
pub struct PublishHead {
    /// Length of the topic.
    pub topic: u16,
    /// As published.
    pub qos: QoS,
    /// As published.
    pub retain: bool,
    /// Length of the forwarded properties.
    pub forwarded: u32,
    /// Length of the payload.
    pub payload: u32,
    /// When the message expires.
    pub expires: Wall,
    /// Who published.
    pub publisher: Publisher,
    /// Hash of the publisher's client id.
    pub client_hash: u64,
}

/// A request or a publish; each is followed in the chunk's bytes by what its lengths say, in field order.
#[derive(Clone, Copy, Debug)]
pub enum Item {
    /// A publish for the subscriptions of the target.
    Publish {
        /// Its fixed part.
        head: PublishHead,
        /// The record to settle when the target has taken it; `Key::NONE` if nobody waits.
        settle: Key,
        /// The target is the home of the topic's retained message: set or clear it.
        set_retained: bool,
        /// Number of the publish among the retained ones that the sender took from their publishers; 0 for others.
        stamp: u64,
    },
    /// The next publish is part of a group of operations of several shards: the target stages its part, or
    /// says that it has none.
    Group {
        /// The group.
        id: u64,
        /// How many shards have a part.
        parts: u16,
    },
    /// The next message of a shared group is answered when the target has stored it.
    Settle {
        /// The sender's record.
        settle: Key,
    },
    /// The sender wants (or no longer wants) the exact filter of this hash.
    ExactRoute {
        /// The filter's hash under the process's route key.
        hash: u64,
        /// Add or remove.
        add: bool,
        /// The barrier to confirm; `Key::NONE` for a removal.
        barrier: Key,
    },
    /// The same for a wildcard filter.
    WildRoute {
        /// Length of the filter.
        filter: u16,
        /// Add or remove.
        add: bool,
        /// The barrier to confirm; `Key::NONE` for a removal.
        barrier: Key,
    },
    /// A clean connection of the sender claims a client id from its home.
    Claim {
        /// The sender's connection.
        link: Key,
        /// Length of the client id.
        client_id: u16,
    },
    /// The claim is given back: the connection is gone and all it published has been taken everywhere.
    Release {
        /// The sender's connection.
        link: Key,
        /// Length of the client id.
        client_id: u16,
    },
    /// The target's connection has lost its client id to a newer one: end it and release.
    Kick {
        /// The target's connection.
        link: Key,
    },
    /// A session of the sender joins a shared group at home on the target.
    Join {
        /// What the sender waits with.
        request: Key,
        /// The session.
        session: Key,
        /// What was asked for.
        options: Options,
        /// The subscription identifier, 0 for none.
        identifier: u32,
        /// The session outlives its connection.
        persistent: bool,
        /// Length of the group's name.
        group: u16,
        /// Length of the filter.
        filter: u16,
    },
    /// A session of the sender leaves a group.
    Leave {
        /// The group.
        group: GroupRef,
        /// The session.
        session: Key,
    },
    /// A member's client has come or gone.
    Presence {
        /// The group.
        group: GroupRef,
        /// The session.
        session: Key,
        /// Whether its client is connected.
        online: bool,
    },
    /// A group's message for the one member picked.
    GroupDeliver {
        /// The message.
        head: PublishHead,
        /// The group.
        group: GroupRef,
        /// The member's session on the target.
        session: Key,
        /// The member's subscription options.
        options: Options,
        /// Its subscription identifier, 0 for none.
        identifier: u32,
    },
    /// A group's message that its member did not take for good: to be given to another.
    GroupReturn {
        /// The message.
        head: PublishHead,
        /// The group.
        group: GroupRef,
    },
    /// A member completed deliveries (told only where the strategy counts them).
    GroupAcked {
        /// The group.
        group: GroupRef,
        /// The session.
        session: Key,
        /// How many.
        count: u32,
    },
    /// The sender has subscriptions for which retained messages are fetched next: to be answered when all that the
    /// target has staged so far has been worked through everywhere.
    Sync {
        /// What the sender waits with.
        request: Key,
    },
    /// The sender shuts down: it has published all wills of those that were connected, and passed on what the target
    /// published before its own last farewell.
    Farewell,
    /// A page of the target's retained messages is wanted.
    RetainedQuery {
        /// What the sender waits with.
        request: Key,
        /// Length of the filter.
        filter: u16,
        /// Length of the key at which the page begins; 0 for the first page.
        from: u16,
    },
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// The target has taken a publish as far as it promised.
    Settled {
        /// The record.
        settle: Key,
        /// How it went.
        result: Settled,
    },
    /// The route is in place and everything staged before it has been pushed.
    RouteDone {
        /// The barrier.
        barrier: Key,
    },
    /// The client id belongs to the connection.
    Granted {
        /// The connection.
        link: Key,
    },
    /// The claim was overtaken by a newer one.
    Denied {
        /// The connection.
        link: Key,
    },
    /// The session is a member; every shard's publishes reach the group.
    Joined {
        /// What waits.
        request: Key,
        /// The group.
        group: GroupRef,
        /// Length of the filter as the client wrote it, `$share/…`.
        filter: u16,
    },
    /// All that was staged before the question has been worked through everywhere.
    Synced {
        /// What waits.
        request: Key,
        /// The last retained publish that was staged before.
        stamp: u64,
    },
    /// One retained message of a page; its bytes follow.
    Retained {
        /// What waits.
        request: Key,
        /// The message.
        head: PublishHead,
        /// Its stamp.
        stamp: Stamp,
    },
    /// The page is complete.
    RetainedEnd {
        /// What waits.
        request: Key,
        /// Length of the key at which the next page begins; 0 when there are no more.
        next: u16,
    },
}

/// How a shard settled a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// As promised; whether anybody wanted it.
    Ok {
        /// At least one subscription matched.
        matched: bool,
    },
    /// Refused, with the reason the publisher is told.
    Failed(ReasonCode),
}

/// Records for one target, in order, with their bytes.
#[derive(Debug)]
pub struct Chunk<T> {
    /// The records.
    pub records: Vec<T>,
    /// Their variable parts, in the same order.
    pub bytes: Vec<u8>,
}

impl<T> Default for Chunk<T> {
    fn default() -> Self {
        Self { records: Vec::new(), bytes: Vec::new() }
    }
}

impl<T> Chunk<T> {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Empties it, keeping its memory up to a bound.
    pub fn clear(&mut self) {
        self.records.clear();
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
        self.records.shrink_to(1 << 14);
    }
}

/// Reads the bytes of a chunk in step with its records.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    pub(crate) fn text(&mut self, len: u16) -> &'a str {
        std::str::from_utf8(self.take(usize::from(len))).expect("text is checked before it is staged")
    }

    pub(crate) fn publication(&mut self, head: &PublishHead) -> Publication<'a> {
        Publication {
            topic: self.take(usize::from(head.topic)),
            forwarded: self.take(head.forwarded as usize),
            payload: self.take(head.payload as usize),
            qos: head.qos,
            retain: head.retain,
            expires: head.expires,
            publisher: head.publisher,
            client_hash: head.client_hash,
            wire: None,
        }
    }
}

impl PublishHead {
    /// The fixed part of a publication.
    pub fn of(publication: &Publication<'_>) -> Self {
        Self {
            topic: publication.topic.len() as u16,
            qos: publication.qos,
            retain: publication.retain,
            forwarded: publication.forwarded.len() as u32,
            payload: publication.payload.len() as u32,
            expires: publication.expires,
            publisher: publication.publisher,
            client_hash: publication.client_hash,
        }
    }
}

#[derive(Debug, Default)]
struct Target {
    data: Chunk<Item>,
    replies: Chunk<Reply>,
    /// Number of the chunk being staged; chunks are pushed and taken in this order.
    staging: u64,
    /// Chunks below this number have been taken and worked through by the target.
    taken: u64,
}

/// What is staged for every other shard.
#[derive(Debug)]
pub struct Outbox {
    me: u16,
    targets: Vec<Target>,
    bytes_max: usize,
    congested: bool,
    /// Shards with anything staged.
    dirty: ShardMask,
}

/// How far each target must have come before what was staged until now is everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence(Box<[u64]>);

impl Outbox {
    /// Staging of shard `me` among `shards`.
    pub fn new(me: u16, shards: u16, bytes_max: u32) -> Self {
        let mut targets = Vec::new();
        targets.resize_with(usize::from(shards), Target::default);
        Self { me, targets, bytes_max: bytes_max as usize, congested: false, dirty: ShardMask::NONE }
    }

    /// All shards but this one.
    pub fn others(&self) -> impl Iterator<Item = u16> + use<> {
        let me = self.me;
        (0..self.targets.len() as u16).filter(move |&shard| shard != me)
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.targets.len() as u16
    }

    /// Some target has as much staged as it may: publishes wait.
    #[inline]
    pub fn is_congested(&self) -> bool {
        self.congested
    }

    /// Stages a record with its bytes.
    pub fn send(&mut self, to: u16, item: Item, parts: &[&[u8]]) {
        debug_assert!(to != self.me);
        let target = &mut self.targets[usize::from(to)];
        target.data.records.push(item);
        for part in parts {
            target.data.bytes.extend_from_slice(part);
        }
        self.congested |=
            target.data.bytes.len() + target.data.records.len() * size_of::<Item>() > self.bytes_max;
        self.dirty = self.dirty.and(ShardMask::one(to));
    }

    /// Stages a publish.
    pub fn publish(
        &mut self,
        to: u16,
        publication: &Publication<'_>,
        settle: Key,
        set_retained: bool,
        stamp: u64,
    ) {
        let item = Item::Publish { head: PublishHead::of(publication), settle, set_retained, stamp };
        self.send(to, item, &[publication.topic, publication.forwarded, publication.payload]);
    }

    /// Stages an answer with its bytes.
    pub fn reply(&mut self, to: u16, reply: Reply, parts: &[&[u8]]) {
        let target = &mut self.targets[usize::from(to)];
        target.replies.records.push(reply);
        for part in parts {
            target.replies.bytes.extend_from_slice(part);
        }
        self.dirty = self.dirty.and(ShardMask::one(to));
    }

    /// Shards with anything staged.
    pub fn dirty(&self) -> ShardMask {
        self.dirty
    }

    /// The data staged for a target, to be pushed: swapped with `empty`. `None` if there is none.
    pub fn take_data(&mut self, to: u16, empty: Chunk<Item>) -> Result<Chunk<Item>, Chunk<Item>> {
        let target = &mut self.targets[usize::from(to)];
        if target.data.is_empty() {
            return Err(empty);
        }
        target.staging += 1;
        let chunk = std::mem::replace(&mut target.data, empty);
        self.after_take(to);
        Ok(chunk)
    }

    /// The answers staged for a target, likewise.
    pub fn take_replies(&mut self, to: u16, empty: Chunk<Reply>) -> Result<Chunk<Reply>, Chunk<Reply>> {
        let target = &mut self.targets[usize::from(to)];
        if target.replies.is_empty() {
            return Err(empty);
        }
        let chunk = std::mem::replace(&mut target.replies, empty);
        self.after_take(to);
        Ok(chunk)
    }

    fn after_take(&mut self, to: u16) {
        let target = &self.targets[usize::from(to)];
        if target.data.is_empty() && target.replies.is_empty() {
            self.dirty = self.dirty.without(to);
        }
        let bytes_max = self.bytes_max;
        self.congested = self.targets.iter().any(|target| {
            target.data.bytes.len() + target.data.records.len() * size_of::<Item>() > bytes_max
        });
    }

    /// The target has worked through `chunks` data chunks in all.
    pub fn set_taken(&mut self, target: u16, chunks: u64) {
        self.targets[usize::from(target)].taken = chunks;
    }

    /// A fence behind everything staged so far.
    pub fn fence(&self) -> Fence {
        Fence(
            self.targets
                .iter()
                .map(|target| if target.data.is_empty() { target.staging } else { target.staging + 1 })
                .collect(),
        )
    }

    /// Whether every target has worked through what was staged before the fence.
    pub fn is_past(&self, fence: &Fence) -> bool {
        self.targets.iter().zip(fence.0.iter()).all(|(target, &until)| target.taken >= until)
    }

    /// Bytes staged for all targets, for checks and snapshots.
    pub fn staged_bytes(&self) -> usize {
        self.targets.iter().map(|target| target.data.bytes.len() + target.replies.bytes.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_passed_when_all_before_it_is_taken() {
        let mut outbox = Outbox::new(0, 3, 1 << 20);
        let before = outbox.fence();
        assert!(outbox.is_past(&before), "nothing staged, nothing to wait for");
        outbox.send(1, Item::Kick { link: Key::NONE }, &[]);
        let fence = outbox.fence();
        assert!(!outbox.is_past(&fence), "staged, not pushed");
        outbox.take_data(1, Chunk::default()).unwrap();
        assert!(!outbox.is_past(&fence), "pushed, not taken");
        outbox.set_taken(1, 1);
        assert!(outbox.is_past(&fence));
    }

    #[test]
    fn congestion_ends_when_the_chunk_is_pushed() {
        let mut outbox = Outbox::new(0, 2, 1024);
        let item = Item::Kick { link: Key::NONE };
        outbox.send(1, item, &[&[0; 2000]]);
        assert!(outbox.is_congested());
        let chunk = outbox.take_data(1, Chunk::default()).unwrap();
        assert!(!outbox.is_congested());
        assert_eq!(chunk.bytes.len(), 2000);
        assert!(outbox.dirty().is_empty());
    }
}
