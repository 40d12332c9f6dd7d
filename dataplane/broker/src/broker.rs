//! The broker of one shard: its parts, and the ways in.

use std::collections::VecDeque;
use std::sync::Arc;

use pelton_base::{Ending, HashKey, Key, Mono, Outgoing, Rng, Slots, StreamEnd, Wall, Wheel};
use pelton_mqtt::{DecodeError, FixedHeader, PacketType, ReasonCode};

use crate::claim::{Claims, Release};
use crate::counters::{Ended, Tally, Traffic};
use crate::deliver::Core;
use crate::effects::Effects;
use crate::fanout::FanOut;
use crate::farewell::Farewells;
use crate::fetch::{Fetch, LiveTopics, Sync};
use crate::inflight::PacketClock;
use crate::link::{Hold, State, ended_by};
use crate::links::Links;
use crate::message::{Messages, Publisher};
use crate::peers::{Fence, Outbox};
use crate::persist::Persist;
use crate::persist::route::InHand;
use crate::retained::RetainedSet;
use crate::router::Router;
use crate::session::{Census, Session, Sessions};
use crate::settings::Settings;
use crate::settle::Settlement;
use crate::shared::Groups;
use crate::subscribe::{Barrier, PendingSubscribe};
use crate::will::DeferredWill;

/// A connection with so much queued is flushed before the turn goes on.
const URGENT_BYTES: usize = 64 * 1024;

/// What a broker is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The number of this shard.
    pub shard: u16,
    /// How many shards there are.
    pub shards: u16,
    /// The key of routes, slots and client ids: the same for all shards of a process (and kept with its
    /// storage).
    pub key: HashKey,
    /// Randomness of this shard.
    pub seed: u64,
    /// What the operator set.
    pub settings: Arc<Settings>,
    /// The time of the first turn.
    pub mono: Mono,
    /// The wall time of the first turn.
    pub wall: Wall,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// Done with it.
    Done,
    /// Not taken: the connection's input waits, this packet included, until the broker asks for it again.
    Hold(Hold),
    /// Not taken: the connection belongs to another shard, which gets this packet and all that follows.
    HandOver(u16),
    /// The connection is being ended: what else came from it is of no interest.
    Ended,
}

/// The broker of one shard.
pub struct Broker {
    pub(crate) me: u16,
    pub(crate) key: HashKey,
    /// Connections, sessions, messages: what a delivery touches.
    pub(crate) core: Core,
    pub(crate) router: Router,
    pub(crate) groups: Groups,
    pub(crate) retained: RetainedSet,
    pub(crate) claims: Claims,
    pub(crate) releases: VecDeque<Release>,
    pub(crate) settlements: Slots<Settlement>,
    pub(crate) barriers: Slots<Barrier>,
    pub(crate) subscribes: Slots<PendingSubscribe>,
    pub(crate) fetches: Slots<Fetch>,
    /// The record of the publish in hand, where storage is concerned.
    pub(crate) in_hand: InHand,
    /// What the next message of a group from another shard is answered with.
    pub(crate) arriving_settle: Key,
    /// Passed when all others know what was loaded here.
    pub(crate) load_fence: Option<Fence>,
    /// Fetches that used up their share of a turn.
    pub(crate) hungry: Vec<Key>,
    pub(crate) fanouts: VecDeque<FanOut>,
    pub(crate) wills: VecDeque<DeferredWill>,
    pub(crate) farewells: Farewells,
    pub(crate) link_timers: Wheel,
    pub(crate) session_timers: Wheel,
    /// What goes to other shards.
    pub peers: Outbox,
    /// What the shard has to carry out.
    pub effects: Effects,
    pub(crate) rng: Rng,
    pub(crate) last_serial: u64,
    pub(crate) last_ticket: u64,
    pub(crate) last_barrier: u64,
    /// Retained publishes taken from publishers here.
    pub(crate) last_stamp: u64,
    /// Shards that wait until what is staged here is worked through everywhere.
    pub(crate) syncs: VecDeque<Sync>,
    /// Counts publishes that several filters match, to meet each session once.
    pub(crate) mark: u32,
    /// Some connection was told to wait for congestion to end.
    pub(crate) waiting_for_room: bool,
    /// Deliveries this turn may still expand.
    pub(crate) deliveries_left: u32,
    pub(crate) scratch: Scratch,
}

