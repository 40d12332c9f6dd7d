//! The one thread that writes: takes the batches of all shards, many into a transaction, and tells each shard
//! what became of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError};
use pelton_base::HashKey;
use pelton_storage_ops::group::whole;
use pelton_storage_ops::{Answer, Batch, Completion, Failure};

use crate::error::Fault;
use crate::headroom::Headroom;
use crate::layout::{Db, session_key};
use crate::map::Map;
use crate::meta;
use crate::options::Wake;
use crate::plan::{Admit, Plan};
use crate::scan;
use crate::segments::Segments;
use crate::status::{Health, Shared, StoreEvent};
use crate::write::{Writing, Written};

/// A transaction takes no further batch once it has this many operations …
const OPERATIONS_MAX: usize = 5_000;
/// … or stands for this many bytes.
const BYTES_MAX: usize = 4 << 20;
/// The longest the writer waits for more while there is work.
const LINGER_MAX: Duration = Duration::from_millis(1);
/// Places that pages leave for completions in a shard's channel; what finds none is merged with what follows.
pub(crate) const COMPLETIONS_MAX: usize = 64;
/// How soon a shard that was behind is told again.
const RETELL: Duration = Duration::from_millis(1);
/// How often readers of dead processes are looked for.
const DEAD_READERS: Duration = Duration::from_secs(60);

/// What a shard is told, and what could not be told yet.
pub(crate) struct Told {
    pub(crate) answers: Sender<Answer>,
    pub(crate) wake: Wake,
    pub(crate) pending: Option<Completion>,
}

/// The thread.
pub(crate) struct Writer {
    map: Arc<Map>,
    shared: Arc<Shared>,
    batches: Receiver<Batch>,
    shards: Vec<Told>,
    segments: Segments,
    plan: Plan,
    writing: Writing,
    /// Taken and not written: parts of groups that are not whole, and what is behind them.
    held: Vec<Batch>,
    headroom: Headroom,
    /// Number of the last transaction that took effect.
    transaction: u64,
    last_commit: Duration,
    dead_readers_at: Instant,
}

impl Writer {
    pub(crate) fn new(
        map: Arc<Map>,
        shared: Arc<Shared>,
        key: HashKey,
        batches: Receiver<Batch>,
        shards: Vec<Told>,
        (segments, headroom): (Segments, Headroom),
    ) -> Self {
        Self {
            map,
            shared,
            batches,
            shards,
            segments,
            plan: Plan::new(key),
            writing: Writing::new(key),
            held: Vec::new(),
            headroom,
            transaction: 0,
            last_commit: Duration::ZERO,
            dead_readers_at: Instant::now() + DEAD_READERS,
        }
    }

    /// Writes until no shard can send any more; then marks the store as closed in order.
    pub(crate) fn run(mut self) {
        let mut was_idle = true;
        let mut ready = Vec::new();
        let mut is_open = true;
        while is_open {
            is_open = self.gather(was_idle);
            was_idle = true;
            loop {
                self.take_ready(&mut ready);
                if ready.is_empty() {
                    break;
                }
                was_idle = false;
                self.transact(&mut ready);
                self.tell(&mut ready);
                self.shared.set(StoreEvent::WriterCpuMicros, cpu_micros());
            }
            self.retell();
            if Instant::now() >= self.dead_readers_at {
                self.map.forget_dead_readers();
                self.dead_readers_at = Instant::now() + DEAD_READERS;
            }
        }
        let live = self.map.live();
        let closed = live.write().and_then(|mut txn| {
            meta::put(&mut txn, meta::CLEAN, &[1])?;
            txn.commit()
        });
        drop(live);
        // Without the mark the next start looks at everything, which costs time and nothing else.
        let _ = closed.and_then(|()| self.map.sync());
    }

