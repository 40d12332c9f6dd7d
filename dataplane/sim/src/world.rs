//! A run: shards, clients and network from one seed, through trouble to rest.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use pelton_base::{Mono, Rng};
use pelton_broker::counters::{Dropped, Traffic};
use pelton_broker::settings::QueuePolicy;
use pelton_mqtt::{QoS, SubscribeOptions, Version};
use pelton_shard::Command;

use crate::carrier::Carrier;
use crate::client::{Client, Profile, SubscribeWish, Wish};
use crate::cluster::Cluster;
use crate::disaster::SHARDS_MAX;
use crate::ledger::{Ledger, Verdict, require};
use crate::network::{Network, ToClient, Weather};
use crate::plan::Plan;
use crate::stage::{Calendar, Event, Stage};
use crate::tcp::{TcpNetwork, TcpTally};
use crate::verdict;

/// Events in one run, beyond which it is taken not to end.
const STEPS_MAX: u64 = 20_000_000;
/// How long trouble may last, in simulated milliseconds.
const TROUBLE_MS_MAX: u64 = 2_000_000;
/// How long the return to rest may take.
const HEALING_MS_MAX: u64 = 300_000;
/// At least so long: wills and lost connections come to light.
const HEALING_MS_MIN: u64 = 60_000;

/// How long shutting down may take: last words have five seconds, a client that does not close two more.
const SHUT_DOWN_MS_MAX: u64 = 15_000;
/// How long clients stay away whose sessions expire meanwhile: a session expires within seconds, and its end
/// may come to light within half a minute.
const AWAY_MS: u64 = 46_000;
/// How often the observer shows that it is there, and how often clients look whether they are connected while the
/// network heals, in microseconds.
const LOOK_US: u64 = 600_000;
/// The same over TCP, where each look is frames on links and turns of stacks.
const LOOK_OVER_TCP_US: u64 = 4_000_000;

/// What a run was like.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Shards.
    pub shards: u64,
    /// Clients.
    pub clients: u64,
    /// Events.
    pub steps: u64,
    /// Turns of shards.
    pub turns: u64,
    /// Simulated milliseconds.
    pub ms: u64,
    /// Messages published.
    pub messages: usize,
    /// Deliveries to clients.
    pub deliveries: u64,
    /// Connections.
    pub connections: u64,
    /// Messages dropped and counted.
    pub dropped: u64,
    /// Publishes that crossed between shards.
    pub crossed: u64,
    /// Packets sent again after a reconnect.
    pub retransmitted: u64,
    /// Wills published.
    pub wills: u64,
    /// Commits of the disk.
    pub commits: u64,
    /// Processes that ended before their time.
    pub crashes: u64,
    /// Transactions undone by losses of power.
    pub undone: u64,
    /// Faults of the disk.
    pub faults: u64,
    /// Jumps of the clock.
    pub jumps: u64,
    /// What TCP and its links counted.
    pub tcp: TcpTally,
}

/// The world.
#[derive(Debug)]
pub struct World {
    /// What clients and world share.
    pub stage: Stage,
    /// The shards.
    pub cluster: Cluster,
    /// The clients.
    pub clients: Vec<Client>,
    /// Draws what goes wrong.
    pub(crate) fate: Rng,
    due: Vec<(Mono, Event)>,
    woken: Vec<u16>,
}

