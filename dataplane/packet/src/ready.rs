//! A port whose frames are there: what is timed above it is no device.

use crate::frame::Frame;
use crate::pool::FramePool;
use crate::port::{Port, PortCaps};
use pelton_base::Mono;

/// Receives what was put in, and looks at what is sent.
#[derive(Debug)]
pub struct Ready {
    pool: FramePool,
    /// What is received next.
    pub input: Vec<Frame>,
    /// Frames sent.
    pub sent: u64,
    /// Bytes of them.
    pub sent_bytes: u64,
    /// Keep what is sent in [`Ready::output`].
    pub keep: bool,
    /// What was sent while [`Ready::keep`] was set.
    pub output: Vec<Vec<u8>>,
}

impl Ready {
    /// A port with so many frames.
    pub fn new(frames: u32) -> Self {
        Self {
            pool: FramePool::new(frames, 2_048),
            input: Vec::new(),
            sent: 0,
            sent_bytes: 0,
            keep: false,
            output: Vec::new(),
        }
    }
}

impl Port for Ready {
    fn caps(&self) -> PortCaps {
        PortCaps { mtu: 1_500, headroom: 0, frames: self.pool.len() as u32 }
    }

    #[inline]
    fn take(&mut self) -> Option<Frame> {
        self.pool.take()
    }

    fn frames_free(&self) -> u32 {
        self.pool.available() as u32
    }

    #[inline]
    fn put(&mut self, frame: Frame) {
        self.pool.put(frame);
    }

    #[inline]
    fn receive(&mut self, _: Mono, limit: usize, into: &mut Vec<Frame>) -> usize {
        let n = limit.min(self.input.len());
        into.extend(self.input.drain(..n));
        n
    }

    #[inline]
    fn send(&mut self, _: Mono, frame: Frame) -> Result<(), Frame> {
        self.sent += 1;
        self.sent_bytes += frame.len() as u64;
        if self.keep {
            self.output.push(frame.to_vec());
        }
        self.pool.put(frame);
        Ok(())
    }

    #[inline]
    fn flush(&mut self, _: Mono) {}
}
