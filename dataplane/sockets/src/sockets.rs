//! The transport.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};

use pelton_base::{
    ByteStreams, Counters, Ending, Key, Mono, Peer, SendQueue, SharedLogs, Slots, StreamEnd, StreamEvent,
    StreamId, Transmit, Wait, counter_set,
};
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, acceptfrom_with, recv, send, sendmsg,
    shutdown, sockopt,
};

use crate::connection::{Connection, Phase, UNKNOWN};
use crate::listener::Listeners;
use crate::poller::Poller;
use crate::wake::Sleeper;

/// Bytes read from a connection at once.
const READ_BYTES: usize = 64 * 1024;
/// Connections accepted at once, a listener and turn.
const ACCEPTS_A_TURN: usize = 64;
/// Slices of one gathered write.
const SLICES: usize = 64;
/// Writes of one flush before the next connection is served.
const WRITES_A_FLUSH: usize = 16;
/// How long to wait for the peer to close.
const LINGER_MS: u64 = 2_000;
/// How long listening rests when descriptors or memory have run out.
const REST_MS: u64 = 100;
/// Numbers below this are registered by connections; see [`Poller`].
const LISTENER: u64 = 1 << 63;
const WAKER: u64 = u64::MAX;
const DEVICE: u64 = u64::MAX - 1;

counter_set! {
    /// What the transport counts.
    pub enum SocketCounter {
        /// Connections accepted.
        Accepted = "accepted",
        /// Accepting failed for want of descriptors or memory.
        OutOfDescriptors = "out_of_descriptors",
        /// Accepting failed because the connection was gone already.
        AcceptAborted = "accept_aborted",
        /// Reads.
        Reads = "reads",
        /// Bytes read.
        BytesRead = "bytes_read",
        /// Writes.
        Writes = "writes",
        /// Bytes written.
        BytesWritten = "bytes_written",
        /// Writes that found no room.
        Blocked = "blocked",
        /// Streams the peer closed.
        PeerClosed = "peer_closed",
        /// Streams the peer reset.
        PeerReset = "peer_reset",
        /// Streams lost to another error.
        Failed = "failed",
        /// Peers that did not close after this side had, and were cut off.
        LingerExpired = "linger_expired",
    }
}

/// What was read; the one buffer of the transport, lent.
#[derive(Debug)]
pub struct ReadChunk {
    buffer: Box<[u8]>,
    len: usize,
}

impl Deref for ReadChunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for ReadChunk {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }
}

/// A connection on its way to another shard.
#[derive(Debug)]
pub struct HandedSocket {
    socket: OwnedFd,
    listener: u16,
}

/// The connections and listeners of one shard.
pub struct Sockets {
    poller: Poller,
    listeners: Vec<OwnedFd>,
    /// Whether connections can be asked whether their peers are there.
    keep_alive: bool,
    /// Listeners with connections waiting, this turn.
    accepting: Vec<usize>,
    /// Listening rests until then.
    resting_until: Option<Mono>,
    sleeper: Sleeper,
    connections: Slots<Connection>,
    /// Connections to be read this turn, and those that come again in the next.
    ready: VecDeque<Key>,
    again: VecDeque<Key>,
    /// Events that need no reading.
    events: VecDeque<StreamEvent<ReadChunk>>,
    lingering: VecDeque<(Mono, Key)>,
    buffer: Option<Box<[u8]>>,
    counters: Counters<SocketCounter>,
    now: Mono,
    polled: bool,
    /// A descriptor that is only watched became ready.
    device_ready: bool,
}

impl Sockets {
    /// A transport over these listeners, woken by the counterpart of `sleeper`.
    ///
    /// # Errors
    /// If the system refuses an epoll instance.
    pub fn new(listeners: Listeners, sleeper: Sleeper) -> std::io::Result<Self> {
        let poller = Poller::new()?;
        poller.add_level(sleeper.fd(), WAKER)?;
        for (number, socket) in listeners.sockets.iter().enumerate() {
            poller.add_level(socket, LISTENER | number as u64)?;
        }
        Ok(Self {
            poller,
            listeners: listeners.sockets,
            keep_alive: listeners.keep_alive,
            accepting: Vec::new(),
            resting_until: None,
            sleeper,
            connections: Slots::new(),
            ready: VecDeque::new(),
            again: VecDeque::new(),
            events: VecDeque::new(),
            lingering: VecDeque::new(),
            buffer: None,
            counters: Counters::default(),
            now: Mono(0),
            polled: false,
            device_ready: false,
        })
    }

