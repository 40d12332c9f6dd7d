//! A device that makes a bad link of any port, from a seed: it loses, doubles, delays, reorders, damages and cuts
//! off frames. The faults are on the receiving side, so that a port's pool and rings see what they would see.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pelton_base::{Counters, Mono, Rng, counter_set};

use crate::frame::Frame;
use crate::port::{Port, PortCaps};

/// Damage is done behind this: in front of it it makes a frame somebody else's, which is the same as losing it.
const LINK_HEADER_BYTES: usize = 14;

counter_set! {
    /// What the injector did.
    pub enum Fault {
        /// Lost, one at a time.
        Lost = "fault_lost",
        /// Lost in a burst.
        LostInBurst = "fault_lost_in_burst",
        /// Handed on twice.
        Doubled = "fault_doubled",
        /// Held back so that later ones overtake it.
        Reordered = "fault_reordered",
        /// One bit turned.
        Damaged = "fault_damaged",
        /// Longer than the link carries.
        TooLong = "fault_too_long",
        /// A frame that was to be doubled or held back found no room.
        NoRoom = "fault_no_room",
    }
}

/// How bad a link is. Rates are per mille of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Frames lost.
    pub loss: u32,
    /// Frames at which a burst of losses begins (Gilbert's model: in a burst all are lost).
    pub burst: u32,
    /// In a burst: frames at which it ends.
    pub burst_end: u32,
    /// Frames doubled.
    pub duplication: u32,
    /// Frames held back by up to `reorder_ns`.
    pub reordering: u32,
    /// How long those are held back at most.
    pub reorder_ns: u64,
    /// Frames with a bit turned.
    pub corruption: u32,
    /// How long every frame is under way.
    pub delay_ns: u64,
    /// By how much that varies; order is kept.
    pub jitter_ns: u64,
    /// Bytes of the longest frame that passes, zero for no limit.
    pub frame_bytes_max: usize,
    /// Nothing passes.
    pub black_hole: bool,
}

struct Held {
    due: Mono,
    order: u64,
    frame: Frame,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

/// A port behind a bad link.
pub struct Faulty<P> {
    port: P,
    /// How bad the link is now; may be changed at any time.
    pub faults: Faults,
    rng: Rng,
    in_burst: bool,
    held: BinaryHeap<Reverse<Held>>,
    held_max: usize,
    order: u64,
    /// Nothing in sequence is handed on before this.
    not_before: Mono,
    arrived: Vec<Frame>,
    counters: Counters<Fault>,
}

impl<P: Port> Faulty<P> {
    /// Wraps a port. At most `held_max` of its frames are held back at any time.
    pub fn new(port: P, faults: Faults, seed: u64, held_max: usize) -> Self {
        Self {
            port,
            faults,
            rng: Rng::with_seed(seed),
            in_burst: false,
            held: BinaryHeap::new(),
            held_max,
            order: 0,
            not_before: Mono(0),
            arrived: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// The port inside.
    pub const fn port(&mut self) -> &mut P {
        &mut self.port
    }

    /// The port inside, to look at.
    pub const fn inner(&self) -> &P {
        &self.port
    }

    /// What was done so far.
    pub const fn counters(&self) -> &Counters<Fault> {
        &self.counters
    }

    /// Frames that are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn passes(&mut self, frame: &Frame) -> bool {
        let faults = self.faults;
        if faults.black_hole {
            self.counters.add(Fault::Lost);
            return false;
        }
        if faults.frame_bytes_max != 0 && frame.len() > faults.frame_bytes_max {
            self.counters.add(Fault::TooLong);
            return false;
        }
        if self.in_burst {
            // On a link that was made better bursts end.
            self.in_burst = faults.burst != 0 && !self.rng.chance(faults.burst_end);
        } else {
            self.in_burst = self.rng.chance(faults.burst);
        }
        if self.in_burst {
            self.counters.add(Fault::LostInBurst);
            return false;
        }
        if self.rng.chance(faults.loss) {
            self.counters.add(Fault::Lost);
            return false;
        }
        true
    }

    fn arrive(&mut self, now: Mono, mut frame: Frame) {
        if !self.passes(&frame) {
            self.port.put(frame);
            return;
        }
        if self.rng.chance(self.faults.duplication) {
            match self.port.take() {
                Some(mut copy) if self.held.len() < self.held_max => {
                    copy.fill(&frame);
                    self.counters.add(Fault::Doubled);
                    let late = self.rng.below(self.faults.reorder_ns + 1);
                    self.hold(now + self.faults.delay_ns + late, copy);
                }
                Some(copy) => {
                    self.counters.add(Fault::NoRoom);
                    self.port.put(copy);
                }
                None => self.counters.add(Fault::NoRoom),
            }
        }
        if self.rng.chance(self.faults.corruption) && frame.len() > LINK_HEADER_BYTES {
            let bit = self.rng.below((frame.len() - LINK_HEADER_BYTES) as u64 * 8) as usize;
            frame[LINK_HEADER_BYTES + bit / 8] ^= 1 << (bit % 8);
            self.counters.add(Fault::Damaged);
        }
        let mut due = now + self.faults.delay_ns + self.rng.below(self.faults.jitter_ns + 1);
        if self.rng.chance(self.faults.reordering) {
            self.counters.add(Fault::Reordered);
            due = due + self.rng.below(self.faults.reorder_ns + 1);
        } else {
            due = due.max(self.not_before);
            self.not_before = due;
        }
        if self.held.len() < self.held_max {
            self.hold(due, frame);
        } else {
            self.counters.add(Fault::NoRoom);
            self.port.put(frame);
        }
    }

    fn hold(&mut self, due: Mono, frame: Frame) {
        self.order += 1;
        self.held.push(Reverse(Held { due, order: self.order, frame }));
    }
}

impl<P: Port> Port for Faulty<P> {
    fn caps(&self) -> PortCaps {
        self.port.caps()
    }

