//! Threads around shards: one for each, pinned if asked to, that turns, spins for a while, and sleeps.
//!
//! This is the only place where clocks are read. A shard that has nothing to do spins for
//! [`Idle::spin_us`] (0 by default on kernel sockets) and then sleeps in its transport until there is I/O, a
//! timer is due, or another thread wakes it.
//!
//! A shard drives the kernel's sockets, or several transports as one (`transports`): those and our TCP on each
//! interface that is served past the kernel (`interface`, `device`).
#![forbid(unsafe_code)]

mod clock;
mod device;
mod driven;
mod fleet;
mod interface;
mod rung;
mod steering;
mod transports;

pub use clock::Clock;
pub use fleet::{Backing, Fleet, Idle, Plan, StartError};
pub use interface::{InterfaceError, InterfaceKind, InterfacePlan, Served};
pub use pelton_afxdp::{BusyPoll, Hook, Pages};
pub use pelton_shard::StoragePort;
pub use pelton_sockets::Waker;
pub use rung::{Refused, Rung, XdpPlan};
pub use steering::{Answers, Steered, Steering};
