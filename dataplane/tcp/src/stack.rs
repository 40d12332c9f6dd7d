//! The stack: its parts, how frames come in, and how time passes.

use std::collections::VecDeque;
use std::net::SocketAddr;

use hashbrown::HashMap;
use pelton_base::{Counters, HashKey, Key, Mono, Rng, StreamEnd, StreamId, Wheel};
use pelton_packet::parse::{ICMP, ICMPV6, TCP};
use pelton_packet::{Datagram, Frame, Interface, Link, PacketDrop, Parsed, Port, parse, responder};

use crate::chunk::Chunk;
use crate::cold::ColdPool;
use crate::counters::{TcpCounter, TcpDrop};
use crate::demux::{Demux, Entry};
use crate::ecn::CONGESTED;
use crate::half_open::HalfOpens;
use crate::limiter::Limiter;
use crate::path_search::Narrow;
use crate::plain::{Opening, Plain};
use crate::receive_window::ReceiveWindows;
use crate::relay::{MovedTable, Relays};
use crate::search::Searches;
use crate::segment::Segment;
use crate::settings::{Secrets, Settings};
use crate::soon::Soon;
use crate::spent::Spent;
use crate::tables::{Links, Locals, Remotes, Tcbs, end_word};
use crate::tcb::Facts;
use crate::time_wait::TimeWaits;
use crate::tuple::{Tuple, TupleKey};

/// Frames taken in one turn.
const BURST: usize = 64;
/// Timers fired in one turn.
const TIMERS_A_TURN: usize = 256;
/// Segments, or timers, whose connections are asked for in one go, so that they have come by when their turn comes.
const TOGETHER: usize = 8;
/// How soon to try again to send what found no frame or no room.
const RETRY_US: u64 = 1_000;

/// Secrets of a stack, drawn from its seed.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    pub(crate) demux: TupleKey,
    pub(crate) isn: HashKey,
    pub(crate) stamps: HashKey,
    pub(crate) cookie: HashKey,
}

/// What the shard is to be told.
#[derive(Debug)]
pub(crate) enum Event {
    Opened(Key),
    Data(Key, Chunk),
    /// There is something to do that needs the shard's queue.
    Service(Key),
    Closed {
        key: Key,
        token: u64,
        why: StreamEnd,
    },
}

/// A segment that came in, with what is known about it.
pub(crate) struct Arrival {
    pub(crate) segment: Segment,
    pub(crate) tuple: Tuple,
    pub(crate) link: Link,
    pub(crate) hash: u32,
    /// Where in the frame its data starts.
    pub(crate) data: usize,
    pub(crate) way: Way,
    /// A router has marked its packet, RFC 3168 5.
    pub(crate) congested: bool,
}

/// How a segment came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By this stack's port.
    Port,
    /// By another's, which handed it over.
    Relayed,
    /// By this stack's port, and no other stack has its connection.
    Unfound,
    /// The same, but its connection may be under way from one stack to another.
    Moving,
}

impl Arrival {
    /// A plain frame's segment.
    #[cold]
    pub(crate) fn of_plain(plain: &Plain, hash: u32) -> Self {
        Self {
            segment: plain.segment(),
            tuple: plain.tuple(),
            link: plain.link.link().reverse(),
            hash,
            data: usize::from(plain.data),
            way: Way::Port,
            congested: false,
        }
    }

    /// A SYN with options.
    fn of_opening(opening: &Opening, hash: u32) -> Self {
        Self { segment: opening.segment(), ..Self::of_plain(&opening.plain, hash) }
    }
}

/// A segment that came in, until its turn comes.
enum Seen {
    Plain(Plain, u32),
    Opening(Opening, u32),
    /// One that stands in a queue of its own.
    Other(u32),
    /// None: the frame is not needed.
    Nothing,
}

impl Seen {
    #[inline]
    const fn hash(&self) -> u32 {
        match self {
            Self::Plain(_, hash) | Self::Opening(_, hash) | Self::Other(hash) => *hash,
            Self::Nothing => 0,
        }
    }
}

