//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::interface::Attached;

/// Why the program was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The process lacks a capability.
    #[error(
        "loading the XDP program is not permitted: it needs CAP_BPF and CAP_NET_ADMIN (run as root, or setcap)"
    )]
    NotPermitted,
    /// The kernel's verifier refused it: a kernel too old, or a fault of ours.
    #[error("the kernel refuses the XDP program: {0}")]
    Refused(String),
    /// The kernel does not have what it takes.
    #[error("the kernel does not take the XDP program: {0}")]
    Kernel(String),
}

impl From<aya::EbpfError> for LoadError {
    fn from(error: aya::EbpfError) -> Self {
        if is_not_permitted(&error) { Self::NotPermitted } else { Self::Kernel(chain(&error)) }
    }
}

impl From<aya::programs::ProgramError> for LoadError {
    fn from(error: aya::programs::ProgramError) -> Self {
        match error {
            _ if is_not_permitted(&error) => Self::NotPermitted,
            aya::programs::ProgramError::LoadError { .. } => Self::Refused(chain(&error)),
            _ => Self::Kernel(chain(&error)),
        }
    }
}

impl From<aya::maps::MapError> for LoadError {
    fn from(error: aya::maps::MapError) -> Self {
        if is_not_permitted(&error) { Self::NotPermitted } else { Self::Kernel(chain(&error)) }
    }
}

/// Why the program is not attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no interface of that name.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// Another XDP program is there.
    #[error("{interface} has another XDP program already: {found}")]
    Occupied {
        /// The interface.
        interface: String,
        /// What is there.
        found: Attached,
    },
    /// This one is attached already.
    #[error("it is attached already")]
    AlreadyAttached,
    /// The process lacks a capability.
    #[error("attaching is not permitted: it needs CAP_NET_ADMIN")]
    NotPermitted,
    /// The driver has no native mode.
    #[error("the driver of {0} has no native XDP: use generic mode, or kernel sockets")]
    NoNativeMode(String),
    /// The frames of this interface do not fit one piece.
    #[error(
        "the MTU of {0} is too large for XDP with frames in one piece: lower it, or let frames be in pieces"
    )]
    MtuTooLarge(String),
    /// The program cannot be kept when the process is gone.
    #[error("the link cannot be pinned at {path}: {why} (is a bpf file system mounted there?)")]
    NotHeld {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Anything else the kernel says.
    #[error("the kernel does not attach the XDP program to {interface}: {why}")]
    Kernel {
        /// The interface.
        interface: String,
        /// What it says.
        why: String,
    },
}

/// Why a map was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// It is full.
    #[error("the table of {0} is full")]
    Full(&'static str),
    /// A queue with a number beyond [`QUEUES_MAX`](crate::QUEUES_MAX).
    #[error("queue {0} is beyond the last one there is room for")]
    NoSuchQueue(u32),
    /// It is no AF_XDP socket.
    #[error("what is to receive queue {0} is not an AF_XDP socket")]
    NotASocket(u32),
    /// Anything else the kernel says.
    #[error("the kernel refuses access to the table of {table}: {why}")]
    Kernel {
        /// Of what.
        table: &'static str,
        /// What it says.
        why: String,
    },
}

impl MapError {
    pub(crate) fn of(table: &'static str, error: &aya::maps::MapError) -> Self {
        // E2BIG from hash tables, ENOSPC from tries.
        const E2BIG: i32 = 7;
        const ENOSPC: i32 = 28;
        match code(error) {
            Some(E2BIG | ENOSPC) => Self::Full(table),
            _ => Self::Kernel { table, why: chain(error) },
        }
    }
}

/// The error code of the system call at the bottom.
pub(crate) fn code(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut error = Some(error);
    while let Some(at) = error {
        if let Some(io) = at.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        // Some errors show only the source of what they stand for.
        if let Some(call) = at.downcast_ref::<aya::sys::SyscallError>() {
            return call.io_error.raw_os_error();
        }
        if let Some(aya::maps::MapError::SyscallError(call)) = at.downcast_ref() {
            return call.io_error.raw_os_error();
        }
        if let Some(aya::programs::ProgramError::SyscallError(call)) = at.downcast_ref() {
            return call.io_error.raw_os_error();
        }
        error = at.source();
    }
    None
}

fn is_not_permitted(error: &(dyn std::error::Error + 'static)) -> bool {
    const EPERM: i32 = 1;
    const EACCES: i32 = 13;
    // EACCES is also the verifier's word, but then there is its log.
    match code(error) {
        Some(EPERM) => true,
        Some(EACCES) => !chain(error).contains("processed"),
        _ => false,
    }
}

/// An error with all that caused it.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
