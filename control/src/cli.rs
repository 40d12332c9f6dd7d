//! The command line.

pub(crate) mod nic;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Config;
use crate::config::interfaces::{self, Interface};
use nic::{NicCommand, Probe, TuneCommand, XdpCommand};

/// An MQTT broker that runs each connection to completion on one core.
#[derive(Debug, Parser)]
#[command(name = "pelton", version, term_width = 100, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the broker
    Serve(Serve),
    /// Say whether the configuration is valid, and everything that is wrong with it
    Check(Source),
    /// Show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask a running broker how it is
    Status(Status),
    /// Look at the store, check it, back it up, make it smaller
    #[command(subcommand)]
    Store(StoreCommand),
    /// Say how far past the kernel each interface can be served, and what to type for what is missing
    Probe(Probe),
    /// Look at network interfaces
    #[command(subcommand)]
    Nic(NicCommand),
    /// Look at XDP programs, take away what a broker left behind. Nothing attaches one by hand: without the sockets of a
    /// broker it would drop what it steers; `pelton serve --interface` attaches it when they are there
    #[command(subcommand)]
    Xdp(XdpCommand),
    /// Set a host and its interfaces as their hardware profile advises; shown first, undone on request
    #[command(subcommand)]
    Tune(TuneCommand),
    /// Print the version, the target it was built for and the datapath rungs in it
    Version,
    /// Print a page of the reference, as it is in the docs folder
    Docs(Docs),
}

/// Where the configuration comes from.
#[derive(Args, Clone, Debug)]
pub(crate) struct Source {
    /// The configuration file. Without it no file is read, a pelton.toml in the working directory included: the
    /// broker runs on its defaults and the PELTON__SECTION__KEY variables of the environment
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Listen here instead of where the configuration says; may be given several times
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) bind: Vec<SocketAddr>,
    /// Serve this network interface past the kernel, by AF_XDP if MODE is not said (auto), zero-copy, copy, generic or
    /// tap; with these addresses, or all the kernel has there. May be given several times; adds to the configuration
    #[arg(long, value_name = "[MODE:]NAME[=ADDRESS/PREFIX,...]")]
    pub(crate) interface: Vec<Interface>,
    /// Do not start if an interface named here cannot be served so; without it, the kernel's sockets serve it then
    #[arg(long)]
    pub(crate) require: bool,
    /// How many cores work, instead of what the configuration says; 0 for one per core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=64))]
    pub(crate) shards: Option<u16>,
    /// Keep the store in this directory, instead of where the configuration says
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) data: Option<String>,
}

impl Serve {
    /// Puts into the configuration what the command line says.
    pub(crate) fn apply(&self, config: &mut Config) {
        if !self.bind.is_empty() {
            config.listen.tcp.clone_from(&self.bind);
        }
        for interface in &self.interface {
            let interface = Interface { require: self.require, ..interface.clone() };
            interfaces::add(&mut config.interfaces, &interface);
        }
        if let Some(shards) = self.shards {
            config.shards.count = shards;
        }
        if let Some(data) = &self.data {
            config.storage.path.clone_from(data);
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    /// Where it listens, by address or name; without a port 1883. It is asked as a client: by the figures it
    /// publishes below $SYS/ every `[sys] interval_seconds`
    #[arg(value_name = "HOST:PORT", default_value = "127.0.0.1:1883")]
    pub(crate) place: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Tell how large the store is; a broker may be using it
    Stats(StorePlace),
    /// Look at every page, record and checksum. Exit code 1 if anything is wrong; a broker may be using it
    Check(StorePlace),
    /// Copy what is committed now to a new file; a broker may be using the store. The copy is a whole store: to
    /// restore it, put it into an empty directory as pelton.mdb
    Backup(StoreBackup),
    /// Write the store anew without its free pages, while no broker uses it
    Compact(StorePlace),
}

/// Which store, and how the answer looks.
#[derive(Args, Debug)]
pub(crate) struct StorePlace {
    #[command(flatten)]
    pub(crate) source: Source,
    /// The directory of the store, instead of where the configuration says
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) data: Option<String>,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
pub(crate) struct StoreBackup {
    #[command(flatten)]
    pub(crate) place: StorePlace,
    /// The file to write; it must not exist
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// How an answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Lines for people
    Text,
    /// One JSON object
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every key with its meaning, unit, range, default and value; what is printed is a valid configuration
    Dump(Source),
}

#[derive(Args, Debug)]
pub(crate) struct Docs {
    /// The page
    #[arg(value_enum, required_unless_present = "write")]
    pub(crate) page: Option<Page>,
    /// Write all pages into this folder instead
    #[arg(long, value_name = "FOLDER", conflicts_with = "page")]
    pub(crate) write: Option<PathBuf>,
}

/// A generated page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Page {
    /// Every key of the configuration
    Config,
    /// Every command and option
    Cli,
    /// Everything the broker publishes about itself
    Metrics,
}

impl Page {
    /// The name of its file.
    pub(crate) fn file_name(self) -> &'static str {
        match self {
            Self::Config => "CONFIG.md",
            Self::Cli => "CLI.md",
            Self::Metrics => "METRICS.md",
        }
    }
}
