//! The delivery of one message to one session: now, later, or not at all.

use std::sync::Arc;

use pelton_base::{HashKey, Key, Mono, Outgoing, Wall};
use pelton_mqtt::{PacketId, PublishHead, QoS, Version};

use crate::alias::Naming;
use crate::alike::Alike;
use crate::counters::{Dropped, Tally, Traffic};
use crate::fetch::LiveTopics;
use crate::inflight::{Delivery, PacketClock};
use crate::link::Link;
use crate::links::Links;
use crate::message::{Lazy, MessageId, Messages, Publication};
use crate::persist::Persist;
use crate::queue::Queued;
use crate::router::Options;
use crate::session::{Census, Session, Sessions};
use crate::settings::{QueuePolicy, Settings};
use crate::shared::GroupRef;

/// Connections, sessions and messages: what deliveries touch, apart from the router so that a list of
/// subscribers can be walked meanwhile.
pub(crate) struct Core {
    pub(crate) links: Links,
    pub(crate) sessions: Sessions,
    pub(crate) messages: Messages,
    pub(crate) out: Outgoing,
    pub(crate) tally: Tally,
    pub(crate) census: Census,
    pub(crate) clock: PacketClock,
    pub(crate) live_topics: LiveTopics,
    pub(crate) key: HashKey,
    /// Connections whose session's queue overran where the policy is to disconnect.
    pub(crate) overrun: Vec<Key>,
    pub(crate) persist: Persist,
    /// Connections for which something waits until what is queued to them has gone.
    pub(crate) starved: Vec<Key>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) mono: Mono,
    /// The same in milliseconds, cut to 32 bits.
    pub(crate) mono_ms: u32,
    pub(crate) wall: Wall,
}

/// How a message goes to one session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) qos: QoS,
    /// The retain flag to send.
    pub(crate) retain: bool,
    /// Matched subscription identifiers.
    pub(crate) identifiers: &'a [u32],
    pub(crate) group: GroupRef,
    /// It is not a live message but was found in the retained set.
    pub(crate) is_retained: bool,
}

impl<'a> Terms<'a> {
    /// The terms of a live publish under a subscription's options.
    #[inline]
    pub(crate) fn live(publication: &Publication<'_>, options: Options, identifiers: &'a [u32]) -> Self {
        Self {
            // [MQTT-3.8.4-8]
            qos: publication.qos.min(options.qos()),
            // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
            retain: publication.retain && options.retain_as_published(),
            identifiers,
            group: GroupRef::NONE,
            is_retained: false,
        }
    }
}

/// A PUBLISH as it is written to a connection.
pub(crate) struct Outgoings<'a> {
    pub(crate) publication: &'a Publication<'a>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) identifiers: &'a [u32],
}

impl Core {
    /// When a message that is published now expires: by its own expiry in seconds, else by the operator's.
    #[inline]
    pub(crate) fn expires(&self, own: Option<u32>) -> Wall {
        let seconds = own.or(self.settings.message_expiry_default);
        seconds.map_or(Wall::NEVER, |seconds| self.wall.plus_seconds(seconds))
    }

    /// Whether a session is the publication's publisher.
    #[inline]
    pub(crate) fn is_publisher(&self, session_index: u32, publication: &Publication<'_>) -> bool {
        self.sessions.at(session_index).is_some_and(|session| session.serial == publication.publisher)
    }

    /// The identifier of a session's subscription.
    #[inline]
    pub(crate) fn identifier(&self, session_index: u32, slot: u16) -> u32 {
        self.sessions
            .at(session_index)
            .and_then(|session| session.subscriptions.get(usize::from(slot)))
            .map_or(0, |subscription| subscription.identifier())
    }

