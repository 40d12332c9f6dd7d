//! The binary: puts the parts together. It is the only place that names concrete choices: the allocator, kernel
//! sockets, the fleet of shards, the store.
#![forbid(unsafe_code)]

mod broken;
mod cli;
mod config;
mod descriptors;
mod exit;
mod log;
mod memory;
mod nic;
mod reference;
mod reserved;
mod service;
mod signals;
mod status;
mod store;
mod sys;
mod version;
mod watch;
mod xdp;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use cli::{Cli, Command, ConfigCommand, Serve, Source};
use config::interfaces::{Interface, Mode};
use config::{Config, Problem, StoragePolicy};
use exit::Exit;
use pelton_afxdp::{PortCounter, PortDrop};
use pelton_base::Rng;
use pelton_broker::Settings;
use pelton_packet::PacketDrop;
use pelton_runtime::{
    Backing, BusyPoll, Fleet, Idle, InterfaceKind, InterfacePlan, Pages, Plan, Rung, StartError, XdpPlan,
};
use pelton_sockets::{Bind, SocketCounter};
use pelton_storage_lmdb::StoreEvent;
use pelton_tap::{TapCounter, TapDrop};
use pelton_tcp::{TcpCounter, TcpDrop};
use service::Broker;
use store::Store;
use sys::reasons::{INTERFACE, INTERFACE_DROPPED, PROGRAM, STORAGE, Set, TRANSPORT};
use xdp::{Attaching, Programs, SynLimits};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the transports and the store compiled in count.
const COUNTERS: [Set; 10] = [
    Set::of::<SocketCounter>(TRANSPORT, "Kernel sockets."),
    Set::of::<TcpCounter>(
        INTERFACE,
        "Our TCP on an interface that is served past the kernel. Besides these: `rung`, how it is served; `connections`, open now.",
    ),
    Set::of::<TapCounter>(INTERFACE, "A TAP device."),
    Set::of::<PortCounter>(INTERFACE, "An AF_XDP port."),
    Set::of::<TcpDrop>(INTERFACE_DROPPED, "Segments of an interface that were not used."),
    Set::of::<PacketDrop>(INTERFACE_DROPPED, "Packets of an interface that were not used."),
    Set::of::<TapDrop>(INTERFACE_DROPPED, "Frames that went no further than a TAP device."),
    Set::of::<PortDrop>(INTERFACE_DROPPED, "Frames that went no further than an AF_XDP port."),
    Set {
        name: PROGRAM,
        help: "What the XDP program did with frames.",
        names: &xdp::NAMES,
        helps: &xdp::HELPS,
    },
    Set::of::<StoreEvent>(STORAGE, "The store."),
];

fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Serve(options) => serve(&options),
        Command::Check(source) => with_config(load(&source), |_| write_out("ok\n")),
        Command::Config(ConfigCommand::Dump(source)) => {
            with_config(load(&source), |config| write_out(&config::dump(&config)))
        }
        Command::Status(options) => ask_status(&options.place),
        Command::Store(command) => {
            with_config(load(&store::place(&command).source), |config| store::run(&command, &config.storage))
        }
        Command::Probe(options) => nic::probe::run(&options),
        Command::Nic(command) => nic::show::run(&command),
        Command::Xdp(command) => nic::program::run(&command),
        Command::Tune(command) => nic::tune::run(&command),
        Command::Version => write_out(&version::text()),
        Command::Docs(docs) => reference::run(&docs, &COUNTERS),
    };
    exit.into()
}

/// Writes to standard output. That a reader has seen enough (`pelton config dump | head`) is no fault.
fn write_out(text: &str) -> Exit {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "cannot write to standard output: {error}");
            Exit::Refused
        }
        _ => Exit::Ok,
    }
}

fn load(source: &Source) -> Result<Config, Vec<Problem>> {
    Config::load(source.config.as_deref(), |_| {})
}

/// Goes on with the configuration, or says everything that is wrong with it.
fn with_config(loaded: Result<Config, Vec<Problem>>, then: impl FnOnce(Config) -> Exit) -> Exit {
    match loaded {
        Ok(config) => then(config),
        Err(problems) => {
            for problem in problems {
                let _ = writeln!(io::stderr(), "{problem}");
            }
            Exit::Config
        }
    }
}

