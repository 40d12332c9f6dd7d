//! The end of a connection: DISCONNECT both ways, and what the end means for its session.

use pelton_base::{Ending, Key, Wall};
use pelton_mqtt::{Disconnect, ReasonCode, Sender, Version};

use crate::broker::{Broker, Handled};
use crate::counters::{Dropped, Ended};
use crate::inflight::Delivery;
use crate::link::State;
use crate::message::MessageId;
use crate::persist::ending::HandOver;
use crate::session::NEVER_EXPIRES;
use crate::shared::GroupRef;

/// A DISCONNECT to a v5 client that takes packets up to `bytes_max`: without the reference if only that does not
/// fit [MQTT-3.1.2-24]. It has no reason string and no user properties [MQTT-3.14.2-3] [MQTT-3.14.2-4].
pub(crate) fn encode(
    reason: ReasonCode,
    server_reference: Option<&str>,
    bytes_max: u32,
    bytes: &mut Vec<u8>,
) {
    let mut disconnect = Disconnect::new(reason);
    disconnect.server_reference = server_reference;
    if disconnect.encoded_len(Version::V5) > bytes_max as usize {
        disconnect.server_reference = None;
    }
    disconnect.encode(Version::V5, bytes);
}

impl Broker {
    /// DISCONNECT from the client: its will is discarded, unless it asks for it [MQTT-3.14.4-3].
    pub(crate) fn handle_disconnect(&mut self, key: Key, body: &[u8]) -> Handled {
        let Some(link) = self.core.links.get(key) else { return Handled::Ended };
        let disconnect = match Disconnect::decode(Sender::Client, link.version, body) {
            Ok(disconnect) => disconnect,
            Err(error) => return self.end_malformed(key, error),
        };
        let cap = self.core.settings.session_expiry_max;
        let Some(session) = self.session_of(key) else { return Handled::Ended };
        if let Some(expiry) = disconnect.session_expiry {
            if session.expiry_seconds == 0 && expiry != 0 {
                // Section 3.14.2.2.2: a session that was to end with its connection cannot be kept now.
                return self.end(key, Ended::ProtocolError, Some(ReasonCode::ProtocolError));
            }
            session.expiry_seconds = expiry.min(cap);
        }
        let with_will = disconnect.reason == ReasonCode::DisconnectWithWill;
        self.core.tally.ended.add(if with_will { Ended::DisconnectWithWill } else { Ended::Disconnect });
        // Whatever error a v5 client names, only Normal Disconnection discards the will [MQTT-3.1.2-10].
        self.leave(key, disconnect.reason != ReasonCode::Success);
        self.close(key, Ending::Agreed);
        Handled::Ended
    }

    /// AUTH: extended authentication is not offered, so any AUTH is out of place, a re-authentication too
    /// [MQTT-4.12.0-6] [MQTT-4.12.1-2].
    pub(crate) fn handle_auth(&mut self, key: Key, body: &[u8]) -> Handled {
        if let Err(error) = pelton_mqtt::Auth::decode(Sender::Client, body) {
            return self.end_malformed(key, error);
        }
        self.end(key, Ended::ProtocolError, Some(ReasonCode::ProtocolError))
    }

    /// A connection leaves its session: the session ends, or waits for its client to come back. `will` says
    /// whether the will is due.
    pub(crate) fn leave(&mut self, key: Key, will: bool) {
        let Some(link) = self.core.links.get_mut(key) else { return };
        if link.state() == State::Claiming {
            let request = link.extra.as_mut().and_then(|extra| extra.connect.take());
            if let Some(request) = request {
                self.connect_is_given_up(request.session);
                self.give_back(key, &request.client_id);
            }
            return;
        }
        let session_key = std::mem::replace(&mut link.session, Key::NONE);
        let Some(session) = self.core.sessions.get_mut(session_key) else { return };
        if session.link() != key {
            return;
        }
        let client_id = session.client_id.clone();
        // [MQTT-4.1.0-2]
        let ends = session.expiry_seconds == 0;
        if !will {
            drop(self.core.sessions.take_will(session_key));
        }
        let delayed = self.core.sessions.will(session_key).is_some_and(|will| will.delay_seconds != 0);
        if ends || !delayed {
            // [MQTT-3.1.3-9]: a delayed will is sent when the session ends, if that is sooner.
            self.publish_will(session_key);
        }
        self.end_fetches(session_key);
        if let Some(session) = self.core.sessions.get_mut(session_key) {
            session.disconnect(Wall::NEVER);
            self.core.census.online -= 1;
        }
        if ends {
            self.end_session(session_key);
        } else {
            self.go_offline(session_key);
        }
        self.give_back(key, client_id.as_str());
    }

