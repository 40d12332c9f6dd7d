//! A publication with many receivers is written once for those that get it alike: each must get what it would
//! have got alone.

use std::sync::Arc;

use pelton_base::{HashKey, Key, Mono, Wall};
use pelton_broker::{Broker, Handled, Settings, Setup};
use pelton_mqtt::{Frame, MAX_PACKET, frame};

/// A receiver: the bytes of its CONNECT's properties (v5) or `None` (v3), and its SUBSCRIBE's identifier and
/// options.
#[derive(Clone, Copy)]
struct Receiver {
    properties: Option<&'static [u8]>,
    identifier: Option<u8>,
    options: u8,
}

const TOPIC: &[u8] = b"\0\x07plant/7";
const RETAIN_AS_PUBLISHED: u8 = 8;
const ALIASES: &[u8] = &[0x22, 0, 10];
const SMALL_PACKETS: &[u8] = &[0x27, 0, 0, 0, 44];

fn receivers() -> Vec<Receiver> {
    let mut all = Vec::new();
    for qos in 0..3 {
        all.push(Receiver { properties: None, identifier: None, options: qos });
        all.push(Receiver { properties: Some(&[]), identifier: None, options: qos });
        all.push(Receiver { properties: Some(&[]), identifier: Some(7), options: qos });
        all.push(Receiver { properties: Some(ALIASES), identifier: None, options: qos });
        all.push(Receiver { properties: Some(SMALL_PACKETS), identifier: None, options: qos });
        all.push(Receiver { properties: Some(&[]), identifier: None, options: qos | RETAIN_AS_PUBLISHED });
    }
    all
}

struct World {
    broker: Broker,
    clients: Vec<Key>,
}

impl World {
    fn new(receivers: &[Receiver]) -> Self {
        let mut world = Self {
            broker: Broker::new(Setup {
                shard: 0,
                shards: 1,
                key: HashKey::new(1, 2),
                seed: 3,
                settings: Arc::new(Settings::default()),
                mono: Mono::from_ms(1000),
                wall: Wall(1_000_000),
            }),
            clients: Vec::new(),
        };
        for (number, receiver) in receivers.iter().enumerate() {
            let key = world.connect(&format!("receiver-{number}"), receiver.properties);
            let mut body = vec![0, 1];
            match (receiver.properties, receiver.identifier) {
                (None, _) => {}
                (Some(_), None) => body.push(0),
                (Some(_), Some(identifier)) => body.extend_from_slice(&[2, 0x0B, identifier]),
            }
            body.extend_from_slice(TOPIC);
            body.push(receiver.options);
            world.feed(key, 0x82, &body);
            world.take(key);
            world.clients.push(key);
        }
        world
    }

    fn connect(&mut self, client_id: &str, properties: Option<&[u8]>) -> Key {
        let key = self.broker.handle_opened().expect("room");
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', if properties.is_some() { 5 } else { 4 }, 2, 0, 0];
        if let Some(properties) = properties {
            body.push(properties.len() as u8);
            body.extend_from_slice(properties);
        }
        body.extend_from_slice(&(client_id.len() as u16).to_be_bytes());
        body.extend_from_slice(client_id.as_bytes());
        self.feed(key, 0x10, &body);
        self.take(key);
        key
    }

    fn feed(&mut self, key: Key, first: u8, body: &[u8]) {
        let mut packet = vec![first];
        let mut length = body.len();
        while length >= 0x80 {
            packet.push(length as u8 | 0x80);
            length >>= 7;
        }
        packet.push(length as u8);
        packet.extend_from_slice(body);
        let Ok(Frame::Complete { header, total }) = frame(&packet, MAX_PACKET) else { panic!("a packet") };
        let body = &packet[usize::from(header.header_len)..total];
        assert_eq!(self.broker.handle_packet(key, header, body), Handled::Done);
    }

    /// What is queued to a client.
    fn take(&mut self, key: Key) -> Vec<u8> {
        let (queue, logs) = self.broker.out().queue(key.index);
        let bytes: Vec<u8> = queue.slices(logs).flatten().copied().collect();
        queue.consume(bytes.len(), logs);
        self.broker.out().settle(key.index);
        bytes
    }

