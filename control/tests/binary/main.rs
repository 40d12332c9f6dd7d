//! The binary as its user meets it: configuration, start, signals, exit codes, what it says of itself.
#![forbid(unsafe_code)]

mod backup;
mod client;
mod config;
mod disk_full;
mod lifecycle;
mod place;
mod reference;
mod refused;
mod running;
mod storage;
mod sys;
mod waiting;
