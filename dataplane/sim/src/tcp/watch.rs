//! Sees every segment that either side of a connection sends, and every one that reaches it, and holds the sender to
//! what can be said of a right TCP from outside:
//!
//! | what | source |
//! |---|---|
//! | its checksums are right | RFC 9293 3.1 |
//! | its acknowledgements never go back | RFC 9293 3.4 |
//! | the right edge of its window never goes back | RFC 9293 3.8.6 SHLD-14 |
//! | it sends nothing beyond the edge it was told, but for probes of one byte | RFC 9293 3.8.6.1 |
//! | it sends nothing beyond its FIN, no second FIN elsewhere, and nothing after its own reset | RFC 9293 3.10.4 |
//! | no more is under way than an initial window, what was acknowledged, and limited transmit | RFC 5681 3.1, RFC 3042 |
//! | what the peer said to have is not sent again but after a time-out | RFC 2018 8, RFC 6675 5 |
//! | the first of what waits, be it for an acknowledgement or to be sent at all, is sent within three times the longest silence, or six times the longest round trip, so far | RFC 6298 5.5, RFC 9293 3.8.6.1 |
//! | what it sends again while nobody says anything waits twice as long each time | RFC 6298 5.5 |
//! | a window that is closed, or too little for all there is to send, is probed, within two seconds or as above | RFC 9293 3.8.6.1 MUST-36 |
//! | how much is sent again is bounded by what is sent | |
//!
//! What it owes for what it receives is in [`duties`](super::duties), how losses are repaired in
//! [`repairs`](super::repairs).
//!
//! What it knows of a shard's stack may be early: segments are handed from stack to stack after they were seen.

mod flow;
mod sent;
mod told;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use pelton_base::Mono;
use pelton_packet::parse::TCP;
use pelton_packet::{Parsed, parse};
use pelton_tcp::Seq;
use pelton_tcp::segment::{Flags, Segment};

use super::duties::Promise;
use crate::network::{ConnId, Way};
use flow::{Flow, Terms, Watched};

/// Bytes of a segment on these links at most.
pub(crate) const SEGMENT_BYTES: u32 = 1_460;
/// How long before the machine stood still something may have been sent or told that was not looked at.
const RECENT_MS: u64 = 200;

/// All connections of a run.
#[derive(Debug)]
pub(crate) struct Watch {
    all: BTreeMap<ConnId, Watched>,
    /// Whose an address is, the last at the end: frames of one that is gone may still be on their way.
    by_peer: BTreeMap<SocketAddr, Vec<ConnId>>,
    /// Whose segment came last from an address, SYNs apart.
    heard_from: BTreeMap<SocketAddr, ConnId>,
    promises: [Promise; 2],
    /// When a sender last found no frame or no room.
    hindered: [Mono; 2],
    pub(crate) now: Mono,
    failure: Option<String>,
}

const fn side(way: Way) -> usize {
    match way {
        Way::Up => 0,
        Way::Down => 1,
    }
}

impl Watch {
    /// `promises`: what clients' stack promises, and shards'.
    pub(crate) const fn new(promises: [Promise; 2]) -> Self {
        Self {
            all: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            heard_from: BTreeMap::new(),
            promises,
            hindered: [Mono(0); 2],
            now: Mono(0),
            failure: None,
        }
    }

    /// A client opens a connection, or tries to.
    pub(crate) fn open(&mut self, conn: ConnId, peer: SocketAddr, foreign: bool) {
        let up = Flow { at: self.now, first_at: self.now, ..Flow::default() };
        self.all.insert(conn, Watched { foreign, up, ..Watched::default() });
        self.by_peer.entry(peer).or_default().push(conn);
    }

    /// It could not: the address is still somebody else's.
    pub(crate) fn did_not_open(&mut self, conn: ConnId, peer: SocketAddr) {
        self.all.remove(&conn);
        if let Some(conns) = self.by_peer.get_mut(&peer) {
            conns.retain(|&other| other != conn);
        }
    }

    /// Which of the connections that an address had a segment is of, by a number that says where in what the client sends
    /// it is: the last that began before that. A SYN that is sent is of the newest, or was sent before.
    fn whose(&self, peer: SocketAddr, number: Option<Seq>, opens: bool) -> Option<ConnId> {
        let conns = self.by_peer.get(&peer)?;
        let &newest = conns.last()?;
        let (Some(number), false) = (number, opens && !self.all[&newest].up.begun) else {
            return Some(newest);
        };
        let behind = |conn: &ConnId| {
            let up = &self.all[conn].up;
            let behind = number.since(up.first.back(1));
            (up.begun && behind < 1 << 31).then_some(behind)
        };
        conns
            .iter()
            .filter(|conn| behind(conn).is_some())
            .min_by_key(|conn| behind(conn))
            .copied()
            .or(Some(newest))
    }

    /// Whose connection it is that a shard accepts.
    pub(crate) fn heard_from(&self, peer: SocketAddr) -> Option<ConnId> {
        self.heard_from.get(&peer).copied()
    }

    /// There is more to send.
    pub(crate) fn queued(&mut self, conn: ConnId, way: Way, n: usize) {
        let now = self.now;
        if let Some(watched) = self.all.get_mut(&conn) {
            let (flow, _) = watched.flows(way);
            if !flow.waits() {
                flow.at = now;
            }
            flow.queued += n as u32;
        }
    }

