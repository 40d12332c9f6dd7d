//! One measurement: start a broker, put the load on, kill it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use pelton_load::process::pin_to;
use pelton_load::{Options, Report};

use crate::Arguments;
use crate::brokers::Broker;
use crate::cells::Cell;

/// How long a broker has to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a broker that has figures publishes them, at the least.
const PUBLISHED: Duration = Duration::from_millis(1_200);

/// Ports are taken in turn: one that was just left may be refused.
static PORT: AtomicU16 = AtomicU16::new(0);
const FIRST_PORT: u16 = 18_830;
const PORTS: u16 = 100;

/// What the broker says of itself, by the name of the figure.
pub(crate) type Figures = BTreeMap<String, f64>;

pub(crate) fn measure(
    broker: &Broker,
    cell: &Cell,
    arguments: &Arguments,
) -> Result<(Report, Figures), Box<dyn Error>> {
    let port = FIRST_PORT + PORT.fetch_add(1, Ordering::Relaxed) % PORTS;
    let running = Running::start(broker, port)?;
    let line: Vec<String> = ["pelton-load".to_owned()]
        .into_iter()
        .chain(cell.arguments.iter().cloned())
        .chain(
            [
                format!("--port={port}"),
                format!("--duration={}", arguments.seconds),
                format!("--warmup={}", arguments.warmup),
                format!("--core={}", arguments.core),
                format!("--broker-pid={}", running.child.id()),
            ]
            .map(String::from),
        )
        .chain(broker.thread.iter().map(|thread| format!("--thread={thread}")))
        .chain(["--quiet".to_owned()])
        .collect();
    let report = pelton_load::run(&Options::try_parse_from(line)?)?;
    let figures = figures(broker, port)?;
    drop(running);
    Ok((report, figures))
}

/// What the broker publishes about the whole run.
fn figures(broker: &Broker, port: u16) -> Result<Figures, Box<dyn Error>> {
    if broker.figures.is_empty() {
        return Ok(Figures::new());
    }
    // The last of the run is in them.
    std::thread::sleep(PUBLISHED);
    let topics: Vec<&str> = broker.figures.values().map(String::as_str).collect();
    let found = pelton_load::figures::ask(SocketAddr::from(([127, 0, 0, 1], port)), &topics)?;
    let value = |(name, topic): (&String, &String)| Some((name.clone(), *found.get(topic)?));
    Ok(broker.figures.iter().filter_map(value).collect())
}

/// A broker that is killed when it is not needed any more.
struct Running {
    child: Child,
    folder: PathBuf,
}

impl Running {
    fn start(broker: &Broker, port: u16) -> Result<Self, Box<dyn Error>> {
        let folder = std::env::temp_dir().join(format!("pelton-compare-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let fill = |text: &str| {
            text.replace("{port}", &port.to_string()).replace("{dir}", &folder.display().to_string())
        };
        for (name, text) in &broker.files {
            fs::write(folder.join(name), fill(text))?;
        }
        let output = File::create(folder.join("output"))?;
        // A child runs where its parent runs when it is started.
        pin_to(&broker.cores)?;
        let child = Command::new(fill(&broker.command[0]))
            .args(broker.command[1..].iter().map(|argument| fill(argument)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|error| format!("{}: {error}", broker.command[0]))?;
        let mut running = Self { child, folder };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if running.child.try_wait()?.is_some() || Instant::now() > until {
                let said = fs::read_to_string(running.folder.join("output")).unwrap_or_default();
                let last = said.lines().last().unwrap_or("it said nothing").to_owned();
                return Err(format!("does not listen on port {port}: {last}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // What it does at its start is not measured.
        std::thread::sleep(Duration::from_millis(100));
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
