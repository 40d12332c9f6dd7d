//! Segments on their way out: what may be sent (RFC 9293 3.8.6.2.1, RFC 5681, RFC 6675 5), from the shard's queue, and
//! the frames that carry it.

use std::net::SocketAddr;

use pelton_base::send::Slices;
use pelton_base::{SendQueue, SharedLogs};
use pelton_packet::parse::TCP;
use pelton_packet::{Link, Port, headers};

use crate::compose::Outbound;
use crate::counters::{TcpCounter, TcpDrop};
use crate::segment::{Flags, Options, SACK_BLOCKS_MAX, Segment};
use crate::seq::Seq;
use crate::stack::Tcp;
use crate::tcb::{Facts, Hot, NO_COLD, State, Timer};

/// Reads a queue from some place on.
struct Reader<'a> {
    slices: Slices<'a>,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(queue: &'a SendQueue, logs: &'a SharedLogs, mut skip: usize) -> Self {
        let mut slices = queue.slices(logs);
        let mut rest: &[u8] = &[];
        for slice in slices.by_ref() {
            if skip < slice.len() {
                rest = &slice[skip..];
                break;
            }
            skip -= slice.len();
        }
        Self { slices, rest }
    }

    /// Copies the next bytes; there are enough.
    fn read(&mut self, mut into: &mut [u8]) {
        while !into.is_empty() {
            if self.rest.is_empty() {
                let Some(next) = self.slices.next() else {
                    debug_assert!(false, "a queue holds what is sent from it");
                    into.fill(0);
                    return;
                };
                self.rest = next;
                continue;
            }
            let n = into.len().min(self.rest.len());
            into[..n].copy_from_slice(&self.rest[..n]);
            into = &mut into[n..];
            self.rest = &self.rest[n..];
        }
    }
}

/// Where a segment is in the sequence space, and what is in it.
struct Outgoing {
    seq: Seq,
    flags: Flags,
    len: usize,
    /// What came twice, to be said (RFC 2883).
    twice: Option<(Seq, Seq)>,
}

impl Outgoing {
    const fn new(seq: Seq, flags: Flags, len: usize) -> Self {
        Self { seq, flags, len, twice: None }
    }
}

impl Hot {
    /// Whether all that is queued may leave in one segment, with nothing else to be done: nothing is under way and
    /// nothing amiss. So it is with nearly every answer.
    #[inline]
    fn fits_one(&self, queued: usize) -> bool {
        let most = self.payload_max().min(self.snd_wnd()).min(self.cwnd);
        let unusual = Facts::WINDOW_PROBE.or(Facts::TAIL_PROBE).or(Facts::RESEND_HEAD).or(Facts::FIN_SENT);
        !self.facts.has(unusual)
            && self.flight() == 0
            && self.queue_seq == self.snd_max
            && self.cold == NO_COLD
            && queued <= most as usize
    }

    /// All up to `end` is under way, and nothing was before.
    #[inline]
    fn flight_begins(&mut self, end: Seq, now_ms: u32, now_us: u32) {
        self.facts.clear(Facts::RETRANSMITTED);
        self.stalled_ms = now_ms;
        self.snd_max = end;
        self.sent_us = now_us;
    }

    /// Moves the edge of the window that the peer is told of, where that is worth it. Whether the peer sends in bulk: it
    /// may be worth more.
    #[inline]
    fn move_edge(&mut self, limit: u32) -> bool {
        let candidate = self.rcv_nxt + limit.saturating_sub(self.held);
        // RFC 9293 3.8.6.2.2: a little more window makes little segments.
        let worth = u32::from(self.mss).min(limit / 2).max(1);
        let worth_it = self.rcv_edge.lt(candidate) && candidate.since(self.rcv_edge) >= worth;
        if !worth_it {
            return false;
        }
        let moved = candidate.since(self.rcv_edge);
        self.rcv_edge = candidate;
        self.is_bulk(moved)
    }

