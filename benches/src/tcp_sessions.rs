//! Millions of MQTT sessions in one process over our TCP: `cargo run --release -p pelton-benches --bin tcp-sessions
//! [SESSIONS]`. One shard on a port in memory; peers that are eight bytes each connect (MQTT 3.1.1, keep-alive, one
//! subscription, a hundred to a filter), then everyone sends a PINGREQ and acknowledges the answer. Prints what a
//! session takes, as the slope of anonymous memory (the peers' own is touched before), connects per second and the
//! cost of a ping. Four millions take 3 GiB and some minutes.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use pelton_benches::tcp::Bench;

fn rss_anon_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|n| n.parse().ok());
    kilobytes.unwrap_or(0u64) * 1024
}

/// Processor time of this process, as of the last tick: other processes do not count.
fn spent_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn main() -> ExitCode {
    let sessions: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(4_000_000);
    let mut bench = Bench::new(sessions, 1 << 14);
    bench.reserve(sessions);
    let start = rss_anon_bytes();
    let steps = 8;
    let mut before = start;
    for step in 1..=steps {
        let begin = spent_ns();
        bench.connect(sessions / steps);
        let spent_ns = spent_ns() - begin;
        let after = rss_anon_bytes();
        println!(
            "{:>8} sessions: {:>4} bytes each for the last {}, {:>4} for all; {:.0} connects per second of processor time, peers' side included",
            step * (sessions / steps),
            after.saturating_sub(before) / u64::from(sessions / steps),
            sessions / steps,
            after.saturating_sub(start) / u64::from(step * (sessions / steps)),
            f64::from(sessions / steps) * 1e9 / spent_ns as f64,
        );
        before = after;
    }
    let sessions = sessions / steps * steps;
    for round in 1..=2 {
        let (mut spent, begin) = (Duration::ZERO, spent_ns());
        let answered = bench.ping_all(|turn| {
            let begin = Instant::now();
            turn();
            spent += begin.elapsed();
        });
        println!(
            "round {round}: {answered} of {sessions} answered; {:.0} ns each by the wall clock, in order of their \
             connecting; {:.0} ns of processor time, peers' side and acknowledgement included",
            spent.as_nanos() as f64 / f64::from(sessions),
            (spent_ns() - begin) as f64 / f64::from(sessions),
        );
        if answered != u64::from(sessions) {
            return ExitCode::FAILURE;
        }
    }
    let usage = bench.usage();
    let grown = rss_anon_bytes().saturating_sub(start) / u64::from(sessions);
    println!("{grown} bytes each after the pings; {usage:?}");
    if usage.connections == sessions as usize { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
