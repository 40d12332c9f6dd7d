//! Damaged packets by the million: `cargo run --release -p pelton-mqtt --example fuzz -- [seed] [count]`.
//!
//! Panics at the first promise that does not hold, and names the case, which its seed alone reproduces. At the end it
//! says how often each rule was broken, so that a corpus that misses one is seen.

#[path = "../tests/codec/corpus.rs"]
mod corpus;
#[path = "../tests/codec/examine.rs"]
mod examine;
#[path = "../tests/codec/mutate.rs"]
mod mutate;
#[path = "../tests/codec/random.rs"]
mod random;

use pelton_mqtt::{Sender, Version, Violation};

fn main() {
    let mut arguments =
        std::env::args().skip(1).map(|text| text.parse::<u64>().expect("seed and count are numbers"));
    let seed = arguments.next().unwrap_or(1);
    let count = arguments.next().unwrap_or(1_000_000);
    let mut broken = [0u64; Violation::ALL.len()];
    let mut accepted_or_waiting = 0u64;
    for case in 0..count {
        // Each case has a seed of its own: the one that fails runs alone with `-- <its seed> 1`.
        let case_seed = seed.wrapping_add(case);
        let random = &mut random::Random::with_seed(case_seed);
        let (version, mut bytes) = corpus::random_packet(random);
        mutate::mutate(random, &mut bytes);
        let version = if random.below(8) == 0 { Version::ALL[random.below(3)] } else { version };
        let sender = [Sender::Client, Sender::Server, Sender::Either][random.below(3)];
        let outcome = std::panic::catch_unwind(|| examine::examine(sender, version, &bytes));
        match outcome {
            Ok(Some(rule)) => broken[rule.index()] += 1,
            Ok(None) => accepted_or_waiting += 1,
            Err(panic) => {
                eprintln!("seed {case_seed}, version {}, {sender:?}: {bytes:02x?}", version.name());
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{count} cases from seed {seed}: {accepted_or_waiting} accepted or incomplete");
    for (rule, times) in Violation::ALL.iter().zip(broken) {
        println!("{times:10}  {}", rule.name());
    }
}
