//! Acknowledgements, both ways: what a client says of deliveries to it (PUBACK, PUBREC, PUBCOMP), what it
//! says of its own publishes (PUBREL), and what it is told of them, in the order it sent them
//! [MQTT-4.6.0-2] [MQTT-4.6.0-3].
//!
//! None has a reason string or user properties, whatever the client takes or asked for [MQTT-3.1.2-29]
//! [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2]
//! [MQTT-3.7.2-3].

use pelton_base::Key;
use pelton_mqtt::{Ack, PacketId, PacketType, ReasonCode, Version};

use crate::broker::{Broker, Handled};
use crate::counters::{Dropped, Traffic};
use crate::inflight::Delivery;
use crate::link::PendingAck;

/// A PUBREL with success: the same bytes in all versions.
pub(crate) fn encode_pubrel(packet_id: PacketId, bytes: &mut Vec<u8>) {
    Ack::new(packet_id, ReasonCode::Success).encode(PacketType::PubRel, Version::V311, bytes);
}

impl Broker {
    /// PUBACK: a QoS 1 delivery is complete.
    #[inline]
    pub(crate) fn handle_puback(&mut self, key: Key, body: &[u8]) -> Handled {
        let (ack, session) = match self.decode_ack(key, PacketType::PubAck, body) {
            Ok(decoded) => decoded,
            Err(handled) => return handled,
        };
        self.complete(session, ack, false);
        Handled::Done
    }

    /// PUBREC: the client has a QoS 2 delivery; it is released at once, so that PUBRELs come in the order of the
    /// PUBRECs [MQTT311-4.6.0-4].
    #[inline]
    pub(crate) fn handle_pubrec(&mut self, key: Key, body: &[u8]) -> Handled {
        let (ack, session) = match self.decode_ack(key, PacketType::PubRec, body) {
            Ok(decoded) => decoded,
            Err(handled) => return handled,
        };
        if ack.reason.is_error() {
            // [MQTT-4.3.3-4]: without success no PUBREL follows, and the identifier is free.
            self.complete(session, ack, true);
            return Handled::Done;
        }
        let window = self.core.sessions.get_mut(session).and_then(|session| session.window.as_mut());
        let mut known = false;
        if let Some(window) = window {
            let position = window
                .inflight
                .find(ack.packet_id)
                .filter(|(_, delivery)| delivery.exactly_once)
                .map(|(at, _)| at);
            match position.and_then(|position| window.inflight.release(position)) {
                Some(delivery) => {
                    known = true;
                    let stored = self.store_release(session, &delivery, key);
                    self.forget_delivery(session, &delivery);
                    if stored {
                        // PUBREL follows when the release is durable: after a crash the client must not be
                        // sent the message again.
                        return Handled::Done;
                    }
                }
                None => known = window.inflight.is_released(ack.packet_id),
            }
        }
        let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        let Some(link) = self.core.links.get(key) else { return Handled::Ended };
        let version = link.version;
        let release = Ack::new(ack.packet_id, reason);
        self.core.tally.traffic.add(Traffic::ControlOut);
        self.core.out.append(key.index, |bytes| release.encode(PacketType::PubRel, version, bytes));
        Handled::Done
    }

    /// PUBCOMP: a QoS 2 delivery is complete.
    #[inline]
    pub(crate) fn handle_pubcomp(&mut self, key: Key, body: &[u8]) -> Handled {
        let (ack, session) = match self.decode_ack(key, PacketType::PubComp, body) {
            Ok(decoded) => decoded,
            Err(handled) => return handled,
        };
        let window = self.core.sessions.get_mut(session).and_then(|session| session.window.as_mut());
        if let Some(sequence) = window.and_then(|window| window.inflight.finish(ack.packet_id)) {
            self.store_done(session, sequence, 0);
            self.window_opened(session);
        }
        Handled::Done
    }

