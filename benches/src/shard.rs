//! A whole shard over an in-memory transport: turn for turn what a core does, without a network.

use std::sync::Arc;

use pelton_base::{HashKey, Mono, Wall};
use pelton_broker::{Settings, Setup};
use pelton_mqtt::{
    PacketId, QoS, RawFilter, Subscribe, SubscribeOptions, Subscription, Subscriptions, UserProperties,
    Version,
};
use pelton_shard::{Shard, mesh};

use crate::Workload;
use crate::codec::{connect, publish};
use crate::memory::Memory;

/// A shard whose clients live in memory.
pub struct Bench {
    shard: Shard<Memory>,
    now: u64,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// One shard with default settings.
    pub fn new() -> Self {
        let (_, commands) = crossbeam_channel::bounded(1);
        let setup = Setup {
            shard: 0,
            shards: 1,
            key: HashKey::new(1, 2),
            seed: 3,
            settings: Arc::new(Settings { fanout_per_turn: u32::MAX, ..Settings::default() }),
            mono: Mono::from_ms(1000),
            wall: Wall(1_000_000),
        };
        let mesh = mesh(1).pop().expect("one mesh for one shard");
        Self { shard: Shard::new(setup, Memory::default(), mesh, commands), now: 1_000_000_000 }
    }

    /// One turn, a microsecond later.
    pub fn turn(&mut self) {
        self.now += 1_000;
        self.shard.turn(Mono(self.now), Wall(1_000_000));
    }

    /// The transport.
    pub fn streams(&mut self) -> &mut Memory {
        self.shard.transport()
    }

    /// A connected client's stream.
    pub fn client(&mut self, client_id: &str) -> usize {
        let stream = self.streams().open();
        self.turn();
        self.streams().put(stream, &connect(Version::V311, client_id));
        self.turn();
        stream
    }

    /// Subscribes a client.
    pub fn subscribe(&mut self, stream: usize, filter: &str, qos: QoS) {
        let mut bytes = Vec::new();
        let list = [Subscription {
            filter: RawFilter::new(filter).expect("a filter"),
            options: SubscribeOptions::new(qos),
        }];
        Subscribe {
            packet_id: PacketId::new(1).expect("not zero"),
            subscription_id: None,
            user_properties: UserProperties::NONE,
            subscriptions: Subscriptions::new(&list),
        }
        .encode(Version::V311, &mut bytes);
        self.streams().put(stream, &bytes);
        self.turn();
    }
}

/// The shard's workloads.
pub fn workloads() -> Vec<Workload> {
    let mut all = Vec::new();
    let mut bench = Bench::new();
    let clients: Vec<usize> = (0..1000).map(|n| bench.client(&format!("client-{n}"))).collect();
    all.push(Workload::new("shard/ping, 1,000 clients, one each and turn", 1000, move || {
        for &client in &clients {
            bench.streams().put(client, &pelton_mqtt::PINGREQ);
        }
        bench.turn();
    }));
    for (name, batch) in [("1", 1usize), ("32", 32)] {
        let mut bench = Bench::new();
        let pairs: Vec<(usize, Vec<u8>)> = (0..100)
            .map(|n| {
                let publisher = bench.client(&format!("publisher-{n}"));
                let subscriber = bench.client(&format!("subscriber-{n}"));
                let topic = format!("pair/{n}");
                bench.subscribe(subscriber, &topic, QoS::AtMostOnce);
                let packet = publish(Version::V311, &topic, QoS::AtMostOnce, &[b'x'; 64]);
                (publisher, packet.repeat(batch))
            })
            .collect();
        all.push(Workload::new(
            format!("shard/100 pairs, qos 0, 64 B, {name} a turn"),
            100 * batch as u64,
            move || {
                for (publisher, packets) in &pairs {
                    bench.streams().put(*publisher, packets);
                }
                bench.turn();
            },
        ));
    }
    let mut bench = Bench::new();
    let publisher = bench.client("publisher");
    for n in 0..500 {
        let subscriber = bench.client(&format!("subscriber-{n}"));
        bench.subscribe(subscriber, "news", QoS::AtMostOnce);
    }
    let packets = publish(Version::V311, "news", QoS::AtMostOnce, &[b'x'; 64]).repeat(32);
    all.push(Workload::new("shard/1 to 500, qos 0, 64 B, 32 a turn", 500 * 32, move || {
        bench.streams().put(publisher, &packets);
        bench.turn();
    }));
    all
}
