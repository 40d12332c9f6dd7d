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
//! | a window that closes while there is more to send is probed, within two seconds or as above | RFC 9293 3.8.6.1 MUST-36 |
//! | how much is sent again is bounded by what is sent | |
//!
//! What it owes for what it receives is in [`duties`](super::duties), how losses are repaired in
//! [`repairs`](super::repairs).
//!
//! What it knows of a shard's stack may be early: segments are handed from stack to stack after they were seen.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use pelton_base::Mono;
use pelton_packet::parse::TCP;
use pelton_packet::{Parsed, parse};
use pelton_tcp::Seq;
use pelton_tcp::segment::{Flags, Segment};

use super::duties::{Duties, Promise};
use super::repairs::Repairs;
use crate::network::{ConnId, Way};

/// Bytes of a segment on these links at most.
pub(crate) const SEGMENT_BYTES: u32 = 1_460;
/// RFC 6928 2.
const INITIAL_BYTES: u32 = 10 * SEGMENT_BYTES;
/// Of what the sender could know to have arrived, segments that may be sent again all the same.
const NEEDLESS_MAX: u32 = 2;
/// Silence that nobody needs to explain, in milliseconds: a time-out of three seconds (RFC 6298 5.7), or one of 300 ms
/// doubled four times, and some.
const SILENCE_MS: u64 = 5_000;
/// A closed window is probed after a time-out, one second at first.
const PROBE_MS: u64 = 2_000;
/// How long shards' turns make a repair wait.
const TURNS_MS: u64 = 75;
/// How long a segment may be on its way from the stack that received it to that which has the connection, and is away
/// for 10 ms at most, beside what frames lie about anyway.
const HEARD_MS: u64 = 12;
/// Bytes that may be sent again whatever was sent.
const RESENT_BYTES: u64 = 60 * SEGMENT_BYTES as u64;

/// One direction, from its sender's view.
#[derive(Debug, Default)]
struct Flow {
    begun: bool,
    /// It has ended, or may have.
    over: bool,
    /// A reset was sent that ends it.
    reset: bool,
    first: Seq,
    /// What the sender was told that arrived.
    una: Seq,
    /// The end of what was sent.
    end: Seq,
    fin: Option<Seq>,
    /// The peer's right edge, as the sender was told.
    edge: Seq,
    window_closed: bool,
    /// Since when.
    closed_at: Mono,
    /// The window as the peer's last segment said, and the latest of its time stamps.
    window: u16,
    stamp: Option<u32>,
    /// What the peer said to have out of order, and when the sender is sure to have heard of it.
    sacked: Vec<(Seq, Seq, Mono)>,
    /// The sender's own acknowledgement, and the right edge of its window.
    said: Option<(Seq, Seq)>,
    /// Its shift, as it offered it.
    scale: Option<u8>,
    /// The answers to a SYN, each with its number and its shift: several stacks may answer, each in its own way.
    answers: Vec<(Seq, Option<u8>, bool)>,
    /// It offered SACK.
    sack: bool,
    syn_window: u32,
    /// Bytes that it was given to send.
    queued: u32,
    /// The last time that it sent the first of what is not acknowledged, or was told that something was.
    at: Mono,
    longest_ms: u64,
    /// When the first of what is not acknowledged was sent for the first time.
    first_at: Mono,
    /// The longest time that anything took to be acknowledged: what a time-out comes from.
    round_trip_ms: u64,
    resent: u64,
    /// Acknowledgements of what had been acknowledged.
    duplicates: u32,
    needless: u32,
    duties: Duties,
    repairs: Repairs,
}

impl Flow {
    /// Whether something waits.
    fn waits(&self) -> bool {
        self.begun && !self.over && (self.una.lt(self.end) || self.end.lt(self.first + self.queued))
    }

    /// Bytes that the peer said to have out of order.
    fn sacked_bytes(&self) -> u32 {
        let mut blocks: Vec<(u32, u32)> =
            self.sacked.iter().map(|block| (block.0.since(self.una), block.1.since(self.una))).collect();
        blocks.sort_unstable();
        let (mut bytes, mut reached) = (0, 0);
        for (left, right) in blocks {
            bytes += right.saturating_sub(left.max(reached));
            reached = reached.max(right);
        }
        bytes
    }

