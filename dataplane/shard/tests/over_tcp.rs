//! The whole broker over our TCP: a shard on one end of a bad link, MQTT clients on a stack of their own at the other.
//! Whatever the link does, every message comes once to every subscriber, in the order of its publisher, and when the
//! clients have said goodbye nothing is left.

use std::sync::Arc;

use pelton_base::{
    ByteStreams, Ending, HashKey, Mono, Outgoing, StreamEnd, StreamEvent, StreamId, Transmit, Wall,
};
use pelton_broker::holdings::Held;
use pelton_broker::{Settings, Setup};
use pelton_mqtt::{PacketType, frame};
use pelton_packet::fault::{Faults, Faulty};
use pelton_packet::memory::{MemoryPort, MemorySettings, pair};
use pelton_packet::{Frame, Interface, Link, MacAddress, Port, PortCaps};
use pelton_shard::{Shard, mesh};
use pelton_tcp::{Tcp, TcpCounter, Usage, relays};

type Stack = Tcp<Faulty<MemoryPort>>;
type ClientStack = Tcp<Faulty<Switch>>;

/// The clients' side: a wire to each shard, over which their frames are spread by their port.
struct Switch {
    wires: Vec<MemoryPort>,
}

impl Port for Switch {
    fn caps(&self) -> PortCaps {
        self.wires[0].caps()
    }

    fn take(&mut self) -> Option<Frame> {
        self.wires[0].take()
    }

    fn frames_free(&self) -> u32 {
        self.wires[0].frames_free()
    }

    fn put(&mut self, frame: Frame) {
        self.wires[0].put(frame);
    }

    fn receive(&mut self, now: Mono, limit: usize, into: &mut Vec<Frame>) -> usize {
        let mut received = self.wires[0].receive(now, limit, into);
        for at in 1..self.wires.len() {
            let mut frames = Vec::new();
            received += self.wires[at].receive(now, limit - received, &mut frames);
            for frame in frames {
                let mut copy = self.wires[0].take().unwrap();
                copy.fill(&frame);
                into.push(copy);
                self.wires[at].put(frame);
            }
        }
        received
    }

    fn send(&mut self, now: Mono, frame: Frame) -> Result<(), Frame> {
        let at = usize::from(u16::from_be_bytes([frame[34], frame[35]])) % self.wires.len();
        if at == 0 {
            return self.wires[0].send(now, frame);
        }
        let Some(mut copy) = self.wires[at].take() else { return Err(frame) };
        copy.fill(&frame);
        self.wires[at].send(now, copy).unwrap();
        self.wires[0].put(frame);
        Ok(())
    }

    fn flush(&mut self, _now: Mono) {}

    fn next_timeout(&self) -> Option<Mono> {
        self.wires.iter().filter_map(MemoryPort::next_timeout).min()
    }
}

const SERVER: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const CLIENTS: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const MESSAGES: u32 = 30;

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    [&[first, body.len() as u8][..], body].concat()
}

/// CONNECT of MQTT 3.1.1, no keep-alive: on such links silence means nothing. Without a clean session it belongs to
/// the shard of its client id, and moves there.
fn connect(id: &str, clean: bool) -> Vec<u8> {
    packet(0x10, &[&string("MQTT")[..], &[4, if clean { 2 } else { 0 }, 0, 0], &string(id)].concat())
}

fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    packet(0x82, &[&[0, 1][..], &string(filter), &[qos]].concat())
}

fn publish(topic: &str, id: u16, number: u32) -> Vec<u8> {
    packet(0x32, &[&string(topic)[..], &id.to_be_bytes(), &number.to_be_bytes()].concat())
}

/// A client: connects, subscribes to all, and when told publishes its messages.
struct Client {
    stream: StreamId,
    topic: String,
    input: Vec<u8>,
    subscribed: bool,
    published: u32,
    acknowledged: u32,
    /// The next number expected of each publisher.
    next: Vec<u32>,
    goodbye: bool,
    ended: Option<StreamEnd>,
}

