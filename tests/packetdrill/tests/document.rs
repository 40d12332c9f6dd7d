//! The document says what the list says.

use std::fs::read_to_string;

#[test]
fn the_table_is_of_the_list() {
    let here = env!("CARGO_MANIFEST_DIR");
    let list = read_to_string(format!("{here}/results.txt")).expect("the list");
    let document = read_to_string(format!("{here}/../../docs/tcp-packetdrill.md")).expect("the document");
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
    let lines: Vec<&str> = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(rows.len(), lines.len());
    for (row, line) in rows.iter().zip(lines) {
        let mut parts = line.split('|').map(str::trim);
        let (name, verdict) = (parts.next().expect("a script"), parts.next().expect("a verdict"));
        assert!(matches!(verdict, "pass" | "other" | "not offered"), "{line}");
        assert!(
            row.starts_with(&format!("| `{name}`")) && row.contains(&format!("| {verdict} |")),
            "{row}: {line}"
        );
        // A script that does not pass says why, one that does has nothing to say.
        assert_eq!(parts.next().is_none(), verdict == "pass", "{line}");
    }
}
