//! A whole shard over our TCP: frames in, frames out, with peers that are next to nothing.

pub mod echo;
pub mod flood;
pub mod pages;
pub mod peers;

use std::sync::Arc;

use pelton_base::{HashKey, Mono, Rng, Wall};
use pelton_broker::{Settings, Setup};
use pelton_mqtt::{
    Connect, PINGREQ, PacketId, QoS, RawFilter, Subscribe, SubscribeOptions, Subscription, Subscriptions,
    UserProperties, Version,
};
use pelton_packet::ready::Ready;
use pelton_packet::{Interface, Port};
use pelton_shard::{Shard, mesh};
use pelton_tcp::segment::Flags;
use pelton_tcp::{Tcp, Usage};

use crate::Workload;
use crate::codec::publish;
use pages::Pages;
use peers::{Peer, SERVER, US};

/// Segments of one turn.
pub const BURST: usize = 64;
/// Bytes of a CONNACK, a PINGRESP and a SUBACK.
const CONNACK: u32 = 4;
const PINGRESP: u32 = 2;
const SUBACK: u32 = 5;
/// Turns of a round in which nothing is due.
const IDLE_TURNS: u64 = 32;
/// Rounds of [`IDLE_TURNS`] milliseconds after which nothing is left of setting up.
const IDLE_SETTLED_ROUNDS: usize = 50;
/// Subscribers of one filter where peers subscribe.
const GROUP: u32 = 100;

/// What is measured. One round is [`Case::operations`] of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// An acknowledgement that brings nothing new.
    Ack,
    /// The acknowledgement of a PINGRESP, and taking that off the queue.
    AckOfData,
    /// PINGREQ in, PINGRESP out, and its acknowledgement.
    Ping,
    /// The same as far as PINGRESP.
    PingAnswer,
    /// PUBLISH of 64 bytes that nobody gets.
    PublishIn,
    /// PUBLISH of 64 bytes and its delivery to one subscriber.
    PublishToOne,
    /// Deliveries of one PUBLISH of 64 bytes to a hundred subscribers.
    FanOut,
    /// SYN answered with a cookie.
    SynCookie,
    /// SYN that is remembered.
    SynCache,
    /// A millisecond in which nothing is due.
    Idle,
    /// From SYN to the last FIN, with CONNECT and DISCONNECT.
    OpenClose,
}

impl Case {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Ack,
        Self::AckOfData,
        Self::Ping,
        Self::PingAnswer,
        Self::PublishIn,
        Self::PublishToOne,
        Self::FanOut,
        Self::SynCookie,
        Self::SynCache,
        Self::Idle,
        Self::OpenClose,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ack => "ack, nothing new",
            Self::AckOfData => "ack of a response",
            Self::Ping => "ping",
            Self::PingAnswer => "ping, without the last ack",
            Self::PublishIn => "publish in, 64 B",
            Self::PublishToOne => "publish in and out to one, 64 B",
            Self::FanOut => "delivery of 1 to 100, 64 B",
            Self::SynCookie => "syn, cookie",
            Self::SynCache => "syn, remembered",
            Self::Idle => "turn with nothing due",
            Self::OpenClose => "open and close",
        }
    }

    /// Operations of a round.
    pub const fn operations(self) -> u64 {
        match self {
            Self::FanOut => GROUP as u64,
            Self::Idle => IDLE_TURNS,
            _ => BURST as u64,
        }
    }
}

/// A shard, and its peers.
#[derive(Debug)]
pub struct Bench {
    shard: Shard<Tcp<Ready>>,
    peers: Vec<Peer>,
    now: Mono,
    rng: Rng,
    /// Peers that are picked are among the first so many.
    pub hot: u32,
    /// Peers that are not connected and send SYNs, or connect and leave.
    strangers: u32,
    picked: Vec<u32>,
    packet: Vec<u8>,
}