    /// The shards' process has ended. Those that are being opened may be opened with the next, but not by an answer of
    /// this one's.
    pub(crate) fn shards_ended(&mut self) {
        for watched in self.all.values_mut() {
            watched.orphaned |= watched.down.begun;
            watched.down.answers.clear();
        }
    }

    /// Whether a connection was opened, and not with a process that has ended.
    pub(crate) fn outlived(&self, conn: ConnId) -> bool {
        self.all.get(&conn).is_some_and(|watched| watched.down.begun && !watched.orphaned)
    }

    /// Who sends this way has no frame, or no room.
    pub(crate) const fn hindered(&mut self, way: Way) {
        self.hindered[side(way)] = self.now;
    }

    /// The machine stood still for so long: to stacks this was a part of the round trips of the time.
    pub(crate) fn stood_still(&mut self, now: Mono, ms: u64) {
        self.hindered = [now; 2];
        for flow in self.all.values_mut().flat_map(|watched| [&mut watched.up, &mut watched.down]) {
            if flow.una != flow.end || now.as_ms() <= flow.at.as_ms() + ms + RECENT_MS {
                flow.round_trip_ms += ms;
            }
        }
    }

    /// Who sends this way has given a connection up: its reset may get lost, or find no room.
    pub(crate) fn given_up(&mut self, conn: ConnId, way: Way) {
        if let Some(watched) = self.all.get_mut(&conn) {
            watched.flows(way).0.over = true;
        }
    }

    /// Time-outs of those who send this way, or, `blind`, no means to know what was said: all may be sent again.
    pub(crate) fn forget_sacked(&mut self, way: Way, blind: bool) {
        for watched in self.all.values_mut() {
            let (flow, _) = watched.flows(way);
            flow.sacked.clear();
            flow.repairs.excuse(flow.end);
            if blind {
                flow.repairs.forget_shown();
            }
        }
    }

    /// Who sends this way has taken what it received.
    pub(crate) fn consumed(&mut self, conn: ConnId, way: Way, n: usize) {
        if let Some(watched) = self.all.get_mut(&conn) {
            watched.flows(way).0.duties.consumed += n as u32;
        }
    }

    /// Connections of whose clients something is on its way, or still to be sent.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = ConnId> {
        self.all.iter().filter(|(_, watched)| watched.up.waits()).map(|(&conn, _)| conn)
    }

    pub(crate) const fn failure(&self) -> Option<&String> {
        self.failure.as_ref()
    }

    fn read(&self, frame: &[u8], from_client: bool) -> Option<Result<(ConnId, SocketAddr, Segment), String>> {
        let Ok(Parsed::Ip(datagram)) = parse(frame) else { return None };
        if datagram.protocol != TCP {
            return None;
        }
        let (source, destination): (IpAddr, IpAddr) = (datagram.source, datagram.destination);
        match Segment::parse(source, destination, datagram.payload(frame)) {
            Ok(segment) => {
                let peer: SocketAddr = if from_client {
                    (source, segment.source).into()
                } else {
                    (destination, segment.destination).into()
                };
                let number = if from_client {
                    Some(segment.seq)
                } else {
                    segment.flags.has(Flags::ACK).then_some(segment.ack)
                };
                let opens = from_client && segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK);
                self.whose(peer, number, opens).map(|conn| Ok((conn, peer, segment)))
            }
            Err(why) => Some(Err(format!("{why:?}"))),
        }
    }

    /// A segment is sent.
    pub(crate) fn sent(&mut self, way: Way, frame: &[u8]) {
        match self.read(frame, way == Way::Up) {
            None => {}
            Some(Err(why)) => self.fail(format!("a segment was sent that is none: {why}")),
            Some(Ok((conn, _, segment))) => self.judge(conn, way, &segment, "sent", Watched::sent),
        }
    }

    /// A segment reaches who sends this way.
    pub(crate) fn told(&mut self, way: Way, frame: &[u8]) {
        if let Some(Ok((conn, peer, segment))) = self.read(frame, way == Way::Down)
            && self.all.contains_key(&conn)
        {
            if way == Way::Down && !segment.flags.has(Flags::SYN) {
                self.heard_from.insert(peer, conn);
            }
            self.judge(conn, way, &segment, "told", Watched::told);
        }
    }

    /// Holds who sends `way` to what can be said of it as a segment is sent, or reaches it.
    fn judge(
        &mut self,
        conn: ConnId,
        way: Way,
        segment: &Segment,
        what: &str,
        how: impl FnOnce(&mut Watched, Way, &Segment, Terms) -> Result<(), &'static str>,
    ) {
        let terms =
            Terms { now: self.now, hindered: self.hindered[side(way)], promise: self.promises[side(way)] };
        let Some(watched) = self.all.get_mut(&conn) else { return };
        if let Err(why) = how(watched, way, segment, terms) {
            let (flow, _) = watched.flows(way);
            let why = format!("connection {conn}, {way:?}: {why}; {what} {segment:?}; {flow:?}");
            self.fail(why);
        }
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }
}
