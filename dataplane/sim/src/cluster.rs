//! The shards of a broker, each turned only when it has a reason: bytes, another shard's wake, its own
//! timeout, or that it said it is busy. A wake that is forgotten therefore shows as something that never
//! comes to rest.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::Sender;
use pelton_base::{Mono, Rng, Wall};
use pelton_broker::counters::{Dropped, Tally};
use pelton_broker::holdings::Held;
use pelton_broker::{Settings, Setup};
use pelton_shard::{Command, Shard, narrow_mesh};

use crate::disk::{Disk, Slowness};
use crate::network::Network;
use crate::plan::Harsh;
use crate::stage::{Event, Stage};
use crate::streams::SimStreams;

/// What a shard still holds that it should not: its number, the thing, how much.
pub type Leftover = (u16, &'static str, usize);

struct Seat {
    shard: Shard<SimStreams>,
    commands: Sender<Command>,
    /// The turn that is waited for: its time and number.
    due: Option<Mono>,
    number: u64,
    /// Its core is taken away until then.
    away_until: Mono,
}

/// The shards.
pub struct Cluster {
    seats: Vec<Seat>,
    /// Longest delay of a turn, in microseconds.
    pub turn_delay_us_max: u64,
    /// Per mille of turns that come late.
    pub turn_stall_per_mille: u32,
    /// How often and how long cores are taken away.
    pub harsh: Harsh,
    /// Turns taken.
    pub turns: u64,
    disk: Option<Disk>,
}

impl Cluster {
    /// Shards over a network.
    pub fn new(
        shards: u16,
        settings: &Settings,
        harsh: Harsh,
        rng: &mut Rng,
        network: &Rc<RefCell<Network>>,
        mono: Mono,
        wall: Wall,
    ) -> Self {
        let key = rng.hash_key();
        let settings = Arc::new(settings.clone());
        let seats = narrow_mesh(shards, harsh.data_slots)
            .into_iter()
            .enumerate()
            .map(|(number, mesh)| {
                let number = number as u16;
                let (commands, inbox) = crossbeam_channel::unbounded();
                let setup = Setup {
                    shard: number,
                    shards,
                    key,
                    seed: rng.u64(),
                    settings: settings.clone(),
                    mono,
                    wall,
                };
                let streams = SimStreams::new(network.clone(), number);
                let shard = Shard::new(setup, streams, mesh, inbox);
                Seat { shard, commands, due: None, number: 0, away_until: Mono(0) }
            })
            .collect();
        Self { seats, turn_delay_us_max: 10, turn_stall_per_mille: 0, harsh, turns: 0, disk: None }
    }

    /// Puts a disk behind the shards, before their first turn.
    pub fn attach(&mut self, slowness: Slowness) {
        let (disk, ports) = Disk::new(self.seats.len() as u16, slowness);
        for (seat, port) in self.seats.iter_mut().zip(ports) {
            seat.shard.attach(port);
            seat.shard.end_load();
            seat.shard.all_loaded();
        }
        self.disk = Some(disk);
    }

    /// The disk commits.
    pub fn commit(&mut self, stage: &mut Stage) {
        let told = self.disk.as_mut().map(Disk::commit).unwrap_or_default();
        for shard in told {
            self.wake(stage, shard);
        }
        self.plan_commit(stage);
    }

    fn plan_commit(&mut self, stage: &mut Stage) {
        if let Some(us) = self.disk.as_mut().and_then(Disk::next_commit_us) {
            let us = if stage.healing { us.min(1_000) } else { us };
            stage.soon(us, Event::Commit);
        }
    }

    /// Commits of the disk.
    pub fn commits(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.commits)
    }

    /// Sessions and retained messages on disk.
    pub fn stored(&self) -> (usize, usize) {
        self.disk.as_ref().map_or((0, 0), Disk::held)
    }

    /// How many shards there are.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// The shard gets a turn soon.
    pub fn wake(&mut self, stage: &mut Stage, shard: u16) {
        let mut us = stage.rng.below(self.turn_delay_us_max + 1);
        if stage.rng.chance(self.turn_stall_per_mille) {
            us += stage.rng.below(100_000);
        }
        let at = stage.now.plus_us(us);
        self.turn_at(stage, shard, at);
    }

    /// The calendar is new: every shard gets a turn.
    pub fn wake_all(&mut self, stage: &mut Stage) {
        for shard in 0..self.seats.len() {
            self.seats[shard].due = None;
            self.wake(stage, shard as u16);
        }
    }

    fn turn_at(&mut self, stage: &mut Stage, shard: u16, at: Mono) {
        let seat = &mut self.seats[usize::from(shard)];
        let at = at.max(seat.away_until);
        if seat.due.is_none_or(|due| at < due) {
            seat.due = Some(at);
            seat.number += 1;
            stage.calendar.enter(at, Event::Turn(shard, seat.number));
        }
    }

    /// A shard takes its turn, if it is still the one it waits for.
    pub fn turn(&mut self, stage: &mut Stage, shard: u16, number: u64) {
        let seat = &mut self.seats[usize::from(shard)];
        if seat.number != number {
            return;
        }
        seat.due = None;
        self.turns += 1;
        let turn = seat.shard.turn(stage.now, stage.wall());
        let goes_on = turn.busy || seat.shard.has_input();
        if self.harsh.away_per_mille != 0 && stage.rng.chance(self.harsh.away_per_mille) {
            seat.away_until = stage.now.plus_us(stage.rng.below(self.harsh.away_us_max));
        }
        self.plan_commit(stage);
        for other in turn.woken.iter() {
            self.wake(stage, other);
        }
        if goes_on {
            self.wake(stage, shard);
        } else if turn.until != Mono::NEVER {
            let at = turn.until.max(stage.now.plus_us(1));
            self.turn_at(stage, shard, at);
        }
    }

    /// Gives every shard a command.
    pub fn command_all(&mut self, stage: &mut Stage, command: impl Fn() -> Command) {
        for shard in 0..self.seats.len() {
            let sent = self.seats[shard].commands.send(command());
            debug_assert!(sent.is_ok(), "a shard has its end of the channel");
            self.wake(stage, shard as u16);
        }
    }

    /// Whether every shard has been told to shut down and is done.
    pub fn is_shut_down(&self) -> bool {
        self.seats.iter().all(|seat| seat.shard.is_shut_down())
    }

    /// Whether nothing is on its way inside of any shard or between them.
    pub fn is_quiet(&self) -> bool {
        self.seats.iter().all(|seat| seat.shard.is_quiet())
    }

    /// What was counted, over all shards.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for seat in &self.seats {
            tally.merge(seat.shard.broker().tally());
        }
        tally
    }

    /// How many messages were dropped for these reasons.
    pub fn dropped(&self, reasons: &[Dropped]) -> u64 {
        let tally = self.tally();
        reasons.iter().map(|&reason| tally.dropped.get(reason)).sum()
    }

    /// How much of a thing all shards hold.
    pub fn held(&self, what: Held) -> usize {
        self.seats.iter().map(|seat| seat.shard.broker().held(what)).sum()
    }

    /// Topics remembered, over all shards.
    pub fn topics(&self) -> usize {
        self.seats.iter().map(|seat| seat.shard.broker().router().topic_count()).sum()
    }

    /// The shards that hold a retained message of a topic, and the beginning of its payload.
    pub fn retained(&self, topic: &str) -> Vec<(u16, String)> {
        let mut found = Vec::new();
        for (number, seat) in self.seats.iter().enumerate() {
            if let Some(publication) = seat.shard.broker().retained().get(topic.as_bytes()) {
                let start = &publication.payload[..publication.payload.len().min(8)];
                found.push((number as u16, String::from_utf8_lossy(start).into_owned()));
            }
        }
        found
    }

    /// Everything that is held by any shard.
    pub fn leftovers(&self) -> Vec<Leftover> {
        let mut left = Vec::new();
        for (number, seat) in self.seats.iter().enumerate() {
            let number = number as u16;
            left.extend(seat.shard.broker().holdings().into_iter().map(|(what, n)| (number, what, n)));
            left.extend(
                seat.shard.held().into_iter().filter(|&(_, n)| n != 0).map(|(what, n)| (number, what, n)),
            );
        }
        left
    }

    /// Things that are bounded by others.
    ///
    /// # Errors
    /// The first bound that is not kept.
    pub fn check_bounds(&self) -> Result<(), String> {
        for (number, seat) in self.seats.iter().enumerate() {
            let held = seat.shard.held();
            let of = |what| held.iter().find(|(name, _)| *name == what).map_or(0, |&(_, n)| n);
            let connections = of("connections");
            if of("waiting_for_room") > connections {
                return Err(format!("shard {number}: {held:?}: more wait for room than there are"));
            }
            if of("last_words") > seat.shard.broker().held(Held::Links) + connections + 1_000 {
                return Err(format!("shard {number}: {held:?}: last words of nobody"));
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("shards", &self.seats.len()).field("turns", &self.turns).finish()
    }
}
