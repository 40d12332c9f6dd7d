//! What is to be sent, per connection: the Send effect of a turn, and what a transport keeps until the peer
//! has it.
//!
//! A [`SendQueue`] is eight bytes while nothing is queued. Bytes of one connection are copied to a buffer of
//! its own (taken from a pool); bytes that many connections get alike are written once to a log of
//! [`SharedLogs`] and queued as a range of it, and ranges that touch grow together, so that a fan-out of many
//! messages to one subscriber is one entry. Transports read a queue as slices and take off what is gone:
//! kernel sockets when the kernel has it, our TCP when the peer has acknowledged it.

use std::collections::VecDeque;

use crate::chunks::Chunks;

/// A buffer of this capacity or less is kept for the next connection that has something to send.
const POOLED_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of the buffers that are kept.
const POOL_BYTES: usize = 16 * 1024 * 1024;
/// A new buffer's capacity.
const FIRST_BUFFER_BYTES: usize = 2 * 1024;
/// A log that is longer is closed, and the next packet of its class goes to a new one.
const LOG_BYTES: usize = 64 * 1024;

/// Bytes of a log, queued to one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedRange {
    /// Which log.
    pub log: u32,
    /// First byte.
    pub start: u32,
    /// How many.
    pub len: u32,
}

#[derive(Clone, Copy, Debug)]
enum Segment {
    /// The next `0` bytes of the connection's own buffer.
    Own(usize),
    Shared(SharedRange),
}

#[derive(Default)]
struct Active {
    own: Vec<u8>,
    /// Bytes of `own` that are gone.
    own_gone: usize,
    /// Empty while everything queued is own bytes.
    segments: VecDeque<Segment>,
    bytes: usize,
}

impl Active {
    /// Copies what is shared, and forgets what is gone.
    #[cold]
    fn make_own(&mut self, logs: &mut SharedLogs) {
        // A queue that never runs quite empty must not keep what is gone. What is left is moved when it is no more
        // than what is gone, so that a byte is moved once on the average.
        if self.own_gone > POOLED_BUFFER_BYTES && self.own_gone * 2 > self.own.len() {
            self.own.drain(..self.own_gone);
            self.own_gone = 0;
        }
        let mut end = self.own_gone;
        let (mut behind, mut taken) = (Vec::new(), 0);
        let mut is_own = true;
        for segment in self.segments.drain(..) {
            match segment {
                // What stands before the first shared range stays where it is.
                Segment::Own(len) if is_own => end += len,
                Segment::Own(len) => {
                    self.own.extend_from_slice(&behind[taken..taken + len]);
                    taken += len;
                }
                Segment::Shared(range) => {
                    if is_own {
                        is_own = false;
                        behind = self.own.split_off(end);
                    }
                    self.own.extend_from_slice(logs.bytes(range));
                    logs.release(range.log);
                }
            }
        }
    }
}

/// The bytes one connection still has to send, oldest first.
#[derive(Default)]
pub struct SendQueue(Option<Box<Active>>);

impl SendQueue {
    /// How many bytes are queued.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |active| active.bytes)
    }

    /// Whether nothing is queued.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The queued bytes as slices, oldest first.
    pub fn slices<'a>(&'a self, logs: &'a SharedLogs) -> Slices<'a> {
        Slices { active: self.0.as_deref(), logs, segment: 0, own: self.0.as_ref().map_or(0, |a| a.own_gone) }
    }

    /// Takes `n` bytes off the front: they are sent (or acknowledged) for good.
    ///
    /// # Panics
    /// If fewer than `n` bytes are queued.
    pub fn consume(&mut self, mut n: usize, logs: &mut SharedLogs) {
        if n == 0 {
            return;
        }
        let active = self.0.as_deref_mut().expect("bytes are only taken from a queue that has some");
        assert!(n <= active.bytes, "{n} bytes taken from a queue of {}", active.bytes);
        active.bytes -= n;
        if active.segments.is_empty() {
            active.own_gone += n;
            return;
        }
        while n > 0 {
            match active.segments.front_mut().expect("segments add up to the queue's length") {
                Segment::Own(len) => {
                    let taken = n.min(*len);
                    *len -= taken;
                    n -= taken;
                    active.own_gone += taken;
                    if *len == 0 {
                        active.segments.pop_front();
                    }
                }
                Segment::Shared(range) => {
                    let taken = n.min(range.len as usize) as u32;
                    range.start += taken;
                    range.len -= taken;
                    n -= taken as usize;
                    if range.len == 0 {
                        logs.release(range.log);
                        active.segments.pop_front();
                    }
                }
            }
        }
    }
}