impl World {
    /// A world as its plan says, with nobody connected yet.
    pub fn new(plan: Plan, trace: bool) -> Self {
        let mut rng = Rng::with_seed(plan.seed);
        let now = Mono::from_ms(1_000);
        let carrier = match &plan.tcp {
            Some(tcp) => {
                let shards_max = if plan.disasters.is_some() { SHARDS_MAX } else { 0 };
                let network = TcpNetwork::new(plan.shards, shards_max, rng.fork(), tcp.clone(), now);
                Carrier::Tcp(Box::new(network))
            }
            None => {
                let network = Network::new(plan.shards, rng.fork(), plan.weather);
                Carrier::Memory(Rc::new(RefCell::new(network)))
            }
        };
        let network = Rc::new(RefCell::new(carrier));
        let mut stage = Stage {
            now,
            step: 0,
            network: network.clone(),
            ledger: Ledger::default(),
            calendar: Calendar::default(),
            opened_by: BTreeMap::new(),
            trace,
            healing: false,
            healing_since: Mono::NEVER,
            shutting_down: false,
            broker_is_down: false,
            actions_left: plan.actions,
            rng: rng.fork(),
            plan,
        };
        network.borrow_mut().set_now(stage.now);
        let wall = stage.wall();
        let (shards, settings) = (stage.plan.shards, stage.plan.settings.clone());
        let mut cluster =
            Cluster::new(shards, &settings, stage.plan.harsh, &mut rng, &network, stage.now, wall);
        if let Some(slowness) = stage.plan.disk {
            cluster.attach(slowness);
        }
        cluster.turn_delay_us_max = stage.plan.turn_delay_us_max;
        cluster.turn_stall_per_mille = stage.plan.turn_stall_per_mille;
        let mut clients: Vec<Client> =
            (0..stage.plan.clients).map(|index| Client::new(index, &mut rng)).collect();
        if stage.plan.disasters.is_some() {
            // It sees what is published while it is away, too.
            clients[0].profile.expiry_seconds = 36_000;
        }
        for shard in 0..shards {
            cluster.wake(&mut stage, shard);
        }
        let fate = Rng::with_seed(stage.plan.seed ^ 0x66_61_74_65);
        Self { stage, cluster, clients, fate, due: Vec::new(), woken: Vec::new() }
    }

    /// Plays the whole run.
    ///
    /// # Errors
    /// The first thing that the broker did wrong.
    pub fn play(&mut self) -> Result<Report, String> {
        self.set_up()?;
        self.trouble()?;
        self.heal()?;
        verdict::deliveries(self)?;
        verdict::fetches(self)?;
        verdict::groups(self)?;
        verdict::wills(self)?;
        let rest = self.stage.now;
        self.check_retained()?;
        self.outstay()?;
        verdict::no_wills_since(self, rest)?;
        self.leave_all()?;
        self.check_nothing_is_left()?;
        Ok(self.report())
    }

    /// Plays until somewhere in the trouble, and there the broker is shut down: every connection ends, and every
    /// shard finds that it is done, whatever was on its way.
    ///
    /// # Errors
    /// The first thing that the broker did wrong.
    pub fn play_until_shut_down(&mut self) -> Result<Report, String> {
        self.set_up()?;
        let left = self.stage.rng.below(u64::from(self.stage.plan.actions)) as u32;
        let messages = self.stage.plan.messages;
        let messages = messages.map(|messages| self.stage.rng.below(u64::from(messages)) as usize);
        let until = self.stage.now.plus_ms(TROUBLE_MS_MAX);
        self.stage.network.borrow_mut().trouble();
        self.run(until, |world| {
            let published = world.stage.ledger.messages.len();
            world.stage.actions_left <= left || messages.is_some_and(|messages| published >= messages)
        })?;
        self.stage.say(|| "the broker is shut down".to_owned());
        self.stage.shutting_down = true;
        let weather = self.stage.plan.weather;
        if self.stage.plan.tcp.is_some() {
            self.stage.network.borrow_mut().set_weather(weather);
        }
        self.cluster.command_all(&mut self.stage, || Command::ShutDown);
        if let Err(why) =
            self.wait(SHUT_DOWN_MS_MAX, "every shard is shut down", |world| world.cluster.is_shut_down())
        {
            return Err(format!("{why}; held: {:?}", self.cluster.leftovers()));
        }
        // Whoever still tries finds nobody.
        self.run_for(30_000)?;
        let live = self.clients.iter().find(|client| client.is_live());
        require!(live.is_none(), "{:?} is connected to a broker that has shut down", live.map(Client::name));
        require!(
            self.cluster.is_shut_down(),
            "a shard was shut down and is not: {:?}",
            self.cluster.leftovers()
        );
        Ok(self.report())
    }