    fn take(&mut self) -> Option<Frame> {
        self.port.take()
    }

    fn frames_free(&self) -> u32 {
        self.port.frames_free()
    }

    fn put(&mut self, frame: Frame) {
        self.port.put(frame);
    }

    fn receive(&mut self, now: Mono, limit: usize, into: &mut Vec<Frame>) -> usize {
        let mut arrived = std::mem::take(&mut self.arrived);
        self.port.receive(now, limit, &mut arrived);
        for frame in arrived.drain(..) {
            self.arrive(now, frame);
        }
        self.arrived = arrived;
        let mut received = 0;
        while received < limit && self.held.peek().is_some_and(|Reverse(held)| held.due <= now) {
            if let Some(Reverse(held)) = self.held.pop() {
                into.push(held.frame);
                received += 1;
            }
        }
        received
    }

    fn send(&mut self, now: Mono, frame: Frame) -> Result<(), Frame> {
        self.port.send(now, frame)
    }

    fn flush(&mut self, now: Mono) {
        self.port.flush(now);
    }

    fn next_timeout(&self) -> Option<Mono> {
        let held = self.held.peek().map(|Reverse(held)| held.due);
        [held, self.port.next_timeout()].into_iter().flatten().min()
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.counters.iter().chain(self.port.figures()).collect()
    }
}

impl<P: std::fmt::Debug> std::fmt::Debug for Faulty<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faulty").field("port", &self.port).field("faults", &self.faults).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryPort, MemorySettings, pair};

    /// Sends `n` numbered frames, one a microsecond, and returns what comes through in the end.
    fn run(faults: Faults, seed: u64, n: u32) -> (Vec<Vec<u8>>, Faulty<MemoryPort>) {
        let (mut a, b) = pair(MemorySettings::default());
        let mut link = Faulty::new(b, faults, seed, 256);
        let (mut got, mut frames) = (Vec::new(), Vec::new());
        for at in 0..n + 10_000 {
            let now = Mono(u64::from(at) * 1_000);
            if at < n {
                let mut frame = a.take().unwrap();
                frame.fill(&[&[0; 14][..], &at.to_be_bytes()].concat());
                a.send(now, frame).unwrap();
            }
            link.receive(now, 64, &mut frames);
            for frame in frames.drain(..) {
                got.push(frame.to_vec());
                link.put(frame);
            }
        }
        (got, link)
    }

    #[test]
    fn a_good_link_changes_nothing() {
        let (got, link) = run(Faults { delay_ns: 5_000, jitter_ns: 3_000, ..Faults::default() }, 1, 500);
        let want: Vec<Vec<u8>> = (0..500u32).map(|n| [&[0; 14][..], &n.to_be_bytes()].concat()).collect();
        assert_eq!(got, want);
        assert_eq!(link.inner().pool().outstanding(), 0);
    }

    #[test]
    fn each_fault_shows_and_a_seed_repeats_it() {
        let faults = Faults {
            loss: 100,
            burst: 10,
            burst_end: 300,
            duplication: 100,
            reordering: 100,
            reorder_ns: 20_000,
            corruption: 50,
            ..Faults::default()
        };
        let (got, link) = run(faults, 7, 2000);
        for &fault in &[Fault::Lost, Fault::LostInBurst, Fault::Doubled, Fault::Reordered, Fault::Damaged] {
            assert!(link.counters().get(fault) > 10, "{}", fault.name());
        }
        let lost = link.counters().get(Fault::Lost) + link.counters().get(Fault::LostInBurst);
        assert_eq!(got.len() as u64, 2000 - lost + link.counters().get(Fault::Doubled));
        assert!(!got.is_sorted());
        assert_eq!(link.inner().pool().outstanding(), 0, "every frame went home");
        assert_eq!(got, run(faults, 7, 2000).0);
        assert_ne!(got, run(faults, 8, 2000).0);
    }

    #[test]
    fn long_frames_and_black_holes() {
        let (got, link) = run(Faults { frame_bytes_max: 3, ..Faults::default() }, 1, 10);
        assert_eq!((got.len(), link.counters().get(Fault::TooLong)), (0, 10));
        let (got, _) = run(Faults { black_hole: true, ..Faults::default() }, 1, 10);
        assert!(got.is_empty());
    }
}
