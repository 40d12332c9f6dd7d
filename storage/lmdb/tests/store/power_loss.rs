//! What a loss of power leaves. Everything the store writes is recorded; then the file is rebuilt as it may lie
//! on the medium after a loss of power at any moment: what was made durable, and of the rest any part, torn at
//! sectors. Every such image must open, check clean, and hold what was acknowledged.
//!
//! What is written through the descriptor that makes durable at once is the meta page: durable when the call
//! returns, and within one sector, so never torn.
//!
//! `PELTON_CRASH_IMAGES=10000 cargo test -p pelton-storage-lmdb --test store --release power_loss` for many.

use std::path::Path;

use pelton_base::Rng;
use pelton_storage_lmdb::{Options, Policy, check};
use pelton_storage_ops::reference::ReferenceStore;
use pelton_storage_ops::{Batch, Group, OpKind};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::client::{Client, options, told_by_reference, told_by_store};
use crate::recorder::{Event, Recorder};
use crate::scratch::Scratch;
use crate::script::{Line, Player, SHARDS, line};

/// Transactions of a recorded run.
const TRANSACTIONS: usize = 40;

/// What a run wrote, and what the store was to hold after each transaction.
struct Run {
    /// The file as it was before.
    base: Vec<u8>,
    events: Vec<Event>,
    states: Vec<String>,
}

fn small(policy: Policy) -> Options {
    // Small, so that the map grows while it is recorded.
    Options { policy, map_bytes: 1 << 18, ..options(SHARDS) }
}

/// Lines of a script, the same for the same seed.
fn lines(seed: u64, count: usize) -> Vec<Line> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let lines = proptest::collection::vec(line(), count);
    lines.new_tree(&mut runner).expect("lines").current()
}

/// Batches that go into one transaction: those of both shards are parts of a group.
fn one_transaction(mut batches: Vec<Batch>, number: u64) -> Vec<Batch> {
    if batches.len() == 2 {
        let group = Some(Group { id: 1 << 32 | number, parts: 2 });
        for batch in &mut batches {
            batch.push(OpKind::Nothing, group, &[]);
        }
    }
    batches
}

fn record(policy: Policy, seed: u64) -> Run {
    let scratch = Scratch::new();
    Client::open(scratch.path(), small(policy)).close();
    let file = scratch.path().join("pelton.mdb");
    let base = std::fs::read(&file).expect("the store's file");
    let recorder = Recorder::arm(&file);
    let mut client = Client::open(scratch.path(), small(policy));
    let mut reference = ReferenceStore::default();
    let mut player = Player::new();
    let mut states = vec![told_by_reference(&reference)];
    let mut script = lines(seed, 40 * TRANSACTIONS).into_iter();
    (0..5).for_each(|number| player.play(&Line::Put(number, true)));
    for number in 0..TRANSACTIONS as u64 {
        let some = script.by_ref().take(12);
        some.filter(|line| !matches!(line, Line::Cut | Line::Settle | Line::Reopen))
            .for_each(|line| player.play(&line));
        let batches = one_transaction(player.cut(), number);
        player.skip(&batches);
        for batch in batches {
            client.send(batch.clone());
            reference.apply(batch);
        }
        client.settle();
        reference.commit();
        states.push(told_by_reference(&reference));
        recorder.mark(number + 1);
    }
    // The end is not recorded: power is lost while the store is open.
    let events = recorder.take();
    client.close();
    Run { base, events, states }
}

/// Writes an image, lets the store open it, and returns which of `states` it holds.
fn open_image(directory: &Path, image: &[u8], policy: Policy, states: &[String]) -> Option<usize> {
    for name in ["pelton.mdb", "pelton.mdb-lock"] {
        let _ = std::fs::remove_file(directory.join(name));
    }
    std::fs::write(directory.join("pelton.mdb"), image).expect("an image is written");
    let report = check(directory).expect("every image is a store");
    assert_eq!(report.problems, []);
    let mut client = Client::open(directory, small(policy));
    let told = told_by_store(&mut client);
    client.close();
    // The newest first: a transaction may change nothing.
    states.iter().rposition(|state| *state == told)
}

fn overwrite(image: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let at = at as usize;
    if image.len() < at + bytes.len() {
        image.resize(at + bytes.len(), 0);
    }
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Some part of what was written and not made durable.
fn tear(image: &mut Vec<u8>, pending: &[(u64, &[u8])], rng: &mut Rng) {
    let sector = if rng.below(2) == 0 { 512 } else { 4096 };
    // Now and then all or nothing of most of them, which single coins would hardly ever give.
    let likely = [0, 10, 50, 90, 100][rng.below(5) as usize];
    for &(at, bytes) in pending {
        match rng.below(4) {
            0 => {
                for (number, part) in bytes.chunks(sector).enumerate() {
                    if rng.below(100) < likely {
                        overwrite(image, at + (number * sector) as u64, part);
                    }
                }
            }
            _ if rng.below(100) < likely => overwrite(image, at, bytes),
            _ => {}
        }
    }
}

/// Rebuilds `images` files from `run`, spread over its events, and opens each.
fn lose_power(run: &Run, policy: Policy, images: usize, seed: u64) {
    let scratch = Scratch::new();
    let mut rng = Rng::with_seed(seed);
    let mut durable = run.base.clone();
    let mut pending: Vec<(u64, &[u8])> = Vec::new();
    let mut done = 0;
    let mut made = 0;
    let mut behind = 0;
    for (at, event) in run.events.iter().enumerate() {
        // Before the event: power goes while it is under way.
        let due = (at + 1) * images / run.events.len();
        while made < due {
            made += 1;
            let mut image = durable.clone();
            tear(&mut image, &pending, &mut rng);
            let newest = (done + 1).min(run.states.len() - 1);
            let found = open_image(scratch.path(), &image, policy, &run.states[..=newest]);
            let found = found.unwrap_or_else(|| {
                panic!("image {made} at event {at}, after {done} transactions, holds none of their states")
            });
            let oldest = match policy {
                Policy::Commit => done,
                // The meta page of the transaction before is durable with the data of this one.
                _ => done.saturating_sub(1),
            };
            assert!(
                found >= oldest || run.states[found] == run.states[oldest],
                "image {made} at event {at} holds transaction {found}, {done} were acknowledged"
            );
            behind += usize::from(found < done);
        }
        match event {
            Event::Write { at, bytes, synced: true } => overwrite(&mut durable, *at, bytes),
            Event::Write { at, bytes, synced: false } => pending.push((*at, bytes)),
            Event::Sync => {
                pending.drain(..).for_each(|(at, bytes)| overwrite(&mut durable, at, bytes));
            }
            Event::Mark(number) => done = *number as usize,
        }
    }
    assert_eq!(made, images);
    println!(
        "{policy:?}: {images} images of {} events, {} transactions; {behind} lost the last",
        run.events.len(),
        run.states.len() - 1
    );
}

/// Images to make: `PELTON_CRASH_IMAGES`, or some hundreds.
fn images() -> usize {
    std::env::var("PELTON_CRASH_IMAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(300)
}

/// Makes that many images, of a new script every 500.
fn run(policy: Policy, images: usize) {
    let mut left = images;
    for seed in 1.. {
        let some = left.min(500);
        lose_power(&record(policy, seed), policy, some, seed);
        left -= some;
        if left == 0 {
            return;
        }
    }
}

#[test]
fn with_commit_nothing_acknowledged_is_lost() {
    run(Policy::Commit, images());
}

#[test]
fn with_relaxed_the_last_may_be_undone_and_nothing_is_damaged() {
    run(Policy::Relaxed, images());
}
