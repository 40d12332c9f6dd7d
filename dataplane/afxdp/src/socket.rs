//! One AF_XDP socket: a queue and its four rings.

use std::mem::size_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use crate::error::OpenError;
use crate::ring::{Consumer, Offsets, Producer};
use crate::settings::{Settings, Sharing};
use crate::syscall::{self, Mapping};

/// The kernel lets go of a queue some time after the socket before was closed: how often and how long to wait.
const BIND_ATTEMPTS: u32 = 60;
const BIND_PAUSE: Duration = Duration::from_millis(50);

/// How a socket turned out to be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The device uses the port's memory itself.
    ZeroCopy,
    /// The kernel copies between the device's memory and the port's.
    Copy,
}

/// What the kernel counted of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// Dropped because the frame was too short, or for another reason.
    pub rx_dropped: u64,
    /// Dropped because the rx ring was full.
    pub rx_ring_full: u64,
    /// Dropped because the fill ring was empty.
    pub rx_fill_ring_empty: u64,
    /// Entries of the fill ring that were no frames.
    pub rx_invalid_descs: u64,
    /// Entries of the tx ring that were no frames.
    pub tx_invalid_descs: u64,
    /// How often there was nothing in the tx ring when the kernel looked.
    pub tx_ring_empty: u64,
}

/// A bound socket and its rings.
#[derive(Debug)]
pub(crate) struct XdpSocket {
    pub(crate) fd: OwnedFd,
    pub(crate) queue: u32,
    pub(crate) fill: Producer<u64>,
    pub(crate) completion: Consumer<u64>,
    pub(crate) rx: Consumer<libc::xdp_desc>,
    pub(crate) tx: Producer<libc::xdp_desc>,
    pub(crate) mode: Mode,
}

/// Whether this process can open AF_XDP sockets.
///
/// # Errors
/// [`OpenError::NoAfXdp`] or [`OpenError::NoPrivilege`], usually.
pub fn supported() -> Result<(), OpenError> {
    open().map(drop)
}

/// A new socket, not bound.
pub(crate) fn open() -> Result<OwnedFd, OpenError> {
    syscall::socket().map_err(|error| match error.raw_os_error() {
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT) => OpenError::NoAfXdp,
        Some(libc::EPERM | libc::EACCES) => OpenError::NoPrivilege,
        _ => OpenError::System { doing: "open an AF_XDP socket", error },
    })
}

impl XdpSocket {
    /// Gives an open socket its rings and binds it; with `shared`, over the memory registered with that socket.
    pub(crate) fn bind(
        fd: OwnedFd,
        settings: &Settings,
        interface: u32,
        queue: u32,
        shared: Option<&OwnedFd>,
    ) -> Result<Self, OpenError> {
        let system = |doing| move |error| OpenError::System { doing, error };
        syscall::set_rings(&fd, settings.rx_entries, settings.tx_entries)
            .map_err(system("make the rings of an AF_XDP socket"))?;
        let offsets = syscall::offsets(&fd).map_err(system("locate the rings of an AF_XDP socket"))?;
        let [fill, completion, rx, tx] = offsets;
        let map = |offsets: Offsets, entries: u32, entry_bytes: usize, page_offset: i64| {
            let bytes = offsets.entries + entries as usize * entry_bytes;
            Mapping::ring(&fd, bytes, page_offset).map_err(system("map a ring of an AF_XDP socket"))
        };
        let (rx_entries, tx_entries) = (settings.rx_entries, settings.tx_entries);
        let desc = size_of::<libc::xdp_desc>();
        let fill_map = map(fill, rx_entries, 8, libc::XDP_UMEM_PGOFF_FILL_RING as i64)?;
        let completion_map = map(completion, tx_entries, 8, libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64)?;
        let rx_map = map(rx, rx_entries, desc, libc::XDP_PGOFF_RX_RING)?;
        let tx_map = map(tx, tx_entries, desc, libc::XDP_PGOFF_TX_RING)?;
        let mut socket = Self {
            queue,
            fill: Producer::new(fill_map, fill, rx_entries),
            completion: Consumer::new(completion_map, completion, tx_entries),
            rx: Consumer::new(rx_map, rx, rx_entries),
            tx: Producer::new(tx_map, tx, tx_entries),
            mode: Mode::Copy,
            fd,
        };
        socket.attach(settings, interface, shared)?;
        Ok(socket)
    }

