//! Sockets over a stack, for tests and tools: what a program is used to, without blocking, in time that is passed in.
//!
//! Every call returns at once; what must wait says [`SocketError::WouldBlock`], and works after a later
//! [`Sockets::turn`]. What came in is kept in the socket until it is read, and holds the window shut meanwhile. A
//! socket may be half open: either side closes its own direction (RFC 9293 3.6), which the contract for shards
//! ([`pelton_base::ByteStreams`]) does not offer.
//!
//! | file | what is there |
//! |---|---|
//! | `error` | why a call did not do what was asked |
//! | `info` | what the stack knows of a connection |
//! | `slot` | what is kept of a socket |

mod error;
mod info;
mod slot;

use std::net::SocketAddr;

use pelton_base::{ByteStreams, Ending, Key, Mono, Outgoing, StreamEnd, StreamEvent, StreamId, Transmit};
use pelton_packet::{Interface, Link, Port};

pub use error::SocketError;
pub use info::{Info, Phase};
use slot::{Kind, Slot};

use crate::active_open::ConnectError;
use crate::settings::Settings;
use crate::stack::Tcp;
use crate::tcb::{Facts, State};

/// Turns of the stack that one call of [`Sockets::turn`] takes at most: a peer that keeps it busy does not keep it.
const TURNS_MAX: usize = 64;
/// Bytes that a socket keeps of what was written and is not acknowledged, unless it is told otherwise.
const SEND_BYTES_MAX: usize = 256 * 1024;
/// The ports of active opens, RFC 6335 6.
const EPHEMERAL_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// A socket. It names nothing any more after [`Sockets::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId {
    index: u32,
    generation: u32,
}

/// Which direction is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Nothing more is read. The peer is not told; what it still sends can be read.
    Read,
    /// Nothing more is written: the FIN follows what is queued.
    Write,
    /// Both.
    Both,
}

/// What a socket is ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// [`Sockets::read`] or [`Sockets::accept`] would not have to wait.
    pub readable: bool,
    /// [`Sockets::write`] would not have to wait.
    pub writable: bool,
    /// The peer has closed its direction, or this side has given up reading.
    pub read_closed: bool,
    /// The connection is over.
    pub over: bool,
    /// It ended by an error that nobody has been told of.
    pub failed: bool,
}

/// Sockets on one stack.
pub struct Sockets<P: Port> {
    tcp: Tcp<P>,
    out: Outgoing,
    slots: Vec<Slot>,
    free: Vec<u32>,
    next_port: u16,
    now: Mono,
}

impl<P: Port> Sockets<P> {
    /// Sockets on a stack on a port.
    pub fn new(port: P, interface: Interface, settings: Settings, seed: u64, now: Mono) -> Self {
        Self {
            tcp: Tcp::new(port, interface, &[], settings, seed, now),
            out: Outgoing::new(usize::MAX),
            slots: Vec::new(),
            free: Vec::new(),
            next_port: *EPHEMERAL_PORTS.start(),
            now,
        }
    }

    /// The stack below, to look at.
    pub const fn stack(&self) -> &Tcp<P> {
        &self.tcp
    }

    /// The port below.
    pub const fn port(&mut self) -> &mut P {
        self.tcp.port()
    }

    /// The limits and times of the stack. What is changed holds for all sockets, from the next time it is looked at.
    pub const fn settings(&mut self) -> &mut Settings {
        &mut self.tcp.settings
    }

    // ---- sockets ---------------------------------------------------------------------------------------------

