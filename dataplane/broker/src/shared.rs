//! Shared subscription groups whose home is this shard (5.0 section 4.8.2; v3 clients may join as well).
//!
//! A group is (name, filter); its home is a shard by hash of both. Every publish that matches comes to the
//! home, which picks one member and hands the message to that member's shard. Members are sessions anywhere
//! in the process. The home knows who is connected: messages go to connected members only, and while none is
//! connected, but some session of the group outlives its connection, QoS 1 and 2 wait in the group's queue.
//!
//! A message that its member did not take for good comes back and goes to another: not yet sent, or QoS 1
//! not acknowledged when the member's connection ends. QoS 2 under way stays with its session and ends with
//! it [MQTT-4.8.2-4] [MQTT-4.8.2-5].

use hashbrown::HashTable;
use pelton_base::{HashKey, Key};
use pelton_mqtt::QoS;
use pelton_storage_ops::{OpKind, SessionId};

use crate::broker::Broker;
use crate::counters::Dropped;
use crate::deliver::Terms;
use crate::message::{Lazy, Publication};
use crate::peers::{Item, PublishHead};
use crate::persist::ending::{FarMember, HandOver};
use crate::persist::group::{GroupStore, Made};
use crate::queue::{Queue, Queued};
use crate::router::{FilterId, Options};
use crate::settings::SharedStrategy;
use crate::slot::Slot;

/// Names a group from anywhere in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRef {
    /// Index at its home; `u32::MAX` for none.
    index: u32,
    /// Generation at its home: a group that is gone is not mistaken for its successor.
    generation: u32,
    /// Its home.
    pub(crate) home: u16,
}

impl GroupRef {
    /// No group: a subscription of one's own.
    pub const NONE: Self = Self { index: u32::MAX, generation: 0, home: 0 };

    /// Whether it names a group.
    #[inline]
    pub const fn is_some(self) -> bool {
        self.index != u32::MAX
    }
}

#[derive(Clone, Debug)]
struct Member {
    shard: u16,
    session: Key,
    options: Options,
    identifier: u32,
    persistent: bool,
    online: bool,
    /// QoS 1 and 2 given to it and not yet complete (counted for [`SharedStrategy::LeastInflight`] only).
    under_way: u32,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: Box<str>,
    pub(crate) filter: FilterId,
    hash: u64,
    generation: u32,
    members: Vec<Member>,
    /// Where the round goes on; the sticky member.
    next: usize,
    /// How many members' clients are connected.
    online: usize,
    pub(crate) queue: Queue,
    /// Its queue in storage, once something was stored.
    pub(crate) store: Option<Box<GroupStore>>,
}

/// The groups at home on a shard.
#[derive(Debug)]
pub struct Groups {
    key: HashKey,
    groups: Vec<Option<Group>>,
    free: Vec<u32>,
    by_name: HashTable<u32>,
    generation: u32,
    strategy: SharedStrategy,
    home: u16,
}

/// The home of a group among `shards`.
pub(crate) fn home_of(key: HashKey, group: &str, filter: &str, shards: u16) -> u16 {
    home_slot(key, group, filter).shard(shards)
}

/// The slot of a group.
pub(crate) fn home_slot(key: HashKey, group: &str, filter: &str) -> Slot {
    Slot::of_hash(key.hash_pair(key.hash(group.as_bytes()), filter.as_bytes()))
}

impl Groups {
    pub(crate) fn new(key: HashKey, strategy: SharedStrategy, home: u16) -> Self {
        let by_name = HashTable::new();
        Self { key, groups: Vec::new(), free: Vec::new(), by_name, generation: 0, strategy, home }
    }