impl std::fmt::Debug for SendQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SendQueue({} bytes)", self.len())
    }
}

/// Iterator over the slices of a [`SendQueue`].
pub struct Slices<'a> {
    active: Option<&'a Active>,
    logs: &'a SharedLogs,
    segment: usize,
    own: usize,
}

impl<'a> Iterator for Slices<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let active = self.active?;
        if active.segments.is_empty() {
            self.active = None;
            return (active.bytes != 0).then(|| &active.own[self.own..]);
        }
        let segment = active.segments.get(self.segment)?;
        self.segment += 1;
        Some(match *segment {
            Segment::Own(len) => {
                let start = self.own;
                self.own += len;
                &active.own[start..self.own]
            }
            Segment::Shared(range) => self.logs.bytes(range),
        })
    }
}

struct Log {
    bytes: Vec<u8>,
    /// Queue entries that name this log.
    uses: u32,
    /// Still written to.
    open: bool,
}

/// Bytes that several connections send alike. A log is written while it is open, then kept until no queue
/// names it; its memory is used again.
#[derive(Default)]
pub struct SharedLogs {
    logs: Vec<Log>,
    free: Vec<u32>,
}

impl SharedLogs {
    /// Opens an empty log.
    pub fn open(&mut self) -> u32 {
        if let Some(log) = self.free.pop() {
            self.logs[log as usize].open = true;
            return log;
        }
        self.logs.push(Log { bytes: Vec::new(), uses: 0, open: true });
        (self.logs.len() - 1) as u32
    }

    /// Appends to an open log; returns the range written.
    pub fn append(&mut self, log: u32, write: impl FnOnce(&mut Vec<u8>)) -> SharedRange {
        let bytes = &mut self.logs[log as usize].bytes;
        let start = bytes.len();
        write(bytes);
        SharedRange { log, start: start as u32, len: (bytes.len() - start) as u32 }
    }

    /// Bytes written to the log so far.
    pub fn len(&self, log: u32) -> usize {
        self.logs[log as usize].bytes.len()
    }

    /// Whether no log is in use.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.logs.len()
    }

    /// Nothing more is written to the log; it is freed when the last queue is through with it.
    pub fn close(&mut self, log: u32) {
        self.logs[log as usize].open = false;
        self.free_if_unused(log);
    }

    /// How many logs are open or named by a queue, for checks.
    pub fn in_use(&self) -> usize {
        self.logs.len() - self.free.len()
    }

    /// The bytes of a range.
    #[inline]
    pub fn bytes(&self, range: SharedRange) -> &[u8] {
        &self.logs[range.log as usize].bytes[range.start as usize..][..range.len as usize]
    }

    fn release(&mut self, log: u32) {
        self.logs[log as usize].uses -= 1;
        self.free_if_unused(log);
    }

    fn free_if_unused(&mut self, log: u32) {
        let entry = &mut self.logs[log as usize];
        if entry.uses == 0 && !entry.open {
            if entry.bytes.capacity() > 4 * POOLED_BUFFER_BYTES {
                entry.bytes = Vec::new();
            } else {
                entry.bytes.clear();
            }
            self.free.push(log);
        }
    }
}

impl std::fmt::Debug for SharedLogs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedLogs").field("in_use", &(self.logs.len() - self.free.len())).finish()
    }
}

