//! The broker without shard and transport: packets in, queued bytes out.

use std::sync::Arc;

use pelton_base::{HashKey, Key, Mono, Wall};
use pelton_broker::{Broker, Handled, Settings, Setup};
use pelton_mqtt::{
    PacketId, QoS, RawFilter, Subscribe, SubscribeOptions, Subscription, Subscriptions, UserProperties,
    Version,
};

use crate::Workload;
use crate::codec::{connect, first_frame, publish};

/// A broker with clients that are fed packet by packet.
pub struct Bench {
    broker: Broker,
    dirty: Vec<u32>,
    pubacks: Vec<u8>,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// One shard, default settings but for bounds that a bench must not run into.
    pub fn new() -> Self {
        let settings = Settings { fanout_per_turn: u32::MAX, inflight_max: u16::MAX, ..Settings::default() };
        let broker = Broker::new(Setup {
            shard: 0,
            shards: 1,
            key: HashKey::new(1, 2),
            seed: 3,
            settings: Arc::new(settings),
            mono: Mono::from_ms(1000),
            wall: Wall(1_000_000),
        });
        Self { broker, dirty: Vec::new(), pubacks: Vec::new() }
    }

    /// Feeds one packet.
    #[inline]
    pub fn feed(&mut self, key: Key, bytes: &[u8]) {
        let (header, total) = first_frame(bytes);
        let handled = self.broker.handle_packet(key, header, &bytes[usize::from(header.header_len)..total]);
        debug_assert!(matches!(handled, Handled::Done | Handled::Ended), "{handled:?}");
    }

    /// Throws away what is queued, as a transport that takes everything.
    pub fn flush(&mut self) {
        let out = self.broker.out();
        out.take_dirty(&mut self.dirty);
        for &index in &self.dirty {
            let (queue, logs) = out.queue(index);
            let len = queue.len();
            queue.consume(len, logs);
            out.settle(index);
        }
        let mut urgent = Vec::new();
        out.take_urgent(&mut urgent);
        out.close_logs();
        self.broker.effects.resumed.clear();
    }

    /// A connected client.
    pub fn client(&mut self, version: Version, client_id: &str) -> Key {
        let key = self.broker.handle_opened().expect("room");
        self.feed(key, &connect(version, client_id));
        self.flush();
        key
    }

    /// Subscribes a client.
    pub fn subscribe(&mut self, key: Key, version: Version, filter: &str, qos: QoS) {
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
        .encode(version, &mut bytes);
        self.feed(key, &bytes);
        self.flush();
    }
}

impl Bench {
    /// Acknowledges the QoS 1 deliveries queued to a client, as the client would.
    fn acknowledge(&mut self, key: Key) {
        let mut pubacks = std::mem::take(&mut self.pubacks);
        pubacks.clear();
        let out = self.broker.out();
        let (queue, logs) = out.queue(key.index);
        // Nothing is cut: a bench queues whole packets and takes them all.
        for slice in queue.slices(logs) {
            let mut rest = slice;
            while !rest.is_empty() {
                let (header, total) = first_frame(rest);
                if header.first & 0xF6 == 0x32 {
                    let body = &rest[usize::from(header.header_len)..total];
                    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                    pubacks.extend_from_slice(&[0x40, 2, body[2 + topic], body[3 + topic]]);
                }
                rest = &rest[total..];
            }
        }
        for puback in pubacks.chunks_exact(4) {
            self.feed(key, puback);
        }
        self.pubacks = pubacks;
    }
}

/// The broker's workloads.
pub fn workloads() -> Vec<Workload> {
    const RUN: u64 = 1000;
    let mut all = Vec::new();
    for (name, version, qos) in [
        ("v3 qos 0", Version::V311, QoS::AtMostOnce),
        ("v3 qos 1", Version::V311, QoS::AtLeastOnce),
        ("v5 qos 0", Version::V5, QoS::AtMostOnce),
    ] {
        for size in [64, 1024] {
            let mut bench = Bench::new();
            let publisher = bench.client(version, "publisher");
            let subscriber = bench.client(version, "subscriber");
            bench.subscribe(subscriber, version, "site/7/temperature", qos);
            let packet = publish(version, "site/7/temperature", qos, &vec![b'x'; size]);
            all.push(Workload::new(format!("broker/publish to 1, {name}, {size} B"), RUN, move || {
                for _ in 0..RUN / 50 {
                    for _ in 0..50 {
                        bench.feed(publisher, &packet);
                    }
                    if qos == QoS::AtLeastOnce {
                        bench.acknowledge(subscriber);
                    }
                    bench.flush();
                }
            }));
        }
    }
    for (name, qos) in [("qos 0", QoS::AtMostOnce), ("qos 1", QoS::AtLeastOnce)] {
        let mut bench = Bench::new();
        let publisher = bench.client(Version::V311, "publisher");
        let subscribers: Vec<Key> = (0..RUN)
            .map(|n| {
                let key = bench.client(Version::V311, &format!("subscriber-{n}"));
                bench.subscribe(key, Version::V311, "news", qos);
                key
            })
            .collect();
        let packet = publish(Version::V311, "news", qos, &[b'x'; 64]);
        all.push(Workload::new(format!("broker/publish to 1,000, {name}, 64 B"), RUN, move || {
            bench.feed(publisher, &packet);
            if qos == QoS::AtLeastOnce {
                for &subscriber in &subscribers {
                    bench.acknowledge(subscriber);
                }
            }
            bench.flush();
        }));
    }
    let mut bench = Bench::new();
    let client = bench.client(Version::V311, "pinger");
    all.push(Workload::new("broker/ping", RUN, move || {
        for _ in 0..RUN {
            bench.feed(client, &pelton_mqtt::PINGREQ);
        }
        bench.flush();
    }));
    let mut bench = Bench::new();
    let packet = connect(Version::V311, "comes-and-goes");
    all.push(Workload::new("broker/connect and disconnect", 100, move || {
        for _ in 0..100 {
            let key = bench.broker.handle_opened().expect("room");
            bench.feed(key, &packet);
            bench.feed(key, &[0xE0, 0]);
            bench.flush();
            bench.broker.handle_closed(key, pelton_base::StreamEnd::Local);
            bench.broker.effects.closes.clear();
        }
    }));
    all
}
