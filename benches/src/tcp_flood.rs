//! A million SYNs a second into a shard over our TCP, with a thousand clients that ping:
//! `cargo run --profile bench -p pelton-benches --bin tcp-flood [SYNS_PER_SECOND]`. Latencies with and without the flood in
//! turn, memory before and after, and clients that connect in the middle of it.
#![forbid(unsafe_code)]

use pelton_benches::tcp::Bench;
use pelton_benches::tcp::flood::{Load, Outcome};
use pelton_benches::tcp::pages::anonymous_kib;

const CLIENTS: u32 = 1_000;
const HALF_OPEN: u32 = 1 << 14;
const PINGS: u64 = 10_000;
const ROUNDS: usize = 5;
const SECONDS: f64 = 1.0;

fn say(what: &str, outcome: &Outcome) {
    println!(
        "{what:<14} p50 {:>7} ns, p99 {:>7} ns, p99.9 {:>7} ns, busy {:>5.1} %, {} SYN-ACKs",
        outcome.quantile(0.5),
        outcome.quantile(0.99),
        outcome.quantile(0.999),
        outcome.busy * 100.0,
        outcome.answers
    );
}

fn main() {
    let syns = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let mut bench = Bench::with_peers(CLIENTS, HALF_OPEN);
    // What is half open then is full.
    bench.under(Load { syns, pings: PINGS }, 0.1);
    assert_eq!(bench.usage().half_open, HALF_OPEN as usize, "cookies from here on");
    let before = anonymous_kib();
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let calm = bench.under(Load { syns: 0, pings: PINGS }, SECONDS);
        let flood = bench.under(Load { syns, pings: PINGS }, SECONDS);
        say("pings alone", &calm);
        say("with the flood", &flood);
        ratios.push(flood.quantile(0.99) as f64 / calm.quantile(0.99) as f64);
    }
    ratios.sort_by(f64::total_cmp);
    println!("p99, flood to none: {:.2} (median of {ROUNDS}, {ratios:.2?})", ratios[ROUNDS / 2]);
    let usage = bench.usage();
    println!("anonymous memory: {before} KiB before, {} KiB after, {usage:?}", anonymous_kib());
    bench.connect(500);
    println!("connected by cookie: {} more", bench.usage().connections - usage.connections);
}
