//! A segment arrives at a connection that is past its handshake: RFC 9293 3.10.7.4, one function for each step.
//! Steps that end the processing say how.

use pelton_base::StreamEnd;
use pelton_packet::{Frame, Port};

use crate::chunk::Chunk;
use crate::counters::{TcpCounter, TcpDrop};
use crate::reassembly::Piece;
use crate::segment::{Flags, Segment};
use crate::seq::{Seq, time_lt};
use crate::stack::{Arrival, Event, Tcp};
use crate::tcb::{Facts, Hot, NO_COLD, State};

/// For so long a time stamp is comparable, RFC 7323 5.5.
const PAWS_IDLE_MS: u32 = 24 * 24 * 3_600 * 1_000;
/// Data segments at the start of a connection that are acknowledged at once: slow start at the other end.
pub(crate) const QUICK_ACKS: u8 = 8;

/// Why a segment is worked on no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It is not used.
    Dropped(TcpDrop),
    /// It ended the connection, whose block is gone.
    Ended,
}

/// A half second in a byte that is not zero. Which of them have the same byte follows no rule, so that nobody who comes at
/// regular intervals is taken each time for one who has just been there.
const fn half_second(now_ms: u32) -> u8 {
    let mut mixed = now_ms >> 9;
    mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x7feb_352d);
    mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x846c_a68b);
    (mixed >> 24) as u8 | 1
}

/// What of a segment's data is in the window and new.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    seq: Seq,
    /// Bytes in front of it that are not.
    skip: usize,
    len: u32,
    fin: bool,
}

/// When an acknowledgement that is owed leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// At the end of the turn.
    Now,
    /// With what answers the data, or after the delay.
    Delayed,
    /// The same, as was known before.
    Known,
}

impl Hot {
    /// RFC 5681 4.2, RFC 9293 3.8.6.3 SHLD-18, SHLD-19: every second segment is acknowledged, whatever its size (a device
    /// with small buffers sends two and waits), the first few and those after a loss at once, the rest within the delay.
    /// What is behind an acknowledged pair in the same turn is acknowledged with it (RFC 9293 3.10.7.4 MUST-58, MUST-59).
    #[inline]
    pub(crate) fn owe_ack(&mut self) -> Owed {
        if self.facts.has(Facts::ACK_OWED.or(Facts::LISTED)) || self.quick_acks < QUICK_ACKS {
            self.quick_acks = (self.quick_acks + 1).min(QUICK_ACKS);
            let pair = self.facts.has(Facts::ACK_OWED);
            self.facts.put(Facts::PAIR_OWED, pair);
            self.facts.set(Facts::ACK_OWED.or(Facts::ACK_NOW));
            return Owed::Now;
        }
        let known = self.facts.has(Facts::ACK_DELAYED);
        self.facts.set(Facts::ACK_OWED.or(Facts::ACK_DELAYED));
        if known { Owed::Known } else { Owed::Delayed }
    }
}

impl<P: Port> Tcp<P> {
    pub(crate) fn segment_arrives(&mut self, index: u32, arrival: &Arrival, frame: Frame) {
        if self.tcbs[index].state == State::SynSent {
            self.syn_sent_segment(index, arrival);
            self.port.put(frame);
            return;
        }
        self.acknowledge_pair(index, arrival.segment.len);
        match self.check(index, arrival) {
            Ok(part) => self.take_data(index, arrival, part, frame),
            Err(stop) => {
                if let Stop::Dropped(why) = stop {
                    self.drops.add(why);
                }
                self.port.put(frame);
            }
        }
    }

    /// All steps up to the data.
    #[inline]
    fn check(&mut self, index: u32, arrival: &Arrival) -> Result<Part, Stop> {
        let segment = &arrival.segment;
        let part = self.check_sequence(index, segment)?;
        self.check_reset(index, segment)?;
        self.check_syn(index, segment)?;
        self.check_ack(index, segment)?;
        // It is the peer's: what it says of itself is believed from here on.
        let hot = &mut self.tcbs[index];
        // RFC 7323 4.3: the stamp to echo is that of the segment that our next ACK answers first. Not before the ACK
        // was found good: a guess that only hits the window would have the peer's own segments taken for old ones.
        if hot.facts.has(Facts::TIMESTAMPS)
            && let Some((stamp, _)) = segment.options.timestamps
            && segment.seq.le(hot.rcv_nxt)
            && !hot.facts.has(Facts::ACK_OWED)
        {
            hot.ts_recent = stamp;
        }
        hot.hear(self.now_ms, u32::from(segment.len), self.settings.delayed_ack_ms);
        hot.probes = 0;
        self.take_marks(index, segment, arrival.congested);
        let hot = &self.tcbs[index];
        // The next hop is whence the last good segment came.
        if self.links.get(hot.link) != arrival.link
            && let Some(link) = self.links.enter(arrival.link)
        {
            self.links.leave(std::mem::replace(&mut self.tcbs[index].link, link));
        }
        Ok(part)
    }

