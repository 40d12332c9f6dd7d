//! The host of the clients: a stack of ours that opens connections, and what clients do with them.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use pelton_base::{ByteStreams, Ending, Mono, Outgoing, StreamEnd, StreamEvent, StreamId, Transmit};
use pelton_packet::{Interface, Link as Addresses};
use pelton_tcp::{ConnectError, Settings, Tcp, Usage};

use super::link::HostPort;
use super::record::Records;
use super::streams::excuses;
use super::watch::Watch;
use super::{CLIENT_MAC, SERVER_MAC};
use crate::network::{ConnId, ToClient, Way};

#[derive(Debug)]
struct Conn {
    stream: StreamId,
    slot: u32,
    /// The transport takes no more for now: the connection is being opened, or windows are full.
    blocked: bool,
    /// Closes when everything has been taken.
    closing: bool,
    /// Something was received.
    heard: bool,
    reads: bool,
    /// The client has forgotten it.
    gone: bool,
    unread: VecDeque<ToClient>,
}

/// The host.
#[derive(Debug)]
pub(crate) struct OwnHost {
    tcp: Tcp<HostPort>,
    out: Outgoing,
    conns: BTreeMap<ConnId, Conn>,
    slots: u32,
    free: Vec<u32>,
    dirty: Vec<u32>,
    by_slot: Vec<ConnId>,
    /// Something was queued or consumed since the last turn.
    pub(crate) busy: bool,
    watch: Rc<RefCell<Watch>>,
    /// What [`excuses`] were counted.
    excused: (u64, u64),
}

impl OwnHost {
    pub(crate) fn new(
        port: HostPort,
        addresses: &[SocketAddr],
        settings: Settings,
        seed: u64,
        now: Mono,
        watch: Rc<RefCell<Watch>>,
    ) -> Self {
        let interface =
            Interface { mac: CLIENT_MAC, addresses: addresses.iter().map(SocketAddr::ip).collect() };
        Self {
            tcp: Tcp::new(port, interface, &[], settings, seed, now),
            out: Outgoing::new(1 << 20),
            conns: BTreeMap::new(),
            slots: 0,
            free: Vec::new(),
            dirty: Vec::new(),
            by_slot: Vec::new(),
            busy: false,
            watch,
            excused: (0, 0),
        }
    }

    pub(crate) const fn port(&mut self) -> &mut HostPort {
        self.tcp.port()
    }

