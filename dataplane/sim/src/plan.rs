//! What a seed decides before anything happens: how many shards and clients, the broker's settings, the
//! network's weather, how often what is done.

use pelton_base::Rng;
use pelton_broker::Settings;
use pelton_broker::settings::{QueuePolicy, SharedStrategy, Storage};
use pelton_mqtt::QoS;

use crate::disaster::Disasters;
use crate::disk::Slowness;
use crate::network::Weather;
use crate::tcp::TcpPlan;

/// Everything that is fixed for a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Shards.
    pub shards: u16,
    /// Model clients, the observer included.
    pub clients: usize,
    /// What the clients do in all before the network heals.
    pub actions: u32,
    /// It heals before that when so many messages were published.
    pub messages: Option<u32>,
    /// Longest pause of a client between two actions, in microseconds.
    pub pause_us_max: u64,
    /// The broker's settings.
    pub settings: Settings,
    /// The network.
    pub weather: Weather,
    /// Longest delay of a shard's turn, in microseconds.
    pub turn_delay_us_max: u64,
    /// Per mille of turns that come up to a hundred milliseconds late.
    pub turn_stall_per_mille: u32,
    /// Topics that anybody publishes to.
    pub topics: Vec<String>,
    /// Clients subscribe to topics by name, never by a wildcard.
    pub exact: bool,
    /// Weights of what clients do.
    pub weights: Weights,
    /// Longest payload, in bytes.
    pub payload_bytes_max: u64,
    /// Per mille of publishes that are retained.
    pub retain_per_mille: u32,
    /// Per mille of v5 publishes that expire soon.
    pub expiry_per_mille: u32,
    /// Messages retained before the clients begin.
    pub retained_before: u32,
    /// How slow the disk is, if there is one.
    pub disk: Option<Slowness>,
    /// Our TCP is below, over links like these.
    pub tcp: Option<TcpPlan>,
    /// Shards that fall far behind.
    pub harsh: Harsh,
    /// What goes wrong with process, disk and clock.
    pub disasters: Option<Disasters>,
}

/// Shards that are not turned for a while whatever comes for them, as on a core that was taken away, and rings
/// between them that are soon full: only so does a shard hear a client before it hears another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Harsh {
    /// Chunks of data that a ring takes.
    pub data_slots: usize,
    /// Per mille of turns after which the shard's core is taken away.
    pub away_per_mille: u32,
    /// For how long at most, in microseconds.
    pub away_us_max: u64,
}

impl Harsh {
    /// Cores that are never taken away, and rings as they are in earnest.
    pub const NONE: Self = Self { data_slots: 16, away_per_mille: 0, away_us_max: 0 };
}

/// How often what is done.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// A burst of publishes.
    pub publish: u64,
    /// A SUBSCRIBE.
    pub subscribe: u64,
    /// An UNSUBSCRIBE.
    pub unsubscribe: u64,
    /// PINGREQ.
    pub ping: u64,
    /// Reading stops for a while.
    pub pause: u64,
    /// DISCONNECT.
    pub disconnect: u64,
    /// The connection ends without one.
    pub drop: u64,
    /// A second connection takes over.
    pub takeover: u64,
    /// Bytes that are not MQTT.
    pub garbage: u64,
    /// An operator ends the connection.
    pub kick: u64,
}