    /// RFC 9293 3.10.7.4 first: the sequence number, after the time stamp (RFC 7323 5.3 R1), which a reset does not need
    /// (RFC 7323 5.2).
    #[inline]
    fn check_sequence(&mut self, index: u32, segment: &Segment) -> Result<Part, Stop> {
        let reset = segment.flags.has(Flags::RST);
        let hot = &mut self.tcbs[index];
        let stamps = hot.facts.has(Facts::TIMESTAMPS);
        if stamps && !reset {
            match segment.options.timestamps {
                Some((stamp, _)) => {
                    let idle = self.now_ms.wrapping_sub(hot.last_rx_ms);
                    if time_lt(stamp, hot.ts_recent) && idle < PAWS_IDLE_MS {
                        self.answer_unacceptable(index, segment);
                        return Err(Stop::Dropped(TcpDrop::Paws));
                    }
                }
                // RFC 7323 3.2: without the option it is no segment of this connection.
                None => return Err(Stop::Dropped(TcpDrop::Paws)),
            }
        }
        let (start, end) = (segment.seq, segment.seq + segment.sequence_len());
        let (next, edge) = (hot.rcv_nxt, hot.rcv_edge);
        let acceptable = match (start == end, next == edge) {
            (true, true) => start == next,
            // One beyond the last byte is let pass as well: the peer has filled the window and says something.
            (true, false) => next.le(start) && start.le(edge),
            // RFC 9293 3.4 MUST-66: with the window closed what acknowledges or resets is still heard, its data is not.
            (false, true) => start == next,
            (false, false) => start.lt(edge) && next.lt(end),
        };
        if !acceptable {
            if !reset {
                self.answer_unacceptable(index, segment);
            }
            return Err(Stop::Dropped(TcpDrop::OutOfWindow));
        }
        let fin = segment.flags.has(Flags::FIN);
        if start == next && end.le(edge) && !segment.flags.has(Flags::SYN) {
            return Ok(Part { seq: start, skip: 0, len: u32::from(segment.len), fin });
        }
        Ok(self.trim(index, segment))
    }

    /// Cuts off what was received before and what is beyond the window.
    fn trim(&mut self, index: u32, segment: &Segment) -> Part {
        let hot = &mut self.tcbs[index];
        let first = segment.seq + u32::from(segment.flags.has(Flags::SYN));
        let last = first + u32::from(segment.len);
        let (start, end) = (first.max(hot.rcv_nxt), last.min(hot.rcv_edge));
        let fin = segment.flags.has(Flags::FIN) && last.lt(hot.rcv_edge) && hot.rcv_nxt.le(last);
        let len = if start.lt(end) { end.since(start) } else { 0 };
        let data = segment.len > 0 || segment.flags.has(Flags::FIN);
        if data && !segment.flags.has(Flags::RST) {
            // RFC 5681 4.2: what is old or leaves a gap is acknowledged at once.
            hot.facts.set(Facts::ACK_NOW);
            hot.quick_acks = 0;
            self.list(index);
        }
        Part { seq: start, skip: start.since(first) as usize, len, fin }
    }

    /// An unacceptable segment is answered with where this side stands.
    fn answer_unacceptable(&mut self, index: u32, segment: &Segment) {
        if segment.len > 0 || segment.flags.has(Flags::FIN) {
            // The peer sends again what was received: our ACK was lost, and the next must not be late.
            let window = self.receive_limit(index);
            let hot = &mut self.tcbs[index];
            hot.quick_acks = 0;
            let (start, end) = (segment.seq, segment.seq + u32::from(segment.len));
            if hot.sacks() && start.lt(end) && end.le(hot.rcv_nxt) && hot.rcv_nxt.since(start) <= window {
                self.send_ack_for(index, Some((start, end)));
                return;
            }
            hot.facts.set(Facts::ACK_NOW);
            self.list(index);
        } else if self.is_keep_alive(index, segment) {
            self.answer_keep_alive(index);
        } else {
            self.challenge(index);
        }
    }