/// A TCP stack on one port, for one shard.
pub struct Tcp<P: Port> {
    pub(crate) port: P,
    pub(crate) interface: Interface,
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) demux: Demux,
    pub(crate) tcbs: Tcbs,
    pub(crate) cold: ColdPool,
    pub(crate) locals: Locals,
    pub(crate) links: Links,
    pub(crate) remotes: Remotes,
    pub(crate) half_open: HalfOpens,
    pub(crate) time_waits: TimeWaits,
    pub(crate) wheel: Wheel,
    pub(crate) soon: Soon,
    /// Delayed ACKs, in order: the delay is constant.
    pub(crate) delayed: VecDeque<(Mono, Key)>,
    /// Connections that have data which is acknowledged with what answers it, or else after the delay.
    pub(crate) heard: Vec<Key>,
    /// Connections to be looked at at the end of the turn.
    pub(crate) listed: Vec<Key>,
    /// Connections whose acknowledged bytes the shard is to take off when there is time.
    pub(crate) consume: Vec<Key>,
    /// Connections that found no frame or no room.
    pub(crate) waiting: Vec<Key>,
    pub(crate) retry_at: Option<Mono>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) now: Mono,
    pub(crate) now_ms: u32,
    pub(crate) now_us: u32,
    pub(crate) drops: Counters<TcpDrop>,
    pub(crate) counters: Counters<TcpCounter>,
    packet_drops: Counters<PacketDrop>,
    pub(crate) challenges: Limiter,
    pub(crate) resets: Limiter,
    pub(crate) rng: Rng,
    /// Frames kept for reassembly.
    pub(crate) kept_frames: u32,
    /// Until when an ACK may be one of a cookie.
    pub(crate) cookies_until: Mono,
    pub(crate) spent: Spent,
    /// Connections that other stacks have not handed anything over for since, to be forgotten in the next turn.
    pub(crate) passed_on: Vec<Tuple>,
    pub(crate) relays: Option<Relays>,
    /// Connections that went to other shards.
    pub(crate) moved: MovedTable,
    /// Connections whose frames come in on the ports of other shards, and of which: they were handed over, or found
    /// there by a search.
    pub(crate) homes: HashMap<u32, u16, HashKey>,
    /// Connections whose segments were made shorter.
    pub(crate) narrow: HashMap<u32, Narrow, HashKey>,
    /// Windows that have grown, or may come to.
    pub(crate) windows: ReceiveWindows,
    /// Half-open connections whose frames come by other shards, and by which.
    pub(crate) half_open_homes: HashMap<u32, u16, HashKey>,
    /// What this stack asks the others about.
    pub(crate) searches: Searches,
    /// Frames for the next turn that do not come by the port.
    pub(crate) relayed: Vec<(Frame, Way)>,
    frames: Vec<Frame>,
    seen: Vec<Seen>,
    arrivals: VecDeque<Arrival>,
    due: Vec<u32>,
    /// There is more to be received, or more timers are due.
    more: bool,
    /// Nothing is predicted.
    #[cfg(test)]
    pub(crate) long_way: bool,
    #[cfg(test)]
    pub(crate) predicted: u64,
    #[cfg(test)]
    pub(crate) predicted_syns: u64,
}

impl<P: Port> Tcp<P> {
    /// A stack on a port. `listeners` are the ports it accepts on, each at all addresses of the interface.
    pub fn new(
        port: P,
        interface: Interface,
        listeners: &[u16],
        mut settings: Settings,
        seed: u64,
        now: Mono,
    ) -> Self {
        // What is kept must leave frames to receive what is missing, and to send.
        settings.reassembly_frames_max = settings.reassembly_frames_max.min(port.caps().frames / 4);
        let mut rng = Rng::with_seed(seed);
        let mut keys = Keys {
            demux: TupleKey::new(&mut rng),
            isn: rng.hash_key(),
            stamps: rng.hash_key(),
            cookie: rng.hash_key(),
        };
        if let Some(Secrets { cookie, stamps }) = settings.secrets {
            (keys.cookie, keys.stamps) = (cookie, stamps);
        }
        let mut locals = Locals::new(rng.hash_key());
        for (listener, &listen_port) in listeners.iter().enumerate() {
            for &address in &interface.addresses {
                locals.listen(SocketAddr::new(address, listen_port), listener as u16);
            }
        }
        Self {
            demux: Demux::new(settings.entries_max()),
            tcbs: Tcbs::new(settings.connections_max),
            cold: ColdPool::new(settings.cold_max),
            locals,
            links: Links::new(settings.links_max, rng.hash_key()),
            remotes: Remotes::default(),
            half_open: HalfOpens::new(
                settings.half_open_max,
                settings.syn_ack_retries,
                settings.rto_initial_ms,
            ),
            time_waits: TimeWaits::new(settings.time_wait_max, settings.time_wait_ms),
            wheel: Wheel::new(now),
            soon: Soon::new(now, settings.connections_max as usize * 2),
            delayed: VecDeque::new(),
            heard: Vec::new(),
            listed: Vec::new(),
            consume: Vec::new(),
            waiting: Vec::new(),
            retry_at: None,
            events: VecDeque::new(),
            now,
            now_ms: now.as_ms() as u32,
            now_us: (now.0 / 1_000) as u32,
            drops: Counters::default(),
            counters: Counters::default(),
            packet_drops: Counters::default(),
            challenges: Limiter::new(settings.challenges_per_second),
            resets: Limiter::new(settings.resets_per_second),
            kept_frames: 0,
            cookies_until: Mono(0),
            spent: Spent::default(),
            passed_on: Vec::new(),
            relays: None,
            moved: MovedTable::default(),
            homes: HashMap::with_hasher(rng.hash_key()),
            narrow: HashMap::with_hasher(rng.hash_key()),
            half_open_homes: HashMap::with_hasher(rng.hash_key()),
            searches: Searches::new(
                settings.searches_per_second,
                port.caps().frames as usize / 8,
                rng.hash_key(),
            ),
            windows: ReceiveWindows::new(rng.hash_key()),
            relayed: Vec::new(),
            frames: Vec::with_capacity(BURST),
            seen: Vec::with_capacity(BURST),
            arrivals: VecDeque::with_capacity(BURST),
            due: Vec::with_capacity(TIMERS_A_TURN),
            more: false,
            #[cfg(test)]
            long_way: false,
            #[cfg(test)]
            predicted: 0,
            #[cfg(test)]
            predicted_syns: 0,
            port,
            interface,
            settings,
            keys,
            rng,
        }
    }

