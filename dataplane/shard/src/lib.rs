//! One polling core as a sans-IO turn.
//!
//! A [`Shard`] owns a transport (kernel sockets, our TCP, the simulator's network: anything that offers
//! [`ByteStreams`](pelton_base::ByteStreams)) and a [`Broker`](pelton_broker::Broker), and runs both to
//! completion: [`Shard::turn`] takes what came in, lets the broker answer, expands what has to be expanded,
//! and flushes. It reads no clock and starts no thread; whoever drives it passes the time in and sleeps until
//! it wants to run again.
//!
//! The shards of a process talk over a [`mod@mesh`] of rings, one pair for each ordered pair of shards, and take
//! [`command`]s from the control plane over a channel. They share nothing else.
#![forbid(unsafe_code)]

pub mod command;
mod inlet;
pub mod mesh;
mod shard;
pub mod storage;

pub use command::{Command, Snapshot};
pub use mesh::{Mesh, mesh, narrow_mesh};
pub use shard::{Shard, Turn};
pub use storage::StoragePort;
