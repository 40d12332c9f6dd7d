//! What the storage costs: batches as shards send them, straight into the engine. Nothing of the network or
//! the broker is in these figures.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pelton_base::{HashKey, Wall};
use pelton_storage_lmdb::{Engine, Options, Policy, ShardPort, StoreEvent, StoreStatus, Wake};
use pelton_storage_ops::{
    Answer, Batch, MessageHead, OpKind, PageRequest, SessionId, SessionImage, SessionKind, Target,
};

/// Operations in a batch: what a busy shard has in a turn.
const BATCH: u64 = 100;
/// Batches under way.
const WINDOW: usize = 200;
/// The topic of all messages.
const TOPIC: &[u8] = b"plant/7/line/3/temp";

/// What is sent to the store.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Payload bytes.
    pub payload: usize,
    /// Sessions that messages are for.
    pub sessions: u64,
    /// Messages one after the other for the same session: 1 goes round all sessions.
    pub run: u64,
    /// How many messages later a message is done with: 0 for never, `u64::MAX` for at once, in its own batch.
    pub done_after: u64,
}

/// What it came to.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Messages sent.
    pub messages: u64,
    /// From the first batch to the last completion.
    pub wall: Duration,
    /// From sending a batch to being told: each batch, sorted.
    pub latencies: Vec<Duration>,
    /// Counters before and after.
    before: StoreStatus,
    after: StoreStatus,
}

impl Cost {
    /// By how much a counter has grown.
    pub fn count(&self, event: StoreEvent) -> u64 {
        self.after.counters.get(event) - self.before.counters.get(event)
    }

    /// Microseconds of the writer's processor time per message.
    pub fn cpu_us(&self) -> f64 {
        self.count(StoreEvent::WriterCpuMicros) as f64 / self.messages as f64
    }

    /// A latency not exceeded by this share of batches.
    pub fn latency(&self, share: f64) -> Duration {
        let at = ((self.latencies.len() as f64 * share) as usize).min(self.latencies.len() - 1);
        self.latencies[at]
    }
}

/// A store of its own in a directory, removed at the end.
#[derive(Debug)]
pub struct Bench {
    directory: PathBuf,
    engine: Option<Engine>,
    port: Option<ShardPort>,
    batch: Batch,
    spare: Vec<Batch>,
    sent: std::collections::VecDeque<(u64, Instant)>,
    latencies: Vec<Duration>,
    /// Messages sent so far to each session.
    sequences: Vec<u64>,
}

/// Opens a store for one shard.
///
/// # Panics
/// If it cannot be opened.
pub fn open(directory: &Path) -> (Engine, Vec<ShardPort>) {
    Engine::open(directory, options(Policy::Commit)).expect("a store for a bench")
}

fn options(policy: Policy) -> Options {
    Options { policy, ..Options::new(HashKey::new(1, 2), vec![Arc::new(|| ()) as Wake]) }
}

fn session(number: u64) -> SessionId {
    SessionId { slot: (number % 1024) as u16, serial: number }
}