    /// How many groups are at home here.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn find(&self, name: &str, filter: FilterId) -> Option<u32> {
        let hash = Self::hash(name, filter);
        self.by_name
            .find(hash, |&index| {
                self.groups[index as usize]
                    .as_ref()
                    .is_some_and(|group| group.filter == filter && *group.name == *name)
            })
            .copied()
    }

    /// Not keyed: names are few (one per group), and the filter's index is not the client's to choose.
    fn hash(name: &str, filter: FilterId) -> u64 {
        HashKey::new(0, u64::from(filter.0)).hash(name.as_bytes())
    }

    fn insert(&mut self, name: &str, filter: FilterId) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        let hash = Self::hash(name, filter);
        let group = Group {
            name: name.into(),
            filter,
            hash,
            generation: self.generation,
            members: Vec::new(),
            next: 0,
            online: 0,
            queue: Queue::default(),
            store: None,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.groups[index as usize] = Some(group);
                index
            }
            None => {
                self.groups.push(Some(group));
                (self.groups.len() - 1) as u32
            }
        };
        let groups = &self.groups;
        self.by_name.insert_unique(hash, index, |&index| {
            groups[index as usize].as_ref().map_or(0, |group| group.hash)
        });
        index
    }

    fn remove(&mut self, index: u32) -> Option<Group> {
        let group = self.groups[index as usize].take()?;
        if let Ok(entry) = self.by_name.find_entry(group.hash, |&other| other == index) {
            entry.remove();
        }
        self.free.push(index);
        Some(group)
    }

    pub(crate) fn get_mut(&mut self, group: GroupRef) -> Option<&mut Group> {
        self.groups
            .get_mut(group.index as usize)?
            .as_mut()
            .filter(|found| found.generation == group.generation)
    }

    /// The group whose queue is stored as `session`.
    pub(crate) fn of_store(&mut self, session: SessionId) -> Option<GroupRef> {
        let home = self.home;
        self.groups.iter().enumerate().find_map(|(index, group)| {
            let group = group.as_ref()?;
            let found = group.store.as_ref().is_some_and(|store| store.session == session);
            found.then_some(GroupRef { index: index as u32, generation: group.generation, home })
        })
    }

    /// A group's queue could not be made in storage.
    pub(crate) fn unmake_store(&mut self, session: SessionId) {
        if let Some(group) = self.of_store(session).and_then(|group| self.get_mut(group))
            && let Some(store) = &mut group.store
        {
            store.made = Made::No;
        }
    }

    /// The group of a name and filter, if it is here.
    pub(crate) fn named(&self, name: &str, filter: FilterId) -> Option<GroupRef> {
        let index = self.find(name, filter)?;
        let generation = self.groups[index as usize].as_ref()?.generation;
        Some(GroupRef { index, generation, home: self.home })
    }

    /// Messages that wait in groups, for checks and snapshots.
    pub fn queued(&self) -> usize {
        self.groups.iter().flatten().map(|group| group.queue.len()).sum()
    }
}

impl Group {
    fn position(&self, shard: u16, session: Key) -> Option<usize> {
        self.members.iter().position(|member| member.shard == shard && member.session == session)
    }

    /// The member for a message, by the strategy; only connected ones.
    #[inline]
    fn pick(
        &mut self,
        strategy: SharedStrategy,
        key: HashKey,
        publication: &Publication<'_>,
        origin: u16,
    ) -> Option<usize> {
        if self.online == 0 {
            return None;
        }
        match strategy {
            SharedStrategy::RoundRobin => self.round(|member| member.online),
            SharedStrategy::HashClientId => self.nth_online(publication.client_hash),
            SharedStrategy::HashTopic => self.nth_online(key.hash(publication.topic)),
            SharedStrategy::Sticky => {
                if !self.members.get(self.next).is_some_and(|member| member.online) {
                    self.next = self.nth_online(0)?;
                }
                Some(self.next)
            }
            SharedStrategy::LocalFirst => self
                .round(|member| member.online && member.shard == origin)
                .or_else(|| self.round(|member| member.online)),
            SharedStrategy::LeastInflight => {
                let least = self
                    .members
                    .iter()
                    .filter(|member| member.online)
                    .map(|member| member.under_way)
                    .min()?;
                self.round(|member| member.online && member.under_way == least)
            }
        }
    }

