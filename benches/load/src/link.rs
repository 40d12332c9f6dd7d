//! A connection to the broker: its socket, what of a packet has come, what is still to be sent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use crate::poller::Ready;
use pelton_mqtt::{DecodeError, FixedHeader, Frame, MAX_PACKET, frame};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

/// Source addresses used towards a broker on the loopback: 28,000 ports each.
const SOURCES: usize = 32;

/// Bytes read at once.
pub(crate) const READ_BYTES: usize = 256 * 1024;

pub(crate) struct Link {
    /// `None` once it has ended.
    socket: Option<OwnedFd>,
    /// The beginning of a packet whose end has not come.
    cut: Vec<u8>,
    /// To be sent, from `sent` on.
    pub(crate) out: Vec<u8>,
    sent: usize,
    /// The socket takes no more until it is reported writable.
    blocked: bool,
    /// On a list of connections to be flushed.
    pub(crate) listed: bool,
    /// Its end was reported, which is not reported again: it is read to the end.
    ending: bool,
    /// What sending or receiving failed with.
    error: Option<Errno>,
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The socket is empty.
    Drained,
    /// There may be more.
    More,
    /// The broker has closed it.
    Ended,
}

impl Link {
    /// Starts connecting. `number` spreads loopback connections over source addresses, so that ports do not run out.
    pub(crate) fn open(address: SocketAddr, number: usize) -> std::io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        if address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            let source = Ipv4Addr::new(127, 0, 0, 1 + (number % SOURCES) as u8);
            rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
        }
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Self::over(socket)),
            Err(error) => Err(error.into()),
        }
    }

    fn over(socket: OwnedFd) -> Self {
        Self {
            socket: Some(socket),
            cut: Vec::new(),
            out: Vec::new(),
            sent: 0,
            blocked: false,
            listed: false,
            ending: false,
            error: None,
        }
    }

    pub(crate) fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    pub(crate) fn close(&mut self) {
        self.socket = None;
        self.cut = Vec::new();
        self.out = Vec::new();
        (self.sent, self.blocked) = (0, false);
    }

    /// The error the connection ended in, if it was not closed in good order.
    pub(crate) fn error(&self) -> Option<std::io::Error> {
        self.error.map(Into::into)
    }

    /// Bytes that wait to be sent.
    pub(crate) fn pending(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Takes note of what was reported. Returns whether it can send again.
    pub(crate) fn became(&mut self, ready: Ready) -> bool {
        self.ending |= ready.ending;
        ready.writable && std::mem::replace(&mut self.blocked, false)
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Sends what waits, as far as the socket takes it. `false` if the connection has ended.
    pub(crate) fn flush(&mut self) -> bool {
        let Some(socket) = &self.socket else { return false };
        while !self.blocked && self.sent < self.out.len() {
            match rustix::net::send(socket, &self.out[self.sent..], rustix::net::SendFlags::NOSIGNAL) {
                Ok(count) => self.sent += count,
                // Not connected yet: it is reported writable when it is.
                Err(Errno::AGAIN | Errno::NOTCONN) => self.blocked = true,
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.error = Some(error);
                    return false;
                }
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        } else if self.sent > READ_BYTES {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        true
    }

    /// Reads once and hands every whole packet to `each`: its header and its body.
    pub(crate) fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        mut each: impl FnMut(FixedHeader, &[u8], &mut Vec<u8>) -> Result<(), DecodeError>,
    ) -> Result<Taken, DecodeError> {
        let Some(socket) = &self.socket else { return Ok(Taken::Ended) };
        let carried = self.cut.len();
        if buffer.len() < carried + READ_BYTES {
            buffer.resize(carried + READ_BYTES, 0);
        }
        buffer[..carried].copy_from_slice(&self.cut);
        let space = buffer.len() - carried;
        let count = match rustix::net::recv(socket, &mut buffer[carried..], rustix::net::RecvFlags::empty()) {
            Ok((_, 0)) => return Ok(Taken::Ended),
            Ok((_, count)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Taken::Drained),
            Err(error) => {
                self.error = Some(error);
                return Ok(Taken::Ended);
            }
        };
        let mut rest = &buffer[..carried + count];
        while let Frame::Complete { header, total } = frame(rest, MAX_PACKET)? {
            each(header, &rest[usize::from(header.header_len)..total], &mut self.out)?;
            rest = &rest[total..];
        }
        self.cut.clear();
        self.cut.extend_from_slice(rest);
        Ok(if count == space || self.ending { Taken::More } else { Taken::Drained })
    }
}
