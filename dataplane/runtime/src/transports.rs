//! Several transports of one shard as one: the kernel's sockets, which serve loopback and whatever is not served past
//! the kernel, and our TCP on a queue of each interface that is. A stream's id says which transport it is of; its
//! device's descriptor ends the shard's sleep as a socket does.

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use pelton_base::{
    ByteStreams, Ending, InterfaceFigures, Mono, Peer, SendQueue, SharedLogs, StreamEvent, StreamId, TooBig,
    Transmit, Wait,
};
use pelton_sockets::wake::Sleeper;
use pelton_sockets::{HandedSocket, Listeners, Sockets};
use pelton_tcp::{HandedTcp, Tcp};

use crate::device::DevicePort;
use crate::driven::Driven;
use crate::interface::DeviceParts;

/// Where in a stream's id its transport is: in the upper bits of the index that its own transport gave it. An index
/// stays below the bound on a shard's connections, which is 16 millions.
const SHIFT: u32 = 24;
const MASK: u64 = 0xff << SHIFT;

/// Received bytes, of whichever transport.
#[derive(Debug)]
pub(crate) enum Chunk {
    /// Read from a kernel socket.
    Read(<Sockets as ByteStreams>::Chunk),
    /// Received by the stack of an interface.
    Received(u8, pelton_tcp::Chunk),
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(chunk) => chunk,
            Self::Received(_, chunk) => chunk,
        }
    }
}

impl DerefMut for Chunk {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Read(chunk) => chunk,
            Self::Received(_, chunk) => chunk,
        }
    }
}

/// A connection on its way to another shard, into the same transport there.
#[derive(Debug)]
pub(crate) enum Handed {
    /// Of a kernel socket.
    Socket(HandedSocket),
    /// Of the stack of an interface.
    Tcp(u8, Box<HandedTcp>),
}

/// Our TCP on this shard's queue of an interface.
struct Device {
    name: Arc<str>,
    stack: Tcp<DevicePort>,
    /// The number of each of its listeners among all.
    numbers: Vec<u16>,
    /// What the shard's sleep is ended by, while it is.
    watched: Option<OwnedFd>,
}

impl Device {
    fn peer(&self, peer: Peer) -> Peer {
        let listener = self.numbers.get(usize::from(peer.listener)).copied().unwrap_or(peer.listener);
        Peer { listener, ..peer }
    }
}

/// All transports of one shard.
pub(crate) struct Transports {
    sockets: Sockets,
    devices: Vec<Device>,
    /// The transport whose events are handed out: the sockets, then the devices.
    at: usize,
}

/// What they are made from.
pub(crate) struct Parts {
    pub(crate) listeners: Listeners,
    pub(crate) sleeper: Sleeper,
    pub(crate) devices: Vec<DeviceParts>,
}

#[inline]
fn outer(transport: usize, stream: StreamId) -> StreamId {
    debug_assert_eq!(stream.0 & MASK, 0, "an index above the bound on connections");
    StreamId(stream.0 | (transport as u64) << SHIFT)
}

/// The transport of a stream, and its name there.
#[inline]
fn inner(stream: StreamId) -> (usize, StreamId) {
    (((stream.0 & MASK) >> SHIFT) as usize, StreamId(stream.0 & !MASK))
}

/// The same call to the transport of a stream.
macro_rules! of {
    ($self:expr, $stream:expr, $transport:ident, $inner:ident => $then:expr) => {{
        let (at, $inner) = inner($stream);
        if at == 0 {
            let $transport = &mut $self.sockets;
            $then
        } else {
            let $transport = &mut $self.devices[at - 1].stack;
            $then
        }
    }};
}

impl Transports {
    /// A device that was taken away claims to be ready for ever.
    fn unwatch_gone(&mut self) {
        for device in &mut self.devices {
            if device.stack.port_ref().wait_on().is_none()
                && let Some(watched) = device.watched.take()
            {
                self.sockets.unwatch(watched);
            }
        }
    }