impl Plan {
    /// What `seed` decides.
    pub fn of_seed(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed ^ 0x70_65_6c_74_6f_6e);
        let shards = [1, 2, 2, 3, 3, 4, 4, 6][rng.below(8) as usize];
        let clients = if rng.chance(200) { rng.between(12, 30) } else { rng.between(3, 10) } as usize;
        let tight = rng.chance(400);
        let gentle = rng.chance(150);
        let crowded_retained = rng.chance(40);
        let weights = Weights {
            publish: rng.between(20, 60),
            subscribe: rng.between(4, 20),
            unsubscribe: rng.between(0, 10),
            ping: rng.between(1, 8),
            pause: if gentle { 0 } else { rng.between(0, 8) },
            disconnect: rng.between(0, 8),
            drop: if gentle { 0 } else { rng.between(0, 10) },
            takeover: if gentle { 0 } else { rng.between(0, 5) },
            garbage: if gentle { 0 } else { rng.between(0, 2) },
            kick: if gentle { 0 } else { rng.between(0, 2) },
        };
        let plan = Self {
            seed,
            shards,
            clients,
            actions: rng.between(100, 500) as u32,
            messages: None,
            pause_us_max: [500, 5_000, 50_000, 1_000_000][rng.below(4) as usize],
            settings: settings(rng, tight),
            weather: Weather {
                delay_us_max: [20, 200, 5_000, 50_000][rng.below(4) as usize],
                piece_bytes_max: [1, 7, 40, 1_400, 60_000][rng.below(5) as usize],
                stall_per_mille: if rng.chance(300) { 20 } else { 0 },
                buffer_bytes: if rng.chance(300) { (40, 2_000) } else { (20_000, 200_000) },
            },
            turn_delay_us_max: [1, 30, 300, 3_000][rng.below(4) as usize],
            turn_stall_per_mille: if rng.chance(300) { 10 } else { 0 },
            topics: topics(rng),
            exact: false,
            weights,
            payload_bytes_max: [20, 200, 3_000, 40_000][rng.below(4) as usize],
            retain_per_mille: [0, 50, 300][rng.below(3) as usize],
            expiry_per_mille: if rng.chance(300) { 200 } else { 0 },
            retained_before: if crowded_retained { 1_500 } else { 0 },
            disk: None,
            tcp: None,
            harsh: Harsh::NONE,
            disasters: None,
        };
        plan.with_harshness()
    }

    /// Some seeds are harsh: everybody is in a hurry, and shards are left behind. Drawn apart, so that the
    /// others stay what they were.
    fn with_harshness(mut self) -> Self {
        let rng = &mut Rng::with_seed(self.seed ^ 0x68_61_72_73_68);
        if self.shards == 1 || !rng.chance(250) {
            return self;
        }
        self.harsh = Harsh {
            data_slots: [1, 1, 2, 16][rng.below(4) as usize],
            away_per_mille: [10, 50, 200][rng.below(3) as usize],
            away_us_max: [2_000, 10_000, 50_000][rng.below(3) as usize],
        };
        self.shards = self.shards.max(3);
        self.clients = self.clients.max(6);
        self.pause_us_max = [300, 2_000][rng.below(2) as usize];
        self.weather.delay_us_max = [1, 50][rng.below(2) as usize];
        self.weather.stall_per_mille = 0;
        (self.turn_delay_us_max, self.turn_stall_per_mille) = (10, 0);
        self.payload_bytes_max = self.payload_bytes_max.min(200);
        // A topic goes to no shard but for the one filter that is being subscribed to.
        self.exact = true;
        self.topics = (0..[2, 6, 20][rng.below(3) as usize]).map(|n| format!("t/{n}")).collect();
        // What is dropped and counted excuses what is missing: nothing needs to be.
        let default = Settings::default();
        self.settings.queue_messages_max = default.queue_messages_max;
        self.settings.queue_bytes_max = default.queue_bytes_max;
        self.settings.outbound_bytes_max = default.outbound_bytes_max;
        self.actions = rng.between(500, 1_500) as u32;
        self.weights = Weights {
            publish: 50,
            subscribe: rng.between(4, 20),
            unsubscribe: rng.between(2, 15),
            ping: 1,
            pause: 0,
            disconnect: rng.between(0, 4),
            drop: rng.between(0, 2),
            takeover: rng.between(2, 10),
            garbage: 0,
            kick: 0,
        };
        self
    }

    /// The same over our TCP: at least three shards, `clients` clients and enough to do for `messages` messages.
    #[must_use]
    pub fn over_tcp(mut self, clients: usize, messages: u32) -> Self {
        let rng = &mut Rng::with_seed(self.seed ^ 0x6f_76_65_72);
        self.tcp = Some(TcpPlan::of_seed(self.seed));
        self.shards = self.shards.max(3);
        self.clients = clients;
        self.harsh.away_us_max = self.harsh.away_us_max.min(10_000);
        self.pause_us_max = [300_000, 1_000_000, 4_000_000][rng.below(3) as usize];
        self.payload_bytes_max = [20, 200, 200, 3_000][rng.below(4) as usize];
        self.retained_before = 0;
        self.weights.publish = 60;
        self.weights.subscribe = self.weights.subscribe.min(8);
        self.messages =
            Some(rng.between(u64::from(messages) * 19 / 20, u64::from(messages) * 23 / 20) as u32);
        // A client that is not connected, or holds all it may, publishes nothing.
        self.actions = messages * 4 + clients as u32;
        // CONNECT may take its time.
        self.settings.connect_timeout_ms = 600_000;
        // Nor is silence a reason to end the observer's.
        self.settings.keep_alive_max = Settings::default().keep_alive_max;
        self
    }

    /// The same with a disk: windows in memory are small, so that queues spill and are read back.
    #[must_use]
    pub fn on_disk(mut self) -> Self {
        let rng = &mut Rng::with_seed(self.seed ^ 0x64_69_73_6b);
        // A disk makes a run longer.
        self.actions = self.actions.min(500);
        self.disk = Some(Slowness { commit_us_max: [1, 300, 5_000, 100_000][rng.below(4) as usize] });
        self.settings.storage = Some(Storage {
            window_messages: [1, 3, 20, 512][rng.below(4) as usize],
            window_bytes: [200, 5_000, 512 * 1024][rng.below(3) as usize],
            page_messages: rng.between(1, 10) as u32,
            page_bytes: rng.between(50, 20_000) as u32,
            bytes_max: [500, 20_000, 16 * 1024 * 1024][rng.below(3) as usize],
        });
        self
    }
}