    /// The window up to its edge, as in the header.
    #[inline]
    fn window_field(&mut self) -> u16 {
        let scale = self.receive_scale();
        // RFC 7323 2.3: rounded up, the edge that was promised stays.
        let rounded = self.rcv_edge.since(self.rcv_nxt) + ((1 << scale) - 1);
        let field = (rounded >> scale).min(65_535);
        self.rcv_edge = self.rcv_edge.max(self.rcv_nxt + (field << scale));
        field as u16
    }
}

impl<P: Port> Tcp<P> {
    /// Sends from the shard's queue what may be sent; `queue` begins at `queue_seq`. Whether something stays that could not
    /// be sent.
    #[inline]
    pub(crate) fn send_queue(&mut self, index: u32, queue: &SendQueue, logs: &SharedLogs) -> bool {
        let hot = &mut self.tcbs[index];
        hot.facts.clear(Facts::SERVICE);
        if !hot.state.sends() {
            return hot.facts.has(Facts::BLOCKED);
        }
        hot.restart_if_idle(self.now_us, &self.settings);
        if hot.fits_one(queue.len()) {
            self.send_all(index, queue, logs)
        } else {
            self.send_some(index, queue, logs)
        }
    }

    /// As [`send_queue`](Self::send_queue), where that is more than one segment, or something was sent before.
    fn send_some(&mut self, index: u32, queue: &SendQueue, logs: &SharedLogs) -> bool {
        let before = self.tcbs[index].snd_max;
        #[cfg(debug_assertions)]
        let (pipe_before, window) = (self.pipe(index), self.tcbs[index].cwnd);
        #[cfg(debug_assertions)]
        let crowded = self.cold.get(self.tcbs[index].cold).is_some_and(|cold| cold.flight.is_crowded());
        let hot = &self.tcbs[index];
        let probed = hot.facts.has(Facts::WINDOW_PROBE.or(Facts::TAIL_PROBE));
        let blocked = self.send_probe(index, queue, logs)
            || self.send_lost(index, queue, logs)
            || self.send_new(index, queue, logs);
        // Never more than the window, but for one segment: the first that is sent again, or a probe. Where the runs are at
        // their limit more of one may be taken for sent again than was.
        #[cfg(debug_assertions)]
        debug_assert!(
            crowded || self.pipe(index) <= pipe_before.max(window) + self.tcbs[index].payload_max(),
            "{pipe_before} then {} of {window}",
            self.pipe(index)
        );
        if blocked {
            self.wait(index);
        }
        let hot = &mut self.tcbs[index];
        let unsent = queue.len() as u32 > hot.snd_max.since(hot.queue_seq) && !hot.facts.has(Facts::FIN_SENT);
        hot.facts.put(Facts::BLOCKED, unsent);
        // RFC 6298 5.1: one that runs goes on. New data that moved it would keep what is lost waiting for as long as
        // there is more to send.
        let waits = hot.timer == Timer::None || (hot.timer == Timer::Persist && before != hot.snd_max);
        if !probed && waits {
            self.rearm(index);
        } else if before != hot.snd_max && hot.timer == Timer::TailProbe {
            self.hasten_probe(index);
        }
        unsent
    }

    /// Sends all that is queued, if anything is, as one segment, where it [fits](Hot::fits_one). Whether it could not be
    /// sent.
    #[inline]
    fn send_all(&mut self, index: u32, queue: &SendQueue, logs: &SharedLogs) -> bool {
        let hot = &self.tcbs[index];
        let (seq, len) = (hot.snd_max, queue.len());
        let outgoing = Outgoing::new(seq, Flags::ACK.and(Flags::PSH), len);
        let sent = len > 0
            && self.send_from(index, &outgoing, |mut into| {
                for slice in queue.slices(logs) {
                    let (place, rest) = into.split_at_mut(slice.len());
                    place.copy_from_slice(slice);
                    into = rest;
                }
            });
        let blocked = len > 0 && !sent;
        if blocked {
            self.wait(index);
        }
        let hot = &mut self.tcbs[index];
        if sent {
            hot.flight_begins(seq + len as u32, self.now_ms, self.now_us);
        }
        hot.facts.put(Facts::BLOCKED, blocked);
        if hot.timer == Timer::None || (hot.timer == Timer::Persist && sent) {
            self.rearm(index);
        }
        blocked
    }

