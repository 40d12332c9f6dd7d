//! CONNECT: checked, allowed, its client id claimed from its home, answered.

use pelton_base::Key;
use pelton_mqtt::{
    ConnAck, Connect, ConnectRefusal, ConnectReturnCode, FixedHeader, PacketType, QoS, ReasonCode, Version,
};

use crate::access::{Action, Decision, Who};
use crate::alias::AliasesOut;
use crate::broker::{Broker, Handled};
use crate::claim::Claimant;
use crate::counters::{Ended, Traffic};
use crate::effects::{Ask, Asked, Password};
use crate::link::{Hold, State};
use crate::peers::Item;
use crate::session::Session;
use crate::slot::Slot;
use crate::will::Will;

/// A CONNECT that was accepted as far as it goes, while its client id is being claimed.
#[derive(Debug)]
pub(crate) struct ConnectRequest {
    pub(crate) version: Version,
    clean_start: bool,
    pub(crate) client_id: Box<str>,
    /// The broker chose the client id.
    assigned: bool,
    keep_alive: u16,
    /// The keep-alive the client is told to use instead.
    server_keep_alive: Option<u16>,
    session_expiry: u32,
    /// The session expiry the client is told of, if it is not what it asked for.
    session_expiry_told: Option<u32>,
    receive_maximum: u16,
    packet_bytes_max: u32,
    topic_alias_maximum: u16,
    wants_response_information: bool,
    will: Option<Box<Will>>,
    user_name: Option<Box<str>>,
    /// The session that is being stored before CONNACK, and whether it was there before.
    pub(crate) session: Key,
    pub(crate) resumed: bool,
}

impl Broker {
    /// The first packet of a connection: it must be a CONNECT [MQTT-3.1.0-1].
    #[cold]
    pub(crate) fn handle_first(&mut self, key: Key, header: FixedHeader, body: &[u8]) -> Handled {
        if header.packet_type != PacketType::Connect {
            return self.end(key, Ended::NotConnect, None);
        }
        let connect = match Connect::decode(body) {
            Ok(connect) => connect,
            Err(error) => {
                match error.connect_refusal() {
                    ConnectRefusal::Close => {}
                    ConnectRefusal::Reason(reason) => self.refuse_connect(key, Version::V5, reason),
                    ConnectRefusal::ReturnCode(code) => {
                        let reason = match code {
                            ConnectReturnCode::IdentifierRejected => ReasonCode::ClientIdentifierNotValid,
                            _ => ReasonCode::UnsupportedProtocolVersion,
                        };
                        self.refuse_connect(key, error.connect_version().unwrap_or(Version::V311), reason);
                    }
                }
                let why = match error.reason() {
                    ReasonCode::UnsupportedProtocolVersion => Ended::UnsupportedVersion,
                    ReasonCode::ClientIdentifierNotValid => Ended::ClientIdInvalid,
                    ReasonCode::ProtocolError => Ended::ProtocolError,
                    _ => Ended::Malformed,
                };
                return self.end(key, why, None);
            }
        };
        if let Err((why, reason)) = self.check_connect(&connect) {
            self.refuse_connect(key, connect.version, reason);
            return self.end(key, why, None);
        }
        // A session that may be resumed, now or later, lives at its home; one that is certain to end with this
        // connection lives where the connection is.
        let session_expiry = self.session_expiry(&connect);
        let ends_here = session_expiry == 0 && connect.clean_start;
        let client_hash = self.key.hash(connect.client_id.as_bytes());
        let home = if connect.client_id.is_empty() {
            self.me
        } else {
            Slot::of_hash(client_hash).shard(self.peers.shards())
        };
        if home != self.me && !ends_here {
            return Handled::HandOver(home);
        }
        match self.decide_connect(key, &connect) {
            Decision::Allow => self.forget_question(key),
            Decision::Deny(reason) => {
                self.refuse_connect(key, connect.version, reason);
                return self.end(key, Ended::NotAuthorized, None);
            }
            Decision::Pending => return Handled::Hold(Hold::Access),
        }
        if let Some(will) = &connect.will
            && self.will_is_refused(&connect, will.topic.as_str())
        {
            self.refuse_connect(key, connect.version, ReasonCode::NotAuthorized);
            return self.end(key, Ended::NotAuthorized, None);
        }
        let request = self.accept_connect(&connect, session_expiry);
        let Some(link) = self.core.links.get_mut(key) else { return Handled::Ended };
        link.enter(State::Claiming, key, &mut self.core.out);
        link.version = request.version;
        let client_id = request.client_id.clone();
        link.client_hash = if request.assigned { self.key.hash(client_id.as_bytes()) } else { client_hash };
        link.extra().connect = Some(Box::new(request));
        if home == self.me {
            self.claim_here(&client_id, Claimant::Here(key));
        } else {
            link.claimed_from = home;
            let item = Item::Claim { link: key, client_id: client_id.len() as u16 };
            self.peers.send(home, item, &[client_id.as_bytes()]);
        }
        Handled::Done
    }

