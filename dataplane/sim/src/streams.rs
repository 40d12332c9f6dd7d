//! One shard's transport over the virtual network: the byte-stream contract, behaving as kernel sockets do.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use pelton_base::{
    ByteStreams, Ending, Mono, Peer, SendQueue, SharedLogs, StreamEnd, StreamEvent, StreamId, Transmit,
};

use crate::network::{ConnId, End, Network, Notice, Phase};

/// How long a client may take to close after the broker has.
const LINGER_MS: u64 = 2_000;

/// The connections of one shard.
#[derive(Debug)]
pub struct SimStreams {
    network: Rc<RefCell<Network>>,
    shard: u16,
    events: VecDeque<StreamEvent<Vec<u8>>>,
    ready: VecDeque<ConnId>,
    again: VecDeque<ConnId>,
    lingering: VecDeque<(Mono, ConnId)>,
    now: Mono,
}

impl SimStreams {
    /// The transport of `shard`.
    pub fn new(network: Rc<RefCell<Network>>, shard: u16) -> Self {
        Self {
            network,
            shard,
            events: VecDeque::new(),
            ready: VecDeque::new(),
            again: VecDeque::new(),
            lingering: VecDeque::new(),
            now: Mono(0),
        }
    }

    fn read(&mut self, id: ConnId) -> Option<StreamEvent<Vec<u8>>> {
        let network = &mut *self.network.borrow_mut();
        let conn = network.conn(id)?;
        conn.noticed = false;
        if conn.owner != Some(self.shard) || (conn.paused && conn.phase == Phase::Open) {
            return None;
        }
        let token = conn.token;
        if conn.phase == Phase::Lingering {
            conn.arrived.clear();
        }
        if !conn.arrived.is_empty() {
            // Mostly all there is, as a read does; now and then less, as a small window would.
            let there = conn.arrived.len() as u64;
            let len = if network.rng.chance(800) { there } else { network.rng.between(1, there) };
            let conn = network.conn(id)?;
            let chunk: Vec<u8> = conn.arrived.drain(..len as usize).collect();
            if !conn.arrived.is_empty() || conn.end.is_some() {
                conn.noticed = true;
                self.again.push_back(id);
            }
            return Some(StreamEvent::Data { token, chunk });
        }
        let why = match conn.end? {
            _ if conn.phase == Phase::Lingering => StreamEnd::Local,
            End::Fin => StreamEnd::PeerClosed,
            End::Reset => StreamEnd::PeerReset,
            End::Lost => StreamEnd::TimedOut,
        };
        network.shard_closed(id, false);
        Some(StreamEvent::Closed { token, why })
    }

    fn cut(&mut self, id: ConnId) {
        let network = &mut *self.network.borrow_mut();
        let Some(conn) = network.conn(id) else { return };
        if conn.owner != Some(self.shard) {
            return;
        }
        let token = conn.token;
        network.shard_closed(id, true);
        self.events.push_back(StreamEvent::Closed { token, why: StreamEnd::Local });
    }
}

impl ByteStreams for SimStreams {
    type Chunk = Vec<u8>;
    type Handover = ConnId;

    fn poll(&mut self, now: Mono) {
        self.now = now;
        let notices = std::mem::take(&mut self.network.borrow_mut().notices[usize::from(self.shard)]);
        self.ready.append(&mut self.again);
        for notice in notices {
            match notice {
                Notice::Opened(id) => {
                    let remote = SocketAddr::from(([10, 0, 0, 1], 1024 + (id % 60_000) as u16));
                    let peer = Peer { remote, listener: 0 };
                    self.events.push_back(StreamEvent::Opened { stream: StreamId(id), peer });
                }
                Notice::Readable(id) => self.ready.push_back(id),
                Notice::Writable(id) => {
                    let network = &mut *self.network.borrow_mut();
                    if let Some(conn) = network.conn(id)
                        && conn.owner == Some(self.shard)
                        && conn.phase == Phase::Open
                    {
                        self.events.push_back(StreamEvent::Writable { token: conn.token });
                    }
                }
            }
        }
        while let Some(&(until, id)) = self.lingering.front() {
            let there = self
                .network
                .borrow_mut()
                .conn(id)
                .is_some_and(|conn| conn.owner == Some(self.shard) && conn.phase == Phase::Lingering);
            if there && until > now {
                break;
            }
            self.lingering.pop_front();
            if there {
                self.cut(id);
            }
        }
    }

