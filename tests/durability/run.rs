//! One run: publishers, subscribers, and a broker that is killed again and again.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pelton_base::Rng;
use pelton_mqtt::{QoS, Version};
use pelton_tests::binary::{Pelton, build};
use pelton_tests::scratch::Scratch;

use crate::publisher::{Extent, Publisher, topic};
use crate::retained;
use crate::subscriber::{Habit, Subscriber};

/// Enough for all that is published while a subscriber is away.
const CONFIG: &str = "[queue]\nmessages_max = 100000000\nbytes_max = 4000000000\n";

/// What the clients know of the run.
pub(crate) struct Stage {
    enough: AtomicBool,
    failed: AtomicBool,
    totals: OnceLock<HashMap<String, u64>>,
    until: Instant,
}

impl Stage {
    /// Whether publishers are to come to an end.
    pub(crate) fn is_enough(&self) -> bool {
        self.enough.load(Ordering::SeqCst)
    }

    /// How many messages there are on each topic, once all are acknowledged.
    pub(crate) fn totals(&self) -> Option<&HashMap<String, u64>> {
        self.totals.get()
    }

    /// Panics if the run takes too long: something was promised and does not come. Also if somebody else has found
    /// something wrong.
    pub(crate) fn check_time(&self, who: impl std::fmt::Display) {
        assert!(!self.failed.load(Ordering::SeqCst), "{who} gives up");
        assert!(Instant::now() < self.until, "{who} still waits");
    }
}

/// Ends the publishers when dropped, so that a check that fails ends the run.
struct Enough<'a>(&'a Stage);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.failed.store(std::thread::panicking(), Ordering::SeqCst);
        self.0.enough.store(true, Ordering::SeqCst);
    }
}

const PUBLISHERS: [(&str, Version, QoS, bool); 5] = [
    ("p0", Version::V311, QoS::AtLeastOnce, false),
    ("p1", Version::V5, QoS::AtLeastOnce, false),
    ("p2", Version::V311, QoS::ExactlyOnce, false),
    ("p3", Version::V5, QoS::ExactlyOnce, false),
    ("retains", Version::V5, QoS::AtLeastOnce, true),
];

const SUBSCRIBERS: [(&str, Version, Habit); 3] = [
    ("online", Version::V311, Habit::Online),
    ("visits", Version::V5, Habit::Visits),
    ("away", Version::V311, Habit::Away),
];

/// Where the broker runs, and where it is reached.
pub(crate) trait Site: Sync {
    /// The binary, to be run there.
    fn command(&self, binary: &Path) -> Command;

    /// Where it listens by the kernel's sockets.
    fn bind(&self) -> SocketAddr;

    /// Where the clients find it.
    fn address(&self) -> SocketAddr {
        self.bind()
    }

    /// What it is told besides.
    fn arguments(&self) -> &[&str];

    /// What a kill and everything around it may take on a busy machine.
    fn patience(&self) -> Duration;

    /// When nothing came for so long, all that is retained has come.
    fn quiet(&self) -> Duration;
}

/// Looks at what is retained.
fn look(site: &impl Site, extent: &Extent) {
    if let Err(lost) = retained::check(site.address(), extent, site.quiet()) {
        panic!("the broker runs, and lets nobody look at what is retained: {lost:?}");
    }
}

/// On this host, by kernel sockets.
pub(crate) struct Here(SocketAddr);

impl Here {
    pub(crate) fn new() -> Self {
        // A port that stays free between two brokers: nobody is given it while it was ours a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        Self(free.expect("a port is free"))
    }
}

impl Site for Here {
    fn command(&self, binary: &Path) -> Command {
        Command::new(binary)
    }

    fn bind(&self) -> SocketAddr {
        self.0
    }

