//! Messages that wait for a session's client: it is away, its window is full, or it does not read.

use std::collections::VecDeque;

use pelton_mqtt::QoS;

use crate::message::MessageId;
use crate::shared::GroupRef;

/// A message in a session's queue.
#[derive(Debug)]
pub struct Queued {
    /// The message; the queue holds it.
    pub message: MessageId,
    /// The QoS it will be delivered with: 1 or 2.
    pub qos: QoS,
    /// The retain flag it will be delivered with.
    pub retain: bool,
    /// The shared group it came by.
    pub group: GroupRef,
    /// Matched subscription identifiers.
    pub identifiers: Option<Box<[u32]>>,
    /// What it counts against the limit.
    pub bytes: u32,
    /// Its place in the session's stored queue.
    pub sequence: u64,
}

/// A queue bounded in messages and bytes; the bounds are its owner's to check.
#[derive(Debug, Default)]
pub struct Queue {
    messages: VecDeque<Queued>,
    bytes: usize,
}

impl Queue {
    /// How many messages wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes of the messages that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the newest.
    pub fn push(&mut self, queued: Queued) {
        self.bytes += queued.bytes as usize;
        self.messages.push_back(queued);
    }

    /// The oldest.
    pub fn front(&self) -> Option<&Queued> {
        self.messages.front()
    }

    /// The newest.
    pub fn last(&self) -> Option<&Queued> {
        self.messages.back()
    }

    /// Puts a message back to the front.
    pub fn push_front(&mut self, queued: Queued) {
        self.bytes += queued.bytes as usize;
        self.messages.push_front(queued);
    }

    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<Queued> {
        let queued = self.messages.pop_front()?;
        self.bytes -= queued.bytes as usize;
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
        Some(queued)
    }

    /// Keeps only the messages for which `keep` holds; the others are handed to `gone`, oldest first.
    pub fn retain(&mut self, mut keep: impl FnMut(&Queued) -> bool, mut gone: impl FnMut(Queued)) {
        for queued in std::mem::take(&mut self.messages) {
            if keep(&queued) {
                self.messages.push_back(queued);
            } else {
                self.bytes -= queued.bytes as usize;
                gone(queued);
            }
        }
    }

    /// Whether one more message of `bytes` fits the bounds.
    pub fn has_room(&self, bytes: usize, messages_max: u32, bytes_max: u32) -> bool {
        self.messages.len() < messages_max as usize && self.bytes + bytes <= bytes_max as usize
    }
}