/// The send queues of all connections of a shard, by connection index, and which of them have something new
/// for their transport.
#[derive(Default)]
pub struct Outgoing {
    queues: Chunks<Entry>,
    dirty: Vec<u32>,
    #[expect(clippy::vec_box, reason = "a queue takes the box as it is: that is what is pooled")]
    pool: Vec<Box<Active>>,
    pool_bytes: usize,
    /// What several connections send alike.
    pub logs: SharedLogs,
    /// The open log of each class of packets, see [`Outgoing::share`].
    open: Vec<Option<u32>>,
    /// Connections with so much queued that they are flushed before the turn goes on.
    pub urgent: Vec<u32>,
    urgent_bytes: usize,
}

#[derive(Default)]
struct Entry {
    queue: SendQueue,
    dirty: bool,
    urgent: bool,
}

impl Outgoing {
    /// No queues. A connection with `urgent_bytes` queued is put on [`Outgoing::urgent`].
    pub fn new(urgent_bytes: usize) -> Self {
        Self { urgent_bytes, ..Self::default() }
    }

    /// Makes room for connection `index`, with nothing queued.
    pub fn open(&mut self, index: u32) {
        self.queues.grow_to(index);
        debug_assert!(self.queues[index].queue.is_empty());
    }

    /// Bytes queued to a connection.
    #[inline]
    pub fn queued(&self, index: u32) -> usize {
        self.queues[index].queue.len()
    }

    /// Appends what `write` appends to the vector, as bytes of this connection alone.
    #[inline]
    pub fn append<R>(&mut self, index: u32, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let entry = &mut self.queues[index];
        let active = Self::activate(&mut entry.queue, &mut self.pool, &mut self.pool_bytes);
        let before = active.own.len();
        let result = write(&mut active.own);
        let written = active.own.len() - before;
        active.bytes += written;
        if let Some(last) = active.segments.back_mut() {
            match last {
                Segment::Own(len) => *len += written,
                Segment::Shared(_) => active.segments.push_back(Segment::Own(written)),
            }
        }
        Self::mark(entry, index, &mut self.dirty, &mut self.urgent, self.urgent_bytes);
        result
    }

    /// Queues bytes of a shared log.
    #[inline]
    pub fn append_shared(&mut self, index: u32, range: SharedRange) {
        let entry = &mut self.queues[index];
        let active = Self::activate(&mut entry.queue, &mut self.pool, &mut self.pool_bytes);
        if active.segments.is_empty() && active.bytes != 0 {
            active.segments.push_back(Segment::Own(active.bytes));
        }
        active.bytes += range.len as usize;
        match active.segments.back_mut() {
            Some(Segment::Shared(last)) if last.log == range.log && last.start + last.len == range.start => {
                last.len += range.len;
            }
            _ => {
                self.logs.logs[range.log as usize].uses += 1;
                active.segments.push_back(Segment::Shared(range));
            }
        }
        Self::mark(entry, index, &mut self.dirty, &mut self.urgent, self.urgent_bytes);
    }

    /// Writes what several connections get alike, to be queued by [`Outgoing::append_shared`]. Packets of one
    /// `class` (a small number) go to the same set of connections, more or less: they are written one after
    /// the other, so that the ranges each of those has touch.
    pub fn share(&mut self, class: usize, write: impl FnOnce(&mut Vec<u8>)) -> SharedRange {
        if self.open.len() <= class {
            self.open.resize(class + 1, None);
        }
        if let Some(log) = self.open[class]
            && self.logs.len(log) >= LOG_BYTES
        {
            self.logs.close(log);
            self.open[class] = None;
        }
        let log = *self.open[class].get_or_insert_with(|| self.logs.open());
        self.logs.append(log, write)
    }

    /// The turn is over: nothing more is written to what is shared.
    pub fn close_logs(&mut self) {
        for log in &mut self.open {
            if let Some(log) = log.take() {
                self.logs.close(log);
            }
        }
    }