    fn attach(
        &mut self,
        settings: &Settings,
        interface: u32,
        shared: Option<&OwnedFd>,
    ) -> Result<(), OpenError> {
        let name = || settings.interface.clone();
        let queue = self.queue;
        let flags = match shared {
            // The others are bound as the first one is.
            Some(_) => libc::XDP_SHARED_UMEM,
            None => {
                libc::XDP_USE_NEED_WAKEUP
                    | match settings.sharing {
                        Sharing::ZeroCopy => libc::XDP_ZEROCOPY,
                        Sharing::Copy => libc::XDP_COPY,
                        Sharing::Best => 0,
                    }
            }
        };
        let mut attempts = 0;
        while let Err(error) = syscall::bind(&self.fd, interface, queue, flags, shared) {
            return Err(match error.raw_os_error() {
                Some(libc::EBUSY) if attempts < BIND_ATTEMPTS => {
                    attempts += 1;
                    sleep(BIND_PAUSE);
                    continue;
                }
                Some(libc::EBUSY) => OpenError::QueueTaken { interface: name(), queue },
                Some(libc::EOPNOTSUPP | libc::ENOTSUP) if settings.sharing == Sharing::ZeroCopy => {
                    OpenError::NoZeroCopy { interface: name(), queue }
                }
                Some(libc::EINVAL) if settings.sharing == Sharing::ZeroCopy => {
                    OpenError::NoZeroCopy { interface: name(), queue }
                }
                Some(libc::EINVAL) => OpenError::NoQueue { interface: name(), queue },
                Some(libc::ENETDOWN) => OpenError::Down { interface: name() },
                Some(libc::ENODEV) => OpenError::NoInterface { interface: name() },
                Some(libc::EPERM) => OpenError::NoPrivilege,
                _ => OpenError::System { doing: "bind an AF_XDP socket", error },
            });
        }
        let zero_copy = syscall::is_zero_copy(&self.fd)
            .map_err(|error| OpenError::System { doing: "ask how an AF_XDP socket is bound", error })?;
        self.mode = if zero_copy { Mode::ZeroCopy } else { Mode::Copy };
        Ok(())
    }

    /// What the kernel counted; nothing if it does not say.
    pub(crate) fn kernel_counts(&self) -> KernelCounts {
        let Ok(counts) = syscall::statistics(&self.fd) else { return KernelCounts::default() };
        KernelCounts {
            rx_dropped: counts.rx_dropped,
            rx_ring_full: counts.rx_ring_full,
            rx_fill_ring_empty: counts.rx_fill_ring_empty_descs,
            rx_invalid_descs: counts.rx_invalid_descs,
            tx_invalid_descs: counts.tx_invalid_descs,
            tx_ring_empty: counts.tx_ring_empty_descs,
        }
    }

    /// Has the kernel send what is in the tx ring. One call sends a few dozen and asks to be called again: done
    /// until everything is gone, at most as often as that takes. `false` if something is left.
    pub(crate) fn send_all(&mut self) -> bool {
        // A call sends at least this many, if the device takes them.
        const AT_ONCE: u32 = 16;
        let mut calls = self.tx.pending() / AT_ONCE + 2;
        while calls > 0 {
            match syscall::kick_tx(&self.fd) {
                Ok(()) => {}
                // EBUSY: the device's queue is locked; ENOBUFS: it is full. EAGAIN: more is left than one call
                // sends, or the completion ring is full.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                Err(_) => return self.tx.pending() == 0,
            }
            if self.tx.pending() == 0 {
                return true;
            }
            calls -= 1;
        }
        false
    }

    /// Has the kernel look at the fill ring.
    pub(crate) fn poll_device(&self) {
        syscall::kick_rx(&self.fd);
    }
}

impl AsFd for XdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl KernelCounts {
    /// Adds another socket's.
    pub(crate) fn add(&mut self, other: Self) {
        self.rx_dropped += other.rx_dropped;
        self.rx_ring_full += other.rx_ring_full;
        self.rx_fill_ring_empty += other.rx_fill_ring_empty;
        self.rx_invalid_descs += other.rx_invalid_descs;
        self.tx_invalid_descs += other.tx_invalid_descs;
        self.tx_ring_empty += other.tx_ring_empty;
    }
}
