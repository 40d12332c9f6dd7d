//! What comes from clients: events of the transport, bytes to packets, and what is held until it can be used.

use pelton_base::{ByteStreams, Ending, Key, Line, StreamEvent};
use pelton_broker::Broker;

use super::{AHEAD, Life, Shard};
use crate::inlet::{Conn, Fed, Rest, feed};

impl<T: ByteStreams> Shard<T> {
    pub(super) fn take_streams(&mut self) {
        self.transport.poll(self.now);
        if self.transport.upcoming(0).is_some() {
            (0..AHEAD).for_each(|ahead| self.prefetch(ahead));
        }
        for taken in 0.. {
            let Some(event) = self.transport.next() else { break };
            if taken % AHEAD == 0 {
                (AHEAD - 1..2 * AHEAD - 1).for_each(|ahead| self.prefetch(ahead));
            }
            match event {
                StreamEvent::Data { token, chunk } if self.life != Life::Serves => {
                    // Its client's will may be published already.
                    let key = Key::from_u64(token);
                    if self.conn(key).is_some() {
                        let stream = self.line(key).stream;
                        self.transport.consumed(stream, chunk.len());
                    }
                    self.transport.recycle(chunk);
                }
                StreamEvent::Data { token, chunk } => {
                    self.receive(Key::from_u64(token), &chunk);
                    self.transport.recycle(chunk);
                    self.flush_urgent();
                }
                StreamEvent::Opened { stream, peer } => match self.if_open(Broker::handle_opened) {
                    Some(key) => self.open(key, stream, peer.listener),
                    None => self.transport.close(stream, Ending::Abort),
                },
                StreamEvent::Writable { token } => self.writable(Key::from_u64(token)),
                StreamEvent::Closed { token, why } => {
                    let key = Key::from_u64(token);
                    if let Some(conn) = self.conn(key) {
                        if conn.in_line {
                            self.waiting.retain(|&other| other != key);
                        }
                        self.broker.handle_closed(key, why);
                        self.forget(key);
                    }
                }
            }
        }
    }

    /// Asks for what an event to come will touch: with many connections each of its tables is a miss. Many are asked for
    /// in one go: the addresses of what lies on many pages are then looked up side by side.
    #[inline]
    pub(super) fn prefetch(&self, ahead: usize) {
        if let Some((token, bytes)) = self.transport.upcoming(ahead) {
            self.broker.prefetch(Key::from_u64(token), bytes);
        }
    }

    /// A connection that comes when the shard has been told to shut down is not taken: nobody would end it.
    pub(super) fn if_open(&mut self, take: impl FnOnce(&mut Broker) -> Option<Key>) -> Option<Key> {
        if self.life == Life::Serves { take(&mut self.broker) } else { None }
    }

    pub(super) fn open(&mut self, key: Key, stream: pelton_base::StreamId, listener: u16) {
        self.conns.grow_to(key.index);
        self.conns[key.index] = Some(Conn { key, listener, in_line: false, closing: None, rest: None });
        self.broker.out().bind(key.index, Line::to(stream));
        self.transport.bind(stream, key.to_u64());
    }

    #[inline]
    pub(super) fn conn(&mut self, key: Key) -> Option<&mut Conn> {
        match self.conns.get_mut(key.index) {
            Some(Some(conn)) if conn.key == key => Some(conn),
            _ => None,
        }
    }

    /// A connection that is gone, or has left.
    pub(super) fn forget(&mut self, key: Key) {
        self.conns[key.index] = None;
        self.broker.out().bind(key.index, Line::default());
    }

    /// Where a connection leads that the shard has.
    #[inline]
    pub(super) fn line(&mut self, key: Key) -> Line {
        self.broker.out().line(key.index)
    }

    /// Something was put aside for a connection.
    pub(super) fn put_aside(&mut self, key: Key) {
        if let Some(line) = self.broker.out().line_mut(key.index) {
            line.aside = true;
        }
    }

    /// Keeps input of a connection, or puts it back.
    fn keep_rest(&mut self, key: Key, rest: Box<Rest>) {
        if let Some(conn) = self.conn(key) {
            conn.rest = Some(rest);
            self.put_aside(key);
        }
    }

    /// Whether a connection has input that was kept; where nothing is put aside any more its line says so.
    #[cold]
    fn has_rest(&mut self, key: Key) -> bool {
        let Some(conn) = self.conn(key) else { return false };
        let has = conn.rest.is_some();
        if !has
            && conn.closing.is_none()
            && let Some(line) = self.broker.out().line_mut(key.index)
        {
            line.aside = false;
        }
        has
    }

    /// Bytes of a connection. Of one that is gone (the broker knows it no more) none are used.
    #[inline]
    pub(super) fn receive(&mut self, key: Key, bytes: &[u8]) {
        let line = self.line(key);
        if !line.bound {
            return;
        }
        if line.aside && self.has_rest(key) {
            return self.receive_behind(key, bytes);
        }
        let (used, fed) = feed(&mut self.broker, key, bytes);
        self.transport.consumed(line.stream, used);
        if fed != Fed::Empty {
            self.keep(key, &bytes[used..], fed, bytes.len() - used);
        }
    }