    /// Whether the peer asks if this side is there (RFC 9293 3.8.4). Whoever knows both numbers is the peer.
    fn is_keep_alive(&self, index: u32, segment: &Segment) -> bool {
        let hot = &self.tcbs[index];
        let oldest = hot.snd_una.back(hot.snd_wnd_max());
        let only_acknowledges = segment.flags.has(Flags::ACK) && !segment.flags.has(Flags::SYN);
        only_acknowledges
            && segment.seq == hot.rcv_nxt.back(1)
            && oldest.le(segment.ack)
            && segment.ack.le(hot.snd_max)
    }

    /// Not often for one connection. The limit for all is one of what is said to strangers: a million peers that ask every
    /// other minute would spend it many times over.
    fn answer_keep_alive(&mut self, index: u32) {
        let now = half_second(self.now_ms);
        let hot = &mut self.tcbs[index];
        if hot.challenged == now {
            self.drops.add(TcpDrop::ChallengeLimited);
            return;
        }
        hot.challenged = now;
        hot.facts.set(Facts::ACK_NOW);
        self.list(index);
    }

    /// An ACK that makes the peer prove that it is one, RFC 5961 7, 10: not often, for one connection or all of them.
    pub(crate) fn challenge(&mut self, index: u32) {
        let now = half_second(self.now_ms);
        let hot = &mut self.tcbs[index];
        if hot.challenged == now || !self.challenges.take(self.now, &mut self.rng) {
            self.drops.add(TcpDrop::ChallengeLimited);
            return;
        }
        hot.challenged = now;
        hot.facts.set(Facts::ACK_NOW);
        self.counters.add(TcpCounter::Challenges);
        self.list(index);
    }

    /// RFC 9293 3.10.7.4 second: RST, with data or without (RFC 9293 3.5.3 SHLD-2, 3.6 MUST-12).
    #[inline]
    fn check_reset(&mut self, index: u32, segment: &Segment) -> Result<(), Stop> {
        if !segment.flags.has(Flags::RST) {
            return Ok(());
        }
        // RFC 5961 3.2: only the very next sequence number resets; what merely is in the window may be a guess.
        if segment.seq != self.tcbs[index].rcv_nxt {
            self.challenge(index);
            return Err(Stop::Dropped(TcpDrop::ResetChallenged));
        }
        self.counters.add(TcpCounter::ResetsIn);
        self.end(index, StreamEnd::PeerReset);
        Err(Stop::Ended)
    }

    /// RFC 9293 3.10.7.4 fourth: SYN. RFC 5961 4.2: whatever its sequence number.
    #[inline]
    fn check_syn(&mut self, index: u32, segment: &Segment) -> Result<(), Stop> {
        if !segment.flags.has(Flags::SYN) || self.tcbs[index].state == State::SynReceived {
            return Ok(());
        }
        self.challenge(index);
        Err(Stop::Dropped(TcpDrop::SynChallenged))
    }

    /// RFC 9293 3.10.7.4 fifth: ACK.
    #[inline]
    fn check_ack(&mut self, index: u32, segment: &Segment) -> Result<(), Stop> {
        if !segment.flags.has(Flags::ACK) {
            return Err(Stop::Dropped(TcpDrop::NoAck));
        }
        let hot = &mut self.tcbs[index];
        if hot.state == State::SynReceived {
            return self.syn_received_ack(index, segment);
        }
        // RFC 5961 5.2: not for what was never sent, nor older than the biggest window ever offered.
        let oldest = hot.snd_una.back(hot.snd_wnd_max());
        if hot.snd_max.lt(segment.ack) || segment.ack.lt(oldest) {
            self.challenge(index);
            return Err(Stop::Dropped(TcpDrop::BadAck));
        }
        self.acknowledged(index, segment);
        self.check_own_fin(index)
    }

    /// What the acknowledgement of our FIN means for the state.
    #[inline]
    fn check_own_fin(&mut self, index: u32) -> Result<(), Stop> {
        let hot = &mut self.tcbs[index];
        if !hot.facts.has(Facts::FIN_SENT) {
            return Ok(());
        }
        let fin_acked = hot.snd_una == hot.snd_max;
        match hot.state {
            State::FinWait1 if fin_acked => {
                hot.state = State::FinWait2;
                self.disown_when_sent(index);
            }
            State::Closing if fin_acked => {
                self.disown_when_sent(index);
                self.enter_time_wait(index);
                return Err(Stop::Ended);
            }
            State::LastAck if fin_acked => {
                self.end(index, StreamEnd::Local);
                return Err(Stop::Ended);
            }
            _ => self.disown_when_sent(index),
        }
        Ok(())
    }

