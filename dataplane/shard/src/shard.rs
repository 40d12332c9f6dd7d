//! The turn.

mod flush;
mod streams;

use std::collections::VecDeque;

use crossbeam_channel::Receiver;
use pelton_base::{ByteStreams, Chunks, Ending, Key, Mono, Wall};
use pelton_broker::access::Decision;
use pelton_broker::effects::Ask;
use pelton_broker::persist::LoadError;
use pelton_broker::router::ShardMask;
use pelton_broker::{Broker, Setup};
use pelton_mqtt::QoS;
use pelton_storage_ops::Loaded;

use crate::command::{Command, Snapshot};
use crate::inlet::Conn;
use crate::mesh::{HandedOver, Mesh};
use crate::storage::{Storage, StoragePort};

/// Commands taken in one turn.
const COMMANDS_A_TURN: usize = 16;
/// Data chunks taken from one other shard in one turn.
const CHUNKS_A_TURN: usize = 8;
/// Events that are looked ahead at a time, so that memory has come by when they are worked on.
const AHEAD: usize = 6;
/// Fewer connections stay in the processor's cache: the flush need not look ahead.
const LOOKED_AHEAD_MIN: usize = 4_096;
/// Connections taken over from one other shard in one turn.
const HANDOVERS_A_TURN: usize = 64;
/// How long a connection may take to read what is queued when it is being ended.
const LAST_WORDS_MS: u64 = 5_000;
/// How long a shard that was told to shut down waits for what the others still publish.
const LEAVE_MS_MAX: u64 = 1_000;
/// How soon to look again when something is staged that found no room.
const RETRY_US: u64 = 200;

/// What a turn left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// There is more to do at once.
    pub busy: bool,
    /// When there is something to do if nothing comes in before; [`Mono::NEVER`] if nothing.
    pub until: Mono,
    /// Other shards that were given something.
    pub woken: ShardMask,
}

/// One polling core.
pub struct Shard<T: ByteStreams> {
    number: u16,
    broker: Broker,
    transport: T,
    mesh: Mesh<T::Handover>,
    commands: Receiver<Command>,
    storage: Option<Storage>,
    /// By the index of their key in the broker.
    conns: Chunks<Option<Conn>>,
    /// Connections whose publishes wait for room, in the order they came to wait.
    waiting: VecDeque<Key>,
    /// Connections to be handed over that found the ring full.
    leaving: Vec<(Key, u16)>,
    /// Connections being ended that have not sent all yet, by deadline.
    last_words: VecDeque<(Mono, Key)>,
    /// Messages of the broker's own that found the mesh full.
    own: VecDeque<(String, Vec<u8>, QoS, bool)>,
    /// Questions on access, for the driver.
    asks: Vec<Ask>,
    life: Life,
    turns: u64,
    dirty: Vec<u32>,
    urgent: Vec<u32>,
    /// Connections that had much queued and have less: something may have waited for that.
    eased: Vec<Key>,
    /// Tokens of streams whose peers have taken bytes for good, and how many.
    acknowledged: Vec<(u64, usize)>,
    /// Shards whose transports were given something in this turn.
    relayed_to: Vec<u16>,
    now: Mono,
}

/// How far a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Serves,
    /// It was told to shut down: wills go out and come in, clients are not heard. Until then at the latest.
    TakesLeave(Mono),
    /// Connections end.
    Ends,
}

impl<T: ByteStreams> Shard<T> {
    /// A shard with its transport, its end of the mesh, and the channel its commands come by.
    pub fn new(setup: Setup, transport: T, mesh: Mesh<T::Handover>, commands: Receiver<Command>) -> Self {
        Self {
            number: setup.shard,
            now: setup.mono,
            broker: Broker::new(setup),
            transport,
            mesh,
            commands,
            storage: None,
            conns: Chunks::new(),
            waiting: VecDeque::new(),
            leaving: Vec::new(),
            last_words: VecDeque::new(),
            own: VecDeque::new(),
            asks: Vec::new(),
            life: Life::Serves,
            turns: 0,
            dirty: Vec::new(),
            urgent: Vec::new(),
            eased: Vec::new(),
            acknowledged: Vec::new(),
            relayed_to: Vec::new(),
        }
    }

    /// Does everything there is to do, within the bounds of a turn, and flushes.
    pub fn turn(&mut self, mono: Mono, wall: Wall) -> Turn {
        self.now = mono;
        self.turns += 1;
        self.broker.begin_turn(mono, wall);
        self.take_commands();
        let mut busy = self.take_storage();
        busy |= self.broker.poll_deliveries();
        busy |= self.take_mesh();
        self.take_streams();
        busy |= self.broker.poll_timers();
        self.take_leave();
        self.broker.end_turn();
        self.feed_again();
        self.send_storage();
        self.carry_out();
        self.flush();
        self.take_acknowledged();
        if self.feed_starved() {
            self.flush();
        }
        self.end_last_words();
        self.transport.end_turn();
        let mut woken = self.mesh.exchange(&mut self.broker.peers);
        self.transport.take_woken(&mut self.relayed_to);
        for shard in self.relayed_to.drain(..) {
            woken = woken.and(ShardMask::one(shard));
        }
        busy |= self.broker.goes_on() || self.can_feed();
        Turn { busy, until: if busy { mono } else { self.idle_until() }, woken }
    }

