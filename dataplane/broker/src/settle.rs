//! Settlement: a publish of QoS 1 or 2 is acknowledged when every shard that has a part in it has said so.

use pelton_base::Key;
use pelton_mqtt::{PacketId, ReasonCode};

use crate::broker::Broker;
use crate::peers::Settled;

/// A publish that waits for other shards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settlement {
    /// Who is acknowledged: the publisher's present connection.
    pub(crate) link: Key,
    session: Key,
    packet_id: PacketId,
    exactly_once: bool,
    waits_for: u32,
    matched: bool,
    failed: Option<ReasonCode>,
}

impl Settlement {
    pub(crate) fn new(link: Key, session: Key, packet_id: PacketId, exactly_once: bool) -> Self {
        Self { link, session, packet_id, exactly_once, waits_for: 0, matched: false, failed: None }
    }

    pub(crate) fn waits(self, waits_for: u32, matched: bool) -> Self {
        Self { waits_for, matched, ..self }
    }
}

impl Broker {
    /// One of the shards a publish went to has answered.
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
        let reason = match record.failed {
            Some(reason) => reason,
            None if record.matched => ReasonCode::Success,
            None => ReasonCode::NoMatchingSubscribers,
        };
        if record.exactly_once
            && let Some(window) =
                self.core.sessions.get_mut(record.session).and_then(|session| session.window.as_mut())
        {
            window.settling.retain(|&(id, _)| id != record.packet_id);
            if reason.is_error() {
                // [MQTT-4.3.3-9]: after a PUBREC with an error the identifier is free again.
                window.unreleased.remove(record.packet_id);
            }
        }
        self.acknowledge_settled(record.link, settle, reason);
    }
}
