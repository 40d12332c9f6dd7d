//! From a key to its place in the configuration and back; one macro for each kind of field.

use crate::config::Config;
use crate::config::value::{Kind, Value};

/// A key's place in the configuration.
#[derive(Clone, Copy)]
pub(crate) struct Field {
    /// What it takes.
    pub(crate) kind: Kind,
    /// The value in a configuration.
    pub(crate) get: fn(&Config) -> Value,
    /// Puts a value of the right kind there.
    pub(crate) set: fn(&mut Config, Value),
}

macro_rules! boolean {
    ($($place:ident).+) => {
        Field {
            kind: Kind::Bool,
            get: |config| Value::Bool(config.$($place).+),
            set: |config, value| if let Value::Bool(flag) = value { config.$($place).+ = flag },
        }
    };
}

macro_rules! integer {
    ($($place:ident).+, $min:expr, $max:expr) => {
        Field {
            kind: Kind::Integer { min: $min, max: $max },
            get: |config| Value::Integer(config.$($place).+.into()),
            // The range of the kind is within that of the field.
            set: |config, value| if let Value::Integer(number) = value { config.$($place).+ = number as _ },
        }
    };
}

/// Whole seconds of a field in milliseconds.
macro_rules! seconds {
    ($($place:ident).+, $min:expr, $max:expr) => {
        Field {
            kind: Kind::Integer { min: $min, max: $max },
            get: |config| Value::Integer(u64::from(config.$($place).+) / 1_000),
            set: |config, value| if let Value::Integer(number) = value {
                config.$($place).+ = (number * 1_000) as _;
            },
        }
    };
}

macro_rules! seconds_or_never {
    ($($place:ident).+) => {
        Field { kind: Kind::SecondsOrNever, ..integer!($($place).+, 0, NEVER as u64) }
    };
}

/// A number of which 0 stands for none.
macro_rules! optional_integer {
    ($($place:ident).+, $max:expr) => {
        Field {
            kind: Kind::Integer { min: 0, max: $max },
            get: |config| Value::Integer(config.$($place).+.unwrap_or(0).into()),
            set: |config, value| if let Value::Integer(number) = value {
                config.$($place).+ = (number != 0).then_some(number as _);
            },
        }
    };
}

/// Text of which "" stands for none.
macro_rules! optional_text {
    ($($place:ident).+, $bytes_max:expr) => {
        Field {
            kind: Kind::Text { bytes_max: $bytes_max },
            get: |config| Value::Text(config.$($place).+.clone().unwrap_or_default()),
            set: |config, value| if let Value::Text(text) = value {
                config.$($place).+ = (!text.is_empty()).then_some(text);
            },
        }
    };
}

macro_rules! text {
    ($($place:ident).+, $bytes_max:expr) => {
        Field {
            kind: Kind::Text { bytes_max: $bytes_max },
            get: |config| Value::Text(config.$($place).+.clone()),
            set: |config, value| if let Value::Text(text) = value { config.$($place).+ = text },
        }
    };
}

macro_rules! choice {
    ($($place:ident).+, $($word:literal => $choice:path),+) => {
        Field {
            kind: Kind::Choice(&[$($word),+]),
            get: |config| Value::Text(match config.$($place).+ { $($choice => $word),+ }.to_owned()),
            set: |config, value| if let Value::Text(text) = value {
                config.$($place).+ = match text.as_str() { $($word => $choice,)+ _ => return };
            },
        }
    };
}
