//! The command `pelton-load`: options in, a report out.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use pelton_load::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    match pelton_load::run(&options).and_then(|report| {
        if options.json {
            report.write_json(std::io::stdout())?
        } else {
            print!("{report}")
        }
        std::io::stdout().flush()?;
        Ok(())
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pelton-load: {failure}");
            failure.exit_code()
        }
    }
}
