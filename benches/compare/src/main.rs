//! The command `pelton-compare`: the same cells of load against several brokers, in turn, and a table of the ratios.
//!
//! Every measurement has a broker of its own, started on its core and killed afterwards; the generator runs in this
//! process on another core. Brokers take turns within each cell, so that what else the machine does meets all of them.
//! What is known of a broker is what its entry in the configuration says.
#![forbid(unsafe_code)]

mod brokers;
mod cells;
mod durable;
mod machine;
mod measure;
mod results;
mod table;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use brokers::Brokers;
use cells::{Cell, cells};
use machine::Machine;
use results::Results;

/// Measures brokers beside each other, in turn, and tells the ratios.
#[derive(Clone, Debug, Parser)]
#[command(name = "pelton-compare", version)]
struct Arguments {
    /// Which brokers: a TOML file, see benches/compare/README.md.
    brokers: PathBuf,
    /// Runs of every cell and broker; the table has their medians.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds measured in a run.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds of load before them.
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
    /// Core of the generator.
    #[arg(long, default_value_t = 1)]
    core: usize,
    /// Only cells whose name contains this; may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// Name the cells and do nothing.
    #[arg(long)]
    list: bool,
    /// Writes FILE.md and FILE.json.
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pelton-compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let brokers = Brokers::load(&arguments.brokers)?;
    let cells: Vec<Cell> = cells(brokers.suite)
        .into_iter()
        .filter(|cell| {
            arguments.only.is_empty() || arguments.only.iter().any(|part| cell.name.contains(part))
        })
        .collect();
    if arguments.list || cells.is_empty() {
        for cell in &cells {
            println!("{:32} pelton-load {}", cell.name, cell.arguments.join(" "));
        }
        return if cells.is_empty() { Err("no cell has such a name".into()) } else { Ok(()) };
    }
    let mut results = Results::new(Machine::look(), &brokers, &cells, arguments.core);
    for round in 0..arguments.runs {
        for (number, cell) in cells.iter().enumerate() {
            for turn in 0..brokers.list.len() {
                // Nobody is always the first.
                let broker = (turn + round + number) % brokers.list.len();
                if !brokers.list[broker].runs(&cell.name) {
                    continue;
                }
                match measure::measure(&brokers.list[broker], cell, arguments) {
                    Ok((report, figures)) => {
                        eprintln!(
                            "run {} of {}, {:32} {:12} {}",
                            round + 1,
                            arguments.runs,
                            cell.name,
                            brokers.list[broker].name,
                            results::brief(&report)
                        );
                        results.add(number, broker, report, figures);
                    }
                    Err(error) => {
                        eprintln!("{}, {}: {error}", cell.name, brokers.list[broker].name);
                        results.add_failure(number, broker, error.to_string());
                    }
                }
            }
        }
        // What there is so far is not lost with an interrupted run.
        if let Some(out) = &arguments.out {
            results.write(out)?;
        }
    }
    print!("{}", table::markdown(&results));
    Ok(())
}
