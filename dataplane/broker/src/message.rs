//! A publish on its way through a shard, and the store of those that must outlive their packet.

use pelton_base::Wall;
use pelton_mqtt::QoS;

use crate::alike::{ALIKE_MIN, Alike};

/// Who published: the serial number of a session, unique in the process; `NOBODY` for the broker itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Publisher(pub u64);

impl Publisher {
    /// The broker, or a session that is gone.
    pub const NOBODY: Self = Self(0);
}

/// A publish on its way: borrowed from the packet it came in, from the mesh, or from a store.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The topic name, checked.
    pub topic: &'a [u8],
    /// Encoded v5 properties that are passed on unchanged.
    pub forwarded: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// As published.
    pub qos: QoS,
    /// As published.
    pub retain: bool,
    /// When the message expires.
    pub expires: Wall,
    /// For No Local, and for the order of a hash strategy.
    pub publisher: Publisher,
    /// Hash of the publisher's client id.
    pub client_hash: u64,
    /// The variable header and payload as they came from a v3 client: topic field, packet id if there is
    /// one, payload. A delivery of the same shape is one copy.
    pub wire: Option<&'a [u8]>,
}

impl Publication<'_> {
    /// The same publication over a copy of its topic, forwarded properties and payload.
    pub(crate) fn over<'b>(&self, body: &'b [u8]) -> Publication<'b> {
        let (topic, rest) = body.split_at(self.topic.len());
        let (forwarded, payload) = rest.split_at(self.forwarded.len());
        Publication {
            topic,
            forwarded,
            payload,
            qos: self.qos,
            retain: self.retain,
            expires: self.expires,
            publisher: self.publisher,
            client_hash: self.client_hash,
            wire: None,
        }
    }

    /// Bytes the message counts for against a limit.
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.forwarded.len() + self.payload.len()
    }

    /// Whether the message is expired at `now`.
    #[inline]
    pub fn is_expired(&self, now: Wall) -> bool {
        self.expires <= now
    }

    /// The Message Expiry Interval to send at `now` [MQTT-3.3.2-6]; `None` if the message does not expire.
    #[inline]
    pub fn remaining_expiry(&self, now: Wall) -> Option<u32> {
        (self.expires != Wall::NEVER)
            .then(|| u32::try_from(self.expires.seconds_from(now)).unwrap_or(u32::MAX))
    }
}

/// Names a stored message of this shard. Every holder counts: [`Messages::retain`] and
/// [`Messages::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId(u32);

impl MessageId {
    /// No message: an in-flight entry of a session that ends with its connection needs none.
    pub const NONE: Self = Self(u32::MAX);

    /// The message, if there is one.
    pub fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

struct Message {
    /// Topic, forwarded properties and payload, one after the other.
    body: Box<[u8]>,
    uses: u32,
    topic_len: u16,
    qos: QoS,
    retain: bool,
    forwarded_len: u32,
    expires: Wall,
    publisher: Publisher,
    client_hash: u64,
}

/// Messages that outlive their packet: queued, in flight to a session that outlives its connection, or being
/// fanned out over several turns. One copy a shard, counted by its holders; the counts are plain integers,
/// since a message never leaves its shard by reference.
#[derive(Default)]
pub struct Messages {
    messages: Vec<Option<Message>>,
    free: Vec<u32>,
    bytes: usize,
}

impl Messages {
    /// Stores a message with one holder.
    pub fn store(&mut self, publication: &Publication<'_>) -> MessageId {
        let mut body = Vec::with_capacity(publication.bytes());
        body.extend_from_slice(publication.topic);
        body.extend_from_slice(publication.forwarded);
        body.extend_from_slice(publication.payload);
        self.bytes += body.len();
        let message = Message {
            body: body.into_boxed_slice(),
            uses: 1,
            topic_len: publication.topic.len() as u16,
            qos: publication.qos,
            retain: publication.retain,
            forwarded_len: publication.forwarded.len() as u32,
            expires: publication.expires,
            publisher: publication.publisher,
            client_hash: publication.client_hash,
        };
        match self.free.pop() {
            Some(index) => {
                self.messages[index as usize] = Some(message);
                MessageId(index)
            }
            None => {
                self.messages.push(Some(message));
                MessageId((self.messages.len() - 1) as u32)
            }
        }
    }

