//! The simulated disk: the reference store behind every shard's port, slow as the plan says. It commits what
//! has come by then all at once, and serves pages of what is committed.

use crossbeam_channel::{Receiver, Sender, unbounded};
use pelton_shard::StoragePort;
use pelton_storage_ops::reference::ReferenceStore;
use pelton_storage_ops::{Answer, Batch, PageRequest};

/// How slow a disk is.
#[derive(Clone, Copy, Debug)]
pub struct Slowness {
    /// Longest time from an operation to its commit, in microseconds.
    pub commit_us_max: u64,
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
    /// Commits made.
    pub commits: u64,
}

impl Disk {
    /// An empty disk, and a port for each shard.
    pub fn new(shards: u16, slowness: Slowness) -> (Self, Vec<StoragePort>) {
        let (batches_out, batches) = unbounded();
        let (pages_out, pages) = unbounded();
        let mut answers = Vec::new();
        let ports = (0..shards)
            .map(|_| {
                let (sender, receiver) = unbounded();
                answers.push(sender);
                // Nothing is found: the channel ends at once.
                let (_, loaded) = unbounded();
                StoragePort {
                    batches: batches_out.clone(),
                    pages: pages_out.clone(),
                    answers: receiver,
                    loaded,
                }
            })
            .collect();
        let store = ReferenceStore::default();
        (Self { store, slowness, batches, pages, answers, busy: false, commits: 0 }, ports)
    }

    /// Longest time until the next commit, if one has to be planned.
    pub fn next_commit_us(&mut self) -> Option<u64> {
        let waits = !self.batches.is_empty() || !self.pages.is_empty();
        (waits && !std::mem::replace(&mut self.busy, true)).then_some(self.slowness.commit_us_max)
    }

    /// Commits what has come, and answers. Returns the shards that were told something.
    pub fn commit(&mut self) -> Vec<u16> {
        self.busy = false;
        self.commits += 1;
        while let Ok(batch) = self.batches.try_recv() {
            self.store.apply(batch);
        }
        let mut told = Vec::new();
        for (shard, completion) in self.store.commit() {
            self.answer(shard, Answer::Completed(completion));
            told.push(shard);
        }
        while let Ok(request) = self.pages.try_recv() {
            let page = self.store.page(&request);
            self.answer(request.shard, Answer::Page(page));
            told.push(request.shard);
        }
        told
    }

    fn answer(&self, shard: u16, answer: Answer) {
        let sent = self.answers[usize::from(shard)].send(answer);
        debug_assert!(sent.is_ok(), "a shard has its end of the channel");
    }

    /// Sessions and retained messages that are stored.
    pub fn held(&self) -> (usize, usize) {
        let state = self.store.durable();
        (state.sessions.len(), state.retained.len())
    }
}
