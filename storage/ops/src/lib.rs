//! What a broker asks of its storage, as plain data.
//!
//! A shard puts its operations into a [`Batch`], one a turn, numbered without gaps. The storage takes the
//! batches of all shards, applies many in one transaction, and answers each shard with a [`Completion`]: all
//! operations up to a number are durable, except those that failed. Whoever promised something waits for the
//! number of its operation; nobody else waits for anything. Decided batches go back to their shard with the
//! completion.
//!
//! Order: operations of one shard take effect in their order. What is done and undone within one transaction
//! (a message enqueued, and acknowledged by its client before the storage got to it) need not be written.
//! Operations of one publish that span shards carry a [`Group`]; a group takes effect in one transaction.
//!
//! Reading: [`PageRequest`] reads a session's queue, from a sequence number, as much as was committed when it
//! is served. At the start, [`Loaded`] hands out sessions and retained messages.
//!
//! There are two stores behind these types: `pelton-storage-lmdb`, and [`mod@reference`], which keeps everything
//! in memory, loses what a crash loses, and is what the others are compared with.
#![forbid(unsafe_code)]

pub mod batch;
pub mod group;
pub mod image;
pub mod page;
pub mod reference;

pub use batch::{Batch, Completion, Failure, Group, MessageHead, Op, OpKind, SessionId, Target};
pub use image::{ImageError, SessionImage, SessionKind, WillImage};
pub use page::{Answer, Entry, Loaded, LoadedSession, Page, PageRequest, Phase};