    /// Something was acknowledged.
    fn acknowledged(&mut self, ack: Seq, now: Mono) {
        self.round_trip_ms = self.round_trip_ms.max(now.as_ms().saturating_sub(self.first_at.as_ms()));
        (self.una, self.at, self.first_at) = (ack, now, now);
        self.repairs.acknowledged(ack);
        if self.una == self.end {
            self.duplicates = 0;
        }
    }
}

#[derive(Debug, Default)]
struct Watched {
    up: Flow,
    down: Flow,
    foreign: bool,
    /// Its shard's process has ended: what it said is nothing to the next.
    orphaned: bool,
}

impl Watched {
    fn flows(&mut self, way: Way) -> (&mut Flow, &mut Flow) {
        match way {
            Way::Up => (&mut self.up, &mut self.down),
            Way::Down => (&mut self.down, &mut self.up),
        }
    }
}

/// All connections of a run.
#[derive(Debug)]
pub(crate) struct Watch {
    all: BTreeMap<ConnId, Watched>,
    /// Whose an address is, the last at the end: frames of one that is gone may still be on their way.
    by_peer: BTreeMap<SocketAddr, Vec<ConnId>>,
    /// Whose segment came last from an address, SYNs apart.
    heard_from: BTreeMap<SocketAddr, ConnId>,
    silence_ms: u64,
    /// How long what arrives may take to the stack that has the connection.
    heard_ms: u64,
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
    /// `patience_ms`: for how long at most frames lie about before they are looked at.
    /// `promises`: what clients' stack promises, and shards'.
    pub(crate) const fn new(patience_ms: u64, promises: [Promise; 2]) -> Self {
        Self {
            all: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            heard_from: BTreeMap::new(),
            silence_ms: SILENCE_MS + 3 * patience_ms,
            heard_ms: HEARD_MS + 2 * patience_ms,
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

    /// The machine stood still: what was measured then is no round trip.
    pub(crate) const fn stood_still(&mut self, now: Mono, ms: u64) {
        self.hindered = [now; 2];
        self.silence_ms += 4 * ms;
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
            Some(Ok((conn, _, segment))) => {
                let (now, silence_ms, hindered) = (self.now, self.silence_ms, self.hindered[side(way)]);
                let promise = self.promises[side(way)];
                let Some(watched) = self.all.get_mut(&conn) else { return };
                let failed = watched.sent(way, &segment, now, hindered, silence_ms, promise);
                if let Err(why) = failed {
                    let (flow, _) = watched.flows(way);
                    let what = format!("connection {conn}, {way:?}: {why}; {segment:?}; {flow:?}");
                    self.fail(what);
                }
            }
        }
    }

    /// A segment reaches who sends this way.
    pub(crate) fn told(&mut self, way: Way, frame: &[u8]) {
        let (now, hindered, silence_ms) = (self.now, self.hindered[side(way)], self.silence_ms);
        if let Some(Ok((conn, peer, segment))) = self.read(frame, way == Way::Down)
            && let Some(watched) = self.all.get_mut(&conn)
        {
            if way == Way::Down && !segment.flags.has(Flags::SYN) {
                self.heard_from.insert(peer, conn);
            }
            let times = (now, hindered, self.heard_ms, silence_ms);
            if let Err(why) = watched.told(way, &segment, times, self.promises[side(way)]) {
                let (flow, _) = watched.flows(way);
                let what = format!("connection {conn}, {way:?}: {why}; told {segment:?}; {flow:?}");
                self.fail(what);
            }
        }
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }
}

impl Watched {
    fn sent(
        &mut self,
        way: Way,
        segment: &Segment,
        now: Mono,
        hindered: Mono,
        silence_ms: u64,
        promise: Promise,
    ) -> Result<(), &'static str> {
        if self.orphaned {
            return Ok(());
        }
        let foreign = self.foreign && way == Way::Up;
        let (me, peer) = self.flows(way);
        if segment.flags.has(Flags::SYN) {
            if way == Way::Down {
                let options = &segment.options;
                me.answers.push((segment.seq + 1, options.window_scale, options.sack_permitted));
            } else {
                (me.scale, me.sack) = (segment.options.window_scale, segment.options.sack_permitted);
            }
            me.syn_window = u32::from(segment.window);
            if way == Way::Up && !segment.flags.has(Flags::ACK) {
                if me.begun {
                    if !foreign {
                        me.check_silence(now, hindered, silence_ms)?;
                    }
                } else {
                    me.begun = true;
                    // Earlier ones may have found no room.
                    me.longest_ms = now.as_ms().saturating_sub(me.at.as_ms());
                    (me.una, me.first, me.end) = (segment.seq, segment.seq + 1, segment.seq + 1);
                }
                me.at = now;
            } else if way == Way::Down && !me.begun && me.first_at == Mono(0) {
                me.first_at = now;
            }
            return Ok(());
        }
        let first_answer = way == Way::Up && me.begun && me.una == me.first;
        if first_answer && !peer.begun && !segment.flags.has(Flags::RST) {
            // Only now is it known which of the answers to SYN, if there were several, the client heard.
            peer.begun = true;
            let heard = peer.answers.iter().find(|answer| answer.0 == segment.ack);
            if heard.is_none() {
                self.orphaned = true;
                return Ok(());
            }
            (peer.scale, peer.sack) = heard.map_or((None, false), |answer| (answer.1, answer.2));
            (peer.first, peer.una, peer.end) = (segment.ack, segment.ack, segment.ack);
            (peer.edge, peer.at) = (segment.ack + me.syn_window, now);
        }
        if !me.begun || !peer.begun {
            return Ok(());
        }
        if segment.flags.has(Flags::RST) {
            // One for a segment of a connection that is not there any more is where that segment says.
            me.reset |= segment.seq == me.end;
            if me.reset && segment.flags.has(Flags::ACK) && !me.over && !foreign {
                me.check_silence(now, hindered, silence_ms)?;
            }
            me.over = true;
            return Ok(());
        }
        let scale = me.scale.filter(|_| peer.scale.is_some()).unwrap_or(0);
        let edge = segment.ack + (u32::from(segment.window) << scale);
        if let Some((ack, before)) = me.said {
            if segment.ack.lt(ack) {
                return Err("acknowledges less than before");
            }
            if !foreign && (edge + ((1 << scale) - 1)).lt(before) {
                return Err("the right edge of its window went back");
            }
        }
        if !foreign {
            let promise = Promise { window: promise.window.min(65_535 << scale), ..promise };
            let before = me.said.map(|(ack, _)| ack);
            me.duties.speaks(segment, edge, before, peer.first, promise, (now, hindered))?;
        }
        me.said = Some((segment.ack, me.said.map_or(edge, |(_, before)| before.max(edge))));
        if segment.sequence_len() == 0 {
            return Ok(());
        }
        if foreign {
            me.end = me.end.max(segment.seq + segment.sequence_len());
            return Ok(());
        }
        me.sent_data(segment, now, hindered, silence_ms)
    }

