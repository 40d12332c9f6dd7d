//! Stands between the store and the system: the calls that write a file are defined here, in the test's own
//! binary, and so reach the recorder before the system. It notes what is written to one file and when that
//! was made durable, and can let calls fail.
//!
//! One test at a time has the recorder ([`Recorder::arm`]); calls about other files pass through.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use libc::{c_int, c_void, iovec, off_t, size_t, ssize_t};

/// What happened to the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Bytes were written.
    Write {
        /// Where.
        at: u64,
        /// What.
        bytes: Vec<u8>,
        /// Durable when the call returned, by way of the descriptor.
        synced: bool,
    },
    /// All writes before are durable.
    Sync,
    /// The test says how far it has come.
    Mark(u64),
}

/// The file's inode; 0 for none.
static INODE: AtomicU64 = AtomicU64::new(0);
static EVENTS: Mutex<Vec<Event>> = Mutex::new(Vec::new());
static TURN: Mutex<()> = Mutex::new(());
/// Writes that reach beyond this many bytes find the disk full; negative for no limit.
static BYTES_MAX: AtomicI64 = AtomicI64::new(-1);
/// Error number of the next calls that make durable, 0 for none.
static SYNC_FAILS: AtomicI64 = AtomicI64::new(0);
/// Error number of the next writes through a descriptor that makes durable at once, 0 for none.
static META_FAILS: AtomicI64 = AtomicI64::new(0);

/// The recorder, for one file.
pub(crate) struct Recorder {
    _turn: MutexGuard<'static, ()>,
}

impl Recorder {
    /// Records what is written to `file` from now on. Waits until no other test does so.
    pub(crate) fn arm(file: &Path) -> Self {
        let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let inode = std::fs::metadata(file).expect("the file is there").ino();
        lock().clear();
        INODE.store(inode, Ordering::SeqCst);
        Self { _turn: turn }
    }

    /// Notes how far the test has come.
    pub(crate) fn mark(&self, number: u64) {
        lock().push(Event::Mark(number));
    }

    /// What was recorded.
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *lock())
    }

    /// The file cannot get longer than it is, or can again.
    pub(crate) fn set_full(&self, bytes_max: Option<u64>) {
        BYTES_MAX.store(bytes_max.map_or(-1, |bytes| bytes as i64), Ordering::SeqCst);
    }

    /// Making durable fails, or works again.
    pub(crate) fn set_sync_fails(&self, errno: i32) {
        SYNC_FAILS.store(i64::from(errno), Ordering::SeqCst);
    }

    /// Writing the meta page fails, or works again.
    pub(crate) fn set_meta_fails(&self, errno: i32) {
        META_FAILS.store(i64::from(errno), Ordering::SeqCst);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        INODE.store(0, Ordering::SeqCst);
        self.set_full(None);
        self.set_sync_fails(0);
        self.set_meta_fails(0);
        lock().clear();
    }
}

fn lock() -> MutexGuard<'static, Vec<Event>> {
    EVENTS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Whether the descriptor is of the file, and if so, whether writes through it are durable at once.
fn recorded(fd: c_int) -> Option<bool> {
    let inode = INODE.load(Ordering::Relaxed);
    if inode == 0 {
        return None;
    }
    // SAFETY: a stat is plain numbers, written by the call.
    let mut about: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `about` is good to write to; a wrong descriptor is an error.
    if unsafe { libc::fstat(fd, &raw mut about) } != 0 || about.st_ino != inode {
        return None;
    }
    // SAFETY: asks for flags only.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    Some(flags & libc::O_DSYNC != 0)
}

fn fail(errno: c_int) -> ssize_t {
    // SAFETY: the thread's own error number.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// The error a write of `len` bytes meets, if any.
fn fault(at: off_t, len: usize, synced: bool) -> Option<c_int> {
    let meta = META_FAILS.load(Ordering::Relaxed) as c_int;
    if synced && meta != 0 {
        return Some(meta);
    }
    let max = BYTES_MAX.load(Ordering::Relaxed);
    (max >= 0 && at + len as off_t > max).then_some(libc::ENOSPC)
}

/// # Safety
/// As of `pwritev`.
unsafe fn write_at(fd: c_int, parts: *const iovec, count: c_int, at: off_t, moves: bool) -> ssize_t {
    // SAFETY: the caller gives `count` parts.
    let parts = unsafe { std::slice::from_raw_parts(parts, count as usize) };
    let len: usize = parts.iter().map(|part| part.iov_len).sum();
    let recorded = recorded(fd);
    if let Some(synced) = recorded
        && let Some(errno) = fault(at, len, synced)
    {
        return fail(errno);
    }
    // SAFETY: as the caller's; the system looks at everything itself.
    let written = unsafe {
        if moves {
            libc::syscall(libc::SYS_writev, fd, parts.as_ptr(), count)
        } else {
            libc::syscall(libc::SYS_pwritev, fd, parts.as_ptr(), count, at, 0)
        }
    } as ssize_t;
    if let (Some(synced), Ok(len)) = (recorded, usize::try_from(written)) {
        let mut bytes = Vec::with_capacity(len);
        for part in parts {
            // SAFETY: the caller's part, just read by the system.
            bytes.extend_from_slice(unsafe {
                std::slice::from_raw_parts(part.iov_base.cast::<u8>(), part.iov_len)
            });
        }
        bytes.truncate(len);
        lock().push(Event::Write { at: at as u64, bytes, synced });
    }
    written
}

/// # Safety
/// As of the system's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pwrite(fd: c_int, bytes: *const c_void, len: size_t, at: off_t) -> ssize_t {
    let part = iovec { iov_base: bytes.cast_mut(), iov_len: len };
    // SAFETY: one part, the caller's.
    unsafe { write_at(fd, &raw const part, 1, at, false) }
}

/// # Safety
/// As of the system's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pwrite64(fd: c_int, bytes: *const c_void, len: size_t, at: off_t) -> ssize_t {
    // SAFETY: the same function where offsets have 64 bits.
    unsafe { pwrite(fd, bytes, len, at) }
}

/// # Safety
/// As of the system's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: asks for the position only.
    let at = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
    // SAFETY: the caller's.
    unsafe { write_at(fd, parts, count, at, true) }
}

/// # Safety
/// As of the system's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pwritev(fd: c_int, parts: *const iovec, count: c_int, at: off_t) -> ssize_t {
    // SAFETY: the caller's.
    unsafe { write_at(fd, parts, count, at, false) }
}

fn sync(fd: c_int, call: libc::c_long) -> c_int {
    let is_recorded = recorded(fd).is_some();
    let errno = SYNC_FAILS.load(Ordering::Relaxed) as c_int;
    if is_recorded && errno != 0 {
        return fail(errno) as c_int;
    }
    // SAFETY: takes a descriptor and nothing else.
    let done = unsafe { libc::syscall(call, fd) } as c_int;
    if is_recorded && done == 0 {
        lock().push(Event::Sync);
    }
    done
}

/// # Safety
/// As of the system's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fdatasync)
}

/// # Safety
/// As of the system's function.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fsync)
}
