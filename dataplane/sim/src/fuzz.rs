//! Damaged packets against live shards: many connections, with and without a CONNECT before, some of which
//! never read, send what the codec's fuzzer makes, damaged or not. Meanwhile a canary publishes to itself and
//! must be served, nothing may panic, and everything that is held keeps its bounds.

use pelton_base::Rng;
use pelton_broker::Settings;
use pelton_broker::holdings::Held;
use pelton_broker::settings::QueuePolicy;
use pelton_mqtt::{Connect, QoS, SubscribeOptions, Version};

use crate::client::{SubscribeWish, Wish};
use crate::corpus::random_packet;
use crate::ledger::{Ledger, Verdict, require};
use crate::mutate::mutate;
use crate::network::{ConnId, Weather};
use crate::plan::Plan;
use crate::random::Random;
use crate::world::World;

/// Connections that send damage.
const ATTACKERS: usize = 48;
/// Names they use, so that they take sessions over from each other.
const NAMES: u64 = 24;

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Packets sent.
    pub packets: u64,
    /// Connections opened.
    pub connections: u64,
    /// Messages of the canary that it got back.
    pub canary: u64,
    /// Most that was held at once, over all shards.
    pub most: Most,
}

/// Most that was held at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Most {
    /// Connections.
    pub links: usize,
    /// Sessions.
    pub sessions: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Stored messages.
    pub messages: usize,
    /// Their bytes.
    pub message_bytes: usize,
    /// Retained messages.
    pub retained: usize,
    /// Bytes queued to connections.
    pub outbound_bytes: usize,
    /// Bytes staged between shards.
    pub staged_bytes: usize,
}

fn settings() -> Settings {
    Settings {
        packet_bytes_max: 8_192,
        receive_maximum: 20,
        inflight_max: 20,
        session_expiry_max: 30,
        session_expiry_v3: 30,
        subscriptions_max: 20,
        outbound_bytes_max: 20_000,
        queue_messages_max: 40,
        queue_bytes_max: 16_384,
        queue_policy: QueuePolicy::DropOldest,
        retained_messages_max: 200,
        retained_bytes_max: 65_536,
        remembered_topics: 64,
        fanout_per_turn: 64,
        mesh_bytes_max: 16_384,
        ..Settings::default()
    }
}

struct Attack {
    world: World,
    random: Random,
    rng: Rng,
    /// Each with how many of its packets are damaged, per mille.
    attackers: Vec<Option<(ConnId, u32)>>,
    canary: usize,
    outcome: Outcome,
}

/// Sends at least `packets` packets.
///
/// # Errors
/// What did not hold. A panic of the broker goes through.
pub fn run(seed: u64, packets: u64, mut progress: impl FnMut(&Outcome)) -> Result<Outcome, String> {
    let mut plan = Plan::of_seed(seed);
    plan.shards = 2;
    plan.clients = 1;
    plan.settings = settings();
    plan.weather =
        Weather { delay_us_max: 50, piece_bytes_max: 60, stall_per_mille: 0, buffer_bytes: (500, 10_000) };
    (plan.turn_delay_us_max, plan.turn_stall_per_mille) = (30, 0);
    (plan.retained_before, plan.pause_us_max) = (0, 200_000);
    let mut world = World::new(plan, false);
    world.stage.healing = true;
    let canary = world.add_client("canary");
    let mut attack = Attack {
        world,
        random: Random::with_seed(seed),
        rng: Rng::with_seed(seed),
        attackers: vec![None; ATTACKERS],
        canary,
        outcome: Outcome::default(),
    };
    attack.greet()?;
    let mut told = 0;
    while attack.outcome.packets < packets {
        attack.round()?;
        if attack.outcome.packets - told >= 100_000 {
            told = attack.outcome.packets;
            progress(&attack.outcome);
        }
    }
    attack.end()?;
    Ok(attack.outcome)
}

/// Whether a connection survives a packet that begins so: what only a server sends, a second CONNECT, AUTH and
/// DISCONNECT end it.
fn is_of_a_client(first: u8) -> bool {
    matches!(first >> 4, 3..=8 | 10 | 12)
}

impl Attack {
    fn greet(&mut self) -> Verdict {
        let canary = self.canary;
        self.world.clients[canary].connect(&mut self.world.stage, true, false);
        self.world.wait(10_000, "the canary is connected", |world| world.clients[canary].is_live())?;
        let wish = SubscribeWish {
            filter: "canary/#".to_owned(),
            group: None,
            options: SubscribeOptions::new(QoS::ExactlyOnce),
        };
        self.world.clients[canary].subscribe(&mut self.world.stage, &[wish], 0);
        self.world
            .wait(10_000, "the canary has subscribed", |world| world.clients[canary].waits_for().is_none())
    }

    fn round(&mut self) -> Verdict {
        for index in 0..ATTACKERS {
            self.attack(index);
        }
        self.serve_canary()?;
        self.check_bounds()
    }

    fn attack(&mut self, index: usize) {
        let network = self.world.stage.network.clone();
        let network = &mut *network.borrow_mut();
        let open = self.attackers[index].filter(|&(id, _)| network.is_open(id));
        let (id, damaged) = match open {
            // A connection that survives its damage is given up now and then.
            Some((id, _)) if self.rng.chance(20) => {
                network.client_close(id);
                self.attackers[index] = None;
                return;
            }
            Some(open) => open,
            None => {
                self.outcome.connections += 1;
                let id = network.client_connect(self.rng.below(2) as u16);
                let damaged = [1_000, 500, 100, 20][self.rng.below(4) as usize];
                self.attackers[index] = Some((id, damaged));
                if self.rng.chance(900) {
                    network.client_send(id, &self.connect());
                }
                if self.rng.chance(50) {
                    network.client_reads(id, false);
                }
                (id, damaged)
            }
        };
        for _ in 0..self.rng.between(1, 12) {
            let (_, mut packet) = random_packet(&mut self.random);
            if self.rng.chance(damaged) {
                mutate(&mut self.random, &mut packet);
            } else if !is_of_a_client(packet[0]) {
                continue;
            }
            network.client_send(id, &packet);
            self.outcome.packets += 1;
        }
    }