    /// Opens a connection; `false` if there is one between these ends.
    pub(crate) fn connect(&mut self, id: ConnId, ends: (SocketAddr, SocketAddr), now: Mono) -> bool {
        let addresses = Addresses { source: CLIENT_MAC, destination: SERVER_MAC, vlan: None };
        let stream = match self.tcp.connect(ends.0, ends.1, addresses, id, now) {
            Ok(stream) => stream,
            Err(ConnectError::InUse | ConnectError::NoHost) => return false,
            Err(other) => unreachable!("a table for all clients: {other:?}"),
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.by_slot.push(0);
            self.slots - 1
        });
        self.out.open(slot);
        self.by_slot[slot as usize] = id;
        let conn = Conn {
            stream,
            slot,
            blocked: true,
            closing: false,
            heard: false,
            reads: true,
            gone: false,
            unread: VecDeque::new(),
        };
        self.conns.insert(id, conn);
        self.busy = true;
        true
    }

    pub(crate) fn has(&self, id: ConnId) -> bool {
        self.conns.contains_key(&id)
    }

    pub(crate) fn is_open(&self, id: ConnId) -> bool {
        self.conns.get(&id).is_some_and(|conn| !conn.gone)
    }

    pub(crate) fn send(&mut self, id: ConnId, bytes: &[u8], records: &mut Records) {
        let Some(conn) = self.conns.get(&id).filter(|conn| !conn.gone && conn.slot != u32::MAX) else {
            return;
        };
        records.sent(id, Way::Up, bytes);
        self.out.append(conn.slot, |out| out.extend_from_slice(bytes));
        self.busy = true;
    }

    /// The client closes. One that has heard nothing yet gives the connection up: what it sent must not arrive after
    /// what it does next.
    pub(crate) fn close(&mut self, id: ConnId, now: Mono) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.gone) else { return };
        self.busy = true;
        if conn.slot == u32::MAX {
            self.conns.remove(&id);
        } else if conn.heard {
            conn.gone = true;
            conn.closing = true;
            conn.unread.clear();
            self.transmit(id);
        } else {
            self.reset(id, now);
        }
    }

    /// The client gives the connection up.
    pub(crate) fn reset(&mut self, id: ConnId, _now: Mono) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        self.busy = true;
        if conn.slot == u32::MAX {
            self.conns.remove(&id);
        } else {
            conn.gone = true;
            conn.unread.clear();
            self.tcp.close(conn.stream, Ending::Abort);
            self.watch.borrow_mut().given_up(id, Way::Up);
        }
    }

    pub(crate) fn reads(&mut self, id: ConnId, reads: bool, to_client: &mut VecDeque<(ConnId, ToClient)>) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.reads = reads;
        if reads {
            self.hand_out(id, to_client);
        }
    }

    fn hand_out(&mut self, id: ConnId, to_client: &mut VecDeque<(ConnId, ToClient)>) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.reads && !conn.gone) else { return };
        let mut over = false;
        for piece in conn.unread.drain(..) {
            match &piece {
                ToClient::Bytes(bytes) => {
                    self.tcp.consumed(conn.stream, bytes.len());
                    self.watch.borrow_mut().consumed(id, Way::Up, bytes.len());
                    self.busy = true;
                }
                ToClient::Closed | ToClient::Reset => over = true,
            }
            to_client.push_back((id, piece));
        }
        if over {
            self.conns.remove(&id);
        }
    }

    fn transmit(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.slot != u32::MAX) else { return };
        let (queue, logs) = self.out.queue(conn.slot);
        let sent = self.tcp.transmit(conn.stream, queue, logs);
        self.out.settle(conn.slot);
        conn.blocked = sent == Transmit::Blocked;
        if sent == Transmit::Drained && std::mem::take(&mut conn.closing) {
            // What still comes is answered by a reset, as by a host whose program has ended.
            self.tcp.close(conn.stream, Ending::Agreed);
        }
    }

    /// A turn.
    pub(crate) fn turn(
        &mut self,
        now: Mono,
        records: &mut Records,
        to_client: &mut VecDeque<(ConnId, ToClient)>,
    ) {
        self.busy = false;
        self.tcp.port().set_now(now);
        self.tcp.poll(now);
        let excused = excuses(&self.tcp);
        let before = std::mem::replace(&mut self.excused, excused);
        if before != excused {
            self.watch.borrow_mut().forget_sacked(Way::Up, before.1 != excused.1);
        }
        while let Some(event) = self.tcp.next() {
            match event {
                StreamEvent::Opened { stream, .. } => {
                    let id = self.conns.iter().find(|(_, conn)| conn.stream == stream).map(|(&id, _)| id);
                    if let Some(id) = id {
                        self.transmit(id);
                    }
                }
                StreamEvent::Data { token, chunk } => {
                    records.received(token, Way::Down, &chunk);
                    if let Some(conn) = self.conns.get_mut(&token) {
                        conn.heard = true;
                        if !conn.gone {
                            conn.unread.push_back(ToClient::Bytes(chunk.to_vec()));
                        }
                    }
                    self.tcp.recycle(chunk);
                    self.hand_out(token, to_client);
                }
                StreamEvent::Writable { token } => self.transmit(token),
                StreamEvent::Closed { token, why } => self.ended(token, why, records, to_client),
            }
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        self.out.take_dirty(&mut dirty);
        for slot in dirty.drain(..) {
            let id = self.by_slot[slot as usize];
            if self.conns.get(&id).is_some_and(|conn| !conn.blocked && !conn.closing) {
                self.transmit(id);
            }
        }
        self.dirty = dirty;
        self.tcp.end_turn();
    }

    fn ended(
        &mut self,
        id: ConnId,
        why: StreamEnd,
        records: &mut Records,
        to_client: &mut VecDeque<(ConnId, ToClient)>,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else {
            records.fail(format!("connection {id} ended twice at its client: {why:?}"));
            return;
        };
        self.out.discard(conn.slot);
        self.free.push(std::mem::replace(&mut conn.slot, u32::MAX));
        match why {
            StreamEnd::PeerClosed if !conn.gone => records.ended(id, Way::Down),
            StreamEnd::TimedOut => records.fail(format!("connection {id} was given up by its client")),
            _ => {}
        }
        if conn.gone {
            self.conns.remove(&id);
            return;
        }
        let in_order = why == StreamEnd::PeerClosed;
        conn.unread.push_back(if in_order { ToClient::Closed } else { ToClient::Reset });
        self.hand_out(id, to_client);
    }

    pub(crate) fn due(&self) -> Option<Mono> {
        if self.busy || self.tcp.port_ref().has_arrived() {
            return Some(Mono(0));
        }
        self.tcp.next_timeout()
    }

    pub(crate) fn remaining(&self, into: &mut Vec<String>) {
        if !self.conns.is_empty() {
            into.push(format!("connections of clients: {:?}", self.conns));
        }
        let usage = self.tcp.usage();
        if usage != Usage::default() {
            into.push(format!("the clients' stack: {usage:?}"));
        }
        let frames = self.tcp.port_ref().missing();
        if frames != 0 || self.out.total() != 0 {
            into.push(format!("the clients' host: {frames} frames, {} bytes", self.out.total()));
        }
        if let Some(at) = self.tcp.next_timeout() {
            into.push(format!("the clients' stack waits for {at:?}"));
        }
    }

    /// What is known of a connection.
    pub(crate) fn explain(&self, id: ConnId) -> String {
        self.conns.get(&id).map_or_else(
            || "gone".to_owned(),
            |conn| {
                let queued = if conn.slot == u32::MAX { 0 } else { self.out.queued(conn.slot) };
                format!("{conn:?}, {queued} bytes queued, {}", self.tcp.explain(conn.stream))
            },
        )
    }

    /// What the stack counted.
    pub(crate) fn figures(&self) -> Vec<(&'static str, u64)> {
        self.tcp.figures()
    }
}
