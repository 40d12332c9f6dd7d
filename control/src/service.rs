//! The life of the broker: start, run until a signal, end.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use pelton_base::TooBig;
use pelton_ebpf_loader::Dropped;
use pelton_runtime::{Fleet, Refused, Served, StartError};
use pelton_shard::Command;
use tracing::{error, info, warn};

use crate::config::{Config, Problem};
use crate::exit::Exit;
use crate::log::Logging;
use crate::reserved::Reserved;
use crate::signals::{self, Wish};
use crate::store::Store;
use crate::sys::SysTree;
use crate::sys::figures::StorageFigures;
use crate::watch::Watch;
use crate::xdp::Programs;
use crate::{broken, descriptors, log, version};

/// How often the shards' health is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What the shards get beyond the bound on shutting down before they count as stuck.
const GRACE: Duration = Duration::from_secs(2);

/// A broker that runs.
pub(crate) struct Broker {
    /// Its shards.
    pub(crate) fleet: Fleet,
    /// Its store; `None` if nothing is stored.
    pub(crate) store: Option<Store>,
    /// The XDP programs of its interfaces.
    pub(crate) programs: Programs,
}

/// Runs the broker until it is told to stop. `path` is the configuration file, `load` reads it anew, `start` starts
/// the shards.
pub(crate) fn run(
    config: &Config,
    path: Option<&Path>,
    load: impl Fn() -> Result<Config, Vec<Problem>>,
    start: impl Fn(&Config) -> Result<Broker, StartError>,
) -> Exit {
    let logging = log::start(&config.log);
    broken::exit_on_panic();
    info!("pelton {} starts, process {}", version::VERSION, std::process::id());
    match path {
        Some(path) => info!("configuration: {}", path.display()),
        None if Path::new("pelton.toml").exists() => {
            info!(
                "configuration: defaults; pelton.toml in the working directory is read only with -c pelton.toml"
            );
        }
        None => info!("configuration: defaults"),
    }
    say_descriptors(config);
    say_cores(config);
    // Before the first connection: a signal that comes now is obeyed.
    let wishes = match signals::wishes() {
        Ok(wishes) => wishes,
        Err(refused) => {
            error!("cannot receive signals: {refused}");
            return Exit::Refused;
        }
    };
    let Broker { fleet, mut store, programs } = match start_where_possible(config, start) {
        Ok(broker) => broker,
        Err(refused) => {
            error!("{refused}");
            return Exit::Refused;
        }
    };
    let _reserved = reserve_ports(&fleet);
    if store.is_none() {
        info!("storage: none ([storage] policy is memory), nothing survives the process");
    }
    for address in fleet.addresses() {
        info!("listening on {address}");
    }
    for interface in fleet.interfaces() {
        say_interface(interface);
    }
    info!("datapath: kernel sockets (epoll, {} shards)", fleet.len());
    let mut sys = SysTree::new(config.sys.interval_seconds);
    let mut watch = Watch::new();
    loop {
        let stored = || store.as_ref().map_or(StorageFigures::NONE, Store::figures);
        sys.publish_if_due(&fleet, stored, || programs.counts());
        tell_too_big(&fleet, &programs);
        say_dropped(&programs);
        let until = Instant::now() + programs.look().unwrap_or(LOOK);
        match wishes.recv_deadline(sys.due().map_or(until, |due| due.min(until))) {
            Ok(Wish::Reload) => reload(&logging, load()),
            Ok(Wish::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        logging.say_kept_back();
        watch.look_if_due(&fleet);
        if let Some(store) = &mut store {
            store.look();
        }
        if !fleet.is_healthy() {
            error!("a shard has ended: this is a fault of the broker, please report it");
            return Exit::Broken;
        }
    }
    stop(Broker { fleet, store, programs }, Duration::from_millis(config.shutdown.timeout_ms.into()))
}

/// Starts the shards. Nobody chose the default addresses, so a host that lacks IPv6 (or IPv4) is served by the
/// other; addresses that somebody chose must all work.
fn start_where_possible(
    config: &Config,
    start: impl Fn(&Config) -> Result<Broker, StartError>,
) -> Result<Broker, StartError> {
    let refused = match start(config) {
        Err(StartError::Bind(refused)) if config.listen.is_default() && lacks_family(&refused.source) => {
            refused
        }
        outcome => return outcome,
    };
    warn!("{refused}; going on without it");
    let mut config = config.clone();
    let without = |address: &SocketAddr| *address != refused.address;
    config.listen.tcp.retain(without);
    start(&config)
}

/// Whether the system has no addresses of the kind at all.
fn lacks_family(refused: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = Errno::from_io_error(refused);
    matches!(code, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

/// What is served past the kernel.
fn say_interface(interface: &Served) {
    let Served { name, rung, refused, mac, addresses, listen_ports, mtu, up, .. } = interface;
    for Refused { rung, why } in refused {
        warn!("interface {name}: not served by {rung}: {why}");
    }
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let ports: Vec<String> = listen_ports.iter().map(ToString::to_string).collect();
    info!(
        "interface {name} ({rung}): {} at port {}, station {mac}, MTU {mtu}",
        addresses.join(", "),
        ports.join(", ")
    );
    if !up {
        warn!("interface {name} is down, nobody is heard there: ip link set {name} up");
    }
}

/// Keeps the ports that are served by AF_XDP from clients of this host, until it is dropped.
fn reserve_ports(fleet: &Fleet) -> Option<Reserved> {
    let steered = fleet.interfaces().iter().filter(|interface| interface.is_steered);
    let ports: Vec<u16> = steered.flat_map(|interface| interface.listen_ports.iter().copied()).collect();
    if ports.is_empty() {
        return None;
    }
    Reserved::reserve(ports).inspect_err(|refused| warn!("{refused}")).ok()
}

fn say_descriptors(config: &Config) {
    let shards = config.shards.effective();
    let Some(limit) = descriptors::raise() else {
        info!("file descriptors: no limit");
        return;
    };
    let fits = descriptors::connections(limit, shards);
    let wanted = u64::from(config.broker.connections_max) * u64::from(shards);
    let default = pelton_broker::Settings::default().connections_max;
    if fits < wanted && config.broker.connections_max != default {
        warn!(
            "file descriptors: {limit}, enough for {fits} connections; connections_max allows {wanted}: raise the hard \
             limit (LimitNOFILE= of systemd, ulimit -Hn)"
        );
    } else {
        info!("file descriptors: {limit}, enough for {fits} connections");
    }
}

/// Cores that this process may not use: their shards run where the system puts them.
fn say_cores(config: &Config) {
    let Ok(ours) = rustix::thread::sched_getaffinity(None) else { return };
    for &core in &config.shards.cores {
        if !ours.is_set(core.into()) {
            warn!("core {core} is not there or not ours: its shard is not pinned");
        }
    }
}

/// SIGHUP: the level of the log is read again, nothing else.
fn reload(logging: &Logging, loaded: Result<Config, Vec<Problem>>) {
    match loaded {
        Ok(config) => {
            logging.set_level(config.log.level);
            info!("SIGHUP: log level is {:?}; all else takes a restart", config.log.level);
        }
        Err(problems) => {
            for problem in problems {
                error!("SIGHUP: {problem}");
            }
            error!("SIGHUP: the configuration is wrong, nothing was changed");
        }
    }
}

/// Some of what the XDP programs dropped. All of it is in the figures.
fn say_dropped(programs: &Programs) {
    for (interface, dropped) in programs.take_dropped() {
        let Dropped { reason, source, destination, flags, frame_bytes, .. } = dropped;
        let what = reason.name().trim_start_matches("drop_");
        info!(
            "interface {interface}: XDP dropped a frame from {source} to {destination}: {what} (TCP flags {flags:#04x}, \
             {frame_bytes} bytes)"
        );
    }
}

/// Passes on what routers said to the XDP programs: which shard has a connection is known to the shards alone.
fn tell_too_big(fleet: &Fleet, programs: &Programs) {
    for (interface, told) in programs.take_too_big() {
        let interface: Arc<str> = interface.into();
        let segments: Arc<[TooBig]> = told
            .iter()
            .map(|told| TooBig {
                local: told.local,
                remote: told.remote,
                mtu_bytes: told.mtu_bytes,
                sequence: told.sequence,
            })
            .collect();
        for shard in 0..fleet.len() {
            // One whose channel is full hears it again when the segment is sent again.
            fleet.send(shard, Command::TooBig { interface: interface.clone(), segments: segments.clone() });
        }
    }
}

fn stop(Broker { fleet, store, .. }: Broker, limit: Duration) -> Exit {
    let began = Instant::now();
    info!("stopping: clients are told, at most {} ms", limit.as_millis());
    broken::exit_after(limit + GRACE);
    if fleet.shut_down(limit) {
        info!("stopped after {} ms", began.elapsed().as_millis());
    } else {
        warn!(
            "stopped after {} ms: clients that did not take their DISCONNECT were cut off",
            limit.as_millis()
        );
    }
    if let Some(store) = store {
        store.close();
    }
    Exit::Ok
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use pelton_base::HashKey;
    use pelton_broker::Settings;
    use pelton_runtime::{Idle, Plan};
    use pelton_sockets::{Bind, BindError};
    use rustix::io::Errno;

    use super::*;

    fn broker() -> Result<Broker, StartError> {
        let fleet = Fleet::start(&Plan {
            binds: vec![Bind { address: SocketAddr::from(([127, 0, 0, 1], 0)) }],
            interfaces: Vec::new(),
            shards: 1,
            cores: Vec::new(),
            idle: Idle { spin_us: 0 },
            patience: pelton_base::Patience::default(),
            settings: Arc::new(Settings::default()),
            key: HashKey::new(1, 2),
            seed: 3,
        })?;
        Ok(Broker { fleet, store: None, programs: Programs::default() })
    }

    /// Starts where the system has no IPv6; returns what was tried and whether it runs.
    fn without_ipv6(config: &Config, why: Errno) -> (Vec<Vec<SocketAddr>>, bool) {
        let tried = RefCell::new(Vec::new());
        let outcome = start_where_possible(config, |config| {
            tried.borrow_mut().push(config.listen.tcp.clone());
            match config.listen.tcp.iter().find(|address| address.is_ipv6()) {
                Some(&address) => Err(BindError { address, source: why.into() }.into()),
                None => broker(),
            }
        });
        let runs = outcome.map(|broker| broker.fleet.shut_down(Duration::from_secs(5))).is_ok();
        (tried.into_inner(), runs)
    }

    #[test]
    fn a_host_without_ipv6_is_served_by_ipv4_unless_somebody_chose() {
        let config = Config::default();
        let v4 = vec![config.listen.tcp[0]];
        for why in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            assert_eq!(without_ipv6(&config, why), (vec![config.listen.tcp.clone(), v4.clone()], true));
        }
        assert_eq!(without_ipv6(&config, Errno::ADDRINUSE), (vec![config.listen.tcp.clone()], false));
        let mut chosen = config;
        chosen.listen.tcp[0].set_port(1884);
        assert_eq!(without_ipv6(&chosen, Errno::AFNOSUPPORT), (vec![chosen.listen.tcp.clone()], false));
    }
}