    fn event(&mut self) -> Option<StreamEvent<Chunk>> {
        if self.at == 0 {
            return Some(match self.sockets.next()? {
                StreamEvent::Data { token, chunk } => StreamEvent::Data { token, chunk: Chunk::Read(chunk) },
                StreamEvent::Opened { stream, peer } => {
                    StreamEvent::Opened { stream: outer(0, stream), peer }
                }
                StreamEvent::Writable { token } => StreamEvent::Writable { token },
                StreamEvent::Closed { token, why } => StreamEvent::Closed { token, why },
            });
        }
        let device = self.devices.get_mut(self.at - 1)?;
        Some(match device.stack.next()? {
            StreamEvent::Data { token, chunk } => {
                StreamEvent::Data { token, chunk: Chunk::Received(self.at as u8, chunk) }
            }
            StreamEvent::Opened { stream, peer } => {
                StreamEvent::Opened { stream: outer(self.at, stream), peer: device.peer(peer) }
            }
            StreamEvent::Writable { token } => StreamEvent::Writable { token },
            StreamEvent::Closed { token, why } => StreamEvent::Closed { token, why },
        })
    }
}

impl Driven for Transports {
    type Parts = Parts;

    fn make(parts: Parts, seed: u64, now: Mono) -> io::Result<Self> {
        let sockets = Sockets::new(parts.listeners, parts.sleeper)?;
        let mut devices = Vec::new();
        for (at, parts) in parts.devices.into_iter().enumerate() {
            let DeviceParts { name, port, interface, listeners, relays, settings } = parts;
            let (ports, numbers): (Vec<u16>, Vec<u16>) = listeners.into_iter().unzip();
            let seed = seed.wrapping_add(at as u64 + 1);
            let watched = match port.wait_on() {
                Some(fd) => {
                    let watched = fd.try_clone_to_owned()?;
                    sockets.watch(&watched)?;
                    Some(watched)
                }
                None => None,
            };
            let mut stack = Tcp::new(port, interface, &ports, settings, seed, now);
            if let Some(relays) = relays {
                stack.join(relays);
            }
            devices.push(Device { name, stack, numbers, watched });
        }
        Ok(Self { sockets, devices, at: 0 })
    }

    fn sleeper(&self) -> &Sleeper {
        self.sockets.sleeper()
    }

    fn has_events(&self) -> bool {
        self.sockets.has_events()
    }
}

impl ByteStreams for Transports {
    type Chunk = Chunk;
    type Handover = Handed;

    fn poll(&mut self, now: Mono) {
        self.sockets.poll(now);
        for device in &mut self.devices {
            device.stack.poll(now);
        }
        self.unwatch_gone();
        self.at = 0;
    }

    fn next(&mut self) -> Option<StreamEvent<Chunk>> {
        while self.at <= self.devices.len() {
            if let Some(event) = self.event() {
                return Some(event);
            }
            self.at += 1;
        }
        None
    }

    #[inline]
    fn upcoming(&self, ahead: usize) -> Option<(u64, &[u8])> {
        // Before the sockets are through that of the first device is wanted next.
        self.devices.get(self.at.saturating_sub(1))?.stack.upcoming(ahead)
    }

    #[inline]
    fn prefetch(&self, stream: StreamId) {
        let (at, stream) = inner(stream);
        if let Some(device) = at.checked_sub(1).and_then(|at| self.devices.get(at)) {
            device.stack.prefetch(stream);
        }
    }

    #[inline]
    fn next_acknowledged(&mut self) -> Option<(u64, usize)> {
        self.devices.iter_mut().find_map(|device| device.stack.next_acknowledged())
    }

    #[inline]
    fn recycle(&mut self, chunk: Chunk) {
        match chunk {
            Chunk::Read(chunk) => self.sockets.recycle(chunk),
            Chunk::Received(at, chunk) => self.devices[usize::from(at) - 1].stack.recycle(chunk),
        }
    }

    fn bind(&mut self, stream: StreamId, token: u64) {
        of!(self, stream, transport, stream => transport.bind(stream, token));
    }

    fn keep_alive(&mut self, stream: StreamId) {
        of!(self, stream, transport, stream => transport.keep_alive(stream));
    }

    fn pause_read(&mut self, stream: StreamId) {
        of!(self, stream, transport, stream => transport.pause_read(stream));
    }

    fn resume_read(&mut self, stream: StreamId) {
        of!(self, stream, transport, stream => transport.resume_read(stream));
    }

