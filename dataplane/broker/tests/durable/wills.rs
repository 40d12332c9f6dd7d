//! Wills of stored sessions, when the broker ends before, while or after they are due.

use std::collections::BTreeSet;

use crate::clients::Subscriber;
use crate::promises::{go, settings};
use crate::wire::Version;
use crate::world::{Disk, World};

/// A world in which a client watches all wills, and clients with a will each are connected.
fn watched(shards: usize, clients: usize) -> (World, Subscriber, Vec<Subscriber>) {
    let mut world = World::new(shards, settings());
    let mut watcher = Subscriber::new("watcher", Version::V311, "will/#", 1);
    watcher.connect(&mut world, 0);
    watcher.subscribe(&mut world);
    go(&mut world, &mut [], &mut [&mut watcher]);
    let clients = (0..clients)
        .map(|n| {
            let mut client = Subscriber::new(&format!("client-{n}"), Version::V311, "none", 1);
            client.connect_with(&mut world, n % shards, Some((&format!("will/{n}"), b"gone")));
            go(&mut world, &mut [], &mut [&mut client]);
            assert!(client.connected);
            client
        })
        .collect();
    (world, watcher, clients)
}

/// The wills that the watcher has got when it is back.
fn wills(world: &mut World, watcher: &mut Subscriber) -> BTreeSet<String> {
    if watcher.conn.is_none() {
        watcher.connect(world, 0);
    }
    go(world, &mut [], &mut [watcher]);
    watcher.got.iter().map(|got| got.topic.clone()).collect()
}

#[test]
fn a_client_that_is_back_at_once_does_not_take_its_will_back() {
    let (mut world, mut watcher, mut clients) = watched(1, 1);
    world.crash(1);
    watcher.lost();
    clients[0].lost();
    // Its CONNECT is there before any timer has run.
    clients[0].connect(&mut world, 0);
    go(&mut world, &mut [], &mut [&mut clients[0]]);
    assert!(clients[0].session_present);
    assert_eq!(wills(&mut world, &mut watcher).len(), 1);
}

#[test]
fn a_will_is_due_although_the_clock_is_set_back() {
    let (mut world, mut watcher, mut clients) = watched(3, 1);
    // The next process stores when it is due, ends before it comes to it, and the clock is set back.
    world.crash(3);
    world.wall.0 -= 3_600_000;
    world.crash(3);
    watcher.lost();
    clients[0].lost();
    assert_eq!(wills(&mut world, &mut watcher).len(), 1);
}

#[test]
fn a_session_that_expired_while_nobody_looked_is_not_resumed() {
    let mut world = World::new(1, settings());
    let mut client = Subscriber::new("client", Version::V5, "none", 1);
    client.expiry = 10;
    client.connect(&mut world, 0);
    go(&mut world, &mut [], &mut [&mut client]);
    world.crash(1);
    client.lost();
    world.wall.0 += 11_000;
    client.connect(&mut world, 0);
    go(&mut world, &mut [], &mut [&mut client]);
    assert!(client.connected && !client.session_present);
}

/// However far the store has come when the broker ends: a will is with those it is for, or still with its
/// session.
#[test]
fn a_will_is_not_lost_between_two_shards() {
    for commits in 0..6 {
        let (mut world, mut watcher, mut clients) = watched(3, 8);
        watcher.cut(&mut world);
        go(&mut world, &mut [], &mut []);
        world.disk = Disk::Held;
        clients.iter_mut().for_each(|client| client.cut(&mut world));
        world.turns(4);
        world.commit(commits);
        world.crash(3);
        world.disk = Disk::Quick;
        let got = wills(&mut world, &mut watcher);
        assert_eq!(got.len(), 8, "after {commits} batches: {got:?}");
    }
}
