//! The generated pages are what the code says.

use std::path::Path;
use std::process::Stdio;

use crate::running::{Ended, pelton, run};

#[test]
fn the_pages_in_docs_are_those_of_the_code() {
    for (page, file) in [("config", "CONFIG.md"), ("cli", "CLI.md"), ("metrics", "METRICS.md")] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        let generated = run(&["docs", page]).out;
        assert!(generated.lines().count() > 20, "{page}: {generated}");
        assert!(
            written == generated,
            "docs/{file} is not what the code says; write it anew: cargo run -p pelton -- docs --write docs"
        );
    }
}

#[test]
fn the_operating_page_knows_every_exit_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATING.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    for code in ["`0`", "`1`", "`2`", "`70`"] {
        assert!(page.contains(&format!("| {code} |")), "exit code {code} is missing");
    }
}

#[test]
fn the_version_says_what_was_built() {
    let out = run(&["version"]).out;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], format!("pelton {}", env!("CARGO_PKG_VERSION")));
    assert!(lines[1].starts_with("commit "), "{out}");
    assert!(lines[2].starts_with("target ") && lines[2].contains("linux"), "{out}");
    assert_eq!(lines[3], "datapath AF_XDP zero-copy, AF_XDP copy, AF_XDP generic, kernel sockets, TAP");
}

#[test]
fn an_output_that_nobody_reads_is_no_fault() {
    let mut command = pelton(&["config", "dump"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the built binary runs");
    drop(child.stdout.take());
    let ended: Ended = child.wait_with_output().expect("it is our child").into();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
}
