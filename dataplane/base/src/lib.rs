//! What every stage of the data plane stands on: time as integers, seeded randomness, generation-checked
//! slots, short texts, the timer wheel, closed counter sets, keyed hashing, send queues and the
//! byte-stream contract between transports and shards.
//!
//! Nothing here reads a clock, a file or the system's randomness: time and seeds are passed in. `unsafe` is in
//! [`mem`] alone.
#![deny(unsafe_code)]

pub mod chunks;
pub mod counters;
pub mod few;
pub mod hash;
pub mod mem;
pub mod rng;
pub mod send;
pub mod slots;
pub mod stream;
pub mod text;
pub mod time;
pub mod wheel;

pub use chunks::Chunks;
pub use counters::{CounterSet, Counters};
pub use few::Few;
pub use hash::HashKey;
pub use rng::Rng;
pub use send::{Line, Outgoing, SendQueue, SharedLogs, SharedRange};
pub use slots::{Key, Slots};
pub use stream::{
    ByteStreams, Ending, InterfaceFigures, Patience, Peer, StreamEnd, StreamEvent, StreamId, TooBig,
    Transmit, Wait,
};
pub use text::Text;
pub use time::{Mono, Wall};
pub use wheel::Wheel;
