//! `docs/CLI.md`.

use clap::CommandFactory;

use crate::cli::Cli;

const HEAD: &str = "\
# Command line

Generated from the code: `cargo run -p pelton -- docs --write docs`.

Exit codes: 0 done, or stopped by a signal in good order; 1 the system refused something (a port in use, a file);
2 the configuration or the command line is wrong, nothing was started; 70 the broker broke; 128 + n ended by a second
signal n. See OPERATING.md.
";

/// The page.
pub(crate) fn page() -> String {
    let mut out = String::from(HEAD);
    let mut command = Cli::command();
    command.build();
    describe(&mut command, &mut out);
    out
}

fn describe(command: &mut clap::Command, out: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    out.push_str(&format!("\n## {name}\n\n```\n{}\n```\n", help.trim_end()));
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names.iter().filter(|name| *name != "help") {
        if let Some(sub) = command.find_subcommand_mut(name) {
            describe(sub, out);
        }
    }
}
