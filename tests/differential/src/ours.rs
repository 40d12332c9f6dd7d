//! The server on our TCP, at a TAP device: one thread that turns, and sleeps on the device.

use std::collections::HashMap;
use std::io::{Error, Result};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::time::Instant;

use pelton_base::{ByteStreams, Ending, Mono, Outgoing, StreamEvent, StreamId, Transmit};
use pelton_packet::Interface;
use pelton_tap::{TapPort, attach};
use pelton_tcp::{Settings, Tcp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::place::PORT;
use crate::stream::{Deed, REQUEST, RIGHT, Stream, requested};

/// Bytes queued to a connection before it is given more.
const QUEUE: usize = 256 * 1024;

/// What a connection is about.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Its request has not come whole: so many bytes of it.
    Asked([u8; REQUEST], usize),
    /// Bytes to send from a place on, up to an end.
    Get(u64, u64),
    /// Bytes that have come, and how many there will be.
    Put(u64, u64),
    Echo,
    /// Nothing more is to be done; close when all is sent.
    Done,
}

struct Conn {
    stream: StreamId,
    work: Work,
    blocked: bool,
    closed: bool,
}

struct Server {
    tcp: Tcp<TapPort>,
    out: Outgoing,
    conns: HashMap<u32, Conn>,
    next: u32,
    stream: Stream,
}

pub(crate) fn serve(device: &str, address: Ipv4Addr) -> Result<()> {
    let mut attached = attach(device, 1, 4_096, None).map_err(Error::other)?;
    let port = attached.ports.pop().ok_or_else(|| Error::other("no queue"))?;
    let interface = Interface { mac: attached.mac, addresses: vec![IpAddr::V4(address)] };
    let origin = Instant::now();
    let mono = || Mono(origin.elapsed().as_nanos() as u64 + 1_000_000_000);
    let settings = Settings { connections_max: 4_096, ..Settings::default() };
    let tcp = Tcp::new(port, interface, &[PORT], settings, 11, mono());
    let mut server =
        Server { tcp, out: Outgoing::new(1 << 20), conns: HashMap::new(), next: 0, stream: Stream::new() };
    println!("ready");
    loop {
        let now = mono();
        let busy = server.turn(now);
        let until = server.tcp.next_timeout().unwrap_or(Mono::NEVER);
        let ns = if busy { 0 } else { until.since(mono()).min(1_000_000_000) };
        if ns > 0 {
            let timeout =
                Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 };
            let fd = server.tcp.port_ref().as_fd();
            poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout))?;
        }
    }
}

impl Server {
    /// One turn; whether there is more to do at once.
    fn turn(&mut self, now: Mono) -> bool {
        self.tcp.poll(now);
        let mut touched = Vec::new();
        while let Some(event) = self.tcp.next() {
            match event {
                StreamEvent::Opened { stream, .. } => {
                    let number = self.next;
                    self.next += 1;
                    self.out.open(number);
                    let work = Work::Asked([0; REQUEST], 0);
                    self.conns.insert(number, Conn { stream, work, blocked: false, closed: false });
                    self.tcp.bind(stream, u64::from(number));
                }
                StreamEvent::Data { token, chunk } => {
                    self.receive(token as u32, &chunk);
                    if let Some(conn) = self.conns.get(&(token as u32)) {
                        self.tcp.consumed(conn.stream, chunk.len());
                    }
                    self.tcp.recycle(chunk);
                    touched.push(token as u32);
                }
                StreamEvent::Writable { token } => {
                    if let Some(conn) = self.conns.get_mut(&(token as u32)) {
                        conn.blocked = false;
                    }
                    self.transmit(token as u32);
                    touched.push(token as u32);
                }
                StreamEvent::Closed { token, .. } => {
                    self.out.discard(token as u32);
                    self.conns.remove(&(token as u32));
                }
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for number in touched {
            self.work(number);
        }
        self.tcp.end_turn();
        self.conns.values().any(|conn| !conn.blocked && matches!(conn.work, Work::Get(at, end) if at < end))
    }

    fn receive(&mut self, number: u32, mut bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        if let Work::Asked(request, have) = &mut conn.work {
            let (now, later) = bytes.split_at(bytes.len().min(REQUEST - *have));
            request[*have..*have + now.len()].copy_from_slice(now);
            *have += now.len();
            bytes = later;
            if *have == REQUEST {
                conn.work = match requested(*request) {
                    Some((Deed::Get, end)) => Work::Get(0, end),
                    Some((Deed::Put, end)) => Work::Put(0, end),
                    Some((Deed::Echo, _)) => Work::Echo,
                    None => Work::Done,
                };
            }
        }
        if bytes.is_empty() {
            return;
        }
        match &mut conn.work {
            Work::Put(at, end) if self.stream.is(*at, bytes) => {
                *at += bytes.len() as u64;
                if at == end {
                    self.out.append(number, |queue| queue.extend_from_slice(&RIGHT));
                    conn.work = Work::Done;
                }
            }
            Work::Echo => self.out.append(number, |queue| queue.extend_from_slice(bytes)),
            // Not what was to come: it ends without the answer that all was right.
            _ => conn.work = Work::Done,
        }
    }

    /// Gives a connection what it can take.
    fn work(&mut self, number: u32) {
        while let Some(conn) = self.conns.get_mut(&number) {
            if conn.blocked {
                return;
            }
            if let Work::Get(at, end) = &mut conn.work {
                if at == end {
                    conn.work = Work::Done;
                } else if self.out.queued(number) < QUEUE {
                    let run = self.stream.at(*at, *end - *at);
                    *at += run.len() as u64;
                    self.out.append(number, |queue| queue.extend_from_slice(run));
                    self.transmit(number);
                    continue;
                } else {
                    return;
                }
            }
            break;
        }
        self.transmit(number);
        let Some(conn) = self.conns.get_mut(&number) else { return };
        if matches!(conn.work, Work::Done) && !conn.blocked && !conn.closed {
            conn.closed = true;
            let stream = conn.stream;
            self.tcp.close(stream, Ending::Graceful);
        }
    }

    fn transmit(&mut self, number: u32) {
        let Some(conn) = self.conns.get_mut(&number) else { return };
        let (queue, logs) = self.out.queue(number);
        conn.blocked = self.tcp.transmit(conn.stream, queue, logs) == Transmit::Blocked;
        self.out.settle(number);
    }
}
