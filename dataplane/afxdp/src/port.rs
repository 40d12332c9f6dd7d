//! The port over one or more queues of an interface.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use pelton_base::{Counters, Mono, counter_set};
use pelton_packet::{Frame, FramePool, MacAddress, Port, PortCaps, Region};

use crate::device::Device;
use crate::error::OpenError;
use crate::settings::{BusyPoll, Settings};
use crate::socket::{KernelCounts, Mode, XdpSocket, open};
use crate::syscall;
use crate::umem::Umem;

/// Bytes of a frame's memory in front of what is received, which XDP programs may use.
pub const KERNEL_HEADROOM: u16 = 256;
/// An Ethernet header with two VLAN tags.
const LINK_HEADER: u16 = 22;
/// How soon to try again to send what the device did not take.
const RETRY_US: u64 = 50;

counter_set! {
    /// What an AF_XDP port counts.
    pub enum PortCounter {
        /// Frames received.
        Received = "afxdp_received",
        /// Frames sent.
        Sent = "afxdp_sent",
        /// A frame found the tx ring full and was given back to its sender.
        TxFull = "afxdp_tx_full",
        /// The device did not take all that was in the tx ring; it was tried again.
        TxStalled = "afxdp_tx_stalled",
        /// The fill ring had room and the pool had no frame for it.
        FillStarved = "afxdp_fill_starved",
        /// The kernel named a frame that it did not have, or bytes outside of it.
        BadDescriptor = "afxdp_bad_descriptor",
        /// System calls to have frames sent.
        TxCalls = "afxdp_tx_calls",
        /// System calls to have the device polled.
        RxCalls = "afxdp_rx_calls",
    }
}

counter_set! {
    /// What was dropped at an AF_XDP port.
    pub enum PortDrop {
        /// A packet came in several pieces, being longer than a frame.
        Fragmented = "afxdp_fragmented",
        /// A frame was wanted and there was none.
        FramesExhausted = "frames_exhausted",
        /// The kernel had no use for what came: too short, too long for a frame, or the socket was closing.
        RxDropped = "afxdp_kernel_rx_dropped",
        /// The rx ring was full: the shard is too slow, or `ring_entries` too few.
        RxRingFull = "afxdp_kernel_rx_ring_full",
        /// The fill ring was empty: the shard is too slow, or frames too few.
        FillRingEmpty = "afxdp_kernel_rx_fill_ring_empty",
        /// An entry of the fill ring was no frame: a fault of the broker.
        RxInvalid = "afxdp_kernel_rx_invalid_descs",
        /// An entry of the tx ring was no frame: a fault of the broker.
        TxInvalid = "afxdp_kernel_tx_invalid_descs",
    }
}

/// An AF_XDP port: queues of one interface that share frame memory.
#[derive(Debug)]
pub struct XdpPort {
    /// Readable when one of the sockets is, if there are several.
    any: Option<OwnedFd>,
    /// Dropped before the pool, whose memory their rings name.
    sockets: Vec<XdpSocket>,
    pool: FramePool,
    /// Bits of a frame's address inside of the frame.
    frame_shift: u32,
    mtu: u16,
    huge: bool,
    /// Which queue is looked at first, so that none waits behind the others for ever.
    first: usize,
    /// Something is left in the tx ring that the device did not take.
    retry_at: Option<Mono>,
    busy_poll: bool,
    /// Why the kernel does not have it, where it was asked for.
    busy_poll_refused: Option<io::Error>,
    fragmented: u64,
    counters: Counters<PortCounter>,
}

