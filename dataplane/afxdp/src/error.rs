//! Why a port could not be opened, with the way out.

use std::fmt;
use std::io;

/// Why a port could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The kernel has no AF_XDP (built without `CONFIG_XDP_SOCKETS`, or older than 4.18).
    NoAfXdp,
    /// The process may not open AF_XDP sockets.
    NoPrivilege,
    /// There is no such interface in this network namespace.
    NoInterface {
        /// The name that was asked for.
        interface: String,
    },
    /// The interface is down.
    Down {
        /// The interface.
        interface: String,
    },
    /// Nothing that was sent to try a queue has left.
    Silent {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// The interface has no such queue.
    NoQueue {
        /// The interface.
        interface: String,
        /// The queue that was asked for.
        queue: u32,
    },
    /// The driver cannot do without copies.
    NoZeroCopy {
        /// The interface.
        interface: String,
        /// The queue that was asked for.
        queue: u32,
    },
    /// Another socket has the queue.
    QueueTaken {
        /// The interface.
        interface: String,
        /// The queue that was asked for.
        queue: u32,
    },
    /// There are not enough free huge pages.
    NoHugePages {
        /// How many 2 MiB pages are needed.
        pages: usize,
    },
    /// A frame does not hold the interface's packets.
    MtuTooLarge {
        /// The interface's.
        mtu: u16,
        /// The biggest that fits.
        limit: u16,
    },
    /// The settings do not fit together.
    Settings(&'static str),
    /// The system refused something else.
    System {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        error: io::Error,
    },
}

impl OpenError {
    pub(crate) fn system(doing: &'static str) -> Self {
        Self::System { doing, error: io::Error::last_os_error() }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAfXdp => {
                f.write_str("this kernel has no AF_XDP: it needs 5.4 or newer with CONFIG_XDP_SOCKETS")
            }
            Self::NoPrivilege => f.write_str(
                "no privilege for AF_XDP: run as root, or give the binary CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF",
            ),
            Self::NoInterface { interface } => {
                write!(f, "there is no interface `{interface}` here: `ip link` lists those there are")
            }
            Self::Down { interface } => {
                write!(f, "`{interface}` is down: `ip link set {interface} up`")
            }
            Self::Silent { interface, queue } => write!(
                f,
                "queue {queue} of `{interface}` did not send the frame it was tried with: is the link there?"
            ),
            Self::NoQueue { interface, queue } => write!(
                f,
                "`{interface}` has no receive queue {queue}: `ethtool -l {interface}` shows how many it has"
            ),
            Self::NoZeroCopy { interface, queue } => write!(
                f,
                "the driver of `{interface}` cannot do AF_XDP without copies on queue {queue}: use copy mode"
            ),
            Self::QueueTaken { interface, queue } => write!(
                f,
                "queue {queue} of `{interface}` has an AF_XDP socket already: end the process that owns it"
            ),
            Self::NoHugePages { pages } => {
                write!(f, "{pages} free huge pages are needed: `sysctl vm.nr_hugepages` sets how many there are")
            }
            Self::MtuTooLarge { mtu, limit } => write!(
                f,
                "MTU {mtu} does not fit into a frame: set the interface's to {limit} or less, or use frames of 4096 bytes"
            ),
            Self::Settings(what) => f.write_str(what),
            Self::System { doing, error } => write!(f, "cannot {doing}: {error}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { error, .. } => Some(error),
            _ => None,
        }
    }
}
