//! What outlives a connection: the session state of section 4.1, and the table of sessions of a shard.

use hashbrown::{HashMap, HashTable};
use pelton_base::mem::prefetch;
use pelton_base::{Chunks, Few, HashKey, Key, Text, Wall};
use pelton_mqtt::PacketId;
use pelton_storage_ops::SessionId;

use crate::inflight::{Inflight, PacketIds};
use crate::message::Publisher;
use crate::persist::backlog::{Backlog, Reader};
use crate::queue::Queue;
use crate::router::{FilterId, Options};
use crate::shared::GroupRef;
use crate::slot::Slot;
use crate::will::Will;

/// Session Expiry Interval that never ends.
pub const NEVER_EXPIRES: u32 = u32::MAX;

/// One subscription of a session. 16 bytes: most sessions have one.
#[derive(Clone, Debug)]
pub enum Subscription {
    /// In the list of a filter of this shard.
    Filter {
        /// The filter.
        filter: FilterId,
        /// Position in the filter's list.
        position: u32,
        /// Subscription Identifier, 0 for none.
        identifier: u32,
        /// What was asked for.
        options: Options,
    },
    /// In a shared group, here or on another shard. Boxed: few sessions are in any.
    Group(Box<Membership>),
}

/// A session's place in a shared group.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The group; [`GroupRef::NONE`] until its home has answered.
    pub group: GroupRef,
    /// The filter as the client wrote it, `$share/…`.
    pub text: Box<str>,
    /// Subscription Identifier, 0 for none.
    pub identifier: u32,
    /// What was asked for.
    pub options: Options,
}

impl Subscription {
    /// What was asked for.
    pub fn options(&self) -> Options {
        match self {
            Self::Filter { options, .. } => *options,
            Self::Group(membership) => membership.options,
        }
    }

    /// Subscription Identifier, 0 for none.
    #[inline]
    pub fn identifier(&self) -> u32 {
        match self {
            Self::Filter { identifier, .. } => *identifier,
            Self::Group(membership) => membership.identifier,
        }
    }

    /// The same filter was subscribed to again.
    pub(crate) fn replace(&mut self, new_options: Options, new_identifier: u32) {
        let (options, identifier) = match self {
            Self::Filter { options, identifier, .. } => (options, identifier),
            Self::Group(membership) => (&mut membership.options, &mut membership.identifier),
        };
        (*options, *identifier) = (new_options, new_identifier);
    }
}

/// What a session needs only while messages with QoS 1 and 2 pass.
#[derive(Debug, Default)]
pub struct Window {
    /// Deliveries under way to the client.
    pub inflight: Inflight,
    /// Deliveries that wait.
    pub queue: Queue,
    /// QoS 2 publishes of the client that are not yet released.
    pub unreleased: PacketIds,
    /// Of those: not yet settled, with their settlement. PUBREC follows when it is.
    pub settling: Vec<(PacketId, Key)>,
    /// Present while messages are read back from storage.
    pub(crate) reader: Option<Box<Reader>>,
}

impl Window {
    /// Whether nothing is under way or waiting, in either direction.
    pub fn is_idle(&self) -> bool {
        self.inflight.is_empty()
            && self.queue.is_empty()
            && self.unreleased.is_empty()
            && self.reader.is_none()
    }
}

/// A session, whether its client is here or away: a record of fixed size with what every session has. What only
/// some need stands elsewhere: windows and queue in a box, wills and marks in tables of [`Sessions`].
#[derive(Debug, Default)]
pub struct Session {
    /// The client's name.
    pub client_id: Text,
    /// Windows and queue, while needed.
    pub window: Option<Box<Window>>,
    /// Who it is to No Local and to storage: unique in the process.
    pub serial: Publisher,
    /// Its connection; if there is none, when it ends.
    whereabouts: u64,
    /// Its subscriptions; the position of each is known to its filter.
    pub subscriptions: Few<Subscription>,
    /// Odd while the place in the table is taken; a stale key has an older one.
    generation: u32,
    /// Session Expiry Interval in seconds; 0 ends the session with its connection.
    pub expiry_seconds: u32,
    /// What it has in storage.
    pub backlog: Backlog,
    /// The slot of its client id.
    slot: Slot,
    flags: u8,
}

/// A million sessions whose clients are away are what takes the memory.
const _: () = assert!(size_of::<Session>() == 104);

/// It lives in storage too.
const STORED: u8 = 1;
/// Storage is known to have it.
const KEPT: u8 = 1 << 1;
/// It has a connection.
const CONNECTED: u8 = 1 << 2;
/// It has left a shared group.
const LEFT_GROUP: u8 = 1 << 3;
/// Retained messages are being fetched for it.
const FETCHING: u8 = 1 << 4;
/// It has a will.
const HAS_WILL: u8 = 1 << 5;

