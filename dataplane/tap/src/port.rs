//! A queue of a TAP device.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use pelton_base::{Counters, Mono};
use pelton_packet::{Frame, FramePool, Port, PortCaps};

use crate::attach::LINK_BYTES;
use crate::counters::{TapCounter, TapDrop};

/// A queue of a TAP device. Reads do not wait; its descriptor is readable when there is something to receive. What is
/// sent goes at once: the device takes frames one by one, so there is nothing to gain from waiting for more.
pub struct TapPort {
    device: File,
    pool: FramePool,
    mtu: u16,
    /// The device was taken away.
    gone: bool,
    counters: Counters<TapCounter>,
    drops: Counters<TapDrop>,
}

impl TapPort {
    pub(crate) fn new(device: File, frames: u32, frame_bytes: u16, mtu: u16) -> Self {
        Self {
            device,
            pool: FramePool::new(frames, frame_bytes),
            mtu,
            gone: false,
            counters: Counters::default(),
            drops: Counters::default(),
        }
    }

    /// What was counted.
    pub const fn counters(&self) -> &Counters<TapCounter> {
        &self.counters
    }

    /// What was dropped, and why.
    pub const fn drops(&self) -> &Counters<TapDrop> {
        &self.drops
    }

    /// The frames, for checks.
    pub const fn pool(&self) -> &FramePool {
        &self.pool
    }

    /// Whether the device was taken away: nothing will ever come, though its descriptor claims to be ready.
    pub const fn is_gone(&self) -> bool {
        self.gone
    }

    fn lost(&mut self) {
        if !std::mem::replace(&mut self.gone, true) {
            self.counters.add(TapCounter::Gone);
        }
    }
}

impl AsFd for TapPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl Port for TapPort {
    fn caps(&self) -> PortCaps {
        PortCaps { mtu: self.mtu, headroom: 0, frames: self.pool.len() as u32 }
    }

    fn take(&mut self) -> Option<Frame> {
        self.pool.take()
    }

    fn frames_free(&self) -> u32 {
        self.pool.available() as u32
    }

    fn put(&mut self, frame: Frame) {
        self.pool.put(frame);
    }

    fn receive(&mut self, _now: Mono, limit: usize, into: &mut Vec<Frame>) -> usize {
        if self.gone {
            return 0;
        }
        let longest = usize::from(self.mtu) + usize::from(LINK_BYTES);
        let mut received = 0;
        while received < limit {
            let Some(mut frame) = self.pool.take() else {
                self.drops.add(TapDrop::NoFrame);
                break;
            };
            frame.set_range(0, frame.capacity());
            match self.device.read(&mut frame) {
                Ok(len) if len <= longest => {
                    frame.set_range(0, len);
                    self.counters.add(TapCounter::Received);
                    self.counters.add_n(TapCounter::BytesReceived, len as u64);
                    into.push(frame);
                    received += 1;
                    continue;
                }
                Ok(_) => self.drops.add(TapDrop::TooLong),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    if error.kind() != ErrorKind::WouldBlock {
                        self.lost();
                    }
                    self.pool.put(frame);
                    break;
                }
            }
            self.pool.put(frame);
        }
        received
    }

    fn send(&mut self, _now: Mono, frame: Frame) -> Result<(), Frame> {
        match self.device.write(&frame) {
            Ok(_) => {
                self.counters.add(TapCounter::Sent);
                self.counters.add_n(TapCounter::BytesSent, frame.len() as u64);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Err(frame);
            }
            // As a frame lost on the way: TCP sends it again.
            Err(error) => match error.raw_os_error() {
                Some(libc::EIO) => self.drops.add(TapDrop::Down),
                Some(libc::EBADFD) => {
                    self.lost();
                    self.drops.add(TapDrop::Down);
                }
                _ => self.drops.add(TapDrop::Refused),
            },
        }
        self.pool.put(frame);
        Ok(())
    }

    fn flush(&mut self, _now: Mono) {}

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.counters.iter().chain(self.drops.iter()).collect()
    }
}

impl std::fmt::Debug for TapPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TapPort")
            .field("device", &self.device)
            .field("mtu", &self.mtu)
            .field("counters", &self.counters)
            .field("drops", &self.drops)
            .finish_non_exhaustive()
    }
}
