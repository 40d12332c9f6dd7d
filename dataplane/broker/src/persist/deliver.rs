//! The delivery of one message to one stored session, and what its client is sent when it can take more.
//!
//! QoS 1 is sent at once and stored beside: its packet identifier rides along with the next commit. QoS 2 is
//! sent only when its identifier is durable: after a crash the client must be sent the same identifier again,
//! or it would take the message twice.

use pelton_base::Key;
use pelton_mqtt::QoS;
use pelton_storage_ops::{OpKind, Target};

use crate::counters::{Dropped, Traffic};
use crate::deliver::{Core, Outgoings, Terms, write};
use crate::inflight::{Delivery, PacketClock};
use crate::message::{Lazy, Publication};
use crate::persist::backlog::{Backlog, Reader};
use crate::persist::promise::What;
use crate::queue::Queued;
use crate::session::{Session, Window};
use crate::settings::QueuePolicy;

/// Where a new message goes.
enum Way {
    /// To the client, now.
    Send,
    /// To the client, as soon as its identifier is durable.
    Commit,
    /// Into the queue in memory.
    Keep,
    /// Behind what is only in storage.
    Store,
}

impl Core {
    /// Delivers a publication of QoS 1 or 2 to a stored session.
    pub(crate) fn deliver_stored(
        &mut self,
        publication: &Publication<'_>,
        lazy: &mut Lazy,
        at: PacketClock,
        session_index: u32,
        terms: Terms<'_>,
    ) {
        let bytes = u32::try_from(publication.bytes()).unwrap_or(u32::MAX);
        if !self.make_room(publication, session_index, bytes) {
            return;
        }
        let Self { links, sessions, messages, out, tally, settings, starved, wall, persist, .. } = self;
        let Some(session_key) = sessions.key_at(session_index) else { return };
        let Some(session) = sessions.get_mut(session_key) else { return };
        let stored_as = session.id();
        let link_key = session.link();
        let Session { window, backlog, .. } = session;
        let mut live = links.get_mut(link_key).filter(|link| link.is_live());
        let way = match (&live, &window) {
            (None, _) => Way::Store,
            (Some(_), _) if !backlog.is_caught_up() => Way::Store,
            (Some(link), window) => {
                let limit = settings.outbound_bytes_max as usize;
                let (idle, open) = match window {
                    None => (true, true),
                    Some(window) => {
                        let fits = window.inflight.len() < usize::from(link.send_window);
                        let commits = terms.qos == QoS::ExactlyOnce && fits;
                        (window.queue.is_empty(), commits || window.inflight.is_open(link.send_window))
                    }
                };
                let room = out.queued(link_key.index) < limit;
                let kept = window.as_ref().is_none_or(|window| {
                    let ahead = persist.settings();
                    window.queue.has_room(bytes as usize, ahead.window_messages, ahead.window_bytes)
                });
                match (idle && open, terms.qos) {
                    (true, QoS::ExactlyOnce) => Way::Commit,
                    (true, _) if room => Way::Send,
                    _ if kept => Way::Keep,
                    _ => Way::Store,
                }
            }
        };
        if let Some(link) = &mut live
            && out.queued(link_key.index) >= settings.outbound_bytes_max as usize
        {
            link.starve(link_key, starved);
        }
        let sequence = backlog.next();
        let mut packet_id = None;
        if let Way::Send | Way::Commit = way {
            let id = window.get_or_insert_default().inflight.identifier(at);
            packet_id = Some(id);
            if let (Way::Send, Some(link)) = (&way, live) {
                let packet = Outgoings {
                    publication,
                    qos: terms.qos,
                    retain: terms.retain,
                    dup: false,
                    packet_id,
                    identifiers: terms.identifiers,
                };
                let alike = lazy.alike.as_mut().filter(|_| id == at.identifier());
                if !write(out, tally, link, link_key.index, &packet, alike, *wall) {
                    return;
                }
            }
        }
        let target = Target {
            session: stored_as,
            sequence,
            qos: terms.qos as u8,
            retain: terms.retain,
            packet_id: packet_id.map_or(0, |id| id.get()),
            identifiers: 0,
        };
        let number = persist.target(target, terms.identifiers);
        let was_caught_up = backlog.is_caught_up();
        backlog.push(bytes);
        match (way, packet_id) {
            (Way::Send | Way::Commit, Some(packet_id)) => {
                backlog.catch_up();
                let message = lazy.hold(messages, publication);
                let exactly_once = terms.qos == QoS::ExactlyOnce;
                let mut delivery = Delivery::new(packet_id, exactly_once, terms.retain, message, terms.group);
                delivery.sequence = sequence as u32;
                delivery.number = number as u32;
                if !terms.identifiers.is_empty() {
                    delivery.identifiers = Some(terms.identifiers.into());
                }
                let window = window.get_or_insert_default();
                if exactly_once {
                    window.inflight.push_unsent(at, delivery);
                    if !std::mem::replace(&mut backlog.waits, true) {
                        persist.promise(number, u32::MAX, What::Pump(session_key));
                    }
                } else {
                    window.inflight.push(at, delivery);
                }
                return;
            }
            (Way::Keep, _) => {
                debug_assert!(was_caught_up);
                backlog.catch_up();
                let queue = &mut window.get_or_insert_default().queue;
                queue.push(queued(lazy.hold(messages, publication), &terms, sequence, bytes));
            }
            _ => {
                // The newest messages are kept while what is before them is read; if they are too many they
                // are read as well.
                if let Some(reader) = window.as_mut().and_then(|window| window.reader.as_mut())
                    && reader.tail_from.is_some()
                {
                    let ahead = persist.settings();
                    let room =
                        reader.tail.has_room(bytes as usize, ahead.window_messages, ahead.window_bytes);
                    if room {
                        let message = lazy.hold(messages, publication);
                        reader.tail.push(queued(message, &terms, sequence, bytes));
                    } else {
                        reader.tail_from = None;
                        while let Some(queued) = reader.tail.pop() {
                            messages.release(queued.message);
                        }
                    }
                }
            }
        }
        tally.traffic.add(Traffic::Queued);
    }