    /// The client of a session that outlives its connection is away.
    pub(crate) fn go_offline(&mut self, session_key: Key) {
        let wall = self.core.wall;
        let Some(session) = self.core.sessions.get_mut(session_key) else { return };
        session.disconnect(match session.expiry_seconds {
            NEVER_EXPIRES => Wall::NEVER,
            seconds => wall.plus_seconds(seconds),
        });
        session.shrink();
        if let Some(will) = self.core.sessions.will_mut(session_key) {
            will.due = wall.plus_seconds(will.delay_seconds);
        }
        self.arm_session(session_key);
        self.hand_on(session_key);
        self.forget_memory(session_key);
        self.put_session(session_key);
    }

    /// A session ends: its will is due, its subscriptions go, what it had under way is dropped or handed on.
    pub(crate) fn end_session(&mut self, session_key: Key) {
        self.publish_will(session_key);
        self.end_fetches(session_key);
        self.hand_on(session_key);
        self.drop_subscriptions(session_key);
        self.session_timers.clear(session_key.index);
        self.forget_memory(session_key);
        let Some(mut session) = self.core.sessions.remove(session_key) else { return };
        if session.is_stored() {
            let messages = session.backlog.messages;
            self.core.tally.dropped.add_n(Dropped::SessionEnded, u64::from(messages));
            self.end_stored(session.id(), self.key.hash(&session.client_id));
        }
        let Some(mut window) = session.window.take() else { return };
        for delivery in window.inflight.drain() {
            if let Some(message) = delivery.message.some() {
                self.core.tally.dropped.add(Dropped::SessionEnded);
                self.core.messages.release(message);
            }
        }
        while let Some(queued) = window.queue.pop() {
            self.core.tally.dropped.add(Dropped::SessionEnded);
            self.core.messages.release(queued.message);
        }
    }

    /// Gives the messages that came to a session by shared groups back to them: what was not sent, and QoS 1
    /// that was not acknowledged. QoS 2 under way stays, and ends with the session [MQTT-4.8.2-4]
    /// [MQTT-4.8.2-5].
    fn hand_on(&mut self, session_key: Key) {
        let Some(session) = self.core.sessions.get_mut(session_key) else { return };
        let groups: smallvec::SmallVec<[GroupRef; 2]> = session.groups().collect();
        // What came by a group that it has left since is under way still.
        if groups.is_empty() && !session.left_group() {
            return;
        }
        let from = session.is_stored().then(|| session.id());
        let mut back: Vec<(GroupRef, MessageId, u64)> = Vec::new();
        let backlog = &mut session.backlog;
        if let Some(window) = &mut session.window {
            let goes = |delivery: &Delivery| delivery.group.is_some() && !delivery.exactly_once;
            window.inflight.retain(
                |delivery| !goes(delivery),
                |delivery| {
                    back.push((delivery.group, delivery.message, backlog.sequence_of(delivery.sequence)));
                },
            );
            window.queue.retain(
                |queued| !queued.group.is_some(),
                |queued| {
                    back.push((queued.group, queued.message, queued.sequence));
                },
            );
        }
        for &(_, message, _) in &back {
            backlog.done(u32::try_from(self.core.messages.get(message).bytes()).unwrap_or(u32::MAX));
        }
        // The home must not pick this member again for what it gives back.
        for group in groups {
            self.tell_presence(group, session_key, false);
        }
        for (group, message, sequence) in back {
            if let Some(from) = from {
                self.hand_over(HandOver { from, sequence, group, message, to: None });
                continue;
            }
            let stored = self.core.messages.get(message);
            let body = [stored.topic, stored.forwarded, stored.payload].concat();
            let publication = stored.over(&body);
            self.return_to_group(group, session_key, &publication);
            self.core.persist.seal(&publication);
            self.core.messages.release(message);
        }
    }
}
