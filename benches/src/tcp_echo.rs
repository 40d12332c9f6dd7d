//! 64 bytes echoed over our TCP and over smoltcp's sockets, in turn, at 1, 100 and 10,000 connections:
//! `cargo run --profile bench -p pelton-benches --bin tcp-echo [CONNECTIONS..]`. The least of the samples, in nanoseconds an
//! echo, its acknowledgement included; making the frames is not timed.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use pelton_base::Rng;
use pelton_benches::tcp::BURST;
use pelton_benches::tcp::echo::{Echo, Echoes, Ours, Smoltcp};

const SAMPLES: usize = 9;
/// How long a sample takes at least.
const SAMPLE: Duration = Duration::from_millis(100);

/// Nanoseconds of one echo.
fn sample<E: Echo>(echoes: &mut Echoes<E>, rng: &mut Rng, connections: u32) -> f64 {
    echoes.greet();
    let (mut spent, mut done) = (Duration::ZERO, 0);
    while spent < SAMPLE {
        // Neighbours from a place at random: no two are alike.
        let burst = connections.min(BURST as u32);
        let first = rng.below(u64::from(connections)) as u32;
        let picked: Vec<u32> = (0..burst).map(|n| (first + n) % connections).collect();
        echoes.round(&picked, &mut |measured| {
            let before = Instant::now();
            measured();
            spent += before.elapsed();
        });
        done += burst;
    }
    spent.as_nanos() as f64 / f64::from(done)
}

fn main() {
    let mut sizes: Vec<u32> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![1, 100, 10_000];
    }
    for size in sizes {
        let mut rng = Rng::with_seed(7);
        let mut ours = Echoes::new(Ours::new(size), size);
        let mut smoltcp = Echoes::new(Smoltcp::new(size), size);
        let (mut least, mut least_of_smoltcp) = (f64::MAX, f64::MAX);
        for _ in 0..SAMPLES {
            least = least.min(sample(&mut ours, &mut rng, size));
            least_of_smoltcp = least_of_smoltcp.min(sample(&mut smoltcp, &mut rng, size));
        }
        println!("{size:>8} connections: ours {least:>9.1}, smoltcp {least_of_smoltcp:>11.1}");
    }
}
