//! UNSUBSCRIBE, and the subscriptions of a session that ends.

use pelton_base::Key;
use pelton_mqtt::{ReasonCode, UnsubAck, Unsubscribe};
use smallvec::SmallVec;

use crate::broker::{Broker, Handled};
use crate::counters::{Ended, Traffic};
use crate::session::Subscription;

impl Broker {
    pub(crate) fn handle_unsubscribe(&mut self, key: Key, body: &[u8]) -> Handled {
        let Some(link) = self.core.links.get(key) else { return Handled::Ended };
        let (version, session) = (link.version, link.session);
        let unsubscribe = match Unsubscribe::decode(version, body) {
            Ok(unsubscribe) => unsubscribe,
            Err(error) => return self.end_malformed(key, error),
        };
        let first = self.core.persist.number();
        let mut codes: SmallVec<[ReasonCode; 8]> = SmallVec::new();
        // [MQTT-3.10.4-6] [MQTT-3.11.3-1] One after the other, a code each, in their order.
        for raw in unsubscribe.filters {
            // [MQTT-3.10.4-1] Compared character by character. Taken out here, nothing more is delivered:
            // every publish is matched against this shard's own table at the last.
            let code = match raw.check() {
                Err(_) => ReasonCode::TopicFilterInvalid,
                Ok(filter) => match self.subscription_slot(key, filter) {
                    Some(slot) => {
                        self.drop_subscription(session, slot);
                        self.end_subscription(session, filter);
                        ReasonCode::Success
                    }
                    None => ReasonCode::NoSubscriptionExisted,
                },
            };
            codes.push(code);
        }
        // [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-2.2.1-6] Without reason string and user properties [MQTT-3.11.2-1]
        // [MQTT-3.11.2-2].
        let unsuback = UnsubAck::new(unsubscribe.packet_id, &codes);
        // [MQTT-3.1.2-24] An answer the client does not take: it cannot go on without one.
        if unsuback.encoded_len(version) > self.packet_bytes_max_of(key) {
            return self.end(key, Ended::PacketTooLarge, Some(ReasonCode::PacketTooLarge));
        }
        self.core.tally.traffic.add(Traffic::ControlOut);
        if self.core.persist.is_on() {
            let mut answer = Vec::new();
            unsuback.encode(version, &mut answer);
            if let Some(answer) = self.promise_unsuback(first, key, answer) {
                self.core.out.append(key.index, |bytes| bytes.extend_from_slice(&answer));
            }
            return Handled::Done;
        }
        self.core.out.append(key.index, |bytes| unsuback.encode(version, bytes));
        Handled::Done
    }

    /// Takes the subscription at `slot` out of a session. What is under way by it stays in the session's window
    /// [MQTT-3.10.4-3].
    pub(crate) fn drop_subscription(&mut self, session_key: Key, slot: usize) {
        let Some(session) = self.core.sessions.get_mut(session_key) else { return };
        let gone = session.subscriptions.swap_remove(slot);
        // The last subscription took the slot: its filter is told.
        if let Some(moved) = session.subscriptions.get(slot)
            && let &Subscription::Filter { filter, position, .. } = moved
        {
            self.router.subscriber_mut(filter, position).slot = slot as u16;
        }
        self.withdraw(session_key, gone);
    }

    /// Takes a subscription that is no longer in its session's list out of its filter or group.
    fn withdraw(&mut self, session_key: Key, gone: Subscription) {
        self.core.census.unsubscribed(&gone);
        match gone {
            Subscription::Filter { filter, position, .. } => {
                if let Some(moved) = self.router.remove(filter, position)
                    && let Some(other) = self.core.sessions.at_mut(moved.session)
                    && let Some(Subscription::Filter { position: other_position, .. }) =
                        other.subscriptions.get_mut(usize::from(moved.slot))
                {
                    *other_position = position;
                }
                self.release_filter(filter);
            }
            Subscription::Group(membership) => {
                if let Some(session) = self.core.sessions.get_mut(session_key) {
                    session.leave_group();
                }
                self.tell_leave(membership.group, session_key);
            }
        }
    }

    /// Takes all subscriptions of a session that ends out.
    pub(crate) fn drop_subscriptions(&mut self, session_key: Key) {
        while let Some(subscription) =
            self.core.sessions.get_mut(session_key).and_then(|session| session.subscriptions.pop())
        {
            self.withdraw(session_key, subscription);
        }
    }
}