    /// Delivers a publication to a session. `lazy` stores it if it must outlive its packet.
    #[inline]
    pub(crate) fn deliver(
        &mut self,
        publication: &Publication<'_>,
        lazy: &mut Lazy,
        at: PacketClock,
        session_index: u32,
        terms: Terms<'_>,
    ) {
        let Some(session) = self.sessions.at_mut(session_index) else { return };
        if session.is_fetching() && !terms.is_retained {
            // Retained messages are on their way to it: this one is newer than what its topic may have.
            self.live_topics.note(session_index, self.key, publication);
        }
        let link_key = session.link();
        let Some(link) = self.links.get_mut(link_key) else {
            return self.deliver_offline(publication, lazy, session_index, terms);
        };
        let room = self.out.queued(link_key.index) < self.settings.outbound_bytes_max as usize;
        // [MQTT-4.3.1-1] [MQTT-4.9.0-3] No window holds QoS 0 back.
        if terms.qos == QoS::AtMostOnce {
            if !room {
                self.tally.dropped.add(Dropped::OutboundFull);
                return;
            }
            let packet = Outgoings {
                publication,
                qos: QoS::AtMostOnce,
                retain: terms.retain,
                dup: false,
                packet_id: None,
                identifiers: terms.identifiers,
            };
            let alike = lazy.alike.as_mut();
            write(&mut self.out, &mut self.tally, link, link_key.index, &packet, alike, self.wall);
            return;
        }
        if session.is_stored() {
            return self.deliver_stored(publication, lazy, at, session_index, terms);
        }
        let window = session.window.get_or_insert_default();
        if !room {
            link.starve(link_key, &mut self.starved);
        }
        // [MQTT-4.9.0-2] [MQTT-3.3.4-10] Without room in its window this message waits, and nothing else;
        // [MQTT-4.6.0-5] behind those that wait already.
        if !room || !window.queue.is_empty() || !window.inflight.is_open(link.send_window) {
            return self.enqueue(publication, lazy, session_index, terms);
        }
        let packet_id = window.inflight.identifier(at);
        let packet = Outgoings {
            publication,
            qos: terms.qos,
            retain: terms.retain,
            // [MQTT-4.3.2-2] [MQTT-4.3.3-2] Whatever it was when it came [MQTT-3.3.1-3].
            dup: false,
            packet_id: Some(packet_id),
            identifiers: terms.identifiers,
        };
        let alike = lazy.alike.as_mut().filter(|_| packet_id == at.identifier());
        if !write(&mut self.out, &mut self.tally, link, link_key.index, &packet, alike, self.wall) {
            return;
        }
        // A session that ends with its connection never sends again; a group's message may go to another.
        let keep = session.expiry_seconds != 0 || terms.group.is_some();
        let message = if keep { lazy.hold(&mut self.messages, publication) } else { MessageId::NONE };
        let mut delivery =
            Delivery::new(packet_id, terms.qos == QoS::ExactlyOnce, terms.retain, message, terms.group);
        if keep && !terms.identifiers.is_empty() {
            delivery.identifiers = Some(terms.identifiers.into());
        }
        // [MQTT-4.3.2-3] [MQTT-4.3.3-3]
        window.inflight.push(at, delivery);
    }

    #[cold]
    fn deliver_offline(
        &mut self,
        publication: &Publication<'_>,
        lazy: &mut Lazy,
        session_index: u32,
        terms: Terms<'_>,
    ) {
        if terms.qos == QoS::AtMostOnce {
            self.tally.dropped.add(Dropped::OfflineQos0);
        } else {
            self.enqueue(publication, lazy, session_index, terms);
        }
    }

    /// Puts a message in a session's queue, by the queue's bounds and policy.
    fn enqueue(
        &mut self,
        publication: &Publication<'_>,
        lazy: &mut Lazy,
        session_index: u32,
        terms: Terms<'_>,
    ) {
        let Some(session) = self.sessions.at_mut(session_index) else { return };
        if session.is_stored() {
            return self.deliver_stored(publication, lazy, PacketClock::default(), session_index, terms);
        }
        let queue = &mut session.window.get_or_insert_default().queue;
        let bytes = publication.bytes();
        let (messages_max, bytes_max) = (self.settings.queue_messages_max, self.settings.queue_bytes_max);
        while !queue.has_room(bytes, messages_max, bytes_max) {
            let oldest = match self.settings.queue_policy {
                QueuePolicy::DropOldest => queue.pop(),
                QueuePolicy::DropNewest | QueuePolicy::Disconnect => None,
            };
            let Some(oldest) = oldest else {
                self.tally.dropped.add(Dropped::QueueFullNewest);
                if self.settings.queue_policy == QueuePolicy::Disconnect && !session.link().is_none() {
                    self.overrun.push(session.link());
                }
                return;
            };
            self.tally.dropped.add(Dropped::QueueFullOldest);
            self.messages.release(oldest.message);
        }
        queue.push(Queued {
            message: lazy.hold(&mut self.messages, publication),
            qos: terms.qos,
            retain: terms.retain,
            group: terms.group,
            identifiers: (!terms.identifiers.is_empty()).then(|| terms.identifiers.into()),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            sequence: 0,
        });
        self.tally.traffic.add(Traffic::Queued);
    }

    /// The client is back: what it has of QoS 2 is released again, the rest follows by [`Core::pump`].
    pub(crate) fn come_back(&mut self, session_key: Key) {
        let Self { sessions, out, tally, .. } = self;
        let Some(session) = sessions.get_mut(session_key) else { return };
        if session.is_stored() {
            // All of it is read back.
            return self.pump(session_key);
        }
        let link = session.link();
        let Some(window) = &mut session.window else { return };
        for packet_id in window.inflight.come_back() {
            tally.traffic.add(Traffic::Retransmitted);
            tally.traffic.add(Traffic::ControlOut);
            out.append(link.index, |bytes| crate::acknowledge::encode_pubrel(packet_id, bytes));
        }
        self.pump(session_key);
    }

