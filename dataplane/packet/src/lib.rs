//! Frames, and what is below TCP.
//!
//! A [`FramePool`] owns the memory; a [`Frame`] is the right to use one piece of it, given by the pool and given
//! back to it. A [`Port`] is where frames come from and go to: in-memory ([`memory`]), or a device. Devices that
//! wrap any port compose: [`tee`] writes what passes as pcap, [`fault`] loses, doubles, reorders, delays, damages
//! and cuts frames from a seed.
//!
//! [`mod@parse`] takes a frame apart down to the transport header, [`headers`] writes what goes in front of one.
//! What is rare goes through `smoltcp::wire`: [`responder`] answers ARP, neighbour solicitations and pings where
//! no kernel does, [`icmp`] reads errors about packets that were sent.
//!
//! Nothing here reads a clock or touches a device. `unsafe` is in [`pool`] and [`frame`] alone.

pub mod checksum;
pub mod counters;
pub mod fault;
pub mod frame;
pub mod headers;
pub mod icmp;
pub mod link;
pub mod memory;
pub mod parse;
pub mod pool;
pub mod port;
pub mod ready;
pub mod responder;
pub mod tee;

pub use counters::PacketDrop;
pub use frame::Frame;
pub use link::{Interface, Link, LinkKey, MacAddress};
pub use parse::{Datagram, Parsed, parse};
pub use pool::{FramePool, Region};
pub use port::{Port, PortCaps};
