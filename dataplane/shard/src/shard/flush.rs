//! What goes to clients: queues that are flushed, connections that are ended, and what waits for room.

use pelton_base::{ByteStreams, Ending, Key, Transmit};

use super::{AHEAD, LAST_WORDS_MS, LOOKED_AHEAD_MIN, Shard};

impl<T: ByteStreams> Shard<T> {
    pub(super) fn carry_out(&mut self) {
        self.asks.append(&mut self.broker.effects.asks);
        while let Some(key) = self.broker.effects.silent.pop() {
            if self.conn(key).is_some() {
                let stream = self.line(key).stream;
                self.transport.keep_alive(stream);
            }
        }
        let mut closes = std::mem::take(&mut self.broker.effects.closes);
        for close in closes.drain(..) {
            let until = self.now.plus_ms(LAST_WORDS_MS);
            let Some(conn) = self.conn(close.link) else { continue };
            conn.rest = None;
            conn.closing = Some(close.how);
            self.put_aside(close.link);
            let stream = self.line(close.link).stream;
            self.transport.pause_read(stream);
            self.transmit(close.link.index);
            if self.conn(close.link).is_some_and(|conn| conn.closing.is_some()) {
                self.last_words.push_back((until, close.link));
            }
        }
        self.broker.effects.closes = closes;
    }

    /// Connections that do not take their last words in time are cut off.
    pub(super) fn end_last_words(&mut self) {
        while let Some(&(until, key)) = self.last_words.front() {
            let pending = self.conn(key).is_some_and(|conn| conn.closing.is_some());
            if pending && until > self.now {
                return;
            }
            self.last_words.pop_front();
            if pending && let Some(conn) = self.conn(key) {
                conn.closing = None;
                let stream = self.line(key).stream;
                self.broker.out().discard(key.index);
                self.transport.close(stream, Ending::Abort);
            }
        }
    }

    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        self.broker.out().take_dirty(&mut dirty);
        if dirty.len() <= AHEAD || self.conns.len() < LOOKED_AHEAD_MIN {
            dirty.iter().for_each(|&index| self.transmit(index));
        } else {
            self.flush_ahead(&dirty);
        }
        self.broker.out().close_logs();
        self.dirty = dirty;
    }

    /// Flushes connections in three steps each, some at a time: asks for the queues, for their streams, and sends.
    pub(super) fn flush_ahead(&mut self, dirty: &[u32]) {
        let group = |at: usize| dirty.iter().skip(at).take(AHEAD);
        for at in (0..dirty.len() + 2 * AHEAD).step_by(AHEAD) {
            group(at).for_each(|&index| self.broker.out().prefetch(index));
            let Some(at) = at.checked_sub(AHEAD) else { continue };
            for &index in group(at) {
                let line = self.broker.out().line(index);
                if line.bound {
                    self.transport.prefetch(line.stream);
                }
            }
            let Some(at) = at.checked_sub(AHEAD) else { continue };
            group(at).for_each(|&index| self.transmit(index));
        }
    }

    /// What peers have acknowledged is taken off, where nothing was sent that took it along.
    #[inline]
    pub(super) fn take_acknowledged(&mut self) {
        let mut acknowledged = std::mem::take(&mut self.acknowledged);
        while let Some((token, n)) = self.transport.next_acknowledged() {
            let index = Key::from_u64(token).index;
            self.broker.out().prefetch(index);
            acknowledged.push((token, n));
        }
        for (token, n) in acknowledged.drain(..) {
            let key = Key::from_u64(token);
            debug_assert!(self.conn(key).is_some(), "a stream that is bound has a connection");
            let before = self.broker.out().queued(key.index);
            self.broker.out().consume(key.index, n);
            if before >= self.broker.starving_bytes() {
                self.eased.push(key);
            }
        }
        self.acknowledged = acknowledged;
    }

    #[inline]
    pub(super) fn flush_urgent(&mut self) {
        if self.broker.out().urgent.is_empty() {
            return;
        }
        let mut urgent = std::mem::take(&mut self.urgent);
        self.broker.out().take_urgent(&mut urgent);
        for &index in &urgent {
            self.transmit(index);
        }
        self.urgent = urgent;
    }

    /// Sends what is queued to a connection, as far as its transport takes it and if it takes any.
    #[inline]
    pub(super) fn transmit(&mut self, index: u32) {
        let starving = self.broker.starving_bytes();
        let Some((line, queue, logs)) = self.broker.out().bound(index) else { return };
        if line.blocked {
            return self.broker.out().settle(index);
        }
        let before = queue.len();
        let sent =
            if before == 0 { Transmit::Drained } else { self.transport.transmit(line.stream, queue, logs) };
        line.blocked = sent == Transmit::Blocked;
        let ends = line.aside && sent == Transmit::Drained;
        let eases = before >= starving && queue.len() < before;
        self.broker.out().settle(index);
        if eases || ends {
            self.was_sent(index, eases, ends);
        }
    }

    /// A queue that had been long has become shorter (`eases`); or all is on its way, and the connection may be one that
    /// was to be ended then (`ends`).
    #[cold]
    fn was_sent(&mut self, index: u32, eases: bool, ends: bool) {
        let Some(Some(conn)) = self.conns.get_mut(index) else { return };
        if eases {
            self.eased.push(conn.key);
        }
        if ends && let Some(how) = conn.closing.take() {
            let stream = self.broker.out().line(index).stream;
            self.transport.close(stream, how);
        }
    }

    pub(super) fn writable(&mut self, key: Key) {
        if self.conn(key).is_none() {
            return;
        }
        let was_blocked =
            self.broker.out().line_mut(key.index).is_some_and(|line| std::mem::take(&mut line.blocked));
        self.transmit(key.index);
        // Where the transport only took off what has arrived, nothing waits: what did was asked at the end of the turn
        // in which it came to wait.
        if was_blocked && self.conn(key).is_some() && !self.line(key).blocked {
            self.broker.handle_writable(key);
        }
    }

    /// What waited for what was queued to go out can follow now, where the transport has taken it all and there is
    /// room. Where it has not taken it, [`Shard::writable`] comes; where the queue is full of what the peer has not
    /// acknowledged, it is looked at again when some of that has come off. Returns whether anything followed.
    pub(super) fn feed_starved(&mut self) -> bool {
        if !self.can_feed() {
            return false;
        }
        let mut eased = std::mem::take(&mut self.eased);
        for key in eased.drain(..) {
            self.broker.handle_writable(key);
        }
        self.eased = eased;
        true
    }

    /// Whether anything that waited can follow; who can stays on the list.
    #[inline]
    pub(super) fn can_feed(&mut self) -> bool {
        self.broker.take_starved(&mut self.eased);
        if self.eased.is_empty() {
            return false;
        }
        let mut eased = std::mem::take(&mut self.eased);
        eased.retain(|&key| {
            self.conn(key).is_some() && !self.line(key).blocked && self.broker.has_room_again(key)
        });
        self.eased = eased;
        !self.eased.is_empty()
    }
}