/// Buffers that are used again.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) forwarded: Vec<u8>,
    pub(crate) due: Vec<u32>,
    pub(crate) targets: Vec<crate::fanout::Target>,
    pub(crate) topic: Vec<u8>,
}

impl Broker {
    /// A broker with no connections.
    pub fn new(setup: Setup) -> Self {
        let Setup { shard, shards, key, seed, settings, mono, wall } = setup;
        assert!(shard < shards && shards <= 64, "shard {shard} of {shards}");
        let mut rng = Rng::with_seed(seed);
        let first_tick = if settings.storage.is_some() { rng.u64() as u32 } else { 0 };
        Self {
            me: shard,
            key,
            router: Router::new(key, settings.remembered_topics as usize),
            groups: Groups::new(key, settings.shared_strategy, shard),
            retained: RetainedSet::default(),
            claims: Claims::default(),
            releases: VecDeque::new(),
            settlements: Slots::new(),
            barriers: Slots::new(),
            subscribes: Slots::new(),
            fetches: Slots::new(),
            in_hand: InHand::default(),
            arriving_settle: Key::NONE,
            load_fence: None,
            hungry: Vec::new(),
            fanouts: VecDeque::new(),
            wills: VecDeque::new(),
            farewells: Farewells::new(shards),
            link_timers: Wheel::new(mono),
            session_timers: Wheel::new(mono),
            peers: Outbox::new(shard, shards, settings.mesh_bytes_max),
            effects: Effects::default(),
            rng,
            last_serial: 0,
            last_ticket: 0,
            last_barrier: 0,
            last_stamp: 0,
            syncs: VecDeque::new(),
            mark: 0,
            waiting_for_room: false,
            deliveries_left: settings.fanout_per_turn,
            scratch: Scratch::default(),
            core: Core {
                links: Links::default(),
                sessions: Sessions::new(key),
                messages: Messages::default(),
                out: Outgoing::new(URGENT_BYTES),
                census: Census::default(),
                tally: Tally::default(),
                clock: PacketClock::from_tick(first_tick),
                overrun: Vec::new(),
                persist: Persist::new(settings.storage, shard, key),
                starved: Vec::new(),
                live_topics: LiveTopics::new(key),
                key,
                settings,
                mono,
                mono_ms: mono.as_ms() as u32,
                wall,
            },
        }
    }

    /// A turn begins: its time, and its share of deliveries.
    pub fn begin_turn(&mut self, mono: Mono, wall: Wall) {
        self.core.mono = mono;
        self.core.mono_ms = mono.as_ms() as u32;
        self.core.wall = wall;
        self.deliveries_left = self.core.settings.fanout_per_turn;
    }

    /// The turn's end: what was put off until here. Publishers that waited for room are let go if there is
    /// some now; the shard then looks at their input again.
    pub fn end_turn(&mut self) {
        while let Some(link) = self.core.overrun.pop() {
            self.end(link, Ended::QueueFull, Some(ReasonCode::QuotaExceeded));
        }
        self.poll_releases();
        self.poll_syncs();
        if !self.peers.is_congested() {
            self.publish_deferred_wills();
        }
        self.probe_storage();
        if self.waiting_for_room
            && self.fanouts.is_empty()
            && !self.peers.is_congested()
            && !self.core.persist.congested
        {
            self.waiting_for_room = false;
            self.effects.decongested = true;
        }
    }

    /// Whether a connection's input is held until there is room.
    pub fn waits_for_room(&self, key: Key) -> bool {
        self.core.links.get(key).is_some_and(|link| link.hold() == Some(Hold::Congestion))
    }

    /// Whether what waits for room waits for storage alone, which says when there is some.
    pub fn waits_for_storage_room(&self) -> bool {
        self.core.persist.congested && self.fanouts.is_empty() && !self.peers.is_congested()
    }

    /// Connections still wait for room: the shard is told when there is some.
    pub fn wait_for_room(&mut self) {
        self.waiting_for_room = true;
    }

