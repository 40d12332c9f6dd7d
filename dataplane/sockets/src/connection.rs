//! One connection.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use pelton_base::Peer;
use rustix::net::getpeername;

/// The address of a peer that is gone.
pub(crate) const UNKNOWN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

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
    pub(crate) fn new(socket: OwnedFd, listener: u16) -> Self {
        Self {
            socket,
            token: u64::MAX,
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

    /// Who is at the other end, as the kernel knows it (it is rarely asked, and need not be kept); the
    /// unspecified address if it knows no more.
    pub(crate) fn peer(&self) -> Peer {
        let remote = getpeername(&self.socket).ok().flatten().and_then(|remote| remote.try_into().ok());
        Peer { remote: remote.unwrap_or(UNKNOWN), listener: self.listener }
    }
}