    /// Sends what a session has for its client while window and buffer have room: first what was under way
    /// when the client was last here, in its order [MQTT-4.4.0-1] [MQTT-4.6.0-1], then its queue.
    pub(crate) fn pump(&mut self, session_key: Key) {
        if self.sessions.get(session_key).is_some_and(|session| session.is_stored()) {
            self.pump_stored(session_key);
            return self.read_on(session_key);
        }
        let Self { links, sessions, messages, out, tally, clock, settings, starved, wall, .. } = self;
        let Some(session) = sessions.get_mut(session_key) else { return };
        let link_key = session.link();
        let Session { window: Some(window), expiry_seconds, .. } = session else { return };
        let Some(link) = links.get_mut(link_key) else { return };
        if !link.is_live() {
            return;
        }
        let limit = settings.outbound_bytes_max as usize;
        while out.queued(link_key.index) < limit
            && window.inflight.under_way() < usize::from(link.send_window)
        {
            if let Some((position, delivery)) = window.inflight.next_unsent() {
                tally.traffic.add(Traffic::Retransmitted);
                // [MQTT-4.3.3-7] What was sent once does not expire any more.
                let qos = if delivery.exactly_once { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
                let publication = messages.get(delivery.message);
                let packet = Outgoings {
                    publication: &publication,
                    qos,
                    retain: delivery.retain,
                    // [MQTT-3.3.1-1]
                    dup: true,
                    packet_id: Some(delivery.packet_id),
                    identifiers: delivery.identifiers.as_deref().unwrap_or_default(),
                };
                // The client may have come back with a smaller Maximum Packet Size [MQTT-3.1.2-25].
                if !write(out, tally, link, link_key.index, &packet, None, *wall)
                    && let Some(delivery) = window.inflight.complete(position)
                {
                    messages.release(delivery.message);
                }
                continue;
            }
            let Some(queued) = window.queue.pop() else { return };
            let publication = messages.get(queued.message);
            // [MQTT-3.3.2-5] A message that expired while it waited is not delivered.
            if publication.is_expired(*wall) {
                tally.dropped.add(Dropped::Expired);
                messages.release(queued.message);
                continue;
            }
            let at = clock.tick();
            let packet_id = window.inflight.identifier(at);
            let packet = Outgoings {
                publication: &publication,
                qos: queued.qos,
                retain: queued.retain,
                dup: false,
                packet_id: Some(packet_id),
                identifiers: queued.identifiers.as_deref().unwrap_or_default(),
            };
            if !write(out, tally, link, link_key.index, &packet, None, *wall) {
                messages.release(queued.message);
                continue;
            }
            let keep = *expiry_seconds != 0 || queued.group.is_some();
            let message = if keep {
                queued.message
            } else {
                messages.release(queued.message);
                MessageId::NONE
            };
            let mut delivery = Delivery::new(
                packet_id,
                queued.qos == QoS::ExactlyOnce,
                queued.retain,
                message,
                queued.group,
            );
            delivery.identifiers = queued.identifiers;
            window.inflight.push(at, delivery);
        }
        if out.queued(link_key.index) >= limit {
            link.starve(link_key, starved);
        }
    }
}

/// Writes a PUBLISH to a connection, in its version; `false` if the client does not take packets that large,
/// in which case the message counts as delivered [MQTT-3.1.2-25].
#[inline]
pub(crate) fn write(
    out: &mut Outgoing,
    tally: &mut Tally,
    link: &mut Link,
    index: u32,
    packet: &Outgoings<'_>,
    alike: Option<&mut Alike>,
    wall: Wall,
) -> bool {
    let written = match alike {
        Some(alike) if is_like_others(link, packet) => write_alike(out, link, index, packet, alike, wall),
        _ if link.version == Version::V5 => write_v5(out, link, index, packet, wall),
        _ => {
            out.append(index, |bytes| encode_v3(packet, bytes));
            true
        }
    };
    if !written {
        tally.dropped.add(Dropped::TooLargeForClient);
        return false;
    }
    tally.traffic.add(Traffic::PublishOut);
    tally.traffic.add_n(Traffic::PublishBytesOut, packet.publication.payload.len() as u64);
    match packet.qos {
        QoS::AtMostOnce => {}
        QoS::AtLeastOnce => tally.traffic.add(Traffic::PublishOutQos1),
        QoS::ExactlyOnce => tally.traffic.add(Traffic::PublishOutQos2),
    }
    true
}

/// The first byte of a PUBLISH (3.1.1 section 3.3.1).
#[inline]
fn first_byte(packet: &Outgoings<'_>) -> u8 {
    0x30 | u8::from(packet.dup) << 3 | (packet.qos as u8) << 1 | u8::from(packet.retain)
}

/// Whether nothing in the packet is this connection's own, but for the packet identifier.
#[inline]
fn is_like_others(link: &Link, packet: &Outgoings<'_>) -> bool {
    !packet.retain
        && packet.identifiers.is_empty()
        && link.extra.as_ref().is_none_or(|extra| extra.aliases_out.is_none())
}

/// A packet that others get as well: written once, and named by each.
#[inline]
fn write_alike(
    out: &mut Outgoing,
    link: &Link,
    index: u32,
    packet: &Outgoings<'_>,
    alike: &mut Alike,
    wall: Wall,
) -> bool {
    let range = alike.packet(out, link.version, packet.qos, |bytes| {
        if link.is_v5() {
            encode_v5(&head_v5(packet, wall), packet.publication, bytes);
        } else {
            encode_v3(packet, bytes);
        }
    });
    let fits = range.len <= link.packet_bytes_max;
    if fits {
        out.append_shared(index, range);
    }
    fits
}

#[inline]
fn encode_v3(packet: &Outgoings<'_>, bytes: &mut Vec<u8>) {
    let Publication { topic, payload, .. } = *packet.publication;
    let remaining = 2 + topic.len() + if packet.packet_id.is_some() { 2 } else { 0 } + payload.len();
    bytes.reserve(remaining + 5);
    if remaining < 0x80 {
        bytes.extend_from_slice(&[first_byte(packet), remaining as u8]);
    } else {
        bytes.push(first_byte(packet));
        push_length(bytes, remaining);
    }
    match packet.publication.wire {
        // The shape it came in: the lengths agree only if both have a packet identifier or neither.
        Some(wire) if wire.len() == remaining => {
            let start = bytes.len();
            bytes.extend_from_slice(wire);
            if let Some(packet_id) = packet.packet_id {
                let at = start + 2 + topic.len();
                bytes[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
            }
        }
        _ => {
            bytes.extend_from_slice(&(topic.len() as u16).to_be_bytes());
            bytes.extend_from_slice(topic);
            if let Some(packet_id) = packet.packet_id {
                bytes.extend_from_slice(&packet_id.to_be_bytes());
            }
            bytes.extend_from_slice(payload);
        }
    }
}

#[inline]
fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

/// The head of a v5 packet that names its topic in full.
fn head_v5<'a>(packet: &Outgoings<'a>, wall: Wall) -> PublishHead<'a> {
    PublishHead {
        dup: packet.dup,
        qos: packet.qos,
        retain: packet.retain,
        topic: packet.publication.topic,
        packet_id: packet.packet_id,
        topic_alias: None,
        message_expiry: packet.publication.remaining_expiry(wall),
        subscription_ids: packet.identifiers,
        forwarded_len: packet.publication.forwarded.len(),
        payload_len: packet.publication.payload.len(),
    }
}

