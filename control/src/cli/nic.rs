//! The commands about interfaces: probe, nic, xdp, tune.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Output;

#[derive(Args, Debug)]
pub(crate) struct Probe {
    /// Only these interfaces; else all of this network namespace
    #[arg(value_name = "INTERFACE")]
    pub(crate) interfaces: Vec<String>,
    /// For a broker with so many shards; else one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) shards: Option<u16>,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NicCommand {
    /// What each interface is: driver, addresses, link, MTU, queues, XDP program, profile
    Status(Which),
    /// What each interface can: XDP as the kernel says it, offloads, what its profile knows and where it has that from
    Features(Which),
    /// Queues, rings, coalescing, and which core has the interrupt of each queue
    Queues(Which),
}

#[derive(Debug, Subcommand)]
pub(crate) enum XdpCommand {
    /// Which XDP program each interface has, whose it is, which processes have it, and what is pinned
    Status(Which),
    /// Take away a program that a broker left behind (on_exit = "hold"): clients get the kernel again, which resets them.
    /// One that a running broker has, or that is not ours, is never touched
    Detach(Detach),
}

/// Which interfaces, and how the answer looks.
#[derive(Args, Debug)]
pub(crate) struct Which {
    /// Only this interface; else all of this network namespace
    #[arg(value_name = "INTERFACE")]
    pub(crate) interface: Option<String>,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct Detach {
    /// The interface
    #[arg(value_name = "INTERFACE")]
    pub(crate) interface: String,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TuneCommand {
    /// Show what would be set, from what to what, and why; nothing is changed
    Plan(Tune),
    /// Set it. What was there before is written to the undo file first
    Apply(Tune),
    /// Put back what the undo file says, and remove it. What somebody else changed since is left alone
    Revert(Revert),
    /// Say what is not as the profile wants it. Exit code 1 if anything is not
    Check(Tune),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Tune {
    /// The interface to tune; may be given several times. Without one only what concerns the whole host is looked at
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) interface: Vec<String>,
    /// The profile, instead of the one for the interface's driver
    #[arg(long, value_name = "FAMILY")]
    pub(crate) profile: Option<String>,
    /// For a broker with so many shards; else one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) shards: Option<u16>,
    /// A port of the broker; may be given several times
    #[arg(long, value_name = "PORT", default_value = "1883", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Vec<u16>,
    /// A setting to leave alone, by its name in the plan (vm.nr_hugepages, mtu, ...); may be given several times
    #[arg(long, value_name = "SETTING")]
    pub(crate) skip: Vec<String>,
    #[command(flatten)]
    pub(crate) place: TunePlace,
}

#[derive(Args, Debug)]
pub(crate) struct Revert {
    #[command(flatten)]
    pub(crate) place: TunePlace,
}

/// Where, and how the answer looks.
#[derive(Args, Clone, Debug)]
pub(crate) struct TunePlace {
    /// The undo file
    #[arg(long, value_name = "FILE", default_value = "/var/lib/pelton/tune-undo.json")]
    pub(crate) undo: PathBuf,
    /// The folder whose /sys and /proc are meant: a tree prepared for a test. Elsewhere than in / only files are looked at
    #[arg(long, value_name = "FOLDER", default_value = "/", hide = true)]
    pub(crate) root: PathBuf,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}