impl Session {
    /// A new session, which has no connection and never ends.
    pub fn new(client_id: &str, slot: Slot, serial: Publisher) -> Self {
        let whereabouts = Wall::NEVER.0;
        Self { client_id: client_id.into(), slot, serial, whereabouts, ..Self::default() }
    }

    #[inline]
    fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u8, value: bool) {
        self.flags = if value { self.flags | flag } else { self.flags & !flag };
    }

    /// What storage knows it by.
    pub(crate) fn id(&self) -> SessionId {
        SessionId { slot: self.slot.0, serial: self.serial.0 }
    }

    /// Its connection, [`Key::NONE`] while it is away. While there is one the session is not thrown away
    /// [MQTT-4.1.0-1].
    #[inline]
    pub fn link(&self) -> Key {
        if self.is(CONNECTED) { Key::from_u64(self.whereabouts) } else { Key::NONE }
    }

    /// It has a connection.
    pub(crate) fn connect(&mut self, link: Key) {
        self.whereabouts = link.to_u64();
        self.set(CONNECTED, true);
    }

    /// It has no connection, and ends at that time if no other comes.
    pub(crate) fn disconnect(&mut self, expires: Wall) {
        self.whereabouts = expires.0;
        self.set(CONNECTED, false);
    }

    /// When an offline session ends.
    pub fn expires(&self) -> Wall {
        if self.is(CONNECTED) { Wall::NEVER } else { Wall(self.whereabouts) }
    }

    /// It lives in storage too.
    #[inline]
    pub fn is_stored(&self) -> bool {
        self.is(STORED)
    }

    /// It lives in storage, or does not, from its beginning on.
    pub(crate) fn set_stored(&mut self, stored: bool) {
        self.set(STORED, stored);
    }

    /// Storage is known to have it.
    pub fn is_kept(&self) -> bool {
        self.is(KEPT)
    }

    /// Storage has it.
    pub(crate) fn set_kept(&mut self) {
        self.set(KEPT, true);
    }

    /// Whether it has left a shared group: what that group, at home elsewhere, had on the way to it is not for it
    /// any more; what it was sent already goes back when it goes. Not stored, nor need it be: what was on its way
    /// between shards does not outlive the process, and what is read back from storage goes back to no group.
    pub fn left_group(&self) -> bool {
        self.is(LEFT_GROUP)
    }

    /// It has left a shared group.
    pub(crate) fn leave_group(&mut self) {
        self.set(LEFT_GROUP, true);
    }

    /// Whether retained messages are being fetched for it.
    #[inline]
    pub fn is_fetching(&self) -> bool {
        self.is(FETCHING)
    }

    /// Fetches of retained messages for it begin or end.
    pub(crate) fn set_fetching(&mut self, fetching: bool) {
        self.set(FETCHING, fetching);
    }

    /// Whether it outlives its connection.
    #[inline]
    pub fn is_persistent(&self) -> bool {
        self.expiry_seconds != 0
    }

    /// Windows and queue, made if need be.
    #[inline]
    pub fn window(&mut self) -> &mut Window {
        self.window.get_or_insert_default()
    }

    /// QoS 2 publishes of the client not yet released.
    #[inline]
    pub fn unreleased(&self) -> usize {
        self.window.as_ref().map_or(0, |window| window.unreleased.len())
    }

    /// Whether the identifier belongs to a QoS 2 publish not yet released.
    #[inline]
    pub fn is_unreleased(&self, id: PacketId) -> bool {
        self.window.as_ref().is_some_and(|window| window.unreleased.has(id))
    }

    /// The shared groups it is a member of.
    pub fn groups(&self) -> impl Iterator<Item = GroupRef> + '_ {
        self.subscriptions.iter().filter_map(|subscription| match subscription {
            Subscription::Group(membership) => Some(membership.group),
            Subscription::Filter { .. } => None,
        })
    }

    /// Whether it has left a group. One it is still joining has no reference yet, and may be any.
    #[inline]
    pub fn has_left(&self, group: GroupRef) -> bool {
        self.left_group() && !self.groups().any(|joined| joined == group || !joined.is_some())
    }

    /// Gives back what an idle session does not need.
    pub fn shrink(&mut self) {
        if self.window.as_ref().is_some_and(|window| window.is_idle()) {
            self.window = None;
        }
    }
}

/// Scratch of a publish that several filters match: which publish, and the position of the session among its
/// targets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    pub(crate) publish: u32,
    pub(crate) position: u32,
}