    /// New clients come to the same broker; nothing is known of those before.
    pub fn begin_again(&mut self, name: &str) {
        let Self { stage, clients, cluster, .. } = self;
        clients.clear();
        for index in 0..stage.plan.clients {
            let mut client = Client::new(index, &mut stage.rng);
            client.profile.client_id = format!("{name}-{index}");
            clients.push(client);
        }
        (stage.ledger, stage.calendar, stage.opened_by) =
            (Ledger::default(), Calendar::default(), BTreeMap::new());
        (stage.healing, stage.actions_left) = (false, stage.plan.actions);
        stage.network.borrow_mut().set_weather(stage.plan.weather);
        cluster.turn_delay_us_max = stage.plan.turn_delay_us_max;
        cluster.turn_stall_per_mille = stage.plan.turn_stall_per_mille;
        cluster.harsh = stage.plan.harsh;
        cluster.wake_all(stage);
    }

    fn report(&mut self) -> Report {
        let tally = self.cluster.tally();
        let tcp = self.stage.network.borrow().tally(&self.cluster.figures());
        Report {
            shards: u64::from(self.stage.plan.shards),
            clients: self.stage.plan.clients as u64,
            steps: self.stage.step,
            turns: self.cluster.turns,
            ms: self.stage.now.as_ms(),
            messages: self.stage.ledger.messages.len(),
            deliveries: self.stage.ledger.deliveries,
            connections: self.clients.iter().map(|client| client.connects).sum(),
            dropped: Dropped::ALL.iter().map(|&reason| tally.dropped.get(reason)).sum(),
            crossed: tally.traffic.get(Traffic::MeshIn),
            retransmitted: tally.traffic.get(Traffic::Retransmitted),
            wills: tally.traffic.get(Traffic::WillsPublished),
            commits: self.cluster.commits(),
            crashes: self.stage.ledger.crashes.len() as u64,
            undone: self.cluster.undone(),
            faults: self.stage.ledger.faults.len() as u64,
            jumps: self.stage.ledger.jumps.len() as u64,
            tcp,
        }
    }

    // ---- events ------------------------------------------------------------------------------------------

    /// Lets events happen until a time, or until `done`.
    ///
    /// # Errors
    /// The first thing that the broker did wrong.
    pub fn run(&mut self, until: Mono, mut done: impl FnMut(&mut Self) -> bool) -> Result<bool, String> {
        self.settle()?;
        while let Some((at, event)) = self.stage.calendar.next(until) {
            self.stage.now = self.stage.now.max(at);
            self.stage.step += 1;
            require!(self.stage.step < STEPS_MAX, "it goes on and on: {:?}", self.cluster.leftovers());
            self.stage.network.borrow_mut().set_now(self.stage.now);
            self.happen(event);
            self.settle()?;
            if self.stage.step.is_multiple_of(64) {
                self.cluster.check_bounds()?;
            }
            if done(self) {
                return Ok(true);
            }
        }
        self.stage.now = self.stage.now.max(until);
        self.stage.network.borrow_mut().set_now(self.stage.now);
        Ok(false)
    }

    fn happen(&mut self, event: Event) {
        let Self { stage, cluster, clients, .. } = self;
        match event {
            Event::Arrive(conn, way) => stage.network.borrow_mut().arrive(conn, way),
            Event::Wire => {}
            Event::Freeze(ms) => {
                clients.iter_mut().for_each(|client| client.stands_still(stage.now, ms));
                freeze(stage, ms)
            }
            Event::Turn(shard, number) => cluster.turn(stage, shard, number),
            Event::Commit => cluster.commit(stage),
            Event::Act(index) => self.act(index),
            Event::Resume(index, conn) => clients[index].resume(stage, conn),
            Event::Acknowledge(index, conn) => clients[index].acknowledge(stage, conn),
            Event::Disaster(disaster) => self.strike(disaster),
        }
    }

