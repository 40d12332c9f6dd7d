//! What a seed decides before anything happens: how many shards and clients, the broker's settings, the
//! network's weather, how often what is done.

use pelton_base::Rng;
use pelton_broker::Settings;
use pelton_broker::settings::{QueuePolicy, SharedStrategy, Storage};
use pelton_mqtt::QoS;

use crate::disk::Slowness;
use crate::network::Weather;

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
        Self {
            seed,
            shards,
            clients,
            actions: rng.between(100, 500) as u32,
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
            weights,
            payload_bytes_max: [20, 200, 3_000, 40_000][rng.below(4) as usize],
            retain_per_mille: [0, 50, 300][rng.below(3) as usize],
            expiry_per_mille: if rng.chance(300) { 200 } else { 0 },
            retained_before: if crowded_retained { 1_500 } else { 0 },
            disk: None,
        }
    }

    /// The same with a disk: windows in memory are small, so that queues spill and are read back.
    #[must_use]
    pub fn on_disk(mut self) -> Self {
        let rng = &mut Rng::with_seed(self.seed ^ 0x64_69_73_6b);
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