impl Bench {
    /// Makes a store under `parent` with so many sessions.
    ///
    /// # Panics
    /// If the store cannot be made.
    pub fn new(parent: &Path, policy: Policy, sessions: u64) -> Self {
        let directory = parent.join(format!("pelton-storage-bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let options = Options { policy, ..Options::new(HashKey::new(1, 2), vec![Arc::new(|| ()) as Wake]) };
        let (engine, mut ports) = Engine::open(&directory, options).expect("a store for a bench");
        let mut bench = Self {
            directory,
            engine: Some(engine),
            port: ports.pop(),
            batch: Batch::default(),
            spare: Vec::new(),
            sent: std::collections::VecDeque::new(),
            latencies: Vec::new(),
            sequences: vec![0; sessions as usize],
        };
        let mut image = Vec::new();
        for number in 0..sessions {
            image.clear();
            SessionImage {
                kind: SessionKind::Client,
                client_id: format!("client-{number:08}"),
                expiry_seconds: 3_600,
                expires: Wall::NEVER,
                will: None,
            }
            .encode(&mut image);
            let kind = OpKind::PutSession { session: session(number), image: image.len() as u32 };
            bench.batch.push(kind, None, &[&image]);
            bench.flush_if(BATCH);
        }
        bench.flush_if(1);
        bench.wait(0);
        bench
    }

    /// Makes a store whose sessions have one subscription each, with so many retained messages.
    pub fn with_sessions_and_retained(parent: &Path, sessions: u64, retained: u64) -> Self {
        let mut bench = Self::new(parent, Policy::Relaxed, sessions);
        for number in 0..sessions {
            let filter = format!("plant/{}/device/{number}/command", number % 100);
            let kind = OpKind::PutSubscription {
                session: session(number),
                filter: filter.len() as u16,
                options: 1,
                identifier: 0,
            };
            bench.batch.push(kind, None, &[filter.as_bytes()]);
            bench.flush_if(BATCH);
        }
        bench.retain(retained);
        bench
    }

    /// Sets so many retained messages of 64 bytes, those of earlier calls again, and waits for all.
    pub fn retain(&mut self, topics: u64) {
        for number in 0..topics {
            let topic = format!("plant/{}/device/{number}/state", number % 100);
            let payload = [0x55; 64];
            let message = MessageHead {
                topic: topic.len() as u16,
                forwarded: 0,
                payload: payload.len() as u32,
                qos: 1,
                retain: true,
                expires: Wall::NEVER,
                publisher: 0,
                client_hash: 0,
            };
            self.batch.push(OpKind::PutRetained { message }, None, &[topic.as_bytes(), &payload]);
            self.flush_if(BATCH);
        }
        self.flush_if(1);
        self.wait(0);
    }

    /// Closes the store and keeps it; returns its directory.
    pub fn close(mut self) -> PathBuf {
        self.port = None;
        if let Some(engine) = self.engine.take() {
            engine.close();
        }
        std::mem::take(&mut self.directory)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("open until dropped")
    }

    fn port(&self) -> &ShardPort {
        self.port.as_ref().expect("open until dropped")
    }

    fn flush_if(&mut self, operations: u64) {
        if (self.batch.ops.len() as u64) < operations.max(1) {
            return;
        }
        let mut next = self.spare.pop().unwrap_or_default();
        next.restart(self.batch.end());
        let batch = std::mem::replace(&mut self.batch, next);
        self.sent.push_back((batch.end(), Instant::now()));
        self.port().batches.send(batch).expect("the store takes batches");
        self.wait(WINDOW);
    }

    /// Waits until no more than `left` batches are under way.
    fn wait(&mut self, left: usize) {
        while self.sent.len() > left {
            match self.port().answers.recv().expect("the store answers") {
                Answer::Completed(completion) => {
                    assert!(completion.failed.is_empty(), "the disk took everything");
                    while let Some((_, sent)) = self.sent.pop_front_if(|(end, _)| *end <= completion.until) {
                        self.latencies.push(sent.elapsed());
                    }
                    self.spare.extend(completion.returned);
                    self.spare.truncate(WINDOW);
                }
                Answer::Page(_) => {}
            }
        }
    }

    /// Sends so many messages and waits for all.
    pub fn send(&mut self, load: Load, messages: u64) -> Cost {
        let before = self.engine().status();
        self.latencies.clear();
        let began = Instant::now();
        self.push(load, 0, messages);
        self.cost(began, before, messages)
    }

    /// Sends so many messages and waits for all, and nothing else: what takes time is the store.
    pub fn put(&mut self, load: Load, messages: u64) {
        self.latencies.clear();
        self.push(load, 0, messages);
    }

    /// Sends messages from number `first` on, and waits until all are durable.
    fn push(&mut self, load: Load, first: u64, messages: u64) {
        let payload = vec![0x55; load.payload];
        let head = MessageHead {
            topic: TOPIC.len() as u16,
            forwarded: 0,
            payload: load.payload as u32,
            qos: 1,
            retain: false,
            expires: Wall::NEVER,
            publisher: 1,
            client_hash: 2,
        };
        let mut under_way = std::collections::VecDeque::new();
        for number in first..first + messages {
            let to = number / load.run % load.sessions;
            let sequence = self.sequences[to as usize];
            self.sequences[to as usize] += 1;
            self.batch.targets.push(Target {
                session: session(to),
                sequence,
                qos: 1,
                retain: false,
                packet_id: 0,
                identifiers: 0,
            });
            self.batch.push(OpKind::Enqueue { message: head, targets: 1 }, None, &[TOPIC, &payload]);
            if load.done_after != 0 {
                under_way.push_back((to, sequence));
                let keep = if load.done_after == u64::MAX { 0 } else { load.done_after as usize };
                if under_way.len() > keep {
                    let (to, sequence) = under_way.pop_front().expect("one was pushed");
                    self.batch.push(OpKind::Done { session: session(to), sequence }, None, &[]);
                }
            }
            self.flush_if(BATCH);
        }
        self.flush_if(1);
        self.wait(0);
    }

    /// Sends messages one by one, each after the one before it is durable.
    pub fn ping(&mut self, load: Load, messages: u64) -> Cost {
        let before = self.engine().status();
        self.latencies.clear();
        let began = Instant::now();
        for number in 0..messages {
            self.push(load, number, 1);
        }
        self.cost(began, before, messages)
    }

    fn cost(&mut self, began: Instant, before: StoreStatus, messages: u64) -> Cost {
        let wall = began.elapsed();
        let mut latencies = std::mem::take(&mut self.latencies);
        latencies.sort_unstable();
        // The writer counts its time after it has told the shards.
        std::thread::sleep(Duration::from_millis(20));
        Cost { messages, wall, latencies, before, after: self.engine().status() }
    }

    /// Reads so many messages of each session in pages of 100; returns how many there were.
    pub fn read(&mut self, sessions: u64, messages: u64) -> u64 {
        let mut read = 0;
        for number in 0..sessions {
            let mut from = 0;
            while from < messages {
                let request = PageRequest {
                    token: 0,
                    shard: 0,
                    session: session(number),
                    from,
                    messages_max: 100,
                    bytes_max: 1 << 20,
                };
                self.port().requests.send(request).expect("the store takes requests");
                let Ok(Answer::Page(page)) = self.port().answers.recv() else { continue };
                let Some(last) = page.entries.last() else { break };
                from = last.sequence + 1;
                read += page.entries.len() as u64;
            }
        }
        read
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.port = None;
        if let Some(engine) = self.engine.take() {
            engine.close();
        }
        if !self.directory.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