    fn told(
        &mut self,
        way: Way,
        segment: &Segment,
        (now, hindered, heard_ms, silence_ms): (Mono, Mono, u64, u64),
        promise: Promise,
    ) -> Result<(), &'static str> {
        if self.orphaned {
            return Ok(());
        }
        let foreign = self.foreign && way == Way::Up;
        let (me, peer) = self.flows(way);
        if segment.flags.has(Flags::SYN) {
            if way == Way::Up && segment.ack == me.first && me.una.lt(me.first) {
                me.acknowledged(segment.ack, now);
                me.edge = segment.ack + u32::from(segment.window);
            }
            return Ok(());
        }
        if segment.flags.has(Flags::RST) {
            me.over |= !peer.begun || me.said.is_none_or(|(ack, _)| ack == segment.seq);
            return Ok(());
        }
        if !me.begun || !peer.begun || !segment.flags.has(Flags::ACK) {
            return Ok(());
        }
        let reached = me.duties.reached.or(me.said.map(|(ack, _)| ack));
        if let Some(said) = me.said
            && !foreign
            && segment.len != 0
            && me.fin.is_none()
            // RFC 5961 5.2: what acknowledges less may be dropped, and not even answered.
            && me.una.le(segment.ack)
            && segment.ack.le(me.end)
        {
            me.duties.arrives(segment, said, promise, now);
        }
        if way == Way::Down && me.round_trip_ms == 0 && segment.ack == me.first && me.una == me.first {
            me.acknowledged(segment.ack, now);
        }
        let mut checked = Ok(());
        let advances = me.una.lt(segment.ack) && segment.ack.le(me.end);
        if advances {
            if !foreign {
                checked = me.repairs.check(now, hindered);
            }
            me.acknowledged(segment.ack, now);
            me.sacked.retain(|block| segment.ack.lt(block.1));
        }
        me.duplicates += u32::from(segment.ack == me.una);
        let scale = peer.scale.filter(|_| me.scale.is_some()).unwrap_or(0);
        me.edge = me.edge.max(segment.ack + (u32::from(segment.window) << scale));
        if me.window_closed && segment.window != 0 {
            // What probed the window may have been refused by it: all is sent again.
            me.sacked.clear();
            me.repairs.excuse(me.end);
            if !foreign {
                checked = checked.and(me.check_probes(now, hindered, silence_ms));
            }
        }
        if segment.window == 0 && !me.window_closed {
            me.closed_at = now;
        }
        me.window_closed = segment.window == 0;
        let mut news = false;
        for &(left, right) in segment.options.sack.as_slice() {
            let under_way = me.una.lt(left) && left.lt(right) && right.le(me.end);
            let known = me.sacked.iter().any(|block| block.0.le(left) && right.le(block.1));
            if under_way && !known {
                me.sacked.push((left, right, now.plus_ms(heard_ms)));
                me.repairs.arrived(left, right);
                news |= me.una.lt(left);
            }
        }
        let sacks = me.sack && peer.sack;
        if segment.ack == me.una && !sacks {
            me.repairs.something_arrived(now);
        }
        let stamp = segment.options.timestamps.map(|(stamp, _)| stamp);
        let newer = stamp.zip(me.stamp).is_none_or(|(stamp, before)| Seq(before).le(Seq(stamp)));
        // Only what the sender must take for what it is: the peer's latest, behind all that it sent.
        let shows = !advances
            && segment.ack == me.una
            && me.una.lt(me.end)
            && segment.len == 0
            && !segment.flags.has(Flags::FIN)
            && segment.window != 0
            && reached == Some(segment.seq)
            && newer
            && me.fin.is_none()
            && if sacks { news } else { segment.window == me.window };
        if shows && !foreign {
            let waited_ms = now.as_ms().saturating_sub(me.first_at.as_ms());
            let turns_ms = if way == Way::Down { TURNS_MS } else { 0 };
            let wait_ms = waited_ms.max(me.round_trip_ms) + heard_ms + turns_ms;
            me.repairs.shown(me.una, sacks, wait_ms, now, hindered);
        }
        if newer {
            me.stamp = stamp.or(me.stamp);
        }
        me.window = segment.window;
        checked
    }
}

