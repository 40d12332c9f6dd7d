//! The byte-stream contract: what kernel sockets, our own TCP and the in-memory transport of the simulator
//! all offer to a shard, so that the broker above never knows what carries it.
//!
//! The shard drives a transport like this, once a turn: [`ByteStreams::poll`] does the I/O that is due, then
//! [`ByteStreams::next`] hands out what happened, one event at a time, until it has no more; what the broker
//! answers is queued in [`Outgoing`](crate::send::Outgoing) and flushed by [`ByteStreams::transmit`].
//!
//! A stream is named two ways: the transport's [`StreamId`], and the `token` that the shard bound to it,
//! which comes back with every event.

use std::net::SocketAddr;
use std::ops::DerefMut;
use std::sync::Arc;

use crate::counter_set;
use crate::send::{SendQueue, SharedLogs};
use crate::time::Mono;

/// A stream, in its transport's own numbering. Generation-checked by the transport: naming a stream that is
/// gone does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(pub u64);

/// Who is at the other end, and which listener took the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The peer's address.
    pub remote: SocketAddr,
    /// Which of the configured listeners.
    pub listener: u16,
}

counter_set! {
    /// Why a stream ended.
    pub enum StreamEnd {
        /// The peer closed its direction (FIN) and everything it sent was delivered.
        PeerClosed = "peer_closed",
        /// The peer reset the connection (RST).
        PeerReset = "peer_reset",
        /// The peer stopped answering: retransmissions or keep-alive ran out.
        TimedOut = "timed_out",
        /// The network said that the peer cannot be reached.
        Unreachable = "unreachable",
        /// The system refused an operation on the connection.
        SystemError = "system_error",
        /// This side closed it.
        Local = "local",
    }
}

/// What happened to a stream.
#[derive(Debug)]
pub enum StreamEvent<C> {
    /// A connection was accepted. The shard answers with [`ByteStreams::bind`] or [`ByteStreams::close`].
    Opened {
        /// Its name here.
        stream: StreamId,
        /// Who connected, to what.
        peer: Peer,
    },
    /// Bytes came in, in order. The chunk goes back by [`ByteStreams::recycle`].
    Data {
        /// The token of the stream.
        token: u64,
        /// The bytes; mutable, so that stages above may decrypt or unmask in place.
        chunk: C,
    },
    /// A queue that did not fit has gone out below the low-water mark.
    Writable {
        /// The token of the stream.
        token: u64,
    },
    /// The stream is gone; its id is stale.
    Closed {
        /// The token of the stream.
        token: u64,
        /// Why.
        why: StreamEnd,
    },
}

/// What became of a queue that was handed to [`ByteStreams::transmit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// Everything is on its way (kernel sockets: taken by the kernel; our TCP: in window).
    Drained,
    /// The rest stays in the queue; [`StreamEvent::Writable`] follows.
    Blocked,
    /// The stream is gone; [`StreamEvent::Closed`] follows.
    Gone,
}

/// How a stream is ended from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer has said goodbye: nothing more comes from it, nothing is waited for.
    Agreed,
    /// Close this direction once what is queued has gone, and wait, for a bounded time, until the peer has
    /// closed its own: a last packet that explains the end must not be overtaken by a reset.
    Graceful,
    /// Drop what is queued and reset.
    Abort,
}

/// How long a transport puts up with a peer that is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long data may stay unacknowledged, or the peer's window closed (RFC 5482).
    pub user_timeout_ms: u32,
    /// How long a stream that [`ByteStreams::keep_alive`] names must be silent before its peer is asked whether it is
    /// there; zero for never. RFC 9293 3.8.4.
    pub keep_alive_idle_ms: u32,
    /// The time between such questions.
    pub keep_alive_interval_ms: u32,
    /// Questions without an answer after which the stream is given up.
    pub keep_alive_probes: u8,
}

impl Default for Patience {
    /// No sooner than RFC 9293 3.8.4 lets a default be.
    fn default() -> Self {
        Self {
            user_timeout_ms: 300_000,
            keep_alive_idle_ms: 7_200_000,
            keep_alive_interval_ms: 75_000,
            keep_alive_probes: 9,
        }
    }
}

/// A transport: many byte streams and their listeners, driven by one shard.
pub trait ByteStreams {
    /// Received bytes, owned until recycled.
    type Chunk: DerefMut<Target = [u8]>;
    /// An open stream on its way to the transport of another shard.
    type Handover: Send + 'static;

    /// Does the I/O that is due without waiting, and fires the transport's timers.
    fn poll(&mut self, now: Mono);

    /// The next event of this turn. Data of one stream comes in order; a stream that was handed out may come
    /// again in the same turn only after all others that are ready.
    fn next(&mut self) -> Option<StreamEvent<Self::Chunk>>;