    /// The port.
    pub const fn port(&mut self) -> &mut P {
        &mut self.port
    }

    /// The port, to look at.
    pub const fn port_ref(&self) -> &P {
        &self.port
    }

    /// What was dropped, and why.
    pub const fn drops(&self) -> &Counters<TcpDrop> {
        &self.drops
    }

    /// What happened.
    pub const fn counters(&self) -> &Counters<TcpCounter> {
        &self.counters
    }

    /// What was dropped below TCP, and why.
    pub const fn packet_drops(&self) -> &Counters<PacketDrop> {
        &self.packet_drops
    }

    pub(crate) fn set_time(&mut self, now: Mono) {
        // Whoever drives the stack may hold an older reading of the clock than it passed before.
        self.now = self.now.max(now);
        self.now_ms = self.now.as_ms() as u32;
        self.now_us = (self.now.0 / 1_000) as u32;
    }

    /// Takes what came in and fires what is due.
    pub(crate) fn turn(&mut self, now: Mono) {
        self.set_time(now);
        self.port.flush(self.now);
        self.serve_put_off();
        self.receive();
        self.run_timers();
    }

    /// What an earlier turn put off.
    fn serve_put_off(&mut self) {
        let mut consume = std::mem::take(&mut self.consume);
        for key in consume.drain(..) {
            if let Some(index) = self.tcbs.live(key) {
                let hot = &mut self.tcbs[index];
                hot.facts.clear(Facts::CONSUME);
                if hot.queue_seq != hot.snd_una {
                    self.serve(index);
                }
            }
        }
        self.consume = consume;
        if self.retry_at.is_some_and(|at| at <= self.now) {
            self.retry_at = None;
            for key in std::mem::take(&mut self.waiting) {
                if let Some(index) = self.tcbs.live(key) {
                    self.tcbs[index].facts.clear(Facts::WAITING);
                    self.list(index);
                    self.serve(index);
                }
            }
        }
    }

    /// A connection could not send: it is looked at again soon.
    pub(crate) fn wait(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        if !hot.facts.has(Facts::WAITING) {
            hot.facts.set(Facts::WAITING);
            self.waiting.push(self.tcbs.key(index));
        }
        if self.retry_at.is_none() {
            self.retry_at = Some(self.now.plus_us(RETRY_US));
        }
    }

    /// The shard is to call [`transmit`](pelton_base::ByteStreams::transmit) for a connection.
    pub(crate) fn serve(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        if !hot.facts.has(Facts::SERVICE) && !hot.facts.has(Facts::ORPHAN) {
            hot.facts.set(Facts::SERVICE);
            self.events.push_back(Event::Service(self.tcbs.key(index)));
        }
    }

    /// A connection is looked at at the end of the turn.
    pub(crate) fn list(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        if !hot.facts.has(Facts::LISTED) {
            hot.facts.set(Facts::LISTED);
            self.listed.push(self.tcbs.key(index));
        }
    }

