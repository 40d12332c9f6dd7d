//! Every key of the configuration, once.

#[macro_use]
mod field;
mod table;
#[cfg(test)]
mod tests;

use super::Config;
use field::Field;

pub(crate) use table::KEYS;

/// A section, and what it is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    /// The name between the brackets.
    pub(crate) name: &'static str,
    /// What it is about.
    pub(crate) help: &'static str,
}

/// A key.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    /// The section it is in.
    pub(crate) section: &'static str,
    /// Its name.
    pub(crate) name: &'static str,
    /// What the number counts, where it is one.
    pub(crate) unit: &'static str,
    /// What it means, and what happens at the limit.
    pub(crate) help: &'static str,
    /// What it takes, where it is read from and where it goes.
    pub(crate) field: Field,
}

impl Key {
    /// The value in a configuration, as TOML.
    pub(crate) fn written(&self, config: &Config) -> String {
        self.field.kind.write(&(self.field.get)(config))
    }
}

/// The sections, in the order they are written.
pub(crate) const SECTIONS: &[Section] = &[
    Section { name: "listen", help: "Where clients connect." },
    Section {
        name: "tcp",
        help: "How long connections put up with silence, over the kernel's sockets and over our own TCP alike.",
    },
    Section { name: "shards", help: "The cores that work, and the bounds of each." },
    Section { name: "mqtt", help: "The protocol: what is allowed, announced and limited." },
    Section {
        name: "storage",
        help: "What survives a restart, a crash or loss of power: sessions, queues, retained messages.",
    },
    Section { name: "session", help: "How long sessions live and how much they may hold." },
    Section { name: "queue", help: "What waits for a client that is slow or away." },
    Section { name: "retained", help: "Retained messages." },
    Section { name: "shared", help: "Shared subscriptions (`$share/group/filter`)." },
    Section { name: "access", help: "Who may publish and subscribe where." },
    Section { name: "sys", help: "What the broker publishes about itself below `$SYS/`." },
    Section { name: "shutdown", help: "How the process ends." },
    Section { name: "log", help: "What is written to standard error, and how." },
];

/// The key of a name.
pub(crate) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}
