//! The XDP program on one interface.
//!
//! ```no_run
//! use pelton_ebpf_loader::{Frames, Mode, OnExit, Service, Steering};
//!
//! # fn sockets() -> Vec<std::net::UdpSocket> { Vec::new() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut steering = Steering::load(Frames::InOnePiece)?;
//! for (queue, socket) in (0..).zip(sockets()) {
//!     steering.set_socket(queue, &socket)?; // an AF_XDP socket, bound to that queue
//! }
//! steering.set_service("192.0.2.1:1883".parse()?, Service::Steered)?;
//! steering.attach("eth1", Mode::Native, OnExit::Detach)?;
//! println!("{:?}", steering.counts()?);
//! # Ok(()) }
//! ```
//!
//! A [`Steering`] is one loaded program with maps of its own; what it does to frames is decided in
//! `pelton-ebpf-classifier`. Until it is attached nothing happens, so sockets and services are set first. A frame for a
//! steered service whose queue has no socket is dropped and counted, never passed to the kernel, which would answer
//! a reset.
//!
//! | file | what is there |
//! |---|---|
//! | `object` | the program, as it was built (`ebpf/prebuilt`) |
//! | `steering` | load; services and sockets |
//! | `attach` | attach, hold, take over, detach |
//! | `interface` | what is attached to an interface, whoever did it |
//! | `netlink` | a question to the kernel and its answer |
//! | `lists`, `prefix` | allow and block lists |
//! | `policy` | limits of SYNs, cookies, events |
//! | `trial` | the program run on a frame in memory |
//! | `watch` | counters, events, segments that were too big |
//!
//! Times are passed in; nothing here starts a thread. It needs CAP_BPF and CAP_NET_ADMIN (before Linux 5.8:
//! CAP_SYS_ADMIN).
#![forbid(unsafe_code)]

mod address;
mod attach;
mod error;
mod interface;
mod lists;
pub mod netlink;
mod object;
mod policy;
mod prefix;
mod steering;
mod trial;
mod watch;

pub use attach::{Mode, OnExit};
pub use error::{AttachError, LoadError, MapError};
pub use interface::{Attached, attached};
pub use lists::List;
pub use object::OBJECT;
pub use pelton_ebpf_classifier::layout::QUEUES_MAX;
pub use pelton_ebpf_classifier::{Action, Reason};
pub use policy::{Cookies, Over, Policy, Rate};
pub use prefix::{Prefix, PrefixError};
pub use steering::{Frames, Service, Steering};
pub use trial::Verdict;
pub use watch::{Counts, Dropped, TooBig};