    fn receive(&mut self) {
        let (mut frames, mut seen) = (std::mem::take(&mut self.frames), std::mem::take(&mut self.seen));
        self.more = self.port.receive(self.now, BURST, &mut frames) == BURST;
        let mut plain_frames = 0;
        for frame in &frames {
            seen.push(match Plain::read(frame, self.interface.mac) {
                Some(plain) => {
                    let hash = self.hash_plain(&plain);
                    plain_frames += 1;
                    Seen::Plain(plain, hash)
                }
                None => match Opening::read(frame, self.interface.mac) {
                    Some(opening) => {
                        plain_frames += 1;
                        Seen::Opening(opening, self.hash_plain(&opening.plain))
                    }
                    None => self.read_other(frame, Way::Port),
                },
            });
            if seen.len() % TOGETHER == 0 {
                self.ask_for_slots(&seen[seen.len() - TOGETHER..]);
            }
        }
        self.counters.add_n(TcpCounter::SegmentsIn, plain_frames);
        let asked_for = seen.len() / TOGETHER * TOGETHER;
        for (frame, way) in std::mem::take(&mut self.relayed) {
            seen.push(self.read_other(&frame, way));
            frames.push(frame);
        }
        self.ask_for_slots(&seen[asked_for..]);
        self.ask_for_candidates(&seen[..seen.len().min(TOGETHER)]);
        for (at, (segment, frame)) in seen.iter().zip(frames.drain(..)).enumerate() {
            if at % TOGETHER == 0 && at + TOGETHER < seen.len() {
                self.ask_for_candidates(&seen[at + TOGETHER..(at + 2 * TOGETHER).min(seen.len())]);
            }
            match segment {
                Seen::Plain(plain, hash) => self.dispatch_plain(plain, *hash, frame),
                Seen::Opening(opening, hash) => self.dispatch_opening(opening, *hash, frame),
                Seen::Other(_) => {
                    let Some(arrival) = self.arrivals.pop_front() else { unreachable!("queued in order") };
                    self.dispatch(&arrival, frame);
                }
                Seen::Nothing => self.port.put(frame),
            }
        }
        seen.clear();
        self.frames = frames;
        self.seen = seen;
    }

    #[inline]
    fn ask_for_slots(&self, seen: &[Seen]) {
        seen.iter().for_each(|segment| self.demux.prefetch(segment.hash()));
    }

    #[inline]
    fn ask_for_candidates(&self, seen: &[Seen]) {
        for segment in seen {
            if let Some(Entry::Tcb(index)) = self.demux.candidate(segment.hash()) {
                self.tcbs.prefetch(index);
            }
        }
    }

    #[inline]
    fn hash_plain(&self, plain: &Plain) -> u32 {
        let &Plain { remote, local, remote_port, local_port, .. } = plain;
        self.keys.demux.hash_v4(remote, local, remote_port, local_port)
    }

    /// A frame that is not a plain one, or did not just come by the port.
    fn read_other(&mut self, frame: &Frame, way: Way) -> Seen {
        let Some(mut arrival) = self.read(frame) else { return Seen::Nothing };
        arrival.way = way;
        // What was kept while its connection was searched was counted when it came.
        if matches!(way, Way::Port | Way::Relayed) {
            self.count_in();
        }
        let hash = arrival.hash;
        self.arrivals.push_back(arrival);
        Seen::Other(hash)
    }

    /// From a frame to a segment; what is not one is dealt with here.
    fn read(&mut self, frame: &Frame) -> Option<Arrival> {
        let datagram = match parse(frame) {
            Ok(Parsed::Ip(datagram)) => datagram,
            Ok(Parsed::Arp { link, start }) => {
                self.answer(|interface, into| responder::arp(interface, link, &frame[start..], into));
                return None;
            }
            Err(why) => {
                self.packet_drops.add(why);
                return None;
            }
        };
        if datagram.protocol == TCP && datagram.link.destination == self.interface.mac {
            return self.read_segment(&datagram, frame);
        }
        self.read_no_segment(&datagram, frame);
        None
    }

