//! What clients and world share: the time, the calendar, the network, the ledger, the run's randomness.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use pelton_base::{Mono, Rng, Wall};

use crate::carrier::Carrier;
use crate::disaster::Disaster;
use crate::ledger::{Ledger, Step};
use crate::network::{ConnId, Way};
use crate::plan::Plan;

/// What happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something arrives on a connection.
    Arrive(ConnId, Way),
    /// Frames are due on a link, or a stack of the clients'.
    Wire,
    /// The machine stands still for so many milliseconds.
    Freeze(u64),
    /// A shard takes a turn, if this is still the turn it waits for.
    Turn(u16, u64),
    /// The disk commits.
    Commit,
    /// A client does something.
    Act(usize),
    /// A client goes on reading.
    Resume(usize, ConnId),
    /// A client sends acknowledgements it held back.
    Acknowledge(usize, ConnId),
    /// Something goes wrong, or is put right.
    Disaster(Disaster),
}

/// Events by time, and in the order they were entered.
#[derive(Debug, Default)]
pub struct Calendar {
    events: BTreeMap<(Mono, u64), Event>,
    entered: u64,
}

impl Calendar {
    /// Enters an event.
    pub fn enter(&mut self, at: Mono, event: Event) {
        self.entered += 1;
        self.events.insert((at, self.entered), event);
    }

    /// Takes out what clients were to do.
    pub fn clear_acts(&mut self) {
        self.events.retain(|_, event| !matches!(event, Event::Act(_)));
    }

    /// The next event, if it is due by `until`.
    pub fn next(&mut self, until: Mono) -> Option<(Mono, Event)> {
        let entry = self.events.first_entry()?;
        if entry.key().0 > until {
            return None;
        }
        let ((at, _), event) = entry.remove_entry();
        Some((at, event))
    }
}

/// Wall time at the monotonic origin.
const WALL_ORIGIN_MS: u64 = 1_700_000_000_000;

/// The stage.
#[derive(Debug)]
pub struct Stage {
    /// What the seed decided.
    pub plan: Plan,
    /// The time.
    pub now: Mono,
    /// Counts events; the clock of the oracles.
    pub step: Step,
    /// The run's randomness, but for the network's.
    pub rng: Rng,
    /// The network.
    pub network: Rc<RefCell<Carrier>>,
    /// What was published and received.
    pub ledger: Ledger,
    /// What is to come.
    pub calendar: Calendar,
    /// Which client opened a connection.
    pub opened_by: BTreeMap<ConnId, usize>,
    /// Says what happens on standard output.
    pub trace: bool,
    /// The end has begun: nobody does harm any more.
    pub healing: bool,
    /// When it did.
    pub healing_since: Mono,
    /// The broker was told to shut down: it may end any connection.
    pub shutting_down: bool,
    /// There is no broker at present.
    pub broker_is_down: bool,
    /// What clients may still do.
    pub actions_left: u32,
}

impl Stage {
    /// The wall time.
    pub fn wall(&self) -> Wall {
        let jumped: i64 = self.ledger.jumps.iter().map(|&(_, ms)| ms).sum();
        Wall((WALL_ORIGIN_MS + self.now.as_ms()).saturating_add_signed(jumped))
    }

    /// Says what happens, if anybody listens.
    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>12.6} #{:<7} {}", self.now.0 as f64 / 1e9, self.step, what());
        }
    }

    /// An event in up to `us` microseconds.
    pub fn soon(&mut self, us: u64, event: Event) {
        let at = self.now.plus_us(self.rng.below(us + 1));
        self.calendar.enter(at, event);
    }
}
