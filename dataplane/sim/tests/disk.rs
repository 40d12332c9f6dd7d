//! The simulator's seeds with a disk behind the shards: everything that holds without one holds with it.
//!
//! `PELTON_SEEDS` and `PELTON_FROM` choose other seeds.

use pelton_sim::run;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn seeds_with_a_disk() {
    let from = setting("PELTON_FROM", 1);
    let mut failed = Vec::new();
    let mut commits = 0;
    for seed in from..from + setting("PELTON_SEEDS", 30) {
        match run::on_disk(seed, false) {
            Ok(report) => commits += report.commits,
            Err(why) => failed.push(why),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(commits > 500, "{commits} commits: the disk was hardly used");
}
