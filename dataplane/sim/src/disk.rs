//! The simulated disk: the reference store behind every shard's port, slow as the plan says. It commits what
//! has come by then all at once, and serves pages of what is committed.
//!
//! A rough disk ([`Disk::roughen`]) commits as much as it likes of what has come, fails while it is told to, and
//! dies with the process or the power: what was not committed is gone, the transaction under way is whole or was
//! never begun, and where it syncs lazily a loss of power takes the last transactions.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, unbounded};
use pelton_base::Rng;
use pelton_shard::StoragePort;
use pelton_storage_ops::reference::{Fate, ReferenceStore};
use pelton_storage_ops::{Answer, Batch, Failure, Loaded, Page, PageRequest};

use crate::ledger::Step;

/// How slow a disk is.
#[derive(Clone, Copy, Debug)]
pub struct Slowness {
    /// Longest time from an operation to its commit, in microseconds.
    pub commit_us_max: u64,
}

/// What makes a disk rough.
#[derive(Debug)]
struct Roughness {
    rng: Rng,
    /// Commits do not wait for the medium (policy `relaxed`).
    lazy: bool,
    /// The steps of the transactions that are not synced.
    unsynced_at: VecDeque<Step>,
    fault: Option<Failure>,
}

/// A disk for some shards.
#[derive(Debug)]
pub struct Disk {
    store: ReferenceStore,
    slowness: Slowness,
    batches: Receiver<Batch>,
    pages: Receiver<PageRequest>,
    answers: Vec<Sender<Answer>>,
    /// A commit is on its way.
    busy: bool,
    rough: Option<Roughness>,
    /// Commits made.
    pub commits: u64,
    /// Transactions undone by losses of power.
    pub undone: u64,
}

/// The shards' ends of the channels to a disk, with what is handed out at the start.
struct Plugged {
    batches: Receiver<Batch>,
    pages: Receiver<PageRequest>,
    answers: Vec<Sender<Answer>>,
    loads: Vec<Sender<Loaded>>,
    ports: Vec<StoragePort>,
}

fn plug(shards: u16) -> Plugged {
    let (batches_out, batches) = unbounded();
    let (pages_out, pages) = unbounded();
    let (mut answers, mut loads) = (Vec::new(), Vec::new());
    let ports = (0..shards)
        .map(|_| {
            let (sender, receiver) = unbounded();
            answers.push(sender);
            let (load, loaded) = unbounded();
            loads.push(load);
            StoragePort { batches: batches_out.clone(), pages: pages_out.clone(), answers: receiver, loaded }
        })
        .collect();
    Plugged { batches, pages, answers, loads, ports }
}

impl Disk {
    /// An empty disk, and a port for each shard. Nothing is found on it: the channels of what is loaded end at
    /// once.
    pub fn new(shards: u16, slowness: Slowness) -> (Self, Vec<StoragePort>) {
        let Plugged { batches, pages, answers, ports, .. } = plug(shards);
        let store = ReferenceStore::default();
        let disk = Self {
            store,
            slowness,
            batches,
            pages,
            answers,
            busy: false,
            rough: None,
            commits: 0,
            undone: 0,
        };
        (disk, ports)
    }

    /// From here on the disk is rough. `lazy`: commits do not wait for the medium.
    pub fn roughen(&mut self, rng: Rng, lazy: bool) {
        self.store.sync();
        self.store.set_lazy(lazy);
        self.rough = Some(Roughness { rng, lazy, unsynced_at: VecDeque::new(), fault: None });
    }

    /// From here on the disk is full, or broken, or well again.
    pub fn set_fault(&mut self, fault: Option<Failure>) {
        self.store.set_fault(fault);
        if let Some(rough) = &mut self.rough {
            rough.fault = fault;
        }
    }

    /// Longest time until the next commit, if one has to be planned.
    pub fn next_commit_us(&mut self) -> Option<u64> {
        let waits = !self.batches.is_empty() || !self.pages.is_empty();
        (waits && !std::mem::replace(&mut self.busy, true)).then_some(self.slowness.commit_us_max)
    }

