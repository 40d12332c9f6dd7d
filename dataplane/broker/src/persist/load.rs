//! What is found at the start: sessions, their subscriptions, retained messages.
//!
//! A session whose image says that its client is connected was cut off by a crash: its expiry runs from now,
//! and so does its will's delay. No interval is longer than it was asked for, although the clock was set back. Routes are told to the other shards without barriers; whoever drives the shards lets
//! no client in before every shard [`Broker::is_loaded`].

use pelton_base::{HashKey, Key, Wall};
use pelton_mqtt::{PacketId, TopicFilter};
use pelton_storage_ops::{Loaded, LoadedSession, MessageHead, OpKind, SessionId, SessionKind};

use crate::broker::Broker;
use crate::counters::{Dropped, Stored};
use crate::message::Publisher;
use crate::persist::backlog::Backlog;
use crate::persist::{SERIAL_COUNT, first_serial, publication_of};
use crate::retained::Stamp;
use crate::router::{Options, Subscriber};
use crate::session::{NEVER_EXPIRES, Session, Subscription};
use crate::shared::home_of;
use crate::slot::Slot;
use crate::will::Will;

/// What is in the store does not belong to this broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The slot of a session is not the one its client id has under this broker's key.
    ForeignKey {
        /// The client id.
        client_id: String,
    },
    /// The broker was not told that there is a storage.
    NoStorage,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ForeignKey { client_id } => {
                write!(f, "the session of {client_id:?} was stored under another key")
            }
            Self::NoStorage => f.write_str("there is something to load, but no storage is set"),
        }
    }
}

impl std::error::Error for LoadError {}

/// A shared group's queue that was found at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupFound {
    pub(crate) session: SessionId,
    pub(crate) next: u64,
}

impl Broker {
    /// The shard among `shards` that has to load this.
    pub fn home_of(key: HashKey, shards: u16, loaded: &Loaded) -> u16 {
        match loaded {
            Loaded::Session(session) => Slot(session.session.slot).shard(shards),
            Loaded::Retained(head, body) => Slot::of(key, &body[..usize::from(head.topic)]).shard(shards),
        }
    }

    /// Takes one thing found in the store, before any client is let in.
    ///
    /// # Errors
    /// If it cannot be this broker's.
    pub fn load(&mut self, loaded: Loaded) -> Result<(), LoadError> {
        if !self.core.persist.is_on() {
            return Err(LoadError::NoStorage);
        }
        self.last_serial = self.last_serial.max(first_serial(self.core.wall));
        match loaded {
            Loaded::Session(session) => {
                // Above all serial numbers in use, whichever shard gave them out.
                let counted = session.session.serial & SERIAL_COUNT;
                self.last_serial = self.last_serial.max(counted);
                match session.image.kind {
                    SessionKind::Client => self.load_session(*session),
                    SessionKind::Group => {
                        self.load_group(&session);
                        Ok(())
                    }
                }
            }
            Loaded::Retained(head, body) => {
                self.load_retained(&head, &body);
                Ok(())
            }
        }
    }

    /// Whether more can be loaded without the mesh growing beyond its bounds. Storage may be behind: it may be
    /// waiting for the end of the loading, to grow, and what is staged here is no more than what is found.
    pub fn takes_load(&self) -> bool {
        !self.peers.is_congested()
    }

    /// All that was loaded here is known to the other shards, and what has to be read at the start is read.
    pub fn is_loaded(&self) -> bool {
        self.load_fence.as_ref().is_none_or(|fence| self.peers.is_past(fence))
            && self.core.persist.groups_asked.is_empty()
    }

    /// Nothing more is loaded here.
    pub fn end_load(&mut self) {
        self.last_serial = self.last_serial.max(first_serial(self.core.wall));
        self.load_fence = Some(self.peers.fence());
    }

    /// Every shard is loaded: queues of groups that have no member any more end.
    pub fn all_loaded(&mut self) {
        self.load_fence = None;
        let orphans: Vec<SessionId> =
            self.core.persist.groups_found.drain().map(|(_, found)| found.session).collect();
        for session in orphans {
            self.core.persist.push(OpKind::EndSession { session }, &[]);
        }
    }

