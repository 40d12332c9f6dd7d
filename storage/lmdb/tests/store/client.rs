//! A store and the shards that use it, as one thing that a test drives: batches go to the engine and to the
//! reference store alike, and what both hold is compared.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pelton_base::HashKey;
use pelton_storage_lmdb::{Engine, Options, ShardPort, Wake};
use pelton_storage_ops::reference::ReferenceStore;
use pelton_storage_ops::{Answer, Batch, Completion, Loaded, Page, PageRequest, SessionId};

/// How long a test waits for a store.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options for `shards` shards whose wakers do nothing.
pub(crate) fn options(shards: u16) -> Options {
    let wakers = (0..shards).map(|_| Arc::new(|| ()) as Wake).collect();
    Options { map_bytes: 1 << 30, ..Options::new(HashKey::new(7, 11), wakers) }
}

/// An open store.
pub(crate) struct Client {
    /// The engine.
    pub(crate) engine: Engine,
    /// Its ports.
    pub(crate) ports: Vec<ShardPort>,
    sent: Vec<u64>,
    decided: Vec<u64>,
    tokens: u64,
}

impl Client {
    /// Opens a store.
    pub(crate) fn open(directory: &Path, options: Options) -> Self {
        let (engine, ports) = Engine::open(directory, options).expect("the store opens");
        let shards = ports.len();
        Self { engine, ports, sent: vec![0; shards], decided: vec![0; shards], tokens: 0 }
    }

    /// Sends a batch.
    pub(crate) fn send(&mut self, batch: Batch) {
        let shard = usize::from(batch.shard);
        self.sent[shard] = batch.end();
        self.ports[shard].batches.send_timeout(batch, PATIENCE).expect("the store takes batches");
    }

    /// Waits until all that was sent is decided; returns what each shard was told.
    pub(crate) fn settle(&mut self) -> Vec<Completion> {
        let mut told = vec![Completion::default(); self.ports.len()];
        for (shard, told) in told.iter_mut().enumerate() {
            while self.decided[shard] < self.sent[shard] {
                let answer = self.ports[shard].answers.recv_timeout(PATIENCE).expect("the store answers");
                let Answer::Completed(completion) = answer else { panic!("a page nobody asked for") };
                self.decided[shard] = completion.until;
                told.until = completion.until;
                told.failed.extend(completion.failed);
                told.returned.extend(completion.returned);
            }
        }
        told
    }

    /// Reads a page.
    pub(crate) fn page(&mut self, mut request: PageRequest) -> Page {
        self.tokens += 1;
        request.token = self.tokens;
        let port = &self.ports[usize::from(request.shard)];
        port.requests.send_timeout(request, PATIENCE).expect("the store takes requests");
        let until = Instant::now() + PATIENCE;
        loop {
            match port.answers.recv_deadline(until).expect("the store answers") {
                Answer::Page(page) => {
                    assert_eq!(page.token, request.token);
                    return page;
                }
                Answer::Completed(completion) => {
                    self.decided[usize::from(request.shard)] = completion.until;
                }
            }
        }
    }

    /// All of a session's queue.
    pub(crate) fn queue(&mut self, session: SessionId) -> Page {
        self.page(whole_queue(session))
    }

    /// What there is at the start, sorted.
    pub(crate) fn load(&self) -> Vec<Loaded> {
        let mut loaded = Vec::new();
        self.engine.load(|one| loaded.push(one), |_| ()).expect("the store can be read");
        sorted(loaded)
    }

    /// Closes the store in order.
    pub(crate) fn close(self) {
        drop(self.ports);
        self.engine.close();
    }
}

/// Asks for all of a queue.
pub(crate) fn whole_queue(session: SessionId) -> PageRequest {
    PageRequest { token: 0, shard: 0, session, from: 0, messages_max: u32::MAX, bytes_max: u32::MAX }
}

/// In an order both stores can be brought to.
pub(crate) fn sorted(mut loaded: Vec<Loaded>) -> Vec<Loaded> {
    for one in &mut loaded {
        if let Loaded::Session(session) = one {
            session.subscriptions.sort();
            session.received.sort_unstable();
        }
    }
    loaded.sort_by_key(|one| match one {
        Loaded::Session(session) => (0, session.session, Vec::new()),
        Loaded::Retained(head, body) => {
            (1, SessionId { slot: 0, serial: 0 }, body[..usize::from(head.topic)].to_vec())
        }
    });
    loaded
}

fn digest(bytes: &[u8]) -> u64 {
    HashKey::new(1, 2).hash(bytes)
}

/// A page without its token, its bytes as their hash.
pub(crate) fn shown(page: &Page) -> String {
    let Page { entries, identifiers, bytes, complete, damaged, .. } = page;
    format!("{entries:?} {identifiers:?} {:x} {complete} {damaged}\n", digest(bytes))
}

pub(crate) fn loaded_shown(one: &Loaded) -> String {
    match one {
        Loaded::Session(session) => format!("{session:?}\n"),
        Loaded::Retained(head, body) => format!("{head:?} {:x}\n", digest(body)),
    }
}

/// What is in a reference store, in words that can be compared.
pub(crate) fn told_by_reference(reference: &ReferenceStore) -> String {
    let mut all: String = sorted(reference.load()).iter().map(loaded_shown).collect();
    for &session in reference.durable().sessions.keys() {
        all.push_str(&shown(&reference.page(&whole_queue(session))));
    }
    all
}

/// What is in the store, in the same words.
pub(crate) fn told_by_store(client: &mut Client) -> String {
    read_all(client).0
}

/// The same, and how many messages wait in it and how many bytes of them.
pub(crate) fn read_all(client: &mut Client) -> (String, u64, u64) {
    let loaded = client.load();
    let mut all: String = loaded.iter().map(loaded_shown).collect();
    let (mut messages, mut bytes) = (0, 0);
    for one in &loaded {
        if let Loaded::Session(session) = one {
            let page = client.queue(session.session);
            messages += page.entries.iter().filter(|entry| entry.message.is_some()).count() as u64;
            bytes += page.bytes.len() as u64;
            all.push_str(&shown(&page));
        }
    }
    (all, messages, bytes)
}