    /// PUBREL: the client releases the identifier of its QoS 2 publish, which may have expired meanwhile, and may
    /// use it anew [MQTT-4.3.3-11] [MQTT-4.3.3-12] [MQTT-4.3.3-13].
    pub(crate) fn handle_pubrel(&mut self, key: Key, body: &[u8]) -> Handled {
        let (ack, session) = match self.decode_ack(key, PacketType::PubRel, body) {
            Ok(decoded) => decoded,
            Err(handled) => return handled,
        };
        let known =
            self.core.sessions.get(session).is_some_and(|session| session.is_unreleased(ack.packet_id));
        if !known && self.store_is_behind(session) {
            // Those that are known are bounded by Receive Maximum; these by nothing but this.
            return self.hold_for_storage(key);
        }
        if let Some(window) = self.core.sessions.get_mut(session).and_then(|session| session.window.as_mut())
        {
            window.unreleased.remove(ack.packet_id);
        }
        let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        if self.store_unreceived(session, ack.packet_id, key, reason) {
            return Handled::Done;
        }
        let Some(link) = self.core.links.get(key) else { return Handled::Ended };
        let version = link.version;
        let complete = Ack::new(ack.packet_id, reason);
        self.core.tally.traffic.add(Traffic::ControlOut);
        self.core.out.append(key.index, |bytes| complete.encode(PacketType::PubComp, version, bytes));
        Handled::Done
    }

    #[inline]
    fn decode_ack<'a>(
        &mut self,
        key: Key,
        kind: PacketType,
        body: &'a [u8],
    ) -> Result<(Ack<'a>, Key), Handled> {
        let Some(link) = self.core.links.get(key) else { return Err(Handled::Ended) };
        match Ack::decode(kind, link.version, body) {
            Ok(ack) => Ok((ack, link.session)),
            Err(error) => Err(self.end_malformed(key, error)),
        }
    }

    /// A delivery that awaited its first acknowledgement is over, well or not.
    fn complete(&mut self, session_key: Key, ack: Ack<'_>, exactly_once: bool) {
        let Some(session) = self.core.sessions.get_mut(session_key) else { return };
        let Some(window) = &mut session.window else { return };
        let Some((position, delivery)) = window.inflight.find(ack.packet_id) else { return };
        if delivery.exactly_once != exactly_once {
            return;
        }
        let Some(delivery) = window.inflight.complete(position) else { return };
        if ack.reason.is_error() {
            // [MQTT-4.4.0-2] [MQTT-4.8.2-6] A refused message is not given to another member of a group either.
            self.core.tally.dropped.add(Dropped::RefusedByClient);
        }
        if self.core.persist.is_on() {
            self.store_taken(session_key, &delivery);
        }
        self.forget_delivery(session_key, &delivery);
        self.window_opened(session_key);
    }

    /// A client's window has room for another delivery.
    #[inline]
    fn window_opened(&mut self, session_key: Key) {
        let Some(session) = self.core.sessions.get(session_key) else { return };
        let waits = session
            .window
            .as_ref()
            .is_some_and(|window| !window.queue.is_empty() || window.inflight.has_unsent());
        let fetches = session.is_fetching();
        if waits || session.is_stored() {
            self.core.pump(session_key);
        }
        if fetches {
            self.fetch_more(session_key);
        }
    }

    /// Lets go of a delivery's message and tells its group.
    #[inline]
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
                self.core.tally.traffic.add(Traffic::ControlOut);
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
            self.core.tally.traffic.add(Traffic::ControlOut);
            self.core
                .out
                .append(key.index, |bytes| encode_ack(version, packet_id, exactly_once, reason, bytes));
        }
        if acknowledged != 0 {
            link.unacknowledged = link.unacknowledged.saturating_sub(acknowledged);
            if link.hold() == Some(crate::link::Hold::Congestion) {
                self.effects.resumed.push(key);
                link.set_hold(None, key, &mut self.core.out);
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
    // [MQTT-2.2.1-5]
    let kind = if exactly_once { PacketType::PubRec } else { PacketType::PubAck };
    Ack::new(packet_id, reason).encode(kind, version, bytes);
}
