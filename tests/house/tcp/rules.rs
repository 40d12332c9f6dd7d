//! The rules, as they stand in `tests/conformance/tcp.txt`.

use std::fs::read_to_string;

use pelton_tests::repository;

use super::citations::Citation;

/// What is done about a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is obeyed.
    Obeyed,
    /// Something else is done; the words say what and why.
    Otherwise,
    /// It is about something that is not there; the words say why.
    Absent,
}

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) rfc: u32,
    /// Where in the RFC; empty for one that is a rule as a whole.
    pub(crate) section: String,
    /// What tells it from others of its section: `MUST-15`, `step 4`.
    pub(crate) label: Option<String>,
    /// `must`, `should` or `may`.
    pub(crate) level: String,
    pub(crate) state: State,
    pub(crate) words: String,
    /// Whether it is the only rule of its section, or RFC.
    alone: bool,
}

impl Rule {
    /// How it is cited.
    pub(crate) fn name(&self) -> String {
        let mut name = format!("RFC {}", self.rfc);
        for part in [Some(&self.section), self.label.as_ref()].into_iter().flatten() {
            if !part.is_empty() {
                name.push(' ');
                name.push_str(part);
            }
        }
        name
    }

    /// Whether a citation is of this rule: by its number, or its section where that has no other.
    pub(crate) fn is_cited_by(&self, citation: &Citation) -> bool {
        if citation.rfc != self.rfc || citation.section != self.section {
            return false;
        }
        match (&self.label, citation.labels.is_empty()) {
            (Some(label), false) => citation.labels.contains(label),
            (None, _) => citation.labels.is_empty() || self.alone,
            (Some(_), true) => self.alone,
        }
    }
}

/// An RFC and its rules.
#[derive(Debug)]
pub(crate) struct Rfc {
    pub(crate) number: u32,
    pub(crate) title: String,
    /// What is to be said of all of it.
    pub(crate) remark: String,
    pub(crate) rules: Vec<Rule>,
}

/// All of them, in the order of the file.
pub(crate) fn rfcs() -> Vec<Rfc> {
    let text = read_to_string(repository().join("tests/conformance/tcp.txt")).expect("the rules");
    let mut all: Vec<Rfc> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        match fields[..] {
            [head, title, remark] if head.starts_with("== ") => all.push(Rfc {
                number: head[3..].parse().unwrap_or_else(|_| panic!("no number: {line}")),
                title: title.to_owned(),
                remark: remark.to_owned(),
                rules: Vec::new(),
            }),
            [place, level, state, words] => {
                let rfc = all.last_mut().expect("an RFC before its rules");
                rfc.rules.push(rule(rfc.number, place, level, state, words));
            }
            _ => panic!("not a rule: {line}"),
        }
    }
    for rfc in &mut all {
        let places: Vec<(String, Option<String>)> =
            rfc.rules.iter().map(|rule| (rule.section.clone(), rule.label.clone())).collect();
        for (at, rule) in rfc.rules.iter_mut().enumerate() {
            rule.alone = places.iter().filter(|(section, _)| *section == rule.section).count() == 1;
            let name = rule.name();
            assert_eq!(
                places.iter().filter(|place| **place == places[at]).count(),
                1,
                "{name} is there twice"
            );
        }
    }
    all
}

fn rule(rfc: u32, place: &str, level: &str, state: &str, words: &str) -> Rule {
    let (section, label) = match place.split_once(' ') {
        Some((section, label)) => (section, Some(label.to_owned())),
        None => (place, None),
    };
    assert!(["must", "should", "may"].contains(&level), "RFC {rfc} {place}: level is {level:?}");
    Rule {
        rfc,
        section: if section == "-" { String::new() } else { section.to_owned() },
        label,
        level: level.to_owned(),
        state: match state {
            "obeyed" => State::Obeyed,
            "otherwise" => State::Otherwise,
            "absent" => State::Absent,
            other => panic!("RFC {rfc} {place}: state is {other:?}"),
        },
        words: words.to_owned(),
        alone: false,
    }
}
