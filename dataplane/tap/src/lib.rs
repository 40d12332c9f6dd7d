//! TAP devices as ports: the lowest rung past the kernel's TCP. The kernel stands at one end of a link of its own, we
//! at the other, so any client that can reach the host can reach our TCP, on any kernel, whatever the network card. It
//! costs a system call and a copy for each frame: it is there for tests, virtual machines and bridges, not for speed.
//!
//! [`attach`] takes the queues of a device that somebody has made (`ip tuntap add`), one for each shard; each is a
//! [`TapPort`]. Frames carry no offloads: the kernel sends them whole, with their checksums, and checks ours.
//!
//! `unsafe` is in `request` alone.

mod attach;
mod counters;
mod port;
mod request;

pub use attach::{Attached, TapError, attach};
pub use counters::{TapCounter, TapDrop};
pub use port::TapPort;