/// The sessions of one shard, by key and by client id. A table like [`pelton_base::Slots`], with the generation
/// inside the record, where it fits a gap.
pub struct Sessions {
    sessions: Chunks<Session>,
    free: Vec<u32>,
    by_client: HashTable<u32>,
    key: HashKey,
    /// Published when the connection ends without DISCONNECT.
    wills: HashMap<u32, Box<Will>, HashKey>,
    /// As far as they were needed.
    marks: Chunks<Mark>,
}

impl Sessions {
    /// An empty table; client ids are hashed under `key`.
    pub fn new(key: HashKey) -> Self {
        Self {
            sessions: Chunks::new(),
            free: Vec::new(),
            by_client: HashTable::new(),
            key,
            wills: HashMap::with_hasher(key),
            marks: Chunks::new(),
        }
    }

    /// The session of a client, by its id [MQTT-3.1.3-2].
    pub fn find(&self, client_id: &str) -> Option<Key> {
        let hash = self.key.hash(client_id.as_bytes());
        let index = *self.by_client.find(hash, |&index| {
            self.sessions.get(index).is_some_and(|session| *session.client_id == *client_id.as_bytes())
        })?;
        self.key_at(index)
    }

    /// Puts a session in; there is none of this client id, whose hash is `hash`.
    pub fn insert(&mut self, hash: u64, session: Session) -> Key {
        debug_assert_eq!(hash, self.key.hash(&session.client_id));
        debug_assert!(self.find(session.client_id.as_str()).is_none());
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.sessions.len() as u32;
            self.sessions.grow_to(index);
            index
        });
        let place = &mut self.sessions[index];
        let generation = place.generation.wrapping_add(1);
        debug_assert_eq!(generation & 1, 1);
        *place = Session { generation, ..session };
        let (sessions, key) = (&self.sessions, self.key);
        self.by_client.insert_unique(hash, index, |&index| key.hash(&sessions[index].client_id));
        Key { index, generation }
    }

    /// Takes a session out, and its will.
    pub fn remove(&mut self, key: Key) -> Option<Session> {
        drop(self.take_will(key));
        let place = self.sessions.get_mut(key.index).filter(|place| place.generation == key.generation)?;
        let generation = place.generation.wrapping_add(1);
        let session = std::mem::replace(place, Session { generation, ..Session::default() });
        self.free.push(key.index);
        let hash = self.key.hash(&session.client_id);
        if let Ok(entry) = self.by_client.find_entry(hash, |&index| index == key.index) {
            entry.remove();
        }
        Some(session)
    }

    /// Asks for what a delivery touches of the session at `index`, which will be wanted soon.
    #[inline]
    pub(crate) fn prefetch(&self, index: u32) {
        if let Some(session) = self.sessions.get(index) {
            prefetch(&session.whereabouts);
            prefetch(&session.flags);
        }
    }

    /// The session under `key`.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&Session> {
        self.sessions.get(key.index).filter(|session| session.generation == key.generation)
    }

    /// The session under `key`, mutable.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Session> {
        self.sessions.get_mut(key.index).filter(|session| session.generation == key.generation)
    }

    /// The session a subscriber entry names.
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Session> {
        self.sessions.get_mut(index).filter(|session| session.generation & 1 != 0)
    }

    /// As [`Sessions::at_mut`].
    #[inline]
    pub fn at(&self, index: u32) -> Option<&Session> {
        self.sessions.get(index).filter(|session| session.generation & 1 != 0)
    }

    /// The full key of a session a subscriber entry or a timer names.
    pub fn key_at(&self, index: u32) -> Option<Key> {
        self.at(index).map(|session| Key { index, generation: session.generation })
    }

    /// A session's will.
    pub fn will(&self, key: Key) -> Option<&Will> {
        self.get(key).filter(|session| session.is(HAS_WILL))?;
        self.wills.get(&key.index).map(|will| &**will)
    }

    /// A session's will, mutable.
    pub(crate) fn will_mut(&mut self, key: Key) -> Option<&mut Will> {
        self.get(key).filter(|session| session.is(HAS_WILL))?;
        self.wills.get_mut(&key.index).map(|will| &mut **will)
    }

    /// Takes a session's will away.
    pub(crate) fn take_will(&mut self, key: Key) -> Option<Box<Will>> {
        let session = self.get_mut(key).filter(|session| session.is(HAS_WILL))?;
        session.set(HAS_WILL, false);
        self.wills.remove(&key.index)
    }

    /// A session has another will from now on, or none.
    pub(crate) fn set_will(&mut self, key: Key, will: Option<Box<Will>>) {
        let Some(will) = will else {
            drop(self.take_will(key));
            return;
        };
        if let Some(session) = self.get_mut(key) {
            session.set(HAS_WILL, true);
            self.wills.insert(key.index, will);
        }
    }

    /// The mark of the session at `index`.
    #[inline]
    pub(crate) fn mark_mut(&mut self, index: u32) -> &mut Mark {
        self.marks.grow_to(index);
        &mut self.marks[index]
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All sessions.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Session)> {
        self.sessions.iter().enumerate().filter_map(|(index, session)| {
            let key = Key { index: index as u32, generation: session.generation };
            (session.generation & 1 != 0).then_some((key, session))
        })
    }

    /// The hash of a client id under this table's key.
    pub fn hash(&self, client_id: &str) -> u64 {
        self.key.hash(client_id.as_bytes())
    }
}