    /// Room for one more message by the session's bounds and policy; `false` if it is dropped.
    fn make_room(&mut self, publication: &Publication<'_>, session_index: u32, bytes: u32) -> bool {
        let (messages_max, bytes_max) = (self.settings.queue_messages_max, self.settings.queue_bytes_max);
        loop {
            let Some(session) = self.sessions.at_mut(session_index) else { return false };
            let id = session.id();
            let link = session.link();
            let backlog = &mut session.backlog;
            // What is under way to the client is bounded by its window.
            let under_way = session.window.as_ref().map_or(0, |window| window.inflight.len()) as u32;
            let waiting = backlog.messages.saturating_sub(under_way);
            if waiting == 0
                || (waiting < messages_max && backlog.bytes() + u64::from(bytes) <= u64::from(bytes_max))
            {
                return true;
            }
            let in_memory = session.window.as_ref().is_some_and(|window| !window.queue.is_empty());
            let first = backlog.read_from().max(backlog.unsent_from());
            let droppable = in_memory || first < backlog.next();
            if self.settings.queue_policy != QueuePolicy::DropOldest || !droppable {
                self.tally.dropped.add(Dropped::QueueFullNewest);
                if self.settings.queue_policy == QueuePolicy::Disconnect && !link.is_none() {
                    self.overrun.push(link);
                }
                return false;
            }
            // The message in hand may be for this session already, by another subscription: its own enqueue
            // comes before its end.
            self.persist.seal(publication);
            let mut oldest = session.window.as_mut().and_then(|window| window.queue.pop());
            if oldest.is_none()
                && let Some(reader) = session.window.as_mut().and_then(|window| window.reader.as_mut())
                && reader.tail_from.is_some_and(|from| from <= first)
            {
                // All before the newest ones, which are here, is gone.
                oldest = reader.tail.pop();
                if let Some(queued) = &oldest {
                    backlog.set_unsent_from(queued.sequence + 1);
                    reader.tail_from = Some(queued.sequence + 1);
                }
            }
            let sequence = match oldest {
                Some(queued) => {
                    backlog.done(queued.bytes);
                    self.messages.release(queued.message);
                    queued.sequence
                }
                None => {
                    // It is in storage only. Its size is not known here: the mean stands for it, and reading
                    // the queue puts it right.
                    let mean = backlog.bytes() / u64::from(backlog.messages.max(1));
                    backlog.set_unsent_from(first + 1);
                    if backlog.read_from() == first {
                        backlog.set_read_from(first + 1);
                    }
                    let reader = session.window.as_mut().and_then(|window| window.reader.as_deref_mut());
                    if let Some(Reader { tail_from: Some(from), .. }) = reader {
                        *from = (*from).max(first + 1);
                    }
                    backlog.done(u32::try_from(mean).unwrap_or(u32::MAX));
                    first
                }
            };
            self.persist.push(OpKind::Done { session: id, sequence }, &[]);
            self.tally.dropped.add(Dropped::QueueFullOldest);
        }
    }