    fn act(&mut self, index: usize) {
        let Self { stage, cluster, clients, .. } = self;
        if stage.healing {
            clients[index].heal(stage);
            let us = look_us(stage, &clients[index]);
            return stage.soon(us, Event::Act(index));
        }
        if clients[index].profile.observer {
            if stage.plan.disasters.is_some() && clients[index].is_offline() {
                clients[index].connect(stage, false, false);
            }
            clients[index].ping(stage);
            let us = look_us(stage, &clients[index]);
            return stage.soon(us, Event::Act(index));
        }
        if let Some(later) = clients[index].cannot_act_before(stage) {
            let us = stage.rng.below(stage.plan.pause_us_max + 1);
            return stage.calendar.enter(later.plus_us(us), Event::Act(index));
        }
        if stage.actions_left != 0 {
            stage.actions_left -= 1;
            let kick = stage.plan.weights.kick;
            if kick != 0 && stage.rng.below(200) < kick && clients[index].is_live() {
                clients[index].is_being_kicked(stage);
                let client_id = clients[index].profile.client_id.clone();
                cluster.command_all(stage, || Command::Kick(client_id.clone()));
            } else {
                clients[index].act(stage);
            }
        }
        let us = stage.plan.pause_us_max;
        stage.soon(us, Event::Act(index));
        self.tempt_fate();
    }

    /// What the network has for the calendar, the shards and the clients.
    fn settle(&mut self) -> Verdict {
        loop {
            let to_client = {
                let network = &mut *self.stage.network.borrow_mut();
                network.settle(&mut self.due, &mut self.woken);
                network.next_for_client()
            };
            for (at, event) in self.due.drain(..) {
                self.stage.calendar.enter(at, event);
            }
            for shard in self.woken.drain(..) {
                self.cluster.wake(&mut self.stage, shard);
            }
            let Some((conn, what)) = to_client else { return self.stage.network.borrow().check() };
            let Some(&index) = self.stage.opened_by.get(&conn) else { continue };
            let client = &mut self.clients[index];
            match what {
                ToClient::Bytes(bytes) => client.take(&mut self.stage, conn, &bytes)?,
                ToClient::Closed => client.closed(&mut self.stage, conn, false)?,
                ToClient::Reset => client.closed(&mut self.stage, conn, true)?,
            }
        }
    }

    /// Lets simulated milliseconds pass.
    ///
    /// # Errors
    /// The first thing that the broker did wrong.
    pub fn run_for(&mut self, ms: u64) -> Verdict {
        let until = self.stage.now.plus_ms(ms);
        self.run(until, |_| false).map(|_| ())
    }

    /// Runs until something holds, for at most so many simulated milliseconds.
    ///
    /// # Errors
    /// If it does not, and the first thing that the broker did wrong.
    pub fn wait(&mut self, ms: u64, what: &str, mut holds: impl FnMut(&mut Self) -> bool) -> Verdict {
        if holds(self) {
            return Ok(());
        }
        let ms = ms + self.stage.network.borrow().patience_ms();
        let until = self.stage.now.plus_ms(ms);
        let reached = self.run(until, holds)?;
        if !reached {
            return Err(format!("after {} s still not: {what}: {:?}", ms / 1_000, self.unrest()));
        }
        Ok(())
    }

    // ---- phases ------------------------------------------------------------------------------------------

