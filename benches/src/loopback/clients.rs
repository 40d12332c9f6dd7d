//! What clients send, and what they make of what they get: every message is held against what was published, in order.

use pelton_base::Rng;
use pelton_mqtt::{
    Connect, Frame, MAX_PACKET, PINGREQ, PacketId, PacketType, QoS, RawFilter, Subscribe, SubscribeOptions,
    Subscription, Subscriptions, UserProperties, Version, frame,
};

use super::ends::Writes;
use crate::codec::publish;

/// Bytes of a payload: the number of the message, and the same for all.
pub const PAYLOAD_BYTES: usize = 64;
/// Subscribers of one topic where a message goes to many.
const GROUP: u32 = 100;

/// What is done again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// PINGREQ and PINGRESP.
    Ping,
    /// A message to one subscriber at QoS 0.
    Qos0,
    /// The same at QoS 1, acknowledged both ways.
    Qos1,
    /// A message at QoS 0 to a hundred subscribers; what is counted is what they get.
    FanOut,
}

impl Case {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ping, Self::Qos0, Self::Qos1, Self::FanOut];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ping => "PINGREQ, PINGRESP",
            Self::Qos0 => "64 B to one, QoS 0",
            Self::Qos1 => "64 B to one, QoS 1",
            Self::FanOut => "64 B, 1 to 100, QoS 0",
        }
    }

    /// The first byte of its topics, and which of a client's counts are its.
    const fn place(self) -> Option<(u8, usize)> {
        match self {
            Self::Ping => None,
            Self::Qos0 => Some((b'p', 0)),
            Self::Qos1 => Some((b'q', 1)),
            Self::FanOut => Some((b'f', 2)),
        }
    }
}

#[derive(Debug, Default)]
struct Client {
    /// The beginning of a packet.
    rest: Vec<u8>,
    /// Messages sent and got, by case.
    sent: [u64; 3],
    got: [u64; 3],
    /// PUBLISH packets as they are sent, but for their numbers.
    packets: [Vec<u8>; 3],
    /// PUBACKs.
    acknowledged: u64,
}

/// All clients of a shard.
pub struct Clients {
    all: Vec<Client>,
    /// The order in which clients have their turn.
    order: Vec<u32>,
    at: usize,
    /// Packets that are to come.
    outstanding: u64,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients")
            .field("clients", &self.all.len())
            .field("outstanding", &self.outstanding)
            .finish_non_exhaustive()
    }
}

fn topic(kind: u8, number: u32) -> String {
    format!("{}/{number:05}", char::from(kind))
}

impl Clients {
    /// So many, none of them connected.
    pub fn new(count: u32) -> Self {
        assert!(count <= GROUP || count.is_multiple_of(GROUP), "whole groups");
        let payload = [b'x'; PAYLOAD_BYTES];
        let client = |number: u32| {
            let next = (number + 1) % count;
            let packet = |kind, to, qos| publish(Version::V311, &topic(kind, to), qos, &payload);
            let packets = [
                packet(b'p', next, QoS::AtMostOnce),
                packet(b'q', next, QoS::AtLeastOnce),
                packet(b'f', number / GROUP, QoS::AtMostOnce),
            ];
            Client { packets, ..Client::default() }
        };
        let mut order: Vec<u32> = (0..count).collect();
        let mut rng = Rng::with_seed(11);
        for at in (1..order.len()).rev() {
            order.swap(at, rng.below(at as u64 + 1) as usize);
        }
        Self { all: (0..count).map(client).collect(), order, at: 0, outstanding: 0 }
    }

    /// Packets that clients wait for.
    pub const fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Messages that come of one operation.
    pub fn fan_out(&self, case: Case) -> u64 {
        if case == Case::FanOut { u64::from(GROUP).min(self.all.len() as u64) } else { 1 }
    }

    /// CONNECT, and SUBSCRIBE to a topic of each case.
    pub fn connect(&mut self, client: u32, writes: &mut Writes) {
        writes.add(client, |bytes| {
            Connect {
                version: Version::V311,
                bridge: false,
                clean_start: true,
                keep_alive: 65_535,
                client_id: &format!("device-{client:05}"),
                will: None,
                user_name: None,
                password: None,
                properties: pelton_mqtt::ConnectProperties::default(),
            }
            .encode(bytes);
            let topics = [topic(b'p', client), topic(b'q', client), topic(b'f', client / GROUP)];
            let list = topics.each_ref().map(|topic| Subscription {
                filter: RawFilter::new(topic).expect("a filter"),
                options: SubscribeOptions::new(QoS::AtLeastOnce),
            });
            Subscribe {
                packet_id: PacketId::new(1).expect("not zero"),
                subscription_id: None,
                user_properties: UserProperties::NONE,
                subscriptions: Subscriptions::new(&list),
            }
            .encode(Version::V311, bytes);
        });
        self.outstanding += 2;
    }

