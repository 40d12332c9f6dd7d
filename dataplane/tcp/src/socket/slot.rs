//! What is kept of a socket.

use std::collections::VecDeque;
use std::net::SocketAddr;

use pelton_base::{Mono, StreamId};

use super::{SocketError, SocketId};

/// What a socket is.
#[derive(Debug, Default)]
pub(super) enum Kind {
    /// No socket.
    #[default]
    Free,
    /// Nothing yet.
    New,
    /// A listener; those that wait to be accepted.
    Listening { backlog: usize, ready: VecDeque<(SocketId, SocketAddr)> },
    /// A connection that is being opened from here.
    Connecting(StreamId),
    /// A connection.
    Open(StreamId),
    /// The connection is over; what it brought may still be read.
    Over,
}

/// What is kept of a socket.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) kind: Kind,
    pub(super) local: Option<SocketAddr>,
    /// When data came last, or the connection was opened.
    pub(super) received_at: Mono,
    /// What came and was not read.
    pub(super) received: VecDeque<u8>,
    pub(super) send_bytes_max: usize,
    /// Nothing more will be read.
    pub(super) read_closed: bool,
    /// Nothing more may be written.
    pub(super) write_closed: bool,
    /// The FIN is to follow what is queued.
    pub(super) fin_wanted: bool,
    /// Nobody has the socket any more; it goes when its connection is over.
    pub(super) left: bool,
    /// The connection was opened from here, and nobody has been told.
    pub(super) just_open: bool,
    /// Why the connection failed, until somebody is told.
    pub(super) failure: Option<SocketError>,
}

impl Slot {
    /// Whether somebody has it.
    pub(super) const fn is_owned(&self) -> bool {
        !self.left && !matches!(self.kind, Kind::Free)
    }

    pub(super) const fn stream(&self) -> Option<StreamId> {
        match self.kind {
            Kind::Connecting(stream) | Kind::Open(stream) => Some(stream),
            _ => None,
        }
    }

    pub(super) const fn take_failure(&mut self) -> Option<SocketError> {
        self.failure.take()
    }
}
