//! Brokers with their mesh and their storage, turn by turn, without shard and transport: what a crash leaves
//! is what the reference store had committed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pelton_base::{HashKey, Key, Mono, StreamEnd, Wall};
use pelton_broker::peers::{Chunk, Item};
use pelton_broker::{Broker, Handled, Settings, Setup};
use pelton_mqtt::{Frame, MAX_PACKET, frame};
use pelton_storage_ops::reference::ReferenceStore;
use pelton_storage_ops::{Batch, Loaded, Page, PageRequest};

/// A connection of a model client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnId(u64);

struct Conn {
    shard: usize,
    key: Key,
    /// Packets on their way to the broker.
    input: VecDeque<Vec<u8>>,
    /// Bytes on their way to the client.
    output: Vec<u8>,
    /// The client reads.
    reads: bool,
    /// It did not, and something waited for it.
    blocked: bool,
    open: bool,
}

/// What the storage does with what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// Commits at once.
    Quick,
    /// Commits when told to.
    Held,
}

pub(crate) struct World {
    pub(crate) brokers: Vec<Broker>,
    pub(crate) settings: Arc<Settings>,
    key: HashKey,
    pub(crate) store: ReferenceStore,
    pub(crate) disk: Disk,
    batches: VecDeque<Batch>,
    pages: VecDeque<PageRequest>,
    data: BTreeMap<(usize, usize), VecDeque<Chunk<Item>>>,
    taken: BTreeMap<(usize, usize), u64>,
    conns: BTreeMap<ConnId, Conn>,
    last_conn: u64,
    pub(crate) mono: Mono,
    pub(crate) wall: Wall,
    boots: u64,
    /// Operations the store was given.
    pub(crate) operations: u64,
    pub(crate) pages_read: u64,
    /// The page, counted from 0, that cannot be read when it is asked for.
    pub(crate) unreadable: Option<u64>,
    /// How often a shard would look again at what waits for room.
    pub(crate) decongested: u64,
    /// How long a turn takes.
    pub(crate) turn_ms: u64,
}

impl World {
    pub(crate) fn new(shards: usize, settings: Settings) -> Self {
        let mut world = Self {
            brokers: Vec::new(),
            settings: Arc::new(settings),
            key: HashKey::new(11, 12),
            store: ReferenceStore::default(),
            disk: Disk::Quick,
            batches: VecDeque::new(),
            pages: VecDeque::new(),
            data: BTreeMap::new(),
            taken: BTreeMap::new(),
            conns: BTreeMap::new(),
            last_conn: 0,
            mono: Mono::from_ms(1_000),
            wall: Wall(1_800_000_000_000),
            boots: 0,
            operations: 0,
            pages_read: 0,
            unreadable: None,
            decongested: 0,
            turn_ms: 1,
        };
        world.boot(shards);
        world
    }

    fn boot(&mut self, shards: usize) {
        self.boots += 1;
        self.data.clear();
        self.taken.clear();
        self.batches.clear();
        self.pages.clear();
        self.brokers = (0..shards)
            .map(|shard| {
                Broker::new(Setup {
                    shard: shard as u16,
                    shards: shards as u16,
                    key: self.key,
                    seed: self.boots * 100 + shard as u64,
                    settings: self.settings.clone(),
                    mono: self.mono,
                    wall: self.wall,
                })
            })
            .collect();
        if self.settings.storage.is_none() {
            return;
        }
        let loaded: Vec<Loaded> = self.store.load();
        for loaded in loaded {
            let home = Broker::home_of(self.key, shards as u16, &loaded);
            let broker = &mut self.brokers[usize::from(home)];
            broker.load(loaded).expect("what was stored is loaded");
            assert!(broker.takes_load(), "the store may be waiting for the end of the loading");
        }
        self.brokers.iter_mut().for_each(Broker::end_load);
        for _ in 0..1_000 {
            if self.brokers.iter().all(Broker::is_loaded) {
                self.brokers.iter_mut().for_each(Broker::all_loaded);
                return;
            }
            self.exchange();
            self.serve();
            // Queues of groups are read, whatever the storage does with what it is given.
            self.commit(0);
        }
        panic!("the brokers do not come to an end of their loading");
    }