impl Bench {
    /// A shard that has room for so many connections and remembers so many half-open ones, on the [`Pages`] that the
    /// environment says.
    pub fn new(connections: u32, half_open: u32) -> Self {
        Pages::chosen().settle();
        let (_, commands) = crossbeam_channel::bounded(1);
        let now = Mono::from_ms(1_000);
        let setup = Setup {
            shard: 0,
            shards: 1,
            key: HashKey::new(1, 2),
            seed: 3,
            settings: Arc::new(Settings {
                connections_max: connections + 1_000,
                fanout_per_turn: u32::MAX,
                ..Settings::default()
            }),
            mono: now,
            wall: Wall(1_000_000),
        };
        let settings = pelton_tcp::Settings {
            connections_max: connections + 1_000,
            half_open_max: half_open,
            // The wheel has an entry for each connection.
            keep_alive_idle_ms: 7_200_000,
            ..pelton_tcp::Settings::default()
        };
        let interface = Interface { mac: US, addresses: vec![SERVER.0.into()] };
        let tcp = Tcp::new(Ready::new(1_024), interface, &[SERVER.1], settings, 1, now);
        let mesh = mesh(1).pop().expect("one mesh for one shard");
        Self {
            shard: Shard::new(setup, tcp, mesh, commands),
            peers: Vec::new(),
            now,
            rng: Rng::with_seed(5),
            hot: 0,
            strangers: 8_000_000,
            picked: Vec::new(),
            packet: Vec::new(),
        }
    }

    /// As [`Bench::new`], with so many peers connected.
    pub fn with_peers(count: u32, half_open: u32) -> Self {
        let mut bench = Self::new(count, half_open);
        bench.reserve(count);
        bench.connect(count);
        bench.hot = count;
        bench
    }

    /// Has the memory of the peers' side, touched, before the shard's is measured.
    pub fn reserve(&mut self, count: u32) {
        self.peers = vec![Peer { seq: 1, ack: 1 }; count as usize];
        self.peers.clear();
    }

    fn port(&mut self) -> &mut Ready {
        self.shard.transport().port()
    }

    /// What the stack has in use.
    pub fn usage(&mut self) -> Usage {
        self.shard.transport().usage()
    }

    /// Peers that are connected.
    pub fn connected(&self) -> u32 {
        self.peers.len() as u32
    }

    /// Frames the stack has sent.
    pub fn sent(&mut self) -> u64 {
        self.port().sent
    }

    /// One turn, 20 us later.
    #[inline(never)]
    pub fn turn(&mut self) {
        self.now = self.now + 20_000;
        self.shard.turn(self.now, Wall(1_000_000));
    }

    #[inline]
    fn put(&mut self, peer: u32, flags: Flags, data: &[u8]) {
        let state = self.peers[peer as usize];
        self.put_of(peer, state, flags, data);
        self.peers[peer as usize].seq = state.seq.wrapping_add(data.len() as u32);
    }

    fn put_of(&mut self, from: u32, peer: Peer, flags: Flags, data: &[u8]) {
        let stamp = self.now.as_ms() as u32;
        let port = self.port();
        let mut frame = port.take().expect("a frame");
        peers::write(&mut frame, from, peer, flags, stamp, data);
        port.input.push(frame);
    }

    fn put_syn(&mut self, from: u32, seq: u32) {
        let stamp = self.now.as_ms() as u32;
        let port = self.port();
        let mut frame = port.take().expect("a frame");
        peers::write_syn(&mut frame, from, seq, stamp);
        port.input.push(frame);
    }

    /// Connects so many peers more, each with a clean session and one subscription, 64 at a time.
    pub fn connect(&mut self, count: u32) {
        let first = self.peers.len() as u32;
        let mut next = first;
        while next < first + count {
            let burst = next..(next + BURST as u32).min(first + count);
            next = burst.end;
            self.shake_hands(burst.clone());
            for peer in burst.clone() {
                self.put_connect(peer);
            }
            self.turn();
            for peer in burst.clone() {
                self.peers[peer as usize].ack += CONNACK;
                let packet = subscribe(peer / GROUP);
                self.put(peer, Flags::ACK.and(Flags::PSH), &packet);
            }
            self.turn();
            for peer in burst.clone() {
                self.peers[peer as usize].ack += SUBACK;
                self.put(peer, Flags::ACK, &[]);
            }
            self.turn();
        }
    }

    fn put_connect(&mut self, peer: u32) {
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        let client_id = format!("device-{peer:07}");
        Connect {
            version: Version::V311,
            bridge: false,
            clean_start: true,
            keep_alive: 65_535,
            client_id: &client_id,
            will: None,
            user_name: None,
            password: None,
            properties: pelton_mqtt::ConnectProperties::default(),
        }
        .encode(&mut packet);
        self.put(peer, Flags::ACK.and(Flags::PSH), &packet);
        self.packet = packet;
    }