    #[inline]
    fn consumed(&mut self, stream: StreamId, n: usize) {
        of!(self, stream, transport, stream => transport.consumed(stream, n));
    }

    #[inline]
    fn transmit(&mut self, stream: StreamId, queue: &mut SendQueue, logs: &mut SharedLogs) -> Transmit {
        of!(self, stream, transport, stream => transport.transmit(stream, queue, logs))
    }

    fn close(&mut self, stream: StreamId, how: Ending) {
        of!(self, stream, transport, stream => transport.close(stream, how));
    }

    fn detach(&mut self, stream: StreamId, to: u16) -> Option<Handed> {
        let (at, stream) = inner(stream);
        if at == 0 {
            return self.sockets.detach(stream, to).map(Handed::Socket);
        }
        let handed = self.devices[at - 1].stack.detach(stream, to)?;
        Some(Handed::Tcp(at as u8, Box::new(handed)))
    }

    fn attach(&mut self, handover: Handed) -> Option<(StreamId, Peer)> {
        match handover {
            Handed::Socket(handed) => {
                let (stream, peer) = self.sockets.attach(handed)?;
                Some((outer(0, stream), peer))
            }
            Handed::Tcp(at, handed) => {
                // Every shard has the same interfaces in the same order.
                let device = self.devices.get_mut(usize::from(at) - 1)?;
                let (stream, peer) = device.stack.attach(*handed)?;
                Some((outer(usize::from(at), stream), device.peer(peer)))
            }
        }
    }

    fn can_hand_over(&self) -> bool {
        self.sockets.can_hand_over() && self.devices.iter().all(|device| device.stack.can_hand_over())
    }

    fn peer(&self, stream: StreamId) -> Option<Peer> {
        let (at, stream) = inner(stream);
        if at == 0 {
            return self.sockets.peer(stream);
        }
        let device = &self.devices[at - 1];
        device.stack.peer(stream).map(|peer| device.peer(peer))
    }

    fn end_turn(&mut self) {
        self.sockets.end_turn();
        for device in &mut self.devices {
            device.stack.end_turn();
        }
    }

    fn take_woken(&mut self, into: &mut Vec<u16>) {
        for device in &mut self.devices {
            device.stack.take_woken(into);
        }
    }

    fn has_input(&self) -> bool {
        self.devices.iter().any(|device| device.stack.has_input())
    }

    fn next_timeout(&self) -> Option<Mono> {
        let devices = self.devices.iter().filter_map(|device| device.stack.next_timeout());
        devices.chain(self.sockets.next_timeout()).min()
    }

    fn too_big(&mut self, interface: &str, segments: &[TooBig]) {
        for device in self.devices.iter_mut().filter(|device| *device.name == *interface) {
            device.stack.too_big(interface, segments);
        }
    }

    fn stop_listening(&mut self) {
        self.sockets.stop_listening();
        for device in &mut self.devices {
            device.stack.stop_listening();
        }
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.sockets.figures()
    }

    fn interfaces(&self) -> Vec<InterfaceFigures> {
        let of = |device: &Device| {
            let (stack, port) = (&device.stack, device.stack.port_ref());
            let usage = stack.usage();
            let figures = stack.counters().iter().chain(port.happened());
            let dropped = stack.drops().iter().chain(stack.packet_drops().iter()).chain(port.dropped());
            InterfaceFigures {
                name: device.name.clone(),
                rung: port.rung(),
                connections: usage.connections as u64,
                figures: figures.collect(),
                dropped: dropped.collect(),
            }
        };
        self.devices.iter().map(of).collect()
    }
}

impl Wait for Transports {
    fn wait(&mut self, timeout_ns: Option<u64>) {
        self.sockets.wait(timeout_ns);
    }
}

impl std::fmt::Debug for Transports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transports")
            .field("sockets", &self.sockets)
            .field("devices", &self.devices.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_transport_and_comes_back_as_it_was() {
        for transport in [0, 1, 255] {
            for stream in [0, 1, (1 << SHIFT) - 1, (u64::from(u32::MAX) << 32) | 77] {
                let named = outer(transport, StreamId(stream));
                assert_eq!(inner(named), (transport, StreamId(stream)));
            }
        }
    }
}
