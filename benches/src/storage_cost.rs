//! `storage-cost`: processor time of the storage per durable message, messages a second, bytes written and how
//! long a commit takes, for several kinds of load in one run.
//!
//! ```text
//! cargo run --profile bench -p pelton-benches --bin storage-cost -- [DIRECTORY] [MESSAGES] [PART OF A NAME]
//! ```
#![forbid(unsafe_code)]

use std::path::PathBuf;

use pelton_benches::storage::{Bench, Cost, Load};
use pelton_storage_lmdb::{Policy, StoreEvent};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let messages = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(500_000);
    let only = arguments.next().unwrap_or_default();
    println!("messages a case: {messages}; store in {}", directory.display());
    println!(
        "{:42} {:>9} {:>8} {:>7} {:>9} {:>8} {:>8} {:>8}",
        "load", "msg/s", "cpu us", "B/msg", "commit ms", "p50 ms", "p99 ms", "msg/txn"
    );
    let few = |payload| Load { payload, sessions: 100, run: 1, done_after: 0 };
    let cases = [
        ("64 B, 100 sessions away", Policy::Commit, few(64)),
        ("256 B, 100 sessions away", Policy::Commit, few(256)),
        ("64 B, relaxed", Policy::Relaxed, few(64)),
        ("64 B, done after 50,000 more", Policy::Commit, Load { done_after: 50_000, ..few(64) }),
        ("64 B, done before the writer came", Policy::Commit, Load { done_after: u64::MAX, ..few(64) }),
        ("64 B, a session per message (100,000)", Policy::Commit, Load { sessions: 100_000, ..few(64) }),
        ("256 B, a session per message (100,000)", Policy::Commit, Load { sessions: 100_000, ..few(256) }),
    ];
    for (name, policy, load) in cases.into_iter().filter(|(name, ..)| name.contains(&only)) {
        let mut bench = Bench::new(&directory, policy, load.sessions);
        bench.send(load, messages / 10);
        let cost = bench.send(load, messages);
        line(name, &cost);
    }
    if "64 B, one at a time".contains(&only) {
        let mut bench = Bench::new(&directory, Policy::Commit, 100);
        line("64 B, one at a time", &bench.ping(few(64), 500));
    }
}

fn line(name: &str, cost: &Cost) {
    let transactions = cost.count(StoreEvent::Transactions);
    println!(
        "{name:42} {:>9.0} {:>8.3} {:>7.1} {:>9.2} {:>8.2} {:>8.2} {:>8.0}",
        cost.messages as f64 / cost.wall.as_secs_f64(),
        cost.cpu_us(),
        cost.count(StoreEvent::SegmentBytesWritten) as f64 / cost.messages as f64,
        cost.count(StoreEvent::CommitMicros) as f64 / 1e3 / transactions as f64,
        cost.latency(0.5).as_secs_f64() * 1e3,
        cost.latency(0.99).as_secs_f64() * 1e3,
        cost.messages as f64 / transactions as f64,
    );
}