    fn load_session(&mut self, loaded: LoadedSession) -> Result<(), LoadError> {
        let LoadedSession { session: id, image, subscriptions, received, .. } = loaded;
        let client_hash = self.core.sessions.hash(&image.client_id);
        if Slot::of_hash(client_hash).0 != id.slot {
            return Err(LoadError::ForeignKey { client_id: image.client_id });
        }
        if let Some(other) = self.core.sessions.find(&image.client_id) {
            // An end that could not be stored: the newer one is the one the client knows.
            let count = id.serial & SERIAL_COUNT;
            let other_count = self.core.sessions.get(other).map(|other| other.serial.0 & SERIAL_COUNT);
            let older = other_count.is_some_and(|other| other > count);
            self.core.tally.stored.add(Stored::Superseded);
            if older {
                self.end_stored(id, client_hash);
                return Ok(());
            }
            self.end_session(other);
        }
        let inflight_max = self.core.settings.inflight_max;
        let wall = self.core.wall;
        let mut session = Session::new(&image.client_id, Slot(id.slot), Publisher(id.serial));
        session.set_stored(true);
        session.set_kept();
        session.expiry_seconds = image.expiry_seconds;
        session.disconnect(image.expires);
        let mut will = image.will.as_ref().map(|will| Box::new(Will::of_image(will)));
        let mut cut_off = false;
        if image.expires == Wall::NEVER && image.expiry_seconds != NEVER_EXPIRES {
            cut_off = true;
        }
        if image.expiry_seconds != NEVER_EXPIRES {
            session.disconnect(image.expires.min(wall.plus_seconds(image.expiry_seconds)));
        }
        if let Some(will) = &mut will {
            cut_off |= will.due == Wall::NEVER;
            will.due = will.due.min(wall.plus_seconds(will.delay_seconds));
        }
        if loaded.next_sequence != 0 {
            // Storage does not say how many were sent: at most a window full.
            session.backlog = Backlog::found(
                loaded.next_sequence,
                loaded.queued_messages,
                loaded.queued_bytes,
                u32::from(inflight_max),
            );
        }
        for packet_id in received.into_iter().filter_map(PacketId::new) {
            session.window().unreleased.insert(packet_id);
        }
        let key = self.core.sessions.insert(client_hash, session);
        self.core.sessions.set_will(key, will);
        for (filter, options, identifier) in &subscriptions {
            self.load_subscription(key, filter, *options, *identifier);
        }
        if cut_off {
            self.put_session(key);
        }
        self.arm_session(key);
        Ok(())
    }

    fn load_subscription(&mut self, key: Key, text: &str, options: u8, identifier: u32) {
        let (Ok(filter), Some(options)) = (TopicFilter::new(text), Options::from_bits(options)) else {
            self.core.tally.stored.add(Stored::Damaged);
            return;
        };
        if let Some(shared) = filter.shared() {
            let (name, inner) = (shared.group.to_owned(), shared.filter.as_str().to_owned());
            return self.load_membership(key, text, &name, &inner, options, identifier);
        }
        let filter = self.router.filter(text);
        let Some(session) = self.core.sessions.get_mut(key) else { return };
        let slot = session.subscriptions.len() as u16;
        let (position, first) = self.router.add(filter, Subscriber { session: key.index, slot, options });
        let subscription = Subscription::Filter { filter, position, identifier, options };
        self.core.census.subscribed(&subscription);
        session.subscriptions.push(subscription);
        if first && self.peers.shards() > 1 {
            self.tell_route(filter, true, Key::NONE);
        }
    }

    fn load_group(&mut self, loaded: &LoadedSession) {
        let found = GroupFound { session: loaded.session, next: loaded.next_sequence };
        let Some((name, filter)) = loaded.image.client_id.split_once('/') else {
            self.core.tally.stored.add(Stored::Damaged);
            return;
        };
        debug_assert_eq!(home_of(self.key, name, filter, self.peers.shards()), self.me);
        // Its members may have joined before it was come upon.
        if !self.attach_group(name, filter, found) {
            self.core.persist.groups_found.insert(loaded.image.client_id.as_str().into(), found);
        }
    }

    fn load_retained(&mut self, head: &MessageHead, body: &[u8]) {
        let publication = publication_of(head, body);
        if publication.is_expired(self.core.wall) {
            self.core.tally.dropped.add(Dropped::Expired);
            let topic = &body[..usize::from(head.topic)];
            self.core.persist.push(OpKind::EndRetained { topic: head.topic }, &[topic]);
            return;
        }
        let settings = &self.core.settings;
        let (messages_max, bytes_max) = (settings.retained_messages_max, settings.retained_bytes_max);
        if !self.retained.set(&publication, Stamp::BEFORE, messages_max, bytes_max) {
            self.core.tally.dropped.add(Dropped::RetainedFull);
            // It may be cleared, or there may be room for it after the next start.
            self.core.persist.retained_left_out = true;
        }
    }
}
