//! The kinds of values, how they are read from TOML and how they are written.

use std::net::SocketAddr;
use std::ops::Range;

use pelton_broker::access::Rule;
use toml::Spanned;
use toml::de::{DeArray, DeValue};

use super::rules;

/// The number that stands for "never" where a key allows it.
pub(crate) const NEVER: u32 = u32::MAX;

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number between two bounds.
    Integer { min: u64, max: u64 },
    /// A whole number of seconds or `"never"`.
    SecondsOrNever,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Text of at most so many bytes; empty for none.
    Text { bytes_max: usize },
    /// A list of `"ADDRESS:PORT"`.
    Addresses,
    /// A list of whole numbers up to a bound.
    Integers { max: u64 },
    /// A list of access rules.
    Rules,
}

/// A value as it is held between TOML and the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Bool(bool),
    Integer(u64),
    Text(String),
    Addresses(Vec<SocketAddr>),
    Integers(Vec<u64>),
    Rules(Vec<Rule>),
}

/// What is wrong with a value, and with which bytes of it.
pub(crate) type Wrong = (Range<usize>, String);

impl Kind {
    /// What is allowed, for messages and documentation.
    pub(crate) fn allowed(&self) -> String {
        match self {
            Self::Bool => "true or false".into(),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::SecondsOrNever => format!("a whole number from 0 to {}, or \"never\"", NEVER - 1),
            Self::Choice(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Self::Text { bytes_max } => format!("text of at most {bytes_max} bytes; \"\" for none"),
            Self::Addresses => "a list of \"ADDRESS:PORT\"; IPv6 as \"[::1]:1883\"".into(),
            Self::Integers { max } => format!("a list of whole numbers from 0 to {max}"),
            Self::Rules => {
                "a list of rules, each { effect = \"deny\", action = \"subscribe\", filter = \"a/#\" }".into()
            }
        }
    }

    /// Reads a value.
    pub(crate) fn read(&self, value: &Spanned<DeValue<'_>>) -> Result<Value, Vec<Wrong>> {
        let wrong =
            || vec![(value.span(), format!("{} is not allowed, only {}", shown(value), self.allowed()))];
        match (self, value.get_ref()) {
            (Self::Bool, DeValue::Boolean(flag)) => Ok(Value::Bool(*flag)),
            (Self::Integer { min, max }, DeValue::Integer(_)) => {
                whole(value, *min, *max).map(Value::Integer).ok_or_else(wrong)
            }
            (Self::SecondsOrNever, DeValue::Integer(_)) => {
                whole(value, 0, u64::from(NEVER - 1)).map(Value::Integer).ok_or_else(wrong)
            }
            (Self::SecondsOrNever, DeValue::String(text)) if text == "never" => {
                Ok(Value::Integer(u64::from(NEVER)))
            }
            (Self::Choice(words), DeValue::String(text)) if words.contains(&text.as_ref()) => {
                Ok(Value::Text(text.to_string()))
            }
            (Self::Text { bytes_max }, DeValue::String(text)) if text.len() <= *bytes_max => {
                match text.chars().find(|c| c.is_control()) {
                    Some(_) => Err(vec![(value.span(), "control characters are not allowed".into())]),
                    None => Ok(Value::Text(text.to_string())),
                }
            }
            (Self::Addresses, DeValue::Array(list)) => self.addresses(list).map(Value::Addresses),
            (Self::Integers { max }, DeValue::Array(list)) => each(list, |item| {
                whole(item, 0, *max).ok_or_else(|| {
                    vec![(item.span(), format!("{} is not allowed, only {}", shown(item), self.allowed()))]
                })
            })
            .map(Value::Integers),
            (Self::Rules, DeValue::Array(list)) => each(list, rules::read).map(Value::Rules),
            _ => Err(wrong()),
        }
    }

    fn addresses(&self, list: &DeArray<'_>) -> Result<Vec<SocketAddr>, Vec<Wrong>> {
        each(list, |item| {
            let address = item.get_ref().as_str().and_then(|text| text.parse().ok());
            address.ok_or_else(|| {
                vec![(item.span(), format!("{} is not allowed, only {}", shown(item), self.allowed()))]
            })
        })
    }

    /// A value as TOML.
    pub(crate) fn write(&self, value: &Value) -> String {
        match (self, value) {
            (Self::SecondsOrNever, Value::Integer(number)) if *number == u64::from(NEVER) => {
                "\"never\"".into()
            }
            (_, Value::Bool(flag)) => flag.to_string(),
            (_, Value::Integer(number)) => number.to_string(),
            (_, Value::Text(text)) => quoted(text),
            (_, Value::Addresses(list)) => list_of(list.iter().map(|address| quoted(&address.to_string()))),
            (_, Value::Integers(list)) => list_of(list.iter().map(u64::to_string)),
            (_, Value::Rules(list)) if list.is_empty() => "[]".into(),
            (_, Value::Rules(list)) => {
                let lines: String = list.iter().map(|rule| format!("  {},\n", rules::write(rule))).collect();
                format!("[\n{lines}]")
            }
        }
    }
}

fn list_of(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// Reads every item of a list, and says everything that is wrong with any.
fn each<T>(
    list: &DeArray<'_>,
    read: impl Fn(&Spanned<DeValue<'_>>) -> Result<T, Vec<Wrong>>,
) -> Result<Vec<T>, Vec<Wrong>> {
    let mut items = Vec::new();
    let mut wrongs = Vec::new();
    for item in list.iter() {
        match read(item) {
            Ok(item) => items.push(item),
            Err(wrong) => wrongs.extend(wrong),
        }
    }
    if wrongs.is_empty() { Ok(items) } else { Err(wrongs) }
}

fn whole(value: &DeValueAt<'_>, min: u64, max: u64) -> Option<u64> {
    let integer = value.get_ref().as_integer()?;
    let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    (min..=max).contains(&number).then_some(number)
}

type DeValueAt<'a> = Spanned<DeValue<'a>>;

/// A value as a message shows it.
pub(crate) fn shown(value: &DeValueAt<'_>) -> String {
    match value.get_ref() {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// Text as a TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
