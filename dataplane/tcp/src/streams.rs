//! The stack as byte streams for a shard.

use pelton_base::{
    ByteStreams, Ending, Key, Mono, Peer, SendQueue, SharedLogs, StreamEvent, StreamId, TooBig, Transmit,
};
use pelton_packet::Port;

use crate::chunk::Chunk;
use crate::handover::HandedTcp;
use crate::handshake::listener_of;
use crate::stack::{Event, Tcp};
use crate::tcb::{Facts, State};

impl<P: Port> Tcp<P> {
    #[inline]
    fn index(&self, stream: StreamId) -> Option<u32> {
        self.tcbs.live(Key::from_u64(stream.0))
    }

    /// The index of a stream that still has an owner.
    #[inline]
    fn owned(&self, stream: StreamId) -> Option<u32> {
        self.index(stream).filter(|&index| !self.tcbs[index].facts.has(Facts::ORPHAN))
    }

    #[inline]
    fn give_back(&mut self, chunk: Chunk) {
        if let Chunk::Frame(frame) = chunk {
            self.port.put(frame);
        }
    }

    /// An event that is rare as the shard sees it, if it still is one. Data that comes here has nobody to go to.
    #[cold]
    fn turn_out(&mut self, event: Event) -> Option<StreamEvent<Chunk>> {
        match event {
            Event::Opened(key) => {
                let index = self.tcbs.live(key)?;
                self.tcbs[index].facts.set(Facts::ANNOUNCED);
                let stream = StreamId(key.to_u64());
                Some(StreamEvent::Opened { stream, peer: self.peer(stream)? })
            }
            Event::Data(_, chunk) => {
                self.give_back(chunk);
                None
            }
            Event::Service(key) => {
                let index = self.tcbs.live(key)?;
                let hot = &self.tcbs[index];
                // The shard may have transmitted meanwhile.
                let facts = hot.facts;
                let wanted =
                    facts.has(Facts::SERVICE) && facts.has(Facts::BOUND) && !facts.has(Facts::ORPHAN);
                wanted.then_some(StreamEvent::Writable { token: hot.token })
            }
            Event::Closed { key, token, why } => {
                let token = self.tcbs.live(key).map_or(token, |index| self.tcbs[index].token);
                (token != u64::MAX).then_some(StreamEvent::Closed { token, why })
            }
        }
    }
}

impl<P: Port> ByteStreams for Tcp<P> {
    type Chunk = Chunk;
    type Handover = HandedTcp;

    fn poll(&mut self, now: Mono) {
        self.turn(now);
    }

    #[inline]
    fn next(&mut self) -> Option<StreamEvent<Chunk>> {
        loop {
            let event = self.events.pop_front()?;
            if let Event::Data(key, chunk) = event {
                match self.tcbs.block(key) {
                    Some(hot) if hot.is_heard() => {
                        return Some(StreamEvent::Data { token: hot.token, chunk });
                    }
                    _ => self.give_back(chunk),
                }
            } else if let Some(event) = self.turn_out(event) {
                return Some(event);
            }
        }
    }

    #[inline]
    fn upcoming(&self, ahead: usize) -> Option<(u64, &[u8])> {
        match self.events.get(ahead)? {
            Event::Data(key, chunk) => Some((self.tcbs[key.index].token, chunk)),
            Event::Service(key) => Some((self.tcbs[key.index].token, &[])),
            _ => None,
        }
    }

    #[inline]
    fn recycle(&mut self, chunk: Chunk) {
        self.give_back(chunk);
    }

    fn bind(&mut self, stream: StreamId, token: u64) {
        if let Some(index) = self.owned(stream) {
            let hot = &mut self.tcbs[index];
            hot.token = token;
            hot.facts.set(Facts::BOUND);
        }
    }

    fn keep_alive(&mut self, stream: StreamId) {
        if let Some(index) = self.owned(stream) {
            self.tcbs[index].facts.set(Facts::WATCHED);
            self.arm(index);
        }
    }

    fn pause_read(&mut self, stream: StreamId) {
        // There is nothing to hold back here: what comes is bounded by the window, which closes as the shard does
        // not use what it gets.
        if let Some(index) = self.index(stream) {
            self.tcbs[index].facts.set(Facts::PAUSED);
        }
    }

    fn resume_read(&mut self, stream: StreamId) {
        if let Some(index) = self.index(stream) {
            self.tcbs[index].facts.clear(Facts::PAUSED);
            // While it was held back it was not watched.
            self.arm(index);
        }
    }

