//! CONNECT and SUBSCRIBE with storage: their answers wait until what they promise is durable.

use pelton_base::Key;
use pelton_mqtt::{ReasonCode, TopicFilter};
use pelton_storage_ops::OpKind;

use crate::broker::Broker;
use crate::claim::Claimant;
use crate::connect::ConnectRequest;
use crate::counters::Ended;
use crate::link::State;
use crate::persist::promise::What;
use crate::router::Options;

impl Broker {
    /// Stores the session a CONNECT is about; CONNACK follows when it is durable.
    pub(crate) fn store_connect(&mut self, key: Key, request: Box<ConnectRequest>) {
        let session = request.session;
        self.core.persist.connecting.insert(session.index, key);
        if let Some(link) = self.core.links.get_mut(key) {
            link.extra().connect = Some(request);
        }
        let first = self.core.persist.number();
        self.put_session(session);
        self.core.persist.promise(first, u32::MAX, What::Connack(key));
    }

    /// The session of a connection is stored, or could not be. A session that storage has goes on all the
    /// same: subscribers are not to suffer from a full disk.
    pub(crate) fn connect_is_stored(&mut self, key: Key, failed: bool) {
        let Some(link) = self.core.links.get_mut(key) else { return };
        if link.state() != State::Claiming {
            return;
        }
        let Some(request) = link.extra.as_mut().and_then(|extra| extra.connect.take()) else { return };
        self.core.persist.connecting.remove(&request.session.index);
        if !failed && let Some(session) = self.core.sessions.get_mut(request.session) {
            session.set_kept();
        }
        if self.core.sessions.get(request.session).is_some_and(|session| session.is_kept()) {
            return self.finish_connect(key, *request);
        }
        self.refuse_connect(key, request.version, ReasonCode::QuotaExceeded);
        drop(self.core.sessions.take_will(request.session));
        if let Some(session) = self.core.sessions.get_mut(request.session) {
            // Storage does not have it.
            session.set_stored(false);
        }
        self.end_session(request.session);
        self.give_back(key, &request.client_id);
        self.end(key, Ended::NotStored, None);
    }

    /// A connection that waited for its CONNACK is gone: its session waits for another, as it was before.
    pub(crate) fn connect_is_given_up(&mut self, session: Key) {
        if session.is_none() {
            return;
        }
        self.core.persist.connecting.remove(&session.index);
        drop(self.core.sessions.take_will(session));
        let Some(entry) = self.core.sessions.get(session) else { return };
        if entry.is_stored() {
            self.go_offline(session);
        } else {
            // Nobody was told of it.
            self.end_session(session);
        }
    }

    /// A CONNECT that begins anew waits until what its client had before is gone.
    pub(crate) fn wait_for_end(&mut self, key: Key, request: Box<ConnectRequest>) {
        let hash = self.core.sessions.hash(&request.client_id);
        self.core.persist.connecting.insert(request.session.index, key);
        self.core.persist.endings.wait(hash, Claimant::Here(key));
        if let Some(link) = self.core.links.get_mut(key) {
            link.extra().connect = Some(request);
        }
    }

    /// What the client of a connection had before is gone: CONNECT goes on.
    pub(crate) fn former_session_is_gone(&mut self, key: Key) {
        let Some(link) = self.core.links.get_mut(key) else { return };
        if link.state() != State::Claiming {
            return;
        }
        let Some(request) = link.extra.as_mut().and_then(|extra| extra.connect.take()) else { return };
        self.core.persist.connecting.remove(&request.session.index);
        let Some(session) = self.core.sessions.get_mut(request.session) else { return };
        session.set_stored(session.is_persistent());
        if session.is_stored() {
            return self.store_connect(key, request);
        }
        self.finish_connect(key, *request);
    }

    /// Stages a subscription of a stored session.
    pub(crate) fn put_subscription(
        &mut self,
        session: Key,
        filter: TopicFilter<'_>,
        options: Options,
        identifier: u32,
    ) {
        let Some(session) = self.core.sessions.get(session).filter(|session| session.is_stored()) else {
            return;
        };
        let text = filter.as_str().as_bytes();
        let kind = OpKind::PutSubscription {
            session: session.id(),
            filter: text.len() as u16,
            options: options.bits(),
            identifier,
        };
        self.core.persist.push(kind, &[text]);
    }

    /// Stages the end of a subscription of a stored session.
    pub(crate) fn end_subscription(&mut self, session: Key, filter: TopicFilter<'_>) {
        let Some(session) = self.core.sessions.get(session).filter(|session| session.is_stored()) else {
            return;
        };
        let text = filter.as_str().as_bytes();
        let kind = OpKind::EndSubscription { session: session.id(), filter: text.len() as u16 };
        self.core.persist.push(kind, &[text]);
    }

    /// What was staged from `first` on is promised to a SUBSCRIBE; whether there is anything.
    pub(crate) fn promise_suback(&mut self, first: u64, place: Key) -> bool {
        let staged = self.core.persist.number() != first;
        if staged {
            self.core.persist.promise(first, u32::MAX, What::Suback(place));
        }
        staged
    }

    /// What was staged from `first` on is promised to an UNSUBSCRIBE: its answer waits. Gives it back if
    /// there is nothing to wait for.
    pub(crate) fn promise_unsuback(&mut self, first: u64, link: Key, answer: Vec<u8>) -> Option<Vec<u8>> {
        if self.core.persist.number() == first {
            return Some(answer);
        }
        let answer = What::Unsuback(link, answer.into_boxed_slice());
        self.core.persist.promise(first, u32::MAX, answer);
        None
    }
}
