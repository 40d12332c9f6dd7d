//! What is to be sent, per connection: the Send effect of a turn, and what a transport keeps until the peer
//! has it.
//!
//! A [`SendQueue`] is eight bytes while nothing is queued. Bytes of one connection are copied to a buffer of
//! its own (taken from a pool); bytes that many connections get alike are written once to a log of
//! [`SharedLogs`] and queued as a range of it, and ranges that touch grow together, so that a fan-out of many
//! messages to one subscriber is one entry and needs no buffer. Transports read a queue as slices and take off what is gone:
//! kernel sockets when the kernel has it, our TCP when the peer has acknowledged it.

use std::collections::VecDeque;

use crate::chunks::Chunks;
use crate::slots::Key;

mod line;
mod shared;

pub use line::Line;
pub use shared::{SharedLogs, SharedRange};

/// A buffer of this capacity or less is kept for the next connection that has something to send.
const POOLED_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of the buffers that are kept.
const POOL_BYTES: usize = 16 * 1024 * 1024;
/// Queues without a buffer that are kept.
const POOLED_QUEUES: usize = 16 * 1024;
/// So many bytes of a buffer that are gone are given up, if they are half of it.
const COMPACT_BYTES: usize = 1024;
/// Bytes of logs of earlier turns that queues may go on naming; beyond, those that have named some for longest get
/// copies.
const KEPT_LOG_BYTES: usize = 16 * 1024 * 1024;
/// Queues that get copies in one turn, so that it stays short: what is above the bound comes off in the next ones.
const COPIES_A_TURN: usize = 1024;
/// A new buffer's capacity.
const FIRST_BUFFER_BYTES: usize = 2 * 1024;
/// A log that is longer is closed, and the next packet of its class goes to a new one.
const LOG_BYTES: usize = 64 * 1024;

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
    /// Forgets what is gone. A queue that never runs quite empty must not keep it; what is left is moved when it is no
    /// more than what is gone, so that a byte is moved once on the average.
    #[inline]
    fn compact(&mut self) {
        if self.own_gone >= COMPACT_BYTES && self.own_gone * 2 > self.own.len() {
            self.own.drain(..self.own_gone);
            self.own_gone = 0;
        }
    }

    /// Copies what is shared.
    #[cold]
    fn make_own(&mut self, logs: &mut SharedLogs) {
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

const _: () = assert!(size_of::<Entry>() == 32, "two connections on a cache line, and none on two");

/// The send queues of all connections of a shard, by connection index, and which of them have something new
/// for their transport.
#[derive(Default)]
pub struct Outgoing {
    queues: Chunks<Entry>,
    dirty: Vec<u32>,
    #[expect(clippy::vec_box, reason = "a queue takes the box as it is: that is what is pooled")]
    pool: Vec<Box<Active>>,
    /// As `pool`, with a buffer.
    #[expect(clippy::vec_box, reason = "as above")]
    buffers: Vec<Box<Active>>,
    buffer_bytes: usize,
    /// Connections that went on naming logs when they were settled, the longest ago first.
    keepers: VecDeque<u32>,
    /// What several connections send alike.
    pub logs: SharedLogs,
    /// The open log of each class of packets, see [`Outgoing::share`].
    open: Vec<Option<u32>>,
    /// Connections with so much queued that they are flushed before the turn goes on.
    pub urgent: Vec<u32>,
    urgent_bytes: usize,
    kept_log_bytes_max: usize,
}

#[derive(Default)]
struct Entry {
    queue: SendQueue,
    line: Line,
    /// The generation of the connection whose input flows; none that is in use is 0.
    flows: u32,
    dirty: bool,
    urgent: bool,
    /// It stands among the keepers.
    keeper: bool,
}

impl Outgoing {
    /// No queues. A connection with `urgent_bytes` queued is put on [`Outgoing::urgent`].
    pub fn new(urgent_bytes: usize) -> Self {
        Self { urgent_bytes, kept_log_bytes_max: KEPT_LOG_BYTES, ..Self::default() }
    }

    /// Makes room for connection `index`, with nothing queued.
    pub fn open(&mut self, index: u32) {
        self.queues.grow_to(index);
        debug_assert!(self.queues[index].queue.is_empty());
    }

    /// Makes room for connection `index` as [`Outgoing::open`] does, and says where it leads.
    pub fn bind(&mut self, index: u32, line: Line) {
        self.queues.grow_to(index);
        self.queues[index].line = line;
    }

    /// What was put beside the queue of a connection; a line to nowhere where nothing was.
    #[inline]
    pub fn line(&self, index: u32) -> Line {
        self.queues.get(index).map_or_else(Line::default, |entry| entry.line)
    }

    /// The same, to change it.
    #[inline]
    pub fn line_mut(&mut self, index: u32) -> Option<&mut Line> {
        Some(&mut self.queues.get_mut(index)?.line).filter(|line| line.bound)
    }

    /// Notes whether the input of a connection flows: it is live, and none of its packets waits for another.
    #[inline]
    pub fn set_flows(&mut self, key: Key, flows: bool) {
        self.queues[key.index].flows = if flows { key.generation } else { 0 };
    }

    /// Whether the input of this connection flows, and not that of one that had its place before or has it now.
    #[inline]
    pub fn flows(&self, key: Key) -> bool {
        self.queues.get(key.index).is_some_and(|entry| entry.flows == key.generation && entry.flows != 0)
    }

    /// Notes that a connection was heard of now: the monotonic clock, cut to 32 bits.
    #[inline]
    pub fn set_heard(&mut self, index: u32, now_ms: u32) {
        self.queues[index].line.heard_ms = now_ms;
    }

    /// When that was last noted of a connection.
    #[inline]
    pub fn heard_ms(&self, index: u32) -> u32 {
        self.queues[index].line.heard_ms
    }

    /// Asks for the queue of a connection, which will be wanted soon.
    #[inline]
    pub fn prefetch(&self, index: u32) {
        self.queues.prefetch(index);
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
        let active = entry.queue.0.get_or_insert_with(|| match self.buffers.pop() {
            Some(active) => {
                self.buffer_bytes -= active.own.capacity();
                active
            }
            None => Box::default(),
        });
        if active.own.capacity() == 0 {
            active.own.reserve(FIRST_BUFFER_BYTES);
        }
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
        let active = entry.queue.0.get_or_insert_with(|| self.pool.pop().unwrap_or_default());
        if active.segments.is_empty() && active.bytes != 0 {
            active.segments.push_back(Segment::Own(active.bytes));
        }
        active.bytes += range.len as usize;
        match active.segments.back_mut() {
            Some(Segment::Shared(last)) if last.log == range.log && last.start + last.len == range.start => {
                last.len += range.len;
            }
            _ => {
                self.logs.hold(range.log);
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
        self.copy_for_keepers();
    }

    /// Gives copies to those that have named logs for longest, while more is kept than may be; and forgets those that
    /// name none any more, as far as they stand in front.
    fn copy_for_keepers(&mut self) {
        for _ in 0..COPIES_A_TURN {
            let Some(&index) = self.keepers.front() else { break };
            let entry = &mut self.queues[index];
            if let Some(active) = entry.queue.0.as_deref_mut()
                && !active.segments.is_empty()
            {
                if self.logs.kept_bytes() <= self.kept_log_bytes_max {
                    break;
                }
                active.make_own(&mut self.logs);
            }
            entry.keeper = false;
            self.keepers.pop_front();
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

    /// As [`Outgoing::queue`], with the connection's line, if it has one.
    #[inline]
    pub fn bound(&mut self, index: u32) -> Option<(&mut Line, &mut SendQueue, &mut SharedLogs)> {
        let entry = self.queues.get_mut(index).filter(|entry| entry.line.bound)?;
        Some((&mut entry.line, &mut entry.queue, &mut self.logs))
    }

    /// Takes `n` bytes off the front of a connection's queue: its peer has them for good.
    #[inline]
    pub fn consume(&mut self, index: u32, n: usize) {
        self.queues[index].queue.consume(n, &mut self.logs);
        self.settle(index);
    }

    /// Gives an empty queue's buffer back to the pool. A queue that still holds something goes on naming the logs it
    /// has ranges of, so that a fan-out that is under way is stored once; those that do so for longest get copies when
    /// too much is kept for them ([`Outgoing::close_logs`]). The transport's driver calls it after a flush, or instead
    /// of one.
    #[inline]
    pub fn settle(&mut self, index: u32) {
        let entry = &mut self.queues[index];
        match &mut entry.queue.0 {
            Some(active) if active.bytes == 0 => {}
            Some(active) => {
                active.compact();
                if !active.segments.is_empty() && !entry.keeper {
                    entry.keeper = true;
                    self.keepers.push_back(index);
                }
                return;
            }
            None => return,
        }
        let Some(mut active) = entry.queue.0.take() else { return };
        debug_assert!(active.segments.is_empty());
        let bytes = active.own.capacity();
        if bytes == 0 {
            if self.pool.len() < POOLED_QUEUES {
                self.pool.push(active);
            }
        } else if bytes <= POOLED_BUFFER_BYTES && self.buffer_bytes + bytes <= POOL_BYTES {
            self.buffer_bytes += bytes;
            active.own.clear();
            active.own_gone = 0;
            self.buffers.push(active);
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
mod tests;