    /// The bytes of the queue from `seq` on.
    fn reader<'a>(&self, index: u32, queue: &'a SendQueue, logs: &'a SharedLogs, seq: Seq) -> Reader<'a> {
        Reader::new(queue, logs, seq.since(self.tcbs[index].queue_seq) as usize)
    }

    /// Where the data of the queue ends that is under way: the FIN, if it has been sent, is behind it.
    fn data_end(&self, index: u32) -> Seq {
        let hot = &self.tcbs[index];
        hot.snd_max.back(u32::from(hot.facts.has(Facts::FIN_SENT)))
    }

    /// Probes of a closed window and of a silent tail. Whether the port has no room.
    fn send_probe(&mut self, index: u32, queue: &SendQueue, logs: &SharedLogs) -> bool {
        let hot = &mut self.tcbs[index];
        if hot.facts.take(Facts::WINDOW_PROBE) {
            // RFC 9293 3.8.6.1 MUST-36: one byte at least, the first that the peer does not have.
            let queued = hot.queue_seq + queue.len() as u32;
            if hot.snd_una.lt(queued)
                && !(hot.flight() > 0 && self.data_end(index) == self.tcbs[index].snd_una)
            {
                let hot = &self.tcbs[index];
                let len = hot.snd_wnd().clamp(1, hot.payload_max()).min(queued.since(hot.snd_una));
                let end = hot.snd_una + len;
                self.counters.add(TcpCounter::WindowProbes);
                let una = hot.snd_una;
                if !self.narrow.is_empty() {
                    self.path_probe_in_pieces(index, una, end);
                }
                if self.send_data(index, queue, logs, una, len) {
                    self.was_sent(index, una, end);
                } else {
                    return true;
                }
            }
            return false;
        }
        if hot.facts.take(Facts::TAIL_PROBE) {
            // RFC 8985 7.3: new data if there is any and it fits, the last segment otherwise.
            let snd_max = hot.snd_max;
            let unsent = (queue.len() as u32).saturating_sub(snd_max.since(hot.queue_seq));
            let window = (hot.snd_una + hot.snd_wnd()).since(snd_max);
            let len = unsent.min(hot.payload_max());
            self.counters.add(TcpCounter::TailProbes);
            if len > 0 && len <= window && window <= hot.snd_wnd() && !hot.facts.has(Facts::FIN_SENT) {
                if !self.send_data(index, queue, logs, snd_max, len) {
                    return true;
                }
                self.was_sent(index, snd_max, snd_max + len);
            } else {
                let hot = &self.tcbs[index];
                // The FIN has a segment of its own: it is the last.
                let last = if hot.facts.has(Facts::FIN_SENT) { 1 } else { hot.payload_max() };
                let start = snd_max.back(last).max(hot.snd_una);
                return self.resend(index, queue, logs, start, snd_max, true);
            }
        }
        false
    }

    /// What is lost, oldest first, as the congestion window allows: the peer took it for granted when its window was wider
    /// (RFC 9293 3.8.6 SHLD-16). Whether the port has no room.
    fn send_lost(&mut self, index: u32, queue: &SendQueue, logs: &SharedLogs) -> bool {
        loop {
            let hot = &self.tcbs[index];
            let first = hot.facts.has(Facts::RESEND_HEAD);
            let (size, cwnd) = (hot.payload_max(), hot.cwnd);
            let lost = self.cold.get(hot.cold).and_then(|cold| cold.flight.next_lost());
            let (start, end) = match lost {
                Some((start, end)) => (start, end.min(start + size)),
                None if first && hot.flight() > 0 => (hot.snd_una, hot.snd_max.min(hot.snd_una + size)),
                None => break,
            };
            if !first && self.pipe(index) + end.since(start) > cwnd.max(size) {
                break;
            }
            if self.resend(index, queue, logs, start, end, false) {
                return true;
            }
            self.tcbs[index].facts.clear(Facts::RESEND_HEAD);
        }
        false
    }