    /// Makes a descriptor's readiness end a wait, too. Whoever owns it reads from it.
    ///
    /// # Errors
    /// If the system refuses it.
    pub fn watch(&self, device: impl AsFd) -> std::io::Result<()> {
        self.poller.add_level(device, DEVICE)
    }

    /// Undoes [`Sockets::watch`].
    pub fn unwatch(&self, device: impl AsFd) {
        self.poller.remove(device);
    }

    /// The thread that drives this transport is about to sleep, or awake.
    pub fn sleeper(&self) -> &Sleeper {
        &self.sleeper
    }

    /// Whether the last [`Wait::wait`] brought anything.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
            || !self.ready.is_empty()
            || !self.again.is_empty()
            || !self.accepting.is_empty()
            || self.device_ready
    }

    /// Bytes of memory a connection costs here.
    pub const fn connection_bytes() -> usize {
        size_of::<Connection>() + 8
    }

    /// Sorts what the kernel reported.
    fn sort_events(&mut self) {
        self.device_ready = false;
        for ready in self.poller.ready() {
            if ready.number & LISTENER != 0 {
                match ready.number {
                    WAKER => self.sleeper.drain(),
                    DEVICE => self.device_ready = true,
                    listener => self.accepting.push((listener & !LISTENER) as usize),
                }
                continue;
            }
            let key = Key::from_u64(ready.number);
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if ready.writable && connection.blocked {
                connection.blocked = false;
                connection.writable = true;
                if connection.phase == Phase::Open {
                    self.events.push_back(StreamEvent::Writable { token: connection.token });
                }
            }
            if ready.readable || ready.ended {
                connection.readable = true;
                connection.ending |= ready.ended;
                if !connection.queued && !connection.paused {
                    connection.queued = true;
                    self.ready.push_back(key);
                }
            }
        }
        self.poller.clear();
    }

    fn accept(&mut self) {
        for number in std::mem::take(&mut self.accepting) {
            for _ in 0..ACCEPTS_A_TURN {
                let Some(listener) = self.listeners.get(number) else { break };
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                match acceptfrom_with(listener, flags) {
                    Ok((socket, remote)) => {
                        let remote = remote.and_then(|remote| remote.try_into().ok()).unwrap_or(UNKNOWN);
                        self.accepted(socket, remote, number as u16);
                    }
                    Err(Errno::AGAIN) => break,
                    // The next one may be there.
                    Err(Errno::CONNABORTED | Errno::INTR) => self.counters.add(SocketCounter::AcceptAborted),
                    Err(_) => {
                        // EMFILE, ENFILE, ENOBUFS, ENOMEM: the listener stays ready, and asking again at once
                        // would only burn the core.
                        self.counters.add(SocketCounter::OutOfDescriptors);
                        self.rest();
                        return;
                    }
                }
            }
        }
    }

    fn rest(&mut self) {
        self.accepting.clear();
        if self.resting_until.is_none() {
            for listener in &self.listeners {
                self.poller.remove(listener);
            }
        }
        self.resting_until = Some(self.now.plus_ms(REST_MS));
    }

    fn end_rest(&mut self) {
        if self.resting_until.is_some_and(|until| until <= self.now) {
            self.resting_until = None;
            for (number, listener) in self.listeners.iter().enumerate() {
                // Out of memory in the kernel: rests again at the next accept that fails.
                let _ = self.poller.add_level(listener, LISTENER | number as u64);
            }
        }
    }

    fn accepted(&mut self, socket: OwnedFd, remote: SocketAddr, listener: u16) {
        let key = self.connections.insert(Connection::new(socket, listener));
        let Some(connection) = self.connections.get(key) else { return };
        if self.poller.add_connection(&connection.socket, key.to_u64()).is_err() {
            self.counters.add(SocketCounter::OutOfDescriptors);
            self.connections.remove(key);
            return;
        }
        self.counters.add(SocketCounter::Accepted);
        let peer = Peer { remote, listener };
        self.events.push_back(StreamEvent::Opened { stream: StreamId(key.to_u64()), peer });
    }

    /// Reads from a connection whose turn it is.
    fn read(&mut self, key: Key) -> Option<StreamEvent<ReadChunk>> {
        let connection = self.connections.get_mut(key)?;
        connection.queued = false;
        if connection.paused && connection.phase == Phase::Open {
            return None;
        }
        connection.readable = false;
        let token = connection.token;
        let mut buffer = self.buffer.take().unwrap_or_else(|| vec![0; READ_BYTES].into_boxed_slice());
        self.counters.add(SocketCounter::Reads);
        match recv(&connection.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => {
                self.buffer = Some(buffer);
                self.ended(key, StreamEnd::PeerClosed)
            }
            Ok((len, _)) => {
                self.counters.add_n(SocketCounter::BytesRead, len as u64);
                if len == READ_BYTES || connection.ending {
                    // There may be more: it comes again when the others had their turn.
                    connection.readable = true;
                    connection.queued = true;
                    self.again.push_back(key);
                }
                if connection.phase == Phase::Lingering {
                    self.buffer = Some(buffer);
                    return None;
                }
                Some(StreamEvent::Data { token, chunk: ReadChunk { buffer, len } })
            }
            Err(Errno::AGAIN) => {
                self.buffer = Some(buffer);
                None
            }
            Err(Errno::INTR) => {
                self.buffer = Some(buffer);
                connection.readable = true;
                connection.queued = true;
                self.again.push_back(key);
                None
            }
            Err(error) => {
                self.buffer = Some(buffer);
                self.ended(key, end_of(error))
            }
        }
    }

    /// A connection is gone.
    fn ended(&mut self, key: Key, why: StreamEnd) -> Option<StreamEvent<ReadChunk>> {
        let connection = self.connections.remove(key)?;
        self.counters.add(match why {
            StreamEnd::PeerClosed => SocketCounter::PeerClosed,
            StreamEnd::PeerReset => SocketCounter::PeerReset,
            _ => SocketCounter::Failed,
        });
        let why = if connection.phase == Phase::Lingering { StreamEnd::Local } else { why };
        Some(StreamEvent::Closed { token: connection.token, why })
    }

    /// Cuts off who did not close in time.
    fn end_lingering(&mut self) {
        while let Some(&(until, key)) = self.lingering.front() {
            let there = self.connections.get(key).is_some();
            if there && until > self.now {
                return;
            }
            self.lingering.pop_front();
            if there {
                self.counters.add(SocketCounter::LingerExpired);
                self.cut(key);
            }
        }
    }

    /// Resets a connection.
    fn cut(&mut self, key: Key) {
        if let Some(connection) = self.connections.remove(key) {
            // Closing with a linger time of zero sends RST and keeps no TIME-WAIT.
            let _ = sockopt::set_socket_linger(&connection.socket, Some(std::time::Duration::ZERO));
            self.events.push_back(StreamEvent::Closed { token: connection.token, why: StreamEnd::Local });
        }
    }
}