    /// Commits what has come, and answers. Returns the shards that were told something.
    pub fn commit(&mut self, step: Step) -> Vec<u16> {
        self.busy = false;
        let take = self
            .rough
            .as_mut()
            .and_then(|Roughness { rng, .. }| rng.chance(300).then(|| rng.between(1, 4) as usize));
        let mut told = Vec::new();
        for (shard, completion) in self.transact(take.unwrap_or(usize::MAX), step) {
            self.answer(shard, Answer::Completed(completion));
            told.push(shard);
        }
        while let Ok(request) = self.pages.try_recv() {
            let page = self.page(&request);
            self.answer(request.shard, Answer::Page(page));
            told.push(request.shard);
        }
        told
    }

    /// One transaction of the next batches.
    fn transact(&mut self, batches: usize, step: Step) -> Vec<(u16, pelton_storage_ops::Completion)> {
        self.commits += 1;
        for batch in self.batches.try_iter().take(batches) {
            self.store.apply(batch);
        }
        let told = self.store.commit();
        if let Some(rough) = self.rough.as_mut().filter(|rough| rough.lazy) {
            rough.unsynced_at.push_back(step);
            // The system gets round to it, now and then.
            if rough.rng.chance(100) {
                self.store.sync();
                rough.unsynced_at.clear();
            }
        }
        told
    }

    fn page(&mut self, request: &PageRequest) -> Page {
        if let Some(rough) = &mut self.rough
            && rough.fault == Some(Failure::Failed)
            && rough.rng.chance(500)
        {
            // It could not be read.
            return Page { token: request.token, ..Page::default() };
        }
        self.store.page(request)
    }

    fn answer(&self, shard: u16, answer: Answer) {
        let sent = self.answers[usize::from(shard)].send(answer);
        debug_assert!(sent.is_ok(), "a shard has its end of the channel");
    }

    /// The process that wrote is gone, `power`: and the power with it. The transaction that was under way may
    /// have been made, with nobody told. Returns the step of the first transaction that is undone, if any is.
    pub fn die(&mut self, power: bool, step: Step) -> Option<Step> {
        let there = self.batches.len() as u64;
        let under_way = self.rough.as_mut().map_or(
            0,
            |Roughness { rng, .. }| {
                if rng.chance(500) { rng.below(there + 1) } else { 0 }
            },
        );
        if under_way != 0 {
            self.transact(under_way as usize, step);
        }
        self.store.crash();
        self.busy = false;
        let rough = self.rough.as_mut().filter(|rough| rough.lazy && power)?;
        // A page is written soon: of a long time ago few are missing.
        let per_mille = [5, 50, 300][rough.rng.below(3) as usize];
        let undone = self.store.lose_power(|| match rough.rng.chance(per_mille) {
            false => Fate::Kept,
            true if rough.rng.chance(500) => Fate::Lost,
            true => Fate::Torn,
        });
        self.undone += undone as u64;
        let first = rough.unsynced_at.len() - undone;
        let first = rough.unsynced_at.get(first).copied();
        rough.unsynced_at.clear();
        first
    }

    /// Ports for the shards of a process that starts, and what is found for each: `home_of` tells whose it is.
    pub fn start(&mut self, shards: u16, home_of: impl Fn(&Loaded) -> u16) -> Vec<StoragePort> {
        let Plugged { batches, pages, answers, loads, ports } = plug(shards);
        (self.batches, self.pages, self.answers) = (batches, pages, answers);
        for loaded in self.store.load() {
            let sent = loads[usize::from(home_of(&loaded))].send(loaded);
            debug_assert!(sent.is_ok(), "a port has its end of the channel");
        }
        ports
    }

    /// Sessions and retained messages that are stored.
    pub fn held(&self) -> (usize, usize) {
        let state = self.store.durable();
        (state.sessions.len(), state.retained.len())
    }
}
