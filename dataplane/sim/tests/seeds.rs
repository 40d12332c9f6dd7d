//! A fixed set of seeds, played with every `cargo test`, and the seeds that once found something.

use pelton_sim::run;

/// Each of these failed once; what was wrong then stands in the history of `dataplane/broker` and
/// `dataplane/shard`.
const ONCE_FAILED: [u64; 12] = [5, 10, 17, 25, 39, 44, 87, 122, 128, 170, 182, 31998];

fn play(seeds: impl Iterator<Item = u64>) {
    let mut failed = Vec::new();
    for seed in seeds {
        if let Err(why) = run::seed(seed, false) {
            failed.push(why);
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn seeds_that_once_failed() {
    play(ONCE_FAILED.into_iter());
}

#[test]
fn a_fixed_set_of_seeds() {
    play(1..=60);
}

/// The broker is shut down in the middle of the trouble: in the first of these a connection was on its way to a
/// shard that had ended all it knew of.
#[test]
fn shutting_down_comes_to_an_end() {
    let mut failed = Vec::new();
    for seed in [34, 44, 46, 53, 79, 94, 99].into_iter().chain(1..=30) {
        if let Err(why) = run::until_shut_down(seed, false) {
            failed.push(why);
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A run is its seed: the same events, whenever it is played.
#[test]
fn a_seed_plays_the_same_run() {
    let reports = [0, 1].map(|_| run::seed(7, false).map(|report| format!("{report:?}")));
    assert_eq!(reports[0], reports[1]);
}