    /// RFC 9293 3.10.7.4 seventh: the data. (RFC 9293 3.10.7.4 sixth, 3.8.5 MUST-30, MUST-31 is urgent data, which is taken in
    /// line: nobody here reads it out of band.)
    #[inline]
    fn take_data(&mut self, index: u32, arrival: &Arrival, part: Part, mut frame: Frame) {
        if part.len == 0 && !part.fin {
            if arrival.segment.len > 0 {
                self.drops.add(TcpDrop::Duplicate);
            }
            self.port.put(frame);
            return;
        }
        let hot = &mut self.tcbs[index];
        if !hot.state.receives() {
            // The peer has sent its FIN: nothing can follow it.
            self.drops.add(TcpDrop::AfterClose);
            self.port.put(frame);
            return;
        }
        if hot.facts.has(Facts::APP_CLOSED)
            && !hot.facts.has(Facts::GRACEFUL.or(Facts::HALF_OPEN))
            && part.len > 0
        {
            // RFC 1122 4.2.2.13, RFC 9293 3.6.1 MAY-1, SHLD-3: nobody will read it, and the peer should know.
            self.drops.add(TcpDrop::AfterClose);
            self.port.put(frame);
            self.reset_peer(index);
            self.end(index, StreamEnd::Local);
            return;
        }
        let in_order = part.seq == hot.rcv_nxt;
        let fin_at = part.seq + part.len;
        if in_order && hot.cold == NO_COLD {
            if part.len > 0 {
                frame.set_range(frame.start() + arrival.data + part.skip, part.len as usize);
                self.deliver(index, frame);
            } else {
                self.port.put(frame);
            }
            self.owe_ack(index);
        } else {
            self.take_out_of_order(index, arrival, part, frame);
        }
        if part.fin {
            let hot = &self.tcbs[index];
            if fin_at == hot.rcv_nxt {
                self.take_fin(index);
            } else if let Some(cold) = self.cold_of(index) {
                // RFC 9293 3.4: it is acted upon when what is before it has come.
                cold.fin = Some(fin_at);
            }
        }
    }

    /// In-order data goes to the shard in the frame it came in.
    #[inline]
    pub(crate) fn deliver(&mut self, index: u32, frame: Frame) {
        let len = frame.len() as u32;
        let key = self.tcbs.key(index);
        let hot = &mut self.tcbs[index];
        hot.rcv_nxt += len;
        self.counters.add_n(TcpCounter::BytesIn, u64::from(len));
        if hot.facts.has(Facts::APP_CLOSED) && !hot.facts.has(Facts::HALF_OPEN) {
            self.drops.add(TcpDrop::AfterClose);
            self.port.put(frame);
            return;
        }
        hot.held += len;
        self.events.push_back(Event::Data(key, Chunk::Frame(frame)));
    }

    /// RFC 5681 4.2: of full segments every second has an ACK of its own, however many come in one turn. With one for
    /// all of them the loss of that one leaves the peer to its time-out. The last in a turn waits for the end of it, and
    /// may travel with what answers it; what comes next, `len` bytes, shows that there are two before.
    #[inline]
    pub(crate) fn acknowledge_pair(&mut self, index: u32, len: u16) {
        let hot = &self.tcbs[index];
        if hot.facts.has(Facts::PAIR_OWED) && u32::from(len) >= hot.payload_max() {
            self.send_ack(index);
        }
    }

    /// Data came in order, see [`Hot::owe_ack`].
    #[inline]
    pub(crate) fn owe_ack(&mut self, index: u32) {
        match self.tcbs[index].owe_ack() {
            Owed::Known => {}
            Owed::Delayed => self.heard.push(self.tcbs.key(index)),
            Owed::Now => self.list(index),
        }
    }

    /// Data that leaves a gap, fills one, or meets what is kept, RFC 9293 3.10.7.4 SHLD-31.
    fn take_out_of_order(&mut self, index: u32, arrival: &Arrival, part: Part, frame: Frame) {
        let data = frame.start() + arrival.data + part.skip;
        let gap_filled = part.seq == self.tcbs[index].rcv_nxt;
        if !gap_filled {
            self.counters.add(TcpCounter::OutOfOrder);
        }
        let (start, end) = (part.seq, part.seq + part.len);
        let known =
            start != end && self.cold_of(index).is_some_and(|cold| cold.reassembly.gap(start, end).is_none());
        self.keep(index, part, data, frame);
        let had_kept = self.deliver_kept(index);
        let hot = &mut self.tcbs[index];
        if gap_filled && !had_kept {
            self.owe_ack(index);
        } else {
            // The peer recovers with a small window: what comes next may be all that it may send.
            hot.quick_acks = 0;
            if gap_filled {
                hot.facts.set(Facts::ACK_NOW);
                self.list(index);
            } else {
                // RFC 5681 4.2: the peer counts duplicates, or takes its time from them, and some get lost; one for a
                // whole burst would often leave it to its time-out.
                self.send_ack_for(index, known.then_some((start, end)));
            }
        }
        let next = self.tcbs[index].rcv_nxt;
        if let Some(cold) = self.cold_of(index)
            && cold.fin == Some(next)
        {
            cold.fin = None;
            self.take_fin(index);
        }
        self.drop_cold_if_quiet(index);
    }

