//! What the XDP program decides about a frame, and the layout of its maps. Compiled into the program, where the
//! kernel's verifier must be able to follow it, and natively, where it is tested.
//!
//! | file | what is there |
//! |---|---|
//! | `frame` | bytes of a frame, wherever they lie |
//! | `packet` | Ethernet, VLAN tags, IPv4, IPv6 with a bounded number of extension headers |
//! | `segment` | the fixed TCP header, and what no honest peer sends |
//! | `too_big` | ICMP errors about segments of the broker |
//! | `steer` | the decision, in order |
//! | `reason` | every outcome: one closed set of counters |
//! | `limit` | token buckets in one word |
//! | `cookie`, `sip` | SYN cookies, the same as the TCP stack's |
//! | `answer` | a SYN turned into its SYN-ACK, where it lies |
//! | `scratch` | memory to work in |
//! | `layout` | keys and values of the maps |
//!
//! No allocation, no recursion, no loop without a small bound. Whatever is looked up goes through
//! [`Tables`], which is maps in the program and plain collections in tests.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod answer;
pub mod cookie;
pub mod frame;
pub mod layout;
pub mod limit;
pub mod packet;
pub mod reason;
pub mod scratch;
pub mod segment;
pub mod sip;
pub mod steer;
pub mod too_big;

pub use frame::Frame;
pub use layout::{Address, Event, Limit, PmtuKey, PmtuValue, Policy, Service, ServiceKey};
pub use reason::{Action, Reason};
pub use scratch::Scratch;
pub use steer::{Tables, steer};
