//! Reading: pages of a session's queue, and what is there at the start.

use crate::batch::{Completion, MessageHead, SessionId};
use crate::image::SessionImage;

/// Asks for a part of a session's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Comes back with the page.
    pub token: u64,
    /// The shard that asks.
    pub shard: u16,
    /// The session.
    pub session: SessionId,
    /// The first sequence number wanted.
    pub from: u64,
    /// Most messages of the page.
    pub messages_max: u32,
    /// Bytes beyond which the page ends (it has at least one message if there is any).
    pub bytes_max: u32,
}

/// Where a queued message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not sent.
    Queued,
    /// Sent under a packet identifier, not acknowledged.
    Sent(u16),
    /// QoS 2: the client has it, PUBREL was or is to be sent, PUBCOMP is awaited. There is no message any more.
    Released(u16),
}

/// A message of a page. Its body and identifiers follow in the page's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the queue.
    pub sequence: u64,
    /// QoS of the delivery.
    pub qos: u8,
    /// Retain flag of the delivery.
    pub retain: bool,
    /// Where it stands.
    pub phase: Phase,
    /// How many subscription identifiers.
    pub identifiers: u8,
    /// The message; `None` if it is released, or lost to a fault of the medium.
    pub message: Option<MessageHead>,
}

/// A part of a session's queue, in order.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The token of the request.
    pub token: u64,
    /// The messages.
    pub entries: Vec<Entry>,
    /// Their subscription identifiers, in order.
    pub identifiers: Vec<u32>,
    /// Their bodies, in order.
    pub bytes: Vec<u8>,
    /// Every committed message from the request's `from` on is in the page.
    pub complete: bool,
    /// Messages whose body could not be read (a checksum was wrong): their entries have no message and are
    /// not `Released`.
    pub damaged: u32,
}

/// What a storage says to a shard.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Operations are decided.
    Completed(Completion),
    /// A page that was asked for.
    Page(Page),
}

/// A session as it is found at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedSession {
    /// The session.
    pub session: SessionId,
    /// Its image.
    pub image: SessionImage,
    /// Its subscriptions: filter, options, identifier.
    pub subscriptions: Vec<(String, u8, u32)>,
    /// QoS 2 publishes of its client that were taken and not released.
    pub received: Vec<u16>,
    /// The sequence number its next message gets: above those of all messages in its queue, not of all there
    /// ever were.
    pub next_sequence: u64,
    /// Messages in its queue.
    pub queued_messages: u32,
    /// Their bytes.
    pub queued_bytes: u64,
}

/// What is found at the start, one by one.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// A session.
    Session(Box<LoadedSession>),
    /// A retained message and its bytes.
    Retained(MessageHead, Vec<u8>),
}
