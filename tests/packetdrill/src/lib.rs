//! Our TCP as the shared object that packetdrill tests: `packetdrill --so_filename=libpelton_packetdrill.so script.pkt`.
//!
//! packetdrill calls [`packetdrill_interface_init`] once, and then the functions it was given: system calls, packets in
//! and out, and a clock. The clock is virtual: it stands still but for what packetdrill sleeps, and a microsecond for
//! each time it is asked for, so a script takes no longer than its computing and always the same way.
//!
//! | file | what is there |
//! |---|---|
//! | `abi` | the table of functions, and the functions (`calls`, `memory`): the only code that is not safe |
//! | `world` | sockets on one stack, the clock, and a call that waits |
//! | `call` | system calls, by value |
//! | `wire` | a port that ends in two queues of IP packets |
//! | `push`, `order` | what is free to be otherwise, and packetdrill compares: PSH, the order of options |
//! | `options` | what can be set: by the flags, by `setsockopt` |
//! | `seen` | `struct tcp_info` |
//!
//! README.md says how to run it.

mod abi;
mod call;
mod options;
mod order;
mod push;
mod seen;
mod wire;
mod world;

pub use abi::{Interface, getsockopt, packetdrill_interface_init};