    /// Everything stops; what was not committed is gone. The brokers come back, on `shards` shards.
    pub(crate) fn crash(&mut self, shards: usize) {
        self.store.crash();
        self.conns.clear();
        self.boot(shards);
    }

    /// A client connects; to whichever shard.
    pub(crate) fn open(&mut self, shard: usize) -> ConnId {
        self.last_conn += 1;
        let id = ConnId(self.last_conn);
        let key = self.brokers[shard].handle_opened().expect("there is room");
        let conn = Conn {
            shard,
            key,
            input: VecDeque::new(),
            output: Vec::new(),
            reads: true,
            blocked: false,
            open: true,
        };
        self.conns.insert(id, conn);
        id
    }

    pub(crate) fn send(&mut self, id: ConnId, packet: Vec<u8>) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.input.push_back(packet);
        }
    }

    /// Whether the client reads what it is sent.
    pub(crate) fn set_reads(&mut self, id: ConnId, reads: bool) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.reads = reads;
        }
    }

    /// The client goes without a word.
    pub(crate) fn cut(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.remove(&id)
            && conn.open
        {
            self.brokers[conn.shard].handle_closed(conn.key, StreamEnd::PeerReset);
        }
    }

    /// What the broker said since, and whether the connection still stands.
    pub(crate) fn receive(&mut self, id: ConnId) -> (Vec<u8>, bool) {
        match self.conns.get_mut(&id) {
            Some(conn) => (std::mem::take(&mut conn.output), conn.open),
            None => (Vec::new(), false),
        }
    }

    /// One turn of every shard, and of the storage.
    pub(crate) fn turn(&mut self) {
        self.mono = self.mono.plus_ms(self.turn_ms);
        self.wall.0 += self.turn_ms;
        for shard in 0..self.brokers.len() {
            self.brokers[shard].begin_turn(self.mono, self.wall);
            self.brokers[shard].poll_deliveries();
            self.take_mesh(shard);
            self.feed(shard);
            self.brokers[shard].poll_timers();
            self.brokers[shard].end_turn();
            self.flush(shard);
        }
        self.exchange();
        self.serve();
    }

    pub(crate) fn turns(&mut self, turns: usize) {
        for _ in 0..turns {
            self.turn();
        }
    }

    /// Lets time pass.
    pub(crate) fn sleep(&mut self, ms: u64) {
        self.mono = self.mono.plus_ms(ms);
        self.wall.0 += ms;
        self.turns(3);
    }

    fn feed(&mut self, shard: usize) {
        let ids: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.shard == shard && conn.open)
            .map(|(&id, _)| id)
            .collect();
        for id in ids {
            while let Some(conn) = self.conns.get_mut(&id)
                && let Some(packet) = conn.input.pop_front()
            {
                let broker = &mut self.brokers[conn.shard];
                let Ok(Frame::Complete { header, total }) = frame(&packet, MAX_PACKET) else {
                    panic!("the model clients send whole packets");
                };
                broker.release_hold(conn.key);
                let body = &packet[usize::from(header.header_len)..total];
                match broker.handle_packet(conn.key, header, body) {
                    Handled::Done => {}
                    Handled::Ended => break,
                    Handled::Hold(_) => {
                        conn.input.push_front(packet);
                        break;
                    }
                    Handled::HandOver(to) => {
                        conn.input.push_front(packet);
                        broker.handle_detached(conn.key);
                        conn.shard = usize::from(to);
                        conn.key = self.brokers[conn.shard].handle_attached().expect("there is room");
                        break;
                    }
                }
            }
        }
    }

    fn flush(&mut self, shard: usize) {
        let broker = &mut self.brokers[shard];
        let (mut dirty, mut urgent) = (Vec::new(), Vec::new());
        broker.out().take_dirty(&mut dirty);
        broker.out().take_urgent(&mut urgent);
        broker.effects.resumed.clear();
        self.decongested += u64::from(std::mem::take(&mut broker.effects.decongested));
        let mut writable = Vec::new();
        for conn in self.conns.values_mut().filter(|conn| conn.shard == shard && conn.open) {
            let out = broker.out();
            let (queue, logs) = out.queue(conn.key.index);
            if queue.is_empty() {
                continue;
            }
            if !conn.reads {
                conn.blocked = true;
                continue;
            }
            for slice in queue.slices(logs) {
                conn.output.extend_from_slice(slice);
            }
            let len = queue.len();
            queue.consume(len, logs);
            out.settle(conn.key.index);
            if std::mem::take(&mut conn.blocked) {
                writable.push(conn.key);
            }
        }
        for key in writable {
            broker.handle_writable(key);
        }
        for close in std::mem::take(&mut broker.effects.closes) {
            for conn in self.conns.values_mut().filter(|conn| conn.shard == shard && conn.key == close.link) {
                conn.open = false;
            }
            broker.handle_closed(close.link, StreamEnd::Local);
        }
    }

    fn take_mesh(&mut self, shard: usize) {
        for from in (0..self.brokers.len()).filter(|&from| from != shard) {
            while self.brokers[shard].takes_chunks() {
                let Some(chunk) = self.data.entry((from, shard)).or_default().pop_front() else { break };
                self.brokers[shard].handle_chunk(from as u16, &chunk);
                let taken = self.taken.entry((from, shard)).or_default();
                *taken += 1;
                let taken = *taken;
                self.brokers[from].peers.set_taken(shard as u16, taken);
            }
        }
    }

    /// Moves what is staged for other shards, and takes it there if no turn does.
    fn exchange(&mut self) {
        for from in 0..self.brokers.len() {
            for to in (0..self.brokers.len()).filter(|&to| to != from) {
                if let Ok(chunk) = self.brokers[from].peers.take_data(to as u16, Chunk::default()) {
                    self.data.entry((from, to)).or_default().push_back(chunk);
                }
                if let Ok(chunk) = self.brokers[from].peers.take_replies(to as u16, Chunk::default()) {
                    self.brokers[to].handle_replies(from as u16, &chunk);
                }
            }
        }
        if self.brokers.iter().any(|broker| !broker.is_loaded()) {
            for shard in 0..self.brokers.len() {
                self.take_mesh(shard);
            }
        }
    }

    fn serve(&mut self) {
        for broker in &mut self.brokers {
            if let Some(batch) = broker.take_batch() {
                self.operations += batch.ops.len() as u64;
                self.batches.push_back(batch);
            }
            self.pages.extend(broker.take_page_requests());
        }
        if self.disk == Disk::Quick {
            self.commit(usize::MAX);
        }
    }

    /// The storage commits the oldest batches, and serves the pages that were asked for.
    pub(crate) fn commit(&mut self, batches: usize) {
        for _ in 0..batches {
            let Some(batch) = self.batches.pop_front() else { break };
            self.store.apply(batch);
        }
        for (shard, completion) in self.store.commit() {
            self.brokers[usize::from(shard)].handle_completion(completion);
        }
        while let Some(request) = self.pages.pop_front() {
            let page = if self.unreadable == Some(self.pages_read) {
                Page { token: request.token, complete: false, ..Page::default() }
            } else {
                self.store.page(&request)
            };
            self.pages_read += 1;
            self.brokers[usize::from(request.shard)].handle_page(&page);
        }
    }

    /// Nothing is under way anywhere.
    pub(crate) fn is_quiet(&self) -> bool {
        self.brokers.iter().all(|broker| broker.waiting() == 0)
            && self.batches.is_empty()
            && self.data.values().all(VecDeque::is_empty)
            && self.conns.values().all(|conn| conn.input.is_empty() && conn.output.is_empty())
    }
}