    /// Sends `start..end`, which was sent before, once more. Whether the port has no room.
    fn resend(
        &mut self,
        index: u32,
        queue: &SendQueue,
        logs: &SharedLogs,
        start: Seq,
        end: Seq,
        probe: bool,
    ) -> bool {
        let data_end = self.data_end(index);
        let len = data_end.min(end).since(start);
        let sent = if data_end.le(start) {
            self.send_fin_segment(index, start)
        } else {
            self.send_data(index, queue, logs, start, len)
        };
        if !sent {
            return true;
        }
        // The FIN behind the data has its own turn.
        let end = if data_end.le(start) { end } else { start + len };
        self.counters.add(TcpCounter::Retransmissions);
        self.counters.add_n(TcpCounter::BytesRetransmitted, u64::from(end.since(start)));
        if !self.narrow.is_empty() {
            self.path_probe_in_pieces(index, start, end);
        }
        let now_us = self.now_us;
        let hot = &self.tcbs[index];
        let stamp = hot.facts.has(Facts::TIMESTAMPS).then(|| self.now_ms.wrapping_add(hot.ts_offset));
        if self.ensure_flight(index)
            && let Some(cold) = self.cold_of(index)
        {
            cold.flight.resent(start, end, now_us);
            if let Some(prr) = &mut cold.prr {
                prr.sent(end.since(start));
            }
            if probe {
                cold.probe = Some((end, stamp));
            } else {
                cold.repaired = cold.repaired.max(end);
                if let Some(undo) = &mut cold.undo {
                    undo.resent(end.since(start), stamp);
                }
            }
        }
        let hot = &mut self.tcbs[index];
        if hot.cold == NO_COLD {
            hot.sent_us = now_us;
        }
        hot.facts.set(Facts::RETRANSMITTED);
        false
    }

    /// Bytes thought to be in the network.
    pub(crate) fn pipe(&self, index: u32) -> u32 {
        let hot = &self.tcbs[index];
        let pipe = match self.cold.get(hot.cold) {
            Some(cold) if !cold.flight.is_empty() => cold.flight.pipe(),
            _ => hot.flight(),
        };
        // Without SACK each duplicate acknowledgement stands for a segment that arrived.
        let arrived = if hot.sacks() { 0 } else { u32::from(hot.dup_acks) * hot.payload_max() };
        pipe.saturating_sub(arrived)
    }

