//! The configuration as an annotated file that can be used as it is.

use super::Config;
use super::interfaces;
use super::keys::{KEYS, Key, SECTIONS};
use super::rules::RULE_KEYS;
use super::value::Kind;

/// Columns of a comment.
const WIDTH: usize = 100;

/// Every key with its meaning, unit, range, default and value.
pub(crate) fn dump(config: &Config) -> String {
    let defaults = Config::default();
    let mut out = String::from(
        "# Configuration of pelton. What is left out has its default; an empty file is a valid broker.\n",
    );
    for section in SECTIONS {
        out.push('\n');
        comment(&mut out, section.help);
        out.push_str(&format!("[{}]\n", section.name));
        for key in KEYS.iter().filter(|key| key.section == section.name) {
            out.push('\n');
            comment(&mut out, key.help);
            if matches!(key.field.kind, Kind::Rules) {
                for (name, _, allowed, help) in RULE_KEYS {
                    comment(&mut out, &format!("- {name}: {allowed}. {help}"));
                }
            }
            comment(&mut out, &facts(key, &defaults));
            out.push_str(&format!("{} = {}\n", key.name, key.written(config)));
        }
    }
    out.push('\n');
    comment(&mut out, interfaces::HELP);
    for key in &interfaces::KEYS {
        let default = if key.default.is_empty() { "none" } else { key.default };
        comment(&mut out, &format!("- {}: {}. Default: {default}. {}", key.name, key.allowed, key.help));
    }
    if config.interfaces.is_empty() {
        out.push_str("#[[interface]]\n");
    }
    for interface in &config.interfaces {
        out.push_str(&interfaces::write(interface));
    }
    out
}

/// Unit, range and default in one line.
fn facts(key: &Key, defaults: &Config) -> String {
    let unit = if key.unit.is_empty() { String::new() } else { format!("In {}: ", key.unit) };
    let allowed = key.field.kind.allowed();
    format!("{unit}{allowed}. Default: {}", key.written(defaults))
}

/// A comment, broken into lines.
fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH && line.len() > 1 {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}
