//! The store behind the shards: opened before them, loaded into them, watched while they run, closed after them.
//! With `main.rs` the only place that knows which engine it is.

mod command;
mod look;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use pelton_base::HashKey;
use pelton_broker::Broker;
use pelton_runtime::{Backing, StoragePort, Waker};
use pelton_storage_lmdb::{Engine, Health, Options, Policy, Progress, StoreError, StoreEvent, Wake};
use tracing::{error, info, warn};

use crate::config::{Storage, StoragePolicy};
use crate::exit::Exit;
use crate::sys::figures::StorageFigures;

pub(crate) use command::{place, run};
use look::Look;

/// What was found and a shard has not taken in yet. A shard takes in hundreds of thousands a second.
const LOADED_AHEAD: usize = 1024;
/// How often loading says how far it is.
const SAY: Duration = Duration::from_secs(1);

/// A store that is open.
pub(crate) struct Store {
    engine: Arc<Engine>,
    policy: &'static str,
    directory: PathBuf,
    loader: Option<JoinHandle<()>>,
    look: Look,
}

/// The store cannot be opened; with the way out.
#[derive(Debug)]
struct Refused(StoreError);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)?;
        match &self.0 {
            StoreError::Path { error, .. } if error.kind() == std::io::ErrorKind::StorageFull => {
                f.write_str("; make room, or choose another directory with --data or [storage] path")
            }
            StoreError::Path { .. } => f.write_str(
                "; choose a directory that can be written with --data or [storage] path, or store nothing with \
                 [storage] policy = \"memory\"",
            ),
            _ => Ok(()),
        }
    }
}

impl Error for Refused {}

impl Store {
    /// Opens the store and begins to load it into the shards, whose wakers these are. `key` is that of a store
    /// made anew.
    pub(crate) fn open(
        config: &Storage,
        key: HashKey,
        wakers: &[Waker],
    ) -> Result<(Self, Backing), Box<dyn Error + Send + Sync>> {
        let directory = PathBuf::from(&config.path);
        let wakes = wakers.iter().cloned().map(|waker| Arc::new(move || waker.wake()) as Wake).collect();
        let (policy, word) = match config.policy {
            StoragePolicy::Commit => (Policy::Commit, "commit"),
            StoragePolicy::Relaxed => (Policy::Relaxed, "relaxed"),
            StoragePolicy::Memory => (Policy::Memory, "memory"),
        };
        let options = Options {
            policy,
            map_bytes: config.map_bytes,
            map_bytes_max: config.bytes_max,
            ..Options::new(key, wakes)
        };
        let began = Instant::now();
        let (engine, ports) = Engine::open(&directory, options).map_err(Refused)?;
        say_opened(&directory, word, &engine, began.elapsed());
        let engine = Arc::new(engine);
        let (loads, loaded): (Vec<_>, Vec<_>) = ports.iter().map(|_| bounded(LOADED_AHEAD)).unzip();
        let (loading, key, shards) = (engine.clone(), engine.key(), ports.len() as u16);
        let loader = std::thread::Builder::new().name("store-loader".into()).spawn(move || {
            let began = Instant::now();
            let mut said = began;
            let each = |found| {
                let home = Broker::home_of(key, shards, &found);
                // A shard that has gone has said why.
                let _ = loads[usize::from(home)].send(found);
            };
            let progress = |progress: &Progress| {
                if said.elapsed() >= SAY {
                    said = Instant::now();
                    say_progress(progress);
                }
            };
            match loading.load(each, progress) {
                Ok(progress) => say_found(&progress, began.elapsed()),
                Err(refused) => {
                    // While the shards wait for more: half of what is stored would be served as if it were all.
                    error!("cannot load the store: {refused}");
                    std::process::exit(Exit::Refused as i32);
                }
            }
        })?;
        let ports = ports
            .into_iter()
            .zip(loaded)
            .map(|(port, loaded)| StoragePort {
                batches: port.batches,
                pages: port.requests,
                answers: port.answers,
                loaded,
            })
            .collect();
        let key = engine.key();
        let store = Self { engine, policy: word, directory, loader: Some(loader), look: Look::default() };
        Ok((store, Backing { key, ports }))
    }

    /// The shards have what was found.
    pub(crate) fn end_load(&mut self) {
        if let Some(loader) = self.loader.take() {
            // One that panicked has ended the process.
            let _ = loader.join();
        }
    }

    /// Says it if the store has become full or failing, or well again.
    pub(crate) fn look(&mut self) {
        self.look.at(&self.engine.status(), &self.directory, Instant::now());
    }

    /// The figures of the store.
    pub(crate) fn figures(&self) -> StorageFigures {
        let status = self.engine.status();
        StorageFigures {
            state: match status.health {
                Health::Well => "well",
                Health::Full => "full",
                Health::Failing => "failing",
            },
            policy: self.policy,
            used_bytes: status.used_bytes,
            segments: status.segments,
            waiting_messages: status.waiting_messages,
            waiting_bytes: status.waiting_bytes,
            last_commit_us: status.last_commit_us,
            counters: status.counters.iter().collect(),
        }
    }

    /// Waits until all that the shards sent is written, and marks the store. The shards must have ended.
    pub(crate) fn close(mut self) {
        self.end_load();
        let began = Instant::now();
        if let Some(engine) = Arc::into_inner(self.engine) {
            engine.close();
            info!("store closed after {} ms", began.elapsed().as_millis());
        }
    }
}

fn say_opened(directory: &Path, policy: &str, engine: &Engine, took: Duration) {
    let place = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let end = match (engine.opened(), engine.was_closed()) {
        (1, _) => "new",
        (_, true) => "closed in order",
        (_, false) => "not closed in order, nothing acknowledged is lost",
    };
    info!("store: {}, policy {policy}, {end}; looked through in {} ms", place.display(), took.as_millis());
    let events = engine.status().counters;
    let moved = events.get(StoreEvent::RecordsQuarantined);
    if moved != 0 {
        error!(
            "{moved} records of the store are damaged: they were moved aside and the rest is served; the medium is not \
             to be trusted"
        );
    }
    let orphans = events.get(StoreEvent::RecordsOrphaned);
    if orphans != 0 {
        warn!("{orphans} records of the store belong to sessions that are not there");
    }
}

fn say_progress(progress: &Progress) {
    info!(
        "loading: {} of {} sessions, {} of {} retained messages",
        progress.sessions, progress.sessions_total, progress.retained, progress.retained_total
    );
}

fn say_found(progress: &Progress, took: Duration) {
    info!(
        "loaded: {} sessions, {} subscriptions, {} queued messages, {} retained messages in {} ms",
        progress.sessions,
        progress.subscriptions,
        progress.queued,
        progress.retained,
        took.as_millis()
    );
    if progress.damaged != 0 {
        error!("{} records of the store are damaged and were passed over", progress.damaged);
    }
}