    /// As [`Core::pump`], for a stored session.
    pub(crate) fn pump_stored(&mut self, session_key: Key) {
        let Self { links, sessions, messages, out, tally, clock, settings, starved, wall, persist, .. } =
            self;
        let Some(session) = sessions.get_mut(session_key) else { return };
        let id = session.id();
        let link_key = session.link();
        let Session { window: Some(window), backlog, .. } = session else { return };
        let Some(link) = links.get_mut(link_key).filter(|link| link.is_live()) else { return };
        let limit = settings.outbound_bytes_max as usize;
        loop {
            if out.queued(link_key.index) >= limit {
                link.starve(link_key, starved);
            }
            if out.queued(link_key.index) < limit
                && window.inflight.under_way() < usize::from(link.send_window)
                && let Some(next) = window.inflight.peek_unsent()
            {
                let number = persist.number_of(next.number);
                let waits = next.held || !persist.is_done(number);
                if next.exactly_once && !next.again && waits {
                    if !next.held && !std::mem::replace(&mut backlog.waits, true) {
                        persist.promise(number, u32::MAX, What::Pump(session_key));
                    }
                } else {
                    let over = send_unsent(window, backlog, messages, |packet| {
                        if packet.dup {
                            tally.traffic.add(Traffic::Retransmitted);
                        }
                        write(out, tally, link, link_key.index, packet, None, *wall)
                    });
                    if let Some(sequence) = over {
                        persist.push(OpKind::Done { session: id, sequence }, &[]);
                    }
                    continue;
                }
            }
            // Something new: not past what is to be sent again, nor QoS 1 past QoS 2 that is not durable.
            let Some(first) = window.queue.front() else { return };
            let exactly_once = first.qos == QoS::ExactlyOnce;
            let fits = window.inflight.len() < usize::from(link.send_window);
            let ready = if exactly_once {
                fits
            } else {
                out.queued(link_key.index) < limit && window.inflight.is_open(link.send_window)
            };
            if !ready {
                return;
            }
            let Some(queued) = window.queue.pop() else { return };
            let publication = messages.get(queued.message);
            // [MQTT-3.3.2-5] A message that expired while it waited is not delivered.
            if publication.is_expired(*wall) {
                tally.dropped.add(Dropped::Expired);
                backlog.done(queued.bytes);
                persist.push(OpKind::Done { session: id, sequence: queued.sequence }, &[]);
                messages.release(queued.message);
                continue;
            }
            let at = clock.tick();
            let packet_id = window.inflight.identifier(at);
            if !exactly_once {
                let packet = Outgoings {
                    publication: &publication,
                    qos: queued.qos,
                    retain: queued.retain,
                    dup: false,
                    packet_id: Some(packet_id),
                    identifiers: queued.identifiers.as_deref().unwrap_or_default(),
                };
                if !write(out, tally, link, link_key.index, &packet, None, *wall) {
                    backlog.done(queued.bytes);
                    persist.push(OpKind::Done { session: id, sequence: queued.sequence }, &[]);
                    messages.release(queued.message);
                    continue;
                }
            }
            let sent = OpKind::Sent { session: id, sequence: queued.sequence, packet_id: packet_id.get() };
            let number = persist.push(sent, &[]);
            let mut delivery =
                Delivery::new(packet_id, exactly_once, queued.retain, queued.message, queued.group);
            delivery.identifiers = queued.identifiers;
            delivery.sequence = queued.sequence as u32;
            delivery.number = number as u32;
            if exactly_once {
                window.inflight.push_unsent(at, delivery);
            } else {
                window.inflight.push(at, delivery);
            }
        }
    }
}

/// Sends the next unsent delivery. Returns the sequence number of a delivery that is over: the client does
/// not take it.
fn send_unsent(
    window: &mut Window,
    backlog: &mut Backlog,
    messages: &mut crate::message::Messages,
    write: impl FnOnce(&Outgoings<'_>) -> bool,
) -> Option<u64> {
    let (position, delivery) = window.inflight.next_unsent()?;
    let publication = messages.get(delivery.message);
    let bytes = publication.bytes() as u32;
    let packet = Outgoings {
        publication: &publication,
        qos: if delivery.exactly_once { QoS::ExactlyOnce } else { QoS::AtLeastOnce },
        retain: delivery.retain,
        // [MQTT-3.3.1-1] [MQTT-3.3.1-2]
        dup: delivery.again,
        packet_id: Some(delivery.packet_id),
        identifiers: delivery.identifiers.as_deref().unwrap_or_default(),
    };
    // The client may have come back with a smaller Maximum Packet Size [MQTT-3.1.2-25].
    if write(&packet) {
        return None;
    }
    let delivery = window.inflight.complete(position)?;
    messages.release(delivery.message);
    backlog.done(bytes);
    Some(backlog.sequence_of(delivery.sequence))
}

fn queued(message: crate::message::MessageId, terms: &Terms<'_>, sequence: u64, bytes: u32) -> Queued {
    Queued {
        message,
        qos: terms.qos,
        retain: terms.retain,
        group: terms.group,
        identifiers: (!terms.identifiers.is_empty()).then(|| terms.identifiers.into()),
        bytes,
        sequence,
    }
}
