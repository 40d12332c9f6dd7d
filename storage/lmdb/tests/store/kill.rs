//! The process is killed while it writes, again and again on one store: what it had told is there, in order,
//! and nothing that was not sent.
//!
//! `PELTON_KILLS=200 cargo test -p pelton-storage-lmdb --test store kill` for many.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use pelton_base::Rng;
use pelton_storage_lmdb::check;
use pelton_storage_ops::reference::ReferenceStore;
use pelton_storage_ops::{Answer, Batch};

use crate::client::{Client, options, told_by_reference, told_by_store};
use crate::scratch::Scratch;
use crate::script::{Line, Player};

/// Batches that are under way when the process is killed.
const WINDOW: u64 = 16;

/// The batches of all rounds, one after the other: all of shard 1.
struct Source {
    player: Player,
    rng: Rng,
}

impl Source {
    fn new() -> Self {
        Self { player: Player::new(), rng: Rng::with_seed(5) }
    }

    fn next(&mut self) -> Batch {
        let rng = &mut self.rng;
        for _ in 0..1 + rng.below(8) {
            let session = 1 + 2 * rng.below(2);
            let nth = rng.below(256) as u8;
            let line = match rng.below(20) {
                0 => Line::Put(session, nth.is_multiple_of(2)),
                1 if nth < 8 => Line::End(session),
                1 => Line::Subscribe(session, nth % 6, nth % 3, u32::from(nth)),
                2 => Line::Received(session, u16::from(nth)),
                3 => Line::Unreceived(session, u16::from(nth)),
                4 => Line::Done(session, nth),
                5..=7 => Line::DoneUpTo(session, nth),
                8 => Line::Sent(session, nth),
                9 => Line::Released(session, nth),
                10 => Line::Burst(session, u16::from(nth / 8)),
                _ => Line::Enqueue {
                    sessions: 1 | nth,
                    len: rng.below(if nth == 0 { 200_000 } else { 500 }) as u32,
                    qos: 1 + nth % 2,
                    retain: false,
                    sent: nth.is_multiple_of(3),
                    identifiers: nth % 2,
                },
            };
            self.player.play(&line);
        }
        match self.player.cut().pop() {
            Some(batch) => batch,
            None => self.next(),
        }
    }
}

/// The process that is killed: plays from batch `PELTON_KILL_FROM` on, and tells how many batches are decided.
#[test]
#[ignore = "a part of the test below, which starts it as a process of its own"]
fn plays_until_it_is_killed() {
    let directory =
        PathBuf::from(std::env::var_os("PELTON_KILL_DIRECTORY").expect("started by the test below"));
    let from: u64 = std::env::var("PELTON_KILL_FROM").expect("set").parse().expect("a number");
    let mut source = Source::new();
    (0..from).for_each(|_| drop(source.next()));
    let client = Client::open(&directory, options(2));
    let port = &client.ports[1];
    let mut out = std::io::stdout();
    let mut ends = std::collections::VecDeque::new();
    let mut decided = from;
    loop {
        while (ends.len() as u64) < WINDOW {
            let batch = source.next();
            ends.push_back(batch.end());
            port.batches.send(batch).expect("taken");
        }
        let Ok(Answer::Completed(completion)) = port.answers.recv() else { panic!("no answer") };
        assert_eq!(completion.failed, []);
        while ends.pop_front_if(|end| *end <= completion.until).is_some() {
            decided += 1;
        }
        writeln!(out, "decided {decided}").expect("the test listens");
    }
}

fn kills() -> u64 {
    std::env::var("PELTON_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(20)
}

#[test]
fn what_was_told_before_a_kill_is_there_after_it() {
    let scratch = Scratch::on_disk();
    let mut rng = Rng::with_seed(kills());
    let mut source = Source::new();
    let mut reference = ReferenceStore::default();
    let mut holds = 0;
    for kill in 0..kills() {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "kill::plays_until_it_is_killed", "--ignored", "--nocapture"])
            .env("PELTON_KILL_DIRECTORY", scratch.path())
            .env("PELTON_KILL_FROM", holds.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process of its own");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut told = holds;
        let mut wanted = rng.below(12);
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("decided ") {
                told = number.parse().expect("a number");
                if wanted == 0 {
                    std::thread::sleep(Duration::from_micros(rng.below(4) * rng.below(2_000)));
                    child.kill().expect("killed");
                }
                wanted = wanted.saturating_sub(1);
            }
        }
        let ended = child.wait().expect("waited for");
        assert!(!ended.success(), "it ends by being killed");
        assert_eq!(check(scratch.path()).expect("checked").problems, []);
        let mut client = Client::open(scratch.path(), options(2));
        let found = told_by_store(&mut client);
        client.close();
        // What it holds is what some number of batches leave, no fewer than were told.
        loop {
            if holds >= told {
                reference.commit();
                if told_by_reference(&reference) == found {
                    break;
                }
            }
            assert!(holds <= told + 2 * WINDOW, "kill {kill}: nothing sent leaves this, {told} were told");
            reference.apply(source.next());
            holds += 1;
        }
    }
    println!("{} kills, {holds} batches", kills());
}
