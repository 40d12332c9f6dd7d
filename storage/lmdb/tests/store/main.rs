//! The store from outside: what it holds after anything that may happen to it.
#![allow(missing_docs, reason = "tests")]

mod client;
mod commands;
mod damage;
mod differential;
mod faults;
mod kill;
mod pages;
mod power_loss;
mod recorder;
mod scratch;
mod script;
mod transactions;