struct Clients {
    tcp: ClientStack,
    out: Outgoing,
    all: Vec<Client>,
    clean: bool,
    /// At which they subscribe.
    qos: u8,
}

impl Clients {
    fn new(tcp: ClientStack, count: u16, clean: bool, qos: u8, now: Mono) -> Self {
        let mut clients = Self { tcp, out: Outgoing::new(1 << 20), all: Vec::new(), clean, qos };
        for n in 0..count {
            let link = Link { source: CLIENTS, destination: SERVER, vlan: None };
            let local = ([10, 0, 0, 2], 2_000 + n).into();
            let stream =
                clients.tcp.connect(local, ([10, 0, 0, 1], 1883).into(), link, u64::from(n), now).unwrap();
            clients.out.open(u32::from(n));
            clients.all.push(Client {
                stream,
                topic: format!("t/{n}"),
                input: Vec::new(),
                subscribed: false,
                published: 0,
                acknowledged: 0,
                next: vec![0; usize::from(count)],
                goodbye: false,
                ended: None,
            });
        }
        clients
    }

    /// Queues a packet. Every third client's leave in two pieces, a segment for each.
    fn say(&mut self, at: usize, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(if at % 3 == 2 { bytes.len() / 2 } else { 0 });
        if !first.is_empty() {
            self.out.append(at as u32, |out| out.extend_from_slice(first));
            self.transmit(at);
        }
        self.out.append(at as u32, |out| out.extend_from_slice(rest));
    }

    fn turn(&mut self, now: Mono) {
        self.tcp.poll(now);
        while let Some(event) = self.tcp.next() {
            match event {
                StreamEvent::Opened { stream, .. } => {
                    let at = self.all.iter().position(|client| client.stream == stream).unwrap();
                    self.say(at, &connect(&format!("client-{at}"), self.clean));
                }
                StreamEvent::Data { token, chunk } => {
                    let client = &mut self.all[token as usize];
                    client.input.extend_from_slice(&chunk);
                    self.tcp.consumed(client.stream, chunk.len());
                    self.tcp.recycle(chunk);
                    self.read(token as usize);
                }
                StreamEvent::Writable { token } => self.transmit(token as usize),
                StreamEvent::Closed { token, why } => {
                    assert!(self.all[token as usize].ended.replace(why).is_none());
                    self.out.discard(token as u32);
                }
            }
        }
        // Everybody publishes when everybody has subscribed.
        if self.all.iter().all(|client| client.subscribed) {
            for at in 0..self.all.len() {
                let client = &mut self.all[at];
                if client.published < MESSAGES && client.published - client.acknowledged < 10 {
                    client.published += 1;
                    let bytes = publish(&client.topic, client.published as u16, client.published - 1);
                    self.say(at, &bytes);
                }
            }
        }
        let through = self.all.iter().all(|client| {
            client.acknowledged == MESSAGES && client.next.iter().all(|&next| next == MESSAGES)
        });
        if through {
            for at in 0..self.all.len() {
                if !std::mem::replace(&mut self.all[at].goodbye, true) {
                    self.say(at, &[0xe0, 0]);
                    self.transmit(at);
                    self.tcp.close(self.all[at].stream, Ending::Graceful);
                }
            }
        }
        let mut dirty = Vec::new();
        self.out.take_dirty(&mut dirty);
        for at in dirty {
            self.transmit(at as usize);
        }
        self.tcp.end_turn();
    }

    fn transmit(&mut self, at: usize) {
        if self.all[at].ended.is_none() {
            let (queue, logs) = self.out.queue(at as u32);
            // Gone: its end is among the events that follow.
            let _: Transmit = self.tcp.transmit(self.all[at].stream, queue, logs);
            self.out.settle(at as u32);
        }
    }

