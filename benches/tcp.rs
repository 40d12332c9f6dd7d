//! Criterion suite of the stage `tcp`: a whole shard over our TCP, at many connections. What makes the frames is not
//! timed.
//!
//! `PELTON_BENCH_TCP=10000,1000000,4000000` says at how many connections (4 million need 4 GiB), `PELTON_BENCH_PAGES` on
//! which pages: `small` or `huge`.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pelton_benches::tcp::pages::{Pages, huge_kib};
use pelton_benches::tcp::{Bench, Case};

/// Connections of a hot set.
const HOT: u32 = 10_000;

fn time(bench: &mut Bench, case: Case, rounds: u64) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..rounds {
        bench.round(case, |measured| {
            let before = Instant::now();
            measured();
            spent += before.elapsed();
        });
    }
    spent
}

fn tcp(criterion: &mut Criterion) {
    let sizes = std::env::var("PELTON_BENCH_TCP").unwrap_or_else(|_| "10000,1000000".to_owned());
    for size in sizes.split(',') {
        let size: u32 = size.trim().parse().expect("numbers of connections");
        let mut bench = Bench::with_peers(size, 1 << 14);
        eprintln!("{size} connections, {}: {} MiB are", Pages::chosen().name(), huge_kib() >> 10);
        let mut cookies = Bench::with_peers(HOT.min(size), 0);
        let picks: &[_] = if size > HOT { &[("hot set", HOT), ("any", size)] } else { &[("any", size)] };
        for &(pick, hot) in picks {
            for case in Case::ALL {
                let alike = matches!(case, Case::SynCookie | Case::SynCache | Case::Idle | Case::OpenClose);
                if alike && pick == "hot set" {
                    continue;
                }
                let mut group = criterion.benchmark_group(format!("tcp/{}", case.name()));
                group.throughput(Throughput::Elements(case.operations()));
                group.sample_size(20).measurement_time(Duration::from_secs(1));
                group.warm_up_time(Duration::from_millis(300));
                let bench = if case == Case::SynCookie { &mut cookies } else { &mut bench };
                bench.hot = hot.min(bench.connected());
                group.bench_function(
                    BenchmarkId::new(format!("{pick}, {}", Pages::chosen().name()), size),
                    |bencher| {
                        bencher.iter_custom(|rounds| time(bench, case, rounds));
                    },
                );
                group.finish();
            }
        }
    }
}

criterion_group!(benches, tcp);
criterion_main!(benches);
