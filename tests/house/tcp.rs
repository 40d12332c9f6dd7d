//! The conformance table of our TCP: `docs/tcp-conformance.md` says of every rule of the RFCs it follows where it is
//! obeyed and which test proves it. The rules are in `tests/conformance/tcp.txt`; the rest is read from the citations
//! (`RFC 9293 3.10.7.4`) in the sources, the `covers RFC` marks of tests and the scripts of segments.
//!
//! `PELTON_BLESS=1 cargo test -p pelton-tests --test house tcp` writes the table anew.

mod citations;
mod document;
mod marks;
mod rules;

use crate::tables::up_to_date;
use marks::Marks;
use rules::{Rule, State, rfcs};

const DOCUMENT: &str = "docs/tcp-conformance.md";

#[test]
fn the_tcp_table_is_up_to_date() {
    up_to_date(DOCUMENT, &document::render(&rfcs(), &Marks::read()), "tcp");
}

#[test]
fn every_citation_is_of_a_rule_there_is() {
    let rfcs = rfcs();
    let rules: Vec<&Rule> = rfcs.iter().flat_map(|rfc| &rfc.rules).collect();
    let mut wrong = Vec::new();
    for (citation, place) in Marks::read().all() {
        // An RFC, or a section of several rules, may be named as a whole; it then counts for none.
        let known = if citation.labels.is_empty() {
            let named = |rule: &&Rule| citation.section.is_empty() || rule.section == citation.section;
            rules.iter().filter(|rule| rule.rfc == citation.rfc).any(named)
        } else {
            rules.iter().any(|rule| rule.is_cited_by(citation))
        };
        if !known {
            wrong.push(format!("{place}: {citation} is no rule in tests/conformance/tcp.txt"));
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_that_is_obeyed_is_cited_and_tested() {
    let rfcs = rfcs();
    let marks = Marks::read();
    let mut open = Vec::new();
    for rule in rfcs.iter().flat_map(|rfc| &rfc.rules).filter(|rule| rule.state == State::Obeyed) {
        let missing = match (marks.code(rule).is_empty(), marks.tests(rule).is_empty()) {
            (false, false) => continue,
            (true, true) => "neither cited nor tested",
            (true, false) => "not cited",
            (false, true) => "not tested",
        };
        open.push(format!("{} {missing}: {}", rule.name(), rule.words));
    }
    assert!(open.is_empty(), "{} rules:\n{}", open.len(), open.join("\n"));
}

#[test]
fn what_is_otherwise_says_so_in_the_code_and_what_is_absent_has_no_test() {
    let rfcs = rfcs();
    let marks = Marks::read();
    for rule in rfcs.iter().flat_map(|rfc| &rfc.rules) {
        match rule.state {
            State::Otherwise => assert!(!marks.code(rule).is_empty(), "{} is not cited", rule.name()),
            // A rule that has come to be obeyed must not stay in the table as absent.
            State::Absent => assert!(marks.tests(rule).is_empty(), "{} is absent, and tested", rule.name()),
            State::Obeyed => {}
        }
    }
}

#[test]
fn the_requirements_of_rfc_9293_are_all_there() {
    // Appendix B. The numbers that are missing there are missing here: MUST-22 is one with MUST-20.
    let rfcs = rfcs();
    let rules: Vec<&Rule> = rfcs.iter().flat_map(|rfc| &rfc.rules).filter(|rule| rule.rfc == 9293).collect();
    for (prefix, last) in [("MUST-", 69), ("SHLD-", 31)] {
        for number in 1..=last {
            let wanted = format!("{prefix}{number}");
            let there = rules.iter().filter(|rule| rule.label.as_deref() == Some(wanted.as_str())).count();
            assert_eq!(there, 1, "{wanted}");
        }
    }
}