    /// Whether another shard or the control plane has sent something since the last turn: to be asked after
    /// saying that one is about to sleep, and before sleeping.
    pub fn has_input(&self) -> bool {
        self.mesh.has_input()
            || self.transport.has_input()
            || !self.commands.is_empty()
            || self.storage.as_ref().is_some_and(Storage::has_input)
    }

    /// The transport, for its driver to wait on.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// The broker, for figures.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Questions on access since the last call.
    pub fn asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks)
    }

    /// Whether the shard was told to shut down and has nobody left.
    pub fn is_shut_down(&self) -> bool {
        self.life == Life::Ends
            && self.broker.link_count() == 0
            && self.mesh.is_quiet()
            && (self.storage.is_none()
                || (self.broker.waiting() == 0 && self.broker.peers.dirty().is_empty()))
    }

    /// Whether nothing is on its way inside of this shard or to another, for checks.
    pub fn is_quiet(&self) -> bool {
        self.broker.waiting() == 0
            && self.mesh.is_quiet()
            && self.broker.peers.dirty().is_empty()
            && self.waiting.is_empty()
            && self.leaving.is_empty()
            && self.own.is_empty()
    }

    /// Bytes held of connections' input, for checks.
    pub fn held_bytes(&self) -> usize {
        self.conns.iter().flatten().filter_map(|conn| conn.rest.as_ref()).map(|rest| rest.bytes.len()).sum()
    }

    /// What the shard itself holds besides its broker, for checks: names and amounts.
    pub fn held(&self) -> [(&'static str, usize); 6] {
        [
            ("connections", self.conns.iter().flatten().count()),
            ("waiting_for_room", self.waiting.len()),
            ("leaving", self.leaving.len()),
            ("last_words", self.last_words.len()),
            ("own_messages", self.own.len()),
            ("held_input_bytes", self.held_bytes()),
        ]
    }

    // ---- storage -----------------------------------------------------------------------------------------

    /// From here on the shard has a storage.
    pub fn attach(&mut self, port: StoragePort) {
        self.storage = Some(Storage::new(port));
    }

    /// Takes one thing that was found in the store, before the first turn.
    ///
    /// # Errors
    /// If it cannot be this broker's.
    pub fn load(&mut self, loaded: Loaded) -> Result<(), LoadError> {
        self.broker.load(loaded)
    }

    /// Nothing more is loaded here.
    pub fn end_load(&mut self) {
        self.broker.end_load();
    }

    /// A turn while the store is being loaded: no client is heard, only storage and the other shards. Returns
    /// the shards to wake.
    pub fn load_turn(&mut self, mono: Mono, wall: Wall) -> ShardMask {
        self.now = mono;
        self.broker.begin_turn(mono, wall);
        self.take_storage();
        self.take_mesh();
        self.send_storage();
        self.mesh.exchange(&mut self.broker.peers)
    }

    /// More can be loaded without the mesh growing beyond its bounds.
    pub fn takes_load(&self) -> bool {
        self.broker.takes_load()
    }

    /// All that was loaded here is known to the other shards.
    pub fn is_loaded(&self) -> bool {
        self.broker.is_loaded()
    }

    /// Every shard is loaded: turns may begin.
    pub fn all_loaded(&mut self) {
        self.broker.all_loaded();
    }

    #[inline]
    fn take_storage(&mut self) -> bool {
        match &mut self.storage {
            Some(storage) => storage.take(&mut self.broker),
            None => false,
        }
    }

    #[inline]
    fn send_storage(&mut self) {
        if let Some(storage) = &mut self.storage {
            storage.send(&mut self.broker);
        }
    }

    // ---- commands ----------------------------------------------------------------------------------------

    fn take_commands(&mut self) {
        for _ in 0..COMMANDS_A_TURN {
            let Ok(command) = self.commands.try_recv() else { break };
            match command {
                Command::Snapshot(to) => {
                    // Whoever asked may have given up waiting.
                    let _ = to.send(self.snapshot());
                }
                Command::Publish { topic, payload, qos, retain } => {
                    self.own.push_back((topic, payload, qos, retain));
                }
                Command::Kick(client_id) => {
                    self.broker.kick(&client_id);
                }
                Command::Answer { link, ticket, decision } => self.answer(link, ticket, decision),
                Command::TooBig { interface, segments } => self.transport.too_big(&interface, &segments),
                Command::ShutDown => {
                    if self.life == Life::Serves {
                        self.life = Life::TakesLeave(self.now.plus_ms(LEAVE_MS_MAX));
                        self.transport.stop_listening();
                        self.broker.publish_wills();
                    }
                }
            }
        }
        while let Some((topic, payload, qos, retain)) = self.own.front() {
            if !self.broker.publish_message(topic, payload, *qos, *retain) {
                break;
            }
            self.own.pop_front();
        }
    }

    /// The answer to a question on access.
    pub fn answer(&mut self, link: Key, ticket: u64, decision: Decision) {
        self.broker.handle_answer(link, ticket, decision);
    }

    /// What this shard is and has done.
    pub fn snapshot(&self) -> Snapshot {
        let broker = &self.broker;
        let census = broker.census();
        Snapshot {
            shard: self.number,
            tally: broker.tally().clone(),
            connections: broker.link_count(),
            sessions_online: census.online,
            sessions: broker.session_count(),
            subscriptions: census.subscriptions,
            shared_subscriptions: census.shared_subscriptions,
            retained_messages: broker.retained().len(),
            retained_bytes: broker.retained().bytes(),
            stored_messages: broker.messages().len(),
            stored_bytes: broker.messages().bytes(),
            filters: broker.router().filter_count(),
            turns: self.turns,
            transport: self.transport.figures(),
            interfaces: self.transport.interfaces(),
        }
    }

    /// Ends all connections when the wills of all shards have come, or it takes too long.
    fn take_leave(&mut self) {
        if let Life::TakesLeave(until) = self.life
            && (self.broker.has_taken_leave() || self.now >= until)
        {
            self.life = Life::Ends;
            self.broker.shut_down();
        }
    }

    // ---- other shards ------------------------------------------------------------------------------------

    fn take_mesh(&mut self) -> bool {
        let mut more = false;
        for from in self.mesh.others() {
            while let Some(chunk) = self.mesh.next_replies(from) {
                self.broker.handle_replies(from, &chunk);
            }
            for taken in 0.. {
                if taken == CHUNKS_A_TURN || !self.broker.takes_chunks() {
                    more = true;
                    break;
                }
                let Some(chunk) = self.mesh.next_data(from) else { break };
                self.broker.handle_chunk(from, &chunk);
                self.mesh.give_back(from, chunk);
                self.flush_urgent();
            }
            for _ in 0..HANDOVERS_A_TURN {
                let Some(handed) = self.mesh.next_handover(from) else { break };
                self.take_over(handed);
            }
        }
        more && self.mesh.has_input()
    }

    /// A connection that another shard handed over.
    fn take_over(&mut self, handed: HandedOver<T::Handover>) {
        let HandedOver { stream, bytes, unsent, listener } = handed;
        let Some((stream, _)) = self.transport.attach(stream) else { return };
        let Some(key) = self.if_open(Broker::handle_attached) else {
            self.transport.close(stream, Ending::Abort);
            return;
        };
        self.open(key, stream, listener);
        self.broker.queue_again(key, &unsent);
        self.receive(key, &bytes);
    }

    /// Hands a connection to the shard it belongs to, with what it sent so far.
    fn hand_over(&mut self, key: Key, to: u16) {
        if !self.mesh.takes_handover(to) {
            self.leaving.push((key, to));
            return;
        }
        let Some(conn) = self.conn(key) else { return };
        let listener = conn.listener;
        let bytes = conn.rest.take().map(|rest| rest.bytes).unwrap_or_default();
        let stream = self.line(key).stream;
        match self.transport.detach(stream, to) {
            Some(stream) => {
                self.forget(key);
                let unsent = self.broker.handle_detached(key);
                let handed = self.mesh.hand_over(to, HandedOver { stream, bytes, unsent, listener });
                debug_assert!(handed.is_ok(), "there is room");
            }
            None => self.broker.hand_over_failed(key),
        }
    }

    fn idle_until(&self) -> Mono {
        let mut until = [self.broker.next_timeout(), self.transport.next_timeout()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Mono::NEVER);
        if let Some(&(at, _)) = self.last_words.front() {
            until = until.min(at);
        }
        if let Life::TakesLeave(at) = self.life {
            until = until.min(at);
        }
        // What found no room, and what waits until others have come far enough, is looked at again soon: the
        // others do not wake a shard for the way back.
        if !self.broker.peers.dirty().is_empty()
            || self.broker.waits_for_fence()
            || !self.leaving.is_empty()
            || !self.own.is_empty()
            || (!self.waiting.is_empty() && !self.broker.waits_for_storage_room())
            || self.storage.as_ref().is_some_and(Storage::is_stuck)
        {
            until = until.min(self.now.plus_us(RETRY_US));
        }
        until
    }
}

impl<T: ByteStreams> std::fmt::Debug for Shard<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("number", &self.number).field("broker", &self.broker).finish()
    }
}
