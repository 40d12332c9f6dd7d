//! The house: what holds of the code as a whole and no single crate can check.
#![forbid(unsafe_code)]

mod conformance;
mod layering;
mod packages;
mod sources;
mod tables;
mod tcp;
