//! The binary as its user meets it: configuration, start, signals, exit codes, what it says of itself.
#![forbid(unsafe_code)]

mod client;
mod config;
mod lifecycle;
mod reference;
mod running;
mod storage;
mod sys;
