//! Operations, and what becomes of them.

use pelton_base::Wall;

/// A session, everywhere: its slot (which shard it belongs to follows from it) and a serial number no other
/// session of this store ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId {
    /// Keyed hash of the client id modulo 1,024. Sessions of shared groups: of group name and filter.
    pub slot: u16,
    /// Unique in the store.
    pub serial: u64,
}

/// Operations of one publish on several shards: none takes effect without the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// Unique among the groups of a process.
    pub id: u64,
    /// How many batches (of how many shards) contribute; each contributes in one batch.
    pub parts: u16,
}

/// The fixed part of a message; topic, forwarded properties and payload follow in the batch's bytes, in this
/// order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHead {
    /// Length of the topic.
    pub topic: u16,
    /// Length of the forwarded properties.
    pub forwarded: u32,
    /// Length of the payload.
    pub payload: u32,
    /// As published, 0 to 2.
    pub qos: u8,
    /// As published.
    pub retain: bool,
    /// When it expires.
    pub expires: Wall,
    /// Serial number of the publisher's session, for No Local; 0 for none.
    pub publisher: u64,
    /// Hash of the publisher's client id.
    pub client_hash: u64,
}

impl MessageHead {
    /// Bytes that follow.
    pub const fn body_len(&self) -> usize {
        self.topic as usize + self.forwarded as usize + self.payload as usize
    }
}

/// A session that a message is queued for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The session.
    pub session: SessionId,
    /// The message's place in the session's queue: above that of every message the session was queued before.
    pub sequence: u64,
    /// The QoS of the delivery, 1 or 2.
    pub qos: u8,
    /// The retain flag of the delivery.
    pub retain: bool,
    /// The packet identifier it was sent with; 0 if it was not sent yet.
    pub packet_id: u16,
    /// How many matched subscription identifiers follow in the batch's list.
    pub identifiers: u8,
}

/// One operation. What it says of lengths is found in the batch's bytes, in field order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What to do.
    pub kind: OpKind,
    /// The group it belongs to.
    pub group: Option<Group>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    /// Create a session, or replace its image.
    PutSession {
        /// The session.
        session: SessionId,
        /// Length of the encoded [`SessionImage`](crate::SessionImage).
        image: u32,
    },
    /// Remove a session with everything it has.
    EndSession {
        /// The session.
        session: SessionId,
    },
    /// Add a subscription, or replace its options.
    PutSubscription {
        /// The session.
        session: SessionId,
        /// Length of the filter as the client wrote it.
        filter: u16,
        /// Options as the broker encodes them.
        options: u8,
        /// Subscription identifier, 0 for none.
        identifier: u32,
    },
    /// Remove a subscription.
    EndSubscription {
        /// The session.
        session: SessionId,
        /// Length of the filter.
        filter: u16,
    },
    /// Queue a message for sessions: the message's bytes follow, and the targets in the batch's list.
    Enqueue {
        /// The message.
        message: MessageHead,
        /// How many targets.
        targets: u32,
    },
    /// A queued message was sent under a packet identifier.
    Sent {
        /// The session.
        session: SessionId,
        /// Which message.
        sequence: u64,
        /// The identifier.
        packet_id: u16,
    },
    /// QoS 2: the client has the message (PUBREC); what remains is its identifier, until PUBCOMP.
    Released {
        /// The session.
        session: SessionId,
        /// Which message.
        sequence: u64,
    },
    /// The delivery is over: acknowledged, expired, dropped or handed on.
    Done {
        /// The session.
        session: SessionId,
        /// Which message.
        sequence: u64,
    },
    /// A QoS 2 publish of the session's client was taken; its identifier is remembered until it is released.
    Received {
        /// The session.
        session: SessionId,
        /// The identifier.
        packet_id: u16,
    },
    /// The client released it (PUBREL).
    Unreceived {
        /// The session.
        session: SessionId,
        /// The identifier.
        packet_id: u16,
    },
    /// Set the retained message of a topic.
    PutRetained {
        /// The message.
        message: MessageHead,
    },
    /// Clear the retained message of a topic.
    EndRetained {
        /// Length of the topic.
        topic: u16,
    },
    /// This shard has no operation of its own in the group, and says so.
    Nothing,
}

