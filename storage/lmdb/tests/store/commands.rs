//! What `pelton store` does, beside a store that is written meanwhile and alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pelton_storage_lmdb::{StoreError, backup, check, compact, stats};
use pelton_storage_ops::reference::ReferenceStore;

use crate::client::{Client, options, told_by_reference, told_by_store};
use crate::scratch::Scratch;
use crate::script::{Line, Player};

/// Lines after which the store differs; all of shard 1.
fn lines(number: u64) -> [Line; 3] {
    let some =
        |len| Line::Enqueue { sessions: 0b1011, len, qos: 1, retain: false, sent: false, identifiers: 1 };
    [some(100 + number as u32), some(3_000), Line::Done(1, number as u8)]
}

#[test]
fn a_backup_and_a_check_see_one_moment_while_the_broker_writes() {
    let scratch = Scratch::new();
    let copies = Scratch::new();
    let mut client = Client::open(scratch.path(), options(2));
    let stop = Arc::new(AtomicBool::new(false));
    let (directory, stopped) = (scratch.path().to_owned(), stop.clone());
    let to = copies.path().to_owned();
    // LMDB allows a file once per process, so that those who look are another one.
    let looking = std::thread::spawn(move || {
        let mut made = 0;
        while !stopped.load(Ordering::SeqCst) || made < 3 {
            let copy = to.join(format!("copy-{made}"));
            let status = std::process::Command::new(std::env::current_exe().expect("this binary"))
                .args(["--exact", "commands::looks_at_a_store", "--ignored"])
                .env("PELTON_LOOK_DIRECTORY", &directory)
                .env("PELTON_LOOK_COPY", &copy)
                .stdout(std::process::Stdio::null())
                .status()
                .expect("a process of its own");
            assert!(status.success(), "the check or the backup of a running store failed");
            made += 1;
        }
        made
    });
    let mut reference = ReferenceStore::default();
    let mut player = Player::new();
    player.play(&Line::Put(1, true));
    player.play(&Line::Put(3, true));
    let mut states = vec![told_by_reference(&reference)];
    for number in 0..150 {
        lines(number).iter().for_each(|line| player.play(line));
        for batch in player.cut() {
            client.send(batch.clone());
            reference.apply(batch);
        }
        client.settle();
        reference.commit();
        states.push(told_by_reference(&reference));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    stop.store(true, Ordering::SeqCst);
    let made = looking.join().expect("looked");
    client.close();
    let mut last = 0;
    for number in 0..made {
        let restored = Scratch::new();
        std::fs::copy(copies.path().join(format!("copy-{number}")), restored.path().join("pelton.mdb"))
            .expect("restored");
        assert_eq!(check(restored.path()).expect("checked").problems, []);
        let mut client = Client::open(restored.path(), options(2));
        let told = told_by_store(&mut client);
        client.close();
        let at = states.iter().position(|state| *state == told).expect("the copy is of one moment");
        assert!(at >= last, "copies are of later and later moments");
        last = at;
    }
    assert!(last > 0);
}

/// The process that looks at a store another one writes.
#[test]
#[ignore = "a part of the test above, which starts it as a process of its own"]
fn looks_at_a_store() {
    let path = |name| std::path::PathBuf::from(std::env::var_os(name).expect("started by the test above"));
    let (directory, copy) = (path("PELTON_LOOK_DIRECTORY"), path("PELTON_LOOK_COPY"));
    assert_eq!(check(&directory).expect("checked").problems, []);
    assert!(!stats(&directory).expect("looked at").closed);
    backup(&directory, &copy).expect("copied");
    assert!(matches!(backup(&directory, &copy), Err(StoreError::Path { .. })), "a copy is never overwritten");
    assert!(matches!(compact(&directory), Err(StoreError::Locked { .. })));
}

#[test]
fn compaction_gives_free_pages_back_and_changes_nothing_else() {
    let scratch = Scratch::new();
    let mut client = Client::open(scratch.path(), options(2));
    let mut player = Player::new();
    player.play(&Line::Put(1, true));
    for _ in 0..100 {
        player.play(&Line::Enqueue {
            sessions: 0b11,
            len: 60_000,
            qos: 1,
            retain: false,
            sent: false,
            identifiers: 0,
        });
    }
    (0..6).for_each(|_| player.play(&Line::Subscribe(1, 2, 1, 9)));
    player.cut().into_iter().for_each(|batch| client.send(batch));
    client.settle();
    (0..95).for_each(|_| player.play(&Line::Done(1, 0)));
    player.cut().into_iter().for_each(|batch| client.send(batch));
    client.settle();
    let before = told_by_store(&mut client);
    client.close();
    let full = stats(scratch.path()).expect("looked at");
    assert!(full.closed && full.opened == 1 && full.free_bytes > full.used_bytes / 2, "{full:?}");
    let records = |name| full.databases.iter().find(|database| database.name == name).expect("there").records;
    assert_eq!((records("sess"), records("subs"), records("seg"), records("queue")), (1, 1, 5, 5));
    let (from, to) = compact(scratch.path()).expect("compacted");
    assert!(to < from / 4, "{from} bytes became {to}");
    let compacted = stats(scratch.path()).expect("looked at");
    assert_eq!(compacted.databases.iter().map(|database| database.records).sum::<u64>(), {
        full.databases.iter().map(|database| database.records).sum()
    });
    assert_eq!(check(scratch.path()).expect("checked").problems, []);
    let mut client = Client::open(scratch.path(), options(2));
    assert_eq!(told_by_store(&mut client), before);
    client.close();
}

#[test]
fn what_is_not_there_is_said() {
    let scratch = Scratch::new();
    let copy = scratch.path().join("copy");
    for missing in [
        check(scratch.path()).map(drop),
        stats(scratch.path()).map(drop),
        backup(scratch.path(), &copy),
        compact(scratch.path()).map(drop),
    ] {
        let text = missing.expect_err("no store").to_string();
        assert!(text.contains("there is no store at") && text.contains("pelton.mdb"), "{text}");
    }
}
