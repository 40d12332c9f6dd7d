//! Settlement: what waits for other shards and for storage, and what happens when all parts are known. A
//! publish of QoS 1 or 2 is acknowledged when every shard that has a part in it has said so.

use pelton_base::Key;
use pelton_mqtt::{PacketId, ReasonCode};
use pelton_storage_ops::{OpKind, SessionId};

use crate::broker::Broker;
use crate::counters::{Dropped, Ended};
use crate::peers::{Reply, Settled};

/// Something that waits for its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settlement {
    pub(crate) then: Then,
    pub(crate) waits_for: u32,
    pub(crate) matched: bool,
    failed: Option<ReasonCode>,
}

/// What happens when all parts are known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// The publisher is told.
    Acknowledge {
        /// Its present connection.
        link: Key,
        session: Key,
        packet_id: PacketId,
        exactly_once: bool,
    },
    /// The shard is told that asked for this one's part.
    Answer { shard: u16, settle: Key },
    /// A message has gone from one stored queue to another: it leaves the first.
    Leave { session: SessionId, sequence: u64 },
}

impl Settlement {
    pub(crate) fn new(link: Key, session: Key, packet_id: PacketId, exactly_once: bool) -> Self {
        Self::then(Then::Acknowledge { link, session, packet_id, exactly_once })
    }

    pub(crate) fn answer(shard: u16, settle: Key) -> Self {
        Self::then(Then::Answer { shard, settle })
    }

    pub(crate) fn leave(session: SessionId, sequence: u64) -> Self {
        Self::then(Then::Leave { session, sequence })
    }

    fn then(then: Then) -> Self {
        Self { then, waits_for: 0, matched: false, failed: None }
    }

    pub(crate) fn waits(self, waits_for: u32, matched: bool) -> Self {
        Self { waits_for, matched, ..self }
    }
}

impl Broker {
    /// One part of what was waited for is known.
    pub(crate) fn settled(&mut self, settle: Key, result: Settled) {
        let Some(record) = self.settlements.get_mut(settle) else { return };
        match result {
            Settled::Ok { matched } => record.matched |= matched,
            Settled::Failed(reason) => record.failed = Some(reason),
        }
        record.waits_for -= 1;
        if record.waits_for != 0 {
            return;
        }
        let Some(record) = self.settlements.remove(settle) else { return };
        let result = match record.failed {
            Some(reason) => Settled::Failed(reason),
            None => Settled::Ok { matched: record.matched },
        };
        match record.then {
            Then::Acknowledge { link, session, packet_id, exactly_once } => {
                self.publish_settled(settle, (link, session), packet_id, exactly_once, result);
            }
            Then::Answer { shard, settle } => {
                self.peers.reply(shard, Reply::Settled { settle, result }, &[]);
            }
            Then::Leave { session, sequence } => {
                self.handed_over(session, sequence, matches!(result, Settled::Ok { .. }));
            }
        }
    }

    fn publish_settled(
        &mut self,
        settle: Key,
        (link, session): (Key, Key),
        packet_id: PacketId,
        exactly_once: bool,
        result: Settled,
    ) {
        let reason = match result {
            Settled::Failed(reason) => reason,
            Settled::Ok { matched: true } => ReasonCode::Success,
            Settled::Ok { matched: false } => ReasonCode::NoMatchingSubscribers,
        };
        if exactly_once
            && let Some(window) =
                self.core.sessions.get_mut(session).and_then(|session| session.window.as_mut())
        {
            window.settling.retain(|&(id, _)| id != packet_id);
            if reason.is_error() {
                // [MQTT-4.3.3-9]: after a PUBREC with an error the identifier is free again.
                window.unreleased.remove(packet_id);
            }
        }
        if reason.is_error()
            && exactly_once
            && let Some(session) = self.core.sessions.get(session).filter(|session| session.is_stored())
        {
            // Stored or not, it is not taken.
            let forgotten = OpKind::Unreceived { session: session.id(), packet_id: packet_id.get() };
            self.core.persist.push(forgotten, &[]);
        }
        if reason.is_error() {
            self.core.tally.dropped.add(Dropped::NotStored);
            if self.core.links.get(link).is_some_and(|link| link.is_live() && !link.is_v5()) {
                // A v3 client knows positive acknowledgements only: without one it sends again.
                self.end(link, Ended::NotStored, None);
                return;
            }
        }
        self.acknowledge_settled(link, settle, reason);
    }

    /// Moves what waits for a publish to the publisher's present connection; whether that is news.
    pub(crate) fn move_settlement(&mut self, settle: Key, to: Key) -> Option<bool> {
        match &mut self.settlements.get_mut(settle)?.then {
            Then::Acknowledge { link, .. } => Some(std::mem::replace(link, to) != to),
            Then::Answer { .. } | Then::Leave { .. } => None,
        }
    }
}