    /// SYN and SYN-ACK; the ACK goes with what is sent next.
    fn shake_hands(&mut self, burst: std::ops::Range<u32>) {
        let size = self.peers.len().max(burst.end as usize);
        self.peers.resize(size, Peer::default());
        self.port().keep = true;
        for peer in burst.clone() {
            let seq = self.rng.u64() as u32;
            self.peers[peer as usize] = Peer { seq: seq.wrapping_add(1), ack: 0 };
            self.put_syn(peer, seq);
        }
        self.turn();
        self.port().keep = false;
        let mut answers = std::mem::take(&mut self.port().output);
        let mut shaken = 0;
        for frame in answers.drain(..) {
            let (peer, seq, flags) = peers::answer(&frame);
            // An ACK that was delayed may be due as well.
            if flags.has(Flags::SYN) {
                self.peers[peer as usize].ack = seq.wrapping_add(1);
                shaken += 1;
            }
        }
        assert_eq!(shaken, burst.len(), "a SYN-ACK for each SYN");
        self.port().output = answers;
    }

    fn pick(&mut self) {
        let mut picked = std::mem::take(&mut self.picked);
        picked.clear();
        picked.extend((0..BURST).map(|_| self.rng.below(u64::from(self.hot)) as u32));
        self.picked = picked;
    }

    /// Every peer in turn sends a PINGREQ and acknowledges the answer; how many were answered.
    pub fn ping_all(&mut self, mut measured: impl FnMut(&mut dyn FnMut())) -> u64 {
        let mut answered = 0;
        for first in (0..self.peers.len() as u32).step_by(BURST) {
            self.picked.clear();
            self.picked.extend(first..(first + BURST as u32).min(self.peers.len() as u32));
            let before = self.sent();
            self.pings();
            measured(&mut || self.turn());
            answered += self.sent() - before;
            self.acks();
            self.turn();
            self.turn();
        }
        answered
    }

    fn pings(&mut self) {
        for at in 0..self.picked.len() {
            self.put(self.picked[at], Flags::ACK.and(Flags::PSH), &PINGREQ);
        }
    }

    fn acks(&mut self) {
        for at in 0..self.picked.len() {
            let peer = self.picked[at];
            let ack = &mut self.peers[peer as usize].ack;
            *ack = ack.wrapping_add(PINGRESP);
            self.put(peer, Flags::ACK, &[]);
        }
    }

    fn acknowledge(&mut self, peer: u32, bytes: u32) {
        let ack = &mut self.peers[peer as usize].ack;
        *ack = ack.wrapping_add(bytes);
        self.put(peer, Flags::ACK, &[]);
    }

    /// One round of a case; `measured` is given what is to be measured, once or more.
    pub fn round(&mut self, case: Case, mut measured: impl FnMut(&mut dyn FnMut())) {
        match case {
            Case::Ack => {
                self.pick();
                for at in 0..BURST {
                    self.put(self.picked[at], Flags::ACK, &[]);
                }
                measured(&mut || self.turn());
            }
            Case::Ping | Case::PingAnswer | Case::AckOfData => {
                self.pick();
                self.pings();
                if case == Case::AckOfData {
                    self.turn();
                } else {
                    measured(&mut || self.turn());
                }
                self.acks();
                if case == Case::PingAnswer {
                    self.turn();
                } else {
                    measured(&mut || self.turn());
                }
            }
            Case::PublishIn => {
                self.pick();
                let packet = publish(Version::V311, "nobody/listens", QoS::AtMostOnce, &[b'x'; 64]);
                for at in 0..BURST {
                    self.put(self.picked[at], Flags::ACK.and(Flags::PSH), &packet);
                }
                measured(&mut || self.turn());
            }
            Case::PublishToOne => self.publish_to_one(measured),
            Case::FanOut => self.fan_out(measured),
            Case::SynCookie | Case::SynCache => self.syns(case == Case::SynCache, measured),
            Case::Idle => {
                for _ in 0..IDLE_TURNS {
                    self.now = self.now + 980_000;
                    measured(&mut || self.turn());
                }
            }
            Case::OpenClose => self.open_and_close(measured),
        }
    }

    /// Everyone publishes to a topic of one of [`BURST`] peers that have one of their own.
    fn publish_to_one(&mut self, mut measured: impl FnMut(&mut dyn FnMut())) {
        if self.strangers & 1 == 0 {
            self.strangers |= 1;
            for peer in 0..BURST as u32 {
                self.put(peer, Flags::ACK.and(Flags::PSH), &subscribe_to(&format!("own/{peer:02}")));
            }
            self.turn();
            (0..BURST as u32).for_each(|peer| self.acknowledge(peer, SUBACK));
            self.turn();
        }
        self.pick();
        let mut bytes = 0;
        for at in 0..BURST {
            let packet = publish(Version::V311, &format!("own/{at:02}"), QoS::AtMostOnce, &[b'x'; 64]);
            bytes = packet.len() as u32;
            self.put(self.picked[at], Flags::ACK.and(Flags::PSH), &packet);
        }
        let before = self.sent();
        measured(&mut || self.turn());
        assert!(self.sent() - before >= BURST as u64, "delivered");
        (0..BURST as u32).for_each(|peer| self.acknowledge(peer, bytes));
        self.turn();
        self.turn();
    }