    /// What the settings and the standard do not allow in a well-formed CONNECT [MQTT-3.1.4-2].
    fn check_connect(&self, connect: &Connect<'_>) -> Result<(), (Ended, ReasonCode)> {
        let settings = &self.core.settings;
        // [MQTT-3.1.3-5] [MQTT-3.1.3-8] [MQTT311-3.1.3-9]: an id the server does not accept. Control characters
        // make ids that cannot be typed or printed by an operator; the standard lets a receiver refuse them
        // (section 1.5.4).
        let id = connect.client_id;
        if id.len() > usize::from(settings.client_id_bytes_max) || id.chars().any(char::is_control) {
            return Err((Ended::ClientIdInvalid, ReasonCode::ClientIdentifierNotValid));
        }
        if connect.properties.authentication_method.is_some() {
            // [MQTT-4.12.0-1]
            return Err((Ended::AuthenticationMethod, ReasonCode::BadAuthenticationMethod));
        }
        let Some(will) = &connect.will else { return Ok(()) };
        if will.qos > settings.qos_max {
            // [MQTT-3.2.2-12]
            return Err((Ended::NotSupported, ReasonCode::QosNotSupported));
        }
        if will.retain && !settings.retain_available {
            // [MQTT-3.2.2-13]
            return Err((Ended::NotSupported, ReasonCode::RetainNotSupported));
        }
        if !self.is_within_limits(will.topic.as_str()) || will.topic.as_str().starts_with('$') {
            return Err((Ended::TopicNameInvalid, ReasonCode::TopicNameInvalid));
        }
        if settings.payload_format_checked
            && will.properties.payload_is_utf8()
            && std::str::from_utf8(will.payload).is_err()
        {
            return Err((Ended::ProtocolError, ReasonCode::PayloadFormatInvalid));
        }
        Ok(())
    }

    fn will_is_refused(&self, connect: &Connect<'_>, topic: &str) -> bool {
        let who = Who { client_id: connect.client_id, user_name: connect.user_name };
        matches!(self.core.settings.access.check(Action::Publish, who, topic), Decision::Deny(_))
    }

    /// The session expiry a CONNECT gets, in seconds.
    fn session_expiry(&self, connect: &Connect<'_>) -> u32 {
        let settings = &self.core.settings;
        let asked = if connect.version.is_v5() {
            connect.properties.session_expiry.unwrap_or(0)
        } else if connect.clean_start {
            0
        } else {
            settings.session_expiry_v3
        };
        asked.min(settings.session_expiry_max)
    }

    /// A client id of the broker's choice [MQTT-3.1.3-6] [MQTT-3.2.2-16], at home on this shard. 128 random bits
    /// need no table to be unique.
    fn assign_client_id(&mut self) -> Box<str> {
        loop {
            let id = format!("auto-{:016x}{:016x}", self.rng.u64(), self.rng.u64());
            if Slot::of(self.key, id.as_bytes()).shard(self.peers.shards()) == self.me {
                return id.into();
            }
        }
    }

