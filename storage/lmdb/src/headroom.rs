//! Room that is kept for removals. To remove something LMDB first writes: without a page to spare a full store
//! could never get emptier. So disk space beyond the last page is allocated ahead, and what makes the store
//! larger is refused while there is not enough of it left.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

use crate::error::Fault;
use crate::options::Options;

/// The reserve of a large store on a large disk.
const RESERVE_MAX: u64 = 16 << 20;
/// The smallest reserve.
const RESERVE_MIN: u64 = 128 << 10;
/// Bytes a transaction may need besides its operations' own: copies of pages on the way to what is changed.
const PAGES: u64 = 16 * 4096;
/// The same for each operation.
const PAGES_OF_OPERATION: u64 = 2 * 4096;

/// Watches over the reserve.
#[derive(Debug)]
pub(crate) struct Headroom {
    file: File,
    bytes_max: u64,
    reserve: u64,
    /// Disk space is allocated up to here.
    allocated: u64,
    /// The disk had no more to allocate.
    is_tight: bool,
}

impl Headroom {
    /// For the store at `path`.
    pub(crate) fn new(path: &Path, options: &Options) -> std::io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let disk = fstatvfs(&file).map_or(u64::MAX, |about| about.f_blocks.saturating_mul(about.f_frsize));
        let share = disk.min(options.map_bytes_max) / 16;
        let reserve = share.clamp(RESERVE_MIN, RESERVE_MAX);
        Ok(Self { file, bytes_max: options.map_bytes_max, reserve, allocated: 0, is_tight: false })
    }

    /// Bytes the map must have beyond the store's largest size.
    pub(crate) fn reserve(&self) -> u64 {
        self.reserve
    }

    /// Whether a transaction of so many operations and bytes may make the store larger, of which `used` bytes
    /// are in use; `free` counts the bytes of free pages among them.
    pub(crate) fn allows(
        &mut self,
        (operations, bytes): (usize, usize),
        used: u64,
        free: impl FnOnce() -> u64,
    ) -> Result<(), Fault> {
        self.allocate(used);
        let wanted = bytes as u64 + PAGES + operations as u64 * PAGES_OF_OPERATION + self.reserve;
        let in_map = (self.bytes_max + self.reserve).saturating_sub(used);
        let on_disk = if self.is_tight { self.allocated.saturating_sub(used) } else { u64::MAX };
        let room = in_map.min(on_disk);
        if room >= wanted || room.saturating_add(free()) >= wanted {
            return Ok(());
        }
        Err(if in_map < on_disk { Fault::MapFull } else { Fault::Space })
    }

    /// Keeps the reserve allocated beyond `used` bytes.
    fn allocate(&mut self, used: u64) {
        if used.saturating_add(self.reserve) <= self.allocated {
            self.is_tight = false;
            return;
        }
        // Twice as much as is needed: this need not be done with every transaction.
        for len in [2 * self.reserve, self.reserve] {
            match fallocate(&self.file, FallocateFlags::KEEP_SIZE, used, len) {
                Ok(()) => {
                    (self.allocated, self.is_tight) = (used + len, false);
                    return;
                }
                Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => self.is_tight = true,
                // A file system that cannot do this: full is what it says when it is written to.
                Err(_) => {
                    (self.allocated, self.is_tight) = (u64::MAX, false);
                    return;
                }
            }
        }
    }
}
