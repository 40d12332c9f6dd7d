//! `storage-open`: how long a store with many sessions and retained messages takes to open.
//!
//! ```text
//! cargo run --profile bench -p pelton-benches --bin storage-open -- [DIRECTORY] [SESSIONS] [RETAINED]
//! ```
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Instant;

use pelton_benches::storage::{Bench, open};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mut count = || arguments.next().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let (sessions, retained) = (count(), count());
    let began = Instant::now();
    let bench = Bench::with_sessions_and_retained(&directory, sessions, retained);
    println!(
        "made {sessions} sessions of one subscription each, {retained} retained: {:.1?}",
        began.elapsed()
    );
    let kept = bench.close();
    for round in 1..=3 {
        let began = Instant::now();
        let (engine, ports) = open(&kept);
        let opened = began.elapsed();
        let mut loaded = 0u64;
        let progress = engine.load(|_| loaded += 1, |_| ()).expect("the store can be read");
        println!(
            "round {round}: opened in {:.2} s, {loaded} handed out in {:.2} s ({} sessions, {} subscriptions, {} \
             retained); file {} MB",
            opened.as_secs_f64(),
            (began.elapsed() - opened).as_secs_f64(),
            progress.sessions,
            progress.subscriptions,
            progress.retained,
            std::fs::metadata(engine.file()).map_or(0, |about| about.len()) >> 20,
        );
        drop(ports);
        engine.close();
    }
    let _ = std::fs::remove_dir_all(&kept);
}
