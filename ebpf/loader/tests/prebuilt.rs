//! The committed object is the one that was made from the sources as they are. This takes no compiler;
//! `ebpf/prebuilt/rebuild --check` builds it again and compares.

use std::process::Command;

#[test]
fn the_object_is_that_of_its_sources() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../prebuilt/rebuild");
    let output = Command::new(script).arg("--sources").output().expect("bash is there");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
