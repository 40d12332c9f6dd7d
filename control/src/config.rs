//! What an operator can set, and where it comes from.
//!
//! One table, [`keys::KEYS`], says for every key its section, name, unit, range, default and meaning. The
//! parser, the overrides from the environment, `pelton config dump` and `docs/CONFIG.md` all read that table.
//!
//! Precedence, the later one wins: defaults, the file given with `-c`, `PELTON__SECTION__KEY` variables, options of
//! the command line. No file is read unless it is named.

mod dump;
mod environment;
mod file;
pub(crate) mod interfaces;
pub(crate) mod keys;
mod nearest;
mod problem;
mod rules;
mod value;

use std::net::SocketAddr;
use std::path::Path;

use pelton_base::Patience;
use pelton_broker::Settings;

pub(crate) use dump::dump;
pub(crate) use environment::variable as environment_variable;
pub(crate) use interfaces::Interface;
pub(crate) use problem::Problem;
pub(crate) use rules::RULE_KEYS;

/// Everything that is set.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where to listen.
    pub(crate) listen: Listen,
    /// How long connections put up with silence.
    pub(crate) tcp: Patience,
    /// What is served past the kernel.
    pub(crate) interfaces: Vec<Interface>,
    /// How many cores work, and how.
    pub(crate) shards: Shards,
    /// What the broker is told.
    pub(crate) broker: Settings,
    /// What survives the process.
    pub(crate) storage: Storage,
    /// What the broker says of itself.
    pub(crate) sys: Sys,
    /// How the process ends.
    pub(crate) shutdown: Shutdown,
    /// What is logged, and how.
    pub(crate) log: Log,
}

/// Where to listen.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    /// MQTT over TCP.
    pub(crate) tcp: Vec<SocketAddr>,
}

/// The polling cores.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shards {
    /// How many; 0 for one per core this process may use.
    pub(crate) count: u16,
    /// The core of each; empty to leave it to the system.
    pub(crate) cores: Vec<u16>,
    /// Microseconds to look again and again before sleeping.
    pub(crate) idle_spin_us: u32,
    /// Transparent huge pages.
    pub(crate) huge_pages: bool,
}

/// What survives the process.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    /// What an acknowledgement promises.
    pub(crate) policy: StoragePolicy,
    /// The directory of the store; from the working directory if it is relative.
    pub(crate) path: String,
    /// Address space mapped at first.
    pub(crate) map_bytes: u64,
    /// The largest the store may get.
    pub(crate) bytes_max: u64,
    /// What the broker keeps in memory of it.
    pub(crate) memory: pelton_broker::settings::Storage,
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoragePolicy {
    /// It survives the end of the process and loss of power.
    Commit,
    /// It survives the end of the process; loss of power may undo the last transactions.
    Relaxed,
    /// Nothing: there is no store.
    Memory,
}

/// `$SYS`.
#[derive(Clone, Debug)]
pub(crate) struct Sys {
    /// Seconds between two publications; 0 for none.
    pub(crate) interval_seconds: u32,
}

/// The end of the process.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    /// Longest time from the signal to the end, in milliseconds.
    pub(crate) timeout_ms: u32,
}

/// The log.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The least severe level that is written.
    pub(crate) level: Level,
    /// How a line looks.
    pub(crate) format: Format,
    /// Lines one place in the code may write in ten seconds; 0 for no limit.
    pub(crate) lines_per_place_max: u32,
}

/// How severe a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Listen { tcp: Listen::default_tcp() },
            tcp: Patience::default(),
            interfaces: Vec::new(),
            shards: Shards::default(),
            broker: Settings::default(),
            storage: Storage {
                policy: StoragePolicy::Commit,
                path: "pelton-data".into(),
                map_bytes: 64 << 30,
                bytes_max: 1 << 40,
                memory: pelton_broker::settings::Storage::default(),
            },
            sys: Sys { interval_seconds: 10 },
            shutdown: Shutdown { timeout_ms: 5_000 },
            log: Log { level: Level::Info, format: Format::Text, lines_per_place_max: 20 },
        }
    }
}

impl Listen {
    /// Every interface, IPv4 and IPv6.
    fn default_tcp() -> Vec<SocketAddr> {
        vec![SocketAddr::from(([0; 4], 1883)), SocketAddr::from(([0; 16], 1883))]
    }

    /// Whether nobody chose the addresses: then a host without IPv6 is not an error.
    pub(crate) fn is_default(&self) -> bool {
        self.tcp == Self::default_tcp()
    }
}

impl Shards {
    /// How many shards are to run. The broker's bound is 64.
    pub(crate) fn effective(&self) -> u16 {
        match self.count {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get().min(64) as u16),
            count => count,
        }
    }
}

impl Config {
    /// Reads the file if one is named, and the environment; `options` puts in what the command line says.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first.
    pub(crate) fn load(path: Option<&Path>, options: impl FnOnce(&mut Self)) -> Result<Self, Vec<Problem>> {
        let mut config = Self::default();
        let mut problems = Vec::new();
        if let Some(path) = path {
            match std::fs::read(path) {
                Ok(bytes) => file::apply(&mut config, &path.display().to_string(), &bytes, &mut problems),
                Err(error) => problems.push(Problem::whole_file(path, &format!("cannot read it: {error}"))),
            }
        }
        environment::apply(&mut config, std::env::vars_os(), &mut problems);
        options(&mut config);
        if problems.is_empty() {
            problems = config.contradictions();
        }
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// Keys that are each allowed but do not go together.
    fn contradictions(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |place: &str, text: String| problems.push(Problem::key(place, text));
        if self.listen.tcp.is_empty() {
            add("[listen] tcp", "at least one address is needed".into());
        }
        for (i, address) in self.listen.tcp.iter().enumerate() {
            if address.port() != 0 && self.listen.tcp[..i].contains(address) {
                add("[listen] tcp", format!("{address} is there twice"));
            }
        }
        let (shards, cores) = (usize::from(self.shards.effective()), self.shards.cores.len());
        if cores != 0 && cores != shards {
            add("[shards] cores", format!("{cores} cores for {shards} shards: one for each is needed"));
        }
        for (i, core) in self.shards.cores.iter().enumerate() {
            if self.shards.cores[..i].contains(core) {
                add("[shards] cores", format!("core {core} is there twice"));
            }
        }
        if self.storage.policy != StoragePolicy::Memory && self.storage.path.is_empty() {
            add("[storage] path", "a directory is needed, or policy = \"memory\"".into());
        }
        if self.storage.map_bytes > self.storage.bytes_max {
            add("[storage] map_bytes", "it is larger than bytes_max".into());
        }
        for (place, text) in interfaces::contradictions(&self.interfaces) {
            add(&place, text);
        }
        problems
    }
}
