//! Overrides from the environment: `PELTON__SECTION__KEY=value`. The value is TOML; text may do without its quotes,
//! and a list without its brackets.

use std::ffi::OsString;

use toml::de::DeTable;

use super::file::{Set, set};
use super::keys::{KEYS, find};
use super::nearest::nearest;
use super::value::{Kind, quoted};
use super::{Config, Problem};

const PREFIX: &str = "PELTON__";

/// The variable of a key.
pub(crate) fn variable(section: &str, name: &str) -> String {
    format!("{PREFIX}{}__{}", section.to_uppercase(), name.to_uppercase())
}

/// Applies every variable that is meant for the broker.
pub(crate) fn apply(
    config: &mut Config,
    variables: impl Iterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) {
    let mut ours: Vec<(String, OsString)> = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    ours.sort();
    for (variable, value) in ours {
        if let Err(text) = apply_one(config, &variable, value) {
            problems.push(Problem::variable(&variable, text));
        }
    }
}

fn apply_one(config: &mut Config, name: &str, value: OsString) -> Result<(), String> {
    let value = value.into_string().map_err(|_| "the value is not UTF-8".to_owned())?;
    let unknown = || {
        let all: Vec<String> = KEYS.iter().map(|key| variable(key.section, key.name)).collect();
        let near = nearest(name, all.iter().map(String::as_str));
        let advice = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        format!("no key of that name{advice}")
    };
    let (section, key) =
        name.strip_prefix(PREFIX).and_then(|rest| rest.split_once("__")).ok_or_else(unknown)?;
    let (section, key) = (section.to_lowercase(), key.to_lowercase());
    let kind = find(&section, &key).ok_or_else(unknown)?.field.kind;
    let source = format!("value = {}", as_toml(kind, value.trim()));
    let wrong = || format!("`{}` is not allowed, only {}", value.trim(), kind.allowed());
    let table = DeTable::parse(&source).map_err(|_| wrong())?;
    let Some(parsed) = table.get_ref().get("value").filter(|_| table.get_ref().len() == 1) else {
        return Err(wrong());
    };
    match set(config, &section, &key, parsed) {
        Set::Done => Ok(()),
        Set::Unknown => Err(unknown()),
        Set::Wrong(wrongs) => {
            let texts: Vec<String> = wrongs.into_iter().map(|(_, text)| text).collect();
            Err(texts.join("; "))
        }
    }
}

/// Adds what may be left out in the environment.
fn as_toml(kind: Kind, value: &str) -> String {
    let is_quoted = value.starts_with(['"', '\'']);
    match kind {
        Kind::Text { .. } | Kind::Choice(_) if !is_quoted => quoted(value),
        Kind::SecondsOrNever if value == "never" => quoted(value),
        Kind::Addresses if !value.starts_with("[\"") && !value.starts_with("['") && value != "[]" => {
            let items: Vec<String> =
                value.split(',').map(|item| quoted(item.trim().trim_matches(['"', '\'']))).collect();
            format!("[{}]", items.join(", "))
        }
        Kind::Integers { .. } if !value.starts_with('[') => format!("[{value}]"),
        _ => value.to_owned(),
    }
}