    /// The session and connection a CONNECT asks for, within what the settings allow.
    fn accept_connect(&mut self, connect: &Connect<'_>, session_expiry: u32) -> ConnectRequest {
        let settings = self.core.settings.clone();
        let is_v5 = connect.version.is_v5();
        let properties = &connect.properties;
        let assigned = connect.client_id.is_empty();
        let client_id = if assigned { self.assign_client_id() } else { connect.client_id.into() };
        let session_expiry_told =
            (is_v5 && properties.session_expiry.unwrap_or(0) != session_expiry).then_some(session_expiry);
        let cap = settings.keep_alive_max;
        let server_keep_alive =
            (is_v5 && cap != 0 && (connect.keep_alive == 0 || connect.keep_alive > cap)).then_some(cap);
        ConnectRequest {
            version: connect.version,
            clean_start: connect.clean_start,
            client_id,
            assigned,
            // [MQTT-3.2.2-22]
            keep_alive: server_keep_alive.unwrap_or(connect.keep_alive),
            server_keep_alive,
            session_expiry,
            session_expiry_told,
            receive_maximum: properties.receive_maximum.unwrap_or(u16::MAX).min(settings.inflight_max),
            packet_bytes_max: properties.maximum_packet_size.unwrap_or(u32::MAX),
            topic_alias_maximum: properties
                .topic_alias_maximum
                .unwrap_or(0)
                .min(settings.topic_alias_out_maximum),
            wants_response_information: properties.request_response_information.unwrap_or(false),
            will: connect.will.as_ref().map(|will| Box::new(Will::new(will, &mut self.scratch.forwarded))),
            user_name: connect.user_name.map(Into::into),
            session: Key::NONE,
            resumed: false,
        }
    }

    /// CONNACK with a refusal; the connection is ended by the caller [MQTT-3.2.2-7] [MQTT-4.12.0-4], and what came
    /// behind the CONNECT with it [MQTT-3.1.4-6]. No CONNACK has a reason string or user properties, so none can
    /// be too large by them [MQTT-3.2.2-19] [MQTT-3.2.2-20].
    pub(crate) fn refuse_connect(&mut self, key: Key, version: Version, reason: ReasonCode) {
        let mut connack = ConnAck::new(false, reason);
        if matches!(reason, ReasonCode::UseAnotherServer | ReasonCode::ServerMoved | ReasonCode::ServerBusy) {
            connack.properties.server_reference = self.core.settings.server_reference.as_deref();
        }
        self.core.tally.traffic.add(Traffic::ControlOut);
        self.core.out.append(key.index, |bytes| connack.encode(version, bytes));
    }

    /// The client id is the connection's: its session is resumed or made, and CONNACK sent.
    pub(crate) fn establish(&mut self, key: Key) {
        let Some(link) = self.core.links.get_mut(key) else { return };
        let Some(mut request) = link.extra.as_mut().and_then(|extra| extra.connect.take()) else { return };
        let client_hash = link.client_hash;
        // Its timer may not have come to it yet: after a start a client is faster.
        let existing =
            self.core.sessions.find(&request.client_id).filter(|&session| self.has_come_in_time(session));
        let resumed = match existing {
            // [MQTT-3.1.2-4] [MQTT-3.1.4-4]
            Some(session) if request.clean_start => {
                self.end_session(session);
                None
            }
            // [MQTT-3.1.2-5]
            other => other,
        };
        let session_key = match resumed {
            Some(session) => session,
            // [MQTT-3.1.2-6]
            None => {
                let slot = Slot::of_hash(client_hash);
                let serial = self.next_serial();
                let mut session = Session::new(&request.client_id, slot, serial);
                session.set_stored(self.core.persist.is_on() && request.session_expiry != 0);
                self.core.sessions.insert(client_hash, session)
            }
        };
        self.session_timers.clear(session_key.index);
        let Some(session) = self.core.sessions.get_mut(session_key) else { return };
        session.expiry_seconds = request.session_expiry;
        session.disconnect(pelton_base::Wall::NEVER);
        let stored = session.is_stored();
        // [MQTT-3.1.2-7] A will that was delayed is not sent: the session goes on [MQTT-3.1.3-9].
        self.core.sessions.set_will(session_key, request.will.take());
        request.session = session_key;
        request.resumed = resumed.is_some();
        if self.core.persist.endings.holds(client_hash, stored) {
            if !request.resumed
                && let Some(session) = self.core.sessions.get_mut(session_key)
            {
                session.set_stored(false);
            }
            return self.wait_for_end(key, request);
        }
        if stored {
            return self.store_connect(key, request);
        }
        self.finish_connect(key, *request);
    }

