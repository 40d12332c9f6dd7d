//! The short form: every stream must be as it was sent, over every link and with every client, and end. How long it takes
//! the long form looks at: a single time-out more or less decides that of few and short runs.
#![forbid(unsafe_code)]

use std::process::Command;

#[test]
fn streams_are_equal() {
    let run = Command::new(env!("CARGO_BIN_EXE_pelton-differential"))
        .args(["run", "--runs", "3", "--divide", "16", "--limit", "1e9"])
        .output()
        .expect("the binary that was just built starts");
    let said = [run.stdout, run.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if said.contains("SKIPPED") {
        use std::io::Write;
        // Not by a macro: what those print of a test that passes is kept from everybody.
        let _ = std::io::stderr().write_all(said.as_bytes());
    }
    assert!(run.status.success(), "{said}");
}