    fn read_segment(&mut self, datagram: &Datagram, frame: &Frame) -> Option<Arrival> {
        match Segment::parse(datagram.source, datagram.destination, datagram.payload(frame)) {
            Ok(segment) => {
                let tuple = Tuple {
                    local: SocketAddr::new(datagram.destination, segment.destination),
                    remote: SocketAddr::new(datagram.source, segment.source),
                };
                Some(Arrival {
                    segment,
                    tuple,
                    link: datagram.link.reverse(),
                    hash: self.keys.demux.hash(&tuple),
                    data: usize::from(datagram.start) + usize::from(segment.header),
                    way: Way::Port,
                    congested: datagram.ecn == CONGESTED,
                })
            }
            Err(why) => {
                self.drops.add(why);
                None
            }
        }
    }

    fn read_no_segment(&mut self, datagram: &Datagram, frame: &Frame) {
        let link = datagram.link.destination;
        match datagram.protocol {
            ICMP | ICMPV6 if link == self.interface.mac || link.is_multicast() => {
                if let Some(error) = pelton_packet::icmp::read(datagram, frame) {
                    self.complaint(&error);
                } else {
                    self.answer(|interface, into| responder::icmp(interface, datagram, frame, into));
                }
            }
            TCP => self.drops.add(TcpDrop::OtherStation),
            _ => self.drops.add(TcpDrop::NotForUs),
        }
    }

    fn answer(&mut self, write: impl FnOnce(&Interface, &mut [u8]) -> Option<usize>) {
        let Some(mut frame) = self.port.take() else {
            self.drops.add(TcpDrop::NoFrame);
            return;
        };
        let capacity = frame.capacity();
        frame.set_range(0, capacity);
        match write(&self.interface, &mut frame) {
            Some(len) => {
                frame.set_range(0, len);
                match self.port.send(self.now, frame) {
                    Ok(()) => self.counters.add(TcpCounter::Answered),
                    Err(frame) => {
                        self.drops.add(TcpDrop::PortFull);
                        self.port.put(frame);
                    }
                }
            }
            None => {
                self.drops.add(TcpDrop::NotForUs);
                self.port.put(frame);
            }
        }
    }

    /// Whether an entry of the table is that of a tuple.
    #[inline]
    pub(crate) fn is(&self, entry: Entry, tuple: &Tuple) -> bool {
        match entry {
            Entry::Tcb(index) => {
                let hot = &self.tcbs[index];
                hot.remote_port == tuple.remote.port()
                    && self.locals.get(hot.local).address == tuple.local
                    && self.remotes.get(hot.remote, hot.facts.has(Facts::V6)) == tuple.remote.ip()
            }
            Entry::HalfOpen(index) => {
                let record = self.half_open.get(index);
                record.remote_port == tuple.remote.port()
                    && record.remote == tuple.remote.ip()
                    && self.locals.get(record.local).address == tuple.local
            }
            Entry::TimeWait(index) => self.time_waits.get(index).tuple == *tuple,
            Entry::Moved(index) => self.moved.get(index).is_some_and(|moved| moved.tuple == *tuple),
        }
    }

    #[inline]
    fn dispatch_plain(&mut self, plain: &Plain, hash: u32, frame: Frame) {
        let local = end_word(plain.local, plain.local_port);
        let found = self.demux.find(hash, |entry| match entry {
            Entry::Tcb(index) => {
                let hot = &self.tcbs[index];
                hot.remote == plain.remote
                    && hot.remote_port == plain.remote_port
                    && !hot.facts.has(Facts::V6)
                    && self.locals.is(hot.local, local)
            }
            other => self.is(other, &plain.tuple()),
        });
        match found {
            Some(Entry::Tcb(index)) => self.plain_segment(index, plain, hash, frame),
            _ => self.dispatch(&Arrival::of_plain(plain, hash), frame),
        }
    }

    fn dispatch_opening(&mut self, opening: &Opening, hash: u32, frame: Frame) {
        let tuple = opening.plain.tuple();
        let stray = self.demux.find(hash, |entry| self.is(entry, &tuple)).is_none();
        if stray && self.answered_by_cookie(opening) {
            self.port.put(frame);
        } else {
            self.dispatch(&Arrival::of_opening(opening, hash), frame);
        }
    }

    fn dispatch(&mut self, arrival: &Arrival, frame: Frame) {
        match self.demux.find(arrival.hash, |entry| self.is(entry, &arrival.tuple)) {
            Some(Entry::Tcb(index)) => self.segment_arrives(index, arrival, frame),
            Some(Entry::HalfOpen(index)) => self.half_open_segment(index, arrival, frame),
            Some(Entry::TimeWait(index)) => self.time_wait_segment(index, arrival, frame),
            Some(Entry::Moved(index)) => self.relay(index, frame),
            None => self.stray_segment(arrival, frame),
        }
    }

