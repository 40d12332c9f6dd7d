//! What holds of every source file.

use std::fs::read_to_string;

use pelton_tests::{files, relative};

use crate::packages::packages;

/// Rooms with `unsafe` code: memory, rings shared with the kernel, foreign functions, eBPF.
const UNSAFE: &[&str] = &[
    "dataplane/base/src/mem",
    "dataplane/packet/",
    "dataplane/afxdp/",
    "dataplane/dpdk/",
    "dataplane/tap/",
    "ebpf/xdp/",
    "storage/lmdb/",
    "tests/packetdrill/",
];

fn may_be_unsafe(path: &str) -> bool {
    UNSAFE.iter().any(|room| path.starts_with(room))
}

#[test]
fn unsafe_code_is_forbidden_outside_of_its_rooms() {
    let mut seen = 0;
    for package in packages() {
        for root in &package.roots {
            let path = relative(root);
            let source = read_to_string(root).expect("a root file");
            seen += 1;
            // A crate with one unsafe module denies what it cannot forbid.
            let wanted = if UNSAFE.iter().any(|room| room.starts_with(&package.folder)) {
                may_be_unsafe(&path)
                    || source.contains("#![forbid(unsafe_code)]")
                    || source.contains("#![deny(unsafe_code)]")
            } else {
                source.contains("#![forbid(unsafe_code)]")
            };
            assert!(wanted, "{path}: #![forbid(unsafe_code)] is missing");
        }
    }
    assert!(seen >= 10, "only {seen} crates were looked at");
}

#[test]
fn no_unsafe_block_is_outside_of_its_rooms() {
    // Tests and benches are crates of their own: the attribute of the library says nothing about them.
    for file in files(".rs") {
        let path = relative(&file);
        if may_be_unsafe(&path) {
            continue;
        }
        for (number, line) in read_to_string(&file).expect("a source file").lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for form in ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"] {
                assert!(!contains_word(code, form), "{path}:{}: {}", number + 1, line.trim());
            }
        }
    }
}

/// Whether `code` has `form` and does not only quote it.
fn contains_word(code: &str, form: &str) -> bool {
    code.match_indices(form).any(|(at, _)| !code[..at].ends_with('"'))
}

#[test]
fn every_file_says_what_it_owns() {
    // The one exception: `foo/tests.rs`, the tests of `foo.rs`, is introduced there.
    for file in files(".rs") {
        let path = relative(&file);
        let source = read_to_string(&file).expect("a source file");
        assert!(
            source.starts_with("//!") || path.ends_with("/tests.rs"),
            "{path} does not begin with `//!`: what it owns, what it never does"
        );
    }
}

#[test]
fn no_room_for_odds_and_ends() {
    for file in files(".rs") {
        let path = relative(&file);
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        assert!(
            !["util", "utils", "common", "helpers", "misc", "types", "manager", "handler"]
                .contains(&name.as_str()),
            "{path}: a file is named after the noun it owns"
        );
    }
}
