//! A burst of packets that are alike is taken in one go: nobody may notice, neither a subscriber nor a counter.

use std::sync::Arc;

use pelton_base::{HashKey, Key, Mono, Wall};
use pelton_broker::{Broker, Handled, Settings, Setup};
use pelton_mqtt::{Frame, MAX_PACKET, frame};
use proptest::prelude::*;

struct World {
    broker: Broker,
    clients: Vec<Key>,
    /// Whether bursts are taken in one go.
    at_once: bool,
    /// Bytes taken that way.
    taken: usize,
}

impl World {
    fn new(at_once: bool, settings: Settings) -> Self {
        let broker = Broker::new(Setup {
            shard: 0,
            shards: 1,
            key: HashKey::new(1, 2),
            seed: 3,
            settings: Arc::new(settings),
            mono: Mono::from_ms(1000),
            wall: Wall(1_000_000),
        });
        Self { broker, clients: Vec::new(), at_once, taken: 0 }
    }

    fn connect(&mut self, is_v5: bool) -> Key {
        let key = self.broker.handle_opened().expect("room");
        let name = format!("client-{}", self.clients.len());
        let mut packet = vec![0, 4, b'M', b'Q', b'T', b'T', if is_v5 { 5 } else { 4 }, 2, 0, 0];
        if is_v5 {
            packet.push(0);
        }
        packet.extend_from_slice(&[0, name.len() as u8]);
        packet.extend_from_slice(name.as_bytes());
        packet.splice(0..0, [0x10, packet.len() as u8]);
        self.feed(key, &packet);
        self.clients.push(key);
        key
    }

    fn subscribe(&mut self, key: Key, is_v5: bool, filter: &str, options: u8) {
        let mut packet = vec![0, 1];
        if is_v5 {
            packet.push(0);
        }
        packet.extend_from_slice(&[0, filter.len() as u8]);
        packet.extend_from_slice(filter.as_bytes());
        packet.push(options);
        packet.splice(0..0, [0x82, packet.len() as u8]);
        self.feed(key, &packet);
    }

    /// As a shard feeds what it read, held or not: the number of bytes that were used.
    fn feed(&mut self, key: Key, bytes: &[u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            let Ok(Frame::Complete { header, total }) = frame(rest, MAX_PACKET) else { panic!("a packet") };
            match self.broker.handle_packet(key, header, &rest[usize::from(header.header_len)..total]) {
                Handled::Done => used += total,
                Handled::Hold(_) => break,
                other => panic!("{other:?}"),
            }
            if self.at_once {
                let taken = self.broker.handle_repeats(key, header, &rest[..total], &bytes[used..]);
                self.taken += taken;
                used += taken;
            }
        }
        used
    }

    /// What each client got, packet identifiers aside: they are counted by publishes, and a burst is one.
    fn got(&mut self) -> Vec<Vec<u8>> {
        self.broker.out().close_logs();
        let clients = self.clients.clone();
        clients.into_iter().map(|key| without_ids(self.take(key))).collect()
    }

    fn take(&mut self, key: Key) -> Vec<u8> {
        let (queue, logs) = self.broker.out().queue(key.index);
        let bytes: Vec<u8> = queue.slices(logs).flatten().copied().collect();
        queue.consume(bytes.len(), logs);
        self.broker.out().settle(key.index);
        bytes
    }
}

fn without_ids(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = 0;
    while at < bytes.len() {
        let Ok(Frame::Complete { header, total }) = frame(&bytes[at..], MAX_PACKET) else {
            panic!("a packet")
        };
        if header.first >> 4 == 3 && header.first & 6 != 0 {
            let topic = at + usize::from(header.header_len);
            let id = topic + 2 + usize::from(bytes[topic]) * 256 + usize::from(bytes[topic + 1]);
            bytes[id..id + 2].fill(0);
        }
        at += total;
    }
    bytes
}