    /// Connections that got something since they were last taken from here.
    pub fn take_dirty(&mut self, into: &mut Vec<u32>) {
        into.clear();
        std::mem::swap(&mut self.dirty, into);
        for &index in into.iter() {
            self.queues[index].dirty = false;
        }
    }

    /// Whether any connection got something since the last [`Outgoing::take_dirty`].
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// As [`Outgoing::take_dirty`], for the connections that passed the urgent mark.
    pub fn take_urgent(&mut self, into: &mut Vec<u32>) {
        into.clear();
        std::mem::swap(&mut self.urgent, into);
        for &index in into.iter() {
            self.queues[index].urgent = false;
        }
    }

    /// A connection's queue with the logs it refers to, for the transport to send from.
    pub fn queue(&mut self, index: u32) -> (&mut SendQueue, &mut SharedLogs) {
        (&mut self.queues[index].queue, &mut self.logs)
    }

    /// Gives an empty queue's buffer back to the pool; a queue that still holds something becomes its own, so
    /// that a peer that does not read keeps no log from its next use. The transport's driver calls it after a
    /// flush, or instead of one.
    #[inline]
    pub fn settle(&mut self, index: u32) {
        let queue = &mut self.queues[index].queue;
        match &mut queue.0 {
            Some(active) if active.bytes == 0 => {}
            Some(active) => return active.make_own(&mut self.logs),
            None => return,
        }
        let Some(mut active) = queue.0.take() else { return };
        let bytes = active.own.capacity();
        if bytes <= POOLED_BUFFER_BYTES && self.pool_bytes + bytes <= POOL_BYTES {
            self.pool_bytes += bytes;
            active.own.clear();
            active.own_gone = 0;
            debug_assert!(active.segments.is_empty());
            self.pool.push(active);
        }
    }

    /// Forgets what is queued to a connection that is gone.
    pub fn discard(&mut self, index: u32) -> usize {
        let (queue, logs) = (&mut self.queues[index].queue, &mut self.logs);
        let bytes = queue.len();
        queue.consume(bytes, logs);
        self.settle(index);
        bytes
    }

    /// Bytes queued to all connections, for checks and snapshots (walks the table).
    pub fn total(&self) -> usize {
        self.queues.iter().map(|entry| entry.queue.len()).sum()
    }