    /// New data, as congestion and receive windows allow. Whether the port has no room.
    fn send_new(&mut self, index: u32, queue: &SendQueue, logs: &SharedLogs) -> bool {
        let narrow = !self.narrow.is_empty();
        if narrow {
            self.path_probe_arrived(index);
        }
        let hot = &self.tcbs[index];
        if hot.facts.has(Facts::FIN_SENT) {
            return false;
        }
        let mut next = hot.snd_max;
        let mut unsent = queue.len() as u32 - next.since(hot.queue_seq);
        if unsent == 0 {
            return false;
        }
        let (size, cwnd, idle) = (hot.payload_max(), hot.cwnd, hot.flight() == 0);
        let half_window = hot.snd_wnd_max() / 2;
        let edge = hot.snd_una + hot.snd_wnd();
        // RFC 9293 3.8.6 MUST-34, SHLD-15: the edge may have gone back.
        let mut window = if next.lt(edge) { edge.since(next) } else { 0 };
        let pipe = self.pipe(index);
        let mut room = cwnd.saturating_sub(pipe);
        if pipe == 0 {
            room = room.max(size);
        }
        let start = next;
        let mut reader = self.reader(index, queue, logs, next);
        let mut no_room = false;
        // RFC 4821 7.3: a probe is the first of what is sent, with data as any.
        let mut probe = if narrow { self.path_probe(index, unsent.min(window).min(room)) } else { None };
        while unsent > 0 {
            let full = probe.take().unwrap_or(size);
            let len = unsent.min(full).min(window);
            // RFC 9293 3.8.6.2.1: a full segment, or all there is, or half of the biggest window ever seen. What
            // is too little and waits for nothing is sent when the persist timer says so.
            if len == 0 || (len < size && len < unsent && len < half_window) || len > room {
                break;
            }
            // RFC 9293 3.9.1.2 MUST-60, MUST-61, SHLD-27, SHLD-28: all that may leave does, in segments as long as may be. It
            // waits for no acknowledgement (RFC 9293 3.7.4 SHLD-7): the shard sends once a turn what has come together.
            let flags = if len == unsent { Flags::ACK.and(Flags::PSH) } else { Flags::ACK };
            let outgoing = Outgoing::new(next, flags, len as usize);
            if !self.send_from(index, &outgoing, |into| reader.read(into)) {
                no_room = true;
                break;
            }
            if full > size {
                self.path_probe_sent(index, next, len);
            }
            next += len;
            unsent -= len;
            window -= len;
            room -= len;
        }
        if next != start {
            self.was_sent(index, start, next);
        } else if idle && !no_room && self.tcbs[index].timer == Timer::None {
            self.rearm_blocked(index);
        }
        no_room
    }

    /// Notes that `start..end` is under way (all of it or its end for the first time).
    #[inline]
    fn was_sent(&mut self, index: u32, start: Seq, end: Seq) {
        let (now_ms, now_us) = (self.now_ms, self.now_us);
        let hot = &mut self.tcbs[index];
        if hot.flight() == 0 {
            hot.stalled_ms = now_ms;
            hot.facts.clear(Facts::RETRANSMITTED);
        } else if end.le(hot.snd_max) {
            // A probe sent again.
            hot.facts.set(Facts::RETRANSMITTED);
            return;
        } else if hot.sent_us != now_us || hot.facts.has(Facts::RETRANSMITTED) {
            // A second burst: from here on one time does not say it all.
            self.ensure_flight(index);
        }
        let hot = &mut self.tcbs[index];
        let fresh = start.max(hot.snd_max);
        if let Some(cold) = self.cold.get_mut(hot.cold)
            && !(cold.flight.is_empty() && hot.flight() > 0)
        {
            cold.flight.sent(fresh, end, now_us, false);
            if let Some(prr) = &mut cold.prr {
                prr.sent(end.since(fresh));
            }
        }
        hot.snd_max = end;
        hot.sent_us = now_us;
    }

    /// A data segment from the queue; whether it was sent.
    fn send_data(&mut self, index: u32, queue: &SendQueue, logs: &SharedLogs, seq: Seq, len: u32) -> bool {
        let mut reader = self.reader(index, queue, logs, seq);
        let outgoing = Outgoing::new(seq, Flags::ACK.and(Flags::PSH), len as usize);
        self.send_from(index, &outgoing, |into| reader.read(into))
    }

    /// A segment with our FIN; whether it was sent.
    pub(crate) fn send_fin_segment(&mut self, index: u32, seq: Seq) -> bool {
        self.send_from(index, &Outgoing::new(seq, Flags::ACK.and(Flags::FIN), 0), |_| {})
    }

    /// A segment that only acknowledges; tried again later if it cannot leave.
    pub(crate) fn send_ack(&mut self, index: u32) {
        self.send_ack_for(index, None);
    }