    /// Keeps what of a part is not there yet. First bytes win: what is there stays as it is.
    fn keep(&mut self, index: u32, part: Part, data: usize, frame: Frame) {
        let (mut start, end) = (part.seq, part.seq + part.len);
        let mut original = Some(frame);
        if self.ensure_cold(index) {
            let next = self.tcbs[index].rcv_nxt;
            while let Some(gap) = self.cold_of(index).and_then(|cold| cold.reassembly.gap(start, end)) {
                start = gap.end;
                if !self.room_for(index, gap.start, next) {
                    self.drops.add(TcpDrop::ReassemblyFull);
                    break;
                }
                let place = data + gap.start.since(part.seq) as usize;
                let len = gap.end.since(gap.start) as usize;
                let more = self.cold_of(index).is_some_and(|cold| cold.reassembly.gap(start, end).is_some());
                let piece = if more {
                    let (Some(mut copy), Some(from)) = (self.port.take(), original.as_mut()) else {
                        self.drops.add(TcpDrop::ReassemblyFull);
                        break;
                    };
                    from.set_range(place, len);
                    copy.fill(from);
                    copy
                } else {
                    let Some(mut from) = original.take() else { break };
                    from.set_range(place, len);
                    from
                };
                if let Some(cold) = self.cold_of(index) {
                    cold.reassembly.insert(Piece { seq: gap.start, frame: piece });
                    self.kept_frames += 1;
                }
                if original.is_none() {
                    break;
                }
            }
        } else if part.seq == self.tcbs[index].rcv_nxt && part.len > 0 {
            // Nothing is kept, so this is in order.
            if let Some(mut frame) = original.take() {
                frame.set_range(data, part.len as usize);
                self.deliver(index, frame);
            }
        } else if part.len > 0 {
            self.drops.add(TcpDrop::ReassemblyFull);
        }
        if let Some(frame) = original {
            self.port.put(frame);
        }
    }

    /// Whether a piece may be kept. The one that is next always may: it leaves at once. Others give way to an
    /// earlier one.
    fn room_for(&mut self, index: u32, seq: Seq, next: Seq) -> bool {
        if seq == next {
            return true;
        }
        let segments_max = usize::from(self.settings.reassembly_segments_max);
        let frames_full = self.kept_frames >= self.settings.reassembly_frames_max;
        let Some(cold) = self.cold_of(index) else { return false };
        if cold.reassembly.len() < segments_max && !frames_full {
            return true;
        }
        if cold.reassembly.last().is_some_and(|last| seq.lt(last))
            && let Some(piece) = cold.reassembly.take_last()
        {
            self.kept_frames -= 1;
            self.port.put(piece.frame);
            self.drops.add(TcpDrop::ReassemblyFull);
            return true;
        }
        false
    }

    /// Hands on what is in order now; whether more had been kept than what came last.
    fn deliver_kept(&mut self, index: u32) -> bool {
        let mut delivered = 0;
        loop {
            let next = self.tcbs[index].rcv_nxt;
            let Some(piece) = self.cold_of(index).and_then(|cold| cold.reassembly.take(next)) else { break };
            self.kept_frames -= 1;
            delivered += 1;
            self.deliver(index, piece.frame);
        }
        delivered > 1 || self.cold_of(index).is_some_and(|cold| !cold.reassembly.is_empty())
    }

    /// RFC 9293 3.10.7.4 eighth: FIN, in order.
    fn take_fin(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        hot.rcv_nxt += 1;
        hot.rcv_edge = hot.rcv_edge.max(hot.rcv_nxt);
        hot.facts.set(Facts::ACK_NOW);
        match hot.state {
            State::Established => {
                hot.state = State::CloseWait;
                // The shard is told at the end of the turn or when what is under way has arrived: it may be about
                // to answer what came before the FIN.
                hot.facts.set(Facts::PEER_CLOSED);
                if !hot.facts.has(Facts::HALF_OPEN) {
                    self.linger(index, self.settings.linger_ms);
                }
            }
            State::FinWait1 => hot.state = State::Closing,
            State::FinWait2 => {
                self.send_ack(index);
                self.enter_time_wait(index);
                return;
            }
            _ => {}
        }
        self.list(index);
    }
}
