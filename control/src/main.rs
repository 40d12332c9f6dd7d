//! The binary: puts the parts together. It is the only place that names concrete choices: the allocator, kernel
//! sockets, the fleet of shards.
#![forbid(unsafe_code)]

mod broken;
mod cli;
mod config;
mod descriptors;
mod exit;
mod log;
mod reference;
mod service;
mod signals;
mod sys;
mod version;
mod watch;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use cli::{Cli, Command, ConfigCommand, Serve};
use config::{Config, Problem};
use exit::Exit;
use pelton_base::Rng;
use pelton_runtime::{Fleet, Idle, Plan, StartError};
use pelton_sockets::{Bind, SocketCounter};
use sys::reasons::{Set, TRANSPORT};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the transports compiled in count.
const TRANSPORTS: [Set; 1] = [Set::of::<SocketCounter>(TRANSPORT, "Kernel sockets.")];

fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Serve(options) => serve(&options),
        Command::Check(source) => with_config(source.config.as_deref(), |_| {
            println!("ok");
            Exit::Ok
        }),
        Command::Config(ConfigCommand::Dump(source)) => with_config(source.config.as_deref(), |config| {
            print!("{}", config::dump(&config));
            Exit::Ok
        }),
        Command::Version => {
            print!("{}", version::text());
            Exit::Ok
        }
        Command::Docs(docs) => reference::run(&docs, &TRANSPORTS),
    };
    exit.into()
}

/// Loads the configuration, or says everything that is wrong with it.
fn with_config(path: Option<&Path>, then: impl FnOnce(Config) -> Exit) -> Exit {
    match Config::load(path) {
        Ok(config) => then(config),
        Err(problems) => refuse(&problems),
    }
}

fn refuse(problems: &[Problem]) -> Exit {
    for problem in problems {
        eprintln!("{problem}");
    }
    Exit::Config
}

fn serve(options: &Serve) -> Exit {
    let path = options.source.config.as_deref();
    with_config(path, |mut config| {
        if !options.bind.is_empty() {
            config.listen.tcp.clone_from(&options.bind);
        }
        if let Some(shards) = options.shards {
            config.shards.count = shards;
        }
        let problems = config.contradictions();
        if !problems.is_empty() {
            return refuse(&problems);
        }
        service::run(&config, path, start)
    })
}

/// Opens the listeners and starts the shards, over kernel sockets.
fn start(config: &Config) -> Result<Fleet, StartError> {
    let mut seed = [0; 8];
    // Routes and client ids are hashed with a key nobody outside can know.
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| StartError::System(error.into()))?;
    let mut rng = Rng::with_seed(u64::from_ne_bytes(seed));
    Fleet::start(&Plan {
        binds: config.listen.tcp.iter().map(|&address| Bind { address }).collect(),
        shards: config.shards.effective(),
        cores: config.shards.cores.iter().map(|&core| core.into()).collect(),
        idle: Idle { spin_us: config.shards.idle_spin_us },
        settings: Arc::new(config.broker.clone()),
        key: rng.hash_key(),
        seed: rng.u64(),
    })
}
