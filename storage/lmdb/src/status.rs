//! What a store has done, and how it is.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use pelton_base::{CounterSet, Counters};

use crate::segments::Segments;

pelton_base::counter_set! {
    /// What happened in a store.
    pub enum StoreEvent {
        /// Transactions committed.
        Transactions = "transactions",
        /// Operations that took effect.
        Operations = "operations",
        /// Messages written.
        MessagesWritten = "messages_written",
        /// Messages not written, because all their deliveries were over before their turn came.
        MessagesOvertaken = "messages_overtaken",
        /// Bytes of messages written, with the space around them.
        SegmentBytesWritten = "segment_bytes_written",
        /// Segments written.
        SegmentsWritten = "segments_written",
        /// Segments freed.
        SegmentsFreed = "segments_freed",
        /// Operations that failed because there was no space.
        FailedFull = "failed_full",
        /// Operations that failed because the medium did.
        FailedMedium = "failed_medium",
        /// Transactions that did not take effect.
        TransactionsFailed = "transactions_failed",
        /// Times the map was made larger.
        Grown = "grown",
        /// Times the file was closed and opened after a fault.
        Reopened = "reopened",
        /// Pages of queues read.
        PagesRead = "pages_read",
        /// Pages not delivered, because their shard has gone.
        PagesDropped = "pages_dropped",
        /// Messages read for pages.
        MessagesRead = "messages_read",
        /// Messages that could not be read because their checksum was wrong.
        MessagesDamaged = "messages_damaged",
        /// Records that were found damaged and moved aside.
        RecordsQuarantined = "records_quarantined",
        /// Records of sessions that are not there.
        RecordsOrphaned = "records_orphaned",
        /// Subscriptions or retained topics not stored, because 256 others have the same hash.
        HashesExhausted = "hashes_exhausted",
        /// Microseconds of processor time of the writer's thread.
        WriterCpuMicros = "writer_cpu_microseconds",
        /// Microseconds spent in commits.
        CommitMicros = "commit_microseconds",
    }
}

/// How a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// All is well.
    Well = 0,
    /// The disk is full, or the store has its largest size: what needs space is refused.
    Full = 1,
    /// The medium fails: nothing can be written.
    Failing = 2,
}

/// A look at a store.
#[derive(Clone, Debug)]
pub struct StoreStatus {
    /// How it is.
    pub health: Health,
    /// The system's error number behind that, 0 for none.
    pub errno: i32,
    /// Bytes mapped.
    pub map_bytes: u64,
    /// Bytes of the file that were ever used.
    pub used_bytes: u64,
    /// Segments with messages somebody waits for.
    pub segments: u64,
    /// Messages that wait in the store, each for every session it waits for.
    pub waiting_messages: u64,
    /// Bytes of their topics, forwarded properties and payloads.
    pub waiting_bytes: u64,
    /// How long the last commit took.
    pub last_commit_us: u64,
    /// What happened since the start.
    pub counters: Counters<StoreEvent>,
}

/// What threads of a store tell each other and the world about it.
#[derive(Debug)]
pub(crate) struct Shared {
    events: Box<[AtomicU64]>,
    health: AtomicU8,
    errno: AtomicU64,
    pub(crate) map_bytes: AtomicU64,
    pub(crate) used_bytes: AtomicU64,
    segments: AtomicU64,
    waiting_messages: AtomicU64,
    waiting_bytes: AtomicU64,
    pub(crate) last_commit_us: AtomicU64,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            events: StoreEvent::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            health: AtomicU8::new(0),
            errno: AtomicU64::new(0),
            map_bytes: AtomicU64::new(0),
            used_bytes: AtomicU64::new(0),
            segments: AtomicU64::new(0),
            waiting_messages: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
            last_commit_us: AtomicU64::new(0),
        }
    }
}

impl Shared {
    pub(crate) fn add(&self, event: StoreEvent, n: u64) {
        self.events[event.index()].fetch_add(n, Ordering::Relaxed);
    }

    /// Sets what only ever grows and is known as a whole.
    pub(crate) fn set(&self, event: StoreEvent, n: u64) {
        self.events[event.index()].store(n, Ordering::Relaxed);
    }

    pub(crate) fn set_health(&self, health: Health, errno: i32) {
        self.health.store(health as u8, Ordering::Relaxed);
        self.errno.store(u64::from(errno.unsigned_abs()), Ordering::Relaxed);
    }

    /// What waits in these segments.
    pub(crate) fn set_waiting(&self, segments: &Segments) {
        let waiting = segments.waiting();
        self.segments.store(segments.len() as u64, Ordering::Relaxed);
        self.waiting_messages.store(waiting.messages.max(0).unsigned_abs(), Ordering::Relaxed);
        self.waiting_bytes.store(waiting.bytes.max(0).unsigned_abs(), Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> StoreStatus {
        let mut counters = Counters::default();
        for &event in StoreEvent::ALL {
            counters.add_n(event, self.events[event.index()].load(Ordering::Relaxed));
        }
        StoreStatus {
            health: match self.health.load(Ordering::Relaxed) {
                0 => Health::Well,
                1 => Health::Full,
                _ => Health::Failing,
            },
            errno: self.errno.load(Ordering::Relaxed) as i32,
            map_bytes: self.map_bytes.load(Ordering::Relaxed),
            used_bytes: self.used_bytes.load(Ordering::Relaxed),
            segments: self.segments.load(Ordering::Relaxed),
            waiting_messages: self.waiting_messages.load(Ordering::Relaxed),
            waiting_bytes: self.waiting_bytes.load(Ordering::Relaxed),
            last_commit_us: self.last_commit_us.load(Ordering::Relaxed),
            counters,
        }
    }
}