    /// Whether something waits until other shards have come far enough: client ids to be given back, shards that
    /// fetch retained messages.
    pub fn waits_for_fence(&self) -> bool {
        !self.releases.is_empty() || !self.syncs.is_empty()
    }

    /// Connections for which something has begun to wait until what is queued to them has gone: the shard calls
    /// [`Broker::handle_writable`] when it has, or [`Broker::has_room_again`].
    #[inline]
    pub fn take_starved(&mut self, into: &mut Vec<Key>) {
        into.append(&mut self.core.starved);
    }

    /// With less than this queued to a connection nothing waits for that.
    #[inline]
    pub fn starving_bytes(&self) -> usize {
        crate::fetch::PAGE_BYTES.min(self.core.settings.outbound_bytes_max as usize)
    }

    /// Whether what waits for a connection's queue to grow shorter could go on.
    pub fn has_room_again(&self, key: Key) -> bool {
        let Some(link) = self.core.links.get(key).filter(|link| link.starved) else { return false };
        let is_fetching = self.core.sessions.get(link.session).is_some_and(|session| session.is_fetching());
        let full = self.core.settings.outbound_bytes_max as usize;
        let full = if is_fetching { self.starving_bytes() } else { full };
        self.core.out.queued(key.index) < full
    }

    /// Whether there is work left for the next turn: it does not wait for input.
    pub fn goes_on(&self) -> bool {
        !self.fanouts.is_empty()
            || !self.hungry.is_empty()
            || (!self.wills.is_empty() && !self.peers.is_congested())
    }

    /// A connection that waited for room is looked at again.
    pub fn release_hold(&mut self, key: Key) {
        if let Some(link) = self.core.links.get_mut(key)
            && link.hold() == Some(Hold::Congestion)
        {
            link.set_hold(None, key, &mut self.core.out);
        }
    }

    /// What is to be sent, per connection.
    #[inline]
    pub fn out(&mut self) -> &mut Outgoing {
        &mut self.core.out
    }

    /// What was counted.
    pub fn tally(&self) -> &Tally {
        &self.core.tally
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }

    /// The largest packet a connection may send.
    #[inline]
    pub fn packet_bytes_max(&self) -> u32 {
        self.core.settings.packet_bytes_max
    }

    /// A connection was accepted. `None`: the broker is full, the shard closes it.
    pub fn handle_opened(&mut self) -> Option<Key> {
        self.core.tally.accepted += 1;
        if self.core.links.len() >= self.core.settings.connections_max as usize {
            self.core.tally.ended.add(Ended::Full);
            return None;
        }
        let link = self.core.links.insert();
        self.core.out.open(link.index);
        // No CONNECT in time: section 3.1.4 leaves the "reasonable amount of time" to the server.
        let timeout = u64::from(self.core.settings.connect_timeout_ms);
        self.link_timers.set(link.index, self.core.mono.plus_ms(timeout));
        Some(link)
    }

    /// A whole packet of a connection: `body` is what follows the fixed header.
    #[inline]
    pub fn handle_packet(&mut self, key: Key, header: FixedHeader, body: &[u8]) -> Handled {
        if self.is_plain_ping(key, header) {
            return self.answer_ping(key, header);
        }
        let Some(link) = self.core.links.get_mut(key) else { return Handled::Ended };
        debug_assert_eq!(self.core.out.flows(key), link.flows());
        match link.state() {
            State::Live => {}
            // [MQTT-3.2.0-2] Only here, and once, a CONNACK comes of it.
            State::New => return self.handle_first(key, header, body),
            // [MQTT-3.2.0-1] Nothing is answered before CONNACK.
            State::Claiming => return Handled::Hold(Hold::Claim),
            State::Ending => return Handled::Ended,
        }
        // Congestion is looked at anew; the other holds end when the broker says so.
        if let Some(hold @ (Hold::Subscribe | Hold::Claim | Hold::Storage)) = link.hold() {
            return Handled::Hold(hold);
        }
        link.set_heard(self.core.mono_ms);
        if let Err(error) = header.check(link.version) {
            return self.end_malformed(key, error);
        }
        let handled = match header.packet_type {
            PacketType::Publish => self.handle_publish(key, header, body),
            PacketType::PubAck => self.handle_puback(key, body),
            PacketType::PubRec => self.handle_pubrec(key, body),
            PacketType::PubRel => self.handle_pubrel(key, body),
            PacketType::PubComp => self.handle_pubcomp(key, body),
            PacketType::PingReq => self.handle_ping(key, header, body),
            PacketType::Subscribe => self.handle_subscribe(key, body),
            PacketType::Unsubscribe => self.handle_unsubscribe(key, body),
            PacketType::Disconnect => self.handle_disconnect(key, body),
            PacketType::Connect => {
                // [MQTT-3.1.0-2] A second CONNECT is a protocol error.
                self.end(key, Ended::SecondConnect, Some(ReasonCode::ProtocolError))
            }
            PacketType::Auth => self.handle_auth(key, body),
            PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck | PacketType::PingResp => {
                self.end(key, Ended::ProtocolError, Some(ReasonCode::ProtocolError))
            }
        };
        if !matches!(handled, Handled::Hold(_)) {
            self.count_packet(header, body);
        }
        handled
    }