    #[inline]
    #[expect(clippy::vec_box, reason = "see `pool`")]
    fn activate<'a>(
        queue: &'a mut SendQueue,
        pool: &mut Vec<Box<Active>>,
        pool_bytes: &mut usize,
    ) -> &'a mut Active {
        queue.0.get_or_insert_with(|| match pool.pop() {
            Some(active) => {
                *pool_bytes -= active.own.capacity();
                active
            }
            None => Box::new(Active { own: Vec::with_capacity(FIRST_BUFFER_BYTES), ..Active::default() }),
        })
    }

    #[inline]
    fn mark(entry: &mut Entry, index: u32, dirty: &mut Vec<u32>, urgent: &mut Vec<u32>, limit: usize) {
        if !entry.dirty {
            entry.dirty = true;
            dirty.push(index);
        }
        if entry.queue.len() >= limit && !entry.urgent {
            entry.urgent = true;
            urgent.push(index);
        }
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").field("dirty", &self.dirty.len()).field("logs", &self.logs).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content(out: &mut Outgoing, index: u32) -> Vec<u8> {
        let (queue, logs) = out.queue(index);
        queue.slices(logs).flatten().copied().collect()
    }

    #[test]
    fn touching_ranges_grow_together() {
        let mut out = Outgoing::new(1 << 20);
        out.open(0);
        let log = out.logs.open();
        for part in [b"one".as_slice(), b"two", b"three"] {
            let range = out.logs.append(log, |bytes| bytes.extend_from_slice(part));
            out.append_shared(0, range);
        }
        let (queue, logs) = out.queue(0);
        assert_eq!(queue.slices(logs).count(), 1);
        assert_eq!(content(&mut out, 0), b"onetwothree");
        out.logs.close(log);
        assert!(!out.logs.is_empty(), "kept while a queue names it");
        assert_eq!(out.discard(0), 11);
        assert!(out.logs.is_empty());
    }

    #[test]
    fn a_connection_is_dirty_once_and_urgent_past_the_mark() {
        let mut out = Outgoing::new(8);
        out.open(3);
        out.append(3, |bytes| bytes.extend_from_slice(b"1234"));
        out.append(3, |bytes| bytes.extend_from_slice(b"56789"));
        let mut list = Vec::new();
        out.take_dirty(&mut list);
        assert_eq!(list, [3]);
        out.take_urgent(&mut list);
        assert_eq!(list, [3]);
        assert!(!out.has_dirty());
    }

    #[test]
    fn idle_buffers_are_kept_up_to_a_limit() {
        let mut out = Outgoing::new(1 << 20);
        let connections = (POOL_BYTES / POOLED_BUFFER_BYTES) as u32 + 50;
        for round in 0..3 {
            for index in 0..connections {
                out.open(index);
                out.append(index, |bytes| bytes.extend_from_slice(&[round; POOLED_BUFFER_BYTES]));
            }
            for index in 0..connections {
                out.discard(index);
            }
            let kept: usize = out.pool.iter().map(|active| active.own.capacity()).sum();
            assert_eq!((kept, out.pool_bytes), (POOL_BYTES, POOL_BYTES), "round {round}");
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Own(u32, Vec<u8>),
        Shared(Vec<u32>, Vec<u8>),
        Consume(u32, usize),
        Settle(u32),
        EndTurn,
    }

    fn step() -> impl Strategy<Value = Step> {
        let bytes = proptest::collection::vec(any::<u8>(), 1..20);
        prop_oneof![
            (0..3u32, bytes.clone()).prop_map(|(conn, bytes)| Step::Own(conn, bytes)),
            (proptest::collection::vec(0..3u32, 1..4), bytes).prop_map(|(to, bytes)| Step::Shared(to, bytes)),
            (0..3u32, 0..40usize).prop_map(|(conn, n)| Step::Consume(conn, n)),
            (0..3u32).prop_map(Step::Settle),
            Just(Step::EndTurn),
        ]
    }

    proptest! {
        /// Own and shared bytes in any mixture come out in order; no log outlives its last reader, nor the
        /// turn once its readers have been settled.
        #[test]
        fn bytes_come_out_in_order(steps in proptest::collection::vec(step(), 0..200)) {
            let mut out = Outgoing::new(64);
            let mut model: Vec<VecDeque<u8>> = vec![VecDeque::new(); 3];
            for conn in 0..3 {
                out.open(conn);
            }
            for step in steps {
                match step {
                    Step::Own(conn, bytes) => {
                        out.append(conn, |buffer| buffer.extend_from_slice(&bytes));
                        model[conn as usize].extend(bytes);
                    }
                    Step::Shared(to, bytes) => {
                        let range = out.share(bytes.len() % 2, |buffer| buffer.extend_from_slice(&bytes));
                        for conn in to {
                            out.append_shared(conn, range);
                            model[conn as usize].extend(&bytes);
                        }
                    }
                    Step::Consume(conn, n) => {
                        let n = n.min(model[conn as usize].len());
                        let (queue, logs) = out.queue(conn);
                        queue.consume(n, logs);
                        model[conn as usize].drain(..n);
                    }
                    Step::Settle(conn) => out.settle(conn),
                    Step::EndTurn => {
                        for conn in 0..3 {
                            out.settle(conn);
                        }
                        out.close_logs();
                        prop_assert!(out.logs.is_empty());
                    }
                }
                for conn in 0..3u32 {
                    prop_assert_eq!(out.queued(conn), model[conn as usize].len());
                    let got = content(&mut out, conn);
                    prop_assert!(got.iter().eq(model[conn as usize].iter()));
                }
            }
            out.close_logs();
            for conn in 0..3 {
                out.discard(conn);
            }
            prop_assert!(out.logs.is_empty());
        }
    }
}
