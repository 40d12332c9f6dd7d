//! Sessions, queues and retained messages in LMDB: what `pelton-storage-ops` asks for, made durable.
//!
//! [`Engine::open`] gives the engine and a [`ShardPort`] for each shard. One thread writes: it takes the
//! batches of all shards, plans one transaction from many of them (leaving out what was done and undone
//! meanwhile), writes segments, sessions, rows of queues and retained messages in the order of their keys, and
//! commits. Threads that read serve pages of queues. A shard never touches the map.
//!
//! | module | what it owns |
//! |---|---|
//! | [`engine`] | opening, starting, closing; ports |
//! | [`writer`] | the thread that writes: gathering, group commit, what happens when the disk is full or fails |
//! | [`plan`] | what a transaction will write, made from batches |
//! | [`write`] | writing a plan |
//! | [`headroom`] | the reserve that lets a full store get emptier |
//! | [`segments`] | which segments are in use |
//! | [`page`], [`load`], [`scan`] | reading: pages of queues, the start, the walk before it |
//! | [`check`], [`pages`], [`copy`] | what `pelton store` does |
//! | [`layout`] | what the bytes mean; `docs/storage-format.md` says it in words |
//! | [`map`], [`txn`] | LMDB, and the only `unsafe` there is |
//!
//! No type of LMDB is visible outside of this crate.

mod check;
mod copy;
mod create;
mod engine;
mod error;
mod headroom;
mod layout;
mod load;
mod lock;
mod map;
mod meta;
mod options;
mod page;
mod pages;
mod plan;
mod scan;
mod segments;
mod status;
mod txn;
mod write;
mod writer;

pub use check::{CheckReport, Place, Problem, check};
pub use copy::{DatabaseStats, Stats, backup, compact, stats};
pub use engine::{Engine, ShardPort};
pub use error::StoreError;
pub use load::Progress;
pub use options::{Options, Policy, Wake};
pub use pages::PageCounts;
pub use status::{Health, StoreEvent, StoreStatus};
