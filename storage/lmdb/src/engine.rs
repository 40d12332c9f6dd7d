//! A store that runs: its threads, and what shards and the control plane hold of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use pelton_base::HashKey;
use pelton_storage_ops::{Answer, Batch, Loaded, PageRequest};

use crate::create::{self, FILE, FILE_OF_MEMORY, Identity};
use crate::error::{Fault, StoreError};
use crate::headroom::Headroom;
use crate::layout::{Db, segment};
use crate::load::{self, Progress};
use crate::lock::Lock;
use crate::map::{Access, Map};
use crate::meta;
use crate::options::{Options, Policy};
use crate::page::Reader;
use crate::scan::{self, Found};
use crate::segments::Segments;
use crate::status::{Shared, StoreEvent, StoreStatus};
use crate::write;
use crate::writer::{COMPLETIONS_MAX, Told, Writer};

/// What a shard talks to the store through. All ends are non-blocking for the shard: it tries, and goes on.
#[derive(Debug)]
pub struct ShardPort {
    /// The shard.
    pub shard: u16,
    /// Where its batches go: the channel of all shards, bounded.
    pub batches: Sender<Batch>,
    /// Where it asks for pages: the channel of all shards, bounded.
    pub requests: Sender<PageRequest>,
    /// What it is told. Its waker is called after something was put here.
    pub answers: Receiver<Answer>,
}

/// An open store. The ports go to the shards; the engine stays with whoever opened it.
#[derive(Debug)]
pub struct Engine {
    file: PathBuf,
    policy: Policy,
    identity: Identity,
    map: Arc<Map>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    _lock: Lock,
}

impl Engine {
    /// Opens the store in `directory`, or makes one. It is locked until the engine is closed.
    ///
    /// # Errors
    /// If the directory cannot be used, another process has the store, it is of a later format, or it is
    /// damaged beyond what can be moved aside.
    pub fn open(directory: &Path, options: Options) -> Result<(Self, Vec<ShardPort>), StoreError> {
        std::fs::create_dir_all(directory)
            .map_err(|error| StoreError::path(directory, "make the directory", error))?;
        let lock = Lock::take(directory)?;
        let file = directory.join(if options.policy == Policy::Memory { FILE_OF_MEMORY } else { FILE });
        if options.policy == Policy::Memory {
            create::remove(&file)?;
        }
        if !file.try_exists().map_err(|error| StoreError::path(&file, "read", error))? {
            create::create(directory, &file, options.key)?;
        }
        create::is_file(&file)?;
        create::inspect(&file)?;
        let identity = create::identify(&file, Access::Peek)?;
        let access = Access::Write(options.policy);
        let headroom =
            Headroom::new(&file, &options).map_err(|error| StoreError::path(&file, "write", error))?;
        let bytes_max = options.map_bytes_max.saturating_add(headroom.reserve());
        let map = Map::open(&file, access, options.map_bytes, bytes_max)
            .map_err(|error| StoreError::fault(&file, "open", error.into()))?;
        let shared = Shared::default();
        let segments = loop {
            match begin(&map, &shared, identity.opened + 1) {
                // A file that was made with a larger map.
                Err(Fault::MapFull) if map.grow() => {}
                begun => break begun.map_err(|fault| StoreError::fault(&file, "write", fault))?,
            }
        };
        let (map, shared) = (Arc::new(map), Arc::new(shared));
        let mut engine = Self {
            file,
            policy: options.policy,
            identity: Identity { opened: identity.opened + 1, ..identity },
            map,
            shared,
            threads: Vec::new(),
            _lock: lock,
        };
        let ports = engine.start(&options, (segments, headroom))?;
        Ok((engine, ports))
    }

