//! A shard's TCP stack, with every byte that passes held against the record of its connection.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use pelton_base::{
    ByteStreams, Ending, Mono, Peer, SendQueue, SharedLogs, StreamEnd, StreamEvent, StreamId, Transmit,
};
use pelton_packet::Port;
use pelton_tcp::{Chunk, HandedTcp, Tcp, TcpCounter};

use super::link::ShardPort;
use super::record::Records;
use super::watch::Watch;
use crate::network::{ConnId, Way};

/// What is known of a stream.
#[derive(Clone, Copy, Debug)]
struct Tap {
    conn: ConnId,
    token: Option<u64>,
    /// Bytes at the head of its queue that are on record as sent.
    known: usize,
}

/// The streams of one shard.
#[derive(Debug)]
pub struct TcpStreams {
    tcp: Tcp<ShardPort>,
    records: Rc<RefCell<Records>>,
    taps: BTreeMap<u64, Tap>,
    by_token: BTreeMap<u64, u64>,
    watch: Rc<RefCell<Watch>>,
    /// What [`excuses`] were counted.
    excused: (u64, u64),
}

/// How often a stack had a reason to send again what it was told to have arrived: a time-out, or no room to know of it.
pub(crate) fn excuses<P: Port>(tcp: &Tcp<P>) -> (u64, u64) {
    let counters = tcp.counters();
    (counters.get(TcpCounter::TimeOuts), counters.get(TcpCounter::ColdExhausted))
}

impl TcpStreams {
    pub(crate) const fn new(
        tcp: Tcp<ShardPort>,
        records: Rc<RefCell<Records>>,
        watch: Rc<RefCell<Watch>>,
    ) -> Self {
        Self { tcp, records, taps: BTreeMap::new(), by_token: BTreeMap::new(), watch, excused: (0, 0) }
    }

    /// The stack.
    pub const fn stack(&self) -> &Tcp<ShardPort> {
        &self.tcp
    }

    /// What is known of a connection, if it is here.
    pub fn explain(&self, conn: ConnId) -> Option<String> {
        let (&stream, tap) = self.taps.iter().find(|(_, tap)| tap.conn == conn)?;
        Some(format!("{tap:?} {}", self.tcp.explain(StreamId(stream))))
    }

    /// The process ends: nothing leaves any more, and the frames that the stack has go back.
    pub(crate) fn die(&mut self) {
        self.tcp.port().dead = true;
        for stream in std::mem::take(&mut self.taps).into_keys() {
            self.tcp.close(StreamId(stream), Ending::Abort);
        }
        while let Some(event) = self.tcp.next() {
            if let StreamEvent::Data { chunk, .. } = event {
                self.tcp.recycle(chunk);
            }
        }
    }

    fn forget(&mut self, stream: u64) -> Option<Tap> {
        let tap = self.taps.remove(&stream)?;
        if let Some(token) = tap.token {
            self.by_token.remove(&token);
        }
        Some(tap)
    }

    fn seen(&mut self, event: &StreamEvent<Chunk>) {
        let records = &mut *self.records.borrow_mut();
        match event {
            StreamEvent::Opened { stream, peer } => {
                let conn = records.accept(peer.remote);
                self.taps.insert(stream.0, Tap { conn, token: None, known: 0 });
            }
            StreamEvent::Data { token, chunk } => {
                match self.by_token.get(token).and_then(|stream| self.taps.get(stream)) {
                    Some(tap) => records.received(tap.conn, Way::Up, chunk),
                    None => records.fail("data on a stream that has ended".to_owned()),
                }
            }
            StreamEvent::Writable { .. } => {}
            StreamEvent::Closed { token, why } => {
                let Some(tap) = self.by_token.remove(token).and_then(|stream| self.taps.remove(&stream))
                else {
                    records.fail(format!("a stream ended twice: {why:?}"));
                    return;
                };
                records.ended_at_shard(tap.conn);
                match why {
                    StreamEnd::PeerClosed => records.ended(tap.conn, Way::Up),
                    // No link is so bad for so long.
                    StreamEnd::TimedOut => {
                        records.fail(format!("connection {} was given up by its shard", tap.conn));
                    }
                    _ => {}
                }
            }
        }
    }
}