impl XdpPort {
    /// Opens the sockets and binds them. Frames come as soon as an XDP program steers them to [`XdpPort::queues`].
    ///
    /// # Errors
    /// With what is missing and the way out.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        check(settings)?;
        let missing = || OpenError::NoInterface { interface: settings.interface.clone() };
        let interface = syscall::interface_index(&settings.interface).ok_or_else(missing)?;
        // Some drivers let a socket be bound all the same.
        if !Device::of(&settings.interface)?.up {
            return Err(OpenError::Down { interface: settings.interface.clone() });
        }
        let first = open()?;
        let bytes = settings.frame_count() as usize * usize::from(settings.frame_bytes);
        let umem = Umem::map(bytes, settings.pages)?;
        let huge = umem.is_huge();
        syscall::register(&first, umem.base(), umem.bytes(), u32::from(settings.frame_bytes))
            .map_err(|error| OpenError::System { doing: "register frame memory", error })?;
        let pool = FramePool::over(umem, settings.frame_bytes);
        let mut sockets = vec![XdpSocket::bind(first, settings, interface, settings.queues[0], None)?];
        for &queue in &settings.queues[1..] {
            let socket = XdpSocket::bind(open()?, settings, interface, queue, Some(&sockets[0].fd))?;
            sockets.push(socket);
        }
        let any = if sockets.len() > 1 {
            let any = syscall::any_of(sockets.iter().map(|socket| &socket.fd));
            Some(any.map_err(|error| OpenError::System { doing: "wait on AF_XDP sockets", error })?)
        } else {
            None
        };
        let busy_poll_refused = settings.busy_poll.and_then(|poll| poll_all(&sockets, poll).err());
        let mut port = Self {
            any,
            sockets,
            pool,
            frame_shift: settings.frame_bytes.trailing_zeros(),
            mtu: settings.mtu,
            huge,
            first: 0,
            retry_at: None,
            busy_poll: settings.busy_poll.is_some() && busy_poll_refused.is_none(),
            busy_poll_refused,
            fragmented: 0,
            counters: Counters::default(),
        };
        for socket in 0..port.sockets.len() {
            port.refill(socket);
        }
        Ok(port)
    }

    /// Each queue with its socket, for the program's table and for waiting.
    pub fn queues(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        self.sockets.iter().map(|socket| (socket.queue, socket.as_fd()))
    }

    /// How the sockets are bound.
    pub fn mode(&self) -> Mode {
        self.sockets[0].mode
    }

    /// Whether the frames are in huge pages.
    pub const fn has_huge_pages(&self) -> bool {
        self.huge
    }

    /// Whether the queues are polled when they are looked at.
    pub const fn is_busy_polled(&self) -> bool {
        self.busy_poll
    }

    /// Why they are not, though that was asked for. The port does without.
    pub const fn busy_poll_refused(&self) -> Option<&io::Error> {
        self.busy_poll_refused.as_ref()
    }

    /// The pool, for checks.
    pub const fn pool(&self) -> &FramePool {
        &self.pool
    }

    /// What the port counted.
    pub const fn counters(&self) -> &Counters<PortCounter> {
        &self.counters
    }

    /// What the kernel counted, over all queues.
    pub fn kernel_counts(&self) -> KernelCounts {
        let mut sum = KernelCounts::default();
        for socket in &self.sockets {
            sum.add(socket.kernel_counts());
        }
        sum
    }

    /// Sends a frame that means nothing from each queue to the interface itself, and waits until it has left: whether
    /// the device does what it promised when the sockets were bound. To be called before the port is used.
    ///
    /// # Errors
    /// [`OpenError::Silent`] for the first queue that keeps it.
    pub fn try_out(&mut self, interface: &str, own: MacAddress) -> Result<(), OpenError> {
        // Some drivers take their queues down for a while when a socket is bound without copies.
        const PATIENCE: Duration = Duration::from_secs(3);
        for socket in 0..self.sockets.len() {
            let queue = self.sockets[socket].queue;
            let silent = || OpenError::Silent { interface: interface.into(), queue };
            let Some(mut frame) = self.pool.take() else { return Err(silent()) };
            let mut bytes = [0; 60];
            bytes[..6].copy_from_slice(&own.0);
            bytes[6..12].copy_from_slice(&own.0);
            // A type for experiments of one's own, IEEE 802.
            bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
            frame.fill(&bytes);
            let index = self.pool.lend(frame);
            let addr = u64::from(index) << self.frame_shift;
            let tried = &mut self.sockets[socket];
            tried.tx.push(libc::xdp_desc { addr, len: bytes.len() as u32, options: 0 });
            tried.tx.commit();
            let end = Instant::now() + PATIENCE;
            let done = loop {
                tried.send_all();
                if let Some(done) = tried.completion.pop() {
                    break done;
                }
                if Instant::now() >= end {
                    return Err(silent());
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            tried.completion.release();
            match self.pool.reclaim((done >> self.frame_shift) as u32, 0, 0) {
                Some(frame) => self.pool.put(frame),
                None => self.counters.add(PortCounter::BadDescriptor),
            }
        }
        Ok(())
    }

    /// What was dropped, as the kernel counted it and as the port did.
    pub fn drops(&self) -> Counters<PortDrop> {
        let kernel = self.kernel_counts();
        let mut drops = Counters::default();
        for (drop, count) in [
            (PortDrop::Fragmented, self.fragmented),
            (PortDrop::FramesExhausted, self.pool.exhausted()),
            (PortDrop::RxDropped, kernel.rx_dropped),
            (PortDrop::RxRingFull, kernel.rx_ring_full),
            (PortDrop::FillRingEmpty, kernel.rx_fill_ring_empty),
            (PortDrop::RxInvalid, kernel.rx_invalid_descs),
            (PortDrop::TxInvalid, kernel.tx_invalid_descs),
        ] {
            drops.add_n(drop, count);
        }
        drops
    }

    /// Whether something has come in: to be asked before sleeping.
    pub fn has_input(&self) -> bool {
        self.sockets.iter().any(|socket| !socket.rx.is_empty())
    }

    /// Frames that are kept back from the fill rings, so that there is something to answer with.
    fn reserve(&self) -> usize {
        self.pool.len() / 16
    }

    /// Hands the kernel frames to receive into.
    fn refill(&mut self, socket: usize) {
        let reserve = self.reserve();
        let XdpSocket { fill, .. } = &mut self.sockets[socket];
        // Not one by one: the ring's other end is on a cache line that the kernel writes.
        let batch = fill.capacity() / 8;
        let room = fill.room(batch);
        if room < batch {
            return;
        }
        for _ in 0..room {
            if self.pool.available() <= reserve {
                self.counters.add(PortCounter::FillStarved);
                break;
            }
            let Some(frame) = self.pool.take() else { break };
            let index = self.pool.lend(frame);
            fill.push(u64::from(index) << self.frame_shift);
        }
        fill.commit();
        if fill.needs_wakeup() {
            self.counters.add(PortCounter::RxCalls);
            self.sockets[socket].poll_device();
        }
    }

    /// Takes what a queue has, at most `limit` frames.
    fn receive_from(&mut self, socket: usize, limit: usize, into: &mut Vec<Frame>) -> usize {
        let within = (1u64 << self.frame_shift) - 1;
        let mut received = 0;
        let mut in_pieces = false;
        while received < limit {
            let Some(desc) = self.sockets[socket].rx.pop() else { break };
            let index = (desc.addr >> self.frame_shift).min(u64::from(u32::MAX)) as u32;
            let start = (desc.addr & within) as usize;
            let Some(frame) = self.pool.reclaim(index, start, desc.len as usize) else {
                self.counters.add(PortCounter::BadDescriptor);
                continue;
            };
            let more = desc.options & libc::XDP_PKT_CONTD != 0;
            if more || in_pieces {
                if !more {
                    self.fragmented += 1;
                }
                in_pieces = more;
                self.pool.put(frame);
                continue;
            }
            into.push(frame);
            received += 1;
        }
        self.sockets[socket].rx.release();
        received
    }

    /// Takes back what has been sent.
    fn reap(&mut self) {
        let tx = &mut self.sockets[0];
        let mut sent = 0;
        while let Some(address) = tx.completion.pop() {
            let index = (address >> self.frame_shift).min(u64::from(u32::MAX)) as u32;
            match self.pool.reclaim(index, 0, 0) {
                Some(frame) => {
                    self.pool.put(frame);
                    sent += 1;
                }
                None => self.counters.add(PortCounter::BadDescriptor),
            }
        }
        tx.completion.release();
        self.counters.add_n(PortCounter::Sent, sent);
    }
}

/// Has all sockets polled, or none.
fn poll_all(sockets: &[XdpSocket], poll: BusyPoll) -> io::Result<()> {
    let asked =
        sockets.iter().try_for_each(|socket| syscall::busy_poll(&socket.fd, poll.poll_us, poll.budget));
    if asked.is_err() {
        sockets.iter().for_each(|socket| syscall::no_busy_poll(&socket.fd));
    }
    asked
}

/// What becomes readable when there is something to receive.
impl AsFd for XdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.any.as_ref().map_or_else(|| self.sockets[0].as_fd(), AsFd::as_fd)
    }
}