    fn set_up(&mut self) -> Verdict {
        self.clients[0].connect(&mut self.stage, true, false);
        self.stage.soon(300_000, Event::Act(0));
        self.wait(30_000, "the observer is connected", |world| world.clients[0].is_live())?;
        let wish = SubscribeWish {
            filter: "w/#".to_owned(),
            group: None,
            options: SubscribeOptions::new(QoS::ExactlyOnce),
        };
        self.clients[0].subscribe(&mut self.stage, &[wish], 0);
        self.wait(30_000, "the observer has subscribed", |world| world.clients[0].waits_for().is_none())?;
        let mut left = self.stage.plan.retained_before;
        if left != 0 {
            let loader = self.add_client("loader");
            self.clients[loader].connect(&mut self.stage, true, false);
            self.wait(30_000, "the loader is connected", |world| world.clients[loader].is_live())?;
            while left != 0 {
                for _ in 0..left.min(100) {
                    let wish = Wish {
                        topic: format!("pre/{left}"),
                        qos: QoS::AtMostOnce,
                        retain: true,
                        len: 8,
                        expiry: None,
                    };
                    self.clients[loader].publish(&mut self.stage, wish);
                    left -= 1;
                }
                self.clients[loader].ping(&mut self.stage);
                self.wait(30_000, "retained messages are taken", |world| {
                    world.clients[loader].waits_for().is_none()
                })?;
            }
            self.clients[loader].disconnect(&mut self.stage, false, false);
        }
        for index in 1..self.stage.plan.clients {
            let us = self.stage.plan.pause_us_max;
            self.stage.soon(us, Event::Act(index));
        }
        Ok(())
    }

    fn trouble(&mut self) -> Verdict {
        if let Some(disasters) = self.stage.plan.disasters {
            let rng = self.fate.fork();
            self.cluster.roughen(rng, disasters.lazy);
        }
        self.stage.network.borrow_mut().trouble();
        self.plan_freezes();
        let until = self.stage.now.plus_ms(TROUBLE_MS_MAX);
        let messages = self.stage.plan.messages.map_or(usize::MAX, |messages| messages as usize);
        self.run(until, |world| {
            world.stage.actions_left == 0 || world.stage.ledger.messages.len() >= messages
        })?;
        Ok(())
    }

    /// When the machine is to stand still.
    fn plan_freezes(&mut self) {
        let Some((count, ms_max)) = self.stage.plan.tcp.as_ref().map(|tcp| tcp.jumps) else { return };
        for _ in 0..count {
            let ms = self.stage.rng.between(1, ms_max);
            self.stage.soon(2_000_000, Event::Freeze(ms));
        }
    }

    fn heal(&mut self) -> Verdict {
        self.stage.say(|| "everything heals".to_owned());
        self.stage.healing = true;
        self.stage.healing_since = self.stage.now;
        self.spare();
        self.stage.network.borrow_mut().set_weather(Weather {
            delay_us_max: 200,
            piece_bytes_max: 1_400,
            stall_per_mille: 0,
            buffer_bytes: (20_000, 20_000),
        });
        self.cluster.turn_stall_per_mille = 0;
        self.cluster.harsh.away_per_mille = 0;
        self.cluster.turn_delay_us_max = self.cluster.turn_delay_us_max.min(100);
        self.run_for(HEALING_MS_MIN)?;
        // The other TCP sends a whole window again after each of its time-outs, into ports that may have few frames.
        let until = self.stage.now.plus_ms(HEALING_MS_MAX + 10 * self.stage.network.borrow().patience_ms());
        let mut unrest = self.unrest();
        while !unrest.is_empty() {
            require!(self.stage.now < until, "it does not come to rest: {unrest:?}");
            self.run_for(100)?;
            unrest = self.unrest();
        }
        Ok(())
    }