    /// Does what has become due of a session whose client comes back; whether the session is still there.
    fn has_come_in_time(&mut self, session_key: Key) -> bool {
        let Some(session) = self.core.sessions.get(session_key) else { return false };
        if session.expires() <= self.core.wall {
            // [MQTT-3.1.2-23]
            self.core.tally.traffic.add(Traffic::SessionsExpired);
            self.end_session(session_key);
            return false;
        }
        self.publish_will_if_due(session_key);
        true
    }

    /// The session is as durable as it will be: its client is told.
    pub(crate) fn finish_connect(&mut self, key: Key, request: ConnectRequest) {
        let (session_key, resumed) = (request.session, request.resumed);
        let Some(session) = self.core.sessions.get_mut(session_key) else { return };
        debug_assert!(session.link().is_none(), "its former connection has left");
        session.connect(key);
        let publisher = session.serial;
        self.core.census.online += 1;
        let Some(link) = self.core.links.get_mut(key) else { return };
        link.session = session_key;
        link.publisher = publisher;
        link.enter(State::Live, key, &mut self.core.out);
        link.send_window = request.receive_maximum.max(1);
        link.packet_bytes_max = request.packet_bytes_max;
        link.set_heard(self.core.mono_ms);
        self.core.out.set_heard(key.index, self.core.mono_ms);
        // [MQTT-3.1.2-22] One and a half times the Keep Alive.
        link.silence_ms_max = u32::from(request.keep_alive) * 1500;
        // [MQTT-3.1.2-27]
        if request.topic_alias_maximum != 0 {
            let aliases = AliasesOut::new(request.topic_alias_maximum, self.key);
            link.extra().aliases_out = Some(aliases);
        }
        if let Some(user_name) = request.user_name {
            link.extra().user_name = Some(user_name);
        }
        if link.extra.as_ref().is_some_and(|extra| extra.is_empty()) {
            link.extra = None;
        }
        self.link_timers.clear(key.index);
        if link.silence_ms_max != 0 {
            self.link_timers.set(key.index, self.core.mono.plus_ms(u64::from(link.silence_ms_max)));
        } else {
            // No Keep Alive: a client that vanished would be served for ever.
            self.effects.silent.push(key);
        }
        self.core.tally.connected += 1;
        let sent = self.send_connack(
            key,
            resumed,
            &ConnackTerms {
                version: request.version,
                assigned: request.assigned.then_some(&*request.client_id),
                server_keep_alive: request.server_keep_alive,
                session_expiry: request.session_expiry_told,
                wants_response_information: request.wants_response_information,
                packet_bytes_max: request.packet_bytes_max,
            },
        );
        if !sent {
            self.end(key, Ended::PacketTooLarge, None);
            return;
        }
        self.effects.resumed.push(key);
        if resumed {
            self.session_came_back(session_key);
        }
    }

    /// CONNACK: a property is sent only where it differs from what the standard takes for granted. `false` if what
    /// must be said is more than the client takes [MQTT-3.1.2-24].
    fn send_connack(&mut self, key: Key, session_present: bool, terms: &ConnackTerms<'_>) -> bool {
        let settings = self.core.settings.clone();
        // [MQTT-3.1.4-5] [MQTT-3.2.2-2] [MQTT-3.2.2-3]
        let mut connack = ConnAck::new(session_present, ReasonCode::Success);
        let properties = &mut connack.properties;
        properties.session_expiry = terms.session_expiry;
        properties.receive_maximum =
            (settings.receive_maximum != u16::MAX).then_some(settings.receive_maximum);
        // [MQTT-3.2.2-9]
        properties.maximum_qos = (settings.qos_max != QoS::ExactlyOnce).then_some(settings.qos_max);
        properties.retain_available = (!settings.retain_available).then_some(false);
        properties.maximum_packet_size =
            (settings.packet_bytes_max < pelton_mqtt::MAX_PACKET).then_some(settings.packet_bytes_max);
        // [MQTT-3.1.3-7]
        properties.assigned_client_id = terms.assigned;
        properties.topic_alias_maximum =
            (settings.topic_alias_maximum != 0).then_some(settings.topic_alias_maximum);
        properties.wildcard_subscription_available = (!settings.wildcard_available).then_some(false);
        properties.shared_subscription_available = (!settings.shared_available).then_some(false);
        properties.server_keep_alive = terms.server_keep_alive;
        let fits =
            |connack: &ConnAck<'_>| connack.encoded_len(terms.version) <= terms.packet_bytes_max as usize;
        // [MQTT-3.1.2-28]
        if terms.wants_response_information {
            connack.properties.response_information = settings.response_information.as_deref();
            if !fits(&connack) {
                connack.properties.response_information = None;
            }
        }
        if !fits(&connack) {
            return false;
        }
        self.core.tally.traffic.add(Traffic::ControlOut);
        self.core.out.append(key.index, |bytes| connack.encode(terms.version, bytes));
        true
    }

