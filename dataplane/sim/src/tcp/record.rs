//! What was sent on each connection, held against what is received: byte by byte, both ways, and complete where a
//! direction ends in order.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use pelton_base::Mono;

use super::watch::Watch;
use crate::network::{ConnId, Way};

#[derive(Debug, Default)]
struct Lane {
    /// Sent and not received.
    under_way: VecDeque<u8>,
    received: u64,
}

#[derive(Debug)]
struct Record {
    peer: SocketAddr,
    up: Lane,
    down: Lane,
    accepted: bool,
}

/// The records of a run.
#[derive(Debug, Default)]
pub(crate) struct Records {
    all: BTreeMap<ConnId, Record>,
    /// Which connection a client's address belongs to at present.
    by_peer: BTreeMap<SocketAddr, ConnId>,
    failure: Option<String>,
    watch: Option<Rc<RefCell<Watch>>>,
    /// When clients let go of connections, while the links were bad.
    pub(crate) let_go: BTreeSet<ConnId>,
    /// When connections ended at their shards.
    pub(crate) ended_at: BTreeMap<ConnId, Mono>,
    /// Bytes received, both ways.
    pub(crate) bytes: u64,
    /// Connections of the other implementation.
    pub(crate) foreign: u64,
}

impl Records {
    pub(crate) fn new(watch: Rc<RefCell<Watch>>) -> Self {
        Self { watch: Some(watch), ..Self::default() }
    }

    /// A client opens a connection.
    pub(crate) fn open(&mut self, conn: ConnId, peer: SocketAddr, foreign: bool) {
        self.foreign += u64::from(foreign);
        let record = Record { peer, up: Lane::default(), down: Lane::default(), accepted: false };
        self.all.insert(conn, record);
        self.by_peer.insert(peer, conn);
    }

    /// A shard accepts one.
    pub(crate) fn accept(&mut self, peer: SocketAddr) -> ConnId {
        let heard = self.watch.as_ref().and_then(|watch| watch.borrow().heard_from(peer));
        let Some(conn) = heard.or_else(|| self.by_peer.get(&peer).copied()) else {
            self.fail(format!("a connection with {peer} was accepted, and nobody is there"));
            return 0;
        };
        if self.all.get_mut(&conn).is_none_or(|record| std::mem::replace(&mut record.accepted, true)) {
            self.fail(format!("connection {conn} with {peer} was accepted twice"));
        }
        conn
    }

    /// The address that a client opened a connection from.
    pub(crate) fn peer(&self, conn: ConnId) -> Option<SocketAddr> {
        self.all.get(&conn).map(|record| record.peer)
    }

    pub(crate) fn sent(&mut self, conn: ConnId, way: Way, bytes: &[u8]) {
        if let Some(lane) = self.lane(conn, way) {
            lane.under_way.extend(bytes);
        }
        if let Some(watch) = &self.watch {
            watch.borrow_mut().queued(conn, way, bytes.len());
        }
    }

    pub(crate) fn received(&mut self, conn: ConnId, way: Way, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let Some(lane) = self.lane(conn, way) else { return };
        let at = lane.received;
        lane.received += bytes.len() as u64;
        let same = bytes.len() <= lane.under_way.len()
            && lane.under_way.drain(..bytes.len()).eq(bytes.iter().copied());
        if !same {
            self.fail(format!(
                "connection {conn}, {way:?}: of {} bytes from {at} on not all are those that were sent",
                bytes.len()
            ));
        }
    }

    /// A direction has ended by FIN: everything has come.
    pub(crate) fn ended(&mut self, conn: ConnId, way: Way) {
        let Some(lane) = self.lane(conn, way) else { return };
        let (missing, received) = (lane.under_way.len(), lane.received);
        if missing != 0 {
            self.fail(format!(
                "connection {conn}, {way:?}: ended in order after {received} bytes, {missing} are missing"
            ));
        }
    }

    /// Its shard knows of the end of a connection, or has no use for it any more.
    pub(crate) fn ended_at_shard(&mut self, conn: ConnId) {
        let now = self.watch.as_ref().map_or(Mono(0), |watch| watch.borrow().now);
        self.ended_at.insert(conn, now);
    }

    fn lane(&mut self, conn: ConnId, way: Way) -> Option<&mut Lane> {
        let record = self.all.get_mut(&conn)?;
        Some(match way {
            Way::Up => &mut record.up,
            Way::Down => &mut record.down,
        })
    }

    /// Notes what may not be. The first stays.
    pub(crate) fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    pub(crate) fn failure(&self) -> Option<&String> {
        self.failure.as_ref()
    }
}