    fn run_timers(&mut self) {
        self.run_delayed();
        let mut due = std::mem::take(&mut self.due);
        self.more |= self.wheel.expire(self.now, TIMERS_A_TURN, &mut due);
        for index in due.drain(..) {
            self.wheel_fired(index);
        }
        self.more |= self.soon.expire(self.now, TIMERS_A_TURN, &mut due);
        for (at, &index) in due.iter().enumerate() {
            if at % TOGETHER == 0 {
                let first = if at == 0 { 0 } else { at + TOGETHER };
                for &next in due.iter().take(at + 2 * TOGETHER).skip(first) {
                    self.tcbs.prefetch(next);
                    self.wheel.prefetch(next);
                }
            }
            self.soon_fired(index);
        }
        due.clear();
        self.due = due;
        for _ in 0..TIMERS_A_TURN {
            let Some(index) = self.half_open.due(self.now) else { break };
            self.half_open_due(index);
        }
        for _ in 0..TIMERS_A_TURN {
            let Some(index) = self.time_waits.next(self.now) else { break };
            self.forget_time_wait(index);
        }
    }

    /// ACKs that have been delayed for long enough.
    fn run_delayed(&mut self) {
        while self.delayed.front().is_some_and(|&(due, _)| due <= self.now) {
            let due = self.delayed.iter().take(TOGETHER).take_while(|&&(due, _)| due <= self.now);
            let together = due.map(|(_, key)| self.tcbs.prefetch(key.index)).count();
            for _ in 0..together {
                let Some((_, key)) = self.delayed.pop_front() else { return };
                let Some(index) = self.tcbs.live(key) else { continue };
                let facts = &mut self.tcbs[index].facts;
                facts.clear(Facts::ACK_DELAYED);
                if facts.has(Facts::ACK_OWED) {
                    facts.set(Facts::ACK_NOW);
                    self.list(index);
                }
            }
        }
    }

    /// The earliest that anything is due.
    pub(crate) fn next_due(&self) -> Option<Mono> {
        let put_off = !self.consume.is_empty()
            || !self.heard.is_empty()
            || !self.listed.is_empty()
            || self.has_relayed();
        if self.more || !self.events.is_empty() || put_off {
            return Some(self.now);
        }
        [
            self.wheel.next_deadline(),
            self.soon.next(),
            self.delayed.front().map(|&(due, _)| due),
            self.half_open.next_timeout(),
            self.time_waits.next_timeout(),
            self.retry_at,
            self.port.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What is in use, for checks and snapshots.
    pub fn usage(&self) -> Usage {
        Usage {
            connections: self.tcbs.len(),
            half_open: self.half_open.len(),
            time_wait: self.time_waits.len(),
            cold: self.cold.len(),
            kept_frames: self.kept_frames as usize,
            timers: self.wheel.len(),
            links: self.links.len(),
            remotes: self.remotes.len(),
            demux: self.demux.len(),
            events: self.events.len(),
            moved: self.moved.len(),
            searching: self.searches.len(),
            bulk: self.windows.len(),
        }
    }
}

impl<P: Port> Tcp<P> {
    /// All that is known of a stream, in words, for messages on failure.
    pub fn explain(&self, stream: StreamId) -> String {
        match self.tcbs.live(Key::from_u64(stream.0)) {
            Some(index) => format!("{:?} {:?}", self.tcbs[index], self.cold.get(self.tcbs[index].cold)),
            None => "gone".to_owned(),
        }
    }
}

/// What a stack has in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Connections with a block.
    pub connections: usize,
    /// Half-open connections.
    pub half_open: usize,
    /// TIME-WAIT records.
    pub time_wait: usize,
    /// Connections with cold state.
    pub cold: usize,
    /// Frames kept for reassembly.
    pub kept_frames: usize,
    /// Timers of the wheel. Those of the next second go by themselves, wanted or not.
    pub timers: usize,
    /// Link address pairs.
    pub links: usize,
    /// IPv6 addresses.
    pub remotes: usize,
    /// Entries of the table.
    pub demux: usize,
    /// Events that were not taken.
    pub events: usize,
    /// Connections of other shards whose frames come here.
    pub moved: usize,
    /// Connections that other shards are asked about.
    pub searching: usize,
    /// Connections whose receive window may grow, or has.
    pub bulk: usize,
}

impl<P: Port> std::fmt::Debug for Tcp<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tcp")
            .field("usage", &self.usage())
            .field("drops", &self.drops)
            .finish_non_exhaustive()
    }
}
