//! A host: a stack, and an application that sends a known stream and checks the one it gets.

use std::net::SocketAddr;

use pelton_base::{ByteStreams, Ending, Mono, Outgoing, StreamEnd, StreamEvent, StreamId, Transmit};
use pelton_packet::fault::Faulty;
use pelton_packet::memory::MemoryPort;
use pelton_packet::{Interface, Link, MacAddress, Port};
use pelton_tcp::{Settings, Tcp};

pub(crate) const SERVER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
pub(crate) const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
pub(crate) const PORT: u16 = 1883;

pub(crate) fn server_address(v6: bool) -> SocketAddr {
    address(v6, 1, 1883)
}

pub(crate) fn client_address(v6: bool, port: u16) -> SocketAddr {
    address(v6, 2, port)
}

fn address(v6: bool, host: u8, port: u16) -> SocketAddr {
    if v6 {
        ([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)], port).into()
    } else {
        ([10, 0, 0, host], port).into()
    }
}

pub(crate) fn interface(mac: MacAddress, addresses: &[SocketAddr]) -> Interface {
    Interface { mac, addresses: addresses.iter().map(SocketAddr::ip).collect() }
}

/// The link from the client to the server.
pub(crate) fn link() -> Link {
    Link { source: CLIENT_MAC, destination: SERVER_MAC, vlan: None }
}

/// The byte at a place of the stream that `who` sends: no two streams or places are alike for long.
pub(crate) fn byte(who: u64, at: u64) -> u8 {
    let word = (at / 8).wrapping_add(who << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (word >> (8 * (at % 8))) as u8 ^ (word >> 29) as u8
}

/// What an application does with a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Names the stream that is sent.
    pub(crate) says: u64,
    /// Names the stream that is expected.
    pub(crate) hears: u64,
    /// Bytes to send.
    pub(crate) sends: u64,
    /// Bytes to be received.
    pub(crate) expects: u64,
    /// Bytes written at a time.
    pub(crate) write: usize,
    /// Closes when everything is sent and received.
    pub(crate) closes: bool,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) stream: StreamId,
    pub(crate) plan: Plan,
    pub(crate) written: u64,
    pub(crate) received: u64,
    pub(crate) blocked: bool,
    pub(crate) closing: bool,
    pub(crate) ended: Option<StreamEnd>,
    /// Bytes got and not reported as used.
    pub(crate) unread: usize,
    /// Does not use what it gets.
    pub(crate) reading: bool,
    /// It went to another host.
    pub(crate) moved: bool,
}

pub(crate) struct Host<P: Port> {
    pub(crate) tcp: Tcp<P>,
    pub(crate) out: Outgoing,
    pub(crate) conns: Vec<Conn>,
    /// What is done with a connection that is accepted, by the peer's port.
    pub(crate) plan: Box<dyn Fn(u16) -> Plan>,
    /// While no more is queued of a stream more is written.
    pub(crate) queue_bytes: usize,
    now: Mono,
}

impl<P: Port> Host<P> {
    pub(crate) fn new(tcp: Tcp<P>, plan: impl Fn(u16) -> Plan + 'static) -> Self {
        Self {
            tcp,
            out: Outgoing::new(1 << 20),
            conns: Vec::new(),
            plan: Box::new(plan),
            queue_bytes: 256 * 1024,
            now: Mono(0),
        }
    }

    fn add(&mut self, stream: StreamId, plan: Plan) -> u64 {
        let token = self.conns.len() as u64;
        self.out.open(token as u32);
        self.conns.push(Conn {
            stream,
            plan,
            written: 0,
            received: 0,
            blocked: true,
            closing: false,
            ended: None,
            unread: 0,
            reading: true,
            moved: false,
        });
        token
    }

    /// Takes on a stream that was opened from this side.
    pub(crate) fn adopt(&mut self, stream: StreamId, plan: Plan) {
        self.add(stream, plan);
    }

    pub(crate) fn connect(&mut self, local: SocketAddr, remote: SocketAddr, plan: Plan, now: Mono) -> usize {
        let token = self.conns.len() as u64;
        let stream = self.tcp.connect(local, remote, link(), token, now).unwrap();
        self.add(stream, plan) as usize
    }

    pub(crate) fn turn(&mut self, now: Mono) {
        self.now = now;
        self.tcp.poll(now);
        while let Some(event) = self.tcp.next() {
            match event {
                StreamEvent::Opened { stream, peer } if peer.listener == u16::MAX => {
                    let conn = self.conns.iter_mut().find(|conn| conn.stream == stream).unwrap();
                    conn.blocked = false;
                }
                StreamEvent::Opened { stream, peer } => {
                    let plan = (self.plan)(peer.remote.port());
                    let token = self.add(stream, plan);
                    self.conns[token as usize].blocked = false;
                    self.tcp.bind(stream, token);
                }
                StreamEvent::Data { token, chunk } => {
                    let conn = &mut self.conns[token as usize];
                    assert!(conn.ended.is_none(), "data after the end");
                    assert!(!chunk.is_empty());
                    for &got in chunk.iter() {
                        let want = byte(conn.plan.hears, conn.received);
                        assert_eq!(got, want, "byte {} of stream {}", conn.received, conn.plan.hears);
                        conn.received += 1;
                    }
                    assert!(conn.received <= conn.plan.expects, "more than was sent");
                    conn.unread += chunk.len();
                    if conn.reading {
                        let used = std::mem::take(&mut conn.unread);
                        self.tcp.consumed(conn.stream, used);
                    }
                    self.tcp.recycle(chunk);
                }
                StreamEvent::Writable { token } => {
                    self.conns[token as usize].blocked = false;
                    self.transmit(token as usize);
                }
                StreamEvent::Closed { token, why } => {
                    let conn = &mut self.conns[token as usize];
                    assert!(conn.ended.replace(why).is_none(), "ended once");
                    self.out.discard(token as u32);
                }
            }
        }
        for at in 0..self.conns.len() {
            self.write(at);
        }
        self.tcp.end_turn();
    }

