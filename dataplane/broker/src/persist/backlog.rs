//! What a session keeps of its stored queue.
//!
//! A session's messages stand in storage under sequence numbers. In memory there is, in this order: what is
//! under way to the client (its window), the messages read or kept ahead (its queue), then a stretch of
//! sequence numbers that are in storage only, then (while that stretch is being read) the newest messages
//! again, kept so that a client that catches up does not chase the disk. While the client is away only the
//! stretch is left: five numbers.

use crate::queue::Queue;

/// The stored queue of one session.
#[derive(Debug, Default)]
pub struct Backlog {
    /// The sequence number of the next message.
    pub next: u64,
    /// Bytes of the messages that are not done and not released.
    pub bytes: u64,
    /// The first sequence number that is in storage only.
    pub(crate) read_from: u64,
    /// Everything from here on was never sent: what may be dropped to make room.
    pub(crate) unsent_from: u64,
    /// Messages that are not done, as far as is known: what is dropped unread may have been gone already, and then
    /// there are more. Put right when the queue has been read to its end.
    pub messages: u32,
    /// Some of this is waited for: a pump follows when it is decided.
    pub(crate) waits: bool,
    /// Present while messages are read back.
    pub(crate) reader: Option<Box<Reader>>,
}

/// Messages are read back.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Where the stretch in storage ends: the first sequence number of `tail`. `None`: it has no end yet.
    pub(crate) tail_from: Option<u64>,
    /// All of the stretch is decided when this operation is.
    pub(crate) decided_at: u64,
    /// The newest messages, which need not be read.
    pub(crate) tail: Queue,
    /// The page that is asked for.
    pub(crate) asked: Option<u64>,
    /// What was never sent began here when it was asked for: what lies between this and where it begins by now
    /// was dropped since, and may be in the page.
    pub(crate) unsent_then: u64,
}

impl Backlog {
    /// Whether everything that is to be sent is in memory.
    #[inline]
    pub(crate) fn is_caught_up(&self) -> bool {
        self.reader.is_none() && self.read_from == self.next
    }

    /// The sequence number of which the low half was kept.
    #[inline]
    pub(crate) fn sequence_of(&self, low: u32) -> u64 {
        self.next - u64::from((self.next as u32).wrapping_sub(low))
    }

    /// A message is done.
    pub(crate) fn done(&mut self, bytes: u32) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(bytes));
    }
}