    /// Who waits for what.
    fn unrest(&mut self) -> Vec<String> {
        let mut unrest = Vec::new();
        // Whatever waits for something from the other end gives up in time, or is answered by a reset when it tries again.
        let let_go = self.stage.network.borrow().let_go_in_trouble();
        for (conn, ended) in let_go {
            if !ended {
                let known = self.stage.network.borrow().explain(conn);
                unrest.push(format!("connection {conn} does not end at its client's: {known}"));
            }
            let known = self.cluster.explain(conn);
            if !known.is_empty() {
                unrest.push(format!("connection {conn} does not end at its shard: {known}"));
            }
        }
        // What nobody answers may have been lost once more just before.
        for conn in self.stage.network.borrow().waiting() {
            unrest.push(format!("connection {conn} has not carried what its client sent"));
        }
        for client in &self.clients {
            if let Some(what) = client.waits_for() {
                let conn = client.link_id();
                let known = self.stage.network.borrow().explain(conn);
                let there = self.cluster.explain(conn);
                unrest.push(format!("client {} waits for {what} {known} {there}", client.index));
            }
            if client.is_offline() && client.session().is_some() {
                unrest.push(format!("client {} has a session and is not connected", client.index));
            }
        }
        // One whose connection the broker lost a moment ago is published when its delay is over, though all else rests.
        for (client, message) in verdict::delayed_wills(self) {
            unrest.push(format!("the will of client {client}, message {message}, may come yet"));
        }
        if !self.cluster.is_quiet() {
            unrest.push(format!("the shards are not quiet: {:?}", self.cluster.leftovers()));
        }
        unrest
    }

    /// Adds a v5 client with a clean session.
    pub fn add_client(&mut self, name: &str) -> usize {
        let index = self.clients.len();
        let profile = Profile {
            client_id: format!("{name}-{index}"),
            version: Version::V5,
            expiry_seconds: 0,
            receive_maximum: None,
            packet_bytes_max: None,
            alias_maximum: 0,
            keep_alive: 0,
            acknowledges_late_us: 0,
            group: None,
            observer: true,
        };
        self.clients.push(Client::with_profile(index, profile));
        self.stage.soon(300_000, Event::Act(index));
        index
    }

    fn check_retained(&mut self) -> Verdict {
        let mut views = Vec::new();
        for shard in 0..self.stage.plan.shards {
            let probe = self.add_client("probe");
            self.clients[probe].connect_to(&mut self.stage, shard, true, false);
            self.wait(30_000, "a probe is connected", |world| world.clients[probe].is_live())?;
            let wish = SubscribeWish {
                filter: "#".to_owned(),
                group: None,
                options: SubscribeOptions::new(QoS::ExactlyOnce),
            };
            self.clients[probe].subscribe(&mut self.stage, &[wish], 0);
            self.wait(30_000, "a probe has subscribed", |world| world.clients[probe].waits_for().is_none())?;
            // Retained messages follow SUBACK; a quarter of a second is a thousand times what they need, but for TCP
            // on a link that was bad a moment ago: what the client has not got yet is with its shard.
            self.run_for(250)?;
            self.wait(30_000, "a probe has its messages", |world| {
                world.clients[probe].waits_for().is_none()
                    && world.cluster.is_quiet()
                    && world.cluster.has_delivered()
            })?;
            if self.clients[probe].session().is_none()
                && self.stage.plan.settings.queue_policy == QueuePolicy::Disconnect
            {
                // More retained messages than the queue takes, where that ends the connection.
                continue;
            }
            views.push(verdict::retained_view(self, probe)?);
            self.clients[probe].disconnect(&mut self.stage, false, false);
            self.wait(30_000, "a probe has left", |world| world.clients[probe].is_offline())?;
        }
        verdict::retained(self, &views)
    }

    /// Sessions that expire soon are left alone for longer than that, and their clients come back: none may be
    /// there. The others come back to theirs.
    fn outstay(&mut self) -> Verdict {
        let away_ms = AWAY_MS + self.stage.rng.below(5_000);
        for client in self.clients.iter_mut().filter(|client| client.outstays()) {
            client.disconnect(&mut self.stage, false, false);
            client.stay_away(self.stage.now.plus_ms(away_ms));
        }
        self.run_for(away_ms)?;
        self.wait(30_000, "everybody is back who outstayed", |world| {
            world.clients.iter().all(|client| client.session().is_none() || client.is_live())
        })
    }

