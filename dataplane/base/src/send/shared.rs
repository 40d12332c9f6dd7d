//! What several connections send alike, written once.

use super::POOLED_BUFFER_BYTES;

/// Room that a closed log may keep unused.
const SPARE_BYTES: usize = 1024;

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
    /// Bytes that the logs take that are closed and still named.
    kept_bytes: usize,
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
        let entry = &mut self.logs[log as usize];
        if entry.open {
            entry.open = false;
            // What is under way for a while keeps no room for more.
            if entry.uses > 0 && entry.bytes.capacity() > 2 * entry.bytes.len() + SPARE_BYTES {
                entry.bytes.shrink_to(entry.bytes.len() + SPARE_BYTES);
            }
            self.kept_bytes += entry.bytes.capacity();
        }
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

    /// Bytes taken by logs that are closed and still named by a queue.
    pub const fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// One more queue names the log.
    pub(super) fn hold(&mut self, log: u32) {
        self.logs[log as usize].uses += 1;
    }

    pub(super) fn release(&mut self, log: u32) {
        self.logs[log as usize].uses -= 1;
        self.free_if_unused(log);
    }

    fn free_if_unused(&mut self, log: u32) {
        let entry = &mut self.logs[log as usize];
        if entry.uses == 0 && !entry.open {
            self.kept_bytes -= entry.bytes.capacity();
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