    /// The same, for data of which `twice` had come before. RFC 2883 4: whoever sent it again for nothing, because an ACK
    /// was lost or late, can take back that it slowed down.
    pub(crate) fn send_ack_for(&mut self, index: u32, twice: Option<(Seq, Seq)>) {
        let hot = &self.tcbs[index];
        // RFC 9293 3.10.7.4 first: behind a probe that its window refused, the peer would not look at it, nor at what it
        // acknowledges; and a peer that probes us the same way would wait for that as we do.
        let seq = hot.snd_max.min(hot.snd_una + hot.snd_wnd());
        let outgoing = Outgoing { twice, ..Outgoing::new(seq, Flags::ACK, 0) };
        if self.send_from(index, &outgoing, |_| {}) {
            self.counters.add(TcpCounter::AcksOut);
        } else {
            self.tcbs[index].facts.set(Facts::ACK_NOW);
            self.wait(index);
        }
    }

    /// A segment that the peer must answer, since it is outside of its window; without data, RFC 9293 3.8.4 SHLD-12.
    pub(crate) fn send_keep_alive(&mut self, index: u32) {
        let seq = self.tcbs[index].snd_una.back(1);
        self.counters.add(TcpCounter::KeepAlives);
        if !self.send_from(index, &Outgoing::new(seq, Flags::ACK, 0), |_| {}) {
            self.wait(index);
        }
    }

    /// Resets the peer of a connection.
    pub(crate) fn reset_peer(&mut self, index: u32) {
        let hot = &self.tcbs[index];
        let outgoing = Outgoing::new(hot.snd_max, Flags::RST.and(Flags::ACK), 0);
        self.counters.add(TcpCounter::ResetsOut);
        // One that cannot leave is not missed: the peer gets another when it speaks next.
        self.send_from(index, &outgoing, |_| {});
    }

    /// The window to advertise, as in the header; moves the right edge by as much as is worth it, never back
    /// (RFC 9293 3.8.6 SHLD-14).
    #[inline]
    pub(crate) fn advertise(&mut self, index: u32) -> u16 {
        let hot = &mut self.tcbs[index];
        let limit = self.windows.limit(index, hot, self.settings.receive_window_bytes);
        if hot.move_edge(limit) {
            let more = self.widen(index, limit);
            self.tcbs[index].rcv_edge += more;
        }
        self.tcbs[index].window_field()
    }

    /// Builds and sends a segment of a connection; `write` writes its data. Whether it was sent.
    #[inline]
    fn send_from(&mut self, index: u32, outgoing: &Outgoing, write: impl FnOnce(&mut [u8])) -> bool {
        let window = self.advertise(index);
        let hot = &self.tcbs[index];
        let stamps = (hot.facts.has(Facts::TIMESTAMPS))
            .then(|| (self.now_ms.wrapping_add(hot.ts_offset), hot.ts_recent));
        let sent =
            if hot.facts.has(Facts::V6.or(Facts::ECN)) || hot.cold != NO_COLD || outgoing.twice.is_some() {
                self.send_long(index, outgoing, window, stamps, write)
            } else {
                let (local, local_port) = self.locals.v4(hot.local);
                let outbound = Outbound {
                    local,
                    remote: hot.remote,
                    local_port,
                    remote_port: hot.remote_port,
                    seq: outgoing.seq,
                    ack: hot.rcv_nxt,
                    flags: outgoing.flags,
                    window,
                    stamps,
                    len: outgoing.len,
                };
                self.send_outbound(hot.link, &outbound, write)
            };
        if !sent {
            return false;
        }
        self.tcbs[index].facts.clear(Facts::ACK_NOW.or(Facts::ACK_OWED).or(Facts::PAIR_OWED));
        if outgoing.len > 0 {
            self.counters.add_n(TcpCounter::BytesOut, outgoing.len as u64);
        }
        true
    }

