//! A load generator that goes past the kernel.
//!
//! A process may open some tens of thousands of kernel sockets; a broker past the kernel holds millions of connections.
//! So this generator has no sockets: its clients are connections of our own TCP, opened from as many source addresses
//! as it takes, over an AF_XDP port ([`device`]) or any other.
//!
//! ```text
//! crowd    MQTT clients on one stack: connect, subscribe, ping, publish; what became of each
//! ends     who connects from where to where
//! flood    SYNs as fast as the port takes them
//! device   the AF_XDP port of an interface, and the broker's Ethernet address
//! figures  latencies and what is told in the end
//! ```
#![forbid(unsafe_code)]

pub mod crowd;
pub mod device;
pub mod ends;
pub mod figures;
pub mod flood;
mod packets;

pub use crowd::{Crowd, Wants};
pub use ends::Ends;
pub use figures::{Counts, Summary};
