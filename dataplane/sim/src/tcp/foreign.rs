//! A host of clients with another TCP: smoltcp's, an independent implementation with small buffers.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use pelton_base::Mono;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use super::FOREIGN_MAC;
use super::link::HostPort;
use super::record::Records;
use crate::network::{ConnId, ToClient, Way};

/// How often a silent connection asks whether the other end is there.
const KEEP_ALIVE_S: u64 = 30;
/// How soon it is turned again when nothing has come, in microseconds.
const AGAIN_US: u64 = 5_000;
/// How long what nobody owns any more may wait for the other end.
const REST_S: u64 = 60;

impl Device for HostPort {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let bytes = self.next()?;
        Some((Received(bytes), Sending(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1_514;
        capabilities
    }
}

/// A frame that came in.
pub(crate) struct Received(Vec<u8>);

/// A frame that goes out; lost if there is no room, as on a device without a queue.
pub(crate) struct Sending<'a>(&'a mut HostPort);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut bytes = vec![0; len];
        let result = write(&mut bytes);
        self.0.send_bytes(&bytes);
        result
    }
}

struct Conn {
    handle: SocketHandle,
    /// To be written when the socket has room.
    queued: VecDeque<u8>,
    /// Something was received.
    heard: bool,
    reads: bool,
    /// Closes when everything was written.
    closing: bool,
    /// The client has forgotten it.
    gone: bool,
}

/// The host.
pub(crate) struct ForeignHost {
    port: HostPort,
    interface: Interface,
    sockets: SocketSet<'static>,
    conns: BTreeMap<ConnId, Conn>,
    buffer_bytes: usize,
    now: Mono,
    due: Option<Mono>,
    /// Something was queued since the last turn.
    pub(crate) busy: bool,
}

fn instant(now: Mono) -> Instant {
    Instant::from_micros((now.0 / 1_000) as i64)
}

impl ForeignHost {
    pub(crate) fn new(mut port: HostPort, buffer_bytes: usize, seed: u64, now: Mono) -> Self {
        let mut config = Config::new(EthernetAddress(FOREIGN_MAC.0).into());
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut port, instant(now));
        interface.update_ip_addrs(|addresses| {
            let pushed = addresses.push(IpCidr::new(IpAddress::v4(10, 0, 0, 3), 24));
            debug_assert!(pushed.is_ok(), "room for one");
        });
        Self {
            port,
            interface,
            sockets: SocketSet::new(Vec::new()),
            conns: BTreeMap::new(),
            buffer_bytes,
            now,
            due: None,
            busy: false,
        }
    }

    pub(crate) const fn port(&mut self) -> &mut HostPort {
        &mut self.port
    }

    /// Opens a connection; `false` if that port is in use.
    pub(crate) fn connect(&mut self, id: ConnId, local: SocketAddr, remote: SocketAddr) -> bool {
        let taken = self.sockets.iter().any(|(_, socket)| match socket {
            smoltcp::socket::Socket::Tcp(socket) => {
                socket.local_endpoint().is_some_and(|end| end.port == local.port())
            }
            _ => false,
        });
        if taken {
            return false;
        }
        let buffer = || SocketBuffer::new(vec![0; self.buffer_bytes]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_keep_alive(Some(Duration::from_secs(KEEP_ALIVE_S)));
        let (address, to) = (IpAddress::v4(10, 0, 0, 3), IpAddress::v4(10, 0, 0, 1));
        let opened = socket.connect(self.interface.context(), (to, remote.port()), (address, local.port()));
        debug_assert!(opened.is_ok(), "{opened:?}");
        let handle = self.sockets.add(socket);
        let conn =
            Conn { handle, queued: VecDeque::new(), heard: false, reads: true, closing: false, gone: false };
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
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.gone) else { return };
        records.sent(id, Way::Up, bytes);
        conn.queued.extend(bytes);
        self.busy = true;
    }

    pub(crate) fn close(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.gone) else { return };
        self.busy = true;
        if conn.heard {
            (conn.gone, conn.closing) = (true, true);
        } else {
            self.reset(id);
        }
    }

    pub(crate) fn reset(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.gone = true;
        conn.queued.clear();
        self.sockets.get_mut::<Socket<'_>>(conn.handle).abort();
        self.busy = true;
    }

    pub(crate) fn reads(&mut self, id: ConnId, reads: bool) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.reads = reads;
            self.busy = true;
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
        self.now = now;
        self.port.set_now(now);
        self.interface.poll(instant(now), &mut self.port, &mut self.sockets);
        let mut over = Vec::new();
        for (&id, conn) in &mut self.conns {
            let socket = self.sockets.get_mut::<Socket<'_>>(conn.handle);
            if conn.serve(id, socket, records, to_client) {
                over.push(id);
            }
        }
        self.interface.poll(instant(now), &mut self.port, &mut self.sockets);
        for id in over {
            if let Some(conn) = self.conns.remove(&id) {
                self.sockets.remove(conn.handle);
            }
        }
        let at = self.interface.poll_at(instant(now), &self.sockets);
        // At once is what it says while it cannot send what it has.
        self.due = at.map(|at| Mono(at.total_micros() as u64 * 1_000).max(now.plus_us(AGAIN_US)));
    }

    pub(crate) fn due(&self) -> Option<Mono> {
        if self.busy || self.port.has_arrived() { Some(Mono(0)) } else { self.due }
    }

    pub(crate) fn remaining(&self, into: &mut Vec<String>) {
        for (id, conn) in &self.conns {
            let state = self.sockets.get::<Socket<'_>>(conn.handle).state();
            into.push(format!("connection {id} of the other host: {state}"));
        }
        if self.port.missing() != 0 {
            into.push(format!("the other host: {} frames", self.port.missing()));
        }
    }
}

impl Conn {
    /// Reads and writes; whether it is over.
    fn serve(
        &mut self,
        id: ConnId,
        socket: &mut Socket<'_>,
        records: &mut Records,
        to_client: &mut VecDeque<(ConnId, ToClient)>,
    ) -> bool {
        while (self.reads || self.gone) && socket.can_recv() {
            let got = socket.recv(|data| (data.len(), data.to_vec()));
            let Ok(bytes) = got else { break };
            records.received(id, Way::Down, &bytes);
            self.heard = true;
            if !self.gone {
                to_client.push_back((id, ToClient::Bytes(bytes)));
            }
        }
        while !self.queued.is_empty() && socket.can_send() {
            let (front, _) = self.queued.as_slices();
            let Ok(n) = socket.send_slice(front) else { break };
            self.queued.drain(..n);
            if n == 0 {
                break;
            }
        }
        if self.closing && self.queued.is_empty() {
            self.closing = false;
            socket.close();
        }
        let state = socket.state();
        if self.gone {
            // Its own rest is its own affair.
            socket.set_timeout(Some(Duration::from_secs(REST_S)));
            return matches!(state, State::Closed);
        }
        let unread = socket.can_recv() || !self.reads;
        match state {
            State::CloseWait if !unread => {
                // The broker has closed, and everything it sent was read: the client closes, too.
                records.ended(id, Way::Down);
                to_client.push_back((id, ToClient::Closed));
                socket.close();
                self.gone = true;
                false
            }
            State::Closed if !unread => {
                to_client.push_back((id, ToClient::Reset));
                true
            }
            _ => false,
        }
    }
}

impl std::fmt::Debug for ForeignHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForeignHost").field("connections", &self.conns.len()).finish_non_exhaustive()
    }
}
