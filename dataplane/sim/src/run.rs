//! A seed's run from outside: what it was like, or how it failed and how to see it again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::plan::Plan;
use crate::world::{Report, World};

/// Plays a seed.
///
/// # Errors
/// What the broker did wrong, a panic included, and the command that plays it again.
pub fn seed(seed: u64, trace: bool) -> Result<Report, String> {
    play(Plan::of_seed(seed), trace, "", World::play)
}

/// Plays a seed until the broker is shut down in the middle of it.
///
/// # Errors
/// As [`seed`].
pub fn until_shut_down(seed: u64, trace: bool) -> Result<Report, String> {
    play(Plan::of_seed(seed), trace, " --shut-down", World::play_until_shut_down)
}

/// Plays a seed over our TCP, with so many clients and about so many messages.
///
/// # Errors
/// As [`seed`].
pub fn over_tcp(seed: u64, clients: usize, messages: u32, trace: bool) -> Result<Report, String> {
    let option = format!(" --tcp --clients {clients} --messages {messages}");
    play(Plan::of_seed(seed).over_tcp(clients, messages), trace, &option, World::play)
}

/// The same until the broker is shut down in the middle of it; the links are bad until then.
///
/// # Errors
/// As [`seed`].
pub fn over_tcp_until_shut_down(
    seed: u64,
    clients: usize,
    messages: u32,
    trace: bool,
) -> Result<Report, String> {
    let option = format!(" --tcp --shut-down --clients {clients} --messages {messages}");
    play(Plan::of_seed(seed).over_tcp(clients, messages), trace, &option, World::play_until_shut_down)
}

/// Plays a seed over our TCP with a disk behind the shards, through the ends of processes, losses of power, faults of the
/// disk and jumps of the clock.
///
/// # Errors
/// As [`seed`].
pub fn over_tcp_in_disasters(
    seed: u64,
    clients: usize,
    messages: u32,
    trace: bool,
) -> Result<Report, String> {
    let option = format!(" --tcp --disasters --clients {clients} --messages {messages}");
    play(Plan::of_seed(seed).over_tcp_in_disasters(clients, messages), trace, &option, World::play)
}

/// Plays a seed with a disk behind the shards.
///
/// # Errors
/// As [`seed`].
pub fn on_disk(seed: u64, trace: bool) -> Result<Report, String> {
    play(Plan::of_seed(seed).on_disk(), trace, " --disk", World::play)
}

/// Plays a seed with a disk behind the shards, through the ends of processes, losses of power, faults of the disk
/// and jumps of the clock.
///
/// # Errors
/// As [`seed`].
pub fn in_disasters(seed: u64, trace: bool) -> Result<Report, String> {
    play(Plan::of_seed(seed).in_disasters(), trace, " --disasters", World::play)
}

fn play(
    plan: Plan,
    trace: bool,
    option: &str,
    how: impl FnOnce(&mut World) -> Result<Report, String>,
) -> Result<Report, String> {
    let seed = plan.seed;
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(plan, trace);
        how(&mut world).map_err(|why| {
            let at = world.stage.now.0 as f64 / 1e9;
            let dropped = world.cluster.tally().dropped;
            format!("{why} (at {at:.6} s, step {}, dropped {dropped:?})", world.stage.step)
        })
    }));
    let why = match played {
        Ok(Ok(report)) => return Ok(report),
        Ok(Err(why)) => why,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            format!("panic: {text}")
        }
    };
    Err(format!(
        "seed {seed}: {why}\n    again: cargo run --release -p pelton-sim -- seed {seed}{option} --trace"
    ))
}
