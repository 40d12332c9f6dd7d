//! The AF_XDP port: one shard's receive queues of one interface, past the kernel.
//!
//! An XDP program steers frames into a queue's socket; what it does not steer stays with the kernel. Frame
//! memory ([`mod@umem`]) is shared with the kernel and never copied by this crate. Each queue has four rings
//! ([`ring`]): *fill* hands the kernel empty frames, *rx* brings them back with what arrived, *tx* hands over
//! what is to be sent, *completion* brings it back. All queues of a port share its memory, so that any frame can
//! be sent on any queue of it.
//!
//! ```text
//! pool --lend--> fill --> kernel --> rx --reclaim--> owner --lend--> tx --> kernel --> completion --> pool
//! ```
//!
//! An AF_XDP socket receives from its own interface and queue alone: a queue without a socket loses (or passes
//! on, as the program says) what arrives there, so a port is opened for every queue of the interface by some
//! shard.
//!
//! | what happens | outcome | counted as |
//! |---|---|---|
//! | the tx ring is full | the frame is given back to the sender, who keeps it | [`PortCounter::TxFull`] |
//! | the pool has no frame to fill with | the kernel drops what arrives; the port refills when frames come home | [`PortCounter::FillStarved`], [`PortDrop::FillRingEmpty`] |
//! | a packet is longer than a frame | dropped, all of its pieces | [`PortDrop::Fragmented`] |
//! | the kernel names a frame it does not have | ignored | [`PortCounter::BadDescriptor`] |
//! | the device sends nothing more | frames stay in the ring; tried again after 50 us | [`PortCounter::TxStalled`] |
//!
//! `unsafe` is in [`mod@umem`], [`ring`] and `syscall` alone.

pub mod catch_all;
pub mod device;
pub mod error;
pub mod ethtool;
pub mod port;
pub mod ring;
pub mod settings;
pub mod socket;
mod syscall;
pub mod umem;

pub use catch_all::{CatchAll, Hook, Take};
pub use device::Device;
pub use error::OpenError;
pub use ethtool::Ethtool;
pub use port::{PortCounter, PortDrop, XdpPort};
pub use settings::{BusyPoll, Pages, Settings, Sharing};
pub use socket::{KernelCounts, Mode, supported};
