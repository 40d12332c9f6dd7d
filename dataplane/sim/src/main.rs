//! The command line of the simulator.
#![forbid(unsafe_code)]

use pelton_sim::hunt::{self, Hunt};
use pelton_sim::{churn, fuzz, plan::Plan, run, world::Report};

const USAGE: &str = "\
usage: pelton-sim seed N [--trace] [--plan] [HOW]  play one seed; --trace says what happens
       pelton-sim hunt --from N --count N [HOW]     play many seeds, stop at ten that fail
       pelton-sim hunt --seeds A..B [HOW]           play them all, whatever fails; --jobs N: by N threads
       pelton-sim churn [--seconds N] [--from N]    an hour of clients that come and go; prints memory
       pelton-sim fuzz [--packets N] [--from N]     damaged packets against live shards, with a canary
HOW: --disk | --disasters | --shut-down
     | --tcp [--shut-down | --disasters] [--clients N] [--messages N]           our TCP below, on bad links; 50 clients, 1,000 messages";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let failed = match words.as_slice() {
        ["seed", number, options @ ..] => play(parse(number), options),
        ["hunt", options @ ..] => hunt::hunt(hunt_options(options), &*how(options).0),
        ["churn", options @ ..] => {
            come_and_go(option(options, "--from", 1), option(options, "--seconds", 3_600))
        }
        ["fuzz", options @ ..] => {
            damage(option(options, "--from", 1), option(options, "--packets", 1_000_000))
        }
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    };
    if failed {
        std::process::exit(1);
    }
}

fn parse(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| {
        eprintln!("{text} is no number\n{USAGE}");
        std::process::exit(2);
    })
}

fn option(options: &[&str], name: &str, default: u64) -> u64 {
    match options.iter().position(|option| *option == name) {
        Some(at) => parse(options.get(at + 1).copied().unwrap_or_default()),
        None => default,
    }
}

type Play = Box<dyn Fn(u64, bool) -> Result<Report, String> + Sync>;

/// How a seed is played, and what it decides.
fn how(options: &[&str]) -> (Play, Box<dyn Fn(Plan) -> Plan>) {
    if options.contains(&"--tcp") && options.contains(&"--disasters") {
        let clients = option(options, "--clients", 8) as usize;
        let messages = option(options, "--messages", 200) as u32;
        let play = move |seed, trace| run::over_tcp_in_disasters(seed, clients, messages, trace);
        (Box::new(play), Box::new(move |plan| plan.over_tcp_in_disasters(clients, messages)))
    } else if options.contains(&"--tcp") {
        let clients = option(options, "--clients", 50) as usize;
        let messages = option(options, "--messages", 1_000) as u32;
        let shut_down = options.contains(&"--shut-down");
        let play = move |seed, trace| {
            if shut_down {
                run::over_tcp_until_shut_down(seed, clients, messages, trace)
            } else {
                run::over_tcp(seed, clients, messages, trace)
            }
        };
        (Box::new(play), Box::new(move |plan| plan.over_tcp(clients, messages)))
    } else if options.contains(&"--disasters") {
        (Box::new(run::in_disasters), Box::new(Plan::in_disasters))
    } else if options.contains(&"--disk") {
        (Box::new(run::on_disk), Box::new(Plan::on_disk))
    } else if options.contains(&"--shut-down") {
        (Box::new(run::until_shut_down), Box::new(|plan| plan))
    } else {
        (Box::new(run::seed), Box::new(|plan| plan))
    }
}

fn play(seed: u64, options: &[&str]) -> bool {
    let (play, plan) = how(options);
    if options.contains(&"--plan") {
        println!("{:#?}", plan(Plan::of_seed(seed)));
    }
    match play(seed, options.contains(&"--trace")) {
        Ok(report) => {
            println!("seed {seed}: {report:?}");
            false
        }
        Err(why) => {
            eprintln!("{why}");
            true
        }
    }
}

fn hunt_options(options: &[&str]) -> Hunt {
    let jobs = option(options, "--jobs", 1).max(1);
    if let Some(at) = options.iter().position(|option| *option == "--seeds") {
        // A long run goes on whatever it finds.
        let (from, to) = options.get(at + 1).and_then(|text| text.split_once("..")).unwrap_or_default();
        return Hunt { from: parse(from), to: parse(to), jobs, failures_max: u64::MAX };
    }
    let from = option(options, "--from", 1);
    Hunt { from, to: from + option(options, "--count", 1_000), jobs, failures_max: 10 }
}

fn come_and_go(seed: u64, seconds: u64) -> bool {
    println!(" seconds  connections    messages  deliveries  topics  resident KiB");
    let played = churn::run(seed, seconds, |round| {
        let resident = round.resident_kib.map_or_else(|| "?".to_owned(), |kib| kib.to_string());
        println!(
            "{:8} {:12} {:11} {:11} {:7} {resident:>13}",
            round.seconds, round.connections, round.messages, round.deliveries, round.topics
        );
    });
    match played {
        Ok(rounds) if churn::is_flat(&rounds) => {
            println!("after every round the broker was empty, and memory stood still");
            false
        }
        Ok(_) => {
            eprintln!("memory grew");
            true
        }
        Err(why) => {
            eprintln!("{why}\n    again: cargo run --release -p pelton-sim -- churn --from {seed}");
            true
        }
    }
}

fn damage(seed: u64, packets: u64) -> bool {
    let played = fuzz::run(seed, packets, |outcome| {
        println!(
            "{} packets, {} connections, canary {}",
            outcome.packets, outcome.connections, outcome.canary
        );
    });
    match played {
        Ok(outcome) => {
            println!("{outcome:?}");
            false
        }
        Err(why) => {
            eprintln!("{why}\n    again: cargo run --release -p pelton-sim -- fuzz --from {seed}");
            true
        }
    }
}
