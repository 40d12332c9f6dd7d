//! Queues of shared groups in storage, each under a session of its own.
//!
//! While no member is connected, messages are stored in the group's queue as well as kept in memory (by the
//! bounds of a session's queue). A message that goes to a member leaves the group's queue in the batch in
//! which it enters the member's, or, where the member is on another shard, after that one has stored it: a
//! crash between the two leaves it in both, and it is delivered once more.

use pelton_mqtt::QoS;
use pelton_storage_ops::{Entry, SessionId, Target};

use crate::broker::Broker;
use crate::counters::Dropped;
use crate::message::Publication;
use crate::peers::Item;
use crate::persist::ending::{FarMember, HandOver};
use crate::persist::load::GroupFound;
use crate::queue::{Queue, Queued};
use crate::shared::{Group, GroupRef, home_slot};

/// The stored queue of a group.
#[derive(Debug)]
pub(crate) struct GroupStore {
    pub(crate) session: SessionId,
    /// The sequence number of the next message.
    next: u64,
    pub(crate) made: Made,
    /// What is being read at the start, before what came since.
    found: Option<Queue>,
}

/// Whether a group's queue exists in storage.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Made {
    No,
    /// It does if the operation of this number succeeds. Until that is known it is made again with every
    /// message: a message for a queue that does not exist goes nowhere.
    By(u64),
    Yes,
}

impl Group {
    /// Whether messages from before the start are still being read.
    pub(crate) fn is_being_read(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.found.is_some())
    }
}

impl Broker {
    /// What is sent to `shard` next, a message of a group, is a part of what is in hand.
    pub(crate) fn await_part(&mut self, shard: u16, publication: &Publication<'_>) {
        if publication.qos == QoS::AtMostOnce || !self.core.persist.is_on() {
            return;
        }
        let settle = self.wait_for_part();
        if !settle.is_none() {
            self.peers.send(shard, Item::Settle { settle }, &[]);
        }
    }

    /// A message that is stored together with its publisher's QoS 2 identifier, for a member on another shard: that
    /// one stores it later. Until then it is in the group's queue, or a crash in between would leave the
    /// identifier alone, and what its publisher sends again would be taken for known.
    pub(crate) fn give_by_queue(
        &mut self,
        group: GroupRef,
        publication: &Publication<'_>,
        qos: QoS,
        member: FarMember,
    ) {
        let limit = self.core.settings.queue_messages_max;
        if self
            .groups
            .get_mut(group)
            .and_then(|entry| entry.store.as_ref())
            .is_some_and(|store| self.core.persist.endings.on_their_way(store.session) >= limit)
        {
            self.core.tally.dropped.add(Dropped::GroupQueueFull);
            return;
        }
        let sequence = self.store_for_group(group, publication, qos);
        let store = self.groups.get_mut(group).and_then(|entry| entry.store.as_ref());
        let Some(from) = store.map(|store| store.session) else { return };
        let message = self.core.messages.store(publication);
        let over = HandOver { from, sequence, group, message, to: Some(member) };
        self.core.persist.endings.later.push(over);
    }

    /// What a publish has put into queues of groups for their members elsewhere goes on to them.
    pub(crate) fn give_later(&mut self) {
        while let Some(over) = self.core.persist.endings.later.pop() {
            self.hand_over(over);
        }
    }

    /// Notes a group's queue as a target of the publication in hand; returns the sequence number.
    pub(crate) fn store_for_group(
        &mut self,
        group: GroupRef,
        publication: &Publication<'_>,
        qos: QoS,
    ) -> u64 {
        if !self.core.persist.is_on() {
            return 0;
        }
        let Some(entry) = self.groups.get_mut(group) else { return 0 };
        if entry.store.is_none() {
            let (name, filter) = (entry.name.clone(), entry.filter);
            let filter = self.router.text(filter);
            let slot = home_slot(self.key, &name, &filter).0;
            let session = SessionId { slot, serial: self.next_serial().0 };
            if let Some(entry) = self.groups.get_mut(group) {
                entry.store = Some(Box::new(GroupStore { session, next: 0, made: Made::No, found: None }));
            }
        }
        self.make_store(group, publication);
        let Some(store) = self.groups.get_mut(group).and_then(|entry| entry.store.as_mut()) else { return 0 };
        let sequence = store.next;
        store.next += 1;
        let session = store.session;
        let target =
            Target { session, sequence, qos: qos as u8, retain: false, packet_id: 0, identifiers: 0 };
        self.core.persist.target(target, &[]);
        sequence
    }