    /// The token of the event that follows in so many, if it is known and has one, and the bytes that come with it: to
    /// have what they need at hand by then.
    fn upcoming(&self, _ahead: usize) -> Option<(u64, &[u8])> {
        None
    }

    /// Gives a chunk back.
    fn recycle(&mut self, chunk: Self::Chunk);

    /// Gives an opened stream the token that its events carry.
    fn bind(&mut self, stream: StreamId, token: u64);

    /// Nobody above would notice if this stream's peer were gone: the transport finds out ([`Patience`]), and ends
    /// the stream as [`StreamEnd::TimedOut`].
    fn keep_alive(&mut self, _stream: StreamId) {}

    /// Stops handing out data of this stream. What was in flight may still come, bounded by the window that
    /// was advertised; the shard holds it.
    fn pause_read(&mut self, stream: StreamId);

    /// Hands out data again.
    fn resume_read(&mut self, stream: StreamId);

    /// `n` bytes that were handed out have been used: they count no longer against the stream's window.
    fn consumed(&mut self, stream: StreamId, n: usize);

    /// Sends from the queue as much as goes without waiting, taking off what is gone.
    fn transmit(&mut self, stream: StreamId, queue: &mut SendQueue, logs: &mut SharedLogs) -> Transmit;

    /// Asks for what [`ByteStreams::transmit`] will touch of this stream, which will be called soon.
    fn prefetch(&self, _stream: StreamId) {}

    /// The token of the next stream whose peer has taken bytes for good that are still in its queue, and how many: the
    /// driver takes them off. Asked after everything has been transmitted, which does the same. Who is not asked has
    /// the queue transmitted once more for it.
    fn next_acknowledged(&mut self) -> Option<(u64, usize)> {
        None
    }

    /// Ends a stream from this side; its queue has been transmitted, except for [`Ending::Abort`]. The
    /// stream's [`StreamEvent::Closed`] follows in every case, and no data any more.
    fn close(&mut self, stream: StreamId, how: Ending);

    /// Takes an open stream out of this transport, to be attached to that of shard `to`. `None` if it is gone
    /// or this transport's streams cannot move.
    fn detach(&mut self, stream: StreamId, to: u16) -> Option<Self::Handover>;

    /// Takes in a stream that another shard detached; the shard binds it next.
    fn attach(&mut self, handover: Self::Handover) -> Option<(StreamId, Peer)>;

    /// Whether streams can be moved between shards ([`ByteStreams::detach`]).
    fn can_hand_over(&self) -> bool;

    /// Who is at the other end of a stream.
    fn peer(&self, stream: StreamId) -> Option<Peer>;

    /// The turn is over and everything has been transmitted: what waited for company leaves now, alone.
    fn end_turn(&mut self) {}

    /// Shards whose transports were given something by this one since the last call, to be woken.
    fn take_woken(&mut self, _into: &mut Vec<u16>) {}

    /// Whether another shard's transport has given this one something: to be asked before sleeping.
    fn has_input(&self) -> bool {
        false
    }

    /// When [`ByteStreams::poll`] has something to do, if nothing arrives before: a timer, or what was left
    /// over because it had its share of the turn.
    fn next_timeout(&self) -> Option<Mono>;

    /// Routers say that segments which left by an interface were too big. Who does not have the stream ignores it.
    fn too_big(&mut self, _interface: &str, _segments: &[TooBig]) {}

    /// Stops accepting; open streams go on.
    fn stop_listening(&mut self);

    /// What the transport counted, by name.
    fn figures(&self) -> Vec<(&'static str, u64)>;

    /// The same of each network interface that it serves by itself, past the kernel.
    fn interfaces(&self) -> Vec<InterfaceFigures> {
        Vec::new()
    }
}

/// A router says that a segment was too big for one of its links. To be believed only if the segment is under way: anybody
/// may say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig {
    /// Who sent the segment.
    pub local: SocketAddr,
    /// Whom it was for.
    pub remote: SocketAddr,
    /// The largest packet the link carries; zero from routers that do not say (RFC 1191 5).
    pub mtu_bytes: u32,
    /// The sequence number of the segment.
    pub sequence: u32,
}

/// What a transport counted at a network interface, or at its queue of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFigures {
    /// The name of the interface.
    pub name: Arc<str>,
    /// How it is served.
    pub rung: &'static str,
    /// Connections open now.
    pub connections: u64,
    /// What happened, by name.
    pub figures: Vec<(&'static str, u64)>,
    /// What was dropped, by reason.
    pub dropped: Vec<(&'static str, u64)>,
}

/// A transport of the operating system, which can put its thread to sleep.
pub trait Wait {
    /// Waits until there is I/O to do, somebody wakes the thread, or `timeout_ns` has passed (zero: only
    /// looks; none: waits as long as it takes).
    fn wait(&mut self, timeout_ns: Option<u64>);
}
