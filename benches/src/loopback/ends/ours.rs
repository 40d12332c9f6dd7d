//! A stack of ours at either end of a wire in memory: frames are copied from one pool to the other's, and that is all
//! that lies between.

use std::net::{Ipv4Addr, SocketAddr};

use pelton_base::{ByteStreams, Mono, Outgoing, StreamEvent, StreamId};
use pelton_packet::memory::{MemoryPort, MemorySettings, pair};
use pelton_packet::{Interface, Link, MacAddress};
use pelton_tcp::{Settings, Tcp, TcpCounter};

use super::Ends;
use crate::tcp::peers::{SERVER, THEM, US};

/// Frames of each side and on the wire: what a turn sends to everyone finds room.
const FRAMES: u32 = 16_384;
/// Turns of the clients' stack for what has come, at most.
const TURNS_MAX: usize = 1_024;
const FIRST_PORT: u32 = 10_000;
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 0);

/// Clients' connections.
pub struct Ours {
    tcp: Tcp<MemoryPort>,
    out: Outgoing,
    /// By client.
    streams: Vec<StreamId>,
}

fn stack(
    port: MemoryPort,
    mac: MacAddress,
    address: Ipv4Addr,
    listen: &[u16],
    count: u32,
    now: Mono,
) -> Tcp<MemoryPort> {
    let settings = Settings { connections_max: count + 1_000, ..Settings::default() };
    let interface = Interface { mac, addresses: vec![address.into()] };
    Tcp::new(port, interface, listen, settings, 1, now)
}

impl Ours {
    /// The shard's side, and the clients'.
    pub fn new(count: u32, now: Mono) -> (Tcp<MemoryPort>, Self) {
        let settings =
            MemorySettings { frames: FRAMES, wire_frames_max: FRAMES as usize, ..MemorySettings::default() };
        let (server, clients) = pair(settings);
        let transport = stack(server, US, SERVER.0, &[SERVER.1], count, now);
        let tcp = stack(clients, THEM, CLIENTS, &[], count, now);
        (transport, Self { tcp, out: Outgoing::new(usize::MAX), streams: Vec::new() })
    }

    fn transmit(&mut self, client: u32) {
        let (queue, logs) = self.out.queue(client);
        self.tcp.transmit(self.streams[client as usize], queue, logs);
        self.out.settle(client);
    }
}

impl Ends for Ours {
    type Streams = Tcp<MemoryPort>;

    fn open(&mut self, client: u32, now: Mono) {
        let local = SocketAddr::from((CLIENTS, (FIRST_PORT + client) as u16));
        let link = Link { source: THEM, destination: US, vlan: None };
        let stream = self.tcp.connect(local, SERVER.into(), link, client.into(), now);
        self.streams.push(stream.unwrap_or_else(|why| panic!("client {client}: {why:?}")));
        self.out.open(client);
    }

    fn write(&mut self, client: u32, bytes: &[u8]) {
        self.out.append(client, |queue| queue.extend_from_slice(bytes));
        self.transmit(client);
    }

    fn flush(&mut self) {
        self.tcp.end_turn();
    }

    fn take(&mut self, now: Mono, mut see: impl FnMut(u32, &[u8])) {
        for _ in 0..TURNS_MAX {
            self.tcp.poll(now);
            while let Some(event) = self.tcp.next() {
                match event {
                    StreamEvent::Data { token, chunk } => {
                        see(token as u32, &chunk);
                        self.tcp.consumed(self.streams[token as usize], chunk.len());
                        self.tcp.recycle(chunk);
                    }
                    StreamEvent::Opened { stream, .. } => {
                        // It is one of the last.
                        let client = self.streams.iter().rposition(|&at| at == stream);
                        self.transmit(client.expect("a connection of a client") as u32);
                    }
                    StreamEvent::Writable { token } => self.transmit(token as u32),
                    StreamEvent::Closed { token, why } => panic!("client {token}: {why:?}"),
                }
            }
            while let Some((token, len)) = self.tcp.next_acknowledged() {
                self.out.consume(token as u32, len);
            }
            self.tcp.end_turn();
            if self.tcp.next_timeout().is_none_or(|due| due > now) {
                return;
            }
        }
    }

    fn sent_again(&self) -> u64 {
        self.tcp.counters().get(TcpCounter::Retransmissions)
    }
}