    #[inline]
    pub(crate) fn count_packet(&mut self, header: FixedHeader, body: &[u8]) {
        let traffic = &mut self.core.tally.traffic;
        traffic.add(Traffic::PacketsIn);
        traffic.add_n(Traffic::BytesIn, (body.len() + usize::from(header.header_len)) as u64);
    }

    /// The bytes of a connection are not MQTT: the peer broke a rule of framing.
    pub fn handle_malformed(&mut self, key: Key, error: DecodeError) -> Handled {
        match self.core.links.get(key).map(|link| link.state()) {
            Some(State::Live) => self.end_malformed(key, error),
            Some(State::New | State::Claiming) => {
                // [MQTT-3.1.4-1] Without a valid CONNECT there is nobody to explain it to.
                let why = if error.reason() == ReasonCode::PacketTooLarge {
                    Ended::PacketTooLarge
                } else {
                    Ended::Malformed
                };
                self.end(key, why, None)
            }
            _ => Handled::Ended,
        }
    }

    /// The stream of a connection is gone: closed or reset by the peer, lost, or ended by this side before.
    pub fn handle_closed(&mut self, key: Key, why: StreamEnd) {
        let Some(link) = self.core.links.get(key) else { return };
        if link.state() != State::Ending {
            self.core.tally.ended.add(ended_by(why));
            self.leave(key, true);
        }
        self.link_timers.clear(key.index);
        self.core.out.discard(key.index);
        self.core.links.remove(key, &mut self.core.out);
    }

    /// A connection that could not send has sent nearly all that was queued.
    pub fn handle_writable(&mut self, key: Key) {
        let Some(link) = self.core.links.get_mut(key) else { return };
        link.starved = false;
        let session = link.session;
        if link.is_live() {
            self.core.pump(session);
            self.fetch_more(session);
        }
    }

    /// An operator ends a client's connection.
    pub fn kick(&mut self, client_id: &str) -> bool {
        let Some(session) = self.core.sessions.find(client_id) else { return false };
        let link = self.core.sessions.get(session).map_or(Key::NONE, |session| session.link());
        if self.core.links.get(link).is_none() {
            return false;
        }
        self.end(link, Ended::Administrative, Some(ReasonCode::AdministrativeAction));
        true
    }

    /// Tells every client that the broker shuts down, and ends their connections. Wills that are not published yet
    /// are now: the clients did not send DISCONNECT [MQTT-3.1.2-8].
    pub fn shut_down(&mut self) {
        for key in self.core.links.keys() {
            self.end(key, Ended::Shutdown, Some(ReasonCode::ServerShuttingDown));
        }
    }