    fn arguments(&self) -> &[&str] {
        &["--shards", "2"]
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn quiet(&self) -> Duration {
        Duration::from_millis(200)
    }
}

/// Kills the broker so many times.
pub(crate) fn run(site: &impl Site, kills: u32, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let directory = Scratch::directory();
    let data = directory.path().join("data");
    let config = directory.path().join("pelton.toml");
    std::fs::write(&config, CONFIG).expect("it is ours");
    let binary = build("pelton", "pelton");
    let arguments = [site.arguments(), &["-c", config.to_str().expect("ASCII")]].concat();
    let address = site.address();
    let start = || Pelton::start_by(site.command(&binary), site.bind(), &data, &arguments);

    let began = Instant::now();
    let mut broker = start();
    let extents: [Extent; PUBLISHERS.len()] = Default::default();
    let stage = Stage {
        enough: AtomicBool::new(false),
        failed: AtomicBool::new(false),
        totals: OnceLock::new(),
        until: began + site.patience() * (kills + 20),
    };
    let mut subscribers =
        SUBSCRIBERS.map(|(name, version, habit)| Subscriber::subscribed(name, version, habit, address));
    let again: u64 = std::thread::scope(|scope| {
        let _ends = Enough(&stage);
        let stage = &stage;
        let publishers: Vec<_> = PUBLISHERS
            .iter()
            .zip(&extents)
            .map(|(&(name, version, qos, retains), extent)| {
                let publisher = Publisher::new(name, version, qos, retains, extent);
                scope.spawn(move || publisher.run(address, stage))
            })
            .collect();
        let takers: Vec<_> = subscribers
            .iter_mut()
            .map(|subscriber| {
                let mut rng = rng.fork();
                scope.spawn(move || subscriber.run(address, stage, &mut rng))
            })
            .collect();
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(rng.below(150)));
            broker.kill();
            if rng.chance(200) {
                kill_while_it_starts(site.command(&binary), site.bind(), &data, &arguments, rng.below(60));
            }
            broker = start();
            look(site, &extents[4]);
            assert!(publishers.iter().all(|thread| !thread.is_finished()), "a publisher has ended");
            assert!(takers.iter().all(|thread| !thread.is_finished()), "a subscriber has ended");
        }
        stage.enough.store(true, Ordering::SeqCst);
        for publisher in publishers {
            publisher.join().expect("a publisher found nothing wrong");
        }
        // Who never got through in so short a run has no topic: nobody will have seen it.
        let totals = PUBLISHERS.iter().zip(&extents).filter(|((.., retains), _)| !retains).map(
            |(&(name, _, qos, _), extent)| (topic(qos, name), extent.acknowledged.load(Ordering::SeqCst)),
        );
        let totals = totals.filter(|&(_, acknowledged)| acknowledged != 0);
        stage.totals.set(totals.collect()).expect("it is set once");
        takers.into_iter().map(|taker| taker.join().expect("a subscriber found nothing wrong")).sum()
    });
    look(site, &extents[4]);
    // Once more: what was taken does not come again, what is retained stays.
    broker.kill();
    check_store(&binary, &data);
    broker = start();
    for subscriber in &mut subscribers {
        subscriber.run(address, &stage, &mut rng);
    }
    look(site, &extents[4]);
    drop(broker);
    let published: u64 = extents.iter().map(|extent| extent.acknowledged.load(Ordering::SeqCst)).sum();
    assert!(published > u64::from(kills), "{published} messages: nothing was tested");
    eprintln!(
        "{kills} kills in {:.1} s (seed {seed}): {published} messages published and acknowledged, each taken by {} \
         subscribers; QoS 1 came again {again} times",
        began.elapsed().as_secs_f64(),
        SUBSCRIBERS.len()
    );
}

/// Starts a broker and kills it before anybody can be sure that it listens.
fn kill_while_it_starts(
    mut command: Command,
    bind: SocketAddr,
    data: &Path,
    arguments: &[&str],
    after_ms: u64,
) {
    let mut child = command
        .args(["serve", "--bind", &bind.to_string(), "--data"])
        .arg(data)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary that was just built starts");
    std::thread::sleep(Duration::from_millis(after_ms));
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
}

fn check_store(binary: &Path, data: &Path) {
    let output = Command::new(binary)
        .args(["store", "check", "--data"])
        .arg(data)
        .output()
        .expect("the binary that was just built runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
