//! Acknowledgements, both ways: what a client says of deliveries to it (PUBACK, PUBREC, PUBCOMP), what it
//! says of its own publishes (PUBREL), and what it is told of them, in the order it sent them
//! [MQTT-4.6.0-2] [MQTT-4.6.0-3].

use pelton_base::Key;
use pelton_mqtt::{Ack, PacketId, PacketType, ReasonCode, Version};

use crate::broker::{Broker, Handled};
use crate::counters::Dropped;
use crate::inflight::{Delivery, Phase};
use crate::link::PendingAck;

/// A PUBREL with success: the same bytes in all versions.
pub(crate) fn encode_pubrel(packet_id: PacketId, bytes: &mut Vec<u8>) {
    Ack::new(packet_id, ReasonCode::Success).encode(PacketType::PubRel, Version::V311, bytes);
}

impl Broker {
    /// PUBACK: a QoS 1 delivery is complete.
    pub(crate) fn handle_puback(&mut self, key: Key, body: &[u8]) -> Handled {
        let ack = match self.decode_ack(key, PacketType::PubAck, body) {
            Ok(ack) => ack,
            Err(handled) => return handled,
        };
        self.complete(key, ack, Phase::AwaitAck);
        Handled::Done
    }

    /// PUBREC: the client has a QoS 2 delivery; it is released.
    pub(crate) fn handle_pubrec(&mut self, key: Key, body: &[u8]) -> Handled {
        let ack = match self.decode_ack(key, PacketType::PubRec, body) {
            Ok(ack) => ack,
            Err(handled) => return handled,
        };
        if ack.reason.is_error() {
            // [MQTT-4.3.3-4]: without success no PUBREL follows, and the identifier is free.
            self.complete(key, ack, Phase::AwaitRec);
            return Handled::Done;
        }
        let Some(link) = self.core.links.get_mut(key) else { return Handled::Ended };
        let version = link.version;
        let found = self
            .core
            .sessions
            .get_mut(link.session)
            .and_then(|session| session.window.as_mut())
            .and_then(|window| window.inflight.find(ack.packet_id))
            .map(|(_, delivery)| delivery);
        let mut release = Ack::new(ack.packet_id, ReasonCode::Success);
        match found {
            Some(delivery) if delivery.phase != Phase::AwaitAck => {
                // [MQTT-4.3.3-6] From here on the message is not sent again, only PUBREL.
                delivery.phase = Phase::AwaitComp;
                if let Some(message) = delivery.message.some() {
                    delivery.message = crate::message::MessageId::NONE;
                    self.core.messages.release(message);
                }
                delivery.identifiers = None;
            }
            _ => release.reason = ReasonCode::PacketIdentifierNotFound,
        }
        self.core.out.append(key.index, |bytes| release.encode(PacketType::PubRel, version, bytes));
        Handled::Done
    }

    /// PUBCOMP: a QoS 2 delivery is complete.
    pub(crate) fn handle_pubcomp(&mut self, key: Key, body: &[u8]) -> Handled {
        let ack = match self.decode_ack(key, PacketType::PubComp, body) {
            Ok(ack) => ack,
            Err(handled) => return handled,
        };
        self.complete(key, ack, Phase::AwaitComp);
        Handled::Done
    }

    /// PUBREL: the client releases the identifier of its QoS 2 publish [MQTT-4.3.3-11].
    pub(crate) fn handle_pubrel(&mut self, key: Key, body: &[u8]) -> Handled {
        let ack = match self.decode_ack(key, PacketType::PubRel, body) {
            Ok(ack) => ack,
            Err(handled) => return handled,
        };
        let Some(link) = self.core.links.get_mut(key) else { return Handled::Ended };
        let version = link.version;
        let known = self
            .core
            .sessions
            .get_mut(link.session)
            .and_then(|session| session.window.as_mut())
            .is_some_and(|window| window.unreleased.remove(ack.packet_id));
        let mut complete = Ack::new(ack.packet_id, ReasonCode::Success);
        if !known {
            complete.reason = ReasonCode::PacketIdentifierNotFound;
        }
        self.core.out.append(key.index, |bytes| complete.encode(PacketType::PubComp, version, bytes));
        Handled::Done
    }

