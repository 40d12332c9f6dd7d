//! The epoll instance.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{Timespec, epoll};

/// Events taken from the kernel at once.
const EVENTS: usize = 512;

/// What became ready, under the number it was registered with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) number: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer closed its direction, or the connection is in error.
    pub(crate) ended: bool,
}

pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    pub(crate) fn new() -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS) })
    }

    /// Registers a connection, once, for everything, edge-triggered.
    pub(crate) fn add_connection(&self, fd: impl AsFd, number: u64) -> std::io::Result<()> {
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(number), flags)?)
    }

    /// Registers a listener, a waker or a device: level-triggered, so that what is left over is reported again.
    pub(crate) fn add_level(&self, fd: impl AsFd, number: u64) -> std::io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?)
    }

    pub(crate) fn remove(&self, fd: impl AsFd) {
        // It may be closed already, which removes it too.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits for events; `None` for no limit.
    pub(crate) fn wait(&mut self, timeout_ns: Option<u64>) {
        self.events.clear();
        let timeout = timeout_ns
            .map(|ns| Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 });
        // An interrupted wait is one that ended early.
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref());
    }

    pub(crate) fn ready(&self) -> impl Iterator<Item = Ready> + '_ {
        self.events.iter().map(|event| {
            let flags = event.flags;
            let ended =
                flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR);
            Ready {
                number: event.data.u64(),
                readable: flags.contains(epoll::EventFlags::IN),
                writable: flags.contains(epoll::EventFlags::OUT),
                ended,
            }
        })
    }

    pub(crate) fn clear(&mut self) {
        self.events.clear();
    }
}
