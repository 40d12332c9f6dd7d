//! What outlives a connection: the session state of section 4.1, and the table of sessions of a shard.

use hashbrown::HashTable;
use pelton_base::{HashKey, Key, Slots, Wall};
use pelton_mqtt::PacketId;
use smallvec::SmallVec;

use crate::inflight::{Inflight, PacketIds};
use crate::message::Publisher;
use crate::persist::backlog::Backlog;
use crate::queue::Queue;
use crate::router::{FilterId, Options};
use crate::shared::GroupRef;
use crate::will::Will;

/// Session Expiry Interval that never ends.
pub const NEVER_EXPIRES: u32 = u32::MAX;

/// Where a subscription stands.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the list of a filter of this shard.
    Filter {
        /// The filter.
        filter: FilterId,
        /// Position in the filter's list.
        position: u32,
    },
    /// In a shared group, here or on another shard. Boxed: few sessions have any.
    Group(Box<Membership>),
}

/// A session's place in a shared group.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The group; [`GroupRef::NONE`] until its home has answered.
    pub group: GroupRef,
    /// The filter as the client wrote it, `$share/…`.
    pub text: Box<str>,
}

/// One subscription of a session.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Where it stands.
    pub place: Place,
    /// Subscription Identifier, 0 for none.
    pub identifier: u32,
    /// What was asked for.
    pub options: Options,
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
}

impl Window {
    /// Whether nothing is under way or waiting, in either direction.
    pub fn is_idle(&self) -> bool {
        self.inflight.is_empty() && self.queue.is_empty() && self.unreleased.is_empty()
    }
}

/// A session.
#[derive(Debug)]
pub struct Session {
    /// The client's name.
    pub client_id: Box<str>,
    /// Hash of the name under the process's key.
    pub client_hash: u64,
    /// Its connection, [`Key::NONE`] while it is away. While there is one the session is not thrown away
    /// [MQTT-4.1.0-1].
    pub link: Key,
    /// Who it is to No Local and to storage: unique in the process.
    pub serial: Publisher,
    /// Session Expiry Interval in seconds; 0 ends the session with its connection.
    pub expiry_seconds: u32,
    /// When an offline session ends.
    pub expires: Wall,
    /// Its subscriptions; the position of each is known to its filter.
    pub subscriptions: SmallVec<[Subscription; 1]>,
    /// Windows and queue, while needed.
    pub window: Option<Box<Window>>,
    /// What it has in storage, once a message was stored for it.
    pub backlog: Option<Box<Backlog>>,
    /// It lives in storage too.
    pub stored: bool,
    /// Storage is known to have it.
    pub kept: bool,
    /// Published when the connection ends without DISCONNECT.
    pub will: Option<Box<Will>>,
    /// Retained messages are being fetched for it: how many subscriptions.
    pub fetches: u16,
    /// It has left a shared group: what that group, at home elsewhere, had on the way to it is not for it any
    /// more; what it was sent already goes back when it goes. Not stored, nor need it be: what was on its way between
    /// shards does not outlive the process, and what is read back from storage goes back to no group.
    pub left_group: bool,
    /// Scratch of a publish that several filters match: which publish, and the position of the session among
    /// its targets.
    pub(crate) mark: u32,
    pub(crate) mark_position: u32,
}

impl Session {
    /// A new session.
    pub fn new(client_id: Box<str>, client_hash: u64, serial: Publisher) -> Self {
        Self {
            client_id,
            client_hash,
            link: Key::NONE,
            serial,
            expiry_seconds: 0,
            expires: Wall::NEVER,
            subscriptions: SmallVec::new(),
            window: None,
            backlog: None,
            stored: false,
            kept: false,
            will: None,
            fetches: 0,
            left_group: false,
            mark: 0,
            mark_position: 0,
        }
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
        self.subscriptions.iter().filter_map(|subscription| match &subscription.place {
            Place::Group(membership) => Some(membership.group),
            Place::Filter { .. } => None,
        })
    }

    /// Whether it has left a group. One it is still joining has no reference yet, and may be any.
    #[inline]
    pub fn has_left(&self, group: GroupRef) -> bool {
        self.left_group && !self.groups().any(|joined| joined == group || !joined.is_some())
    }

    /// Gives back what an idle session does not need.
    pub fn shrink(&mut self) {
        if self.window.as_ref().is_some_and(|window| window.is_idle()) {
            self.window = None;
        }
    }
}

/// The sessions of one shard, by key and by client id.
pub struct Sessions {
    slots: Slots<Session>,
    by_client: HashTable<u32>,
    key: HashKey,
}

impl Sessions {
    /// An empty table; client ids are hashed under `key`.
    pub fn new(key: HashKey) -> Self {
        Self { slots: Slots::new(), by_client: HashTable::new(), key }
    }

    /// The session of a client, by its id [MQTT-3.1.3-2].
    pub fn find(&self, client_id: &str) -> Option<Key> {
        let hash = self.key.hash(client_id.as_bytes());
        let index = *self.by_client.find(hash, |&index| {
            self.slots.at(index).is_some_and(|session| *session.client_id == *client_id)
        })?;
        self.slots.key_at(index)
    }

    /// Puts a session in; there is none of this client id.
    pub fn insert(&mut self, session: Session) -> Key {
        debug_assert!(self.find(&session.client_id).is_none());
        let hash = session.client_hash;
        let key = self.slots.insert(session);
        let slots = &self.slots;
        self.by_client.insert_unique(hash, key.index, |&index| {
            slots.at(index).map_or(0, |session| session.client_hash)
        });
        key
    }

    /// Takes a session out.
    pub fn remove(&mut self, key: Key) -> Option<Session> {
        let session = self.slots.remove(key)?;
        if let Ok(entry) = self.by_client.find_entry(session.client_hash, |&index| index == key.index) {
            entry.remove();
        }
        Some(session)
    }

    /// The session under `key`.
    #[inline]
    pub fn get(&self, key: Key) -> Option<&Session> {
        self.slots.get(key)
    }

    /// The session under `key`, mutable.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Session> {
        self.slots.get_mut(key)
    }

    /// The session a subscriber entry names.
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Session> {
        self.slots.at_mut(index)
    }

    /// As [`Sessions::at_mut`].
    #[inline]
    pub fn at(&self, index: u32) -> Option<&Session> {
        self.slots.at(index)
    }

    /// The full key of a session a subscriber entry or a timer names.
    pub fn key_at(&self, index: u32) -> Option<Key> {
        self.slots.key_at(index)
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All sessions.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Session)> {
        self.slots.iter()
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
    pub(crate) fn subscribed(&mut self, place: &Place) {
        self.subscriptions += 1;
        self.shared_subscriptions += usize::from(matches!(place, Place::Group(_)));
    }

    /// A subscription was taken out of a session.
    pub(crate) fn unsubscribed(&mut self, place: &Place) {
        self.subscriptions -= 1;
        self.shared_subscriptions -= usize::from(matches!(place, Place::Group(_)));
    }

    /// Counts anew.
    pub(crate) fn of(sessions: &Sessions) -> Self {
        let mut census = Self::default();
        for (_, session) in sessions.iter() {
            census.online += usize::from(!session.link.is_none());
            for subscription in &session.subscriptions {
                census.subscribed(&subscription.place);
            }
        }
        census
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("len", &self.len()).finish()
    }
}