/// The operations of one shard and turn. A batch takes effect in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The shard.
    pub shard: u16,
    /// The number of the first operation; the others follow without gaps.
    pub first: u64,
    /// The operations, in order.
    pub ops: Vec<Op>,
    /// Targets of the enqueues, in order.
    pub targets: Vec<Target>,
    /// Subscription identifiers of the targets, in order.
    pub identifiers: Vec<u32>,
    /// Images, filters, messages, topics, in order.
    pub bytes: Vec<u8>,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The number after the last operation.
    pub fn end(&self) -> u64 {
        self.first + self.ops.len() as u64
    }

    /// Bytes of memory it stands for, to bound what waits.
    pub fn weight(&self) -> usize {
        self.bytes.len()
            + self.ops.len() * size_of::<Op>()
            + self.targets.len() * size_of::<Target>()
            + self.identifiers.len() * size_of::<u32>()
    }

    /// Adds an operation and its bytes; returns its number.
    pub fn push(&mut self, kind: OpKind, group: Option<Group>, parts: &[&[u8]]) -> u64 {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.ops.push(Op { kind, group });
        self.end() - 1
    }

    /// Empties it for the operations from `first` on, keeping its memory up to a bound.
    pub fn restart(&mut self, first: u64) {
        self.first = first;
        self.ops.clear();
        self.targets.clear();
        self.identifiers.clear();
        self.bytes.clear();
        self.bytes.shrink_to(4 << 20);
        self.ops.shrink_to(64 << 10);
        self.targets.shrink_to(64 << 10);
        self.identifiers.shrink_to(64 << 10);
    }

    /// Walks the operations with what belongs to each.
    pub fn walk(&self) -> Walk<'_> {
        Walk {
            ops: self.ops.iter(),
            number: self.first,
            targets: &self.targets,
            identifiers: &self.identifiers,
            bytes: &self.bytes,
        }
    }
}

/// One operation with what belongs to it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Its number.
    pub number: u64,
    /// What to do.
    pub op: Op,
    /// The bytes its lengths speak of, all together.
    pub bytes: &'a [u8],
    /// The targets of an enqueue.
    pub targets: &'a [Target],
    /// The subscription identifiers of those targets, all together.
    pub identifiers: &'a [u32],
}

/// Iterator over the operations of a batch.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    ops: std::slice::Iter<'a, Op>,
    number: u64,
    targets: &'a [Target],
    identifiers: &'a [u32],
    bytes: &'a [u8],
}

impl<'a> Iterator for Walk<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        let op = *self.ops.next()?;
        let (bytes, targets) = match op.kind {
            OpKind::PutSession { image, .. } => (image as usize, 0),
            OpKind::PutSubscription { filter, .. } | OpKind::EndSubscription { filter, .. } => {
                (usize::from(filter), 0)
            }
            OpKind::Enqueue { message, targets } => (message.body_len(), targets as usize),
            OpKind::PutRetained { message } => (message.body_len(), 0),
            OpKind::EndRetained { topic } => (usize::from(topic), 0),
            OpKind::EndSession { .. }
            | OpKind::Sent { .. }
            | OpKind::Released { .. }
            | OpKind::Done { .. }
            | OpKind::Received { .. }
            | OpKind::Unreceived { .. }
            | OpKind::Nothing => (0, 0),
        };
        let (bytes, rest) = self.bytes.split_at(bytes);
        self.bytes = rest;
        let (targets, rest) = self.targets.split_at(targets);
        self.targets = rest;
        let count = targets.iter().map(|target| usize::from(target.identifiers)).sum();
        let (identifiers, rest) = self.identifiers.split_at(count);
        self.identifiers = rest;
        let number = self.number;
        self.number += 1;
        Some(Step { number, op, bytes, targets, identifiers })
    }
}

/// Why an operation did not take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no space for it.
    Full,
    /// The medium failed.
    Failed,
}

/// How far a shard's operations have come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// All operations below this number are decided.
    pub until: u64,
    /// Those among them that did not take effect, ascending. The others are as durable as the policy says. If
    /// an operation of a group fails, all operations of the group do.
    pub failed: Vec<(u64, Failure)>,
    /// The batches that are decided, in order: their memory is used again by the shard, which finds in them
    /// what failed.
    pub returned: Vec<Batch>,
}
