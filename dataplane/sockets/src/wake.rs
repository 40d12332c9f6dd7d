//! Waking a shard's thread from another: an eventfd in its epoll set, and a flag that says whether it sleeps,
//! so that nobody pays a system call for a shard that is awake.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

#[derive(Debug)]
struct Shared {
    event: OwnedFd,
    asleep: AtomicBool,
}

/// Wakes one shard. Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

/// The shard's own side.
#[derive(Debug)]
pub struct Sleeper(Arc<Shared>);

/// A waker and its sleeper.
///
/// # Errors
/// If the system has no descriptor left.
pub fn wake_pair() -> std::io::Result<(Waker, Sleeper)> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let shared = Arc::new(Shared { event, asleep: AtomicBool::new(false) });
    Ok((Waker(shared.clone()), Sleeper(shared)))
}

impl Waker {
    /// Wakes the shard if it sleeps. What it is to find must have been put in place before.
    pub fn wake(&self) {
        // The counterpart of `Sleeper::fall_asleep`: the flag is read after what was pushed, there the rings
        // are read after the flag was set. One of the two sees the other.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.0.asleep.load(Ordering::Relaxed) && self.0.asleep.swap(false, Ordering::AcqRel) {
            // A full counter means that a wake-up is under way.
            let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
        }
    }
}

impl Sleeper {
    /// Says that the shard is about to sleep; it has to look at its inputs once more after this.
    pub fn fall_asleep(&self) {
        self.0.asleep.store(true, Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Says that the shard is awake.
    pub fn awake(&self) {
        self.0.asleep.store(false, Ordering::Relaxed);
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }

    /// Empties the eventfd.
    pub(crate) fn drain(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.0.event, &mut count);
    }
}
