//! Files that are damaged: named, never followed blindly; what is sound is served.

use std::path::Path;

use pelton_base::Rng;
use pelton_storage_lmdb::{Engine, Place, StoreError, StoreEvent, check};
use pelton_storage_ops::{Loaded, reference::ReferenceStore};

use crate::client::{Client, loaded_shown, options, shown, sorted, told_by_store, whole_queue};
use crate::scratch::Scratch;
use crate::script::{Line, Player, SHARDS};

fn store(directory: &Path) -> ReferenceStore {
    let mut client = Client::open(directory, options(SHARDS));
    let mut reference = ReferenceStore::default();
    let mut player = Player::new();
    for number in 0..5 {
        player.play(&Line::Put(number, true));
        (0..6).for_each(|filter| player.play(&Line::Subscribe(number, filter, 1, 7)));
        player.play(&Line::Received(number, 3));
        player.play(&Line::Burst(number, 300));
        player.play(&Line::Retain(number as u8, 100));
    }
    let long = Line::Enqueue { sessions: 31, len: 70_000, qos: 1, retain: true, sent: true, identifiers: 2 };
    player.play(&long);
    for batch in player.cut() {
        client.send(batch.clone());
        reference.apply(batch);
    }
    client.settle();
    reference.commit();
    client.close();
    reference
}

/// Replaces the store's file.
fn put(directory: &Path, bytes: &[u8]) {
    let _ = std::fs::remove_file(directory.join("pelton.mdb-lock"));
    std::fs::write(directory.join("pelton.mdb"), bytes).expect("written");
}

#[test]
fn what_is_no_store_is_refused() {
    let scratch = Scratch::new();
    store(scratch.path());
    let file = std::fs::read(scratch.path().join("pelton.mdb")).expect("read");
    let mut other = file.clone();
    other[20] ^= 0xFF;
    other[4096 + 20] ^= 0xFF;
    let cases: [(&str, &[u8]); 5] = [
        ("empty", &[]),
        ("short", &file[..5000]),
        ("text", &[b'x'; 20_000]),
        ("both meta pages damaged", &other),
        ("cut in half", &file[..file.len() / 2 / 4096 * 4096]),
    ];
    for (name, bytes) in cases {
        put(scratch.path(), bytes);
        let refused = Engine::open(scratch.path(), options(1));
        assert!(
            matches!(refused, Err(StoreError::NotAStore { .. } | StoreError::Damaged { .. })),
            "{name}: {refused:?}"
        );
        let text = refused.expect_err("matched above").to_string();
        assert!(text.contains("pelton.mdb") && text.contains("restore a backup"), "{name}: {text}");
        let report = check(scratch.path());
        assert!(report.is_err() || report.is_ok_and(|report| !report.is_clean()), "{name}");
        assert_eq!(std::fs::read(scratch.path().join("pelton.mdb")).expect("read"), bytes, "{name}");
    }
}

#[test]
fn a_second_user_is_told_who_has_it() {
    let scratch = Scratch::new();
    let client = Client::open(scratch.path(), options(1));
    let refused = Engine::open(scratch.path(), options(1)).expect_err("locked");
    let text = refused.to_string();
    assert!(text.contains("in use by another process") && text.contains("pelton.lock"), "{text}");
    assert!(matches!(pelton_storage_lmdb::compact(scratch.path()), Err(StoreError::Locked { .. })));
    client.close();
    Client::open(scratch.path(), options(1)).close();
}

#[test]
fn every_flipped_bit_is_named_or_means_nothing() {
    let scratch = Scratch::new();
    let reference = store(scratch.path());
    let file = std::fs::read(scratch.path().join("pelton.mdb")).expect("read");
    let expected: Vec<String> = sorted(reference.load()).iter().map(loaded_shown).collect();
    let mut rng = Rng::with_seed(11);
    let (mut meaningless, mut pages, mut records) = (0, 0, 0);
    for _ in 0..flips() {
        let mut flipped = file.clone();
        let bit = rng.below(file.len() as u64 * 8);
        flipped[(bit / 8) as usize] ^= 1 << (bit % 8);
        put(scratch.path(), &flipped);
        let report = match check(scratch.path()) {
            Ok(report) => report,
            Err(StoreError::NotAStore { .. }) => {
                pages += 1;
                continue;
            }
            Err(error) => panic!("bit {bit}: {error}"),
        };
        let opened = Engine::open(scratch.path(), options(SHARDS));
        if report.problems.iter().any(|problem| !matches!(problem.place, Place::Record { .. })) {
            pages += 1;
            // The start does not look into pages of large values; a page it finds wrong it does not follow.
            let Ok((engine, ports)) = opened else { continue };
            drop(ports);
            engine.close();
            continue;
        }
        let (engine, ports) = opened.unwrap_or_else(|error| panic!("bit {bit}: {error}"));
        drop(ports);
        engine.close();
        let mut client = Client::open(scratch.path(), options(SHARDS));
        let found: Vec<String> = client.load().iter().map(loaded_shown).collect();
        if report.is_clean() {
            meaningless += 1;
            assert_eq!(found, expected, "bit {bit} is not named");
            for &session in reference.durable().sessions.keys() {
                assert_eq!(shown(&client.queue(session)), shown(&reference.page(&whole_queue(session))));
            }
        } else {
            records += 1;
            let missing = expected.iter().filter(|one| !found.contains(one)).count();
            assert!(missing <= 1, "bit {bit}: one record is damaged, {missing} sessions or topics changed");
            let damaged: u32 = reference.durable().sessions.keys().map(|&s| client.queue(s).damaged).sum();
            assert!(damaged <= 5, "bit {bit}: one message is damaged, {damaged} deliveries are");
        }
        client.close();
    }
    println!("{} flips: {pages} in pages, {records} in records, {meaningless} of no meaning", flips());
    assert!(pages > 0 && records > 0);
}

fn flips() -> u64 {
    std::env::var("PELTON_FLIPS").ok().and_then(|count| count.parse().ok()).unwrap_or(150)
}

#[test]
fn a_damaged_session_is_moved_aside_and_the_others_are_served() {
    let scratch = Scratch::new();
    let reference = store(scratch.path());
    let mut file = std::fs::read(scratch.path().join("pelton.mdb")).expect("read");
    let places: Vec<usize> =
        file.windows(8).enumerate().filter(|(_, bytes)| bytes == b"client-2").map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|&at| file[at] ^= 4);
    put(scratch.path(), &file);
    let report = check(scratch.path()).expect("checked");
    let named = report.problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(named.iter().any(|text| text.starts_with("sess ")), "{named:?}");
    let client = Client::open(scratch.path(), options(SHARDS));
    assert_eq!(client.engine.status().counters.get(StoreEvent::RecordsQuarantined), 1);
    let found = client.load();
    let sessions = found.iter().filter(|one| matches!(one, Loaded::Session(_))).count();
    assert_eq!((sessions, found.len()), (4, reference.load().len() - 1));
    client.close();
    // The next start has nothing to move; what was moved is still named.
    let mut client = Client::open(scratch.path(), options(SHARDS));
    assert_eq!(client.engine.status().counters.get(StoreEvent::RecordsQuarantined), 0);
    told_by_store(&mut client);
    client.close();
    let report = check(scratch.path()).expect("checked");
    assert!(report.problems.iter().any(|problem| problem.to_string().starts_with("lost 73")));
}