    /// So many operations by the clients whose turn it is: each has one, or all of them the same number.
    pub fn begin(&mut self, case: Case, operations: u32, writes: &mut Writes) {
        // One of each group publishes to it.
        let step = if case == Case::FanOut { GROUP } else { 1 };
        let able = (self.all.len() as u32).div_ceil(step);
        let picked = operations.min(able);
        for nth in 0..picked {
            let client = loop {
                let client = self.order[self.at % self.order.len()];
                self.at += 1;
                if client.is_multiple_of(step) {
                    break client;
                }
            };
            let share = operations / picked + u32::from(nth < operations % picked);
            let own = &mut self.all[client as usize];
            writes.add(client, |bytes| (0..share).for_each(|_| own.put(case, bytes)));
        }
        let answers = if case == Case::Qos1 { 2 } else { self.fan_out(case) };
        self.outstanding += u64::from(operations) * answers;
    }

    /// What came to a client. Its acknowledgements are added to what is to be sent.
    pub fn see(&mut self, client: u32, bytes: &[u8], writes: &mut Writes) {
        let own = &mut self.all[client as usize];
        if own.rest.is_empty() {
            let (used, packets) = own.take(client, bytes, writes);
            own.rest.extend_from_slice(&bytes[used..]);
            self.outstanding -= packets;
        } else {
            let mut all = std::mem::take(&mut own.rest);
            all.extend_from_slice(bytes);
            let (used, packets) = own.take(client, &all, writes);
            all.drain(..used);
            own.rest = all;
            self.outstanding -= packets;
        }
    }
}

impl Client {
    /// Writes the next packet of a case.
    #[inline]
    fn put(&mut self, case: Case, bytes: &mut Vec<u8>) {
        let Some((_, place)) = case.place() else { return bytes.extend_from_slice(&PINGREQ) };
        bytes.extend_from_slice(&self.packets[place]);
        let payload = bytes.len() - PAYLOAD_BYTES;
        bytes[payload..payload + 8].copy_from_slice(&self.sent[place].to_le_bytes());
        if case == Case::Qos1 {
            bytes[payload - 2..payload].copy_from_slice(&packet_id(self.sent[place]).to_be_bytes());
        }
        self.sent[place] += 1;
    }

    /// Takes whole packets; the bytes of them, and how many.
    #[inline]
    fn take(&mut self, client: u32, bytes: &[u8], writes: &mut Writes) -> (usize, u64) {
        let (mut used, mut packets) = (0, 0);
        loop {
            let rest = &bytes[used..];
            let (header, total) = match frame(rest, MAX_PACKET) {
                Ok(Frame::Complete { header, total }) => (header, total),
                Ok(Frame::Partial { .. }) => return (used, packets),
                Err(why) => panic!("client {client}: {why:?}"),
            };
            let body = &rest[usize::from(header.header_len)..total];
            match header.packet_type {
                PacketType::Publish => self.got(client, header.first, body, writes),
                PacketType::PubAck => {
                    assert_eq!(body, packet_id(self.acknowledged).to_be_bytes(), "the PUBACK that is next");
                    self.acknowledged += 1;
                }
                PacketType::PingResp => assert!(body.is_empty()),
                PacketType::ConnAck => assert_eq!(body, [0, 0], "connected"),
                PacketType::SubAck => assert_eq!(body, [0, 1, 1, 1, 1], "subscribed"),
                other => panic!("client {client} got {other:?}"),
            }
            used += total;
            packets += 1;
        }
    }

    #[inline]
    fn got(&mut self, client: u32, first: u8, body: &[u8], writes: &mut Writes) {
        let place = match body[2] {
            b'p' => 0,
            b'q' => 1,
            _ => 2,
        };
        let number = self.got[place];
        let (head, payload) = body.split_at(body.len().saturating_sub(PAYLOAD_BYTES));
        assert!(
            payload.len() == PAYLOAD_BYTES
                && payload[..8] == number.to_le_bytes()
                && payload[8..] == [b'x'; PAYLOAD_BYTES - 8],
            "client {client}: the payload of message {number}"
        );
        self.got[place] += 1;
        assert_eq!(first, if place == 1 { 0x32 } else { 0x30 }, "the QoS of message {number}");
        if place == 1 {
            let id = &head[head.len() - 2..];
            writes.add(client, |bytes| bytes.extend_from_slice(&[0x40, 2, id[0], id[1]]));
        }
    }
}

/// The identifier of a client's message: from 1 to 65,535 and over again.
const fn packet_id(number: u64) -> u16 {
    (number % 65_535 + 1) as u16
}
