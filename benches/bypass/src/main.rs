//! The command `pelton-bypass`.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use pelton_afxdp::{Pages, Settings, XdpPort};
use pelton_base::Mono;
use pelton_bypass::device::{Device, rest};
use pelton_bypass::ends::addresses;
use pelton_bypass::flood::Flood;
use pelton_bypass::{Crowd, Ends, Wants};
use pelton_load::process::Process;
use pelton_mqtt::QoS;
use pelton_packet::Interface;
use pelton_tcp::Tcp;

/// Puts load on an MQTT broker past the kernel: clients on a TCP of their own over AF_XDP, or a flood of SYNs.
///
/// The interface belongs to the generator while it runs: every TCP frame that arrives on it is taken. It needs root,
/// and the kernel must have an address on the interface's network, to find the broker's Ethernet address.
#[derive(Debug, Parser)]
#[command(name = "pelton-bypass", disable_version_flag = true)]
struct Options {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Opens connections, keeps them alive, and has clients publish to each other.
    Hold(Hold),
    /// Sends SYNs.
    Flood(FloodOptions),
}

#[derive(Debug, Args)]
struct DeviceOptions {
    /// The interface.
    #[arg(short, long)]
    interface: String,
    /// Its receive queues, all of them.
    #[arg(long, default_value_t = 1)]
    queues: u32,
    /// Attach behind the driver.
    #[arg(long)]
    generic: bool,
    /// The broker: its first address.
    #[arg(short = 'h', long = "broker")]
    broker: Ipv4Addr,
    /// The broker's port.
    #[arg(short, long, default_value_t = 1883)]
    port: u16,
    /// Source addresses: one, or a prefix.
    #[arg(short, long)]
    sources: String,
    /// Entries of the rings.
    #[arg(long, default_value_t = 8192)]
    ring: u32,
}

