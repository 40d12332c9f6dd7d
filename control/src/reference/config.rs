//! `docs/CONFIG.md`.

use crate::config::interfaces;
use crate::config::keys::{KEYS, SECTIONS};
use crate::config::{Config, RULE_KEYS, environment_variable};

const HEAD: &str = "\
# Configuration

Generated from the code: `cargo run -p pelton -- docs --write docs`.

`pelton serve -c pelton.toml` reads a TOML file. Without `-c` no file is read. What is left out has its default, so the
empty file is a valid broker. `pelton check -c pelton.toml` says everything that is wrong with it; `pelton config dump`
prints all keys with their values, as a file that can be used as it is.

The later one wins: defaults, the file, the environment, the command line. Every key but those of `[[interface]]` can be set by a variable
`PELTON__SECTION__KEY`; its value is TOML, but text may do without quotes and lists without brackets
(`PELTON__LISTEN__TCP=127.0.0.1:1883,[::1]:1883`). A name that is not known is an error, in the file and in the
environment.

Limits *of one shard* hold for each shard by itself. `\"never\"` is written with its quotes.
";

/// The page.
pub(crate) fn page() -> String {
    let defaults = Config::default();
    let mut out = String::from(HEAD);
    for section in SECTIONS {
        out.push_str(&format!("\n## [{}]\n\n{}\n", section.name, section.help));
        for key in KEYS.iter().filter(|key| key.section == section.name) {
            let unit = if key.unit.is_empty() { String::new() } else { format!(" {}", key.unit) };
            out.push_str(&format!(
                "\n### {}\n\n{}\n\nDefault `{}`{unit}. Allowed: {}. Variable `{}`.\n",
                key.name,
                key.help,
                key.written(&defaults),
                key.field.kind.allowed(),
                environment_variable(key.section, key.name),
            ));
            if key.name == "rules" {
                out.push_str("\n| key of a rule | takes | means |\n|---|---|---|\n");
                for (name, _, allowed, help) in RULE_KEYS {
                    out.push_str(&format!("| `{name}` | {allowed} | {help} |\n"));
                }
            }
        }
    }
    out.push_str(&format!("\n## [[{}]]\n\n{}\n", interfaces::NAME, interfaces::HELP));
    out.push_str("\n| key | takes | default | means |\n|---|---|---|---|\n");
    for interfaces::TableKey { name, allowed, default, help, .. } in &interfaces::KEYS {
        let default = if default.is_empty() { "must be there".into() } else { format!("`{default}`") };
        out.push_str(&format!("| `{name}` | {allowed} | {default} | {help} |\n"));
    }
    out
}