    /// Ends a connection from this side: what the session must see of it happens here; the stream is closed
    /// when what is queued (a DISCONNECT with `reason` for a v5 client that is live) has gone out.
    pub(crate) fn end(&mut self, key: Key, why: Ended, reason: Option<ReasonCode>) -> Handled {
        let Some(link) = self.core.links.get_mut(key) else { return Handled::Ended };
        if link.state() == State::Ending {
            return Handled::Ended;
        }
        self.core.tally.ended.add(why);
        // [MQTT-3.14.0-1] Live: CONNACK has gone out.
        if let Some(reason) = reason
            && link.is_live()
            && link.is_v5()
        {
            let reference = match reason {
                ReasonCode::ServerShuttingDown | ReasonCode::UseAnotherServer | ReasonCode::ServerMoved => {
                    self.core.settings.server_reference.as_deref()
                }
                _ => None,
            };
            self.core.tally.traffic.add(Traffic::ControlOut);
            let bytes_max = link.packet_bytes_max;
            self.core
                .out
                .append(key.index, |bytes| crate::disconnect::encode(reason, reference, bytes_max, bytes));
        }
        // [MQTT-4.13.2-1] [MQTT-3.14.4-1] [MQTT-3.14.4-2] Whether a reason was sent or not; nothing follows.
        self.leave(key, true);
        self.close(key, Ending::Graceful);
        Handled::Ended
    }

    /// As [`Broker::end`], for a packet that breaks a rule: the reason names it [MQTT-4.13.1-1].
    pub(crate) fn end_malformed(&mut self, key: Key, error: DecodeError) -> Handled {
        let reason = error.reason();
        let why = match reason {
            ReasonCode::PacketTooLarge => Ended::PacketTooLarge,
            ReasonCode::TopicNameInvalid => Ended::TopicNameInvalid,
            ReasonCode::TopicFilterInvalid => Ended::TopicFilterInvalid,
            ReasonCode::TopicAliasInvalid => Ended::TopicAliasInvalid,
            ReasonCode::ProtocolError => Ended::ProtocolError,
            _ => Ended::Malformed,
        };
        self.end(key, why, Some(reason))
    }

    /// The largest packet a connection's client takes, in bytes.
    pub(crate) fn packet_bytes_max_of(&self, key: Key) -> usize {
        self.core.links.get(key).map_or(usize::MAX, |link| link.packet_bytes_max as usize)
    }

    /// The connection has left its session: it only sends what is queued.
    pub(crate) fn close(&mut self, key: Key, how: Ending) {
        let Some(link) = self.core.links.get_mut(key) else { return };
        link.enter(State::Ending, key, &mut self.core.out);
        link.extra = None;
        self.link_timers.clear(key.index);
        self.effects.closes.push(crate::effects::Close { link: key, how });
    }

    /// A serial number no session of the process had.
    pub(crate) fn next_serial(&mut self) -> Publisher {
        self.last_serial += 1;
        Publisher(u64::from(self.me) << 48 | self.last_serial)
    }

    pub(crate) fn session_of(&mut self, link: Key) -> Option<&mut Session> {
        let session = self.core.links.get(link)?.session;
        self.core.sessions.get_mut(session)
    }

    // ---- figures -----------------------------------------------------------------------------------------

    /// Open connections, those without CONNECT and those being ended included.
    pub fn link_count(&self) -> usize {
        self.core.links.len()
    }

    /// Sessions, those whose client is away included.
    pub fn session_count(&self) -> usize {
        self.core.sessions.len()
    }

    /// How many clients are connected, and what sessions are subscribed to.
    pub fn census(&self) -> Census {
        // A million sessions are not walked for a figure; where checks are on, the counts are proved.
        debug_assert_eq!(self.core.census, Census::of(&self.core.sessions));
        self.core.census
    }

    /// Client ids at home here that connections of other shards hold.
    pub fn claim_count(&self) -> usize {
        self.claims.len()
    }

    /// Retained messages at home here.
    pub fn retained(&self) -> &RetainedSet {
        &self.retained
    }

    /// Stored messages.
    pub fn messages(&self) -> &Messages {
        &self.core.messages
    }

    /// The router.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.core.sessions
    }

    /// Records that wait for another shard, for checks: settlements, barriers, subscribes, fetches, claims
    /// under way, fan-outs.
    pub fn waiting(&self) -> usize {
        self.settlements.len()
            + self.barriers.len()
            + self.subscribes.len()
            + self.fetches.len()
            + self.releases.len()
            + self.syncs.len()
            + self.fanouts.len()
            + self.wills.len()
            + self.claims.waiting()
            + self.core.persist.waiting()
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("shard", &self.me)
            .field("links", &self.link_count())
            .field("sessions", &self.session_count())
            .field("router", &self.router)
            .finish()
    }
}
