//! The shards of a broker, each turned only when it has a reason: bytes, another shard's wake, its own
//! timeout, or that it said it is busy. A wake that is forgotten therefore shows as something that never
//! comes to rest.
//!
//! The process they are in may end at any moment ([`Cluster::die`]), and another begin on the same disk
//! ([`Cluster::start`]).

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::Sender;
use pelton_base::{ByteStreams, HashKey, Mono, Rng, Wall};
use pelton_broker::counters::{Dropped, Tally};
use pelton_broker::holdings::Held;
use pelton_broker::{Broker, Settings, Setup};
use pelton_shard::{Command, Shard, narrow_mesh};
use pelton_storage_ops::Failure;
use pelton_tcp::Usage;

use crate::boot::Boot;
use crate::carrier::Carrier;
use crate::disk::{Disk, Slowness};
use crate::ledger::Step;
use crate::network::ConnId;
use crate::plan::Harsh;
use crate::stage::{Event, Stage};
use crate::transport::Transport;

/// What a shard still holds that it should not: its number, the thing, how much.
pub type Leftover = (u16, &'static str, usize);

struct Seat {
    shard: Shard<Transport>,
    commands: Sender<Command>,
    /// It is still being loaded.
    boot: Option<Boot>,
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
    /// Processes there were.
    pub processes: u64,
    disk: Option<Disk>,
    settings: Arc<Settings>,
    key: HashKey,
    network: Rc<RefCell<Carrier>>,
    /// What was counted by those that have ended.
    past: Tally,
}

impl Cluster {
    /// Shards over a network.
    pub fn new(
        shards: u16,
        settings: &Settings,
        harsh: Harsh,
        rng: &mut Rng,
        network: &Rc<RefCell<Carrier>>,
        mono: Mono,
        wall: Wall,
    ) -> Self {
        let key = rng.hash_key();
        let mut cluster = Self {
            seats: Vec::new(),
            turn_delay_us_max: 10,
            turn_stall_per_mille: 0,
            harsh,
            turns: 0,
            processes: 0,
            disk: None,
            settings: Arc::new(settings.clone()),
            key,
            network: network.clone(),
            past: Tally::default(),
        };
        cluster.seat(shards, rng, mono, wall);
        cluster
    }

    fn seat(&mut self, shards: u16, rng: &mut Rng, mono: Mono, wall: Wall) {
        // Turns that were planned for a former process are not taken for this one's.
        let turns = self.processes << 40;
        self.processes += 1;
        self.seats = narrow_mesh(shards, self.harsh.data_slots)
            .into_iter()
            .enumerate()
            .map(|(number, mesh)| {
                let number = number as u16;
                let (commands, inbox) = crossbeam_channel::unbounded();
                let setup = Setup {
                    shard: number,
                    shards,
                    key: self.key,
                    seed: rng.u64(),
                    settings: self.settings.clone(),
                    mono,
                    wall,
                };
                let transport = self.network.borrow_mut().transport(number);
                let shard = Shard::new(setup, transport, mesh, inbox);
                Seat { shard, commands, boot: None, due: None, number: turns, away_until: Mono(0) }
            })
            .collect();
    }

    /// The process ends here and now, `power`: because there is no power. Returns the step of the first
    /// transaction that is undone by it, if any is.
    pub fn die(&mut self, stage: &Stage, power: bool) -> Option<Step> {
        self.past = self.tally();
        self.seats.iter_mut().for_each(|seat| seat.shard.transport().die());
        self.seats.clear();
        self.disk.as_mut().and_then(|disk| disk.die(power, stage.step))
    }

    /// Another process begins, on as many shards as it likes, with what is on the disk.
    pub fn start(&mut self, stage: &mut Stage, shards: u16, rng: &mut Rng) {
        self.seat(shards, rng, stage.now, stage.wall());
        if let Some(disk) = &mut self.disk {
            let key = self.key;
            let ports = disk.start(shards, |loaded| Broker::home_of(key, shards, loaded));
            for (seat, port) in self.seats.iter_mut().zip(ports) {
                seat.boot = Some(Boot::begin(&mut seat.shard, port));
            }
        }
        self.wake_all(stage);
    }

    /// Whether a process is there and hears its clients.
    pub fn is_up(&self) -> bool {
        !self.seats.is_empty() && self.seats.iter().all(|seat| seat.boot.is_none())
    }

    /// Whether there is no process.
    pub fn is_down(&self) -> bool {
        self.seats.is_empty()
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

    /// From here on the disk is rough; see [`Disk::roughen`].
    pub fn roughen(&mut self, rng: Rng, lazy: bool) {
        if let Some(disk) = &mut self.disk {
            disk.roughen(rng, lazy);
        }
    }

    /// From here on the disk is full, or broken, or well again.
    pub fn set_fault(&mut self, fault: Option<Failure>) {
        if let Some(disk) = &mut self.disk {
            disk.set_fault(fault);
        }
    }

    /// The disk commits.
    pub fn commit(&mut self, stage: &mut Stage) {
        if self.is_down() {
            return;
        }
        let step = stage.step;
        let told = self.disk.as_mut().map(|disk| disk.commit(step)).unwrap_or_default();
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

    /// Transactions undone by losses of power.
    pub fn undone(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.undone)
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
        if self.is_down() {
            return;
        }
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
        let Some(seat) = self.seats.get_mut(usize::from(shard)).filter(|seat| seat.number == number) else {
            return;
        };
        seat.due = None;
        self.turns += 1;
        if seat.boot.is_some() {
            return self.boot(stage, shard);
        }
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

    /// A shard that is being loaded goes on with it.
    fn boot(&mut self, stage: &mut Stage, shard: u16) {
        let seat = &mut self.seats[usize::from(shard)];
        let Some(boot) = &mut seat.boot else { return };
        let wall = stage.wall();
        let woken = boot.step(&mut seat.shard, &mut stage.rng, stage.now, wall);
        if self.seats.iter().all(|seat| seat.boot.as_ref().is_none_or(|boot| boot.is_loaded)) {
            let seat = &mut self.seats[usize::from(shard)];
            seat.shard.all_loaded();
            seat.boot = None;
        }
        self.plan_commit(stage);
        for other in woken.iter() {
            self.wake(stage, other);
        }
        // It looks again soon, whoever else does.
        self.wake(stage, shard);
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
        self.is_up() && self.seats.iter().all(|seat| seat.shard.is_quiet())
    }

    /// Whether connected clients have got, and acknowledged, all there is for them; over TCP their hosts have, too.
    pub fn has_delivered(&self) -> bool {
        self.held(Held::UnderWay) == 0 && self.held(Held::OutboundBytes) == 0
    }

    /// What was counted, over all shards and processes.
    pub fn tally(&self) -> Tally {
        let mut tally = self.past.clone();
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

    /// What shards' stacks still hold when everything has ended.
    pub fn stacks(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        for (number, seat) in self.seats.iter_mut().enumerate() {
            let Some(streams) = seat.shard.transport().tcp() else { continue };
            let (usage, waits) = (streams.stack().usage(), streams.next_timeout());
            if usage != Usage::default() || waits.is_some() {
                left.push(format!("the stack of shard {number}: {usage:?}, waits for {waits:?}"));
            }
        }
        left
    }

    /// What shards' stacks know of a connection, for messages on failure.
    pub fn explain(&mut self, conn: ConnId) -> String {
        let explain = |(number, seat): (usize, &mut Seat)| {
            let known = seat.shard.transport().tcp()?.explain(conn)?;
            Some(format!("shard {number}: {known}"))
        };
        self.seats.iter_mut().enumerate().find_map(explain).unwrap_or_default()
    }

    /// What shards' transports counted, one after the other.
    pub fn figures(&mut self) -> Vec<Vec<(&'static str, u64)>> {
        self.seats.iter_mut().map(|seat| seat.shard.transport().figures()).collect()
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
