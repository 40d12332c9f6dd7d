//! Model clients that keep their own session state across connections and crashes of the broker, as a real
//! client with a persistent session does, and count what they promised and what they were promised.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::wire::{self, Publish, Said, Version, Will};
use crate::world::{ConnId, World};

/// A subscriber with one filter.
pub(crate) struct Subscriber {
    pub(crate) id: String,
    pub(crate) version: Version,
    pub(crate) filter: String,
    pub(crate) qos: u8,
    /// Session expiry; 0: a clean session.
    pub(crate) expiry: u32,
    pub(crate) conn: Option<ConnId>,
    pub(crate) connected: bool,
    pub(crate) session_present: bool,
    pub(crate) code: u8,
    pub(crate) subscribed: bool,
    pub(crate) suback: Option<u8>,
    /// QoS 2 identifiers it has and that were not released.
    held: BTreeSet<u16>,
    /// What it would acknowledge, if it got round to it.
    acks: VecDeque<Vec<u8>>,
    /// It acknowledges.
    pub(crate) acks_on: bool,
    pub(crate) got: Vec<Publish>,
    bytes: Vec<u8>,
}

impl Subscriber {
    pub(crate) fn new(id: &str, version: Version, filter: &str, qos: u8) -> Self {
        Self {
            id: id.to_owned(),
            version,
            filter: filter.to_owned(),
            qos,
            expiry: u32::MAX,
            conn: None,
            connected: false,
            session_present: false,
            code: 0,
            subscribed: false,
            suback: None,
            held: BTreeSet::new(),
            acks: VecDeque::new(),
            acks_on: true,
            got: Vec::new(),
            bytes: Vec::new(),
        }
    }

    pub(crate) fn connect(&mut self, world: &mut World, shard: usize) {
        self.connect_with(world, shard, None);
    }

    pub(crate) fn connect_with(&mut self, world: &mut World, shard: usize, will: Will<'_>) {
        let conn = world.open(shard);
        world.send(conn, wire::connect(self.version, &self.id, self.expiry == 0, self.expiry, will));
        self.conn = Some(conn);
        self.connected = false;
        self.suback = None;
        self.acks.clear();
        self.bytes.clear();
    }

    /// Subscribes if it never has.
    pub(crate) fn subscribe(&mut self, world: &mut World) {
        if let Some(conn) = self.conn {
            world.send(conn, wire::subscribe(self.version, 1, &self.filter, self.qos));
        }
    }

    pub(crate) fn cut(&mut self, world: &mut World) {
        if let Some(conn) = self.conn.take() {
            world.cut(conn);
        }
        self.connected = false;
    }

    /// The broker is gone.
    pub(crate) fn lost(&mut self) {
        self.conn = None;
        self.connected = false;
    }

    /// Reads what there is, and sends at most `acks` acknowledgements.
    pub(crate) fn step(&mut self, world: &mut World, acks: usize) {
        let Some(conn) = self.conn else { return };
        let (bytes, open) = world.receive(conn);
        self.bytes.extend(bytes);
        for said in wire::read(self.version, &mut self.bytes) {
            self.hear(said);
        }
        if !open {
            self.cut(world);
            return;
        }
        for _ in 0..if self.acks_on { acks } else { 0 } {
            let Some(ack) = self.acks.pop_front() else { break };
            world.send(conn, ack);
        }
    }

    fn hear(&mut self, said: Said) {
        match said {
            Said::ConnAck { session_present, code } => {
                (self.connected, self.session_present, self.code) = (code == 0, session_present, code);
                if !session_present {
                    self.held.clear();
                }
            }
            Said::SubAck { code, .. } => {
                self.suback = Some(code);
                self.subscribed |= code < 0x80;
            }
            Said::Publish(publish) => {
                assert!(self.connected, "{}: a message before CONNACK: {publish:?}", self.id);
                match publish.qos {
                    1 => self.acks.push_back(wire::ack(4, publish.packet_id)),
                    2 => {
                        self.acks.push_back(wire::ack(5, publish.packet_id));
                        if !self.held.insert(publish.packet_id) {
                            assert!(publish.dup, "{}: an identifier in use: {publish:?}", self.id);
                            return;
                        }
                    }
                    _ => {}
                }
                self.got.push(publish);
            }
            Said::Ack { kind: 6, packet_id, .. } => {
                self.held.remove(&packet_id);
                self.acks.push_back(wire::ack(7, packet_id));
            }
            Said::UnsubAck { .. } => self.subscribed = false,
            Said::Ack { .. } | Said::Disconnect => {}
        }
    }

    /// Payloads it got from one publisher.
    pub(crate) fn numbers(&self, topic: &str) -> Vec<u32> {
        self.got.iter().filter(|got| got.topic == topic).map(|got| number(&got.payload)).collect()
    }
}

