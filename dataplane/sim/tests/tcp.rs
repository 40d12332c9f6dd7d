//! The whole broker over our TCP, on links that lose, burst, double, reorder, damage, cut off and swallow frames, with
//! ports that run out of frames and room, and clocks that jump: with every `cargo test` many small runs and some of the
//! full size.
//!
//! `PELTON_SEEDS` and `PELTON_FROM` choose other seeds.

use pelton_sim::run;

/// Each of these failed once, at full size; what was wrong then stands in the history of `dataplane/tcp`.
const ONCE_FAILED: [u64; 6] = [16, 27, 29, 58, 61, 70];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn play(seeds: impl Iterator<Item = u64>, clients: usize, messages: u32) {
    let mut failed = Vec::new();
    for seed in seeds {
        if let Err(why) = run::over_tcp(seed, clients, messages, false) {
            failed.push(why);
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn seeds_that_once_failed() {
    play(ONCE_FAILED.into_iter(), 50, 1_000);
}

#[test]
fn a_thousand_seeds_of_a_smaller_size() {
    let from = setting("PELTON_FROM", 1);
    play(from..from + setting("PELTON_SEEDS", 1_000), 6, 40);
}

/// A run is its seed: the same events, whenever it is played.
#[test]
fn a_seed_plays_the_same_run() {
    let reports = [0, 1].map(|_| run::over_tcp(7, 20, 200, false).map(|report| format!("{report:?}")));
    assert_eq!(reports[0], reports[1]);
}
