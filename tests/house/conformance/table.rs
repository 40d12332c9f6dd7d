//! The document.

use std::fmt::Write;

use super::marks::Marks;
use super::statements::{Statement, Whom};

const HEAD: &str = "\
# Conformance

Every normative statement of MQTT 5.0 and MQTT 3.1.1, by its number in the standard's appendix B: where the code obeys
it and which tests prove it. MQTT 3.1 has no numbered statements; where it differs from 3.1.1 (its protocol name, its
client identifiers, its return codes), `dataplane/mqtt` says so at the branch.

This file is written by a test from the citations and `covers` marks in the sources and fails if it is out of date:
`PELTON_BLESS=1 cargo test -p pelton-tests --test house conformance` writes it anew. The descriptions are in a few
words of our own (`tests/conformance`); read the standards beside them.

- *client*: the statement binds clients alone. What the server does with a client that breaks it may still be tested.
- *absent*: the statement is about something the server does not offer.
- Where a statement of 3.1.1 asks what one of 5.0 does, one piece of code obeys both, and citations and tests of both
  numbers count.
";

/// Renders the document.
pub(crate) fn render(statements: &[Statement], marks: &Marks) -> String {
    let mut out = HEAD.to_owned();
    for (title, prefix) in [("MQTT 5.0", "MQTT-"), ("MQTT 3.1.1", "MQTT311-")] {
        let of: Vec<&Statement> =
            statements.iter().filter(|statement| statement.id.starts_with(prefix)).collect();
        let count = |whom| of.iter().filter(|statement| statement.whom == whom).count();
        let server = of.iter().filter(|statement| statement.whom == Whom::Server);
        let _ = write!(
            out,
            "\n## {title}\n\n{} statements: {} bind a server ({} of them tested), {} clients alone, {} are absent.\n\n",
            of.len(),
            count(Whom::Server),
            server.filter(|statement| !marks.tests(statement).is_empty()).count(),
            count(Whom::Client),
            count(Whom::Absent),
        );
        out.push_str("| statement | what it asks | obeyed in | proved by |\n|---|---|---|---|\n");
        for statement in of {
            row(&mut out, statement, prefix, marks);
        }
    }
    out
}

fn row(out: &mut String, statement: &Statement, prefix: &str, marks: &Marks) {
    let number = statement.id.strip_prefix(prefix).unwrap_or(&statement.id);
    let same = statement
        .same_as
        .as_ref()
        .map_or(String::new(), |same| format!(" (5.0: {})", same.strip_prefix("MQTT-").unwrap_or(same)));
    let code: Vec<String> = marks.code(statement).iter().map(|file| format!("`{}`", short(file))).collect();
    let tests: Vec<String> =
        marks.tests(statement).iter().map(|(file, test)| format!("`{}` {test}", short(file))).collect();
    let whom = match statement.whom {
        Whom::Server => "",
        Whom::Client => "*client* ",
        Whom::Absent => "*absent* ",
    };
    let _ = writeln!(
        out,
        "| {number}{same} | {whom}{} | {} | {} |",
        statement.words,
        code.join(", "),
        tests.join(", ")
    );
}

/// A file as it is found at a glance: `broker/src/publish.rs` for `dataplane/broker/src/publish.rs`.
fn short(file: &str) -> &str {
    file.strip_prefix("dataplane/").unwrap_or(file)
}
