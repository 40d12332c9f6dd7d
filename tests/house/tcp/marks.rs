//! What the sources say of rules: citations at the branches that obey them, marks at the tests that prove it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::read_to_string;

use pelton_tests::{files, relative};

use super::citations::{Citation, citations};
use super::rules::Rule;
use crate::tables::function;

/// Where rules of TCP are obeyed.
const CODE: &[&str] = &["dataplane/tcp/src/", "dataplane/packet/src/"];
/// Where they are tested.
const TESTS: &[&str] = &["dataplane/tcp/", "dataplane/packet/", "dataplane/sim/", "tests/bypass/"];

/// Citations and marks.
#[derive(Default)]
pub(crate) struct Marks {
    /// The files that cite it in their code.
    code: BTreeMap<Citation, BTreeSet<String>>,
    /// The tests that cover it: file and function, or case of a script.
    tests: BTreeMap<Citation, BTreeSet<(String, String)>>,
}

impl Marks {
    /// Reads them from all sources and scripts.
    pub(crate) fn read() -> Self {
        let mut marks = Self::default();
        for file in files(".rs") {
            let path = relative(&file);
            if TESTS.iter().any(|room| path.starts_with(room)) {
                marks.read_source(&path, &read_to_string(&file).expect("a source file"));
            }
        }
        for file in files(".pkt") {
            marks.read_script(&relative(&file), &read_to_string(&file).expect("a script"));
        }
        marks
    }

    fn read_source(&mut self, path: &str, source: &str) {
        let lines: Vec<&str> = source.lines().collect();
        let room = CODE.iter().any(|room| path.starts_with(room)) && !path.ends_with("/tests.rs");
        let mut in_tests = !room;
        let mut covering = false;
        for (at, line) in lines.iter().enumerate() {
            in_tests |=
                line.trim() == "#[cfg(test)]" && lines.get(at + 1).is_some_and(|next| next.contains("mod "));
            let Some((_, comment)) = line.split_once("//") else {
                covering = false;
                continue;
            };
            let text = comment.trim_start_matches(['/', '!']).trim();
            // A mark may go on over the next lines of its comment, if they begin with a citation.
            covering = text.starts_with("covers RFC ") || (covering && text.starts_with("RFC "));
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

    /// In a script of segments every citation is a mark: of the case it stands in, or of all.
    fn read_script(&mut self, path: &str, script: &str) {
        let mut case = String::new();
        for line in script.lines() {
            if let Some(name) = line.strip_prefix("==") {
                name.split(" (RFC ").next().unwrap_or_default().trim().clone_into(&mut case);
            } else if !line.starts_with('#') {
                continue;
            }
            for cited in citations(line) {
                self.tests.entry(cited).or_default().insert((path.to_owned(), case.clone()));
            }
        }
    }

    /// Every citation with its file.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Citation, &String)> {
        let code = self.code.iter().flat_map(|(cited, files)| files.iter().map(move |file| (cited, file)));
        code.chain(self.tests.iter().flat_map(|(cited, all)| all.iter().map(move |(file, _)| (cited, file))))
    }

    /// The files that obey a rule.
    pub(crate) fn code(&self, rule: &Rule) -> BTreeSet<&str> {
        let cited = self.code.iter().filter(|(citation, _)| rule.is_cited_by(citation));
        cited.flat_map(|(_, files)| files).map(String::as_str).collect()
    }

    /// The tests that prove it.
    pub(crate) fn tests(&self, rule: &Rule) -> BTreeSet<&(String, String)> {
        self.tests
            .iter()
            .filter(|(citation, _)| rule.is_cited_by(citation))
            .flat_map(|(_, tests)| tests)
            .collect()
    }
}
