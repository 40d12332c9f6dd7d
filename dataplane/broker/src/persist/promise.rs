//! What was promised, and what happens when it is decided.

use pelton_base::Key;
use pelton_mqtt::{Ack, PacketId, PacketType, ReasonCode};
use pelton_storage_ops::{Batch, Completion, PageRequest, SessionId};

use crate::broker::Broker;
use crate::peers::Settled;
use crate::persist::Persist;

/// Who waits.
#[derive(Debug)]
pub(crate) enum What {
    /// Nobody any more.
    Nothing,
    /// A publish: this shard's part of it.
    Settle(Key),
    /// A session that has more to send when this is decided.
    Pump(Key),
    /// A connection that gets its CONNACK.
    Connack(Key),
    /// A SUBSCRIBE.
    Suback(Key),
    /// An UNSUBSCRIBE: its answer.
    Unsuback(Key, Box<[u8]>),
    /// A subscriber that is sent PUBREL.
    Pubrel(Key, PacketId),
    /// A publisher that is sent PUBCOMP.
    Pubcomp(Key, PacketId, ReasonCode),
    /// Messages that storage refused.
    Room,
    /// A client whose session has ended, by the hash of its id.
    Ended(u64),
    /// A message that was handed on and leaves the queue it was in.
    Left(SessionId, u64),
}

/// Waits for the operations from `first` up to `end`.
#[derive(Debug)]
pub(crate) struct Promise {
    pub(crate) first: u64,
    pub(crate) end: u64,
    /// Deliveries among them that their clients have not acknowledged: with none left the publish is settled
    /// before storage says so. `u32::MAX` if that cannot be.
    pub(crate) left: u32,
    pub(crate) what: What,
}

/// Promises looked at to find that of a delivery.
const LOOKS: usize = 64;

impl Persist {
    /// A client has acknowledged a delivery of the operation `number` for good. Returns the publish that is
    /// settled by it.
    pub(crate) fn acknowledged(&mut self, number: u64) -> Option<Key> {
        if self.is_done(number) {
            return None;
        }
        let from = self.promises.partition_point(|promise| promise.end <= number);
        for promise in self.promises.range_mut(from..).take(LOOKS) {
            if promise.first > number {
                return None;
            }
            if let What::Settle(settle) = promise.what
                && promise.left != u32::MAX
            {
                promise.left -= 1;
                if promise.left != 0 {
                    return None;
                }
                promise.what = What::Nothing;
                return Some(settle);
            }
        }
        None
    }
}

impl Broker {
    /// Operations that were staged since the last call, for the shard to send to storage.
    pub fn take_batch(&mut self) -> Option<Batch> {
        self.core.persist.take()
    }

    /// Pages that are wanted since the last call.
    pub fn take_page_requests(&mut self) -> Vec<PageRequest> {
        std::mem::take(&mut self.core.persist.requests)
    }

    /// Whether storage has been asked for, or given, something it has not answered.
    pub fn waits_for_storage(&self) -> bool {
        self.core.persist.waiting() != 0 || !self.core.persist.asked.is_empty()
    }

    /// Storage has decided operations.
    pub fn handle_completion(&mut self, completion: Completion) {
        let Completion { until, failed, returned } = completion;
        self.core.persist.done = until.max(self.core.persist.done);
        if failed.is_empty() {
            self.storage_is_well();
        } else {
            self.undo(&failed, &returned);
        }
        self.forget_ends();
        for batch in returned {
            self.core.persist.give_back(batch);
        }
        while let Some(promise) = self.core.persist.promises.pop_front_if(|promise| promise.end <= until) {
            let from = failed.partition_point(|&(number, _)| number < promise.first);
            let failed = failed.get(from).is_some_and(|&(number, _)| number < promise.end);
            self.keep_promise(promise.what, failed);
        }
    }

    fn keep_promise(&mut self, what: What, failed: bool) {
        match what {
            What::Nothing => {}
            // What failed is tried again, and the answer follows then.
            What::Pubrel(..) | What::Pubcomp(..) | What::Unsuback(..) | What::Ended(..) | What::Left(..)
                if failed =>
            {
                self.core.persist.fault.keep(what);
            }
            What::Settle(settle) => {
                let result = if failed {
                    Settled::Failed(ReasonCode::QuotaExceeded)
                } else {
                    Settled::Ok { matched: false }
                };
                self.settled(settle, result);
            }
            What::Pump(session) => {
                if let Some(session) = self.core.sessions.get_mut(session) {
                    session.backlog.waits = false;
                }
                self.core.pump(session);
                self.fetch_more(session);
            }
            // Asked again when storage is tried again.
            What::Room if failed => {}
            What::Room => self.hand_over_again(),
            What::Ended(client_hash) => self.session_is_gone(client_hash),
            What::Left(from, sequence) => self.has_left(from, sequence),
            What::Connack(link) => self.connect_is_stored(link, failed),
            What::Suback(place) => self.subscribe_is_stored(place, failed),
            What::Unsuback(link, bytes) => {
                if self.core.links.get(link).is_some_and(|link| link.is_live()) {
                    self.core.out.append(link.index, |out| out.extend_from_slice(&bytes));
                }
            }
            What::Pubrel(link, packet_id) => {
                self.answer_stored(link, PacketType::PubRel, packet_id, ReasonCode::Success);
            }
            What::Pubcomp(link, packet_id, reason) => {
                self.answer_stored(link, PacketType::PubComp, packet_id, reason);
            }
        }
    }

    fn answer_stored(&mut self, key: Key, kind: PacketType, packet_id: PacketId, reason: ReasonCode) {
        let Some(link) = self.core.links.get(key).filter(|link| link.is_live()) else { return };
        let version = link.version;
        let ack = Ack::new(packet_id, reason);
        self.core.out.append(key.index, |bytes| ack.encode(kind, version, bytes));
    }
}