fn encode_v5(head: &PublishHead<'_>, publication: &Publication<'_>, bytes: &mut Vec<u8>) {
    bytes.reserve(head.encoded_len(Version::V5));
    head.encode(Version::V5, bytes);
    bytes.extend_from_slice(publication.forwarded);
    bytes.extend_from_slice(publication.payload);
}

fn write_v5(out: &mut Outgoing, link: &mut Link, index: u32, packet: &Outgoings<'_>, wall: Wall) -> bool {
    let topic = packet.publication.topic;
    let mut head = head_v5(packet, wall);
    // Measured without the alias: an alias set by a packet that is then dropped would name nothing.
    let plain = head.encoded_len(Version::V5);
    let limit = link.packet_bytes_max as usize;
    if plain > limit {
        return false;
    }
    if let Some(aliases) = link.extra.as_mut().and_then(|extra| extra.aliases_out.as_mut()) {
        match aliases.name(topic) {
            Naming::Name => {}
            Naming::NameAndAlias(alias) => {
                // Property and, at most, one more byte in each of two lengths.
                if plain + 5 <= limit {
                    head.topic_alias = Some(alias);
                } else {
                    aliases.forget(topic);
                }
            }
            Naming::Alias(alias) => {
                head.topic_alias = Some(alias);
                head.topic = b"";
            }
        }
    }
    out.append(index, |bytes| encode_v5(&head, packet.publication, bytes));
    true
}