    fn fan_out(&mut self, mut measured: impl FnMut(&mut dyn FnMut())) {
        let group = self.rng.below(u64::from(self.hot / GROUP)) as u32;
        let packet = publish(Version::V311, &topic(group), QoS::AtMostOnce, &[b'x'; 64]);
        let first = group * GROUP;
        self.put(first, Flags::ACK.and(Flags::PSH), &packet);
        let before = self.sent();
        measured(&mut || self.turn());
        // An ACK that was delayed may be due as well.
        assert!(self.sent() - before >= u64::from(GROUP), "delivered");
        for peer in first..first + GROUP {
            self.acknowledge(peer, packet.len() as u32);
            if peer % BURST as u32 == 0 {
                self.turn();
            }
        }
        self.turn();
        self.turn();
    }

    fn syns(&mut self, remembered: bool, mut measured: impl FnMut(&mut dyn FnMut())) {
        let first = self.strangers + 2 * BURST as u32;
        for n in 0..BURST as u32 {
            self.put_syn(first + n, n);
        }
        let before = self.sent();
        measured(&mut || self.turn());
        assert!(self.sent() - before >= BURST as u64, "a SYN-ACK for each");
        assert_eq!(self.usage().half_open, if remembered { BURST } else { 0 });
        if remembered {
            for n in 0..BURST as u32 {
                self.put_of(first + n, Peer { seq: n + 1, ack: 0 }, Flags::RST, &[]);
            }
            self.turn();
            assert_eq!(self.usage().half_open, 0);
        } else {
            self.strangers += BURST as u32;
        }
        if self.strangers > 100_000_000 {
            self.strangers -= 80_000_000;
        }
    }

    fn open_and_close(&mut self, mut measured: impl FnMut(&mut dyn FnMut())) {
        let first = self.peers.len() as u32;
        let burst = first..first + BURST as u32;
        let before = self.usage().connections;
        measured(&mut || self.shake_hands(burst.clone()));
        burst.clone().for_each(|peer| self.put_connect(peer));
        measured(&mut || self.turn());
        for peer in burst.clone() {
            self.peers[peer as usize].ack += CONNACK;
            self.put(peer, Flags::ACK.and(Flags::PSH).and(Flags::FIN), &[0xe0, 0]);
            self.peers[peer as usize].seq += 1;
        }
        measured(&mut || self.turn());
        for peer in burst.clone() {
            self.acknowledge(peer, 1);
        }
        measured(&mut || self.turn());
        measured(&mut || self.turn());
        assert_eq!(self.usage().connections, before, "all are gone");
        self.peers.truncate(first as usize);
    }
}

fn topic(group: u32) -> String {
    format!("group/{group:05}")
}

fn subscribe(group: u32) -> Vec<u8> {
    subscribe_to(&topic(group))
}

fn subscribe_to(filter: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let list = [Subscription {
        filter: RawFilter::new(filter).expect("a filter"),
        options: SubscribeOptions::new(QoS::AtMostOnce),
    }];
    Subscribe {
        packet_id: PacketId::new(1).expect("not zero"),
        subscription_id: None,
        user_properties: UserProperties::NONE,
        subscriptions: Subscriptions::new(&list),
    }
    .encode(Version::V311, &mut bytes);
    bytes
}

/// The workloads whose instructions are counted. Making the frames is counted with them.
pub fn workloads() -> Vec<Workload> {
    // What is not timed of a round is counted as well: a ping is one workload, with its acknowledgement.
    Case::ALL
        .into_iter()
        .filter(|&case| case != Case::PingAnswer)
        .map(|case| {
            let half_open = if case == Case::SynCookie { 0 } else { 1 << 14 };
            let mut bench = Bench::with_peers(1_000, half_open);
            if case == Case::Idle {
                // What setting up has left to be looked at within the next second has been.
                (0..IDLE_SETTLED_ROUNDS).for_each(|_| bench.round(case, |measured| measured()));
            }
            let name = format!("tcp/{}", case.name());
            Workload::new(name, case.operations(), move || {
                bench.round(case, |measured| measured());
            })
        })
        .collect()
}
