//! Short runs of what the commands `churn` and `fuzz` do at length.

use pelton_sim::{churn, fuzz};

#[test]
fn nothing_grows_over_rounds_of_churn() {
    let rounds = churn::run(1, 240, |_| {}).unwrap_or_else(|why| panic!("{why}"));
    assert!(rounds.len() >= 2 && rounds.iter().all(|round| round.connections > 500), "{rounds:?}");
    // Only what is remembered of topics may stay: 256 a shard.
    assert!(rounds.iter().all(|round| round.topics <= 2 * 256), "{rounds:?}");
}

#[test]
fn damaged_packets_harm_nobody_else() {
    let outcome = fuzz::run(1, 20_000, |_| {}).unwrap_or_else(|why| panic!("{why}"));
    assert!(outcome.packets >= 20_000 && outcome.canary > 100, "{outcome:?}");
    // It went deep: sessions were made, and messages stored and retained.
    assert!(outcome.most.subscriptions > 5 && outcome.most.retained > 5, "{outcome:?}");
}