impl Flow {
    /// Something is sent that takes sequence numbers.
    fn sent_data(
        &mut self,
        segment: &Segment,
        now: Mono,
        hindered: Mono,
        silence_ms: u64,
    ) -> Result<(), &'static str> {
        let (start, data_end) = (segment.seq, segment.seq + u32::from(segment.len));
        let end = segment.seq + segment.sequence_len();
        self.repairs.check(now, hindered)?;
        if segment.len != 0 && start.lt(self.end) {
            self.repairs.resent(
                start,
                data_end.min(self.end),
                self.una,
                self.fin.unwrap_or(self.end),
                now,
            )?;
        }
        if self.end.lt(data_end) {
            self.repairs.sent(start.max(self.end), data_end, now);
        }
        // What is before that it may not know to have arrived: an acknowledgement that came with something out of the
        // window is not looked at.
        if self.una == self.end {
            self.first_at = now;
        }
        if self.una == self.end || start.le(self.una) {
            self.check_silence(now, hindered, silence_ms)?;
            self.at = now;
        }
        if self.reset {
            return Err("sends after its own reset");
        }
        if self.fin.is_some_and(|fin| fin.lt(data_end) || (segment.flags.has(Flags::FIN) && fin != data_end))
        {
            return Err("sends beyond its FIN");
        }
        if segment.flags.has(Flags::FIN) {
            self.fin = Some(data_end);
        }
        if segment.len > 1 && self.edge.lt(data_end) {
            return Err("sends beyond the peer's window");
        }
        if start.lt(self.end) {
            self.resent += u64::from(segment.len).min(u64::from(self.end.since(start)));
            let arrived = |&(left, right, heard): &(Seq, Seq, Mono)| {
                left.le(start) && data_end.le(right) && heard <= now
            };
            if segment.len != 0 && self.sacked.iter().any(arrived) {
                self.needless += 1;
                if self.needless > NEEDLESS_MAX {
                    return Err("sends again what it knows to have arrived");
                }
            }
            // Where what is sent again is too long for the path, and little that is new is not, each acknowledgement of that
            // shows that it was lost once more.
            let shown = u64::from(self.duplicates) * u64::from(SEGMENT_BYTES);
            if self.resent > RESENT_BYTES + shown + 4 * u64::from(self.end.since(self.first)) {
                return Err("sends the same again and again");
            }
        }
        if self.end.lt(end) {
            self.end = end;
            let acked = self.una.since(self.first);
            // Each duplicate says that something has left the network, and so do blocks.
            let allowed = INITIAL_BYTES + acked + (3 + self.duplicates) * SEGMENT_BYTES + self.sacked_bytes();
            if self.end.since(self.una) > allowed {
                return Err("has more under way than it may");
            }
        }
        Ok(())
    }

    /// The peer's window, which was closed, is open: whether it was probed meanwhile.
    fn check_probes(&self, now: Mono, hindered: Mono, silence_ms: u64) -> Result<(), &'static str> {
        let since = self.at.max(self.closed_at).max(hindered);
        let silent_ms = now.as_ms().saturating_sub(since.as_ms());
        let probe_ms = PROBE_MS + silence_ms.saturating_sub(SILENCE_MS);
        // A probe that could not be sent counts: the next comes after twice as long.
        let tried_ms = hindered.as_ms().saturating_sub(self.at.as_ms());
        let longest_ms = self.longest_ms.max(tried_ms);
        if self.waits() && silent_ms > probe_ms.max(3 * longest_ms).max(6 * self.round_trip_ms) {
            return Err("does not probe a closed window");
        }
        Ok(())
    }

    /// Whether the silence before this was no longer than it may be.
    fn check_silence(&mut self, now: Mono, hindered: Mono, silence_ms: u64) -> Result<(), &'static str> {
        if !self.waits() {
            return Ok(());
        }
        // While it could not send its time-outs went on to double.
        let tried_ms = hindered.as_ms().saturating_sub(self.at.as_ms());
        self.longest_ms = self.longest_ms.max(tried_ms);
        let silent_ms = now.as_ms().saturating_sub(self.at.max(hindered).as_ms());
        // A repair in between does not begin a time-out anew: the next is as long as all before it together, and one more.
        let doubled_ms = self.at.as_ms().saturating_sub(self.first_at.as_ms()) + 2 * self.round_trip_ms;
        // RFC 6298 2.3: of one measurement comes three times as much, of two that differ up to five times.
        let most_ms = silence_ms.max(3 * self.longest_ms).max(6 * self.round_trip_ms).max(doubled_ms);
        if silent_ms > most_ms {
            return Err("was silent for too long while something waited");
        }
        self.longest_ms = self.longest_ms.max(now.as_ms().saturating_sub(self.at.as_ms()));
        Ok(())
    }
}