    #[inline]
    fn consumed(&mut self, stream: StreamId, n: usize) {
        let key = Key::from_u64(stream.0);
        let Some(hot) = self.tcbs.block(key) else { return };
        let limit = self.windows.limit(key.index, hot, self.settings.receive_window_bytes);
        hot.held = hot.held.saturating_sub(n.min(u32::MAX as usize) as u32);
        let candidate = hot.rcv_nxt + limit.saturating_sub(hot.held);
        // RFC 9293 3.8.6.2.2: the peer is told when it is worth a segment of its own.
        let worth = (2 * u32::from(hot.mss)).min(limit / 2);
        if hot.rcv_edge.lt(candidate) && candidate.since(hot.rcv_edge) >= worth && hot.state.receives() {
            hot.facts.set(Facts::ACK_NOW);
            self.list(key.index);
        }
    }

    fn transmit(&mut self, stream: StreamId, queue: &mut SendQueue, logs: &mut SharedLogs) -> Transmit {
        let key = Key::from_u64(stream.0);
        let index = key.index;
        let Some(hot) = self.tcbs.block(key).filter(|hot| !hot.facts.has(Facts::ORPHAN)) else {
            return Transmit::Gone;
        };
        if matches!(hot.state, State::SynSent | State::SynReceived) {
            hot.facts.clear(Facts::SERVICE);
            return Transmit::Blocked;
        }
        // The FIN is acknowledged too, but was never queued.
        let acked = (hot.snd_una.since(hot.queue_seq) as usize).min(queue.len());
        if acked > 0 {
            queue.consume(acked, logs);
            hot.queue_seq += acked as u32;
        }
        if self.send_queue(index, queue, logs) { Transmit::Blocked } else { Transmit::Drained }
    }

    #[inline]
    fn prefetch(&self, stream: StreamId) {
        self.tcbs.prefetch(Key::from_u64(stream.0).index);
    }

    #[inline]
    fn next_acknowledged(&mut self) -> Option<(u64, usize)> {
        while let Some(key) = self.consume.pop() {
            let Some(index) = self.tcbs.live(key) else { continue };
            let hot = &mut self.tcbs[index];
            hot.facts.clear(Facts::CONSUME);
            let acked = hot.snd_una.since(hot.queue_seq);
            if acked == 0 || hot.facts.has(Facts::SERVICE.or(Facts::ORPHAN)) {
                continue;
            }
            // Of what follows the last byte no account is kept here.
            if !hot.facts.has(Facts::BOUND) || hot.facts.has(Facts::FIN_SENT) {
                self.serve(index);
                continue;
            }
            hot.queue_seq += acked;
            return Some((hot.token, acked as usize));
        }
        None
    }

    fn close(&mut self, stream: StreamId, how: Ending) {
        let Some(index) = self.owned(stream) else { return };
        let hot = &mut self.tcbs[index];
        let opening = matches!(hot.state, State::SynSent | State::SynReceived);
        if how == Ending::Abort || opening {
            if hot.state != State::SynSent {
                self.reset_peer(index);
            }
            self.end(index, pelton_base::StreamEnd::Local);
            return;
        }
        if hot.facts.has(Facts::APP_CLOSED) {
            return;
        }
        hot.facts.set(Facts::APP_CLOSED);
        hot.facts.put(Facts::GRACEFUL, how == Ending::Graceful);
        self.linger(index, self.settings.linger_ms);
        self.send_fin(index);
        if self.tcbs[index].facts.has(Facts::FIN_SENT) {
            self.disown_when_sent(index);
        }
    }

    fn detach(&mut self, stream: StreamId, to: u16) -> Option<HandedTcp> {
        self.hand_over(Key::from_u64(stream.0), to)
    }

    fn attach(&mut self, handover: HandedTcp) -> Option<(StreamId, Peer)> {
        self.take_in(handover)
    }

    fn can_hand_over(&self) -> bool {
        self.relays.is_some()
    }

    fn peer(&self, stream: StreamId) -> Option<Peer> {
        let index = self.index(stream)?;
        let listener = listener_of(self.locals.get(self.tcbs[index].local));
        Some(Peer { remote: self.tuple_of(index).remote, listener })
    }

    fn next_timeout(&self) -> Option<Mono> {
        self.next_due()
    }

    fn end_turn(&mut self) {
        self.finish_listed();
        self.take_relayed();
        self.port.flush(self.now);
    }

    fn take_woken(&mut self, into: &mut Vec<u16>) {
        self.append_woken(into);
    }

    fn has_input(&self) -> bool {
        self.has_relayed()
    }

    fn too_big(&mut self, _interface: &str, segments: &[TooBig]) {
        for segment in segments {
            self.told_too_big(segment);
        }
    }

    fn stop_listening(&mut self) {
        self.locals.stop_listening();
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        let usage = self.usage();
        self.counters()
            .iter()
            .chain(self.drops().iter())
            .chain(self.packet_drops().iter())
            .chain([
                ("connections", usage.connections as u64),
                ("half_open", usage.half_open as u64),
                ("time_wait", usage.time_wait as u64),
                ("moved", usage.moved as u64),
            ])
            .chain(self.port.figures())
            .collect()
    }
}