    /// The connected member a hash falls on.
    fn nth_online(&self, hash: u64) -> Option<usize> {
        let n = (hash % self.online as u64) as usize;
        if self.online == self.members.len() {
            return Some(n);
        }
        self.members.iter().enumerate().filter(|(_, member)| member.online).nth(n).map(|(i, _)| i)
    }

    /// The next member in turn that `fits`.
    #[inline]
    fn round(&mut self, fits: impl Fn(&Member) -> bool) -> Option<usize> {
        let count = self.members.len();
        for step in 0..count {
            let i = (self.next + step) % count;
            if fits(&self.members[i]) {
                self.next = (i + 1) % count;
                return Some(i);
            }
        }
        None
    }
}

/// A session that joins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joining {
    pub(crate) shard: u16,
    pub(crate) session: Key,
    pub(crate) options: Options,
    pub(crate) identifier: u32,
    pub(crate) persistent: bool,
}

impl Broker {
    /// A session joins a group at home here (or changes its options). Returns the group, its filter, and
    /// whether the filter is new to this shard, so that the others must be told.
    pub(crate) fn join_group(
        &mut self,
        name: &str,
        text: &str,
        joining: Joining,
    ) -> (GroupRef, FilterId, bool) {
        let filter = self.router.filter(text);
        let index = match self.groups.find(name, filter) {
            Some(index) => index,
            None => self.groups.insert(name, filter),
        };
        let is_new =
            self.groups.groups[index as usize].as_ref().is_some_and(|group| group.members.is_empty());
        let first = is_new && self.router.add_group(filter, index);
        let Some(group) = self.groups.groups[index as usize].as_mut() else { unreachable!("just found") };
        let Joining { shard, session, options, identifier, persistent } = joining;
        match group.position(shard, session) {
            Some(position) => {
                let member = &mut group.members[position];
                (member.options, member.identifier) = (options, identifier);
            }
            None => {
                group.online += 1;
                group.members.push(Member {
                    shard,
                    session,
                    options,
                    identifier,
                    persistent,
                    online: true,
                    under_way: 0,
                });
            }
        }
        let group_ref = GroupRef { index, generation: group.generation, home: self.me };
        if is_new {
            self.find_group_store(name, text);
        }
        (group_ref, filter, first)
    }

    /// A session leaves a group at home here; the group goes with its last member.
    pub(crate) fn leave_group(&mut self, group_ref: GroupRef, shard: u16, session: Key) {
        let Some(group) = self.groups.get_mut(group_ref) else { return };
        let Some(position) = group.position(shard, session) else { return };
        let member = group.members.remove(position);
        group.online -= usize::from(member.online);
        if group.next > position {
            group.next -= 1;
        }
        if group.members.is_empty() {
            let Some(mut group) = self.groups.remove(group_ref.index) else { return };
            if let Some(store) = group.store.take() {
                self.core.persist.push(OpKind::EndSession { session: store.session }, &[]);
            }
            while let Some(queued) = group.queue.pop() {
                self.core.tally.dropped.add(Dropped::NoGroupMember);
                self.core.messages.release(queued.message);
            }
            self.router.remove_group(group.filter, group_ref.index);
            self.release_filter(group.filter);
        } else {
            self.drop_unless_persistent(group_ref);
        }
    }

    /// A member's client has come or gone.
    pub(crate) fn set_presence(&mut self, group_ref: GroupRef, shard: u16, session: Key, online: bool) {
        let Some(group) = self.groups.get_mut(group_ref) else { return };
        let Some(position) = group.position(shard, session) else { return };
        let member = &mut group.members[position];
        group.online = group.online + usize::from(online) - usize::from(member.online);
        member.online = online;
        if !online {
            member.under_way = 0;
            return;
        }
        self.drain_group(group_ref);
    }

