//! What goes into a transaction, what is left out of it, and who is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pelton_storage_lmdb::{Policy, StoreEvent, Wake, check};
use pelton_storage_ops::{Answer, Batch, Group, OpKind, PageRequest};

use crate::client::{Client, options, whole_queue};
use crate::scratch::Scratch;
use crate::script::{Line, Player, SHARDS, session};

fn enqueue(sessions: u8) -> Line {
    Line::Enqueue { sessions, len: 100, qos: 1, retain: false, sent: false, identifiers: 0 }
}

fn count(client: &Client, event: StoreEvent) -> u64 {
    client.engine.status().counters.get(event)
}

#[test]
fn a_group_waits_for_all_its_parts() {
    let scratch = Scratch::new();
    let mut client = Client::open(scratch.path(), options(SHARDS));
    let group = Some(Group { id: 1, parts: 2 });
    let part = |shard| {
        let mut batch = Batch { shard, ..Batch::default() };
        batch.push(OpKind::Nothing, group, &[]);
        batch
    };
    client.send(part(0));
    let early = client.ports[0].answers.recv_timeout(Duration::from_millis(100));
    assert!(early.is_err(), "its other part has not come: {early:?}");
    client.send(part(1));
    for told in client.settle() {
        assert_eq!((told.until, told.failed.len()), (1, 0));
    }
    client.close();
}

#[test]
fn what_is_over_already_is_not_written() {
    let scratch = Scratch::new();
    let mut client = Client::open(scratch.path(), options(SHARDS));
    let mut player = Player::new();
    // Sessions 1 and 3 are of shard 1 (bit 0 chooses the shard). Two messages for both: the first is taken by both clients, the second
    // by one.
    for line in [
        Line::Put(1, false),
        Line::Put(3, false),
        enqueue(0b1011),
        enqueue(0b1011),
        Line::Done(1, 0),
        Line::Done(3, 0),
        Line::Done(1, 0),
    ] {
        player.play(&line);
    }
    player.cut().into_iter().for_each(|batch| client.send(batch));
    client.settle();
    assert_eq!(count(&client, StoreEvent::MessagesWritten), 1);
    assert_eq!(count(&client, StoreEvent::MessagesOvertaken), 1);
    assert_eq!(client.queue(session(1)).entries.len(), 0);
    assert_eq!(client.queue(session(3)).entries.len(), 1);
    client.close();
}

#[test]
fn what_a_session_that_ended_was_to_get_is_not_written() {
    let scratch = Scratch::new();
    let mut client = Client::open(scratch.path(), options(SHARDS));
    let mut player = Player::new();
    for line in [Line::Put(1, false), enqueue(0b11), Line::End(1), enqueue(0b11)] {
        player.play(&line);
    }
    player.cut().into_iter().for_each(|batch| client.send(batch));
    client.settle();
    assert_eq!(count(&client, StoreEvent::MessagesWritten), 0);
    assert_eq!(count(&client, StoreEvent::MessagesOvertaken), 2);
    assert_eq!(client.load().len(), 0);
    client.close();
    assert_eq!(check(scratch.path()).expect("checked").problems, []);
}

#[test]
fn a_segment_goes_with_the_last_message_somebody_waits_for() {
    let scratch = Scratch::new();
    let mut client = Client::open(scratch.path(), options(SHARDS));
    let mut player = Player::new();
    let long =
        Line::Enqueue { sessions: 0b11, len: 200_000, qos: 1, retain: false, sent: false, identifiers: 0 };
    for line in [Line::Put(1, false), enqueue(0b11), enqueue(0b11), long] {
        player.play(&line);
    }
    player.cut().into_iter().for_each(|batch| client.send(batch));
    client.settle();
    assert_eq!(count(&client, StoreEvent::SegmentsWritten), 5, "one of two messages, four of a long one");
    for (line, freed) in [(Line::Done(1, 1), 0), (Line::Done(1, 0), 1), (Line::Done(1, 0), 5)] {
        player.play(&line);
        player.cut().into_iter().for_each(|batch| client.send(batch));
        client.settle();
        assert_eq!(count(&client, StoreEvent::SegmentsFreed), freed, "{line:?}");
    }
    client.close();
    assert_eq!(check(scratch.path()).expect("checked").problems, []);
}

