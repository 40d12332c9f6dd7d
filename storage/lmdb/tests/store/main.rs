//! The store from outside: what it holds after anything that may happen to it.
#![allow(missing_docs, reason = "tests")]

mod client;
mod differential;
mod scratch;
mod script;
mod transactions;