    fn decode_ack<'a>(&mut self, key: Key, kind: PacketType, body: &'a [u8]) -> Result<Ack<'a>, Handled> {
        let Some(link) = self.core.links.get(key) else { return Err(Handled::Ended) };
        Ack::decode(kind, link.version, body).map_err(|error| self.end_malformed(key, error))
    }

    /// A delivery is over, well or not; the window has room for another.
    fn complete(&mut self, key: Key, ack: Ack<'_>, phase: Phase) {
        let Some(link) = self.core.links.get(key) else { return };
        let session_key = link.session;
        let Some(session) = self.core.sessions.get_mut(session_key) else { return };
        let Some(window) = &mut session.window else { return };
        let Some((position, delivery)) = window.inflight.find(ack.packet_id) else { return };
        if delivery.phase != phase {
            return;
        }
        let Some(delivery) = window.inflight.complete(position) else { return };
        let more = !window.queue.is_empty() || window.inflight.sent() < window.inflight.len();
        if ack.reason.is_error() {
            // [MQTT-4.8.2-6] A refused message is not given to another member of a group either.
            self.core.tally.dropped.add(Dropped::RefusedByClient);
        }
        self.forget_delivery(session_key, &delivery);
        if more {
            self.core.pump(session_key);
        }
        if self.core.sessions.get(session_key).is_some_and(|session| session.fetches != 0) {
            self.fetch_more(session_key);
        }
    }

    /// Lets go of a completed delivery's message and tells its group.
    fn forget_delivery(&mut self, session: Key, delivery: &Delivery) {
        if let Some(message) = delivery.message.some() {
            self.core.messages.release(message);
        }
        if delivery.group.is_some() {
            self.group_acked(delivery.group, session);
        }
    }

    /// Tells a client how its publish went, when all its publishes before have been told.
    #[inline]
    pub(crate) fn acknowledge(
        &mut self,
        key: Key,
        packet_id: PacketId,
        exactly_once: bool,
        reason: ReasonCode,
    ) {
        let Some(link) = self.core.links.get_mut(key) else { return };
        match &mut link.extra {
            Some(extra) if !extra.acks.is_empty() => {
                extra.acks.push_back(PendingAck {
                    packet_id,
                    exactly_once,
                    reason: Some(reason),
                    settle: Key::NONE,
                });
            }
            _ => {
                let version = link.version;
                self.core
                    .out
                    .append(key.index, |bytes| encode_ack(version, packet_id, exactly_once, reason, bytes));
            }
        }
    }

    /// An acknowledgement that waits for its settlement, in its place in the order.
    pub(crate) fn acknowledge_later(
        &mut self,
        key: Key,
        packet_id: PacketId,
        exactly_once: bool,
        settle: Key,
    ) {
        let Some(link) = self.core.links.get_mut(key) else { return };
        if !exactly_once {
            link.unacknowledged += 1;
        }
        link.extra().acks.push_back(PendingAck { packet_id, exactly_once, reason: None, settle });
    }

    /// A settlement is known: sends every acknowledgement that has nothing open before it.
    pub(crate) fn acknowledge_settled(&mut self, key: Key, settle: Key, reason: ReasonCode) {
        let Some(link) = self.core.links.get_mut(key) else { return };
        let version = link.version;
        let Some(extra) = &mut link.extra else { return };
        if let Some(pending) = extra.acks.iter_mut().find(|pending| pending.settle == settle) {
            pending.reason = Some(reason);
            pending.settle = Key::NONE;
        }
        let mut acknowledged = 0;
        while let Some(&PendingAck { packet_id, exactly_once, reason: Some(reason), .. }) = extra.acks.front()
        {
            extra.acks.pop_front();
            acknowledged += u16::from(!exactly_once);
            self.core
                .out
                .append(key.index, |bytes| encode_ack(version, packet_id, exactly_once, reason, bytes));
        }
        if acknowledged != 0 {
            link.unacknowledged = link.unacknowledged.saturating_sub(acknowledged);
            if link.hold == Some(crate::link::Hold::Congestion) {
                self.effects.resumed.push(key);
                link.hold = None;
            }
        }
    }
}

#[inline]
fn encode_ack(
    version: Version,
    packet_id: PacketId,
    exactly_once: bool,
    reason: ReasonCode,
    bytes: &mut Vec<u8>,
) {
    let kind = if exactly_once { PacketType::PubRec } else { PacketType::PubAck };
    Ack::new(packet_id, reason).encode(kind, version, bytes);
}
