//! An answer in both forms, for people and for programs, and the code the process ends with.

use std::io::{self, Write};

use serde_json::Value;

use crate::cli::Output;
use crate::exit::Exit;
use crate::write_out;

/// What a command has to say.
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) json: Value,
    pub(super) exit: Exit,
}

impl Answer {
    pub(super) fn new(text: String, json: Value) -> Self {
        Self { text, json, exit: Exit::Ok }
    }

    /// Says it, or in one line why there is nothing to say.
    pub(super) fn say(answer: Result<Self, String>, output: Output) -> Exit {
        match answer {
            Ok(Self { text, json, exit }) => {
                let written = write_out(&match output {
                    Output::Text => text,
                    Output::Json => format!("{json}\n"),
                });
                if written == Exit::Ok { exit } else { written }
            }
            Err(why) => {
                let _ = writeln!(io::stderr(), "{why}");
                Exit::Refused
            }
        }
    }
}
