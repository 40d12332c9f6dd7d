//! The deterministic simulator: the whole broker, several shards of it, with model clients and a hostile
//! network, in one thread, from one seed, in virtual time.
//!
//! A [`plan::Plan`] says what a seed decides. A [`world::World`] plays it: clients connect, publish,
//! subscribe, vanish and come back; the [`network`] delays, cuts, reorders and loses connections; shards take
//! turns late and in any order, and only when they have a reason to. Meanwhile every byte a client gets is
//! decoded and held against the rules of the protocol and against the [`ledger`] of what was published and
//! subscribed. At the end the network heals, everything must come to rest, nobody may miss what was promised
//! ([`verdict`]), and when all have left the broker must be as empty as it began.
//!
//! With a [`disk`] behind the shards the broker's process may be killed or lose its power at any moment and begin
//! again with what is stored; the disk may be full or fail, and the wall clock jump: see [`disaster`]. The oracles
//! are the same.
//!
//! Below the shards is a network of bytes, or our own TCP, frame by frame ([`tcp`]), over links that lose, burst,
//! double, reorder, damage, cut off and swallow frames, with ports that run out of frames and of room, and machines that
//! stand still; the clients' side is our stack, or smoltcp. A long run, 50 clients and about 1,000 messages a seed:
//!
//! ```text
//! cargo run --profile bench -p pelton-sim -- hunt --tcp --from 1 --count 100000
//! ```
//!
//! The same seed plays the same run, event for event, on every machine.
#![forbid(unsafe_code)]

mod boot;
pub mod carrier;
pub mod churn;
pub mod client;
pub mod cluster;
pub mod disaster;
pub mod disk;
pub mod fuzz;
pub mod hunt;
pub mod ledger;
pub mod network;
pub mod plan;
pub mod run;
pub mod stage;
pub mod streams;
pub mod tcp;
pub mod transport;
pub mod verdict;
pub mod world;

// The codec's own fuzzer makes the packets that are thrown at live shards.
#[path = "../../mqtt/tests/codec/corpus.rs"]
mod corpus;
#[path = "../../mqtt/tests/codec/mutate.rs"]
mod mutate;
#[path = "../../mqtt/tests/codec/random.rs"]
mod random;