    /// A segment to an IPv6 peer, or one that may say what arrived out of order or that the path is congested. Whether it
    /// was sent.
    fn send_long(
        &mut self,
        index: u32,
        outgoing: &Outgoing,
        window: u16,
        timestamps: Option<(u32, u32)>,
        write: impl FnOnce(&mut [u8]),
    ) -> bool {
        let hot = &self.tcbs[index];
        let mut options = Options { timestamps, ..Options::default() };
        if hot.sacks() && outgoing.len == 0 {
            // RFC 7323 3.2: beside timestamps three blocks fit. RFC 2883 4: what came twice is the first.
            let mut max = SACK_BLOCKS_MAX - usize::from(options.timestamps.is_some());
            if let Some((left, right)) = outgoing.twice {
                options.sack.push(left, right);
                max -= 1;
            }
            if let Some(cold) = self.cold.get(hot.cold)
                && !cold.reassembly.is_empty()
            {
                for &(left, right) in cold.reassembly.blocks(max).as_slice() {
                    options.sack.push(left, right);
                }
            }
        }
        // RFC 3168 6.1.6: of probes of a closed window a peer does not count the marks.
        let fresh = outgoing.len > 0 && hot.window != 0 && hot.snd_max.le(outgoing.seq);
        let (flags, ecn) = hot.marks(outgoing.flags, fresh);
        let segment = Segment {
            source: self.locals.get(hot.local).address.port(),
            destination: hot.remote_port,
            seq: outgoing.seq,
            ack: hot.rcv_nxt,
            flags,
            window,
            options,
            header: 0,
            len: outgoing.len as u16,
        };
        let local = self.locals.get(hot.local).address;
        let remote = SocketAddr::new(self.remotes.get(hot.remote, hot.facts.has(Facts::V6)), hot.remote_port);
        let link = self.links.get(hot.link);
        let sent = self.send_marked(link, local, remote, &segment, ecn, write);
        if sent && fresh {
            self.tcbs[index].facts.clear(Facts::CWR_OWED);
        }
        sent
    }

    /// Puts a segment into a frame and sends it; whether that worked.
    #[inline]
    pub(crate) fn send_segment(
        &mut self,
        link: Link,
        local: SocketAddr,
        remote: SocketAddr,
        segment: &Segment,
        write: impl FnOnce(&mut [u8]),
    ) -> bool {
        self.send_marked(link, local, remote, segment, 0, write)
    }

    /// The same, in a packet that is marked with `ecn` (RFC 3168 5).
    fn send_marked(
        &mut self,
        link: Link,
        local: SocketAddr,
        remote: SocketAddr,
        segment: &Segment,
        ecn: u8,
        write: impl FnOnce(&mut [u8]),
    ) -> bool {
        let Some(mut frame) = self.port.take() else {
            self.drops.add(TcpDrop::NoFrame);
            return false;
        };
        let (ip, header) = (headers::bytes(link, local.ip()), segment.header_bytes());
        let len = header + usize::from(segment.len);
        frame.set_range(0, ip + len);
        headers::write(&mut frame, link, local.ip(), remote.ip(), TCP, ecn, len);
        write(&mut frame[ip + header..]);
        segment.write(local.ip(), remote.ip(), &mut frame[ip..]);
        match self.port.send(self.now, frame) {
            Ok(()) => {
                self.counters.add(TcpCounter::SegmentsOut);
                true
            }
            Err(frame) => {
                self.drops.add(TcpDrop::PortFull);
                self.port.put(frame);
                false
            }
        }
    }

    /// Our FIN, right behind what has been sent; tried again later if it cannot leave.
    pub(crate) fn send_fin(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        let seq = hot.snd_max;
        hot.state = match hot.state {
            State::CloseWait => State::LastAck,
            State::Established | State::SynReceived => State::FinWait1,
            other => other,
        };
        if !self.send_fin_segment(index, seq) {
            self.tcbs[index].facts.set(Facts::FIN_STARVED);
            self.wait(index);
            return;
        }
        let hot = &mut self.tcbs[index];
        hot.facts.clear(Facts::FIN_STARVED);
        self.was_sent(index, seq, seq + 1);
        let hot = &mut self.tcbs[index];
        hot.facts.set(Facts::FIN_SENT);
        // RFC 6298 5.1: what is lost before it does not wait the longer for it.
        if matches!(hot.timer, Timer::None | Timer::Persist) {
            self.rearm(index);
        }
    }
}
