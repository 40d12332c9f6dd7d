//! A pair of ports joined by a wire in memory. What one sends the other receives, in order, copied from the
//! sender's pool to the receiver's, so that neither side can hold the other's frames.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use pelton_base::{Counters, Mono, counter_set};

use crate::frame::Frame;
use crate::pool::FramePool;
use crate::port::{Port, PortCaps};

counter_set! {
    /// What a port in memory counts.
    pub enum MemoryCounter {
        /// Frames sent.
        Sent = "memory_sent",
        /// Frames received.
        Received = "memory_received",
        /// A frame that was sent found the wire full and was given back.
        WireFull = "memory_wire_full",
        /// A frame was received and there was no free frame for it; it waits on the wire.
        NoFrame = "memory_no_frame",
        /// A frame was longer than the link's MTU and is lost.
        TooLong = "memory_too_long",
    }
}

/// One direction: frames under way, and buffers to use again.
#[derive(Debug, Default)]
struct Wire {
    frames: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

impl Wire {
    fn push(&mut self, frame: &[u8]) {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame);
        self.frames.push_back(bytes);
    }
}

/// How a pair of ports is made.
#[derive(Clone, Copy, Debug)]
pub struct MemorySettings {
    /// Frames in the pool of each side.
    pub frames: u32,
    /// Bytes of a frame.
    pub frame_bytes: u16,
    /// Frames that may be under way in each direction.
    pub wire_frames_max: usize,
    /// The biggest IP packet.
    pub mtu: u16,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self { frames: 1024, frame_bytes: 2048, wire_frames_max: 512, mtu: 1500 }
    }
}

/// One end of a wire in memory. Of one thread: both ends are driven in turn.
#[derive(Debug)]
pub struct MemoryPort {
    pool: FramePool,
    out: Rc<RefCell<Wire>>,
    back: Rc<RefCell<Wire>>,
    settings: MemorySettings,
    counters: Counters<MemoryCounter>,
}

/// Two ports, each receiving what the other sends.
pub fn pair(settings: MemorySettings) -> (MemoryPort, MemoryPort) {
    let (a, b) = (Rc::<RefCell<Wire>>::default(), Rc::<RefCell<Wire>>::default());
    let end = |out: &Rc<RefCell<Wire>>, back: &Rc<RefCell<Wire>>| MemoryPort {
        pool: FramePool::new(settings.frames, settings.frame_bytes),
        out: Rc::clone(out),
        back: Rc::clone(back),
        settings,
        counters: Counters::default(),
    };
    (end(&a, &b), end(&b, &a))
}

impl MemoryPort {
    /// The pool, for checks.
    pub const fn pool(&self) -> &FramePool {
        &self.pool
    }

    /// What was counted.
    pub const fn counters(&self) -> &Counters<MemoryCounter> {
        &self.counters
    }

    /// Frames that wait to be received.
    pub fn waiting(&self) -> usize {
        self.back.borrow().frames.len()
    }

    /// Whether the wire to the other side takes no more.
    pub fn is_full(&self) -> bool {
        self.out.borrow().frames.len() >= self.settings.wire_frames_max
    }

    /// Puts bytes on the wire to the other side, for tests that make their own frames.
    pub fn inject(&mut self, bytes: &[u8]) {
        self.out.borrow_mut().push(bytes);
    }

    /// Shows the next frame on the wire and takes it off, for tests and measurements that make no frame of it.
    pub fn look<T>(&mut self, see: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let bytes = self.back.borrow_mut().frames.pop_front()?;
        let seen = see(&bytes);
        self.back.borrow_mut().spare.push(bytes);
        Some(seen)
    }

    /// Takes the bytes of the next frame from the wire, for tests that read frames themselves.
    pub fn extract(&mut self) -> Option<Vec<u8>> {
        self.back.borrow_mut().frames.pop_front()
    }
}

impl Port for MemoryPort {
    fn caps(&self) -> PortCaps {
        PortCaps { mtu: self.settings.mtu, headroom: 0, frames: self.settings.frames }
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
        let mut wire = self.back.borrow_mut();
        let mut received = 0;
        while received < limit && !wire.frames.is_empty() {
            let Some(mut frame) = self.pool.take() else {
                self.counters.add(MemoryCounter::NoFrame);
                break;
            };
            let Some(bytes) = wire.frames.pop_front() else { break };
            if bytes.len() > frame.capacity() {
                self.counters.add(MemoryCounter::TooLong);
                self.pool.put(frame);
            } else {
                frame.fill(&bytes);
                into.push(frame);
                received += 1;
            }
            wire.spare.push(bytes);
        }
        self.counters.add_n(MemoryCounter::Received, received as u64);
        received
    }

    fn send(&mut self, _now: Mono, frame: Frame) -> Result<(), Frame> {
        let mut wire = self.out.borrow_mut();
        if wire.frames.len() >= self.settings.wire_frames_max {
            self.counters.add(MemoryCounter::WireFull);
            return Err(frame);
        }
        if frame.len() > usize::from(self.settings.mtu) + 18 {
            self.counters.add(MemoryCounter::TooLong);
        } else {
            wire.push(&frame);
            self.counters.add(MemoryCounter::Sent);
        }
        self.pool.put(frame);
        Ok(())
    }

    fn flush(&mut self, _now: Mono) {}

    fn next_timeout(&self) -> Option<Mono> {
        // The other end is driven by the same thread: whatever is on the wire is there now. Not while frames
        // are missing, or the owner would turn for nothing.
        (self.waiting() != 0 && self.pool.available() != 0).then_some(Mono(0))
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.counters.iter().chain([("frames_exhausted", self.pool.exhausted())]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cross_in_order_and_the_bounds_hold() {
        let settings =
            MemorySettings { frames: 4, wire_frames_max: 3, mtu: 100, ..MemorySettings::default() };
        let (mut a, mut b) = pair(settings);
        for n in 0..3u8 {
            let mut frame = a.take().unwrap();
            frame.fill(&[n; 10]);
            a.send(Mono(0), frame).unwrap();
        }
        let mut frame = a.take().unwrap();
        frame.fill(&[3; 10]);
        let frame = a.send(Mono(0), frame).unwrap_err();
        assert_eq!(a.counters().get(MemoryCounter::WireFull), 1);
        let mut got = Vec::new();
        assert_eq!(b.receive(Mono(0), 2, &mut got), 2);
        a.send(Mono(0), frame).unwrap();
        assert_eq!(b.receive(Mono(0), 9, &mut got), 2);
        assert_eq!(got.iter().map(|frame| frame[0]).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(a.pool().outstanding(), 0);
        let mut long = a.take().unwrap();
        long.set_range(0, 119);
        a.send(Mono(0), long).unwrap();
        assert_eq!(a.counters().get(MemoryCounter::TooLong), 1);
        assert_eq!(b.waiting(), 0);
        // All of b's frames are out: what comes waits.
        let mut frame = a.take().unwrap();
        frame.fill(b"waits");
        a.send(Mono(0), frame).unwrap();
        assert_eq!(b.receive(Mono(0), 9, &mut got), 0);
        b.put(got.remove(0));
        assert_eq!(b.receive(Mono(0), 9, &mut got), 1);
    }
}
