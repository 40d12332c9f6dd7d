//! Disasters: the process is killed, the power is lost, the disk is full or fails for a while, the wall clock
//! jumps. When, and how bad, is drawn as the clients act; when everything heals there are none.
//!
//! What must hold across them is asked by the same oracles as without: whatever was acknowledged is delivered,
//! in order, with QoS 2 once; the retained messages are the right ones; the wills of sessions that were cut off
//! are published; CONNACK says of a session what is so. What the broker does not promise is left open by the
//! ledger (`Ledger::crashed`, `Ledger::undo`):
//!
//! | what | why |
//! |---|---|
//! | changes of QoS 0 (retained messages, wills) shortly before the end | no acknowledgement speaks of them |
//! | sessions that end with their connection, and their wills | they are not stored |
//! | a QoS 1 delivery once more for each end of a process | its DUP flag is not waited for |
//! | what was refused with 0x97, or whose connection was closed for it | it may come, and need not |
//! | wills that are due while the disk fails | there is nobody who could be told |
//! | with policy `relaxed`, what was acknowledged since the first transaction that a loss of power undoes | so it says |

use pelton_base::{Mono, Rng};
use pelton_storage_ops::Failure;

use crate::stage::Event;
use crate::world::World;

/// A client that the power took its connection from finds out after so long at most, once there is somebody
/// again to tell it.
const SILENCE_MS: u64 = 3_000;

/// Shards that a process comes back with at most.
pub(crate) const SHARDS_MAX: u16 = 3;

/// How often what goes wrong, and how far.
#[derive(Clone, Copy, Debug)]
pub struct Disasters {
    /// Commits do not wait for the medium.
    pub lazy: bool,
    /// Per mille of the clients' actions after which the process is killed.
    pub kill_per_mille: u32,
    /// After which power is lost.
    pub power_per_mille: u32,
    /// After which the disk is full or fails.
    pub fault_per_mille: u32,
    /// After which the wall clock jumps.
    pub jump_per_mille: u32,
    /// How long after an action it happens, at most, in microseconds.
    pub delay_us_max: u64,
    /// How long there is no process, at most, in microseconds.
    pub down_us_max: u64,
    /// How long the disk is full or fails, at most, in milliseconds.
    pub fault_ms_max: u64,
    /// How far the clock jumps at most, in milliseconds.
    pub jump_ms_max: u64,
    /// Jumps of the clock that are left.
    pub jumps: u32,
    /// The process may come back with another number of shards.
    pub reshards: bool,
}

impl Disasters {
    /// What `rng` decides.
    pub fn draw(rng: &mut Rng) -> Self {
        let rate = |rng: &mut Rng| [0, 5, 15, 30][rng.below(4) as usize];
        Self {
            lazy: rng.chance(250),
            kill_per_mille: rate(rng),
            power_per_mille: rate(rng),
            fault_per_mille: if rng.chance(500) { rate(rng) } else { 0 },
            jump_per_mille: if rng.chance(300) { 20 } else { 0 },
            delay_us_max: [10, 500, 20_000, 300_000][rng.below(4) as usize],
            down_us_max: [100, 20_000, 3_000_000][rng.below(3) as usize],
            fault_ms_max: [20, 500, 5_000][rng.below(3) as usize],
            jump_ms_max: [500, 5_000, 3_600_000][rng.below(3) as usize],
            jumps: 2,
            reshards: rng.chance(300),
        }
    }
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disaster {
    /// The process is killed.
    Kill,
    /// Power is lost.
    PowerLoss,
    /// A process begins.
    Start,
    /// The disk is full, or broken.
    Fault(Failure),
    /// The disk is well again, if this is still the fault that is waited for.
    Recovery(usize),
    /// The wall clock jumps.
    Jump,
}

impl World {
    /// A client has done something: now and then something happens soon.
    pub(crate) fn tempt_fate(&mut self) {
        let Some(plan) = self.stage.plan.disasters else { return };
        let rng = &mut self.fate;
        let strikes = [
            (plan.kill_per_mille, Disaster::Kill),
            (plan.power_per_mille, Disaster::PowerLoss),
            (plan.fault_per_mille, Disaster::Fault(Failure::Full)),
            (plan.jump_per_mille, Disaster::Jump),
        ];
        for (per_mille, mut disaster) in strikes {
            if !rng.chance(per_mille) {
                continue;
            }
            if let Disaster::Fault(failure) = &mut disaster
                && rng.chance(500)
            {
                *failure = Failure::Failed;
            }
            let at = self.stage.now.plus_us(rng.below(plan.delay_us_max + 1));
            self.stage.calendar.enter(at, Event::Disaster(disaster));
        }
    }

