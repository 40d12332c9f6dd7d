//! What each path of our TCP costs in a whole shard: `cargo run --profile bench -p pelton-benches --bin tcp-cost
//! [CONNECTIONS..] [CASE..] [xSAMPLES]`, a case by a part of its name. The median and the least of 15 samples, in
//! nanoseconds for each operation; what makes the frames is not timed. The criterion suite `tcp` measures the same; this
//! takes seconds.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use pelton_benches::tcp::{Bench, Case};

/// Connections of a hot set.
const HOT: u32 = 10_000;
const SAMPLES: usize = 15;
const ROUNDS: u64 = 120;

/// Nanoseconds of one operation.
fn sample(bench: &mut Bench, case: Case) -> f64 {
    let mut spent = Duration::ZERO;
    for _ in 0..ROUNDS {
        bench.round(case, |measured| {
            let before = Instant::now();
            measured();
            spent += before.elapsed();
        });
    }
    spent.as_nanos() as f64 / (ROUNDS * case.operations()) as f64
}

fn main() {
    let (mut sizes, mut names, mut count) = (Vec::new(), Vec::new(), SAMPLES);
    for argument in std::env::args().skip(1) {
        if let Ok(size) = argument.parse::<u32>() {
            sizes.push(size);
        } else if let Some(Ok(samples)) = argument.strip_prefix('x').map(str::parse::<usize>) {
            count = samples.max(1);
        } else {
            names.push(argument);
        }
    }
    let wanted = |case: &Case| names.is_empty() || names.iter().any(|name| case.name().contains(&**name));
    if sizes.is_empty() {
        sizes = vec![HOT];
    }
    for size in sizes {
        let mut bench = Bench::with_peers(size, 1 << 14);
        let mut cookies = Bench::with_peers(HOT.min(size), 0);
        for hot in if size > HOT { vec![HOT, size] } else { vec![size] } {
            for case in Case::ALL.into_iter().filter(wanted) {
                let bench = if case == Case::SynCookie { &mut cookies } else { &mut bench };
                bench.hot = hot.min(bench.connected());
                let mut samples: Vec<f64> = (0..count).map(|_| sample(bench, case)).collect();
                samples.sort_by(f64::total_cmp);
                let name = case.name();
                let (median, least) = (samples[count / 2], samples[0]);
                println!("{size:>8} connections, {hot:>8} active: {name:<32} {median:>8.1} {least:>8.1}");
            }
        }
    }
}