    /// Publishes of every kind, three times over in one turn, then the turn's end; what each receiver got.
    fn run(&mut self) -> Vec<Vec<u8>> {
        let publisher = self.connect("publisher", None);
        let publisher_v5 = self.connect("publisher of v5", Some(&[]));
        for round in 0..3 {
            for (qos, retain) in [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)] {
                let packet_id = round * 10 + qos * 2 + retain + 1;
                let mut body = TOPIC.to_vec();
                if qos != 0 {
                    body.extend_from_slice(&[0, packet_id]);
                }
                body.extend_from_slice(&[b'x'; 30]);
                self.feed(publisher, 0x30 | qos << 1 | retain, &body);
                let payload = body.split_off(body.len() - 30);
                // An expiry of 100 s and a user property.
                body.extend_from_slice(&[14, 2, 0, 0, 0, 100, 0x26, 0, 1, b'k', 0, 3, b'v', b'a', b'l']);
                body.extend_from_slice(&payload);
                self.feed(publisher_v5, 0x30 | qos << 1 | retain, &body);
            }
        }
        self.broker.out().close_logs();
        let clients = std::mem::take(&mut self.clients);
        clients.into_iter().map(|key| self.take(key)).collect()
    }
}

#[test]
fn each_receiver_gets_what_it_would_get_alone() {
    let receivers = receivers();
    let together = World::new(&receivers).run();
    for (number, (receiver, got)) in receivers.iter().zip(&together).enumerate() {
        let alone = World::new(&[*receiver]).run();
        assert!(!got.is_empty());
        assert_eq!(got, &alone[0], "receiver {number}");
    }
}

#[test]
fn what_receivers_have_not_read_is_stored_once() {
    let receivers = receivers();
    let mut world = World::new(&receivers);
    let mut twin = World::new(&receivers);
    let clients = world.clients.clone();
    for world in [&mut world, &mut twin] {
        let publisher = world.connect("publisher", None);
        for _ in 0..10 {
            world.feed(publisher, 0x30, b"\0\x07plant/7payload");
        }
    }
    for key in &clients {
        world.broker.out().settle(key.index);
    }
    world.broker.out().close_logs();
    let logs = world.broker.out().logs.in_use();
    assert!(logs > 0 && logs < clients.len(), "{logs} logs");
    for key in clients {
        assert_eq!(world.take(key), twin.take(key));
    }
    assert!(world.broker.out().logs.is_empty());
}

#[test]
fn a_packet_identifier_in_use_is_not_used_again() {
    // covers [MQTT-2.2.1-4]
    let mut world = World::new(&[Receiver { properties: None, identifier: None, options: 1 }; 5]);
    let publisher = world.connect("publisher", None);
    let qos1 = b"\0\x07plant/7\0\x01payload";
    let receivers = world.clients.clone();
    world.feed(publisher, 0x32, qos1);
    let id_at = 2 + TOPIC.len();
    let before: Vec<Vec<u8>> = receivers.iter().map(|&key| world.take(key)).collect();
    let id = [before[0][id_at], before[0][id_at + 1]];
    assert!(before.iter().all(|packet| packet[id_at..id_at + 2] == id));
    // All but the first acknowledge; then the clock of identifiers goes round once.
    for &key in &receivers[1..] {
        world.feed(key, 0x40, &id);
    }
    let watcher = world.connect("watcher", None);
    world.feed(watcher, 0x82, b"\0\x01\0\x04tick\0");
    for _ in 0..65_534 {
        world.broker.begin_turn(Mono::from_ms(1000), Wall(1_000_000));
        world.feed(publisher, 0x30, b"\0\x04tick");
        world.take(watcher);
    }
    world.feed(publisher, 0x32, qos1);
    let after: Vec<Vec<u8>> = receivers.iter().map(|&key| world.take(key)).collect();
    assert_eq!(after[1][id_at..id_at + 2], id, "the clock has come round");
    assert_ne!(after[0][id_at..id_at + 2], id, "still in use");
}