    /// It happens.
    pub(crate) fn strike(&mut self, disaster: Disaster) {
        let Some(plan) = self.stage.plan.disasters else { return };
        if disaster == Disaster::Start {
            return self.start_broker();
        }
        if self.stage.healing {
            return;
        }
        match disaster {
            Disaster::Kill => self.end_broker(false),
            Disaster::PowerLoss => self.end_broker(true),
            Disaster::Fault(failure) => {
                self.stage.say(|| format!("the disk fails: {failure:?}"));
                self.cluster.set_fault(Some(failure));
                let now = self.stage.now;
                let number = self.stage.ledger.fault_begins(now);
                let at = now.plus_ms(self.fate.below(plan.fault_ms_max + 1));
                self.stage.calendar.enter(at, Event::Disaster(Disaster::Recovery(number)));
            }
            Disaster::Recovery(number) if self.stage.ledger.faults.len() == number => self.end_fault(),
            Disaster::Recovery(_) | Disaster::Start => {}
            Disaster::Jump => self.jump(plan),
        }
    }

    /// The disk is well.
    pub(crate) fn end_fault(&mut self) {
        if self.stage.ledger.fault_ends(self.stage.now) {
            self.stage.say(|| "the disk is well again".to_owned());
            self.cluster.set_fault(None);
        }
    }

    fn jump(&mut self, plan: Disasters) {
        let Some(disasters) = self.stage.plan.disasters.as_mut().filter(|plan| plan.jumps != 0) else {
            return;
        };
        disasters.jumps -= 1;
        let ms = self.fate.below(plan.jump_ms_max + 1) as i64;
        let ms = if self.fate.chance(500) { -ms } else { ms };
        self.stage.say(|| format!("the clock jumps by {ms} ms"));
        let now = self.stage.now;
        self.stage.ledger.jumps.push((now, ms));
        // It is looked at soon.
        for shard in 0..self.cluster.len() as u16 {
            self.cluster.wake(&mut self.stage, shard);
        }
    }

    fn end_broker(&mut self, power: bool) {
        if self.cluster.is_down() {
            return;
        }
        let Some(plan) = self.stage.plan.disasters else { return };
        let undone = self.cluster.die(&self.stage, power);
        self.stage.say(|| {
            let what = if power { "power is lost" } else { "the process is killed" };
            undone.map_or_else(|| what.to_owned(), |step| format!("{what}; undone from step {step} on"))
        });
        let down_us = self.fate.below(plan.down_us_max + 1);
        let silence_ms = power.then_some(down_us / 1_000 + SILENCE_MS);
        self.stage.network.borrow_mut().lose_shards(self.stage.plan.shards, silence_ms);
        self.stage.broker_is_down = true;
        let (step, now) = (self.stage.step, self.stage.now);
        self.stage.ledger.crashed(step, now);
        for client in &mut self.clients {
            client.broker_died(&self.stage);
        }
        if let Some(from) = undone {
            self.stage.ledger.undo(from);
            for client in &mut self.clients {
                client.broker_forgot(&mut self.stage, from);
            }
        }
        let at = now.plus_us(down_us);
        self.stage.calendar.enter(at, Event::Disaster(Disaster::Start));
    }

    fn start_broker(&mut self) {
        if self.stage.plan.disasters.is_some_and(|plan| plan.reshards) {
            self.stage.plan.shards = self.fate.between(1, u64::from(SHARDS_MAX)) as u16;
        }
        let shards = self.stage.plan.shards;
        self.stage.say(|| format!("a process begins, with {shards} shards"));
        self.stage.broker_is_down = false;
        self.stage.network.borrow_mut().find_shards(shards);
        self.cluster.start(&mut self.stage, shards, &mut self.fate);
    }

    /// Nothing goes wrong any more.
    pub(crate) fn spare(&mut self) {
        self.end_fault();
        if let Some(disasters) = &mut self.stage.plan.disasters {
            disasters.jumps = 0;
        }
    }
}

/// The end of a process.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    /// When.
    pub step: u64,
    /// When.
    pub at: Mono,
}
