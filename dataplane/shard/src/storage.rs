//! A shard's port to its storage: channels of plain data, whatever stands behind them.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use pelton_broker::Broker;
use pelton_storage_ops::{Answer, Batch, Loaded, PageRequest};

/// Answers taken in one turn.
const ANSWERS_A_TURN: usize = 64;
/// Pages asked for at once; what else is wanted waits its turn.
const PAGES_MAX: usize = 256;

/// One shard's ends of the channels. Whoever serves them wakes the shard after an answer. Batches and page
/// requests of all shards may go into the same channels: they carry the number of their shard.
#[derive(Clone, Debug)]
pub struct StoragePort {
    /// Operations, in order.
    pub batches: Sender<Batch>,
    /// Pages that are wanted.
    pub pages: Sender<PageRequest>,
    /// What storage says to this shard.
    pub answers: Receiver<Answer>,
    /// What was found for this shard; ends when its senders are dropped.
    pub loaded: Receiver<Loaded>,
}

/// The port with what found no room in it.
#[derive(Debug)]
pub(crate) struct Storage {
    port: StoragePort,
    batch: Option<Batch>,
    pages: VecDeque<PageRequest>,
    /// Pages asked for and not here yet.
    pages_under_way: usize,
}

impl Storage {
    pub(crate) fn new(port: StoragePort) -> Self {
        Self { port, batch: None, pages: VecDeque::new(), pages_under_way: 0 }
    }

    pub(crate) fn has_input(&self) -> bool {
        !self.port.answers.is_empty()
    }

    /// Whether something waits for room.
    pub(crate) fn is_stuck(&self) -> bool {
        self.batch.is_some() || (!self.pages.is_empty() && self.pages_under_way < PAGES_MAX)
    }

    /// Takes answers; whether there may be more.
    pub(crate) fn take(&mut self, broker: &mut Broker) -> bool {
        for _ in 0..ANSWERS_A_TURN {
            match self.port.answers.try_recv() {
                Ok(Answer::Completed(completion)) => broker.handle_completion(completion),
                Ok(Answer::Page(page)) => {
                    self.pages_under_way = self.pages_under_way.saturating_sub(1);
                    broker.handle_page(&page);
                }
                Err(_) => return false,
            }
        }
        self.has_input()
    }

    /// Sends what the turn has staged. What finds no room stays, and what is staged behind it too: the broker
    /// holds its publishers when it is too much.
    pub(crate) fn send(&mut self, broker: &mut Broker) {
        while let Some(batch) = self.batch.take().or_else(|| broker.take_batch()) {
            if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) =
                self.port.batches.try_send(batch)
            {
                self.batch = Some(batch);
                break;
            }
        }
        self.pages.extend(broker.take_page_requests());
        while self.pages_under_way < PAGES_MAX
            && let Some(request) = self.pages.front()
        {
            if self.port.pages.try_send(*request).is_err() {
                break;
            }
            self.pages.pop_front();
            self.pages_under_way += 1;
        }
    }
}
