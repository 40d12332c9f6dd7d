//! The conformance table: `docs/conformance.md` says of every normative statement of MQTT 5.0 and 3.1.1 where
//! it is obeyed and which test proves it. The statements are in `tests/conformance`; the rest is read from the
//! citations (`[MQTT-3.3.1-5]`) and the `covers` marks in the sources.
//!
//! `PELTON_BLESS=1 cargo test -p pelton-tests --test house conformance` writes the table anew.

mod marks;
mod statements;
mod table;

use crate::tables::up_to_date;
use marks::Marks;
use statements::{Statement, Whom, statements};

const DOCUMENT: &str = "docs/conformance.md";

#[test]
fn the_table_is_up_to_date() {
    up_to_date(DOCUMENT, &table::render(&statements(), &Marks::read()), "conformance");
}

#[test]
fn every_citation_is_of_a_statement_there_is() {
    let statements = statements();
    let mut wrong = Vec::new();
    for (cited, place) in Marks::read().all() {
        if !statements.iter().any(|statement| statement.id == *cited) {
            wrong.push(format!("{place}: [{cited}] is no statement of the standard"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_statement_that_binds_a_server_is_tested() {
    let statements = statements();
    let marks = Marks::read();
    let open: Vec<String> = statements
        .iter()
        .filter(|statement| statement.whom == Whom::Server && marks.tests(statement).is_empty())
        .map(|statement| {
            let cited =
                if marks.code(statement).is_empty() { "neither cited nor tested" } else { "not tested" };
            format!("[{}] {cited}: {}", statement.id, statement.words)
        })
        .collect();
    assert!(open.is_empty(), "{} statements:\n{}", open.len(), open.join("\n"));
}

#[test]
fn what_is_absent_is_cited_by_no_test() {
    // A feature that has come must not stay in the table as absent.
    let statements = statements();
    let marks = Marks::read();
    let absent = statements.iter().filter(|statement| statement.whom == Whom::Absent);
    let proved: Vec<&Statement> = absent.filter(|statement| !marks.tests(statement).is_empty()).collect();
    assert!(proved.is_empty(), "absent, and tested: {proved:#?}");
}

#[test]
fn the_statements_are_all_there() {
    // Appendix B of each standard.
    let statements = statements();
    let count = |prefix: &str| statements.iter().filter(|statement| statement.id.starts_with(prefix)).count();
    assert_eq!(count("MQTT-1."), 5);
    assert_eq!(count("MQTT-2."), 7);
    assert_eq!(count("MQTT-3."), 175);
    assert_eq!(count("MQTT-4."), 60);
    assert_eq!(count("MQTT-6."), 4);
    assert_eq!(count("MQTT311-"), 141);
}