    /// A new socket.
    pub fn socket(&mut self) -> SocketId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        self.out.open(index);
        let slot = &mut self.slots[index as usize];
        *slot = Slot {
            generation: slot.generation.wrapping_add(1),
            send_bytes_max: SEND_BYTES_MAX,
            ..Slot::default()
        };
        slot.kind = Kind::New;
        SocketId { index, generation: slot.generation }
    }

    fn slot(&mut self, socket: SocketId) -> Result<&mut Slot, SocketError> {
        match self.slots.get_mut(socket.index as usize) {
            Some(slot) if slot.generation == socket.generation && slot.is_owned() => Ok(slot),
            _ => Err(SocketError::NoSuchSocket),
        }
    }

    /// Gives a socket an address of this side.
    ///
    /// # Errors
    /// [`SocketError::Invalid`] if it has one, or is used already.
    pub fn bind(&mut self, socket: SocketId, local: SocketAddr) -> Result<(), SocketError> {
        let slot = self.slot(socket)?;
        if slot.local.is_some() || !matches!(slot.kind, Kind::New) {
            return Err(SocketError::Invalid);
        }
        slot.local = Some(local);
        Ok(())
    }

    /// Accepts connections; at most `backlog` wait to be taken by [`Sockets::accept`], any more are reset.
    ///
    /// # Errors
    /// [`SocketError::Invalid`] without an address, [`SocketError::AddressInUse`] if another socket listens there.
    pub fn listen(&mut self, socket: SocketId, backlog: usize) -> Result<(), SocketError> {
        let slot = self.slot(socket)?;
        let Some(local) = slot.local else { return Err(SocketError::Invalid) };
        match &mut slot.kind {
            Kind::New => {}
            Kind::Listening { backlog: limit, .. } => {
                *limit = backlog;
                return Ok(());
            }
            _ => return Err(SocketError::Invalid),
        }
        if !self.tcp.listen_at(local, socket.index as u16) {
            return Err(SocketError::AddressInUse);
        }
        self.slots[socket.index as usize].kind =
            Kind::Listening { backlog, ready: std::collections::VecDeque::new() };
        Ok(())
    }

    /// The next connection that waits at a listener, and who is at its other end.
    ///
    /// # Errors
    /// [`SocketError::WouldBlock`] if none waits, [`SocketError::Invalid`] if it does not listen.
    pub fn accept(&mut self, socket: SocketId) -> Result<(SocketId, SocketAddr), SocketError> {
        let Kind::Listening { ready, .. } = &mut self.slot(socket)?.kind else {
            return Err(SocketError::Invalid);
        };
        let (accepted, remote) = ready.pop_front().ok_or(SocketError::WouldBlock)?;
        Ok((accepted, remote))
    }

    /// Opens a connection; `link` is how the peer is reached. Whether it is open is seen by [`Sockets::ready`], or by
    /// calling this again.
    ///
    /// # Errors
    /// [`SocketError::InProgress`] when it was begun, [`SocketError::Already`] while it goes on,
    /// [`SocketError::Connected`] when it is open; else why it cannot be.
    pub fn connect(&mut self, socket: SocketId, remote: SocketAddr, link: Link) -> Result<(), SocketError> {
        let slot = self.slot(socket)?;
        match slot.kind {
            Kind::New => {}
            Kind::Connecting(_) => return Err(SocketError::Already),
            Kind::Open(_) if std::mem::take(&mut slot.just_open) => return Ok(()),
            Kind::Open(_) => return Err(SocketError::Connected),
            Kind::Over => return Err(slot.take_failure().unwrap_or(SocketError::NotConnected)),
            Kind::Free | Kind::Listening { .. } => return Err(SocketError::Invalid),
        }
        let chosen = slot.local;
        let ports = EPHEMERAL_PORTS.len();
        for _ in 0..ports {
            let local = chosen.map_or_else(|| self.next_local(remote), Ok)?;
            let opened = self.tcp.connect(local, remote, link, u64::from(socket.index), self.now);
            let stream = match opened {
                Ok(stream) => stream,
                Err(ConnectError::InUse) if chosen.is_none() => continue,
                Err(ConnectError::InUse) => return Err(SocketError::AddressInUse),
                Err(ConnectError::NoHost) => return Err(SocketError::Unreachable),
                Err(ConnectError::TableFull | ConnectError::LinksFull) => return Err(SocketError::Full),
            };
            self.tcp.keep_half_open(stream);
            let slot = self.slot(socket)?;
            slot.local = Some(local);
            slot.kind = Kind::Connecting(stream);
            self.finish();
            return Err(SocketError::InProgress);
        }
        Err(SocketError::AddressInUse)
    }

    /// An address of the interface of the remote's family, with the next port (RFC 9293 3.9.1.1 MUST-44).
    fn next_local(&mut self, remote: SocketAddr) -> Result<SocketAddr, SocketError> {
        let same = |address: &&std::net::IpAddr| address.is_ipv4() == remote.is_ipv4();
        let address = self.tcp.interface.addresses.iter().find(same).ok_or(SocketError::Unreachable)?;
        let port = self.next_port;
        self.next_port = if port == *EPHEMERAL_PORTS.end() { *EPHEMERAL_PORTS.start() } else { port + 1 };
        Ok(SocketAddr::new(*address, port))
    }

    // ---- data ------------------------------------------------------------------------------------------------

    /// Reads what has come, up to the length of `into`; zero when the peer has closed and all was read.
    ///
    /// # Errors
    /// [`SocketError::WouldBlock`] if there is nothing yet; once, why the connection failed.
    pub fn read(&mut self, socket: SocketId, into: &mut [u8]) -> Result<usize, SocketError> {
        let read = self.peek(socket, into)?;
        let slot = self.slot(socket)?;
        slot.received.drain(..read);
        if let Kind::Open(stream) = slot.kind
            && read > 0
        {
            self.tcp.consumed(stream, read);
            self.finish();
        }
        Ok(read)
    }

    /// As [`Sockets::read`], and leaves it there.
    ///
    /// # Errors
    /// As [`Sockets::read`].
    pub fn peek(&mut self, socket: SocketId, into: &mut [u8]) -> Result<usize, SocketError> {
        let ended = self.peer_has_closed(socket)?;
        let slot = self.slot(socket)?;
        if matches!(slot.kind, Kind::New | Kind::Listening { .. } | Kind::Connecting(_)) {
            return Err(SocketError::NotConnected);
        }
        if slot.received.is_empty() && !into.is_empty() {
            if let Some(failure) = slot.take_failure() {
                return Err(failure);
            }
            return if ended || slot.read_closed { Ok(0) } else { Err(SocketError::WouldBlock) };
        }
        let len = into.len().min(slot.received.len());
        for (place, byte) in into.iter_mut().zip(&slot.received) {
            *place = *byte;
        }
        Ok(len)
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// [`SocketError::WouldBlock`] if there is none, [`SocketError::BrokenPipe`] if this direction is closed; once, why
    /// the connection failed.
    pub fn write(&mut self, socket: SocketId, bytes: &[u8]) -> Result<usize, SocketError> {
        let slot = self.slot(socket)?;
        if slot.write_closed {
            return Err(SocketError::BrokenPipe);
        }
        let limit = slot.send_bytes_max;
        match slot.kind {
            Kind::Open(_) => {}
            Kind::Connecting(_) => return Err(SocketError::WouldBlock),
            Kind::Over => return Err(slot.take_failure().unwrap_or(SocketError::BrokenPipe)),
            Kind::New => return Err(SocketError::BrokenPipe),
            Kind::Free | Kind::Listening { .. } => return Err(SocketError::NotConnected),
        }
        let room = limit.saturating_sub(self.out.queued(socket.index));
        let len = bytes.len().min(room);
        if len == 0 && !bytes.is_empty() {
            return Err(SocketError::WouldBlock);
        }
        self.out.append(socket.index, |queue| queue.extend_from_slice(&bytes[..len]));
        self.transmit(socket.index);
        self.finish();
        Ok(len)
    }

    // ---- endings ---------------------------------------------------------------------------------------------

    /// Closes a direction, or both, and keeps the socket.
    ///
    /// # Errors
    /// [`SocketError::NotConnected`] if it is not open.
    pub fn shutdown(&mut self, socket: SocketId, how: Shutdown) -> Result<(), SocketError> {
        let slot = self.slot(socket)?;
        if !matches!(slot.kind, Kind::Open(_)) {
            return Err(SocketError::NotConnected);
        }
        slot.read_closed |= how != Shutdown::Write;
        if how != Shutdown::Read && !std::mem::replace(&mut slot.write_closed, true) {
            slot.fin_wanted = true;
            self.transmit(socket.index);
            self.finish();
        }
        Ok(())
    }

    /// Closes a socket. What was written is still sent; if something that came was not read, the peer is told by a
    /// reset (RFC 1122 4.2.2.13, RFC 9293 3.6.1 SHLD-3), and so it is if it sends more.
    ///
    /// # Errors
    /// [`SocketError::NoSuchSocket`].
    pub fn close(&mut self, socket: SocketId) -> Result<(), SocketError> {
        let unread = !self.slot(socket)?.received.is_empty();
        self.leave(socket, unread)
    }

    /// Closes a socket and resets the peer.
    ///
    /// # Errors
    /// [`SocketError::NoSuchSocket`].
    pub fn abort(&mut self, socket: SocketId) -> Result<(), SocketError> {
        self.leave(socket, true)
    }

    fn leave(&mut self, socket: SocketId, reset: bool) -> Result<(), SocketError> {
        let slot = self.slot(socket)?;
        slot.left = true;
        slot.received.clear();
        match std::mem::replace(&mut slot.kind, Kind::Free) {
            Kind::Listening { ready, .. } => {
                let local = slot.local;
                self.release(socket.index);
                if let Some(local) = local {
                    self.tcp.stop_listening_at(local);
                }
                for (waiting, _) in ready {
                    self.leave(waiting, true)?;
                }
            }
            Kind::Connecting(stream) => {
                slot.kind = Kind::Connecting(stream);
                self.tcp.close(stream, Ending::Abort);
            }
            Kind::Open(stream) if reset => {
                slot.kind = Kind::Open(stream);
                self.tcp.close(stream, Ending::Abort);
            }
            Kind::Open(stream) => {
                slot.kind = Kind::Open(stream);
                if slot.write_closed && !slot.fin_wanted {
                    self.tcp.leave_half_open(stream);
                } else {
                    slot.fin_wanted = true;
                    self.transmit(socket.index);
                }
            }
            Kind::Free | Kind::New | Kind::Over => self.release(socket.index),
        }
        self.turn(self.now);
        Ok(())
    }

    fn release(&mut self, index: u32) {
        self.out.discard(index);
        self.slots[index as usize].kind = Kind::Free;
        self.slots[index as usize].left = false;
        self.free.push(index);
    }

    // ---- options and state -----------------------------------------------------------------------------------

    /// The most that is kept of what was written and is not acknowledged.
    ///
    /// # Errors
    /// [`SocketError::NoSuchSocket`].
    pub fn set_send_bytes_max(&mut self, socket: SocketId, bytes: usize) -> Result<(), SocketError> {
        self.slot(socket)?.send_bytes_max = bytes;
        Ok(())
    }

    /// The most that is kept of what was written and is not acknowledged.
    ///
    /// # Errors
    /// [`SocketError::NoSuchSocket`].
    pub fn send_bytes_max(&mut self, socket: SocketId) -> Result<usize, SocketError> {
        Ok(self.slot(socket)?.send_bytes_max)
    }

    /// Why the connection failed, if nobody has been told of it yet.
    ///
    /// # Errors
    /// [`SocketError::NoSuchSocket`].
    pub fn take_failure(&mut self, socket: SocketId) -> Result<Option<SocketError>, SocketError> {
        Ok(self.slot(socket)?.take_failure())
    }

    /// The address of this side.
    ///
    /// # Errors
    /// [`SocketError::NoSuchSocket`].
    pub fn local(&mut self, socket: SocketId) -> Result<Option<SocketAddr>, SocketError> {
        Ok(self.slot(socket)?.local)
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// [`SocketError::NotConnected`].
    pub fn peer(&mut self, socket: SocketId) -> Result<SocketAddr, SocketError> {
        let Kind::Open(stream) = self.slot(socket)?.kind else { return Err(SocketError::NotConnected) };
        self.tcp.peer(stream).map(|peer| peer.remote).ok_or(SocketError::NotConnected)
    }

    /// Bytes that were written and not sent, and bytes that came and were not read.
    ///
    /// # Errors
    /// [`SocketError::NoSuchSocket`].
    pub fn pending(&mut self, socket: SocketId) -> Result<(usize, usize), SocketError> {
        let unread = self.slot(socket)?.received.len();
        let queued = self.out.queued(socket.index);
        let sent = self.info(socket)?.map_or(0, |info| info.in_flight_bytes as usize);
        Ok((queued.saturating_sub(sent), unread))
    }

    /// What the socket is ready for.
    ///
    /// # Errors
    /// [`SocketError::NoSuchSocket`].
    pub fn ready(&mut self, socket: SocketId) -> Result<Ready, SocketError> {
        let ended = self.peer_has_closed(socket)?;
        let queued = self.out.queued(socket.index);
        let slot = self.slot(socket)?;
        let over = matches!(slot.kind, Kind::Over);
        let read_closed = ended || slot.read_closed;
        Ok(match &slot.kind {
            Kind::Listening { ready, .. } => Ready { readable: !ready.is_empty(), ..Ready::default() },
            Kind::Open(_) | Kind::Over => Ready {
                readable: !slot.received.is_empty() || read_closed || over,
                writable: over || slot.write_closed || queued < slot.send_bytes_max,
                read_closed,
                over,
                failed: slot.failure.is_some(),
            },
            Kind::Free | Kind::New | Kind::Connecting(_) => Ready::default(),
        })
    }

    /// What the stack knows of the connection; `None` if it is over, or was never one.
    ///
    /// # Errors
    /// [`SocketError::NoSuchSocket`].
    pub fn info(&mut self, socket: SocketId) -> Result<Option<Info>, SocketError> {
        let now = self.now;
        let slot = self.slot(socket)?;
        let (stream, received_at) = (slot.stream(), slot.received_at);
        let info = stream.and_then(|stream| self.tcp.info(stream));
        let data_received_ms = (now.since(received_at) / 1_000_000).min(u64::from(u32::MAX)) as u32;
        Ok(info.map(|info| Info { data_received_ms, ..info }))
    }

    fn peer_has_closed(&mut self, socket: SocketId) -> Result<bool, SocketError> {
        let state = match self.slot(socket)?.kind {
            Kind::Open(stream) => self.tcp.state(stream),
            Kind::Over => None,
            _ => return Ok(false),
        };
        Ok(!matches!(state, Some(State::Established | State::FinWait1 | State::FinWait2)))
    }

    // ---- turns -----------------------------------------------------------------------------------------------

    /// Takes what came in and does what is due.
    pub fn turn(&mut self, now: Mono) {
        self.now = self.now.max(now);
        for _ in 0..TURNS_MAX {
            self.tcp.poll(self.now);
            self.take_events();
            self.tcp.end_turn();
            if self.tcp.next_timeout().is_none_or(|due| due > self.now) {
                break;
            }
        }
    }

    /// When [`Sockets::turn`] has something to do if nothing comes in before.
    pub fn next_timeout(&self) -> Option<Mono> {
        self.tcp.next_timeout()
    }

    /// What a call made ready to leave leaves.
    fn finish(&mut self) {
        self.tcp.end_turn();
    }

    fn take_events(&mut self) {
        while let Some(event) = self.tcp.next() {
            match event {
                StreamEvent::Opened { stream, peer } if peer.listener == u16::MAX => self.opened(stream),
                StreamEvent::Opened { stream, peer } => self.accepted(stream, peer.remote, peer.listener),
                StreamEvent::Data { token, chunk } => {
                    let slot = &mut self.slots[token as usize];
                    slot.received_at = self.now;
                    if !slot.left {
                        slot.received.extend(chunk.iter());
                    }
                    self.tcp.recycle(chunk);
                }
                StreamEvent::Writable { token } => self.transmit(token as u32),
                StreamEvent::Closed { token, why } => self.closed(token as u32, why),
            }
        }
    }

    fn opened(&mut self, stream: StreamId) {
        let Some(index) = self.tcp.token(stream) else { return };
        let slot = &mut self.slots[index as usize];
        slot.kind = Kind::Open(stream);
        slot.just_open = true;
        slot.received_at = self.now;
        self.transmit(index as u32);
    }

    fn accepted(&mut self, stream: StreamId, remote: SocketAddr, listener: u16) {
        let Some(Slot { kind: Kind::Listening { backlog, ready }, .. }) =
            self.slots.get(usize::from(listener))
        else {
            return self.tcp.close(stream, Ending::Abort);
        };
        if ready.len() >= *backlog {
            return self.tcp.close(stream, Ending::Abort);
        }
        let local = self.slots[usize::from(listener)].local;
        let socket = self.socket();
        self.tcp.bind(stream, u64::from(socket.index));
        self.tcp.keep_half_open(stream);
        let slot = &mut self.slots[socket.index as usize];
        slot.kind = Kind::Open(stream);
        slot.local = local;
        slot.received_at = self.now;
        if let Kind::Listening { ready, .. } = &mut self.slots[usize::from(listener)].kind {
            ready.push_back((socket, remote));
        }
    }

    fn closed(&mut self, index: u32, why: StreamEnd) {
        self.out.discard(index);
        let slot = &mut self.slots[index as usize];
        let opening = matches!(slot.kind, Kind::Connecting(_));
        slot.kind = Kind::Over;
        slot.failure = SocketError::of_end(why, opening);
        if slot.left {
            self.release(index);
        }
    }

    /// Sends what is queued; when all is under way, the FIN if it is wanted.
    fn transmit(&mut self, index: u32) {
        let Kind::Open(stream) = self.slots[index as usize].kind else { return };
        let (queue, logs) = self.out.queue(index);
        let sent = self.tcp.transmit(stream, queue, logs);
        self.out.settle(index);
        let slot = &mut self.slots[index as usize];
        if sent != Transmit::Drained || !std::mem::take(&mut slot.fin_wanted) {
            return;
        }
        let left = slot.left;
        if left {
            self.tcp.end_half_open(stream);
            self.tcp.close(stream, Ending::Agreed);
        } else {
            self.tcp.close_writing(stream);
        }
    }
}

impl<P: Port> std::fmt::Debug for Sockets<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sockets")
            .field("tcp", &self.tcp)
            .field("sockets", &self.slots.len())
            .finish_non_exhaustive()
    }
}

