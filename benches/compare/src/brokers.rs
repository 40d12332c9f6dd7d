//! The brokers to be measured, as a TOML file tells.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Brokers {
    /// In the order of the table; ratios are of the first to each of the others.
    #[serde(rename = "broker")]
    pub(crate) list: Vec<Broker>,
    /// Which cells there are.
    #[serde(default)]
    pub(crate) suite: Suite,
    /// By the name of a cell: what the ratio of the first broker's figure to the second's is to be at most.
    #[serde(default)]
    pub(crate) goals: BTreeMap<String, f64>,
}

/// What brokers are compared in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Suite {
    /// How fast messages go through.
    #[default]
    Speed,
    /// What is stored of them.
    Durable,
}

/// One broker. In `command` and `files`, `{port}` and `{dir}` stand for the port to listen on and a directory of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Broker {
    pub(crate) name: String,
    /// Program and arguments; it stays in the foreground and listens on 127.0.0.1:{port}.
    pub(crate) command: Vec<String>,
    /// Program and arguments that print the version.
    #[serde(default)]
    pub(crate) version: Vec<String>,
    /// Files to be written into {dir} before it starts, by name.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    /// The cores it may use.
    #[serde(default = "first_core")]
    pub(crate) cores: Vec<usize>,
    /// A thread of it that is measured apart.
    pub(crate) thread: Option<String>,
    /// Topics with numbers that it publishes about itself, by the name of the figure.
    #[serde(default)]
    pub(crate) figures: BTreeMap<String, String>,
    /// Only cells whose name contains one of these; all if it is empty.
    #[serde(default)]
    pub(crate) only: Vec<String>,
}

fn first_core() -> Vec<usize> {
    vec![0]
}

impl Brokers {
    pub(crate) fn load(path: &Path) -> Result<Self, Box<dyn Error>> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    fn parse(text: &str) -> Result<Self, Box<dyn Error>> {
        let brokers: Self = toml::from_str(text)?;
        for broker in &brokers.list {
            if broker.command.is_empty() || broker.cores.is_empty() {
                return Err(format!("{}: command and cores may not be empty", broker.name).into());
            }
        }
        Ok(brokers)
    }
}

impl Broker {
    /// Whether it is measured in a cell.
    pub(crate) fn runs(&self, cell: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| cell.contains(part))
    }

    /// What its version command says, in one line.
    pub(crate) fn version_text(&self) -> String {
        let Some((program, arguments)) = self.version.split_first() else { return "not asked".into() };
        match Command::new(program).args(arguments).output() {
            Ok(output) => {
                let text = String::from_utf8_lossy(if output.stdout.is_empty() {
                    &output.stderr
                } else {
                    &output.stdout
                })
                .into_owned();
                text.lines().next().unwrap_or("says nothing").trim().to_owned()
            }
            Err(error) => format!("{program}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_needs_a_name_and_a_command() {
        let text = "[[broker]]\nname = \"a\"\ncommand = [\"a\", \"{port}\"]\n[goals]\n\"pairs\" = 0.5\n";
        let brokers = Brokers::parse(text).unwrap();
        assert_eq!((brokers.list[0].cores.as_slice(), brokers.goals["pairs"]), (&[0][..], 0.5));
        assert!(brokers.list[0].runs("anything"));
        for wrong in ["", "[[broker]]\nname = \"a\"", "[[broker]]\nname = \"a\"\ncommand = []", "x = 1"] {
            assert!(Brokers::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_broker_may_be_measured_in_some_cells_only() {
        let text = "[[broker]]\nname = \"a\"\ncommand = [\"a\"]\nonly = [\"pairs q0\", \"idle\"]\n";
        let broker = Brokers::parse(text).unwrap().list.remove(0);
        assert_eq!(
            ["pairs q0 64", "pairs q1 64", "idle memory"].map(|cell| broker.runs(cell)),
            [true, false, true]
        );
    }

    /// The files in this folder are ones that are read.
    #[test]
    fn the_examples_are_right() {
        assert_eq!(Brokers::parse(include_str!("../brokers.toml")).unwrap().suite, Suite::Speed);
        let durable = Brokers::parse(include_str!("../durable.toml")).unwrap();
        assert_eq!(durable.suite, Suite::Durable);
        for name in crate::durable::FIGURES {
            assert!(durable.list[0].figures.contains_key(name), "{name}");
        }
    }
}