    fn next(&mut self) -> Option<StreamEvent<Vec<u8>>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let id = self.ready.pop_front()?;
            if let Some(event) = self.read(id) {
                return Some(event);
            }
        }
    }

    fn recycle(&mut self, _chunk: Vec<u8>) {}

    fn bind(&mut self, stream: StreamId, token: u64) {
        let network = &mut *self.network.borrow_mut();
        if let Some(conn) = network.conn(stream.0) {
            conn.token = token;
            // What came before it was named can be handed out now.
            if !conn.arrived.is_empty() || conn.end.is_some() {
                network.notice_readable(stream.0);
            }
        }
    }

    fn pause_read(&mut self, stream: StreamId) {
        if let Some(conn) = self.network.borrow_mut().conn(stream.0) {
            conn.paused = true;
        }
    }

    fn resume_read(&mut self, stream: StreamId) {
        let network = &mut *self.network.borrow_mut();
        let Some(conn) = network.conn(stream.0) else { return };
        if std::mem::take(&mut conn.paused)
            && !conn.noticed
            && (!conn.arrived.is_empty() || conn.end.is_some())
        {
            conn.noticed = true;
            self.again.push_back(stream.0);
        }
    }

    fn consumed(&mut self, _stream: StreamId, _n: usize) {}

    fn transmit(&mut self, stream: StreamId, queue: &mut SendQueue, logs: &mut SharedLogs) -> Transmit {
        let network = &mut *self.network.borrow_mut();
        let sent = network.shard_send(stream.0, &mut queue.slices(logs));
        match sent {
            Some(n) => {
                queue.consume(n, logs);
                if queue.is_empty() {
                    return Transmit::Drained;
                }
                if let Some(conn) = network.conn(stream.0) {
                    conn.blocked = true;
                }
                Transmit::Blocked
            }
            None => {
                if let Some(conn) = network.conn(stream.0)
                    && conn.phase == Phase::Open
                    && !conn.noticed
                {
                    conn.noticed = true;
                    conn.paused = false;
                    self.again.push_back(stream.0);
                }
                Transmit::Gone
            }
        }
    }

    fn close(&mut self, stream: StreamId, how: Ending) {
        let id = stream.0;
        let phase = match self.network.borrow_mut().conn(id) {
            Some(conn) if conn.owner == Some(self.shard) => conn.phase,
            _ => return,
        };
        match how {
            Ending::Abort => self.cut(id),
            Ending::Agreed => {
                let network = &mut *self.network.borrow_mut();
                let token = network.conn(id).map_or(u64::MAX, |conn| conn.token);
                network.shard_closed(id, false);
                self.events.push_back(StreamEvent::Closed { token, why: StreamEnd::Local });
            }
            Ending::Graceful if phase == Phase::Open => {
                let network = &mut *self.network.borrow_mut();
                network.shard_lingers(id);
                self.lingering.push_back((self.now.plus_ms(LINGER_MS), id));
            }
            Ending::Graceful => {}
        }
    }

    fn detach(&mut self, stream: StreamId, _to: u16) -> Option<ConnId> {
        let network = &mut *self.network.borrow_mut();
        let conn = network.conn(stream.0)?;
        if conn.owner != Some(self.shard) || conn.phase != Phase::Open {
            return None;
        }
        (conn.owner, conn.phase, conn.token) = (None, Phase::Between, u64::MAX);
        (conn.paused, conn.blocked, conn.noticed) = (false, false, false);
        Some(stream.0)
    }

    fn attach(&mut self, handover: ConnId) -> Option<(StreamId, Peer)> {
        let network = &mut *self.network.borrow_mut();
        let conn = network.conn(handover)?;
        (conn.owner, conn.phase) = (Some(self.shard), Phase::Open);
        let remote = SocketAddr::from(([10, 0, 0, 1], 1024 + (handover % 60_000) as u16));
        Some((StreamId(handover), Peer { remote, listener: 0 }))
    }

    fn can_hand_over(&self) -> bool {
        true
    }

    fn peer(&self, _stream: StreamId) -> Option<Peer> {
        None
    }

    fn next_timeout(&self) -> Option<Mono> {
        let waits = !self.network.borrow().notices[usize::from(self.shard)].is_empty();
        if waits || !self.again.is_empty() || !self.events.is_empty() {
            return Some(self.now);
        }
        self.lingering.front().map(|&(until, _)| until)
    }

    fn stop_listening(&mut self) {
        self.network.borrow_mut().deaf.insert(self.shard);
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}