    /// Takes the packets that have come.
    fn read(&mut self, at: usize) {
        loop {
            let client = &mut self.all[at];
            let Ok(pelton_mqtt::Frame::Complete { header, total }) = frame(&client.input, 1 << 20) else {
                return;
            };
            let body = client.input[usize::from(header.header_len)..total].to_vec();
            client.input.drain(..total);
            match header.packet_type {
                PacketType::ConnAck => {
                    assert_eq!(body, [0, 0]);
                    self.say(at, &subscribe("t/#", self.qos));
                }
                PacketType::SubAck => {
                    assert_eq!(body, [0, 1, self.qos]);
                    client.subscribed = true;
                }
                PacketType::PubAck => client.acknowledged += 1,
                PacketType::Publish => {
                    let topic_len = usize::from(u16::from_be_bytes([body[0], body[1]]));
                    let topic = std::str::from_utf8(&body[2..2 + topic_len]).unwrap();
                    let from: usize = topic.strip_prefix("t/").unwrap().parse().unwrap();
                    let (id, number) = body[2 + topic_len..].split_at(2 * usize::from(self.qos));
                    let number = u32::from_be_bytes(number.try_into().unwrap());
                    assert_eq!(number, client.next[from], "in the order of its publisher, once");
                    client.next[from] += 1;
                    if self.qos == 1 {
                        self.say(at, &packet(0x40, id));
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn stack<P: Port>(
    port: P,
    faults: Faults,
    mac: MacAddress,
    last: u8,
    listeners: &[u16],
    seed: u64,
) -> Tcp<Faulty<P>> {
    let interface = Interface { mac, addresses: vec![[10, 0, 0, last].into()] };
    let port = Faulty::new(port, faults, seed, 512);
    let settings = pelton_tcp::Settings { connections_max: 1_000, ..pelton_tcp::Settings::default() };
    Tcp::new(port, interface, listeners, settings, seed, Mono(0))
}

fn run(seed: u64, shard_count: u16, clean: bool, qos: u8, faults: Faults) {
    play(seed, shard_count, clean, qos, faults, Settings::default());
}

/// Returns how many turns left more to do at once.
fn play(seed: u64, shard_count: u16, clean: bool, qos: u8, faults: Faults, settings: Settings) -> u32 {
    let settings = Arc::new(settings);
    let mut now = Mono::from_ms(1_000);
    let (mut wires, mut shards) = (Vec::new(), Vec::new());
    let meshes = mesh(shard_count).into_iter().zip(relays(shard_count));
    for (shard, (mesh, relays)) in (0..shard_count).zip(meshes) {
        let (near, far) = pair(MemorySettings::default());
        wires.push(near);
        let setup = Setup {
            shard,
            shards: shard_count,
            key: HashKey::new(seed, 2),
            seed: seed + u64::from(shard),
            settings: settings.clone(),
            mono: now,
            wall: Wall(1_000_000),
        };
        let (_, commands) = crossbeam_channel::bounded(1);
        let mut transport: Stack = stack(far, faults, SERVER, 1, &[1883], seed * 8 + 1 + u64::from(shard));
        transport.join(relays);
        shards.push(Shard::new(setup, transport, mesh, commands));
    }
    let client_stack = stack(Switch { wires }, faults, CLIENTS, 2, &[], seed * 8);
    let mut clients = Clients::new(client_stack, 8, clean, qos, now);
    let (mut turns, mut busy_turns) = (0, 0);
    let mut healed = false;
    let mut shared = 0;
    loop {
        let mut until = clients.tcp.next_timeout().unwrap_or(Mono::NEVER);
        for shard in &mut shards {
            let turn = shard.turn(now, Wall(1_000_000 + now.as_ms()));
            busy_turns += u32::from(turn.busy);
            until = until.min(turn.until);
        }
        shared =
            shared.max(shards.iter().map(|shard| shard.broker().held(Held::SharedLogs)).max().unwrap_or(0));
        clients.turn(now);
        until = until.min(clients.tcp.next_timeout().unwrap_or(Mono::NEVER));
        let ended = clients.all.iter().all(|client| client.ended.is_some());
        if ended && !healed {
            healed = true;
            clients.tcp.port().faults = Faults::default();
            shards.iter_mut().for_each(|shard| shard.transport().port().faults = Faults::default());
        }
        let quiet = clients.tcp.usage() == Usage::default()
            && shards.iter_mut().all(|shard| shard.transport().usage() == Usage::default());
        if ended && quiet && shards.iter().all(|shard| shard.snapshot().connections == 0) {
            break;
        }
        now = until.max(now + 10_000).min(now.plus_ms(100));
        turns += 1;
        assert!(
            turns < 2_000_000 && now < Mono::from_ms(3_600_000),
            "seed {seed}: {:?} {:?}, clients {:?}",
            shards.iter_mut().map(|shard| shard.transport().figures()).collect::<Vec<_>>(),
            clients.tcp.counters(),
            clients
                .all
                .iter()
                .map(|client| (client.ended, client.acknowledged, &client.next))
                .collect::<Vec<_>>()
        );
    }
    // What many are sent alike is stored once while it is under way, and no longer. Where hardly anything may be under
    // way everything waits.
    let waits = settings.outbound_bytes_max < Settings::default().outbound_bytes_max;
    assert!(shared > 0 || shard_count > 1 || waits, "seed {seed}");
    for shard in &shards {
        assert_eq!(shard.broker().held(Held::SharedLogs), 0, "seed {seed}");
    }
    for client in &clients.all {
        assert_eq!(client.ended, Some(StreamEnd::Local), "seed {seed}");
        assert!(client.next.iter().all(|&next| next == MESSAGES), "seed {seed}: {:?}", client.next);
    }
    let mut relayed = 0;
    for shard in &mut shards {
        relayed += shard.transport().counters().get(TcpCounter::RelayedOut);
        let port = shard.transport().port();
        assert_eq!(port.inner().pool().outstanding(), port.held(), "seed {seed}");
    }
    let moves = !clean && shard_count > 1;
    assert_eq!(relayed > 0, moves, "seed {seed}: {relayed} frames handed over");
    let port = clients.tcp.port();
    assert_eq!(port.inner().wires[0].pool().outstanding(), port.held(), "seed {seed}");
    assert_eq!(clients.out.total(), 0);
    busy_turns
}

fn bad(seed: u64) -> Faults {
    Faults {
        loss: (seed as u32 * 20) % 210,
        duplication: 20,
        reordering: 50,
        reorder_ns: 10_000_000,
        corruption: 5,
        delay_ns: seed * 3_000_000,
        jitter_ns: 1_000_000,
        ..Faults::default()
    }
}

#[test]
fn over_a_good_link() {
    run(1, 1, true, 1, Faults { delay_ns: 1_000_000, ..Faults::default() });
}

#[test]
fn over_links_that_lose_reorder_double_and_damage() {
    for seed in 1..=10 {
        run(seed, 1, true, 1, bad(seed));
    }
}

#[test]
fn at_qos_0_over_links_that_lose() {
    for seed in 1..=6 {
        run(seed, 1, true, 0, bad(seed));
    }
}

/// Connections of persistent sessions move to their session's shard; their frames go on coming in where they did.
#[test]
fn with_three_shards_and_connections_that_move() {
    for seed in 1..=6 {
        run(seed, 3, false, 1, bad(seed - 1));
        run(seed, 3, true, 1, bad(seed));
    }
}

/// What is under way stays queued until it is acknowledged: where that is all that is queued, and as much as may be, a
/// shard has nothing to do until an acknowledgement comes.
#[test]
fn a_queue_full_of_what_is_under_way_keeps_no_shard_turning() {
    for outbound_bytes_max in [1, 100, 1_000] {
        let settings = Settings { outbound_bytes_max, ..Settings::default() };
        let faults = Faults { delay_ns: 20_000_000, ..Faults::default() };
        let busy = play(1, 1, true, 1, faults, settings);
        assert!(busy < 100, "{busy} turns with up to {outbound_bytes_max} bytes queued");
    }
}