fn check(settings: &Settings) -> Result<(), OpenError> {
    if settings.queues.is_empty() {
        return Err(OpenError::Settings("an AF_XDP port has at least one queue"));
    }
    if settings.frame_bytes != 2048 && settings.frame_bytes != 4096 {
        return Err(OpenError::Settings("frames have 2048 or 4096 bytes"));
    }
    if !settings.rx_entries.is_power_of_two() || !settings.tx_entries.is_power_of_two() {
        return Err(OpenError::Settings("rings have a power of two of entries"));
    }
    let limit = settings.frame_bytes - KERNEL_HEADROOM - LINK_HEADER;
    if settings.mtu > limit {
        return Err(OpenError::MtuTooLarge { mtu: settings.mtu, limit });
    }
    Ok(())
}

impl Port for XdpPort {
    fn caps(&self) -> PortCaps {
        PortCaps { mtu: self.mtu, headroom: KERNEL_HEADROOM, frames: self.pool.len() as u32 }
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

    fn receive(&mut self, _now: Mono, limit: usize, into: &mut Vec<Frame>) -> usize {
        let queues = self.sockets.len();
        let mut received = 0;
        for turn in 0..queues {
            let socket = (self.first + turn) % queues;
            if self.busy_poll && self.sockets[socket].rx.is_empty() {
                self.counters.add(PortCounter::RxCalls);
                self.sockets[socket].poll_device();
            }
            received += self.receive_from(socket, limit - received, into);
            self.refill(socket);
            if received == limit {
                break;
            }
        }
        self.first = (self.first + 1) % queues;
        self.counters.add_n(PortCounter::Received, received as u64);
        received
    }

    fn send(&mut self, now: Mono, frame: Frame) -> Result<(), Frame> {
        if self.sockets[0].tx.room(1) == 0 {
            self.flush(now);
            if self.sockets[0].tx.room(1) == 0 {
                self.counters.add(PortCounter::TxFull);
                return Err(frame);
            }
        }
        let (start, len) = (frame.start() as u64, frame.len() as u32);
        let index = self.pool.lend(frame);
        let addr = (u64::from(index) << self.frame_shift) + start;
        self.sockets[0].tx.push(libc::xdp_desc { addr, len, options: 0 });
        Ok(())
    }

    fn flush(&mut self, now: Mono) {
        let tx = &mut self.sockets[0];
        let queued = tx.tx.commit() || self.retry_at.is_some_and(|at| at <= now);
        if queued && tx.tx.needs_wakeup() {
            self.counters.add(PortCounter::TxCalls);
            if tx.send_all() {
                self.retry_at = None;
            } else {
                self.counters.add(PortCounter::TxStalled);
                self.retry_at = Some(now.plus_us(RETRY_US));
            }
        } else if queued {
            self.retry_at = None;
        }
        self.reap();
    }

    fn next_timeout(&self) -> Option<Mono> {
        if self.has_input() {
            return Some(Mono(0));
        }
        self.retry_at
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.counters.iter().chain(self.drops().iter()).collect()
    }
}