#[test]
fn a_shard_is_woken_after_it_was_told() {
    let scratch = Scratch::new();
    let woken = Arc::new(AtomicU32::new(0));
    let mut options = options(1);
    let counted = woken.clone();
    options.wakers = vec![Arc::new(move || _ = counted.fetch_add(1, Ordering::SeqCst)) as Wake];
    let mut client = Client::open(scratch.path(), options);
    let mut batch = Batch::default();
    batch.push(OpKind::Nothing, None, &[]);
    client.send(batch);
    client.settle();
    client.queue(session(0));
    let port = &client.ports[0];
    assert!(port.answers.is_empty());
    for _ in 0..100 {
        if woken.load(Ordering::SeqCst) == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(woken.load(Ordering::SeqCst), 2, "once for the completion, once for the page");
    client.close();
}

#[test]
fn a_shard_that_does_not_listen_misses_nothing() {
    let scratch = Scratch::new();
    let client = Client::open(scratch.path(), options(1));
    // Many more transactions than completions fit into its channel.
    let total = 5_000;
    for first in 0..total {
        let mut batch = Batch { first, ..Batch::default() };
        batch.push(OpKind::Nothing, None, &[]);
        client.ports[0].batches.send(batch).expect("taken");
    }
    let (mut until, mut returned) = (0, 0);
    while until < total {
        let answer = client.ports[0].answers.recv_timeout(Duration::from_secs(20)).expect("told");
        let Answer::Completed(completion) = answer else { panic!("a page nobody asked for") };
        assert!(completion.until > until);
        until = completion.until;
        returned += completion.returned.len() as u64;
    }
    assert_eq!((until, returned), (total, total));
    client.close();
}

#[test]
fn pages_wait_for_a_shard_that_is_behind_and_leave_room_for_completions() {
    let scratch = Scratch::new();
    let few = pelton_storage_lmdb::Options { pages_max: 4, ..options(1) };
    let client = Client::open(scratch.path(), few);
    let asked = 200;
    let requests = client.ports[0].requests.clone();
    let asking = std::thread::spawn(move || {
        for token in 0..asked {
            requests.send(PageRequest { token, ..whole_queue(session(0)) }).expect("taken");
        }
    });
    std::thread::sleep(Duration::from_millis(50));
    let mut batch = Batch::default();
    batch.push(OpKind::Nothing, None, &[]);
    client.ports[0].batches.send(batch).expect("taken");
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while client.ports[0].answers.len() < 5 && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    let first: Vec<Answer> = client.ports[0].answers.try_iter().take(5).collect();
    let completed = first.iter().filter(|answer| matches!(answer, Answer::Completed(_))).count();
    assert_eq!((first.len(), completed), (5, 1), "four pages, and the completion behind them");
    // In whatever order: who asks for a page asks for no other before it has come.
    let token = |answer: &Answer| if let Answer::Page(page) = answer { Some(page.token) } else { None };
    let mut tokens: Vec<u64> = first.iter().filter_map(token).collect();
    while tokens.len() < asked as usize {
        let answer = client.ports[0].answers.recv_timeout(Duration::from_secs(20)).expect("every page comes");
        let Answer::Page(page) = answer else { panic!("nothing else was to complete") };
        tokens.push(page.token);
    }
    tokens.sort_unstable();
    assert_eq!(tokens, (0..asked).collect::<Vec<u64>>(), "each of them once");
    asking.join().expect("asked");
    client.close();
}

#[test]
fn a_store_in_memory_begins_empty() {
    let scratch = Scratch::new();
    let memory = || pelton_storage_lmdb::Options { policy: Policy::Memory, ..options(SHARDS) };
    let mut client = Client::open(scratch.path(), memory());
    let mut player = Player::new();
    player.play(&Line::Put(1, false));
    player.cut().into_iter().for_each(|batch| client.send(batch));
    client.settle();
    assert_eq!(client.load().len(), 1);
    client.close();
    let client = Client::open(scratch.path(), memory());
    assert_eq!(client.load().len(), 0);
    client.close();
}
