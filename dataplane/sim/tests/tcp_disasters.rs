//! The broker over our TCP on bad links, with a disk: its process is killed or loses its power and begins again, with
//! stacks that know nothing of the connections there were; the disk is full or fails.
//! `cargo run --profile bench -p pelton-sim -- hunt --tcp --disasters --seeds 1..5001` plays many more.
//!
//! `PELTON_SEEDS` and `PELTON_FROM` choose other seeds.

use pelton_sim::run;
use pelton_sim::world::Report;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn processes_end_over_tcp() {
    let (from, count) = (setting("PELTON_FROM", 1), setting("PELTON_SEEDS", 80));
    let mut failed = Vec::new();
    let mut sum = Report::default();
    for seed in from..from + count {
        match run::over_tcp_in_disasters(seed, 8, 200, false) {
            Ok(report) => {
                sum.crashes += report.crashes;
                sum.undone += report.undone;
                sum.faults += report.faults;
                sum.deliveries += report.deliveries;
                sum.tcp.merge(&report.tcp);
            }
            Err(why) => failed.push(why),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // It was as bad as it was meant to be.
    assert!(sum.crashes > count && sum.faults > count / 4, "{sum:?}");
    assert!(sum.deliveries > 20 * count && sum.tcp.get("resets_out") > count, "{sum:?}");
}

/// The broker is shut down while the links are bad: every connection comes to its end.
#[test]
fn the_broker_is_shut_down_over_tcp() {
    let failed: Vec<String> =
        (1..=60).filter_map(|seed| run::over_tcp_until_shut_down(seed, 50, 1_000, false).err()).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A run is its seed, the ends of processes included.
#[test]
fn a_seed_plays_the_same_run() {
    let reports =
        [0, 1].map(|_| run::over_tcp_in_disasters(6, 8, 200, false).map(|report| format!("{report:?}")));
    assert_eq!(reports[0], reports[1]);
}