fn end_of(error: Errno) -> StreamEnd {
    match error {
        Errno::CONNRESET | Errno::PIPE => StreamEnd::PeerReset,
        Errno::TIMEDOUT => StreamEnd::TimedOut,
        Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::NETDOWN => StreamEnd::Unreachable,
        _ => StreamEnd::SystemError,
    }
}

impl ByteStreams for Sockets {
    type Chunk = ReadChunk;
    type Handover = HandedSocket;

    fn poll(&mut self, now: Mono) {
        self.now = now;
        if !self.polled {
            self.poller.wait(Some(0));
            self.sort_events();
        }
        self.polled = false;
        self.end_rest();
        self.end_lingering();
        self.accept();
        self.ready.append(&mut self.again);
    }

    fn next(&mut self) -> Option<StreamEvent<ReadChunk>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let key = self.ready.pop_front()?;
            if let Some(event) = self.read(key) {
                return Some(event);
            }
        }
    }

    fn recycle(&mut self, chunk: ReadChunk) {
        self.buffer = Some(chunk.buffer);
    }

    fn bind(&mut self, stream: StreamId, token: u64) {
        if let Some(connection) = self.connections.get_mut(Key::from_u64(stream.0)) {
            connection.token = token;
        }
    }

    fn keep_alive(&mut self, stream: StreamId) {
        if self.keep_alive
            && let Some(connection) = self.connections.get(Key::from_u64(stream.0))
        {
            // How long it waits was set on the listener. Refused only for a connection that is gone.
            let _ = sockopt::set_socket_keepalive(&connection.socket, true);
        }
    }

    fn pause_read(&mut self, stream: StreamId) {
        if let Some(connection) = self.connections.get_mut(Key::from_u64(stream.0)) {
            connection.paused = true;
        }
    }

    fn resume_read(&mut self, stream: StreamId) {
        let key = Key::from_u64(stream.0);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if std::mem::take(&mut connection.paused) && connection.readable && !connection.queued {
            connection.queued = true;
            self.again.push_back(key);
        }
    }

    fn consumed(&mut self, _stream: StreamId, _n: usize) {
        // The kernel's window opens by reading.
    }

    fn transmit(&mut self, stream: StreamId, queue: &mut SendQueue, logs: &mut SharedLogs) -> Transmit {
        let key = Key::from_u64(stream.0);
        let Some(connection) = self.connections.get_mut(key) else { return Transmit::Gone };
        for _ in 0..WRITES_A_FLUSH {
            let mut slices = queue.slices(logs);
            let Some(first) = slices.next() else { return Transmit::Drained };
            let flags = SendFlags::NOSIGNAL;
            self.counters.add(SocketCounter::Writes);
            let (sent, offered) = match slices.next() {
                None => (send(&connection.socket, first, flags), first.len()),
                Some(second) => {
                    let mut gathered = [IoSlice::new(&[]); SLICES];
                    gathered[0] = IoSlice::new(first);
                    gathered[1] = IoSlice::new(second);
                    let mut count = 2;
                    for (place, slice) in gathered[2..].iter_mut().zip(slices) {
                        *place = IoSlice::new(slice);
                        count += 1;
                    }
                    let offered = gathered[..count].iter().map(|slice| slice.len()).sum();
                    let control = &mut SendAncillaryBuffer::default();
                    (sendmsg(&connection.socket, &gathered[..count], control, flags), offered)
                }
            };
            match sent {
                Ok(n) => {
                    self.counters.add_n(SocketCounter::BytesWritten, n as u64);
                    queue.consume(n, logs);
                    if n < offered {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    // The connection is gone. What it sent before may still be read; its end comes with it.
                    if !connection.queued {
                        connection.readable = true;
                        connection.queued = true;
                        connection.paused = false;
                        self.again.push_back(key);
                    }
                    return Transmit::Gone;
                }
            }
            if queue.is_empty() {
                return Transmit::Drained;
            }
        }
        if queue.is_empty() {
            return Transmit::Drained;
        }
        connection.blocked = true;
        self.counters.add(SocketCounter::Blocked);
        Transmit::Blocked
    }

    fn close(&mut self, stream: StreamId, how: Ending) {
        let key = Key::from_u64(stream.0);
        let Some(connection) = self.connections.get_mut(key) else { return };
        match how {
            Ending::Abort => self.cut(key),
            Ending::Agreed => {
                let token = connection.token;
                self.connections.remove(key);
                self.events.push_back(StreamEvent::Closed { token, why: StreamEnd::Local });
            }
            Ending::Graceful => {
                if connection.phase == Phase::Lingering {
                    return;
                }
                connection.phase = Phase::Lingering;
                let _ = shutdown(&connection.socket, Shutdown::Write);
                self.lingering.push_back((self.now.plus_ms(LINGER_MS), key));
                // What lies unread is thrown away now, or the close would become a reset.
                if !connection.queued {
                    connection.queued = true;
                    self.again.push_back(key);
                }
            }
        }
    }

    fn detach(&mut self, stream: StreamId, _to: u16) -> Option<HandedSocket> {
        let key = Key::from_u64(stream.0);
        let connection = self.connections.remove(key)?;
        self.poller.remove(&connection.socket);
        let Connection { socket, listener, .. } = connection;
        Some(HandedSocket { socket, listener })
    }

    fn attach(&mut self, handover: HandedSocket) -> Option<(StreamId, Peer)> {
        let HandedSocket { socket, listener } = handover;
        let key = self.connections.insert(Connection::new(socket, listener));
        let connection = self.connections.get(key)?;
        // What is readable already is reported by the new registration.
        if self.poller.add_connection(&connection.socket, key.to_u64()).is_err() {
            self.counters.add(SocketCounter::OutOfDescriptors);
            self.connections.remove(key);
            return None;
        }
        Some((StreamId(key.to_u64()), connection.peer()))
    }

    fn can_hand_over(&self) -> bool {
        true
    }

    fn peer(&self, stream: StreamId) -> Option<Peer> {
        self.connections.get(Key::from_u64(stream.0)).map(Connection::peer)
    }

    fn next_timeout(&self) -> Option<Mono> {
        if !self.again.is_empty() || !self.events.is_empty() {
            return Some(self.now);
        }
        let lingering = self.lingering.front().map(|&(until, _)| until);
        [lingering, self.resting_until].into_iter().flatten().min()
    }

    fn stop_listening(&mut self) {
        for listener in &self.listeners {
            self.poller.remove(listener);
        }
        self.listeners.clear();
        self.accepting.clear();
        self.resting_until = None;
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.counters.iter().collect()
    }
}

impl Wait for Sockets {
    fn wait(&mut self, timeout_ns: Option<u64>) {
        self.poller.wait(timeout_ns);
        self.sort_events();
        self.polled = true;
    }
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sockets")
            .field("listeners", &self.listeners.len())
            .field("connections", &self.connections.len())
            .finish()
    }
}