/// The number in a payload.
pub(crate) fn number(payload: &[u8]) -> u32 {
    std::str::from_utf8(payload).ok().and_then(|text| text.trim().parse().ok()).expect("a number")
}

struct Unacked {
    packet_id: u16,
    number: u32,
    /// QoS 2: PUBREC has come, PUBCOMP is awaited.
    received: bool,
}

/// A publisher of one topic and QoS that numbers its messages and sends again what was not acknowledged.
pub(crate) struct Publisher {
    pub(crate) id: String,
    version: Version,
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) expiry: Option<u32>,
    conn: Option<ConnId>,
    pub(crate) connected: bool,
    unacked: VecDeque<Unacked>,
    last_id: u16,
    pub(crate) next: u32,
    /// Numbers the broker acknowledged.
    pub(crate) acked: BTreeSet<u32>,
    /// Numbers the broker refused, with the reason.
    pub(crate) refused: BTreeMap<u32, u8>,
    bytes: Vec<u8>,
}

impl Publisher {
    pub(crate) fn new(id: &str, version: Version, topic: &str, qos: u8) -> Self {
        Self {
            id: id.to_owned(),
            version,
            topic: topic.to_owned(),
            qos,
            retain: false,
            expiry: None,
            conn: None,
            connected: false,
            unacked: VecDeque::new(),
            last_id: 0,
            next: 0,
            acked: BTreeSet::new(),
            refused: BTreeMap::new(),
            bytes: Vec::new(),
        }
    }

    pub(crate) fn connect(&mut self, world: &mut World, shard: usize) {
        let conn = world.open(shard);
        world.send(conn, wire::connect(self.version, &self.id, false, u32::MAX, None));
        self.conn = Some(conn);
        self.connected = false;
        self.bytes.clear();
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.conn.is_none()
    }

    pub(crate) fn cut(&mut self, world: &mut World) {
        if let Some(conn) = self.conn.take() {
            world.cut(conn);
        }
        self.connected = false;
    }

    pub(crate) fn lost(&mut self) {
        self.conn = None;
        self.connected = false;
    }

    /// How many publishes await an acknowledgement.
    pub(crate) fn under_way(&self) -> usize {
        self.unacked.len()
    }

    /// Publishes the next number.
    pub(crate) fn publish(&mut self, world: &mut World) {
        let Some(conn) = self.conn.filter(|_| self.connected) else { return };
        loop {
            self.last_id = self.last_id.wrapping_add(1).max(1);
            if self.unacked.iter().all(|unacked| unacked.packet_id != self.last_id) {
                break;
            }
        }
        let number = self.next;
        self.next += 1;
        let packet = self.packet(number, self.last_id, false);
        world.send(conn, packet);
        if self.qos == 0 {
            return;
        }
        self.unacked.push_back(Unacked { packet_id: self.last_id, number, received: false });
    }

    fn packet(&self, number: u32, packet_id: u16, dup: bool) -> Vec<u8> {
        wire::publish(
            self.version,
            &Publish {
                topic: self.topic.clone(),
                // Long enough for queues bounded in bytes to matter.
                payload: format!("{number:<40}").into_bytes(),
                qos: self.qos,
                retain: self.retain,
                dup,
                packet_id,
                expiry: self.expiry,
            },
        )
    }

    pub(crate) fn step(&mut self, world: &mut World) {
        let Some(conn) = self.conn else { return };
        let (bytes, open) = world.receive(conn);
        self.bytes.extend(bytes);
        for said in wire::read(self.version, &mut self.bytes) {
            match said {
                Said::ConnAck { code: 0, session_present } => {
                    self.connected = true;
                    assert!(session_present || self.unacked.is_empty(), "{}: its session is gone", self.id);
                    // [MQTT-4.4.0-1]: everything again, in order.
                    for unacked in &self.unacked {
                        let packet = if unacked.received {
                            wire::ack(6, unacked.packet_id)
                        } else {
                            self.packet(unacked.number, unacked.packet_id, true)
                        };
                        world.send(conn, packet);
                    }
                }
                Said::Ack { kind, packet_id, reason } => self.hear_ack(world, conn, kind, packet_id, reason),
                _ => {}
            }
        }
        if !open {
            self.cut(world);
        }
    }

    fn hear_ack(&mut self, world: &mut World, conn: ConnId, kind: u8, packet_id: u16, reason: u8) {
        let Some(position) = self.unacked.iter().position(|unacked| unacked.packet_id == packet_id) else {
            return;
        };
        let number = self.unacked[position].number;
        if reason >= 0x80 && kind != 7 {
            self.refused.insert(number, reason);
            self.unacked.remove(position);
            return;
        }
        match kind {
            5 => {
                self.acked.insert(number);
                self.unacked[position].received = true;
                world.send(conn, wire::ack(6, packet_id));
            }
            4 | 7 => {
                self.acked.insert(number);
                self.unacked.remove(position);
            }
            _ => {}
        }
    }
}
