//! What every stage of the data plane stands on: time as integers, seeded randomness, generation-checked
//! slots, the timer wheel, closed counter sets and keyed hashing.
//!
//! Nothing here reads a clock, a file or the system's randomness: time and seeds are passed in.
#![forbid(unsafe_code)]

pub mod counters;
pub mod hash;
pub mod rng;
pub mod slots;
pub mod time;
pub mod wheel;

pub use counters::{CounterSet, Counters};
pub use hash::HashKey;
pub use rng::Rng;
pub use slots::{Key, Slots};
pub use time::{Mono, Wall};
pub use wheel::Wheel;