/// A PUBLISH of a v3 client. `padded`: with a length in one byte more than it needs.
fn publish(first: u8, topic: &str, payload: &[u8], padded: bool) -> Vec<u8> {
    let mut body = vec![0, topic.len() as u8];
    body.extend_from_slice(topic.as_bytes());
    if first & 6 != 0 {
        body.extend_from_slice(&[0, 9]);
    }
    body.extend_from_slice(payload);
    let mut packet = vec![first];
    let mut length = body.len();
    while length >= 0x80 {
        packet.push(length as u8 | 0x80);
        length >>= 7;
    }
    if padded {
        packet.extend_from_slice(&[length as u8 | 0x80, 0]);
    } else {
        packet.push(length as u8);
    }
    packet.extend_from_slice(&body);
    packet
}

#[derive(Clone, Debug)]
struct Burst {
    first: u8,
    topic: usize,
    count: u8,
    payload_len: usize,
    padded: bool,
}

const TOPICS: [&str; 4] = ["a", "b/c", "b/d", "nobody"];
const FILTERS: [&str; 6] = ["a", "b/c", "b/d", "b/+", "#", "$share/group/b/d"];

fn bursts() -> impl Strategy<Value = Vec<Burst>> {
    let first = prop_oneof![6 => Just(0x30u8), 1 => Just(0x31), 1 => Just(0x32)];
    let payload_len = prop_oneof![0..40usize, 100..300usize];
    let burst = (first, 0..TOPICS.len(), 1..20u8, payload_len, proptest::bool::weighted(0.1)).prop_map(
        |(first, topic, count, payload_len, padded)| Burst { first, topic, count, payload_len, padded },
    );
    proptest::collection::vec(burst, 1..12)
}

fn subscriptions() -> impl Strategy<Value = Vec<(usize, u8, bool)>> {
    let is_v5 = proptest::bool::weighted(0.15);
    proptest::collection::vec((0..FILTERS.len(), 0..2u8, is_v5), 1..12)
}

proptest! {
    #[test]
    fn a_burst_is_taken_as_its_packets_are(
        subscriptions in subscriptions(),
        bursts in bursts(),
        per_turn in prop_oneof![Just(16_384u32), 1..60u32],
        outbound in prop_oneof![Just(1_000_000u32), 100..5_000u32],
        // A client that publishes what it is subscribed to itself.
        own in any::<bool>(),
    ) {
        let settings =
            Settings { fanout_per_turn: per_turn, outbound_bytes_max: outbound, ..Settings::default() };
        let mut input = Vec::new();
        for (number, burst) in bursts.iter().enumerate() {
            for n in 0..burst.count {
                let payload = vec![number as u8 ^ n; burst.payload_len];
                input.extend(publish(burst.first, TOPICS[burst.topic], &payload, burst.padded));
            }
        }
        let run = |at_once: bool| {
            let mut world = World::new(at_once, settings.clone());
            for &(filter, options, is_v5) in &subscriptions {
                let key = world.connect(is_v5);
                world.subscribe(key, is_v5, FILTERS[filter], options);
            }
            let publisher = world.connect(false);
            if own {
                world.subscribe(publisher, false, "a", 0);
            }
            let mut got = vec![world.got()];
            let (mut at, mut turns) = (0, 0);
            while at < input.len() && turns < 10_000 {
                world.broker.begin_turn(Mono::from_ms(1000 + turns), Wall(1_000_000));
                world.broker.poll_deliveries();
                at += world.feed(publisher, &input[at..]);
                world.broker.release_hold(publisher);
                got.push(world.got());
                turns += 1;
            }
            (got, at, format!("{:?}", world.broker.tally()), world.taken)
        };
        let (one_by_one, at_once) = (run(false), run(true));
        prop_assert_eq!(&one_by_one.0, &at_once.0);
        prop_assert_eq!(&one_by_one.2, &at_once.2);
        prop_assert_eq!(one_by_one.1, at_once.1);
    }
}

#[test]
fn a_burst_is_taken_in_one_go() {
    for subscribers in [1, 10] {
        let mut world = World::new(true, Settings::default());
        for _ in 0..subscribers {
            let key = world.connect(false);
            world.subscribe(key, false, "b/+", 1);
        }
        let publisher = world.connect(false);
        let packet = publish(0x30, "b/c", &[7; 50], false);
        world.feed(publisher, &packet.repeat(20));
        // The first packet makes the topic known, the second makes it the publisher's last.
        assert_eq!(world.taken, 18 * packet.len());
    }
}
