//! MQTT clients on one stack.
//!
//! A client is a few words here, and a connection of the stack: a million of them take some hundred megabytes. All are
//! alike: they connect, subscribe to a topic of their own if that is wanted, ping when their turn comes, and some
//! publish to the topics of others.

use hashbrown::HashMap;
use pelton_base::{
    ByteStreams, HashKey, Key, Mono, Outgoing, Rng, StreamEnd, StreamEvent, StreamId, Transmit,
};
use pelton_mqtt::{
    Ack, FixedHeader, Frame, MAX_PACKET, PINGREQ, Packet, PacketType, QoS, ReasonCode, Version,
};
use pelton_mqtt::{decode_from_server, frame};
use pelton_packet::{Link, Port};
use pelton_tcp::Tcp;

use crate::ends::Ends;
use crate::figures::{Counts, Times};
use crate::packets;

/// Connections that are begun in one turn.
const BEGUN_A_TURN: u32 = 64;
/// Pings and messages sent in one turn.
const SENT_A_TURN: u32 = 256;

/// What the clients do.
#[derive(Clone, Debug)]
pub struct Wants {
    /// Clients.
    pub clients: u32,
    /// Connections being opened at the same time.
    pub opening_max: u32,
    /// Connections begun per second; 0 for as many as [`Wants::opening_max`] lets.
    pub connects_per_second: u32,
    /// The keep-alive they announce, seconds. They ping at half of it.
    pub keep_alive_s: u16,
    /// The QoS of the topic each subscribes to; `None` for no subscription.
    pub subscribe: Option<QoS>,
    /// Messages per second, all clients together, once all are there.
    pub messages_per_second: u32,
    /// Their QoS, 0 or 1.
    pub qos: QoS,
    /// Their payload.
    pub payload_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not begun.
    Idle,
    Opening,
    /// CONNECT is sent.
    Connecting,
    Subscribing,
    Ready,
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    stream: StreamId,
    /// When what is waited for was asked for, in microseconds since the beginning.
    since_us: u32,
    stage: Stage,
    ping_out: bool,
    publish_out: bool,
}

/// Clients, driven by [`Crowd::turn`].
pub struct Crowd<P: Port> {
    tcp: Tcp<P>,
    link: Link,
    ends: Ends,
    wants: Wants,
    run: u32,
    out: Outgoing,
    clients: Vec<Client>,
    /// Whose a stream is, by its index in the stack.
    owners: Vec<u32>,
    /// The beginnings of packets that are not whole.
    rests: HashMap<u32, Vec<u8>, HashKey>,
    start: Mono,
    opening: u32,
    begun_at: Mono,
    /// Who pings next.
    next_ping: u32,
    pings_due: f64,
    messages_due: f64,
    last: Mono,
    holding: bool,
    rng: Rng,
    dirty: Vec<u32>,
    topic: String,
    /// What was counted.
    pub counts: Counts,
    /// From the SYN to the last answer that makes a client ready.
    pub connect_times: Times,
    /// From PINGREQ to PINGRESP.
    pub ping_times: Times,
    /// From publishing to delivery.
    pub message_times: Times,
}

impl<P: Port> Crowd<P> {
    /// Clients on a stack; `link` is how the broker is reached.
    pub fn new(tcp: Tcp<P>, link: Link, ends: Ends, wants: Wants, seed: u64, now: Mono) -> Self {
        let mut rng = Rng::with_seed(seed);
        let idle = Client {
            stream: StreamId(0),
            since_us: 0,
            stage: Stage::Idle,
            ping_out: false,
            publish_out: false,
        };
        let clients = vec![idle; wants.clients as usize];
        Self {
            run: rng.u64() as u32,
            tcp,
            link,
            ends,
            wants,
            out: Outgoing::new(usize::MAX),
            clients,
            owners: Vec::new(),
            rests: HashMap::with_hasher(rng.hash_key()),
            start: now,
            opening: 0,
            begun_at: now,
            next_ping: 0,
            pings_due: 0.0,
            messages_due: 0.0,
            last: now,
            holding: false,
            rng,
            dirty: Vec::new(),
            topic: String::new(),
            counts: Counts::default(),
            connect_times: Times::default(),
            ping_times: Times::default(),
            message_times: Times::default(),
        }
    }

    /// The stack.
    pub fn tcp(&mut self) -> &mut Tcp<P> {
        &mut self.tcp
    }

    /// Whether every client has been begun and has come to something.
    pub fn is_open(&self) -> bool {
        self.counts.begun == self.wants.clients && self.opening == 0
    }

    /// From now on clients publish, if that is wanted; pings go on.
    pub fn hold(&mut self) {
        self.holding = true;
    }

