//! Nothing acknowledged is lost: the broker is ended by SIGKILL at random moments under load, and started
//! again on the same port and store.
//!
//! `PELTON_KILLS` says how often (20 unless set), `PELTON_SEED` repeats the moments of a run. A long run:
//! `PELTON_KILLS=200 cargo test -p pelton-tests --test durability -- --nocapture`.
#![forbid(unsafe_code)]

mod link;
mod publisher;
mod retained;
mod run;
mod subscriber;

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

#[test]
fn nothing_acknowledged_is_lost_by_sigkill() {
    let kills = variable("PELTON_KILLS").unwrap_or(20);
    let seed = variable("PELTON_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    run::run(u32::try_from(kills).expect("not that many"), seed);
}