    fn leave_all(&mut self) -> Verdict {
        // The calendar holds no more actions: whoever leaves stays away.
        self.stage.calendar.clear_acts();
        for index in 0..self.clients.len() {
            if !self.clients[index].is_offline() {
                self.clients[index].disconnect(&mut self.stage, false, false);
            }
        }
        self.wait(30_000, "everybody has left", |world| world.clients.iter().all(Client::is_offline))?;
        for index in 0..self.stage.plan.clients {
            self.clients[index].profile.expiry_seconds = 0;
            self.clients[index].profile.keep_alive = 0;
            self.clients[index].connect(&mut self.stage, true, false);
        }
        let count = self.stage.plan.clients;
        self.wait(30_000, "everybody is back for the last time", |world| {
            world.clients[..count].iter().all(Client::is_live)
        })?;
        for index in 0..count {
            self.clients[index].disconnect(&mut self.stage, false, false);
        }
        self.wait(30_000, "everybody has left for good", |world| {
            world.clients.iter().all(Client::is_offline)
        })?;
        self.clear_retained()
    }

    fn clear_retained(&mut self) -> Verdict {
        let mut topics: Vec<String> = self
            .stage
            .ledger
            .messages
            .iter()
            .filter(|message| message.retain)
            .map(|message| message.topic.clone())
            .collect();
        topics.sort();
        topics.dedup();
        let cleaner = self.add_client("cleaner");
        self.clients[cleaner].connect(&mut self.stage, true, false);
        self.wait(30_000, "the cleaner is connected", |world| world.clients[cleaner].is_live())?;
        for topic in topics {
            let wish = Wish { topic, qos: QoS::AtMostOnce, retain: true, len: 0, expiry: None };
            self.clients[cleaner].publish(&mut self.stage, wish);
        }
        self.clients[cleaner].ping(&mut self.stage);
        self.wait(60_000, "retained messages are cleared", |world| {
            world.clients[cleaner].waits_for().is_none()
        })?;
        self.clients[cleaner].disconnect(&mut self.stage, false, false);
        self.wait(30_000, "the cleaner has left", |world| world.clients[cleaner].is_offline())
    }

    fn check_nothing_is_left(&mut self) -> Verdict {
        // Past last words, lingering and lost connections.
        self.run_for(30_000)?;
        let left = self.cluster.leftovers();
        require!(left.is_empty(), "left over after everybody has gone: {left:?}");
        let stored = self.cluster.stored();
        require!(stored == (0, 0), "stored after everybody has gone, sessions and retained: {stored:?}");
        // Past what TCP remembers of connections that have ended.
        let rest_ms = self.stage.network.borrow().rest_ms();
        self.run_for(rest_ms)?;
        let mut remaining = self.stage.network.borrow().remaining();
        remaining.extend(self.cluster.stacks());
        require!(remaining.is_empty(), "left over when all connections have ended: {remaining:?}");
        Ok(())
    }
}

/// How long a client may wait until it looks again.
fn look_us(stage: &Stage, client: &Client) -> u64 {
    match client.profile.keep_alive {
        _ if stage.plan.tcp.is_none() => LOOK_US,
        0 => LOOK_OVER_TCP_US,
        // The broker gives it half as much again.
        seconds => u64::from(seconds) * 1_000_000,
    }
}

/// The machine stands still, and its clock jumps when it goes on; the wall clock may be set, too.
fn freeze(stage: &mut Stage, ms: u64) {
    if stage.healing {
        return;
    }
    stage.now = stage.now.plus_ms(ms);
    stage.network.borrow_mut().set_now(stage.now);
    stage.network.borrow_mut().stood_still(ms);
    stage.ledger.stood_still_ms += ms;
    // Messages that expire do so by the wall clock.
    if stage.plan.tcp.as_ref().is_some_and(|tcp| tcp.wall_jumps) && stage.plan.expiry_per_mille == 0 {
        let ms = stage.rng.below(200_000_000) as i64 - 100_000_000;
        stage.ledger.jumps.push((stage.now, ms));
    }
    stage.say(|| format!("the machine stands still for {ms} ms"));
}
