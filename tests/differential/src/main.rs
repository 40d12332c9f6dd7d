//! Our TCP against the kernel's: the same kernel client, over the same link with the same losses, moves the same bytes to
//! and from a server on our TCP (on a TAP device) and one on the kernel's sockets. Streams must be equal; how long each
//! takes is compared, runs of the one between runs of the other.
//!
//! `cargo run --release -p pelton-differential -- run` is the whole, as root; it writes
//! `benches/results/tcp-differential.md` with `--write`. The short form is a test.
#![forbid(unsafe_code)]

mod client;
mod kernel;
mod matrix;
mod ours;
mod place;
mod relay;
mod stream;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Our TCP and the kernel's, as servers of the same clients.
#[derive(Debug, Parser)]
#[command(name = "pelton-differential", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// All cases, in network namespaces of its own. Exit code 1 if a stream differs or takes too long
    Run(Run),
    /// The server on our TCP, at a TAP device
    Ours {
        /// The device
        device: String,
        /// The server's address
        address: Ipv4Addr,
    },
    /// The server on the kernel's sockets
    Kernel {
        /// Where it listens
        address: SocketAddr,
    },
    /// A wire between two TAP devices
    Relay {
        /// The one
        one: String,
        /// The other
        other: String,
    },
    /// A client: moves bytes, compares them, and prints how many microseconds it took
    Client(client::Client),
}

#[derive(clap::Args, Debug)]
struct Run {
    /// Runs of each case with each server
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// A fraction of the bytes, for a quick look
    #[arg(long, default_value_t = 1)]
    divide: u64,
    /// Only the cases whose name has this in it
    #[arg(long, default_value = "")]
    only: String,
    /// Write the table here, too
    #[arg(long)]
    write: Option<PathBuf>,
    /// How many times the kernel's time ours may take
    #[arg(long, default_value_t = 1.5)]
    limit: f64,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().role {
        Role::Run(run) => return matrix::run(&run),
        Role::Ours { device, address } => ours::serve(&device, address),
        Role::Kernel { address } => kernel::serve(address),
        Role::Relay { one, other } => relay::run(&one, &other),
        Role::Client(client) => client.run().map(|took| println!("{}", took.as_micros())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