    /// The message as a publication.
    pub fn get(&self, id: MessageId) -> Publication<'_> {
        let message = self.messages[id.0 as usize].as_ref().expect("a message lives while it is held");
        let (topic, rest) = message.body.split_at(usize::from(message.topic_len));
        let (forwarded, payload) = rest.split_at(message.forwarded_len as usize);
        Publication {
            topic,
            forwarded,
            payload,
            qos: message.qos,
            retain: message.retain,
            expires: message.expires,
            publisher: message.publisher,
            client_hash: message.client_hash,
            wire: None,
        }
    }

    /// One holder more.
    #[inline]
    pub fn retain(&mut self, id: MessageId) {
        self.messages[id.0 as usize].as_mut().expect("a message lives while it is held").uses += 1;
    }

    /// One holder less; the last one frees the message.
    #[inline]
    pub fn release(&mut self, id: MessageId) {
        let slot = &mut self.messages[id.0 as usize];
        let message = slot.as_mut().expect("a message lives while it is held");
        message.uses -= 1;
        if message.uses == 0 {
            self.bytes -= message.body.len();
            *slot = None;
            self.free.push(id.0);
        }
    }

    /// How many messages are stored.
    pub fn len(&self) -> usize {
        self.messages.len() - self.free.len()
    }

    /// Whether none is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the stored messages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl std::fmt::Debug for Messages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Messages").field("len", &self.len()).field("bytes", &self.bytes).finish()
    }
}

/// What is made of a publication when its first receiver needs it, and once at most: its place in the store,
/// and the packets that receivers get alike.
#[derive(Debug, Default)]
pub struct Lazy {
    stored: Option<MessageId>,
    /// `None` for a publication with few receivers.
    pub(crate) alike: Option<Alike>,
}

impl Lazy {
    /// Nothing stored yet.
    pub const fn new() -> Self {
        Self { stored: None, alike: None }
    }

    /// A publication that stands in the store already; the caller keeps its hold.
    pub const fn stored(id: MessageId) -> Self {
        Self { stored: Some(id), alike: None }
    }

    /// The same for a publication that goes to `receivers` sessions.
    #[must_use]
    #[inline]
    pub fn to_many(self, receivers: usize) -> Self {
        if receivers < ALIKE_MIN { self } else { Self { alike: Some(Alike::default()), ..self } }
    }

    /// One more holder of the message, storing it first if need be.
    pub fn hold(&mut self, messages: &mut Messages, publication: &Publication<'_>) -> MessageId {
        match self.stored {
            Some(id) => {
                messages.retain(id);
                id
            }
            None => {
                let id = messages.store(publication);
                self.stored = Some(id);
                id
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication<'a>(topic: &'a [u8], payload: &'a [u8]) -> Publication<'a> {
        Publication {
            topic,
            forwarded: b"props",
            payload,
            qos: QoS::AtLeastOnce,
            retain: false,
            expires: Wall(61_500),
            publisher: Publisher(4),
            client_hash: 9,
            wire: None,
        }
    }

    #[test]
    fn stored_once_and_freed_by_the_last_holder() {
        let mut messages = Messages::default();
        let original = publication(b"a/b", b"hello");
        let mut lazy = Lazy::new();
        let first = lazy.hold(&mut messages, &original);
        let second = lazy.hold(&mut messages, &original);
        assert_eq!(first, second);
        let read = messages.get(first);
        assert_eq!((read.topic, read.forwarded, read.payload), (&b"a/b"[..], &b"props"[..], &b"hello"[..]));
        messages.release(first);
        assert_eq!((messages.len(), messages.bytes()), (1, 13));
        messages.release(second);
        assert_eq!((messages.len(), messages.bytes()), (0, 0));
    }

    #[test]
    fn the_remaining_expiry_is_what_is_left() {
        // covers [MQTT-3.3.2-6]
        let message = publication(b"a", b"");
        assert_eq!(message.remaining_expiry(Wall(0)), Some(62));
        assert_eq!(message.remaining_expiry(Wall(60_500)), Some(1));
        assert!(!message.is_expired(Wall(61_499)));
        assert!(message.is_expired(Wall(61_500)));
    }
}
