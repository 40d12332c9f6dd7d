//! What the broker promises about storage, held against crashes, slow and failing stores.

mod clients;
mod endings;
mod faults;
mod promises;
mod queues;
mod storms;
mod wills;
mod wire;
mod world;