/// What the stack does for sockets alone.
impl<P: Port> Tcp<P> {
    fn place(&self, stream: StreamId) -> Option<u32> {
        self.tcbs.live(Key::from_u64(stream.0))
    }

    fn token(&self, stream: StreamId) -> Option<u64> {
        self.place(stream).map(|index| self.tcbs[index].token)
    }

    pub(crate) fn state(&self, stream: StreamId) -> Option<State> {
        self.place(stream).map(|index| self.tcbs[index].state)
    }

    /// Accepts at an address; whether nobody did so before and there is room.
    fn listen_at(&mut self, local: SocketAddr, listener: u16) -> bool {
        let taken = self.locals.find(local).is_some_and(|end| self.locals.get(end).listener.is_some());
        !taken && self.locals.listen(local, listener).is_some()
    }

    fn stop_listening_at(&mut self, local: SocketAddr) {
        if let Some(end) = self.locals.find(local) {
            self.locals.unlisten(end);
        }
    }

    /// The peer's FIN does not end a connection, nor does this side's, until [`Tcp::leave_half_open`].
    fn keep_half_open(&mut self, stream: StreamId) {
        if let Some(index) = self.place(stream) {
            self.tcbs[index].facts.set(Facts::HALF_OPEN);
        }
    }

    fn end_half_open(&mut self, stream: StreamId) {
        if let Some(index) = self.place(stream) {
            self.tcbs[index].facts.clear(Facts::HALF_OPEN);
        }
    }

    /// Sends the FIN; the peer may go on sending. RFC 9293 3.6 case 1.
    fn close_writing(&mut self, stream: StreamId) {
        if let Some(index) = self.place(stream)
            && !self.tcbs[index].facts.has(Facts::APP_CLOSED)
        {
            self.tcbs[index].facts.set(Facts::APP_CLOSED);
            self.send_fin(index);
        }
    }

    /// Nobody reads any more from a connection whose FIN was sent.
    fn leave_half_open(&mut self, stream: StreamId) {
        let Some(index) = self.place(stream) else { return };
        self.end_half_open(stream);
        self.linger(index, self.settings.linger_ms);
        self.disown_when_sent(index);
    }
}

#[cfg(test)]
mod tests;