    /// Does what there is to do. Whether there is more at once.
    pub fn turn(&mut self, now: Mono) -> bool {
        self.tcp.poll(now);
        let mut events = 0;
        while let Some(event) = self.tcp.next() {
            self.take(event, now);
            events += 1;
        }
        self.begin_some(now);
        self.send_some(now);
        self.flush();
        self.tcp.end_turn();
        self.flush();
        events != 0
    }

    /// When there is something to do if nothing comes in before.
    pub fn next_timeout(&self) -> Option<Mono> {
        self.tcp.next_timeout()
    }

    fn us(&self, now: Mono) -> u64 {
        (now.0 - self.start.0) / 1_000
    }

    fn begin_some(&mut self, now: Mono) {
        let mut left = BEGUN_A_TURN;
        while left > 0 && self.counts.begun < self.wants.clients && self.opening < self.wants.opening_max {
            if self.wants.connects_per_second != 0 {
                if now < self.begun_at {
                    break;
                }
                let pause_us = 1_000_000 / u64::from(self.wants.connects_per_second);
                self.begun_at = self.begun_at.plus_us(pause_us.max(1));
            }
            let number = self.counts.begun;
            let (local, remote) = self.ends.of(number);
            let since_us = self.us(now) as u32;
            let client = &mut self.clients[number as usize];
            match self.tcp.connect(local, remote, self.link, u64::from(number), now) {
                Ok(stream) => {
                    *client = Client { stream, since_us, stage: Stage::Opening, ..*client };
                    let index = Key::from_u64(stream.0).index as usize;
                    if self.owners.len() <= index {
                        self.owners.resize(index + 1, u32::MAX);
                    }
                    self.owners[index] = number;
                    self.out.open(number);
                    self.opening += 1;
                }
                Err(_) => {
                    client.stage = Stage::Gone;
                    self.counts.failed += 1;
                }
            }
            self.counts.begun += 1;
            left -= 1;
        }
    }

    fn take(&mut self, event: StreamEvent<<Tcp<P> as ByteStreams>::Chunk>, now: Mono) {
        match event {
            StreamEvent::Opened { stream, .. } => self.opened(stream),
            StreamEvent::Data { token, chunk } => {
                let number = token as u32;
                self.read(number, &chunk, now);
                let (stream, len) = (self.clients[number as usize].stream, chunk.len());
                self.tcp.recycle(chunk);
                self.tcp.consumed(stream, len);
            }
            StreamEvent::Writable { token } => {
                let number = token as u32;
                self.transmit(number);
            }
            StreamEvent::Closed { token, why } => self.closed(token as u32, why),
        }
    }

    fn opened(&mut self, stream: StreamId) {
        let Some(&number) = self.owners.get(Key::from_u64(stream.0).index as usize) else { return };
        let client = &mut self.clients[number as usize];
        if client.stream != stream || client.stage != Stage::Opening {
            return;
        }
        client.stage = Stage::Connecting;
        let (run, keep_alive_s) = (self.run, self.wants.keep_alive_s);
        self.out.append(number, |out| packets::connect(run, number, keep_alive_s, out));
    }

    fn closed(&mut self, number: u32, _why: StreamEnd) {
        let client = &mut self.clients[number as usize];
        match client.stage {
            Stage::Opening | Stage::Connecting | Stage::Subscribing => {
                self.opening -= 1;
                self.counts.failed += 1;
            }
            Stage::Ready => {
                self.counts.ready -= 1;
                self.counts.lost += 1;
            }
            Stage::Idle | Stage::Gone => {}
        }
        client.stage = Stage::Gone;
        self.out.discard(number);
        self.rests.remove(&number);
    }

    /// Takes the packets in `bytes`, and keeps what is left.
    fn read(&mut self, number: u32, bytes: &[u8], now: Mono) {
        if let Some(mut rest) = self.rests.remove(&number) {
            rest.extend_from_slice(bytes);
            self.read_whole(number, &rest, now);
        } else {
            self.read_whole(number, bytes, now);
        }
    }

    fn read_whole(&mut self, number: u32, mut bytes: &[u8], now: Mono) {
        while !bytes.is_empty() {
            match frame(bytes, MAX_PACKET) {
                Ok(Frame::Complete { header, total }) => {
                    let body = &bytes[usize::from(header.header_len)..total];
                    self.packet(number, header, body, now);
                    bytes = &bytes[total..];
                }
                Ok(Frame::Partial { .. }) => {
                    self.rests.insert(number, bytes.to_vec());
                    return;
                }
                Err(_) => {
                    self.counts.strange += 1;
                    return;
                }
            }
        }
    }