    /// What waited for a member goes out. Bounded by the group's queue.
    pub(crate) fn drain_group(&mut self, group_ref: GroupRef) {
        loop {
            let Some(group) = self.groups.get_mut(group_ref) else { return };
            if group.online == 0 || group.is_being_read() {
                return;
            }
            let store = group.store.as_ref().map(|store| store.session);
            let Some(Queued { message, sequence, .. }) = group.queue.pop() else { return };
            let stored = self.core.messages.get(message);
            if stored.is_expired(self.core.wall) {
                self.core.tally.dropped.add(Dropped::Expired);
                if let Some(session) = store {
                    self.core.persist.push(OpKind::Done { session, sequence }, &[]);
                }
            } else if let Some(from) = store {
                self.hand_over(HandOver { from, sequence, group: group_ref, message, to: None });
                continue;
            } else {
                let body = [stored.topic, stored.forwarded, stored.payload].concat();
                let publication = stored.over(&body);
                self.give_to_member(group_ref, &publication, self.me);
                self.core.persist.seal(&publication);
            }
            self.core.messages.release(message);
        }
    }

    /// Only sessions that end with their connection are left, and none is connected: nothing waits for them.
    fn drop_unless_persistent(&mut self, group_ref: GroupRef) {
        let Some(group) = self.groups.get_mut(group_ref) else { return };
        if group.online != 0 || group.members.iter().any(|member| member.persistent) {
            return;
        }
        if let Some(store) = group.store.take() {
            self.core.persist.push(OpKind::EndSession { session: store.session }, &[]);
        }
        while let Some(queued) = group.queue.pop() {
            self.core.tally.dropped.add(Dropped::NoGroupMember);
            self.core.messages.release(queued.message);
        }
    }

    /// A publish that matches a group's filter.
    pub(crate) fn publish_to_group(&mut self, index: u32, publication: &Publication<'_>) {
        let Some(group) = self.groups.groups.get(index as usize).and_then(Option::as_ref) else { return };
        let group_ref = GroupRef { index, generation: group.generation, home: self.me };
        self.give_to_member(group_ref, publication, (publication.publisher.0 >> 48) as u16);
    }

    /// Gives a message to the member whose turn it is.
    pub(crate) fn give_to_member(&mut self, group_ref: GroupRef, publication: &Publication<'_>, origin: u16) {
        // [MQTT-3.3.2-5] It may have waited with another member.
        if publication.is_expired(self.core.wall) {
            self.core.tally.dropped.add(Dropped::Expired);
            return;
        }
        let Groups { strategy, key, .. } = self.groups;
        let Some(group) = self.groups.get_mut(group_ref) else {
            self.core.tally.dropped.add(Dropped::NoGroupMember);
            return;
        };
        let Some(picked) = group.pick(strategy, key, publication, origin) else {
            return self.keep_for_group(group_ref, publication);
        };
        let member = &mut group.members[picked];
        if strategy == SharedStrategy::LeastInflight
            && publication.qos.min(member.options.qos()) != QoS::AtMostOnce
        {
            member.under_way += 1;
        }
        // [MQTT-4.8.2-3] The member's own options.
        let Member { shard, session, options, identifier, persistent, .. } = *member;
        let qos = publication.qos.min(options.qos());
        let far = FarMember { shard, session, options, identifier };
        if shard == self.me {
            self.deliver_to_member(group_ref, publication, session, options, identifier);
        } else if self.core.persist.undivided && persistent && qos != QoS::AtMostOnce {
            self.give_by_queue(group_ref, publication, qos, far);
        } else {
            self.give_far(group_ref, publication, far);
        }
    }

    /// Delivers a group's message to its member, a session of this shard. If the member's client has gone or has
    /// left the group in the meantime the message goes back.
    pub(crate) fn deliver_to_member(
        &mut self,
        group: GroupRef,
        publication: &Publication<'_>,
        session_key: Key,
        options: Options,
        identifier: u32,
    ) {
        let session = self.core.sessions.get(session_key);
        if session.is_some_and(|session| session.has_left(group)) {
            // [MQTT-3.10.4-2] Its home had not heard yet; by the time this is back it has.
            return self.return_to_group(group, session_key, publication);
        }
        let online = session.is_some_and(|session| !session.link().is_none());
        if !online {
            if publication.qos.min(options.qos()) != QoS::AtMostOnce {
                self.return_to_group(group, session_key, publication);
            } else {
                self.core.tally.dropped.add(Dropped::OfflineQos0);
            }
            return;
        }
        let identifiers = [identifier];
        let identifiers = if identifier == 0 { &identifiers[..0] } else { &identifiers };
        let terms = Terms { group, ..Terms::live(publication, options, identifiers) };
        let at = self.core.clock.tick();
        self.core.deliver(publication, &mut Lazy::new(), at, session_key.index, terms);
    }

