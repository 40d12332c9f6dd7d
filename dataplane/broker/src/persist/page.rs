//! Reading a session's queue back, page by page, as its client takes it.

use pelton_base::Key;
use pelton_mqtt::{PacketId, QoS};
use pelton_storage_ops::{Entry, MessageHead, OpKind, Page, PageRequest, Phase, SessionId};

use crate::broker::Broker;
use crate::counters::{Dropped, Traffic};
use crate::deliver::Core;
use crate::inflight::{Delivery, PacketClock};
use crate::message::Messages;
use crate::persist::backlog::Backlog;
use crate::persist::promise::What;
use crate::persist::{Persist, publication_of};
use crate::queue::Queued;
use crate::session::{Session, Window};
use crate::shared::GroupRef;

impl Core {
    /// Asks for the next page of a session's queue, if there is more in storage and room for it here.
    pub(crate) fn read_on(&mut self, session_key: Key) {
        let Self { links, sessions, persist, .. } = self;
        let Some(session) = sessions.get_mut(session_key) else { return };
        let id = session.id();
        let link = session.link();
        let Session { window, backlog, .. } = session;
        if backlog.is_caught_up() || links.get(link).is_none_or(|link| !link.is_live()) {
            return;
        }
        let ahead = persist.settings();
        let (messages_max, bytes_max) = (ahead.page_messages, ahead.page_bytes);
        let has_room = window.as_ref().is_none_or(|window| {
            let (messages, bytes) = ((ahead.window_messages / 2).max(1), ahead.window_bytes / 2);
            // What is to be sent again comes in pages as well, whatever the window.
            window.inflight.unsent() < messages as usize && window.queue.has_room(0, messages, bytes)
        });
        let number = persist.number();
        let reader = window.get_or_insert_default().reader.get_or_insert_default();
        backlog.reading = true;
        if reader.asked.is_some() || !has_room {
            return;
        }
        if reader.tail_from.is_none() {
            reader.tail_from = Some(backlog.next());
            reader.decided_at = number;
        }
        if reader.decided_at > persist.done {
            if !std::mem::replace(&mut backlog.waits, true) {
                persist.promise(number, u32::MAX, What::Pump(session_key));
            }
            return;
        }
        persist.last_token += 1;
        let token = persist.last_token;
        reader.asked = Some(token);
        reader.unsent_then = backlog.unsent_from();
        let from = backlog.read_from();
        let shard = persist.batch.shard;
        persist.requests.push(PageRequest { token, shard, session: id, from, messages_max, bytes_max });
        persist.asked.insert(token, (session_key, id.serial));
    }
}

/// A stored message on its way into a session's memory.
struct Found<'a> {
    entry: &'a Entry,
    identifiers: &'a [u32],
    body: &'a [u8],
}

impl Broker {
    /// A page that was asked for.
    pub fn handle_page(&mut self, page: &Page) {
        let Some((session_key, serial)) = self.core.persist.asked.remove(&page.token) else { return };
        if session_key.is_none() {
            return self.take_group_page(page);
        }
        let live = self.core.sessions.get(session_key).is_some_and(|session| {
            let asked = session.window.as_ref().and_then(|window| window.reader.as_ref());
            asked.is_some_and(|reader| reader.asked == Some(page.token))
        });
        if live {
            self.core.take_page(session_key, page);
        }
        if !self.core.persist.is_reading(serial) {
            self.forget_what_left(serial);
            self.forget_ends();
        }
        if live {
            self.core.pump(session_key);
            // It may have caught up, with nothing left that its client would acknowledge.
            self.fetch_more(session_key);
        }
    }
}

impl Core {
    fn take_page(&mut self, session_key: Key, page: &Page) {
        let Self { sessions, messages, out, tally, clock, wall, persist, .. } = self;
        let Some(session) = sessions.get_mut(session_key) else { return };
        let id = session.id();
        let link = session.link();
        let Session { window: Some(window), backlog, .. } = session else { return };
        let Some(reader) = &mut window.reader else { return };
        reader.asked = None;
        let until = reader.tail_from.unwrap_or(backlog.next());
        let dropped = reader.unsent_then..backlog.unsent_from();
        // Whether all before the newest messages is read.
        let mut passed = page.complete;
        for found in walk(page) {
            let entry = found.entry;
            if entry.sequence >= until {
                passed = true;
                break;
            }
            backlog.set_read_from(backlog.read_from().max(entry.sequence + 1));
            if dropped.contains(&entry.sequence)
                || persist.endings.is_handed_on(id, entry.sequence)
                || persist.fault.is_over(id, entry.sequence)
            {
                continue;
            }
            if let Phase::Released(packet_id) = entry.phase
                && let Some(packet_id) = PacketId::new(packet_id)
            {
                window.inflight.push_released(packet_id, entry.sequence as u32);
                tally.traffic.add(Traffic::Retransmitted);
                out.append(link.index, |bytes| crate::acknowledge::encode_pubrel(packet_id, bytes));
                continue;
            }
            let lost = match &entry.message {
                None => Some(Dropped::Damaged),
                Some(head) if entry.phase == Phase::Queued && head.expires <= *wall => Some(Dropped::Expired),
                Some(_) => None,
            };
            let (Some(head), None) = (&entry.message, lost) else {
                tally.dropped.add(lost.unwrap_or(Dropped::Damaged));
                persist.push(OpKind::Done { session: id, sequence: entry.sequence }, &[]);
                continue;
            };
            take_entry(window, messages, clock.tick(), persist.done, head, &found);
        }
        if passed || backlog.read_from() == until {
            finish_stretch(backlog, window, messages);
        }
    }
}

