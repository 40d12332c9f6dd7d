//! Whole runs: against the broker itself, and against a crooked one that does wrong on purpose and knows what it did.

mod against_broker;
mod against_crooked;
mod crooked;

use clap::Parser;
use pelton_load::{Failure, Options, Report};

/// Runs `pelton-load LINE`.
fn load(port: u16, line: &str) -> Result<Report, Failure> {
    let port = port.to_string();
    let words = ["pelton-load"].into_iter().chain(line.split(' ')).chain(["--quiet", "-p", &port]);
    pelton_load::run(&Options::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")))
}