    /// A session was resumed: what was under way and what waited goes out; its groups count it in again.
    fn session_came_back(&mut self, session_key: Key) {
        let Some(session) = self.core.sessions.get(session_key) else { return };
        let groups: Vec<_> = session.groups().collect();
        self.core.come_back(session_key);
        for group in groups {
            self.tell_presence(group, session_key, true);
        }
    }

    fn decide_connect(&mut self, key: Key, connect: &Connect<'_>) -> Decision {
        match self.core.settings.access.connect(connect) {
            Decision::Pending => self.ask(key, |_| Asked::Connect {
                client_id: connect.client_id.to_owned(),
                user_name: connect.user_name.map(str::to_owned),
                password: connect.password.map(|password| Password(password.to_vec())),
            }),
            decided => decided,
        }
    }

    /// Whether a client may publish to a topic or subscribe to a filter.
    pub(crate) fn decide(&mut self, key: Key, action: Action, name: &[u8]) -> Decision {
        let Some(link) = self.core.links.get(key) else { return Decision::Pending };
        let Some(session) = self.core.sessions.get(link.session) else { return Decision::Pending };
        let name = std::str::from_utf8(name).unwrap_or_default();
        let user_name = link.extra.as_ref().and_then(|extra| extra.user_name.as_deref());
        let who = Who { client_id: session.client_id.as_str(), user_name };
        match self.core.settings.access.check(action, who, name) {
            Decision::Pending => self.ask(key, |client_id| Asked::Do {
                client_id: client_id.to_owned(),
                action,
                name: name.to_owned(),
            }),
            decided => decided,
        }
    }

    /// The answer to the next question of the packet in hand, or the question itself.
    fn ask(&mut self, key: Key, what: impl FnOnce(&str) -> Asked) -> Decision {
        let Some(link) = self.core.links.get_mut(key) else { return Decision::Pending };
        let session = link.session;
        let question = link.extra().question.get_or_insert_default();
        if let Some(&answer) = question.answers.get(question.used) {
            question.used += 1;
            return answer;
        }
        question.used = 0;
        if question.ticket.is_none() {
            self.last_ticket += 1;
            question.ticket = Some(self.last_ticket);
            let client_id = self.core.sessions.get(session).map_or("", |session| session.client_id.as_str());
            self.effects.asks.push(Ask { link: key, ticket: self.last_ticket, what: what(client_id) });
        }
        link.set_hold(Some(Hold::Access), key, &mut self.core.out);
        Decision::Pending
    }

    /// The packet in hand has all its answers.
    #[inline]
    pub(crate) fn forget_question(&mut self, key: Key) {
        if let Some(link) = self.core.links.get_mut(key)
            && let Some(extra) = &mut link.extra
        {
            extra.question = None;
        }
    }

    /// The answer to a question on access.
    pub fn handle_answer(&mut self, key: Key, ticket: u64, decision: Decision) {
        let Some(link) = self.core.links.get_mut(key) else { return };
        if let Some(question) = link.extra.as_mut().and_then(|extra| extra.question.as_mut())
            && question.ticket == Some(ticket)
        {
            question.ticket = None;
            question.answers.push(decision);
            link.set_hold(None, key, &mut self.core.out);
            self.effects.resumed.push(key);
        }
    }
}

struct ConnackTerms<'a> {
    version: Version,
    assigned: Option<&'a str>,
    server_keep_alive: Option<u16>,
    session_expiry: Option<u32>,
    wants_response_information: bool,
    packet_bytes_max: u32,
}
