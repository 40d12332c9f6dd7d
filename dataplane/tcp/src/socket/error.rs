//! Why a call on a socket did not do what was asked.

use pelton_base::StreamEnd;

/// Why a call on a socket did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketError {
    /// There is no such socket, or not any more.
    NoSuchSocket,
    /// It would have to wait.
    WouldBlock,
    /// The connection was begun.
    InProgress,
    /// The connection is being opened.
    Already,
    /// It is connected.
    Connected,
    /// It is not connected.
    NotConnected,
    /// This direction is closed, or nobody is at the other end any more.
    BrokenPipe,
    /// The peer does not accept connections.
    Refused,
    /// The peer reset the connection.
    Reset,
    /// The peer did not answer.
    TimedOut,
    /// The network knows no way to the peer.
    Unreachable,
    /// Somebody else has the address.
    AddressInUse,
    /// A table of the stack is full.
    Full,
    /// It cannot be done with such a socket.
    Invalid,
}

impl SocketError {
    /// What the end of a connection means to who uses it; `None` if it is an end in order. `opening`: it never was open.
    pub(super) const fn of_end(why: StreamEnd, opening: bool) -> Option<Self> {
        match why {
            StreamEnd::PeerReset if opening => Some(Self::Refused),
            StreamEnd::PeerReset => Some(Self::Reset),
            StreamEnd::TimedOut => Some(Self::TimedOut),
            StreamEnd::Unreachable | StreamEnd::SystemError => Some(Self::Unreachable),
            StreamEnd::PeerClosed | StreamEnd::Local => None,
        }
    }
}
