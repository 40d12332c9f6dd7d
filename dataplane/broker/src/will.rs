//! Wills: what is published for a client whose connection ended without DISCONNECT (section 3.1.2.5).

use pelton_base::{Key, Wall};
use pelton_mqtt::{QoS, Will as ConnectWill};

use crate::access::{Action, Decision, Who};
use crate::broker::Broker;
use crate::counters::{Dropped, Traffic};
use crate::message::{Publication, Publisher};
use crate::persist::route::Along;

/// A will, kept with its session.
#[derive(Debug)]
pub struct Will {
    /// Topic, forwarded properties and payload, one after the other.
    pub(crate) body: Box<[u8]>,
    pub(crate) topic_len: u16,
    pub(crate) forwarded_len: u32,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Will Delay Interval in seconds.
    pub(crate) delay_seconds: u32,
    /// Message Expiry Interval; runs from the publication of the will.
    pub(crate) expiry_seconds: Option<u32>,
    /// When a delayed will is due; [`Wall::NEVER`] while its client is connected.
    pub(crate) due: Wall,
}

/// A will whose publication waits for room on the mesh.
#[derive(Debug)]
pub(crate) struct DeferredWill {
    will: Box<Will>,
    publisher: Publisher,
    client_hash: u64,
    /// Its session, if it is stored.
    stored: Option<Key>,
}

impl DeferredWill {
    /// The will of a session that waits here.
    pub(crate) fn of(&self, session: Publisher) -> Option<&Will> {
        (self.publisher == session).then_some(&*self.will)
    }
}

impl Will {
    pub(crate) fn new(will: &ConnectWill<'_>, scratch: &mut Vec<u8>) -> Self {
        scratch.clear();
        let topic = will.topic.as_str().as_bytes();
        // [MQTT-3.1.3-10]
        let forwarded = will.properties.forwardable(scratch);
        Self {
            body: [topic, forwarded, will.payload].concat().into_boxed_slice(),
            topic_len: topic.len() as u16,
            forwarded_len: forwarded.len() as u32,
            qos: will.qos,
            retain: will.retain,
            delay_seconds: will.delay_interval,
            expiry_seconds: will.properties.message_expiry(),
            due: Wall::NEVER,
        }
    }

    fn publication(&self, expires: Wall, publisher: Publisher, client_hash: u64) -> Publication<'_> {
        let (topic, rest) = self.body.split_at(usize::from(self.topic_len));
        let (forwarded, payload) = rest.split_at(self.forwarded_len as usize);
        Publication {
            topic,
            forwarded,
            payload,
            qos: self.qos,
            // [MQTT-3.1.2-14] [MQTT-3.1.2-15]
            retain: self.retain,
            expires,
            publisher,
            client_hash,
            wire: None,
        }
    }
}

impl Broker {
    /// Publishes a session's will if its time has come. One without a delay is due whenever its client is away,
    /// whatever the clock says.
    pub(crate) fn publish_will_if_due(&mut self, session_key: Key) {
        let wall = self.core.wall;
        let will = self.core.sessions.will(session_key);
        if will.is_some_and(|will| will.due <= wall || will.delay_seconds == 0) {
            self.publish_will(session_key);
        }
    }

    /// Publishes a session's will now, if it has one. Rules may have changed since CONNECT: they are asked
    /// again.
    pub(crate) fn publish_will(&mut self, session_key: Key) {
        // [MQTT311-3.1.2-12]
        let Some(will) = self.core.sessions.take_will(session_key) else { return };
        let Some(session) = self.core.sessions.get(session_key) else { return };
        let client_hash = self.key.hash(&session.client_id);
        let (publisher, stored) = (session.serial, session.is_stored().then_some(session_key));
        let user_name = self
            .core
            .links
            .get(session.link())
            .and_then(|link| link.extra.as_ref())
            .and_then(|extra| extra.user_name.as_deref());
        let who = Who { client_id: session.client_id.as_str(), user_name };
        let topic = std::str::from_utf8(&will.body[..usize::from(will.topic_len)]).unwrap_or_default();
        if let Decision::Deny(_) = self.core.settings.access.check(Action::Publish, who, topic) {
            self.core.tally.dropped.add(Dropped::NotAuthorized);
            return;
        }
        let deferred = DeferredWill { will, publisher, client_hash, stored };
        if self.peers.is_congested() || !self.wills.is_empty() {
            // Until it is published it stays in its session's image, and its session in storage.
            if stored.is_some() {
                self.core.persist.endings.something_leaves(publisher.0);
            }
            self.wills.push_back(deferred);
        } else {
            self.publish_deferred(&deferred);
        }
    }

    /// Wills that waited for room: a bounded number a turn, so that the sessions of a lost network do not
    /// take the mesh from everybody else.
    pub(crate) fn publish_deferred_wills(&mut self) {
        const A_TURN: usize = 64;
        for _ in 0..A_TURN {
            if self.peers.is_congested() {
                return;
            }
            let Some(deferred) = self.wills.pop_front() else { return };
            self.publish_deferred(&deferred);
            // What was stored since has it still.
            if let Some(session) = deferred.stored {
                self.put_session(session);
                self.let_session_end(deferred.publisher.0);
            }
        }
    }

    fn publish_deferred(&mut self, deferred: &DeferredWill) {
        let expires = self.core.expires(deferred.will.expiry_seconds);
        let publication = deferred.will.publication(expires, deferred.publisher, deferred.client_hash);
        // After a crash it is with those it is for, or still with its session.
        let whole = deferred.stored.is_some() && publication.qos != QoS::AtMostOnce;
        let along = if whole { Along::WhatFollows } else { Along::Nothing };
        self.core.tally.traffic.add(Traffic::WillsPublished);
        self.publish_own(&publication, along);
    }
}
