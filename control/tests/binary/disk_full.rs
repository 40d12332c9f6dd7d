//! A disk that is full, through the whole broker: a small file system in a mount namespace of the test's own. That takes
//! root; without, the test says that it did not run.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pelton_mqtt::Version;
use rustix::process::Signal;

use crate::client::Client;
use crate::place::{Place, away, publish, publish_packet, stores, take_all, wait_for_figure};
use crate::running::{PATIENCE, Running};

/// A file system of 24 MiB that only those see who enter.
struct Disk {
    place: Place,
    holder: Child,
}

impl Disk {
    /// `None` without the right to make one.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            let said = b"SKIPPED (not root): a full disk through the whole broker needs a mount namespace\n";
            // Past the test's capture of its output.
            let _ = std::io::stderr().write_all(said);
            return None;
        }
        let place = Place::new("disk");
        std::fs::create_dir_all(&place.0).expect("it is ours");
        let holder = Command::new("unshare")
            .args([
                "--mount",
                "sh",
                "-c",
                "mount -t tmpfs -o size=24m pelton-test \"$0\" && echo made && exec sleep 600",
            ])
            .arg(&place.0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is there");
        let mut disk = Self { place, holder };
        let mut said = [0; 5];
        let out = disk.holder.stdout.as_mut().expect("it is piped");
        std::io::Read::read_exact(out, &mut said).expect("root may mount");
        assert_eq!(&said, b"made\n");
        Some(disk)
    }

    fn serve(&self) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--target", &self.holder.id().to_string(), "--"])
            .args([env!("CARGO_BIN_EXE_pelton"), "serve", "--bind", "127.0.0.1:0", "--data"])
            .arg(self.place.0.join("data"))
            .env("PELTON__QUEUE__MESSAGES_MAX", "1000000");
        stores(&mut command);
        command
    }

    /// A file on the disk, seen from here.
    fn ballast(&self) -> PathBuf {
        let inside = self.place.0.join("ballast");
        PathBuf::from(format!("/proc/{}/root{}", self.holder.id(), inside.display()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// What is published: a number and what fills the disk.
fn payload(number: usize) -> Vec<u8> {
    let mut payload = number.to_string().into_bytes();
    payload.resize(20_000, b' ');
    payload
}

#[test]
fn a_full_disk_is_said_and_survived_and_nothing_acknowledged_is_lost() {
    let Some(disk) = Disk::new() else { return };
    let mut broker = Running::of(&mut disk.serve());
    std::fs::write(disk.ballast(), vec![0x55; 12 << 20]).expect("half of the disk");
    let address = broker.address;
    away(address, "away", "a/+");
    let mut live = Client::connect(address, Version::V5, "live");
    live.subscribe("live");
    let mut older = Client::connect(address, Version::V311, "older");
    let mut publisher = Client::connect(address, Version::V5, "p");
    let mut acknowledged = Vec::new();
    let mut number = 0;
    let mut refused = |publisher: &mut Client, acknowledged: &mut Vec<usize>| {
        number += 1;
        match publish(publisher, "a/b", (number % 60_000 + 1) as u16, &payload(number)) {
            0 => acknowledged.push(number),
            0x97 => return true,
            code => panic!("refused with 0x{code:02X}"),
        }
        assert!(number < 2_000, "a disk of 24 MiB holds no 40");
        false
    };
    while !refused(&mut publisher, &mut acknowledged) {}
    assert!(acknowledged.len() > 50, "{} messages", acknowledged.len());
    broker.wait_for("is full");
    wait_for_figure(address, "$SYS/broker/pelton/storage/state", "full");
    assert!(
        broker.said.iter().any(|line| line.contains("ERROR") && line.contains("is full")),
        "{:?}",
        broker.said
    );

    // v3 knows no refusal: its publish waits in front of the connection, or, if it was the one that storage was
    // tried with, the connection ends. It is never acknowledged.
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "a v3 publisher was never made to wait");
        while !refused(&mut publisher, &mut acknowledged) {}
        older.send(&publish_packet(Version::V311, "a/v3", 7, &payload(0)));
        if older.hears_nothing(Duration::from_millis(300)) {
            break;
        }
        assert_eq!(older.receive(), None, "acknowledged though the disk is full");
        older = Client::connect(address, Version::V311, "older");
    }
    // What needs no disk goes on meanwhile.
    Client::connect(address, Version::V5, "q0").publish("live", b"goes on");
    assert_eq!(live.message(), ("live".into(), "goes on".into()));

    std::fs::remove_file(disk.ballast()).expect("it is there");
    broker.wait_for("takes writes again");
    wait_for_figure(address, "$SYS/broker/pelton/storage/state", "well");
    let last = payload(999_999);
    assert_eq!(publish(&mut publisher, "a/b", 1, &last), 0);
    // The one that waited is acknowledged now, or told by the end of its connection to send again.
    if older.receive().is_none() {
        older = Client::connect(address, Version::V311, "older");
        older.send(&publish_packet(Version::V311, "a/v3", 7, &payload(0)));
        assert_eq!(older.receive().expect("PUBACK")[0], 0x40);
    }

    broker.signal(Signal::KILL);
    broker.wait();
    let broker = Running::of(&mut disk.serve());
    let taken = take_all(broker.address, "away", "a/b");
    let mut numbers: Vec<usize> = taken
        .iter()
        .map(|payload| std::str::from_utf8(payload).expect("text").trim_end().parse().expect("a number"))
        .collect();
    assert!(numbers.contains(&0), "what waited in front of its connection");
    assert!(numbers.contains(&999_999), "what came after");
    // What was refused may have been stored by then, too: it was not promised either way.
    numbers.retain(|number| acknowledged.contains(number));
    assert_eq!(numbers, acknowledged, "all that was acknowledged, once and in order");
}
