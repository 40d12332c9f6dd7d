//! What the two tables of conformance have in common: how a mark finds its test, and how a table is held to be up to
//! date.

use std::fs::{read_to_string, write};

use pelton_tests::repository;

/// Holds that `document` says what `table` does, or writes it, if `PELTON_BLESS` is set. `filter` chooses the tests that
/// write it.
pub(crate) fn up_to_date(document: &str, table: &str, filter: &str) {
    let path = repository().join(document);
    if std::env::var_os("PELTON_BLESS").is_some() {
        write(&path, table).expect("the table can be written");
        return;
    }
    let written = read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(table.lines()).find(|(old, new)| old != new);
    assert!(
        written == table,
        "{document} is out of date: PELTON_BLESS=1 cargo test -p pelton-tests --test house {filter}\n{differs:#?}"
    );
}

/// The test a mark belongs to: the next function if the mark stands above one, else the one it stands in.
pub(crate) fn function(lines: &[&str], at: usize) -> Option<String> {
    let is_above = lines[at..]
        .iter()
        .find(|line| !line.trim().starts_with("//"))
        .is_some_and(|line| line.trim().starts_with("#[") || name_of(line).is_some());
    if is_above {
        lines[at..].iter().find_map(|line| name_of(line))
    } else {
        lines[..at].iter().rev().find_map(|line| name_of(line))
    }
}

fn name_of(line: &str) -> Option<String> {
    let rest = line.trim().trim_start_matches("pub(crate) ").strip_prefix("fn ")?;
    Some(rest.split(['(', '<']).next()?.to_owned())
}
