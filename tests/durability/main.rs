//! Nothing acknowledged is lost: the broker is ended by SIGKILL at random moments under load, and started
//! again on the same port and store.
//!
//! `PELTON_KILLS` says how often (20 unless set), `PELTON_SEED` repeats the moments of a run. A long run:
//! Past the kernel and over a link that loses one frame in fifty, a quarter as often.
//! `PELTON_KILLS=200 cargo test -p pelton-tests --test durability -- --nocapture`.
#![forbid(unsafe_code)]

mod far;
mod link;
mod publisher;
mod retained;
mod run;
mod subscriber;

use pelton_tests::namespace::is_possible;

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

#[test]
fn nothing_acknowledged_is_lost_by_sigkill() {
    let kills = variable("PELTON_KILLS").unwrap_or(20);
    let seed = variable("PELTON_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    run::run(&run::Here::new(), u32::try_from(kills).expect("not that many"), seed);
}

#[test]
fn nothing_acknowledged_is_lost_past_the_kernel() {
    if !is_possible("a broker on AF_XDP that is killed again and again", &["ethtool", "nft"]) {
        return;
    }
    let kills = variable("PELTON_KILLS").unwrap_or(20) / 4;
    let seed = variable("PELTON_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let far = far::Far::new();
    far.run(|| run::run(&far, u32::try_from(kills).expect("not that many"), seed));
}