    /// Gives a message back to its group, for another member.
    pub(crate) fn return_to_group(&mut self, group: GroupRef, session: Key, publication: &Publication<'_>) {
        if group.home == self.me {
            // The home learns at once that this member is not the one.
            self.set_presence(group, self.me, session, false);
            self.give_to_member(group, publication, self.me);
        } else {
            let item = Item::GroupReturn { head: PublishHead::of(publication), group };
            self.await_part(group.home, publication);
            self.peers.send(
                group.home,
                item,
                &[publication.topic, publication.forwarded, publication.payload],
            );
        }
    }

    /// No member is connected.
    fn keep_for_group(&mut self, group_ref: GroupRef, publication: &Publication<'_>) {
        let settings = self.core.settings.clone();
        let Some(group) = self.groups.get_mut(group_ref) else { return };
        let best =
            group.members.iter().filter(|member| member.persistent).map(|member| member.options.qos()).max();
        let qos = best.map_or(QoS::AtMostOnce, |best| best.min(publication.qos));
        if qos == QoS::AtMostOnce {
            self.core.tally.dropped.add(Dropped::NoGroupMember);
            return;
        }
        if !group.queue.has_room(publication.bytes(), settings.queue_messages_max, settings.queue_bytes_max) {
            self.core.tally.dropped.add(Dropped::GroupQueueFull);
            return;
        }
        let sequence = self.store_for_group(group_ref, publication, qos);
        let Some(group) = self.groups.get_mut(group_ref) else { return };
        group.queue.push(Queued {
            message: self.core.messages.store(publication),
            qos,
            retain: false,
            group: GroupRef::NONE,
            identifiers: None,
            bytes: u32::try_from(publication.bytes()).unwrap_or(u32::MAX),
            sequence,
        });
    }

    /// A member has completed a delivery, for the strategy that counts them.
    #[inline]
    pub(crate) fn group_acked(&mut self, group: GroupRef, session: Key) {
        if self.groups.strategy != SharedStrategy::LeastInflight {
            return;
        }
        if group.home == self.me {
            self.member_acked(group, self.me, session, 1);
        } else {
            self.peers.send(group.home, Item::GroupAcked { group, session, count: 1 }, &[]);
        }
    }

    pub(crate) fn member_acked(&mut self, group: GroupRef, shard: u16, session: Key, count: u32) {
        let Some(group) = self.groups.get_mut(group) else { return };
        if let Some(position) = group.position(shard, session) {
            let member = &mut group.members[position];
            member.under_way = member.under_way.saturating_sub(count);
        }
    }

    /// Tells a group's home that a session of this shard leaves.
    pub(crate) fn tell_leave(&mut self, group: GroupRef, session: Key) {
        if !group.is_some() {
            return;
        }
        if group.home == self.me {
            self.leave_group(group, self.me, session);
        } else {
            self.peers.send(group.home, Item::Leave { group, session }, &[]);
        }
    }

    /// Tells a group's home that a session's client has come or gone.
    pub(crate) fn tell_presence(&mut self, group: GroupRef, session: Key, online: bool) {
        if !group.is_some() {
            return;
        }
        if group.home == self.me {
            self.set_presence(group, self.me, session, online);
        } else {
            self.peers.send(group.home, Item::Presence { group, session, online }, &[]);
        }
    }

    /// The filter of a group as clients write it.
    pub(crate) fn group_filter(&mut self, group_ref: GroupRef) -> Option<String> {
        let group = self.groups.get_mut(group_ref)?;
        Some(format!("$share/{}/{}", group.name, self.router.text(group.filter)))
    }

    /// The groups at home here.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }
}
