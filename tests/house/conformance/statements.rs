//! The normative statements, as they stand in `tests/conformance`.

use std::fs::read_to_string;

use pelton_tests::repository;

/// Whom a statement binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// A server, alone or among others.
    Server,
    /// Clients alone.
    Client,
    /// It is about what the server does not offer; the words say why.
    Absent,
}

/// One normative statement.
#[derive(Debug)]
pub(crate) struct Statement {
    /// As it is cited: `MQTT-3.3.1-5`, `MQTT311-3.3.1-5`.
    pub(crate) id: String,
    pub(crate) whom: Whom,
    /// What it asks, in a few words.
    pub(crate) words: String,
    /// The statement of 5.0 that asks the same of 3.1.1.
    pub(crate) same_as: Option<String>,
}

/// All statements, those of 5.0 first, in the order of their numbers.
pub(crate) fn statements() -> Vec<Statement> {
    let mut all = Vec::new();
    for (file, prefix) in [("mqtt5.txt", "MQTT-"), ("mqtt311.txt", "MQTT311-")] {
        let text = read_to_string(repository().join("tests/conformance").join(file)).expect("the statements");
        all.extend(text.lines().filter(|line| !line.starts_with('#')).map(|line| parse(line, prefix)));
    }
    for statement in &all {
        if let Some(same) = &statement.same_as {
            assert!(all.iter().any(|other| other.id == *same), "{}: {same} is no statement", statement.id);
        }
    }
    all
}

fn parse(line: &str, prefix: &str) -> Statement {
    let mut fields = line.split('|').map(str::trim);
    let mut field = || fields.next().unwrap_or_else(|| panic!("a field is missing: {line}"));
    let id = format!("{prefix}{}", field());
    let whom = match field() {
        "server" => Whom::Server,
        "client" => Whom::Client,
        "absent" => Whom::Absent,
        other => panic!("{id}: bound is {other:?}"),
    };
    let words = field().to_owned();
    let same_as = fields.next().filter(|same| !same.is_empty()).map(|same| format!("MQTT-{same}"));
    Statement { id, whom, words, same_as }
}