    /// Waits for batches and takes them, up to the size of a transaction. `false` once there can be no more.
    fn gather(&mut self, was_idle: bool) -> bool {
        if was_idle {
            let behind = self.shards.iter().any(|told| told.pending.is_some());
            match self.batches.recv_timeout(if behind { RETELL } else { DEAD_READERS }) {
                Ok(batch) => self.held.push(batch),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        } else if self.batches.len() < OPERATIONS_MAX / 64 {
            // There was work just now: what comes within the time a commit takes goes along. Asleep and not
            // in the channel, where every batch would wake this thread.
            std::thread::sleep(self.last_commit.min(LINGER_MAX));
        }
        let (mut operations, mut bytes) = self.amount();
        while operations < OPERATIONS_MAX && bytes < BYTES_MAX {
            match self.batches.try_recv() {
                Ok(batch) => {
                    operations += batch.ops.len();
                    bytes += batch.weight();
                    self.held.push(batch);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    fn amount(&self) -> (usize, usize) {
        let operations = self.held.iter().map(|batch| batch.ops.len()).sum();
        (operations, self.held.iter().map(Batch::weight).sum())
    }

    /// Moves what can be written now from `held` to `ready`.
    fn take_ready(&mut self, ready: &mut Vec<Batch>) {
        ready.clear();
        if self.held.is_empty() {
            return;
        }
        let grouped = self.held.iter().flat_map(|batch| &batch.ops).any(|op| op.group.is_some());
        if !grouped {
            std::mem::swap(&mut self.held, ready);
            return;
        }
        let can = whole(&self.held);
        let mut can = can.into_iter();
        let held = std::mem::take(&mut self.held);
        for batch in held {
            if can.next().expect("one answer for each batch") {
                ready.push(batch);
            } else {
                self.held.push(batch);
            }
        }
    }

    /// Brings `ready` into the store, as far as that is possible, and notes for each shard what failed.
    fn transact(&mut self, ready: &mut [Batch]) {
        let mut reopened = false;
        let outcome = match self.headroom_for(ready) {
            Err(fault) => Err(fault),
            Ok(()) => loop {
                match self.write(ready, Admit::All) {
                    Err(Fault::MapFull) if self.map.grow() => self.shared.add(StoreEvent::Grown, 1),
                    Err(Fault::Fatal) if !reopened => {
                        reopened = true;
                        if let Err(fault) = self.reopen() {
                            break Err(fault);
                        }
                    }
                    outcome => break outcome,
                }
            },
        };
        let Err(fault) = outcome else {
            self.shared.set_health(Health::Well, 0);
            return;
        };
        self.shared.add(StoreEvent::TransactionsFailed, 1);
        let (health, errno, failure) = match fault {
            Fault::MapFull => (Health::Full, libc::EFBIG, Failure::Full),
            Fault::Space => (Health::Full, libc::ENOSPC, Failure::Full),
            Fault::Medium(errno) => (Health::Failing, errno, Failure::Failed),
            Fault::Fatal | Fault::Damaged => (Health::Failing, libc::EIO, Failure::Failed),
        };
        self.shared.set_health(health, errno);
        self.stay_readable();
        // A full disk still takes what makes room on it.
        let some = failure == Failure::Full && self.write_removals(ready);
        let admit = some.then_some(Admit::Removals);
        let event = match failure {
            Failure::Full => StoreEvent::FailedFull,
            Failure::Failed => StoreEvent::FailedMedium,
        };
        for batch in ready {
            let Some(told) = self.shards.get_mut(usize::from(batch.shard)) else { continue };
            let pending = told.pending.get_or_insert_default();
            let before = pending.failed.len();
            let numbers = batch.first..batch.end();
            let failed = batch.ops.iter().zip(numbers).filter(|(op, _)| admit.is_none_or(|a| !a.takes(op)));
            pending.failed.extend(failed.map(|(_, number)| (number, failure)));
            self.shared.add(event, (pending.failed.len() - before) as u64);
        }
    }

    /// One transaction of those operations of `ready` that `admit` lets in.
    fn write(&mut self, ready: &[Batch], admit: Admit) -> Result<(), Fault> {
        let began = Instant::now();
        let live = self.map.live();
        let mut txn = live.write()?;
        self.plan.clear();
        self.plan
            .take(ready, admit, |session| Ok(txn.get(Db::Sessions, &session_key(session))?.is_some()))?;
        let written = self.writing.write(&mut txn, &mut self.plan, ready, &self.segments)?;
        let commits = Instant::now();
        txn.commit()?;
        self.segments.commit(&self.writing.changes);
        let ended = Instant::now();
        self.last_commit = ended - began;
        self.count(&written, ended - commits);
        if let Ok(extent) = live.extent() {
            self.transaction = extent.transaction;
            self.shared.map_bytes.store(extent.map_bytes, Ordering::Relaxed);
            self.shared.used_bytes.store(extent.used_bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn count(&self, written: &Written, commit: Duration) {
        let shared = &self.shared;
        shared.last_commit_us.store(self.last_commit.as_micros() as u64, Ordering::Relaxed);
        shared.set_waiting(&self.segments);
        for (event, n) in [
            (StoreEvent::Transactions, 1),
            (StoreEvent::Operations, self.plan.operations),
            (StoreEvent::MessagesWritten, written.messages),
            (StoreEvent::MessagesOvertaken, written.overtaken),
            (StoreEvent::SegmentsWritten, written.segments),
            (StoreEvent::SegmentBytesWritten, written.segment_bytes),
            (StoreEvent::SegmentsFreed, written.freed),
            (StoreEvent::RecordsQuarantined, written.quarantined),
            (StoreEvent::HashesExhausted, written.exhausted),
            (StoreEvent::CommitMicros, commit.as_micros() as u64),
        ] {
            shared.add(event, n);
        }
    }

    fn write_removals(&mut self, ready: &[Batch]) -> bool {
        loop {
            match self.write(ready, Admit::Removals) {
                Err(Fault::MapFull) if self.map.grow() => self.shared.add(StoreEvent::Grown, 1),
                outcome => return outcome.is_ok(),
            }
        }
    }

    /// Whether `ready` may make the store larger.
    fn headroom_for(&mut self, ready: &[Batch]) -> Result<(), Fault> {
        let operations = ready.iter().map(|batch| batch.ops.len()).sum();
        let bytes = ready.iter().map(|batch| batch.bytes.len()).sum();
        let live = self.map.live();
        // Of what cannot be told, the transaction itself will tell.
        let Ok(extent) = live.extent() else { return Ok(()) };
        let free = || live.free_pages().map_or(0, |pages| pages * extent.page_bytes);
        self.headroom.allows((operations, bytes), extent.used_bytes, free)
    }

    /// After LMDB failed to write its meta page it serves nobody, not even readers, until it is opened again.
    fn stay_readable(&mut self) {
        let is_fatal = self.map.live().read().is_err_and(|fault| fault == Fault::Fatal);
        if is_fatal {
            // If this fails, readers find nothing, and the next transaction tries again.
            let _ = self.reopen();
        }
    }

    /// Opens the file again. Which transactions have taken effect is told by the file, not by us.
    fn reopen(&mut self) -> Result<(), Fault> {
        self.map.reopen()?;
        self.shared.add(StoreEvent::Reopened, 1);
        let live = self.map.live();
        let transaction = live.extent()?.transaction;
        if transaction != self.transaction {
            self.segments = scan::segments(&live.read()?)?;
            self.transaction = transaction;
        }
        Ok(())
    }

    /// Gives decided batches back.
    fn tell(&mut self, ready: &mut Vec<Batch>) {
        for batch in ready.drain(..) {
            let Some(told) = self.shards.get_mut(usize::from(batch.shard)) else { continue };
            let pending = told.pending.get_or_insert_default();
            pending.until = batch.end();
            pending.returned.push(batch);
        }
        self.retell();
    }

    /// Tells the shards what they have not been told.
    fn retell(&mut self) {
        for told in &mut self.shards {
            let Some(completion) = told.pending.take() else { continue };
            match told.answers.try_send(Answer::Completed(completion)) {
                Ok(()) => (told.wake)(),
                Err(TrySendError::Full(Answer::Completed(completion))) => told.pending = Some(completion),
                // A shard that has gone needs no answer.
                Err(_) => {}
            }
        }
    }
}

/// Processor time of the calling thread.
fn cpu_micros() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and `time` is written.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}