impl ByteStreams for TcpStreams {
    type Chunk = Chunk;
    type Handover = (HandedTcp, ConnId);

    fn poll(&mut self, now: Mono) {
        self.tcp.poll(now);
        let excused = excuses(&self.tcp);
        let before = std::mem::replace(&mut self.excused, excused);
        if before != excused {
            self.watch.borrow_mut().forget_sacked(Way::Down, before.1 != excused.1);
        }
    }

    fn next(&mut self) -> Option<StreamEvent<Chunk>> {
        let event = self.tcp.next()?;
        self.seen(&event);
        Some(event)
    }

    fn recycle(&mut self, chunk: Chunk) {
        self.tcp.recycle(chunk);
    }

    fn keep_alive(&mut self, stream: StreamId) {
        self.tcp.keep_alive(stream);
    }

    fn bind(&mut self, stream: StreamId, token: u64) {
        if let Some(tap) = self.taps.get_mut(&stream.0) {
            tap.token = Some(token);
            self.by_token.insert(token, stream.0);
        }
        self.tcp.bind(stream, token);
    }

    fn pause_read(&mut self, stream: StreamId) {
        self.tcp.pause_read(stream);
    }

    fn resume_read(&mut self, stream: StreamId) {
        self.tcp.resume_read(stream);
    }

    fn consumed(&mut self, stream: StreamId, n: usize) {
        if let Some(tap) = self.taps.get(&stream.0) {
            self.watch.borrow_mut().consumed(tap.conn, Way::Down, n);
        }
        self.tcp.consumed(stream, n);
    }

    fn transmit(&mut self, stream: StreamId, queue: &mut SendQueue, logs: &mut SharedLogs) -> Transmit {
        let Some(tap) = self.taps.get_mut(&stream.0) else { return self.tcp.transmit(stream, queue, logs) };
        if queue.len() > tap.known {
            let records = &mut *self.records.borrow_mut();
            let mut skip = tap.known;
            for slice in queue.slices(logs) {
                let gone = skip.min(slice.len());
                skip -= gone;
                records.sent(tap.conn, Way::Down, &slice[gone..]);
            }
        }
        let sent = self.tcp.transmit(stream, queue, logs);
        tap.known = queue.len();
        sent
    }

    fn close(&mut self, stream: StreamId, how: Ending) {
        if let Some(tap) = self.taps.get(&stream.0).filter(|_| how == Ending::Abort) {
            self.watch.borrow_mut().given_up(tap.conn, Way::Down);
        }
        if self.taps.get(&stream.0).is_some_and(|tap| tap.token.is_none())
            && let Some(tap) = self.forget(stream.0)
        {
            self.records.borrow_mut().ended_at_shard(tap.conn);
        }
        self.tcp.close(stream, how);
    }

    fn detach(&mut self, stream: StreamId, to: u16) -> Option<(HandedTcp, ConnId)> {
        let handed = self.tcp.detach(stream, to)?;
        let tap = self.forget(stream.0);
        let conn = tap.map_or(0, |tap| tap.conn);
        if tap.is_none_or(|tap| tap.known != 0) {
            self.records.borrow_mut().fail(format!("connection {conn} moves with something queued: {tap:?}"));
        }
        Some((handed, conn))
    }

    fn attach(&mut self, handover: (HandedTcp, ConnId)) -> Option<(StreamId, Peer)> {
        let (handed, conn) = handover;
        let (stream, peer) = self.tcp.attach(handed)?;
        self.taps.insert(stream.0, Tap { conn, token: None, known: 0 });
        Some((stream, peer))
    }

    fn can_hand_over(&self) -> bool {
        self.tcp.can_hand_over()
    }

    fn peer(&self, stream: StreamId) -> Option<Peer> {
        self.tcp.peer(stream)
    }

    fn end_turn(&mut self) {
        self.tcp.end_turn();
    }

    fn take_woken(&mut self, into: &mut Vec<u16>) {
        self.tcp.take_woken(into);
    }

    fn has_input(&self) -> bool {
        self.tcp.has_input()
    }

    fn next_timeout(&self) -> Option<Mono> {
        self.tcp.next_timeout()
    }

    fn stop_listening(&mut self) {
        self.tcp.stop_listening();
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.tcp.figures()
    }
}