fn ask_status(place: &str) -> Exit {
    match status::ask(place) {
        Ok(figures) => write_out(&status::text(&figures)),
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            Exit::Refused
        }
    }
}

fn serve(options: &Serve) -> Exit {
    let path = options.source.config.as_deref();
    let load = || Config::load(path, |config| options.apply(config));
    with_config(load(), |config| {
        if !config.shards.huge_pages {
            memory::small_pages();
        }
        service::run(&config, path, load, start)
    })
}

/// Opens the listeners and the store, and starts the shards, over kernel sockets.
fn start(config: &Config) -> Result<Broker, StartError> {
    let mut seed = [0; 8];
    // Routes and client ids are hashed with a key nobody outside can know.
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| StartError::System(error.into()))?;
    let mut rng = Rng::with_seed(u64::from_ne_bytes(seed));
    let stored = config.storage.policy != StoragePolicy::Memory;
    let programs = Programs::default();
    let interfaces = config.interfaces.iter();
    let plan = Plan {
        binds: config.listen.tcp.iter().map(|&address| Bind { address }).collect(),
        interfaces: interfaces.map(|interface| interface_plan(interface, config, &programs)).collect(),
        shards: config.shards.effective(),
        cores: config.shards.cores.iter().map(|&core| core.into()).collect(),
        idle: Idle { spin_us: config.shards.idle_spin_us },
        patience: config.tcp,
        settings: Arc::new(Settings {
            storage: stored.then_some(config.storage.memory),
            ..config.broker.clone()
        }),
        key: rng.hash_key(),
        seed: rng.u64(),
    };
    let mut store = None;
    let fleet = Fleet::start_with(&plan, |wakers| {
        if !stored {
            return Ok(Backing { key: plan.key, ports: Vec::new() });
        }
        let (opened, backing) = Store::open(&config.storage, plan.key, wakers)?;
        store = Some(opened);
        Ok(backing)
    })?;
    if let Some(store) = &mut store {
        store.end_load();
    }
    Ok(Broker { fleet, store, programs })
}

/// How an interface is to be served.
fn interface_plan(interface: &Interface, config: &Config, programs: &Programs) -> InterfacePlan {
    InterfacePlan {
        name: interface.name.clone(),
        kind: match interface.mode {
            Mode::Tap => InterfaceKind::Tap,
            Mode::Auto => xdp_kind(interface, programs, &[Rung::ZeroCopy, Rung::Copy]),
            Mode::ZeroCopy => xdp_kind(interface, programs, &[Rung::ZeroCopy]),
            Mode::Copy => xdp_kind(interface, programs, &[Rung::Copy]),
            Mode::Generic => xdp_kind(interface, programs, &[Rung::Generic]),
        },
        addresses: interface.addresses.iter().map(|cidr| cidr.address).collect(),
        listen_ports: interface.ports.clone(),
        mtu: (interface.mtu != 0).then_some(interface.mtu),
        frames: interface.frames,
        tcp: pelton_tcp::Settings {
            connections_max: config.broker.connections_max,
            ..pelton_tcp::Settings::default().with_patience(config.tcp)
        },
    }
}

fn xdp_kind(interface: &Interface, programs: &Programs, rungs: &[Rung]) -> InterfaceKind {
    let limits = SynLimits { per_prefix: interface.syns_per_prefix, in_all: interface.syns_per_second };
    InterfaceKind::Xdp {
        plan: XdpPlan {
            rungs: rungs.to_vec(),
            rx_entries: interface.ring_entries,
            tx_entries: interface.ring_entries,
            pages: Pages::HugeIfAny,
            busy_poll: (interface.busy_poll_us != 0)
                .then_some(BusyPoll { poll_us: interface.busy_poll_us, budget: interface.busy_poll_budget }),
            steering: Arc::new(Attaching {
                programs: programs.clone(),
                hold: interface.hold,
                limits,
                block: interface.block.clone(),
                allow: interface.allow.clone(),
            }),
        },
        required: interface.require,
    }
}
