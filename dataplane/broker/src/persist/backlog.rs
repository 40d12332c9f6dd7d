//! What a session keeps of its stored queue.
//!
//! A session's messages stand in storage under sequence numbers. In memory there is, in this order: what is
//! under way to the client (its window), the messages read or kept ahead (its queue), then a stretch of
//! sequence numbers that are in storage only, then (while that stretch is being read) the newest messages
//! again, kept so that a client that catches up does not chase the disk. While the client is away only the
//! stretch is left: five numbers.

use crate::queue::Queue;

/// The stored queue of one session, in 28 bytes: it is part of every session. The places that matter lie within
/// 2^32 of the next one and are kept as distances; what lies farther back counts as the very beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backlog {
    /// The sequence number of the next message, low half first.
    next: [u32; 2],
    bytes_low: u32,
    /// How far `read_from` is behind `next`, [`FAR`] if farther than can be said.
    unread: u32,
    /// As `unread`, for `unsent_from`.
    unsent: u32,
    /// Messages that are not done, as far as is known: what is dropped unread may have been gone already, and then
    /// there are more. Put right when the queue has been read to its end.
    pub messages: u32,
    bytes_high: u16,
    /// Some of this is waited for: a pump follows when it is decided.
    pub(crate) waits: bool,
    /// There is a [`Reader`].
    pub(crate) reading: bool,
}

const _: () = assert!(size_of::<Backlog>() == 28);

/// From the beginning.
const FAR: u32 = u32::MAX;

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
    /// A queue as it is found in storage: `next` is the next sequence number, at most `sent_max` of the messages
    /// were sent.
    pub(crate) fn found(next: u64, messages: u32, bytes: u64, sent_max: u32) -> Self {
        let mut backlog = Self { next: [next as u32, (next >> 32) as u32], messages, ..Self::default() };
        backlog.set_bytes(bytes);
        backlog.set_read_from(if messages == 0 { next } else { 0 });
        backlog.set_unsent_from(next - u64::from(messages.saturating_sub(sent_max)));
        backlog
    }

    /// The sequence number of the next message.
    #[inline]
    pub fn next(&self) -> u64 {
        u64::from(self.next[1]) << 32 | u64::from(self.next[0])
    }

    /// Bytes of the messages that are not done and not released.
    #[inline]
    pub fn bytes(&self) -> u64 {
        u64::from(self.bytes_high) << 32 | u64::from(self.bytes_low)
    }

    /// Stops counting at 2^48: no window and no limit let a session have so many.
    pub(crate) fn set_bytes(&mut self, bytes: u64) {
        let bytes = bytes.min((1 << 48) - 1);
        (self.bytes_low, self.bytes_high) = (bytes as u32, (bytes >> 32) as u16);
    }

    /// The first sequence number that is in storage only.
    #[inline]
    pub(crate) fn read_from(&self) -> u64 {
        self.back(self.unread)
    }

    pub(crate) fn set_read_from(&mut self, sequence: u64) {
        self.unread = self.distance(sequence);
    }

    /// Everything from here on was never sent: what may be dropped to make room.
    pub(crate) fn unsent_from(&self) -> u64 {
        self.back(self.unsent)
    }

    pub(crate) fn set_unsent_from(&mut self, sequence: u64) {
        self.unsent = self.distance(sequence);
    }

    #[inline]
    fn back(&self, distance: u32) -> u64 {
        if distance == FAR { 0 } else { self.next().saturating_sub(u64::from(distance)) }
    }

    fn distance(&self, sequence: u64) -> u32 {
        u32::try_from(self.next().saturating_sub(sequence)).unwrap_or(FAR)
    }

    /// Whether a message was ever stored for the session.
    pub(crate) fn is_used(&self) -> bool {
        self.next != [0, 0]
    }

    /// Whether everything that is to be sent is in memory.
    #[inline]
    pub(crate) fn is_caught_up(&self) -> bool {
        !self.reading && self.unread == 0
    }

    /// The sequence number of which the low half was kept.
    #[inline]
    pub(crate) fn sequence_of(&self, low: u32) -> u64 {
        self.next() - u64::from(self.next[0].wrapping_sub(low))
    }

    /// A message takes the next place.
    #[inline]
    pub(crate) fn push(&mut self, bytes: u32) {
        let next = self.next() + 1;
        self.next = [next as u32, (next >> 32) as u32];
        self.unread = self.unread.saturating_add(1);
        self.unsent = self.unsent.saturating_add(1);
        self.messages += 1;
        self.set_bytes(self.bytes() + u64::from(bytes));
    }

    /// What was stored is all in memory.
    #[inline]
    pub(crate) fn catch_up(&mut self) {
        self.unread = 0;
    }

    /// A message is done.
    pub(crate) fn done(&mut self, bytes: u32) {
        self.messages = self.messages.saturating_sub(1);
        self.set_bytes(self.bytes().saturating_sub(u64::from(bytes)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_keep_their_distance_however_many_messages_pass() {
        for start in [1, 5, u64::from(u32::MAX) - 2, 1 << 40] {
            let mut backlog = Backlog::found(start, 0, 0, 20);
            assert!(backlog.is_caught_up() && backlog.is_used());
            let sequence = backlog.next();
            backlog.push(300);
            assert_eq!((backlog.read_from(), backlog.unsent_from()), (start, start));
            assert_eq!((backlog.next(), backlog.messages, backlog.bytes()), (start + 1, 1, 300));
            assert!(!backlog.is_caught_up());
            backlog.catch_up();
            backlog.push(u32::MAX);
            backlog.push(u32::MAX);
            assert_eq!((backlog.read_from(), backlog.unsent_from()), (start + 1, start));
            assert_eq!(backlog.bytes(), 300 + 2 * u64::from(u32::MAX));
            assert_eq!(backlog.sequence_of(sequence as u32), sequence);
            backlog.set_unsent_from(start + 2);
            backlog.set_read_from(start + 3);
            assert_eq!((backlog.read_from(), backlog.unsent_from()), (start + 3, start + 2));
            backlog.done(u32::MAX);
            assert_eq!((backlog.messages, backlog.bytes()), (2, 300 + u64::from(u32::MAX)));
        }
    }

    #[test]
    fn what_is_too_far_back_is_read_from_the_beginning() {
        let mut backlog = Backlog::found(1 << 40, 30, 3_000, 20);
        assert_eq!((backlog.read_from(), backlog.unsent_from()), (0, (1 << 40) - 10));
        backlog.push(1);
        assert_eq!((backlog.read_from(), backlog.unsent_from()), (0, (1 << 40) - 10));
        backlog.set_read_from((1 << 40) - 3);
        assert_eq!(backlog.read_from(), (1 << 40) - 3);
        backlog.set_bytes(1 << 50);
        backlog.push(1);
        assert_eq!(backlog.bytes(), (1 << 48) - 1);
    }
}
