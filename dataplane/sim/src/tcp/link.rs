//! The links between the clients' switch and the shards' ports: a wire in memory, a bad one each way, with ports that
//! run out of frames and whose rings stay full.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use pelton_base::Mono;
use pelton_packet::fault::{Faults, Faulty};
use pelton_packet::memory::{MemoryPort, MemorySettings, pair};
use pelton_packet::{Frame, FramePool, Port, PortCaps};

use super::watch::Watch;
use crate::network::Way;

/// Frames of a port that are held back by its link at most.
const HELD_MAX: usize = 256;

/// One end of a link.
pub(crate) struct End {
    pub(crate) faulty: Faulty<MemoryPort>,
    /// Received, and not taken by the stack.
    ready: VecDeque<Frame>,
    /// Taken away by somebody else.
    hostages: Vec<Frame>,
    /// The ring towards the wire stays full.
    pub(crate) stuck: bool,
    arrived: Vec<Frame>,
    /// Frames that went with a process.
    lost: usize,
}

impl End {
    fn new(port: MemoryPort, seed: u64) -> Self {
        let quarter = port.caps().frames as usize / 4;
        Self {
            faulty: Faulty::new(port, Faults::default(), seed, HELD_MAX.min(quarter)),
            ready: VecDeque::new(),
            hostages: Vec::new(),
            stuck: false,
            arrived: Vec::new(),
            lost: 0,
        }
    }

    /// The process that had the port is gone, and what it had of it; the ring is empty.
    pub(crate) fn abandon(&mut self) {
        self.discard();
        self.feed();
        self.lost = self.faulty.inner().pool().outstanding() - self.faulty.held();
    }

    /// What was received finds nobody.
    pub(crate) fn discard(&mut self) {
        for frame in self.ready.drain(..) {
            self.faulty.put(frame);
        }
    }

    /// Takes in what has come; whether there is something new for the stack.
    pub(crate) fn pump(&mut self, now: Mono) -> bool {
        if self.due().is_none_or(|due| now < due) {
            return false;
        }
        let before = self.ready.len();
        while self.faulty.receive(now, 64, &mut self.arrived) == 64 {}
        self.ready.extend(self.arrived.drain(..));
        self.ready.len() != before
    }

    /// When there is something to take in.
    pub(crate) fn due(&self) -> Option<Mono> {
        self.faulty.next_timeout()
    }

    /// The next frame that was received.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }

    /// Somebody else takes all frames but `left`.
    pub(crate) fn starve(&mut self, left: usize) {
        while self.faulty.inner().pool().available() > left {
            match self.faulty.take() {
                Some(frame) => self.hostages.push(frame),
                None => break,
            }
        }
    }

    /// And gives them back.
    pub(crate) fn feed(&mut self) {
        for frame in self.hostages.drain(..) {
            self.faulty.put(frame);
        }
    }

    /// Frames that are not where they belong when nothing is under way.
    pub(crate) fn missing(&self) -> usize {
        self.faulty.inner().pool().outstanding() - self.lost
    }

    /// Sends a copy of a frame of another pool; whether there was room.
    pub(crate) fn send_copy(&mut self, now: Mono, bytes: &[u8]) -> bool {
        if self.stuck {
            return false;
        }
        let Some(mut copy) = self.faulty.take() else { return false };
        copy.fill(bytes);
        match self.faulty.send(now, copy) {
            Ok(()) => true,
            Err(copy) => {
                self.faulty.put(copy);
                false
            }
        }
    }
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("End")
            .field("due", &self.due())
            .field("ready", &self.ready.len())
            .field("held", &self.faulty.held())
            .field("waiting", &self.faulty.inner().waiting())
            .field("outstanding", &self.missing())
            .field("stuck", &self.stuck)
            .field("did", self.faulty.counters())
            .finish()
    }
}

/// A link: the switch's end and the shard's.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) near: Rc<RefCell<End>>,
    pub(crate) far: Rc<RefCell<End>>,
}

impl Link {
    pub(crate) fn new(settings: MemorySettings, seeds: (u64, u64)) -> Self {
        let (near, far) = pair(settings);
        Self {
            near: Rc::new(RefCell::new(End::new(near, seeds.0))),
            far: Rc::new(RefCell::new(End::new(far, seeds.1))),
        }
    }

    pub(crate) fn ends(&self) -> [&Rc<RefCell<End>>; 2] {
        [&self.near, &self.far]
    }
}

/// A shard's port: the far end of its link.
#[derive(Debug)]
pub struct ShardPort {
    pub(crate) end: Rc<RefCell<End>>,
    /// Something was done to a link since the network last looked.
    pub(crate) touched: Rc<Cell<bool>>,
    pub(crate) watch: Rc<RefCell<Watch>>,
    /// Its process has ended: nothing leaves any more.
    pub(crate) dead: bool,
}

impl Port for ShardPort {
    fn caps(&self) -> PortCaps {
        self.end.borrow().faulty.caps()
    }

    fn take(&mut self) -> Option<Frame> {
        let frame = self.end.borrow_mut().faulty.take();
        if frame.is_none() {
            self.watch.borrow_mut().hindered(Way::Down);
        }
        frame
    }

    fn frames_free(&self) -> u32 {
        self.end.borrow().faulty.frames_free()
    }

    fn put(&mut self, frame: Frame) {
        self.touched.set(true);
        self.end.borrow_mut().faulty.put(frame);
    }

    fn receive(&mut self, _now: Mono, limit: usize, into: &mut Vec<Frame>) -> usize {
        let end = &mut *self.end.borrow_mut();
        let n = limit.min(end.ready.len());
        let watch = &mut *self.watch.borrow_mut();
        into.extend(end.ready.drain(..n).inspect(|frame| watch.told(Way::Down, frame)));
        n
    }