    fn write(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        if conn.ended.is_some() || conn.blocked || conn.closing {
            return;
        }
        let left = conn.plan.sends - conn.written;
        let len = left.min(conn.plan.write as u64);
        if len > 0 && self.out.queued(at as u32) < self.queue_bytes {
            let (says, from) = (conn.plan.says, conn.written);
            conn.written += len;
            self.out.append(at as u32, |bytes| bytes.extend((from..from + len).map(|n| byte(says, n))));
            self.transmit(at);
        }
        let conn = &mut self.conns[at];
        let through = conn.written == conn.plan.sends && conn.received == conn.plan.expects;
        if through && conn.plan.closes && !conn.blocked && !conn.closing {
            conn.closing = true;
            self.tcp.close(conn.stream, Ending::Graceful);
        }
    }

    fn transmit(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        let (queue, logs) = self.out.queue(at as u32);
        match self.tcp.transmit(conn.stream, queue, logs) {
            Transmit::Drained | Transmit::Gone => conn.blocked = false,
            Transmit::Blocked => conn.blocked = true,
        }
        self.out.settle(at as u32);
    }

    /// Hands a connection to another host, the one of shard `to`, with all that is queued to it; whether it went.
    pub(crate) fn hand_over(&mut self, at: usize, other: &mut Self, to: u16) -> bool {
        let Some(handed) = self.tcp.detach(self.conns[at].stream, to) else { return false };
        let (queue, logs) = self.out.queue(at as u32);
        let unsent: Vec<u8> = queue.slices(logs).flatten().copied().collect();
        self.out.discard(at as u32);
        let (stream, _) = other.tcp.attach(handed).expect("there is room");
        let plan = self.conns[at].plan;
        let token = other.add(stream, plan);
        let (conn, there) = (&mut self.conns[at], &mut other.conns[token as usize]);
        (there.written, there.received, there.unread) = (conn.written, conn.received, conn.unread);
        there.blocked = false;
        conn.moved = true;
        conn.ended = Some(StreamEnd::Local);
        other.tcp.bind(stream, token);
        other.out.append(token as u32, |bytes| bytes.extend_from_slice(&unsent));
        other.transmit(token as usize);
        true
    }

    pub(crate) fn until(&self) -> Mono {
        let busy = self.conns.iter().any(|conn| {
            conn.ended.is_none() && !conn.blocked && !conn.closing && conn.written < conn.plan.sends
        });
        if busy { self.now } else { self.tcp.next_timeout().unwrap_or(Mono::NEVER) }
    }

    pub(crate) fn all_ended(&self) -> bool {
        self.conns.iter().all(|conn| conn.ended.is_some())
    }
}

pub(crate) type Bad = Faulty<MemoryPort>;

pub(crate) fn server(port: Bad, settings: Settings, seed: u64) -> Tcp<Bad> {
    let addresses = [server_address(false), server_address(true)];
    Tcp::new(port, interface(SERVER_MAC, &addresses), &[PORT], settings, seed, Mono(0))
}

pub(crate) fn client(port: Bad, settings: Settings, seed: u64) -> Tcp<Bad> {
    let addresses = [client_address(false, 0), client_address(true, 0)];
    Tcp::new(port, interface(CLIENT_MAC, &addresses), &[], settings, seed, Mono(0))
}

/// Drives two hosts until `done`, in virtual time; panics when it takes longer than `limit`.
pub(crate) fn drive<P: Port, Q: Port>(
    a: &mut Host<P>,
    b: &mut Host<Q>,
    now: &mut Mono,
    limit: Mono,
    mut done: impl FnMut(&mut Host<P>, &mut Host<Q>, Mono) -> bool,
) {
    let mut turns = 0u64;
    while !done(a, b, *now) {
        assert!(
            *now < limit,
            "not done at {limit:?} after {turns} turns: {:?} {:?} {:?} {:?}",
            a.tcp,
            a.conns,
            b.tcp,
            b.conns
        );
        a.turn(*now);
        b.turn(*now);
        let until = a.until().min(b.until());
        // Turns take time too, or what waits for the clock would wait for ever.
        *now = until.clamp(*now + 2_000, limit);
        turns += 1;
        assert!(turns < 20_000_000, "no end of turns");
    }
}