/// Counts over all sessions of a shard, kept as they change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Sessions whose client is connected.
    pub online: usize,
    /// Subscriptions, shared ones included.
    pub subscriptions: usize,
    /// Of those: shared ones.
    pub shared_subscriptions: usize,
}

impl Census {
    /// A subscription was added to a session.
    pub(crate) fn subscribed(&mut self, subscription: &Subscription) {
        self.subscriptions += 1;
        self.shared_subscriptions += usize::from(matches!(subscription, Subscription::Group(_)));
    }

    /// A subscription was taken out of a session.
    pub(crate) fn unsubscribed(&mut self, subscription: &Subscription) {
        self.subscriptions -= 1;
        self.shared_subscriptions -= usize::from(matches!(subscription, Subscription::Group(_)));
    }

    /// Counts anew.
    pub(crate) fn of(sessions: &Sessions) -> Self {
        let mut census = Self::default();
        for (_, session) in sessions.iter() {
            census.online += usize::from(!session.link().is_none());
            session.subscriptions.iter().for_each(|subscription| census.subscribed(subscription));
        }
        census
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelton_mqtt::QoS;

    fn insert(sessions: &mut Sessions, client_id: &str) -> Key {
        let hash = sessions.hash(client_id);
        sessions.insert(hash, Session::new(client_id, Slot::of_hash(hash), Publisher(1)))
    }

    fn will(topic: &str) -> Box<Will> {
        Box::new(Will {
            body: topic.as_bytes().into(),
            topic_len: topic.len() as u16,
            forwarded_len: 0,
            qos: QoS::AtMostOnce,
            retain: false,
            delay_seconds: 0,
            expiry_seconds: None,
            due: Wall::NEVER,
        })
    }

    #[test]
    fn a_stale_key_finds_nothing_and_a_will_goes_with_its_session() {
        let mut sessions = Sessions::new(HashKey::new(1, 2));
        let first = insert(&mut sessions, "first");
        sessions.set_will(first, Some(will("w")));
        assert_eq!(sessions.will(first).map(|will| &*will.body), Some(&b"w"[..]));
        assert_eq!(sessions.find("first"), Some(first));
        assert!(sessions.remove(first).is_some() && sessions.remove(first).is_none());
        let long = "a client id that does not fit into its session's record";
        let second = insert(&mut sessions, long);
        assert_eq!(second.index, first.index, "the place is used again");
        assert!(sessions.get(first).is_none() && sessions.will(first).is_none());
        assert!(sessions.will(second).is_none(), "not the will of the one before");
        assert_eq!((sessions.find("first"), sessions.find(long)), (None, Some(second)));
        sessions.set_will(first, Some(will("late")));
        assert!(sessions.will(second).is_none() && sessions.wills.is_empty());
        sessions.set_will(second, Some(will("x")));
        sessions.set_will(second, None);
        assert!(sessions.take_will(second).is_none() && sessions.wills.is_empty());
        assert_eq!((sessions.len(), sessions.iter().count()), (1, 1));
        assert!(sessions.at(second.index + 1).is_none() && sessions.get(Key::NONE).is_none());
    }

    #[test]
    fn a_session_is_connected_or_has_an_end() {
        let mut session = Session::new("client", Slot(7), Publisher(9));
        assert_eq!((session.link(), session.expires()), (Key::NONE, Wall::NEVER));
        let link = Key { index: 5, generation: u32::MAX };
        session.connect(link);
        assert_eq!((session.link(), session.expires()), (link, Wall::NEVER));
        session.disconnect(Wall(1_234));
        assert_eq!((session.link(), session.expires()), (Key::NONE, Wall(1_234)));
        session.set_stored(true);
        session.set_kept();
        session.set_stored(false);
        assert!(!session.is_stored() && session.is_kept() && !session.left_group() && !session.is_fetching());
        assert_eq!(session.id(), SessionId { slot: 7, serial: 9 });
    }
}
