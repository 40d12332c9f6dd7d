//! Stores that are refused: they are left as they were, and it is said what is wrong.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::place::{Place, stores};
use crate::running::{Running, run, run_command};

/// A store that a broker made and left in order.
fn made(name: &str) -> Place {
    let place = Place::new(name);
    let mut broker = Running::of(&mut place.serve());
    broker.signal(Signal::TERM);
    broker.wait();
    place
}

/// Everything in a directory.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(directory).expect("it can be read");
    files
        .map(|file| {
            let path = file.expect("it can be read").path();
            let bytes = std::fs::read(&path).expect("it can be read");
            (path, bytes)
        })
        .collect()
}

/// CRC32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0x82F6_3B78 } else { 0 })
    })
}

/// The record of a format as docs/storage-format.md has it: key, checksum of tag, key and number, number.
fn format_record(format: u32) -> Vec<u8> {
    let sum = crc32c(&[&b"mformat"[..], &format.to_le_bytes()].concat());
    [&b"format"[..], &sum.to_le_bytes(), &format.to_le_bytes()].concat()
}

#[test]
fn a_store_of_a_newer_format_is_named_and_not_touched() {
    let place = made("newer");
    let file = place.0.join("pelton.mdb");
    let mut bytes = std::fs::read(&file).expect("it is there");
    let (now, later) = (format_record(1), format_record(7));
    // Old pages hold copies; every one is changed.
    let found: Vec<usize> =
        (0..bytes.len() - now.len()).filter(|&at| bytes[at..].starts_with(&now)).collect();
    assert!(!found.is_empty(), "the format is where the document says");
    found.into_iter().for_each(|at| bytes[at..at + later.len()].copy_from_slice(&later));
    std::fs::write(&file, &bytes).expect("it is ours");
    let before = contents(&place.0);
    let copy = place.0.with_extension("copy");
    let copy = copy.to_str().expect("ASCII");
    let refused = |ended: crate::running::Ended| {
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let said = &ended.err;
        assert!(said.contains("has format 7") && said.contains("formats up to 1"), "{said}");
        assert!(said.contains(file.to_str().expect("ASCII")), "{said}");
        assert!(!said.contains("listening on"), "{said}");
    };
    refused(run_command(&mut place.serve()));
    assert!(contents(&place.0) == before, "not a byte and not a file of it was changed");
    for command in
        [&["store", "stats"][..], &["store", "check"], &["store", "backup", copy], &["store", "compact"]]
    {
        refused(run(&[command, &["--data", place.text()]].concat()));
    }
    // Commands that may look beside a running broker make LMDB's table of readers anew, and change nothing else.
    let of_readers = place.0.join("pelton.mdb-lock");
    let without = |mut files: BTreeMap<PathBuf, Vec<u8>>| {
        files.remove(&of_readers);
        files
    };
    assert!(without(contents(&place.0)) == without(before), "not a byte of it was changed");
    assert!(!Path::new(copy).exists());
}

/// Somebody who may not write where root may: modes bind everybody but root.
const NOBODY: u32 = 65_534;

/// The broker as a user whom modes bind, from a place that user can reach.
fn serve_as_nobody(program: &Path, place: &Place) -> Command {
    let mut command = Command::new(program);
    command.args(["serve", "--bind", "127.0.0.1:0", "--data", place.text()]).env_clear();
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    stores(&mut command);
    command
}

#[test]
fn a_read_only_directory_is_refused_with_its_path() {
    let reach = Place::new("program");
    std::fs::create_dir_all(&reach.0).expect("it is ours");
    std::fs::set_permissions(&reach.0, PermissionsExt::from_mode(0o755)).expect("it is ours");
    let program = reach.0.join("pelton");
    std::fs::copy(env!("CARGO_BIN_EXE_pelton"), &program).expect("there is room");
    let empty = Place::new("read-only");
    std::fs::create_dir_all(&empty.0).expect("it is ours");
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("it is ours");
    };
    for place in [empty, made("read-only-store")] {
        mode(&place.0, 0o755);
        for file in contents(&place.0).keys() {
            mode(file, 0o444);
        }
        mode(&place.0, 0o555);
        let before = contents(&place.0);
        let ended = run_command(&mut serve_as_nobody(&program, &place));
        let after = contents(&place.0);
        mode(&place.0, 0o755);
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        let errors: Vec<&str> = ended.err.lines().filter(|line| line.contains("ERROR")).collect();
        assert_eq!(errors.len(), 1, "{}", ended.err);
        assert!(errors[0].contains(place.text()) && errors[0].contains("denied"), "{}", errors[0]);
        assert!(errors[0].contains("--data"), "the way out: {}", errors[0]);
        assert!(before == after, "nothing was changed");
        // What refused it is the mode: where the same user may write, it runs.
        mode(&place.0, 0o777);
        contents(&place.0).keys().for_each(|file| mode(file, 0o666));
        let mut broker = Running::of(&mut serve_as_nobody(&program, &place));
        broker.signal(Signal::TERM);
        broker.wait();
    }
}
