//! Churn: an hour of clients that come, subscribe, publish, vanish and leave for good, over one broker that is
//! never restarted. After every round of them the broker must be as empty as it began, and the process must
//! not have grown.

use crate::plan::{Harsh, Plan, Weights};
use crate::world::World;

/// One round, as it stood when everybody had left.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Simulated seconds since the start.
    pub seconds: u64,
    /// Connections opened since the start.
    pub connections: u64,
    /// Messages published since the start.
    pub messages: u64,
    /// Deliveries since the start.
    pub deliveries: u64,
    /// Topics remembered, over all shards.
    pub topics: usize,
    /// Resident memory of the process in KiB, where the system tells.
    pub resident_kib: Option<u64>,
}

fn plan(seed: u64) -> Plan {
    let mut plan = Plan::of_seed(seed);
    plan.shards = 2;
    plan.clients = 30;
    plan.actions = 4_000;
    plan.pause_us_max = 400_000;
    plan.payload_bytes_max = 200;
    plan.retained_before = 0;
    (plan.harsh, plan.exact) = (Harsh::NONE, false);
    plan.weights = Weights {
        publish: 30,
        subscribe: 20,
        unsubscribe: 10,
        ping: 2,
        pause: 2,
        disconnect: 20,
        drop: 10,
        takeover: 5,
        garbage: 1,
        kick: 1,
    };
    plan.settings = pelton_broker::Settings { remembered_topics: 256, ..Default::default() };
    plan
}

/// Resident memory in KiB.
fn resident_kib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Plays rounds until `seconds` of simulated time have passed; `each` sees every round.
///
/// # Errors
/// What was left over, or any other thing the broker did wrong.
pub fn run(seed: u64, seconds: u64, mut each: impl FnMut(&Round)) -> Result<Vec<Round>, String> {
    let mut world = World::new(plan(seed), false);
    let mut rounds: Vec<Round> = Vec::new();
    let (mut messages, mut deliveries) = (0, 0);
    loop {
        let report = world.play()?;
        messages += report.messages as u64;
        deliveries += report.deliveries;
        let round = Round {
            seconds: world.stage.now.as_ms() / 1_000,
            connections: report.connections + rounds.last().map_or(0, |round| round.connections),
            messages,
            deliveries,
            topics: world.cluster.topics(),
            resident_kib: resident_kib(),
        };
        each(&round);
        rounds.push(round);
        if round.seconds >= seconds {
            return Ok(rounds);
        }
        world.begin_again(&format!("round-{}", rounds.len()));
    }
}

/// Whether memory stood still: from a quarter of the rounds on it grew by less than a tenth and 4 MiB.
pub fn is_flat(rounds: &[Round]) -> bool {
    let settled = rounds.get(rounds.len() / 4).and_then(|round| round.resident_kib);
    let last = rounds.last().and_then(|round| round.resident_kib);
    match (settled, last) {
        (Some(settled), Some(last)) => last <= settled + settled / 10 + 4 * 1024,
        _ => true,
    }
}