    fn start(
        &mut self,
        options: &Options,
        state: (Segments, Headroom),
    ) -> Result<Vec<ShardPort>, StoreError> {
        let shards = options.wakers.len();
        let (batches, taken) = bounded(options.batches_max * shards.max(1));
        let (requests, asked) = bounded(options.pages_max * shards.max(1));
        let mut ports = Vec::new();
        let (mut told, mut paged) = (Vec::new(), Vec::new());
        for (shard, wake) in options.wakers.iter().enumerate() {
            let (sender, answers) = bounded(options.pages_max.max(1) + COMPLETIONS_MAX);
            told.push(Told { answers: sender.clone(), wake: wake.clone(), pending: None });
            paged.push((sender, wake.clone()));
            ports.push(ShardPort {
                shard: shard as u16,
                batches: batches.clone(),
                requests: requests.clone(),
                answers,
            });
        }
        let writer =
            Writer::new(self.map.clone(), self.shared.clone(), self.identity.key, taken, told, state);
        let spawn = |name: String, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name).spawn(run).map_err(StoreError::System)
        };
        self.threads.push(spawn("store-writer".to_owned(), Box::new(move || writer.run()))?);
        for number in 0..options.readers.max(1) {
            let reader = Reader {
                map: self.map.clone(),
                shared: self.shared.clone(),
                requests: asked.clone(),
                pages_max: options.pages_max.max(1),
                shards: paged.clone(),
            };
            self.threads.push(spawn(format!("store-reader-{number}"), Box::new(move || reader.run()))?);
        }
        Ok(ports)
    }

    /// The key of this store: slots, and what else must be the same after a restart, are hashed with it.
    pub fn key(&self) -> HashKey {
        self.identity.key
    }

    /// How often this store was opened, this time counted.
    pub fn opened(&self) -> u64 {
        self.identity.opened
    }

    /// Whether the last run closed it in order.
    pub fn was_closed(&self) -> bool {
        self.identity.clean
    }

    /// The store's file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Hands out all sessions, then all retained messages, and says from time to time how far it has come.
    /// Meant for the start, before the shards run.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load(
        &self,
        each: impl FnMut(Loaded),
        progress: impl FnMut(&Progress),
    ) -> Result<Progress, StoreError> {
        let live = self.map.live();
        live.read()
            .and_then(|txn| load::everything(&txn, each, progress))
            .map_err(|fault| StoreError::fault(&self.file, "read", fault))
    }

    /// How the store is.
    pub fn status(&self) -> StoreStatus {
        self.shared.status()
    }

    /// A handle that tells how the store is, for as long as anybody wants to know.
    pub fn watch(&self) -> impl Fn() -> StoreStatus + Send + Sync + 'static {
        let shared = self.shared.clone();
        move || shared.status()
    }

    /// Whether all threads of the store run.
    pub fn is_healthy(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Waits until everything the shards sent is written, and marks the store as closed in order. All ports
    /// must have been dropped.
    pub fn close(mut self) {
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; the store is as of its last transaction.
            let _ = thread.join();
        }
        if self.policy == Policy::Memory {
            let _ = create::remove(&self.file);
        }
    }
}

/// The walk and the transaction that begin a run: counts references, moves damaged records aside, frees what
/// nothing refers to, and takes the mark of an orderly end away.
fn begin(map: &Map, shared: &Shared, opened: u64) -> Result<Segments, Fault> {
    let live = map.live();
    let Found { segments, unused, damaged, orphans } = scan::everything(&live.read()?)?;
    let mut txn = live.write()?;
    for (db, key) in &damaged {
        let value = txn.get(*db, key)?.map(<[u8]>::to_vec);
        if let Some(value) = value {
            write::quarantine(&mut txn, *db, key, &value)?;
        }
    }
    for &number in &unused {
        txn.delete(Db::Segments, &segment::key(number))?;
    }
    meta::put(&mut txn, meta::OPENED, &opened.to_le_bytes())?;
    meta::put(&mut txn, meta::CLEAN, &[0])?;
    txn.commit()?;
    shared.add(StoreEvent::RecordsQuarantined, damaged.len() as u64);
    shared.add(StoreEvent::RecordsOrphaned, orphans);
    shared.add(StoreEvent::SegmentsFreed, unused.len() as u64);
    shared.set_waiting(&segments);
    Ok(segments)
}
