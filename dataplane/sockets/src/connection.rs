//! One connection.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use pelton_base::Peer;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In use by the shard.
    Open,
    /// This side has closed its direction and waits for the peer to do so; what still comes is thrown away.
    Lingering,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    pub(crate) token: u64,
    pub(crate) remote: SocketAddr,
    pub(crate) listener: u16,
    pub(crate) phase: Phase,
    /// The shard does not want data now.
    pub(crate) paused: bool,
    /// There may be data that was not read: it was paused, or had its share of the turn.
    pub(crate) readable: bool,
    /// The kernel reported the end: it is read until the end is met, since no further report comes.
    pub(crate) ending: bool,
    /// It stands in the list of those to be read.
    pub(crate) queued: bool,
    /// A write found no room.
    pub(crate) blocked: bool,
    /// There is room again, and the shard has not been told.
    pub(crate) writable: bool,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd, remote: SocketAddr, listener: u16) -> Self {
        Self {
            socket,
            token: u64::MAX,
            remote,
            listener,
            phase: Phase::Open,
            paused: false,
            readable: false,
            ending: false,
            queued: false,
            blocked: false,
            writable: false,
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer { remote: self.remote, listener: self.listener }
    }
}
