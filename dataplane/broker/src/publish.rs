//! PUBLISH from a client: checked, routed, settled, acknowledged.

use pelton_base::Key;
use pelton_mqtt::{FixedHeader, PacketId, Publish, QoS, RawTopic, ReasonCode, Version};

use crate::access::{Action, Decision};
use crate::broker::{Broker, Handled};
use crate::counters::{Dropped, Ended, Traffic};
use crate::link::Hold;
use crate::message::{Publication, Publisher};
use crate::persist::route::Along;
use crate::retained::Stamp;
use crate::router::{ShardMask, TopicId};
use crate::settle::Settlement;
use crate::slot::Slot;

impl Broker {
    /// Publishes wait: a fan-out is not through, or another shard has as much staged as it may.
    #[inline]
    pub fn is_congested(&self) -> bool {
        self.deliveries_left == 0
            || !self.fanouts.is_empty()
            || self.peers.is_congested()
            || self.core.persist.congested
    }

    /// Whether nothing but storage is congested, and the publish does not need it: QoS 0, not retained.
    #[cold]
    fn passes_storage(&self, header: FixedHeader) -> bool {
        header.first & 0x07 == 0
            && self.deliveries_left != 0
            && self.fanouts.is_empty()
            && !self.peers.is_congested()
    }

    /// Leaves a packet in front of its connection until there is room: what follows it waits, too, so that order
    /// holds for every topic [MQTT-4.6.0-6].
    pub(crate) fn hold_for_room(&mut self, key: Key) -> Handled {
        if let Some(link) = self.core.links.get_mut(key) {
            link.set_hold(Some(Hold::Congestion), key, &mut self.core.out);
        }
        self.waiting_for_room = true;
        Handled::Hold(Hold::Congestion)
    }

    #[inline]
    pub(crate) fn handle_publish(&mut self, key: Key, header: FixedHeader, body: &[u8]) -> Handled {
        if self.is_congested() && !self.passes_storage(header) {
            return self.hold_for_room(key);
        }
        let Some(link) = self.core.links.get(key) else { return Handled::Ended };
        if link.is_v5() {
            return match Publish::decode_from_client(Version::V5, header.first, body) {
                Ok(publish) => self.handle_publish_v5(key, publish),
                Err(error) => self.end_malformed(key, error),
            };
        }
        // What 3.1 and 3.1.1 have is the same; named here, so that nothing of v5 is looked at.
        let publish = match Publish::decode_from_client(Version::V311, header.first, body) {
            Ok(publish) => publish,
            Err(error) => return self.end_malformed(key, error),
        };
        let (publisher, client_hash) = (link.publisher, link.client_hash);
        let publication = Publication {
            topic: publish.topic.as_bytes(),
            forwarded: b"",
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            expires: self.core.expires(None),
            publisher,
            client_hash,
            wire: Some(body),
        };
        self.take_publish(key, publish.topic, publish.packet_id, &publication)
    }

    /// What only v5 has: alias, expiry, payload format, properties to pass on.
    fn handle_publish_v5(&mut self, key: Key, publish: Publish<'_>) -> Handled {
        let properties = publish.properties;
        // The two buffers are used again by the next publish; they leave the scratch while this one runs.
        let mut named = std::mem::take(&mut self.scratch.topic);
        let mut forwarded_scratch = std::mem::take(&mut self.scratch.forwarded);
        forwarded_scratch.clear();
        let forwarded = properties.forwardable(&mut forwarded_scratch);
        let handled = match self.name_by_alias(key, &publish, &mut named) {
            Err(handled) => handled,
            Ok(topic) => {
                let Some(link) = self.core.links.get(key) else { return Handled::Ended };
                let (publisher, client_hash) = (link.publisher, link.client_hash);
                let publication = Publication {
                    topic: topic.as_bytes(),
                    forwarded,
                    payload: publish.payload,
                    qos: publish.qos,
                    retain: publish.retain,
                    expires: self.core.expires(properties.message_expiry()),
                    publisher,
                    client_hash,
                    wire: None,
                };
                if self.core.settings.payload_format_checked
                    && properties.payload_is_utf8()
                    && std::str::from_utf8(publish.payload).is_err()
                {
                    // Section 3.3.2.3.2: the receiver may check.
                    self.core.tally.dropped.add(Dropped::PayloadFormat);
                    self.refuse(key, publish.packet_id, publish.qos, ReasonCode::PayloadFormatInvalid)
                } else {
                    self.take_publish(key, topic, publish.packet_id, &publication)
                }
            }
        };
        self.scratch.topic = named;
        self.scratch.forwarded = forwarded_scratch;
        handled
    }

