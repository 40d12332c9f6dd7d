//! The epoll instance: every connection once, edge-triggered, under its number.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{Timespec, epoll};

/// Events taken from the kernel at once.
const EVENTS: usize = 1024;

pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

/// What became ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) number: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The broker has closed its direction, or there is an error: there is nothing to come behind what is there.
    pub(crate) ending: bool,
}

impl Poller {
    pub(crate) fn new() -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS) })
    }

    pub(crate) fn add(&self, fd: impl AsFd, number: usize) -> std::io::Result<()> {
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(number as u64), flags)?)
    }

    /// Waits at most `timeout_ns`.
    pub(crate) fn wait(&mut self, timeout_ns: u64) {
        self.events.clear();
        let timeout = Timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as i64,
            tv_nsec: (timeout_ns % 1_000_000_000) as i64,
        };
        // An interrupted wait is one that ended early.
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout));
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn get(&self, index: usize) -> Ready {
        let event = self.events[index];
        // The event is a packed struct: its fields are copied, not borrowed.
        let (data, flags) = (event.data, event.flags);
        // An end or an error is found by reading.
        let end = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        Ready {
            number: data.u64() as usize,
            readable: flags.intersects(epoll::EventFlags::IN | end),
            writable: flags.contains(epoll::EventFlags::OUT),
            ending: flags.intersects(end),
        }
    }
}