#[derive(Debug, Args)]
struct Hold {
    #[command(flatten)]
    device: DeviceOptions,
    /// How many addresses the broker has, from the first one up.
    #[arg(long, default_value_t = 1)]
    broker_addresses: u32,
    /// Clients.
    #[arg(short = 'n', long, default_value_t = 1000)]
    clients: u32,
    /// Source addresses that are used of a prefix.
    #[arg(long, default_value_t = 256)]
    sources_max: usize,
    /// Connections being opened at the same time.
    #[arg(long, default_value_t = 512)]
    opening: u32,
    /// Connections begun per second; 0 for as many as there can be.
    #[arg(long, default_value_t = 0)]
    connects: u32,
    /// Keep-alive in seconds; pings are sent at half of it.
    #[arg(short, long, default_value_t = 120)]
    keepalive: u16,
    /// Each client subscribes to a topic of its own.
    #[arg(long)]
    subscribe: bool,
    /// Messages per second, all clients together (each to the topic of a random client).
    #[arg(long, default_value_t = 0)]
    messages: u32,
    /// Their QoS: 0 or 1.
    #[arg(short, long, default_value_t = 0)]
    qos: u8,
    /// Their payload, bytes.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Seconds everything is held, once all connections are open.
    #[arg(short, long, default_value_t = 10.0)]
    duration: f64,
    /// The broker's process, to read its CPU time and memory.
    #[arg(long)]
    broker_pid: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct FloodOptions {
    #[command(flatten)]
    device: DeviceOptions,
    /// SYNs per second; 0 for as many as there can be.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Seconds.
    #[arg(short, long, default_value_t = 5.0)]
    duration: f64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.scenario {
        Scenario::Hold(hold) => run_hold(hold),
        Scenario::Flood(flood) => run_flood(flood),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("pelton-bypass: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The clock everything is driven by.
struct Clock(Instant);

impl Clock {
    fn now(&self) -> Mono {
        Mono(self.0.elapsed().as_nanos() as u64)
    }
}

fn open(options: &DeviceOptions) -> Result<Device, String> {
    let settings = Settings {
        rx_entries: options.ring,
        tx_entries: options.ring,
        pages: Pages::HugeIfAny,
        ..Settings::new(options.interface.clone(), (0..options.queues).collect())
    };
    if !options.ring.is_power_of_two() {
        return Err("--ring takes a power of two".into());
    }
    Device::open(&settings, options.generic, options.broker)
}

fn wants(hold: &Hold) -> Result<Wants, String> {
    let qos = match hold.qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => return Err("--qos takes 0 or 1".into()),
    };
    if hold.messages != 0 && !hold.subscribe {
        return Err("--messages needs --subscribe: nobody would get them".into());
    }
    Ok(Wants {
        clients: hold.clients,
        opening_max: hold.opening.max(1),
        connects_per_second: hold.connects,
        keep_alive_s: hold.keepalive,
        subscribe: hold.subscribe.then_some(qos),
        messages_per_second: hold.messages,
        qos,
        payload_bytes: hold.size,
    })
}

/// Whether every client was there to the end.
fn run_hold(hold: &Hold) -> Result<bool, String> {
    let wants = wants(hold)?;
    let sources = addresses(&hold.device.sources, hold.sources_max)?;
    let first = u32::from(hold.device.broker);
    let broker = (0..hold.broker_addresses.max(1))
        .map(|n| SocketAddr::new(Ipv4Addr::from(first + n).into(), hold.device.port))
        .collect();
    let ends = Ends::new(broker, sources.clone(), hold.clients)?;
    let process = match hold.broker_pid {
        Some(pid) => Some(Process::of(pid).map_err(|error| error.to_string())?),
        None => None,
    };
    let memory =
        |process: &Option<Process>| process.as_ref().and_then(|process| process.anonymous_bytes().ok());
    let cpu = |process: &Option<Process>| process.as_ref().and_then(|process| process.cpu_time().ok());
    let Device { port, program, link } = open(&hold.device)?;
    let clock = Clock(Instant::now());
    let interface = Interface { mac: link.source, addresses: sources.into_iter().map(Into::into).collect() };
    let settings = pelton_tcp::Settings {
        connections_max: hold.clients + 1024,
        half_open_max: 1,
        // Small windows are enough for what a client gets.
        receive_window_bytes: 16 * 1024,
        receive_window_max_bytes: 0,
        ..pelton_tcp::Settings::default()
    };
    let seed = std::process::id().into();
    let tcp = Tcp::new(port, interface, &[], settings, seed, clock.now());
    let mut crowd = Crowd::new(tcp, link, ends, wants, seed, clock.now());
    let bytes_before = memory(&process);
    let cpu_before = cpu(&process);

    let mut said = Instant::now();
    let opened = Instant::now();
    while !crowd.is_open() {
        step(&mut crowd, &clock);
        if said.elapsed() > Duration::from_secs(5) {
            said = Instant::now();
            eprintln!("{} of {} clients are ready, {:?}", crowd.counts.ready, hold.clients, crowd.counts);
        }
    }
    let open_s = opened.elapsed().as_secs_f64();
    let (cpu_open, bytes_open) = (cpu(&process), memory(&process));
    let open_counts = crowd.counts;

    crowd.hold();
    crowd.ping_times.clear();
    let held = Instant::now();
    while held.elapsed().as_secs_f64() < hold.duration {
        step(&mut crowd, &clock);
    }
    let held_s = held.elapsed().as_secs_f64();
    let (cpu_held, bytes_held) = (cpu(&process), memory(&process));
    drop(program);

    let counts = crowd.counts;
    let seconds = |from: Option<_>, to: Option<pelton_load::process::CpuTime>| {
        Some(to?.since(from?).total_ns as f64 / 1e9)
    };
    let per_client =
        |bytes: Option<u64>| Some((bytes? as f64 - bytes_before? as f64) / f64::from(hold.clients));
    let report = serde_json::json!({
        "clients": hold.clients,
        "ready_after_opening": open_counts.ready,
        "opening_s": open_s,
        "connects_per_s": f64::from(open_counts.ready) / open_s,
        "broker_cpu_us_per_connect":
            seconds(cpu_before, cpu_open).map(|s| s * 1e6 / f64::from(open_counts.ready.max(1))),
        "broker_bytes_per_client": per_client(bytes_open),
        "broker_bytes_per_client_held": per_client(bytes_held),
        "held_s": held_s,
        "broker_cores_held": seconds(cpu_open, cpu_held).map(|s| s / held_s),
        "ready": counts.ready, "refused": counts.refused, "failed": counts.failed, "lost": counts.lost,
        "pings": counts.pings, "pongs": counts.pongs, "pings_missed": counts.missed,
        "published": counts.published, "acknowledged": counts.acknowledged,
        "delivered": counts.delivered, "skipped": counts.skipped, "strange": counts.strange,
        "connect": crowd.connect_times.summary().map(|s| s.to_json()),
        "ping": crowd.ping_times.summary().map(|s| s.to_json()),
        "message": crowd.message_times.summary().map(|s| s.to_json()),
    });
    if hold.json {
        println!("{report}");
    } else {
        println!("{report:#}");
    }
    Ok(counts.ready == hold.clients && counts.missed == 0)
}

fn step(crowd: &mut Crowd<XdpPort>, clock: &Clock) {
    let busy = crowd.turn(clock.now());
    if !busy && crowd.next_timeout().is_none_or(|at| at.0 > clock.now().0 + 1_000_000) {
        rest(crowd.tcp().port());
    }
}

fn run_flood(options: &FloodOptions) -> Result<bool, String> {
    let sources = addresses(&options.device.sources, usize::MAX >> 40)?;
    let target = SocketAddrV4::new(options.device.broker, options.device.port);
    let Device { port, program, link } = open(&options.device)?;
    let count = sources.len() as u32;
    let mut flood = Flood::new(port, link, target, sources[0], count, std::process::id().into());
    let clock = Clock(Instant::now());
    let mut taken = 0;
    while clock.0.elapsed().as_secs_f64() < options.duration {
        let due = match options.rate {
            0 => u64::MAX,
            rate => ((clock.0.elapsed().as_secs_f64() * rate as f64) as u64).saturating_sub(taken),
        };
        let now = flood.turn(clock.now(), due);
        taken += now;
        if now == 0 {
            rest(flood.port());
        }
    }
    drop(program);
    let seconds = clock.0.elapsed().as_secs_f64();
    println!("{}", serde_json::json!({ "syns": taken, "seconds": seconds, "per_s": taken as f64 / seconds }));
    Ok(true)
}