    /// The topic of a v5 publish: its own, or the one its alias stands for.
    fn name_by_alias<'a>(
        &mut self,
        key: Key,
        publish: &Publish<'a>,
        named: &'a mut Vec<u8>,
    ) -> Result<RawTopic<'a>, Handled> {
        let Some(alias) = publish.properties.topic_alias() else { return Ok(publish.topic) };
        let Some(link) = self.core.links.get_mut(key) else { return Err(Handled::Ended) };
        // [MQTT-3.3.2-9]
        if alias > self.core.settings.topic_alias_maximum {
            return Err(self.end(key, Ended::TopicAliasInvalid, Some(ReasonCode::TopicAliasInvalid)));
        }
        if publish.topic.is_empty() {
            named.clear();
            match link.extra.as_ref().and_then(|extra| extra.aliases_in.get(alias)) {
                Some(topic) => named.extend_from_slice(topic),
                // Section 3.3.2.1: a protocol error.
                None => return Err(self.end(key, Ended::ProtocolError, Some(ReasonCode::ProtocolError))),
            }
            return Ok(RawTopic::new(named));
        }
        if let Err(error) = publish.topic.check() {
            return Err(self.end_malformed(key, error));
        }
        // [MQTT-3.3.2-12]
        link.extra().aliases_in.set(alias, publish.topic.as_bytes());
        Ok(publish.topic)
    }

    #[inline]
    fn take_publish(
        &mut self,
        key: Key,
        raw: RawTopic<'_>,
        packet_id: Option<PacketId>,
        publication: &Publication<'_>,
    ) -> Handled {
        let Some(link) = self.core.links.get_mut(key) else { return Handled::Ended };
        // Devices publish to one topic again and again: comparing it with the last one is cheaper than hashing.
        let topic = if self.router.is_topic(link.last_topic, publication.topic) {
            link.last_topic
        } else if let Some(topic) = self.router.known_topic(publication.topic) {
            link.last_topic = topic;
            topic
        } else {
            match self.learn_topic(key, raw, packet_id, publication.qos) {
                Ok(topic) => topic,
                Err(handled) => return handled,
            }
        };
        if publication.topic[0] == b'$' && !self.may_publish_dollar(publication.topic) {
            return self.refuse_unauthorized(key, packet_id, publication.qos);
        }
        if !self.core.settings.access.is_open() {
            match self.decide(key, Action::Publish, publication.topic) {
                Decision::Allow => self.forget_question(key),
                Decision::Deny(_) => {
                    self.forget_question(key);
                    return self.refuse_unauthorized(key, packet_id, publication.qos);
                }
                Decision::Pending => return Handled::Hold(Hold::Access),
            }
        }
        if publication.qos > self.core.settings.qos_max {
            // [MQTT-3.2.2-11]
            return self.end(key, Ended::NotSupported, Some(ReasonCode::QosNotSupported));
        }
        if publication.retain && !self.core.settings.retain_available {
            // [MQTT-3.2.2-14]
            return self.end(key, Ended::NotSupported, Some(ReasonCode::RetainNotSupported));
        }
        self.core.tally.traffic.add(Traffic::PublishIn);
        self.core.tally.traffic.add_n(Traffic::PublishBytesIn, publication.payload.len() as u64);
        if packet_id.is_some()
            && let Some(reason) = self.storage_refuses(publication)
        {
            return self.refuse_for_storage(key, packet_id, publication, reason);
        }
        // [MQTT-3.3.4-1]
        match packet_id {
            None => {
                let taken = if self.is_stored(publication) {
                    self.distribute_stored(publication, topic, None, Along::Nothing)
                } else {
                    self.distribute(publication, topic, None)
                };
                if let Taken::Waits(_) = taken {
                    self.note_published_far(key);
                }
                Handled::Done
            }
            Some(packet_id) => self.take_acknowledged(key, topic, packet_id, publication),
        }
    }

    /// A topic seen for the first time: checked, and remembered.
    #[cold]
    fn learn_topic(
        &mut self,
        key: Key,
        raw: RawTopic<'_>,
        packet_id: Option<PacketId>,
        qos: QoS,
    ) -> Result<TopicId, Handled> {
        let name = match raw.check() {
            Ok(name) => name,
            Err(error) => return Err(self.end_malformed(key, error)),
        };
        if !self.is_within_limits(name.as_str()) {
            return Err(self.refuse(key, packet_id, qos, ReasonCode::TopicNameInvalid));
        }
        Ok(self.router.topic(name.as_str().as_bytes()))
    }

    /// Whether a topic or filter is within the operator's limits.
    pub(crate) fn is_within_limits(&self, name: &str) -> bool {
        name.len() <= usize::from(self.core.settings.topic_bytes_max)
            && name.bytes().filter(|&byte| byte == b'/').count()
                < usize::from(self.core.settings.topic_levels_max)
    }

    /// `$SYS` belongs to the broker [MQTT-4.7.2-1]; other `$` topics are the operator's to open.
    fn may_publish_dollar(&self, topic: &[u8]) -> bool {
        self.core.settings.dollar_topics_allowed && !(topic == b"$SYS" || topic.starts_with(b"$SYS/"))
    }

    /// QoS 1 and 2.
    fn take_acknowledged(
        &mut self,
        key: Key,
        topic: TopicId,
        packet_id: PacketId,
        publication: &Publication<'_>,
    ) -> Handled {
        let exactly_once = publication.qos == QoS::ExactlyOnce;
        let Some(link) = self.core.links.get(key) else { return Handled::Ended };
        let session_key = link.session;
        let Some(session) = self.core.sessions.get_mut(session_key) else { return Handled::Ended };
        // [MQTT-4.3.2-5] Identifiers of QoS 1 are not remembered.
        if exactly_once && session.is_unreleased(packet_id) {
            self.repeat_record(key, session_key, packet_id);
            return Handled::Done;
        }
        let under_way = usize::from(link.unacknowledged) + session.unreleased();
        if under_way >= usize::from(self.core.settings.receive_maximum) {
            if link.is_v5() {
                // [MQTT-3.3.4-9]
                let why = Ended::ReceiveMaximumExceeded;
                return self.end(key, why, Some(ReasonCode::ReceiveMaximumExceeded));
            }
            // A v3 client knows no such limit. Its QoS 1 publishes wait for those before them; QoS 2 is
            // bounded by the identifiers there are, and its PUBRELs must get through.
            if link.unacknowledged != 0 && !exactly_once {
                return self.hold_for_room(key);
            }
        }
        let which = if exactly_once { Traffic::PublishInQos2 } else { Traffic::PublishInQos1 };
        self.core.tally.traffic.add(which);
        let mut along = Along::Nothing;
        if exactly_once {
            session.window().unreleased.insert(packet_id);
            if session.is_stored() {
                along = Along::Received(session.id(), packet_id);
            }
        }
        let settlement = Settlement::new(key, session_key, packet_id, exactly_once);
        let taken = if self.core.persist.is_on() {
            self.distribute_stored(publication, topic, Some(settlement), along)
        } else {
            self.distribute(publication, topic, Some(settlement))
        };
        // [MQTT-4.3.2-4] [MQTT-4.3.3-8]
        let reason = match taken {
            Taken::Settled { matched: true } => ReasonCode::Success,
            Taken::Settled { matched: false } => ReasonCode::NoMatchingSubscribers,
            Taken::Waits(settle) => {
                if exactly_once && let Some(session) = self.core.sessions.get_mut(session_key) {
                    session.window().settling.push((packet_id, settle));
                }
                self.acknowledge_later(key, packet_id, exactly_once, settle);
                self.note_published_far(key);
                return Handled::Done;
            }
        };
        self.acknowledge(key, packet_id, exactly_once, reason);
        Handled::Done
    }

    /// A QoS 2 publish that is known: it is not distributed again [MQTT-4.3.3-10]; PUBREC is repeated, now or
    /// when it is settled.
    #[cold]
    fn repeat_record(&mut self, key: Key, session: Key, packet_id: PacketId) {
        let settle = self
            .core
            .sessions
            .get(session)
            .and_then(|session| session.window.as_ref())
            .and_then(|window| window.settling.iter().find(|(id, _)| *id == packet_id))
            .map(|&(_, settle)| settle);
        match settle.and_then(|settle| self.move_settlement(settle, key).map(|moved| (settle, moved))) {
            Some((settle, moved)) => {
                if moved {
                    self.acknowledge_later(key, packet_id, true, settle);
                }
            }
            None => self.acknowledge(key, packet_id, true, ReasonCode::Success),
        }
    }

    fn refuse_unauthorized(&mut self, key: Key, packet_id: Option<PacketId>, qos: QoS) -> Handled {
        self.core.tally.dropped.add(Dropped::NotAuthorized);
        let is_v5 = self.core.links.get(key).is_some_and(|link| link.is_v5());
        match packet_id {
            // A v3 client cannot be told; [MQTT311-3.3.5-2] leaves a positive acknowledgement or the end of
            // the connection, and a device that is cut off for one topic only comes back to do it again.
            Some(packet_id) if !is_v5 => {
                if qos == QoS::ExactlyOnce
                    && let Some(session) = self.session_of(key)
                {
                    session.window().unreleased.insert(packet_id);
                }
                self.acknowledge(key, packet_id, qos == QoS::ExactlyOnce, ReasonCode::Success);
                Handled::Done
            }
            Some(packet_id) => {
                self.acknowledge(key, packet_id, qos == QoS::ExactlyOnce, ReasonCode::NotAuthorized);
                Handled::Done
            }
            None => Handled::Done,
        }
    }

    /// Refuses a publish for what it is: told in the acknowledgement if there is one, else by DISCONNECT.
    fn refuse(&mut self, key: Key, packet_id: Option<PacketId>, qos: QoS, reason: ReasonCode) -> Handled {
        match packet_id {
            Some(packet_id) if self.core.links.get(key).is_some_and(|link| link.is_v5()) => {
                self.acknowledge(key, packet_id, qos == QoS::ExactlyOnce, reason);
                Handled::Done
            }
            _ => {
                let why = match reason {
                    ReasonCode::TopicNameInvalid => Ended::TopicNameInvalid,
                    _ => Ended::ProtocolError,
                };
                self.end(key, why, Some(reason))
            }
        }
    }

    /// Gives a publication to everybody who wants it, here and on the other shards, and to the home of its
    /// topic's retained message. With `settlement`, tells whether the publisher can be acknowledged at once.
    #[inline]
    pub(crate) fn distribute(
        &mut self,
        publication: &Publication<'_>,
        topic: TopicId,
        settlement: Option<Settlement>,
    ) -> Taken {
        // [MQTT-3.3.2-3] [MQTT-4.5.0-1]
        let matched = self.router.matched(topic);
        let (wanted, mut shards) = (matched.wanted(), matched.shards);
        let (mut home, mut stamp) = (None, 0);
        // [MQTT-3.3.1-8] Only then.
        if publication.retain {
            stamp = self.next_stamp(publication);
            let shard = Slot::of(self.key, publication.topic).shard(self.peers.shards());
            if shard == self.me {
                self.set_retained(publication, Stamp::new(self.me, stamp));
            } else {
                home = Some(shard);
                shards = shards.and(ShardMask::one(shard));
            }
        }
        let matched = self.route_here(publication, topic, wanted);
        if shards.is_empty() {
            if !matched && publication.publisher != Publisher::NOBODY {
                self.core.tally.traffic.add(Traffic::NoSubscribers);
            }
            return Taken::Settled { matched };
        }
        let settle = match settlement {
            Some(settlement) => self.settlements.insert(settlement.waits(shards.count(), matched)),
            None => Key::NONE,
        };
        for shard in shards.iter() {
            self.peers.publish(shard, publication, settle, home == Some(shard), stamp);
        }
        self.core.tally.traffic.add_n(Traffic::MeshOut, u64::from(shards.count()));
        Taken::Waits(settle)
    }

    /// Other shards have something of this connection's: its client id is given back behind a fence.
    fn note_published_far(&mut self, key: Key) {
        if let Some(link) = self.core.links.get_mut(key) {
            link.published_far = true;
        }
    }

    /// Storage does not take anything now. A v5 client is told; a v3 client cannot be, so its packet waits
    /// until it can be taken.
    #[cold]
    fn refuse_for_storage(
        &mut self,
        key: Key,
        packet_id: Option<PacketId>,
        publication: &Publication<'_>,
        reason: ReasonCode,
    ) -> Handled {
        match packet_id {
            Some(packet_id) if self.core.links.get(key).is_some_and(|link| link.is_v5()) => {
                let exactly_once = publication.qos == QoS::ExactlyOnce;
                if exactly_once
                    && self.session_of(key).is_some_and(|session| session.is_unreleased(packet_id))
                {
                    // Taken before: the answer is that of then.
                    let session = self.core.links.get(key).map_or(Key::NONE, |link| link.session);
                    self.repeat_record(key, session, packet_id);
                    return Handled::Done;
                }
                self.core.tally.dropped.add(Dropped::NotStored);
                self.acknowledge(key, packet_id, exactly_once, reason);
                Handled::Done
            }
            _ => self.hold_for_storage(key),
        }
    }

    /// A publish by the broker itself (a will, `$SYS`, the API): nobody is acknowledged.
    pub(crate) fn publish_own(&mut self, publication: &Publication<'_>, along: Along) -> Taken {
        let topic = self.router.topic(publication.topic);
        if self.is_stored(publication) {
            return self.distribute_stored(publication, topic, None, along);
        }
        self.distribute(publication, topic, None)
    }
}

/// How far a publication has come when `distribute` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All is done here.
    Settled {
        /// Somebody wanted it.
        matched: bool,
    },
    /// Other shards have it; the record is settled when they answer. `Key::NONE` if nobody waits.
    Waits(Key),
}