    fn send(&mut self, now: Mono, frame: Frame) -> Result<(), Frame> {
        if self.dead {
            self.end.borrow_mut().faulty.put(frame);
            return Ok(());
        }
        self.touched.set(true);
        let end = &mut *self.end.borrow_mut();
        let watch = &mut *self.watch.borrow_mut();
        if end.stuck || end.faulty.inner().is_full() {
            watch.hindered(Way::Down);
            return Err(frame);
        }
        watch.sent(Way::Down, &frame);
        end.faulty.send(now, frame)
    }

    fn flush(&mut self, _now: Mono) {}

    fn next_timeout(&self) -> Option<Mono> {
        // What has not arrived is the world's to say; only what has is a reason to turn.
        (!self.end.borrow().ready.is_empty()).then_some(Mono(0))
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.end.borrow().faulty.figures()
    }
}

/// Ports of clients whose frames vanish, both ways, and until when.
#[derive(Debug, Default)]
pub(crate) struct Holes(Vec<(u16, Mono)>);

impl Holes {
    pub(crate) fn dig(&mut self, port: u16, until: Mono) {
        self.0.push((port, until));
    }

    /// Whether a port is in one; those that have closed are forgotten.
    pub(crate) fn has(&mut self, port: u16, now: Mono) -> bool {
        self.0.retain(|&(_, until)| now < until);
        self.0.iter().any(|&(other, _)| other == port)
    }
}

/// The source and destination ports of a frame, if it is TCP's as our stacks and smoltcp write it.
pub(crate) fn tcp_ports(frame: &[u8]) -> Option<(u16, u16)> {
    let word = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let at = match word(12)? {
        0x0800 if frame.get(23) == Some(&6) => 14 + usize::from(frame[14] & 15) * 4,
        0x86dd if frame.get(20) == Some(&6) => 54,
        _ => return None,
    };
    Some((word(at)?, word(at + 2)?))
}

/// The port of a host of clients: the switch takes its frames to the shard that its clients' ports say.
#[derive(Debug)]
pub(crate) struct HostPort {
    links: Vec<Link>,
    /// How many of them have a shard at the other end.
    shards: Rc<Cell<u16>>,
    holes: Rc<RefCell<Holes>>,
    pool: FramePool,
    arrived: VecDeque<Frame>,
    now: Mono,
    watch: Rc<RefCell<Watch>>,
}

impl HostPort {
    pub(crate) fn new(
        links: &[Link],
        shards: &Rc<Cell<u16>>,
        holes: &Rc<RefCell<Holes>>,
        watch: &Rc<RefCell<Watch>>,
    ) -> Self {
        Self {
            links: links.to_vec(),
            shards: shards.clone(),
            holes: holes.clone(),
            pool: FramePool::new(1_024, 2_048),
            arrived: VecDeque::new(),
            now: Mono(0),
            watch: watch.clone(),
        }
    }

    /// A frame comes from the switch.
    pub(crate) fn deliver(&mut self, bytes: &[u8]) {
        if let Some(mut frame) = self.pool.take() {
            frame.fill(bytes);
            self.arrived.push_back(frame);
        }
    }

    pub(crate) fn missing(&self) -> usize {
        self.pool.outstanding()
    }

    /// The next frame, for who does not take bursts.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        let frame = self.arrived.pop_front()?;
        self.watch.borrow_mut().told(Way::Up, &frame);
        let bytes = frame.to_vec();
        self.pool.put(frame);
        Some(bytes)
    }

    pub(crate) fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }

    pub(crate) fn set_now(&mut self, now: Mono) {
        self.now = now;
    }

    /// Sends bytes; whether there was room.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        let ports = tcp_ports(bytes);
        if let Some((source, _)) = ports
            && self.holes.borrow_mut().has(source, self.now)
        {
            self.watch.borrow_mut().sent(Way::Up, bytes);
            return true;
        }
        // What is no TCP (a question for an address) goes to the first.
        let at = usize::from(ports.map_or(0, |(source, _)| source)) % self.links.len();
        let at = at % usize::from(self.shards.get());
        let sent = self.links[at].near.borrow_mut().send_copy(self.now, bytes);
        if sent {
            self.watch.borrow_mut().sent(Way::Up, bytes);
        } else {
            self.watch.borrow_mut().hindered(Way::Up);
        }
        sent
    }
}

impl Port for HostPort {
    fn caps(&self) -> PortCaps {
        PortCaps { mtu: 1_500, headroom: 0, frames: self.pool.len() as u32 }
    }

    fn take(&mut self) -> Option<Frame> {
        let frame = self.pool.take();
        if frame.is_none() {
            self.watch.borrow_mut().hindered(Way::Up);
        }
        frame
    }

    fn frames_free(&self) -> u32 {
        self.pool.available() as u32
    }

    fn put(&mut self, frame: Frame) {
        self.pool.put(frame);
    }

    fn receive(&mut self, now: Mono, limit: usize, into: &mut Vec<Frame>) -> usize {
        self.now = now;
        let n = limit.min(self.arrived.len());
        let watch = &mut *self.watch.borrow_mut();
        into.extend(self.arrived.drain(..n).inspect(|frame| watch.told(Way::Up, frame)));
        n
    }

    fn send(&mut self, now: Mono, frame: Frame) -> Result<(), Frame> {
        self.now = now;
        if self.send_bytes(&frame) {
            self.pool.put(frame);
            Ok(())
        } else {
            Err(frame)
        }
    }

    fn flush(&mut self, _now: Mono) {}

    fn next_timeout(&self) -> Option<Mono> {
        self.has_arrived().then_some(Mono(0))
    }
}