    /// Makes a group's queue in storage if it is not known to be there.
    fn make_store(&mut self, group: GroupRef, publication: &Publication<'_>) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        let (name, filter) = (entry.name.clone(), entry.filter);
        let Some(store) = &mut entry.store else { return };
        match store.made {
            Made::Yes => return,
            Made::By(number) if self.core.persist.is_done(number) => {
                store.made = Made::Yes;
                return;
            }
            Made::No | Made::By(_) => {}
        }
        let session = store.session;
        self.core.persist.seal(publication);
        let number = self.core.persist.number();
        let filter = self.router.text(filter);
        self.put_group(session, &name, &filter);
        if let Some(store) = self.groups.get_mut(group).and_then(|entry| entry.store.as_mut()) {
            store.made = Made::By(number);
        }
    }

    /// A group that has its first member may have a queue from before the start.
    pub(crate) fn find_group_store(&mut self, name: &str, filter: &str) {
        if self.core.persist.groups_found.is_empty() {
            return;
        }
        if let Some(found) = self.core.persist.groups_found.remove(&*format!("{name}/{filter}")) {
            self.attach_group(name, filter, found);
        }
    }

    /// Gives a group its queue from before the start; whether there is such a group.
    pub(crate) fn attach_group(&mut self, name: &str, filter: &str, found: GroupFound) -> bool {
        let Some(filter) = self.router.find_filter(filter) else { return false };
        let Some(group) = self.groups.named(name, filter) else { return false };
        let Some(entry) = self.groups.get_mut(group) else { return false };
        let GroupFound { session, next } = found;
        entry.store =
            Some(Box::new(GroupStore { session, next, made: Made::Yes, found: Some(Queue::default()) }));
        Self::read_group(&mut self.core.persist, session, 0);
        true
    }

    /// A message of a group's queue that was read; whether the group is still there.
    pub(crate) fn group_found(
        &mut self,
        session: SessionId,
        entry: &Entry,
        publication: &Publication<'_>,
    ) -> bool {
        let Some(group) = self.groups.of_store(session) else { return false };
        let Some(found) = self
            .groups
            .get_mut(group)
            .and_then(|group| group.store.as_mut())
            .and_then(|store| store.found.as_mut())
        else {
            return false;
        };
        found.push(Queued {
            message: self.core.messages.store(publication),
            qos: QoS::from_bits(entry.qos).unwrap_or(QoS::AtLeastOnce),
            retain: false,
            group: GroupRef::NONE,
            identifiers: None,
            bytes: u32::try_from(publication.bytes()).unwrap_or(u32::MAX),
            sequence: entry.sequence,
        });
        true
    }

    /// A message could not be stored in a group's queue: it is not there after all. Its publisher is told.
    pub(crate) fn undo_group_target(&mut self, session: SessionId, sequence: u64) {
        let Some(group) = self.groups.of_store(session).and_then(|group| self.groups.get_mut(group)) else {
            return;
        };
        let messages = &mut self.core.messages;
        group.queue.retain(|queued| queued.sequence != sequence, |queued| messages.release(queued.message));
    }

    /// A group's queue is read to its end: what came since is behind it.
    pub(crate) fn group_is_read(&mut self, session: SessionId) {
        let Some(group_ref) = self.groups.of_store(session) else { return };
        let Some(group) = self.groups.get_mut(group_ref) else { return };
        let Some(mut found) = group.store.as_mut().and_then(|store| store.found.take()) else { return };
        let last = found.last().map(|queued| queued.sequence);
        while let Some(queued) = group.queue.pop() {
            // What came since may have been in the last page too.
            if last.is_none_or(|last| queued.sequence > last) {
                found.push(queued);
            } else {
                self.core.messages.release(queued.message);
            }
        }
        group.queue = found;
        self.drain_group(group_ref);
    }
}
