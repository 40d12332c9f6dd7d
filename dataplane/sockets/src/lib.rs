//! Kernel sockets as byte streams.
//!
//! One [`Sockets`] serves one shard: an epoll instance, listeners that the kernel spreads connections over
//! (`SO_REUSEPORT`, one of each for every shard), and the connections. Everything is edge-triggered and
//! registered once: no `epoll_ctl` per message. A connection that sent less than a buffer is drained without
//! asking again; one that filled it comes again after the others. Writes happen when the shard flushes, one
//! gathered write for a connection and a turn.
//!
//! A connection costs nothing while idle but its entry here (see [`Sockets::connection_bytes`]).
//!
//! | what happens | outcome | counted as |
//! |---|---|---|
//! | the process is out of descriptors | listening rests for 100 ms; who waits in the backlog is served then | [`SocketCounter::OutOfDescriptors`] |
//! | the peer closes its direction | what it sent is delivered, then the stream ends | `peer_closed` |
//! | the peer resets | the stream ends | `peer_reset` |
//! | the peer does not read | the queue stays with the shard, which is told when there is room | [`SocketCounter::Blocked`] |
//! | this side ended it and the peer does not close | reset after 2 s | [`SocketCounter::LingerExpired`] |
#![forbid(unsafe_code)]

mod connection;
mod listener;
mod poller;
mod sockets;
pub mod wake;

pub use listener::{Bind, BindError, Listeners};
pub use sockets::{HandedSocket, SocketCounter, Sockets};
pub use wake::{Waker, wake_pair};
