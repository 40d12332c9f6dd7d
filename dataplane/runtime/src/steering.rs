//! Who brings an interface's frames to its sockets: the XDP program, which is loaded by somebody who knows how. Here is
//! what that somebody is told.

use std::any::Any;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use pelton_afxdp::Hook;
use pelton_tcp::{Secrets, SynAck};

/// What is to be steered where.
#[derive(Debug)]
pub struct Steered<'a> {
    /// The interface.
    pub interface: &'a str,
    /// Where the program is to be attached.
    pub hook: Hook,
    /// The sockets, each with its receive queue: one for every queue of the interface.
    pub sockets: &'a [(u32, BorrowedFd<'a>)],
    /// Where the broker is reached by TCP. Everything else stays with the kernel.
    pub services: &'a [SocketAddr],
    /// What answers SYNs with cookies in the stacks' place has to know.
    pub answers: Answers,
}

/// What it takes to answer a SYN as the stacks do.
#[derive(Clone, Copy, Debug)]
pub struct Answers {
    /// The stacks' keys.
    pub secrets: Secrets,
    /// What a SYN-ACK offers.
    pub syn_ack: SynAck,
    /// What the stacks' clock is behind the system's monotonic one, nanoseconds.
    pub clock_behind_ns: u64,
}

/// Brings frames to sockets.
pub trait Steering: std::fmt::Debug + Send + Sync {
    /// Begins, before the first connection is taken. It ends, by whatever policy there is for the end, when what is
    /// returned is dropped, which is after the last frame was sent.
    ///
    /// # Errors
    /// In one line: what is missing, and the way out.
    fn steer(&self, steered: &Steered<'_>) -> Result<Box<dyn Any + Send + Sync>, String>;
}