    fn packet(&mut self, number: u32, header: FixedHeader, body: &[u8], now: Mono) {
        let now_us = self.us(now);
        let Ok(packet) = decode_from_server(Version::V311, header, body) else {
            self.counts.strange += 1;
            return;
        };
        let client = &mut self.clients[number as usize];
        let waited_us = u64::from((now_us as u32).wrapping_sub(client.since_us));
        match (packet, client.stage) {
            (Packet::ConnAck(answer), Stage::Connecting) if answer.reason == ReasonCode::Success => {
                if let Some(qos) = self.wants.subscribe {
                    client.stage = Stage::Subscribing;
                    let run = self.run;
                    self.out.append(number, |out| packets::subscribe(run, number, qos, out));
                } else {
                    self.ready(number, waited_us);
                }
            }
            (Packet::ConnAck(_), Stage::Connecting) => {
                client.stage = Stage::Gone;
                self.opening -= 1;
                self.counts.refused += 1;
            }
            (Packet::SubAck(_), Stage::Subscribing) => self.ready(number, waited_us),
            (Packet::PingResp, Stage::Ready) if client.ping_out => {
                client.ping_out = false;
                self.counts.pongs += 1;
                self.ping_times.record(waited_us);
            }
            (Packet::PubAck(_), Stage::Ready) if client.publish_out => {
                client.publish_out = false;
                self.counts.acknowledged += 1;
            }
            (Packet::Publish(publish), Stage::Ready) => {
                self.counts.delivered += 1;
                if let Some(sent) = publish.payload.first_chunk::<{ packets::STAMP_BYTES }>() {
                    self.message_times.record(now_us.saturating_sub(u64::from_be_bytes(*sent)));
                }
                if let Some(id) = publish.packet_id {
                    let ack = Ack::new(id, ReasonCode::Success);
                    self.out.append(number, |out| ack.encode(PacketType::PubAck, Version::V311, out));
                }
            }
            _ => self.counts.strange += 1,
        }
    }

    fn ready(&mut self, number: u32, waited_us: u64) {
        self.clients[number as usize].stage = Stage::Ready;
        self.opening -= 1;
        self.counts.ready += 1;
        self.connect_times.record(waited_us);
    }

    /// Pings and messages that are due.
    fn send_some(&mut self, now: Mono) {
        let seconds = now.since(self.last) as f64 / 1e9;
        self.last = now;
        if self.wants.keep_alive_s != 0 && self.counts.begun != 0 {
            let period_s = f64::from(self.wants.keep_alive_s) / 2.0;
            self.pings_due += seconds * f64::from(self.counts.begun) / period_s;
            let mut left = SENT_A_TURN;
            while self.pings_due >= 1.0 && left > 0 {
                self.pings_due -= 1.0;
                left -= 1;
                self.ping(now);
            }
        }
        if self.holding {
            self.messages_due += seconds * f64::from(self.wants.messages_per_second);
            let mut left = SENT_A_TURN;
            while self.messages_due >= 1.0 && left > 0 {
                self.messages_due -= 1.0;
                left -= 1;
                self.publish(now);
            }
        }
    }

    fn ping(&mut self, now: Mono) {
        let number = self.next_ping % self.counts.begun;
        self.next_ping = number + 1;
        let now_us = self.us(now) as u32;
        let client = &mut self.clients[number as usize];
        if client.stage != Stage::Ready {
            return;
        }
        if client.ping_out {
            self.counts.missed += 1;
        }
        client.ping_out = true;
        client.since_us = now_us;
        self.counts.pings += 1;
        self.out.append(number, |out| out.extend_from_slice(&PINGREQ));
    }

    fn publish(&mut self, now: Mono) {
        let clients = u64::from(self.wants.clients);
        let (from, to) = (self.rng.below(clients) as u32, self.rng.below(clients) as u32);
        let now_us = self.us(now);
        let (qos, payload_bytes) = (self.wants.qos, self.wants.payload_bytes);
        let client = &mut self.clients[from as usize];
        if client.stage != Stage::Ready || client.publish_out {
            self.counts.skipped += 1;
            return;
        }
        client.publish_out = qos != QoS::AtMostOnce;
        self.counts.published += 1;
        self.topic = packets::topic(self.run, to);
        let topic = &self.topic;
        self.out.append(from, |out| packets::publish(topic, qos, payload_bytes, now_us, out));
    }

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        self.out.take_dirty(&mut dirty);
        for &number in &dirty {
            self.transmit(number);
        }
        self.dirty = dirty;
    }

    fn transmit(&mut self, number: u32) {
        let stream = self.clients[number as usize].stream;
        let (queue, logs) = self.out.queue(number);
        match self.tcp.transmit(stream, queue, logs) {
            Transmit::Drained | Transmit::Blocked => self.out.settle(number),
            Transmit::Gone => {
                self.out.discard(number);
            }
        }
    }
}
