//! The command line of the simulator.
#![forbid(unsafe_code)]

use pelton_sim::{churn, fuzz, plan::Plan, run, world::Report};

const USAGE: &str = "\
usage: pelton-sim seed N [--trace] [--plan] [HOW]  play one seed; --trace says what happens
       pelton-sim hunt --from N --count N [HOW]     play many seeds, stop at ten that fail
       pelton-sim churn [--seconds N] [--from N]    an hour of clients that come and go; prints memory
       pelton-sim fuzz [--packets N] [--from N]     damaged packets against live shards, with a canary
HOW: --disk | --disasters | --shut-down
     | --tcp [--clients N] [--messages N]           our TCP below, on bad links; 50 clients, 1,000 messages";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let failed = match words.as_slice() {
        ["seed", number, options @ ..] => play(parse(number), options),
        ["hunt", options @ ..] => {
            hunt(option(options, "--from", 1), option(options, "--count", 1_000), &how(options).0)
        }
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

type Play = Box<dyn Fn(u64, bool) -> Result<Report, String>>;

/// How a seed is played, and what it decides.
fn how(options: &[&str]) -> (Play, Box<dyn Fn(Plan) -> Plan>) {
    if options.contains(&"--tcp") {
        let clients = option(options, "--clients", 50) as usize;
        let messages = option(options, "--messages", 1_000) as u32;
        let play = move |seed, trace| run::over_tcp(seed, clients, messages, trace);
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

fn hunt(from: u64, count: u64, play: &Play) -> bool {
    let (mut failures, mut steps, mut messages, mut deliveries, mut ms) = (0, 0, 0, 0, 0);
    let (mut crashes, mut undone, mut faults, mut jumps) = (0, 0, 0, 0);
    let mut played = 0;
    for seed in from..from + count {
        played += 1;
        match play(seed, false) {
            Ok(report) => {
                steps += report.steps;
                messages += report.messages;
                deliveries += report.deliveries;
                ms += report.ms;
                crashes += report.crashes;
                undone += report.undone;
                faults += report.faults;
                jumps += report.jumps;
            }
            Err(why) => {
                eprintln!("{why}");
                failures += 1;
                if failures == 10 {
                    break;
                }
            }
        }
        if played % 1_000 == 0 {
            println!("{played} seeds, {failures} failed, {steps} events, {deliveries} deliveries");
        }
    }
    println!(
        "{played} seeds from {from}: {failures} failed; {steps} events, {messages} messages, \
         {deliveries} deliveries, {} simulated hours",
        ms / 3_600_000
    );
    if crashes + faults + jumps != 0 {
        println!(
            "{crashes} processes ended, {undone} transactions undone, {faults} faults of the disk, {jumps} jumps of the clock"
        );
    }
    failures != 0
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
