//! A broker for one test: in this process, on a port of the system's choice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pelton_base::{Counters, HashKey};
use pelton_broker::Settings;
use pelton_broker::counters::{Dropped, Ended};
use pelton_mqtt::Version;
use pelton_runtime::{Fleet, Idle, Plan};
use pelton_shard::Snapshot;
use pelton_sockets::Bind;

use crate::client::Client;

/// What happens on other shards is seen after this at the latest.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Broker {
    fleet: Fleet,
    pub(crate) address: SocketAddr,
}

impl Broker {
    /// Two shards: a client and its publisher may sit on different ones.
    pub(crate) fn start(settings: Settings) -> Self {
        let plan = Plan {
            binds: vec![Bind { address: SocketAddr::from(([127, 0, 0, 1], 0)) }],
            interfaces: Vec::new(),
            shards: 2,
            cores: Vec::new(),
            idle: Idle { spin_us: 0 },
            patience: pelton_base::Patience::default(),
            settings: Arc::new(settings),
            key: HashKey::new(1, 2),
            seed: 3,
        };
        let fleet = Fleet::start(&plan).expect("a port of the system's choice is free");
        let address = fleet.addresses()[0];
        Self { fleet, address }
    }

    /// With the settings of an empty configuration.
    pub(crate) fn plain() -> Self {
        Self::start(Settings::default())
    }

    /// A client with a session that ends with its connection.
    pub(crate) fn client(&self, version: Version, client_id: &str) -> Client {
        Client::connect(self, version, client_id, true)
    }

    /// Waits until so many connections have ended for a reason.
    pub(crate) fn wait_ended(&self, why: Ended, count: u64) {
        self.wait(&format!("{count} ended by {why:?}"), |all| {
            all.iter().map(|shard| shard.tally.ended.get(why)).sum::<u64>() == count
        });
    }

    /// Waits until a connection has ended that is not among those seen, and returns why it did.
    pub(crate) fn why_ended(&self, seen: &mut Counters<Ended>) -> Vec<&'static str> {
        let all = || {
            let mut ended = Counters::default();
            self.fleet.snapshots(LIMIT).iter().for_each(|shard| ended.merge(&shard.tally.ended));
            ended
        };
        let before = seen.total();
        self.wait("a connection ended", |_| all().total() > before);
        let now = all();
        let new = now.iter().zip(seen.iter()).filter(|((_, now), (_, before))| now > before);
        let names = new.map(|((name, _), _)| name).collect();
        *seen = now;
        names
    }

    /// Waits until so many messages have been dropped for a reason.
    pub(crate) fn wait_dropped(&self, why: Dropped, count: u64) {
        self.wait(&format!("{count} dropped for {why:?}"), |all| {
            all.iter().map(|shard| shard.tally.dropped.get(why)).sum::<u64>() == count
        });
    }

    /// Waits until there are so many sessions, connected or not.
    pub(crate) fn wait_sessions(&self, count: usize) {
        self.wait(&format!("{count} sessions"), |all| {
            all.iter().map(|shard| shard.sessions).sum::<usize>() == count
        });
    }

    /// Waits until so many clients are connected.
    pub(crate) fn wait_online(&self, count: usize) {
        self.wait(&format!("{count} online"), |all| {
            all.iter().map(|shard| shard.sessions_online).sum::<usize>() == count
        });
    }

    fn wait(&self, what: &str, holds: impl Fn(&[Snapshot]) -> bool) {
        let until = Instant::now() + LIMIT;
        loop {
            let snapshots = self.fleet.snapshots(Duration::from_secs(5));
            if holds(&snapshots) {
                return;
            }
            assert!(Instant::now() < until, "{what} did not come to be: {snapshots:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Shuts down as SIGTERM does.
    pub(crate) fn shut_down(self) {
        assert!(self.fleet.shut_down(Duration::from_secs(5)), "shutting down took too long");
    }
}
