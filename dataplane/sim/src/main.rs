//! The command line of the simulator.
#![forbid(unsafe_code)]

use pelton_sim::{plan::Plan, run};

const USAGE: &str = "\
usage: pelton-sim seed N [--trace] [--plan]     play one seed; --trace says what happens
       pelton-sim hunt --from N --count N       play many seeds, stop at ten that fail";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let failed = match words.as_slice() {
        ["seed", number, options @ ..] => play(parse(number), options),
        ["hunt", options @ ..] => hunt(option(options, "--from", 1), option(options, "--count", 1_000)),
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

fn play(seed: u64, options: &[&str]) -> bool {
    if options.contains(&"--plan") {
        println!("{:#?}", Plan::of_seed(seed));
    }
    match run::seed(seed, options.contains(&"--trace")) {
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

fn hunt(from: u64, count: u64) -> bool {
    let (mut failures, mut steps, mut messages, mut deliveries, mut ms) = (0, 0, 0, 0, 0);
    let mut played = 0;
    for seed in from..from + count {
        played += 1;
        match run::seed(seed, false) {
            Ok(report) => {
                steps += report.steps;
                messages += report.messages;
                deliveries += report.deliveries;
                ms += report.ms;
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
    failures != 0
}
