//! Seeds in which the broker's process is killed, power is lost, the disk is full or fails, and the clock jumps.
//! `cargo run --profile bench -p pelton-sim -- hunt --from 1 --count 5000 --disasters` plays many more.
//!
//! `PELTON_SEEDS` and `PELTON_FROM` choose other seeds.

use pelton_sim::run;
use pelton_sim::world::Report;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Plays a third of the seeds; the thirds are played side by side.
fn play(third: u64) {
    let count = setting("PELTON_SEEDS", 330) / 3;
    let from = setting("PELTON_FROM", 1) + third * count;
    let mut failed = Vec::new();
    let mut sum = Report::default();
    for seed in from..from + count {
        match run::in_disasters(seed, false) {
            Ok(report) => {
                sum.crashes += report.crashes;
                sum.undone += report.undone;
                sum.faults += report.faults;
                sum.jumps += report.jumps;
                sum.deliveries += report.deliveries;
            }
            Err(why) => failed.push(why),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // It was as bad as it was meant to be.
    assert!(sum.crashes > count && sum.faults > count / 2 && sum.jumps > count / 10, "{sum:?}");
    assert!(sum.undone > count / 10 && sum.deliveries > 50 * count, "{sum:?}");
}

#[test]
fn the_first_third() {
    play(0);
}

#[test]
fn the_second_third() {
    play(1);
}

#[test]
fn the_last_third() {
    play(2);
}

/// Each of these failed once: a will that was lost because its client was back before a timer ran (38, 183), was not
/// stored where it went while its session was stored without it (1232, 2187), or waited for a clock that had been
/// set back (2014). In 8363 a message of a group ends with the session of the member that has it, as it may.
#[test]
fn seeds_that_once_failed() {
    let failed: Vec<String> = [38, 183, 1232, 2014, 2187, 8363]
        .into_iter()
        .filter_map(|seed| run::in_disasters(seed, false).err())
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A run is its seed, disasters included.
#[test]
fn a_seed_plays_the_same_run() {
    let reports = [0, 1].map(|_| run::in_disasters(6, false).map(|report| format!("{report:?}")));
    assert_eq!(reports[0], reports[1]);
}
