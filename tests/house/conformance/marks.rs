//! What the sources say of statements: citations at the branches that obey them, `covers` marks at the tests
//! that prove it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::read_to_string;

use pelton_tests::{files, relative};

use super::statements::Statement;
use crate::tables::function;

/// Citations and marks by statement.
#[derive(Default)]
pub(crate) struct Marks {
    /// The files that cite it in their code.
    code: BTreeMap<String, BTreeSet<String>>,
    /// The tests that cover it: file and function.
    tests: BTreeMap<String, BTreeSet<(String, String)>>,
}

impl Marks {
    /// Reads them from all sources.
    pub(crate) fn read() -> Self {
        let mut marks = Self::default();
        for file in files(".rs") {
            let path = relative(&file);
            // This test is about citations and quotes them.
            if !path.starts_with("tests/house/") {
                marks.read_file(&path, &read_to_string(&file).expect("a source file"));
            }
        }
        marks
    }

    fn read_file(&mut self, path: &str, source: &str) {
        let lines: Vec<&str> = source.lines().collect();
        let mut in_tests = is_test_file(path);
        let mut covering = false;
        for (at, line) in lines.iter().enumerate() {
            in_tests |=
                line.trim() == "#[cfg(test)]" && lines.get(at + 1).is_some_and(|next| next.contains("mod "));
            let Some(comment) = line.split_once("//").map(|(_, comment)| comment) else {
                covering = false;
                continue;
            };
            let text = comment.trim_start_matches(['/', '!']).trim();
            // A mark may go on over the next lines of its comment, if they begin with a citation.
            covering = text.starts_with("covers [") || (covering && text.starts_with('['));
            for cited in citations(text) {
                if covering {
                    let test = function(&lines, at).unwrap_or_else(|| panic!("{path}:{}: no test", at + 1));
                    self.tests.entry(cited).or_default().insert((path.to_owned(), test));
                } else if !in_tests {
                    self.code.entry(cited).or_default().insert(path.to_owned());
                }
            }
        }
    }

    /// Every citation with its file.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &String)> {
        let code = self.code.iter().flat_map(|(id, files)| files.iter().map(move |file| (id, file)));
        code.chain(self.tests.iter().flat_map(|(id, tests)| tests.iter().map(move |(file, _)| (id, file))))
    }

    /// The files that obey a statement.
    pub(crate) fn code(&self, statement: &Statement) -> BTreeSet<&str> {
        of(statement).filter_map(|id| self.code.get(id)).flatten().map(String::as_str).collect()
    }

    /// The tests that prove it.
    pub(crate) fn tests(&self, statement: &Statement) -> BTreeSet<&(String, String)> {
        of(statement).filter_map(|id| self.tests.get(id)).flatten().collect()
    }
}

/// The identifiers under which a statement is cited.
fn of(statement: &Statement) -> impl Iterator<Item = &String> {
    [Some(&statement.id), statement.same_as.as_ref()].into_iter().flatten()
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || path.contains("/tests/")
        || path.starts_with("tests/")
        || path.starts_with("benches/")
}

/// The identifiers in `[MQTT-…]` and `[MQTT311-…]`, without brackets.
fn citations(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("[MQTT") {
        let rest = &text[at + 1..];
        let Some((id, _)) = rest.split_once(']') else { continue };
        if id.ends_with(|last: char| last.is_ascii_digit()) && id.contains('.') {
            found.push(id.to_owned());
        }
    }
    found
}