    /// Bytes of a connection that has some waiting.
    pub(super) fn receive_behind(&mut self, key: Key, mut bytes: &[u8]) {
        loop {
            let stream = self.line(key).stream;
            let Some(Conn { rest: Some(rest), .. }) = self.conn(key) else { return };
            if rest.held {
                rest.unreported += bytes.len();
                rest.bytes.extend_from_slice(bytes);
                return;
            }
            let taken = bytes.len().min(rest.need - rest.bytes.len());
            rest.bytes.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            let whole = rest.bytes.len() == rest.need;
            self.transport.consumed(stream, taken);
            if !whole {
                return;
            }
            // One packet is whole (or a fixed header, and then it is known how long the packet is).
            let Some(mut rest) = self.conn(key).and_then(|conn| conn.rest.take()) else { return };
            let (used, fed) = feed(&mut self.broker, key, &rest.bytes);
            match fed {
                Fed::Partial(need) => {
                    rest.need = need;
                    self.keep_rest(key, rest);
                }
                Fed::Empty => return self.receive(key, bytes),
                Fed::Held | Fed::HandOver(_) | Fed::Ended => {
                    rest.bytes.drain(..used);
                    rest.bytes.extend_from_slice(bytes);
                    let all = std::mem::take(&mut rest.bytes);
                    return self.keep(key, &all, fed, bytes.len());
                }
            }
        }
    }

    /// Keeps what was not used of a connection's input; `unreported` bytes of it (the last ones) still count
    /// against the stream's window.
    pub(super) fn keep(&mut self, key: Key, bytes: &[u8], fed: Fed, unreported: usize) {
        let stream = self.line(key).stream;
        let Some(conn) = self.conn(key) else { return };
        match fed {
            Fed::Empty | Fed::Ended => conn.rest = None,
            Fed::Partial(need) => {
                let rest = Rest { bytes: bytes.to_vec(), need, held: false, unreported: 0 };
                self.keep_rest(key, Box::new(rest));
                self.transport.consumed(stream, unreported);
            }
            Fed::Held => {
                let rest = Rest { bytes: bytes.to_vec(), need: 0, held: true, unreported };
                self.keep_rest(key, Box::new(rest));
                self.transport.pause_read(stream);
                self.stand_in_line(key);
            }
            Fed::HandOver(to) => {
                let rest = Rest { bytes: bytes.to_vec(), need: 0, held: true, unreported: 0 };
                self.keep_rest(key, Box::new(rest));
                self.transport.pause_read(stream);
                self.hand_over(key, to);
            }
        }
    }

    /// A connection whose input is held until there is room stands in line for it, once.
    pub(super) fn stand_in_line(&mut self, key: Key) {
        if self.broker.waits_for_room(key)
            && let Some(conn) = self.conn(key)
            && !std::mem::replace(&mut conn.in_line, true)
        {
            self.waiting.push_back(key);
        }
    }

    /// The broker looks again at the input it held.
    pub(super) fn resume(&mut self, key: Key) {
        let hears = self.life == Life::Serves;
        let stream = self.line(key).stream;
        let Some(conn) = self.conn(key) else { return };
        if !hears || !conn.rest.as_ref().is_some_and(|rest| rest.held) {
            return;
        }
        let Some(rest) = conn.rest.take() else { return };
        self.transport.consumed(stream, rest.unreported);
        let (used, fed) = feed(&mut self.broker, key, &rest.bytes);
        if fed == Fed::Held && used == 0 {
            // Nothing came of it: the bytes stay where they are.
            self.keep_rest(key, Box::new(Rest { unreported: 0, ..*rest }));
            self.stand_in_line(key);
            return;
        }
        if fed != Fed::Empty {
            self.keep(key, &rest.bytes[used..], fed, 0);
        }
        if matches!(fed, Fed::Empty | Fed::Partial(_)) {
            self.transport.resume_read(stream);
        }
    }

    /// What the broker let go of in this turn is looked at again, as far as the turn's share goes.
    pub(super) fn feed_again(&mut self) {
        for (key, to) in std::mem::take(&mut self.leaving) {
            self.hand_over(key, to);
        }
        if std::mem::take(&mut self.broker.effects.decongested) {
            for _ in 0..self.waiting.len() {
                if self.broker.is_congested() {
                    break;
                }
                let Some(key) = self.waiting.pop_front() else { break };
                if let Some(conn) = self.conn(key) {
                    conn.in_line = false;
                }
                self.broker.release_hold(key);
                self.resume(key);
                self.flush_urgent();
            }
            if !self.waiting.is_empty() {
                self.broker.wait_for_room();
            }
        }
        while let Some(key) = self.broker.effects.resumed.pop() {
            self.resume(key);
        }
    }
}