    fn connect(&mut self) -> Vec<u8> {
        let version = Version::ALL[self.rng.below(3) as usize];
        let name = format!("attacker-{}", self.rng.below(NAMES));
        let mut connect = Connect::new(version, &name);
        connect.clean_start = self.rng.chance(400);
        if version.is_v5() {
            connect.properties.session_expiry = Some(self.rng.below(60) as u32);
            connect.properties.topic_alias_maximum = Some(self.rng.below(4) as u16);
            connect.properties.receive_maximum = Some(self.rng.between(1, 30) as u16);
        }
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        bytes
    }

    /// The canary publishes to itself, at every QoS, and must get it back.
    fn serve_canary(&mut self) -> Verdict {
        let canary = self.canary;
        let first = self.world.stage.ledger.messages.len();
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let wish = Wish { topic: "canary/song".to_owned(), qos, retain: false, len: 30, expiry: None };
            self.world.clients[canary].publish(&mut self.world.stage, wish);
        }
        self.world.wait(20_000, "the canary is served", |world| {
            let session = world.clients[canary].session();
            let ledger = &world.stage.ledger;
            world.clients[canary].waits_for().is_none()
                && session.is_some_and(|session| {
                    let received = &ledger.sessions[session].received;
                    (first..ledger.messages.len()).all(|message| received.contains_key(&message))
                })
        })?;
        self.outcome.canary += 3;
        // What the canary has seen is not needed any more.
        if self.world.stage.ledger.messages.len() > 50_000 {
            let ledger = std::mem::take(&mut self.world.stage.ledger);
            let mut sessions = ledger.sessions;
            for session in &mut sessions {
                session.received.clear();
                session.last.clear();
            }
            self.world.stage.ledger = Ledger { sessions, ..Ledger::default() };
        }
        Ok(())
    }

    fn check_bounds(&mut self) -> Verdict {
        let cluster = &self.world.cluster;
        let now = Most {
            links: cluster.held(Held::Links),
            sessions: cluster.held(Held::Sessions),
            subscriptions: cluster.held(Held::Subscriptions),
            messages: cluster.held(Held::Messages),
            message_bytes: cluster.held(Held::MessageBytes),
            retained: cluster.held(Held::Retained),
            outbound_bytes: cluster.held(Held::OutboundBytes),
            staged_bytes: cluster.held(Held::StagedBytes),
        };
        let settings = &self.world.stage.plan.settings;
        let per_session = settings.queue_messages_max as usize + usize::from(settings.inflight_max);
        // Connections that are being ended, each for at most some seconds, are there beside the living.
        require!(now.links <= ATTACKERS * 400, "connections: {now:?}");
        require!(now.subscriptions <= now.sessions * usize::from(settings.subscriptions_max), "{now:?}");
        let groups = cluster.held(Held::Groups);
        let messages_max = (now.sessions + groups) * per_session + cluster.held(Held::FanOuts) + 1;
        require!(now.messages <= messages_max, "stored messages: {now:?}, {messages_max} at most");
        require!(now.retained <= 2 * settings.retained_messages_max as usize, "retained messages: {now:?}");
        let outbound_max = now.links * (settings.outbound_bytes_max as usize + 64 * 1024 + 8_192);
        require!(now.outbound_bytes <= outbound_max, "queued bytes: {now:?}");
        require!(now.staged_bytes <= 4 * 1024 * 1024, "staged bytes: {now:?}");
        let topics = cluster.topics();
        let topics_max = now.subscriptions + 2 * settings.remembered_topics as usize + groups;
        require!(topics <= topics_max + 100, "topics: {topics}, {topics_max} at most");
        let most = &mut self.outcome.most;
        *most = Most {
            links: most.links.max(now.links),
            sessions: most.sessions.max(now.sessions),
            subscriptions: most.subscriptions.max(now.subscriptions),
            messages: most.messages.max(now.messages),
            message_bytes: most.message_bytes.max(now.message_bytes),
            retained: most.retained.max(now.retained),
            outbound_bytes: most.outbound_bytes.max(now.outbound_bytes),
            staged_bytes: most.staged_bytes.max(now.staged_bytes),
        };
        Ok(())
    }

    /// Everybody leaves: only retained messages may be left when the sessions have expired.
    fn end(&mut self) -> Verdict {
        for (id, _) in self.attackers.iter().flatten() {
            self.world.stage.network.borrow_mut().client_close(*id);
        }
        let canary = self.canary;
        self.world.clients[canary].disconnect(&mut self.world.stage, false, false);
        self.world.wait(30_000, "the canary has left", |world| world.clients[canary].is_offline())?;
        self.world.run_for(120_000)?;
        let left: Vec<_> =
            self.world.cluster.leftovers().into_iter().filter(|(_, what, _)| *what != "retained").collect();
        require!(left.is_empty(), "left over after everybody has gone: {left:?}");
        let network = self.world.stage.network.borrow();
        let remaining = network.remaining();
        require!(remaining.is_empty(), "connections are left over: {remaining:?}");
        Ok(())
    }
}
