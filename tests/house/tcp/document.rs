//! The document.

use std::fmt::Write;

use super::marks::Marks;
use super::rules::{Rfc, Rule, State};

const HEAD: &str = "\
# Conformance of our TCP

The rules of the RFCs that a server's TCP follows: what each asks, where the code obeys it, and which tests prove it. Of
RFC 9293 all numbered requirements of its appendix B are here; of the others what binds this side of a connection.

This file is written by a test from the citations in the sources, the `covers RFC` marks of tests and the scripts of
segments (`dataplane/tcp/tests/packets/scripts`), and fails if it is out of date, if a rule that is obeyed is not cited or
not tested, or if something is cited that is not here: `PELTON_BLESS=1 cargo test -p pelton-tests --test house tcp` writes
it anew. The descriptions are in a few words of our own (`tests/conformance/tcp.txt`); read the RFCs beside them.

- *otherwise*: something else is done, and the words say what and why.
- *absent*: it is about something that is not there.
- A script is named by its case; without one all of it is about the rule.

What [packetdrill's scripts](tcp-packetdrill.md) say of it is in a table of its own.
";

/// Renders the document.
pub(crate) fn render(rfcs: &[Rfc], marks: &Marks) -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n| RFC | | obeyed | otherwise | absent |\n|---|---|---|---|---|\n");
    for rfc in rfcs {
        let count = |state| rfc.rules.iter().filter(|rule| rule.state == state).count();
        let _ = writeln!(
            out,
            "| [{}](#rfc-{}) | {} | {} | {} | {} |",
            rfc.number,
            rfc.number,
            rfc.title,
            count(State::Obeyed),
            count(State::Otherwise),
            count(State::Absent)
        );
    }
    for rfc in rfcs {
        let _ = write!(out, "\n## RFC {}\n\n{}.", rfc.number, rfc.title);
        if !rfc.remark.is_empty() {
            let _ = write!(out, " {}", rfc.remark);
        }
        out.push_str("\n\n| rule | level | what it asks | obeyed in | proved by |\n|---|---|---|---|---|\n");
        for rule in &rfc.rules {
            row(&mut out, rule, marks);
        }
    }
    out
}

fn row(out: &mut String, rule: &Rule, marks: &Marks) {
    let code: Vec<String> = marks.code(rule).iter().map(|file| format!("`{}`", short(file))).collect();
    let tests: Vec<String> = marks
        .tests(rule)
        .iter()
        .map(|(file, test)| format!("`{}` {test}", short(file)).trim_end().to_owned())
        .collect();
    let state = match rule.state {
        State::Obeyed => "",
        State::Otherwise => "*otherwise* ",
        State::Absent => "*absent* ",
    };
    let place = [rule.section.as_str(), rule.label.as_deref().unwrap_or_default()].join(" ");
    let _ = writeln!(
        out,
        "| {} | {} | {state}{} | {} | {} |",
        place.trim(),
        rule.level,
        rule.words,
        code.join(", "),
        tests.join(", ")
    );
}

/// A file as it is found at a glance.
fn short(file: &str) -> &str {
    let file = file.strip_prefix("dataplane/").unwrap_or(file);
    file.strip_prefix("tcp/tests/packets/").unwrap_or(file)
}