/// Puts a message that was read where it belongs: under way, if it was sent before, or in the queue.
fn take_entry(
    window: &mut Window,
    messages: &mut Messages,
    at: PacketClock,
    done: u64,
    head: &MessageHead,
    found: &Found<'_>,
) {
    let entry = found.entry;
    let publication = publication_of(head, found.body);
    let message = messages.store(&publication);
    let identifiers = (!found.identifiers.is_empty()).then(|| found.identifiers.into());
    if let Phase::Sent(packet_id) = entry.phase
        && let Some(packet_id) = PacketId::new(packet_id)
    {
        let mut delivery = Delivery::new(packet_id, entry.qos == 2, entry.retain, message, GroupRef::NONE);
        delivery.identifiers = identifiers;
        delivery.sequence = entry.sequence as u32;
        delivery.number = (done as u32).wrapping_sub(1);
        delivery.again = true;
        window.inflight.push_unsent(at, delivery);
        return;
    }
    window.queue.push(Queued {
        message,
        qos: QoS::from_bits(entry.qos).unwrap_or(QoS::AtLeastOnce),
        retain: entry.retain,
        group: GroupRef::NONE,
        identifiers,
        bytes: u32::try_from(publication.bytes()).unwrap_or(u32::MAX),
        sequence: entry.sequence,
    });
}

/// The page went to the end of what is committed. If that is the end of the stretch, the newest messages join
/// the queue and the session has caught up; what was counted is put right by what is there.
fn finish_stretch(backlog: &mut Backlog, window: &mut Window, messages: &Messages) {
    let Window { reader: Some(reader), queue, .. } = window else { return };
    let Some(tail_from) = reader.tail_from else { return };
    debug_assert!(backlog.read_from() <= tail_from);
    while let Some(queued) = reader.tail.pop() {
        queue.push(queued);
    }
    window.reader = None;
    backlog.reading = false;
    backlog.catch_up();
    backlog.messages = (window.inflight.len() + window.queue.len()) as u32;
    let under_way = window.inflight.iter().filter_map(|delivery| delivery.message.some());
    let bytes: usize = under_way.map(|message| messages.get(message).bytes()).sum();
    backlog.set_bytes((bytes + window.queue.bytes()) as u64);
}

/// The entries of a page with what belongs to each.
fn walk(page: &Page) -> impl Iterator<Item = Found<'_>> {
    let mut identifiers = &page.identifiers[..];
    let mut bytes = &page.bytes[..];
    page.entries.iter().map(move |entry| {
        let (own, rest) = identifiers.split_at(usize::from(entry.identifiers));
        identifiers = rest;
        let (body, rest) = bytes.split_at(entry.message.as_ref().map_or(0, MessageHead::body_len));
        bytes = rest;
        Found { entry, identifiers: own, body }
    })
}

impl Broker {
    /// Asks for a page of a group's queue.
    pub(crate) fn read_group(persist: &mut Persist, session: SessionId, from: u64) {
        let ahead = persist.settings();
        let (messages_max, bytes_max) = (ahead.page_messages, ahead.page_bytes);
        persist.last_token += 1;
        let token = persist.last_token;
        let shard = persist.batch.shard;
        persist.requests.push(PageRequest { token, shard, session, from, messages_max, bytes_max });
        persist.asked.insert(token, (Key::NONE, session.serial));
        persist.groups_asked.insert(token, (session, from));
    }

    /// A page of a group's queue, as it was before the start.
    fn take_group_page(&mut self, page: &Page) {
        // Of a page that could not be read nothing is there: it is asked for again.
        let Some((session, mut from)) = self.core.persist.groups_asked.remove(&page.token) else { return };
        for found in walk(page) {
            from = found.entry.sequence + 1;
            let known = match &found.entry.message {
                Some(head) if head.expires > self.core.wall => {
                    let publication = publication_of(head, found.body);
                    self.group_found(session, found.entry, &publication)
                }
                Some(_) => {
                    self.core.tally.dropped.add(Dropped::Expired);
                    false
                }
                None => {
                    self.core.tally.dropped.add(Dropped::Damaged);
                    false
                }
            };
            if !known {
                let done = OpKind::Done { session, sequence: found.entry.sequence };
                self.core.persist.push(done, &[]);
            }
        }
        if page.complete {
            self.group_is_read(session);
        } else {
            Self::read_group(&mut self.core.persist, session, from);
        }
    }
}
