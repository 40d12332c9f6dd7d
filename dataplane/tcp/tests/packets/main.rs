//! Scripts of segments: what goes in, what must come out, and when. `scripts/README.md` says how they are written.

mod script;
mod world;

use std::path::Path;

/// Runs every script; all that fail are named.
#[test]
fn every_script_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packets/scripts");
    let mut paths: Vec<_> = folder
        .read_dir()
        .expect("the folder of the scripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pkt"))
        .collect();
    paths.sort();
    assert!(paths.len() > 20, "the scripts are there");
    let mut failed = Vec::new();
    for path in &paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).expect("a script is text");
        assert!(text.contains("RFC "), "{name} names what it covers");
        for (case, lines) in script::cases(&text) {
            if let Err(why) = world::run(&lines) {
                failed.push(format!("{name}, {case}: {why}"));
            }
        }
    }
    assert!(failed.is_empty(), "{}\n", failed.join("\n"));
}

/// The interpreter itself: what does not come, comes late, or is something else, is noticed.
#[test]
fn a_wrong_script_fails() {
    let good =
        "established <mss 1460>\nsend 10\n+0 > P. 1:11(10) ack 1\n+0 < . 1:1(0) ack 11 win 1000\nquiet 400\n";
    let (_, lines) = &script::cases(good)[0];
    assert_eq!(world::run(lines), Ok(()));
    for (from, to) in [
        ("1:11(10)", "1:12(11)"),
        ("ack 1\n", "ack 2\n"),
        ("P. 1", ". 1"),
        ("+0 < . 1:1(0) ack 11 win 1000\n", ""),
        ("quiet 400", "+50 > . 11:11(0) ack 1"),
        ("send 10\n", ""),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        let (_, lines) = &script::cases(&bad)[0];
        assert!(world::run(lines).is_err(), "{bad}");
    }
}
