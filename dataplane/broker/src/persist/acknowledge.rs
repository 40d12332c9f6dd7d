//! What acknowledgements mean to storage.

use pelton_base::Key;
use pelton_mqtt::{PacketId, ReasonCode};
use pelton_storage_ops::OpKind;

use crate::broker::Broker;
use crate::inflight::Delivery;
use crate::peers::Settled;
use crate::persist::promise::What;

impl Broker {
    /// A client has a delivery for good (or refused it): it leaves the stored queue, and if storage has not
    /// got to it yet, the publisher need not wait for that.
    #[inline(never)]
    pub(crate) fn store_taken(&mut self, session: Key, delivery: &Delivery) {
        if !self.core.sessions.get(session).is_some_and(|session| session.is_stored()) {
            return;
        }
        let bytes = delivery.message.some().map_or(0, |message| self.core.messages.get(message).bytes());
        self.store_done(session, delivery.sequence, u32::try_from(bytes).unwrap_or(u32::MAX));
        let number = self.core.persist.number_of(delivery.number);
        if let Some(settle) = self.core.persist.acknowledged(number) {
            self.settled(settle, Settled::Ok { matched: true });
        }
    }

    /// A delivery is over.
    pub(crate) fn store_done(&mut self, session: Key, sequence: u32, bytes: u32) {
        let core = &mut self.core;
        let Some(session) = core.sessions.get_mut(session).filter(|session| session.is_stored()) else {
            return;
        };
        let id = session.id();
        let backlog = &mut session.backlog;
        backlog.done(bytes);
        let sequence = backlog.sequence_of(sequence);
        core.persist.push(OpKind::Done { session: id, sequence }, &[]);
    }

    /// A client has a QoS 2 delivery; whether its PUBREL waits for storage.
    pub(crate) fn store_release(&mut self, session: Key, delivery: &Delivery, link: Key) -> bool {
        let core = &mut self.core;
        let Some(session) = core.sessions.get_mut(session).filter(|session| session.is_stored()) else {
            return false;
        };
        let id = session.id();
        let backlog = &mut session.backlog;
        let sequence = backlog.sequence_of(delivery.sequence);
        let bytes = delivery.message.some().map_or(0, |message| core.messages.get(message).bytes());
        backlog.set_bytes(backlog.bytes().saturating_sub(bytes as u64));
        let number = core.persist.push(OpKind::Released { session: id, sequence }, &[]);
        core.persist.promise(number, u32::MAX, What::Pubrel(link, delivery.packet_id));
        true
    }

    /// Whether a session should not stage more than it must: storage is behind, or takes nothing.
    pub(crate) fn store_is_behind(&self, session: Key) -> bool {
        let persist = &self.core.persist;
        (persist.congested || persist.fault.is_open())
            && self.core.sessions.get(session).is_some_and(|session| session.is_stored())
    }

    /// A publisher has released a QoS 2 identifier; whether its PUBCOMP waits for storage. It may use the
    /// identifier again from then on: after a crash that must not be taken for the message before. One that is
    /// not known here may still be in storage, if its end could not be written.
    pub(crate) fn store_unreceived(
        &mut self,
        session: Key,
        packet_id: PacketId,
        link: Key,
        reason: ReasonCode,
    ) -> bool {
        let core = &mut self.core;
        let Some(session) = core.sessions.get(session).filter(|session| session.is_stored()) else {
            return false;
        };
        let released = OpKind::Unreceived { session: session.id(), packet_id: packet_id.get() };
        let number = core.persist.push(released, &[]);
        core.persist.promise(number, u32::MAX, What::Pubcomp(link, packet_id, reason));
        true
    }
}