impl Plan {
    /// The same on a disk, and process, disk and clock are not to be trusted.
    #[must_use]
    pub fn in_disasters(self) -> Self {
        let rng = &mut Rng::with_seed(self.seed ^ 0x64_6f_6f_6d);
        let mut plan = self.on_disk();
        plan.disasters = Some(Disasters::draw(rng));
        plan.shards = rng.between(1, 3) as u16;
        plan.clients = plan.clients.min(8);
        plan.actions = rng.between(100, 400) as u32;
        plan.retained_before = 0;
        if rng.chance(700) {
            // What is dropped and counted excuses what is missing: nothing needs to be.
            let default = Settings::default();
            plan.settings.queue_messages_max = default.queue_messages_max;
            plan.settings.queue_bytes_max = default.queue_bytes_max;
            plan.settings.queue_policy = default.queue_policy;
        }
        plan
    }
}

impl Plan {
    /// The same over our TCP.
    #[must_use]
    pub fn over_tcp_in_disasters(self, clients: usize, messages: u32) -> Self {
        let mut plan = self.over_tcp(clients, messages).in_disasters();
        plan.clients = clients;
        if let Some(tcp) = &mut plan.tcp {
            // Disasters have jumps of their own, that are shorter than sessions last.
            tcp.wall_jumps = false;
        }
        plan
    }
}

fn settings(rng: &mut Rng, tight: bool) -> Settings {
    let mut settings = Settings {
        shared_strategy: [
            SharedStrategy::RoundRobin,
            SharedStrategy::Sticky,
            SharedStrategy::HashClientId,
            SharedStrategy::HashTopic,
            SharedStrategy::LeastInflight,
            SharedStrategy::LocalFirst,
        ][rng.below(6) as usize],
        receive_maximum: [1, 2, 5, 20, 1024][rng.below(5) as usize],
        inflight_max: [1, 2, 5, 20, 2048][rng.below(5) as usize],
        topic_alias_maximum: rng.below(6) as u16,
        topic_alias_out_maximum: rng.below(6) as u16,
        packet_bytes_max: 200_000,
        ..Settings::default()
    };
    // These lose nothing, they only make things wait.
    if rng.chance(400) {
        settings.mesh_bytes_max = [1, 300, 2_000, 20_000][rng.below(4) as usize];
    }
    if rng.chance(400) {
        settings.fanout_per_turn = rng.between(1, 6) as u32;
    }
    if rng.chance(300) {
        settings.remembered_topics = rng.below(4) as u32;
    }
    if rng.chance(200) {
        settings.outbound_bytes_max = rng.between(200, 5_000) as u32;
    }
    if tight {
        settings.queue_messages_max = rng.between(1, 30) as u32;
        settings.queue_bytes_max = rng.between(200, 20_000) as u32;
        settings.queue_policy = [QueuePolicy::DropOldest, QueuePolicy::DropNewest, QueuePolicy::Disconnect]
            [rng.below(3) as usize];
    }
    if rng.chance(50) {
        settings.qos_max = [QoS::AtMostOnce, QoS::AtLeastOnce][rng.below(2) as usize];
    }
    if rng.chance(100) {
        settings.keep_alive_max = 4;
    }
    settings
}

fn topics(rng: &mut Rng) -> Vec<String> {
    let all = ["a", "a/b", "a/b/c", "a/c", "b", "b/x", "sport/tennis/player1", "/", "/a", "a//b", "sport"];
    let count = rng.between(2, all.len() as u64) as usize;
    let first = rng.below(all.len() as u64) as usize;
    (0..count).map(|n| all[(first + n) % all.len()].to_owned()).collect()
}
