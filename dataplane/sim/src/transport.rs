//! A shard's transport in the simulator: the network's streams, or a TCP stack on a port.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use pelton_base::{ByteStreams, Ending, Mono, Peer, SendQueue, SharedLogs, StreamEvent, StreamId, Transmit};
use pelton_tcp::HandedTcp;

use crate::network::{ConnId, Network};
use crate::streams::SimStreams;
use crate::tcp::TcpStreams;

/// One of the two.
#[derive(Debug)]
pub enum Transport {
    /// Over the network of bytes.
    Memory(SimStreams),
    /// Over our TCP.
    Tcp(Box<TcpStreams>),
}

/// Bytes that came in.
#[derive(Debug)]
pub enum Received {
    /// From the network of bytes.
    Memory(Vec<u8>),
    /// From our TCP.
    Tcp(pelton_tcp::Chunk),
}

/// A stream on its way to another shard.
#[derive(Debug)]
pub enum Handed {
    /// Of the network of bytes.
    Memory(ConnId),
    /// Of our TCP.
    Tcp(Box<HandedTcp>, ConnId),
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Tcp(chunk) => chunk,
        }
    }
}

impl DerefMut for Received {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Tcp(chunk) => chunk,
        }
    }
}

/// The same event with its data wrapped.
fn wrapped<C>(event: StreamEvent<C>, wrap: impl FnOnce(C) -> Received) -> StreamEvent<Received> {
    match event {
        StreamEvent::Data { token, chunk } => StreamEvent::Data { token, chunk: wrap(chunk) },
        StreamEvent::Opened { stream, peer } => StreamEvent::Opened { stream, peer },
        StreamEvent::Writable { token } => StreamEvent::Writable { token },
        StreamEvent::Closed { token, why } => StreamEvent::Closed { token, why },
    }
}

impl Transport {
    /// A transport over the network of bytes.
    pub fn memory(network: Rc<RefCell<Network>>, shard: u16) -> Self {
        Self::Memory(SimStreams::new(network, shard))
    }

    /// Its process ends.
    pub fn die(&mut self) {
        match self {
            Self::Memory(_) => {}
            Self::Tcp(streams) => streams.die(),
        }
    }

    /// The TCP stack, if that is what it is.
    pub fn tcp(&self) -> Option<&TcpStreams> {
        match self {
            Self::Memory(_) => None,
            Self::Tcp(streams) => Some(streams),
        }
    }
}

impl ByteStreams for Transport {
    type Chunk = Received;
    type Handover = Handed;

    fn poll(&mut self, now: Mono) {
        match self {
            Self::Memory(streams) => streams.poll(now),
            Self::Tcp(streams) => streams.poll(now),
        }
    }

    fn next(&mut self) -> Option<StreamEvent<Received>> {
        match self {
            Self::Memory(streams) => streams.next().map(|event| wrapped(event, Received::Memory)),
            Self::Tcp(streams) => streams.next().map(|event| wrapped(event, Received::Tcp)),
        }
    }

    fn recycle(&mut self, chunk: Received) {
        match (self, chunk) {
            (Self::Memory(streams), Received::Memory(bytes)) => streams.recycle(bytes),
            (Self::Tcp(streams), Received::Tcp(chunk)) => streams.recycle(chunk),
            _ => unreachable!("a chunk goes back to where it came from"),
        }
    }

    fn keep_alive(&mut self, stream: StreamId) {
        if let Self::Tcp(streams) = self {
            streams.keep_alive(stream);
        }
    }

    fn bind(&mut self, stream: StreamId, token: u64) {
        match self {
            Self::Memory(streams) => streams.bind(stream, token),
            Self::Tcp(streams) => streams.bind(stream, token),
        }
    }

    fn pause_read(&mut self, stream: StreamId) {
        match self {
            Self::Memory(streams) => streams.pause_read(stream),
            Self::Tcp(streams) => streams.pause_read(stream),
        }
    }

    fn resume_read(&mut self, stream: StreamId) {
        match self {
            Self::Memory(streams) => streams.resume_read(stream),
            Self::Tcp(streams) => streams.resume_read(stream),
        }
    }

    fn consumed(&mut self, stream: StreamId, n: usize) {
        match self {
            Self::Memory(streams) => streams.consumed(stream, n),
            Self::Tcp(streams) => streams.consumed(stream, n),
        }
    }

    fn transmit(&mut self, stream: StreamId, queue: &mut SendQueue, logs: &mut SharedLogs) -> Transmit {
        match self {
            Self::Memory(streams) => streams.transmit(stream, queue, logs),
            Self::Tcp(streams) => streams.transmit(stream, queue, logs),
        }
    }

    fn close(&mut self, stream: StreamId, how: Ending) {
        match self {
            Self::Memory(streams) => streams.close(stream, how),
            Self::Tcp(streams) => streams.close(stream, how),
        }
    }

    fn detach(&mut self, stream: StreamId, to: u16) -> Option<Handed> {
        match self {
            Self::Memory(streams) => streams.detach(stream, to).map(Handed::Memory),
            Self::Tcp(streams) => {
                streams.detach(stream, to).map(|(handed, conn)| Handed::Tcp(Box::new(handed), conn))
            }
        }
    }

    fn attach(&mut self, handover: Handed) -> Option<(StreamId, Peer)> {
        match (self, handover) {
            (Self::Memory(streams), Handed::Memory(conn)) => streams.attach(conn),
            (Self::Tcp(streams), Handed::Tcp(handed, conn)) => streams.attach((*handed, conn)),
            _ => unreachable!("all shards have the same kind of transport"),
        }
    }

    fn can_hand_over(&self) -> bool {
        match self {
            Self::Memory(streams) => streams.can_hand_over(),
            Self::Tcp(streams) => streams.can_hand_over(),
        }
    }

    fn peer(&self, stream: StreamId) -> Option<Peer> {
        match self {
            Self::Memory(streams) => streams.peer(stream),
            Self::Tcp(streams) => streams.peer(stream),
        }
    }

    fn end_turn(&mut self) {
        match self {
            Self::Memory(streams) => streams.end_turn(),
            Self::Tcp(streams) => streams.end_turn(),
        }
    }

    fn take_woken(&mut self, into: &mut Vec<u16>) {
        match self {
            Self::Memory(streams) => streams.take_woken(into),
            Self::Tcp(streams) => streams.take_woken(into),
        }
    }

    fn has_input(&self) -> bool {
        match self {
            Self::Memory(streams) => streams.has_input(),
            Self::Tcp(streams) => streams.has_input(),
        }
    }

    fn next_timeout(&self) -> Option<Mono> {
        match self {
            Self::Memory(streams) => streams.next_timeout(),
            Self::Tcp(streams) => streams.next_timeout(),
        }
    }

    fn stop_listening(&mut self) {
        match self {
            Self::Memory(streams) => streams.stop_listening(),
            Self::Tcp(streams) => streams.stop_listening(),
        }
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        match self {
            Self::Memory(streams) => streams.figures(),
            Self::Tcp(streams) => streams.figures(),
        }
    }
}
