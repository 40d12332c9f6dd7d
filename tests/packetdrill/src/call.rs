//! System calls, by value: what may have to wait, and what comes of it.

use std::net::SocketAddr;

use pelton_base::Mono;
use pelton_tcp::SocketError;

/// A file descriptor, as packetdrill has it.
pub(crate) type Fd = i32;

/// An error number.
pub(crate) type Errno = i32;

/// A call that may have to wait.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Accept { fd: Fd },
    Connect { fd: Fd, remote: SocketAddr },
    Read { fd: Fd, len: usize, peek: bool },
    Write { fd: Fd, bytes: Vec<u8>, written: usize },
    Poll { of: Vec<(Fd, i16)>, until: Option<Mono> },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Nothing,
    Accepted(Fd, SocketAddr),
    Read(Vec<u8>),
    Written(usize),
    Polled(Vec<i16>),
}

/// What the error of a socket is to a program.
pub(crate) const fn errno(error: SocketError) -> Errno {
    match error {
        SocketError::NoSuchSocket => libc::EBADF,
        SocketError::WouldBlock => libc::EAGAIN,
        SocketError::InProgress => libc::EINPROGRESS,
        SocketError::Already => libc::EALREADY,
        SocketError::Connected => libc::EISCONN,
        SocketError::NotConnected => libc::ENOTCONN,
        SocketError::BrokenPipe => libc::EPIPE,
        SocketError::Refused => libc::ECONNREFUSED,
        SocketError::Reset => libc::ECONNRESET,
        SocketError::TimedOut => libc::ETIMEDOUT,
        SocketError::Unreachable => libc::EHOSTUNREACH,
        SocketError::AddressInUse => libc::EADDRINUSE,
        SocketError::Full => libc::ENOBUFS,
        SocketError::Invalid => libc::EINVAL,
    }
}
