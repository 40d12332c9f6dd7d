//! Sessions that end and messages that go from one stored queue to another, while the medium is full or the power
//! goes.

use pelton_broker::settings::Storage;
use pelton_broker::{Broker, Settings};
use pelton_storage_ops::Failure;

use crate::clients::{Publisher, Subscriber, number};
use crate::promises::{go, settings};
use crate::wire::{self, Version};
use crate::world::{Disk, World};

const FILTER: &str = "$share/g/job/#";

/// A publisher to a group, and a member that has joined it.
fn with_member(shards: usize, qos: u8, id: &str) -> (World, Publisher, Subscriber) {
    with_member_of(shards, Settings { storage: Some(Storage::default()), ..settings() }, qos, id)
}

fn with_member_of(shards: usize, settings: Settings, qos: u8, id: &str) -> (World, Publisher, Subscriber) {
    let mut world = World::new(shards, settings);
    let mut publisher = Publisher::new("publisher", Version::V5, "job/1", qos);
    let mut member = Subscriber::new(id, Version::V5, FILTER, 2);
    publisher.connect(&mut world, 0);
    member.connect(&mut world, 0);
    member.subscribe(&mut world);
    go(&mut world, &mut [&mut publisher], &mut [&mut member]);
    assert!(member.subscribed);
    (world, publisher, member)
}

fn publish(world: &mut World, publisher: &mut Publisher, count: u32) {
    for _ in 0..count {
        publisher.publish(world);
        go(world, &mut [publisher], &mut []);
    }
    assert_eq!(publisher.acked.len(), publisher.next as usize);
}

fn sorted(members: &[&Subscriber]) -> Vec<u32> {
    let mut got: Vec<u32> =
        members.iter().flat_map(|member| &member.got).map(|got| number(&got.payload)).collect();
    got.sort_unstable();
    got
}

/// Where the group and a client are at home.
fn homes(world: &World, id: &str) -> (usize, usize) {
    let home = |has: &dyn Fn(&Broker) -> bool| world.brokers.iter().position(has).expect("somewhere");
    (home(&|broker| !broker.groups().is_empty()), home(&|broker| broker.sessions().find(id).is_some()))
}

/// A client id at home on another shard than the group, or on the same.
fn id(shards: usize, is_far: bool) -> String {
    for n in 0.. {
        let id = format!("worker-{n}");
        let (world, ..) = with_member(shards, 1, &id);
        let (group, member) = homes(&world, &id);
        if (group != member) == is_far {
            return id;
        }
    }
    unreachable!("ids are many")
}

#[test]
fn a_full_medium_does_not_take_a_groups_message_on_its_way_to_a_member() {
    for (shards, is_far, qos, fault) in [
        (1, false, 1, Failure::Full),
        (1, false, 2, Failure::Full),
        (3, true, 1, Failure::Full),
        (3, true, 2, Failure::Full),
        (3, true, 2, Failure::Failed),
        (3, false, 2, Failure::Failed),
    ] {
        let id = id(shards, is_far);
        for restart in [false, true] {
            let what = format!("{shards} shards, far {is_far}, QoS {qos}, {fault:?}, restart {restart}");
            let (mut world, mut publisher, mut member) = with_member(shards, qos, &id);
            member.cut(&mut world);
            go(&mut world, &mut [&mut publisher], &mut []);
            publish(&mut world, &mut publisher, 5);
            world.store.set_fault(Some(fault));
            member.acks_on = !restart;
            member.connect(&mut world, 0);
            go(&mut world, &mut [&mut publisher], &mut [&mut member]);
            assert!(member.connected, "{what}");
            world.sleep(1_100);
            world.store.set_fault(None);
            if restart {
                world.crash(shards);
                member.lost();
                member.got.clear();
                member.acks_on = true;
                member.connect(&mut world, 0);
            }
            for _ in 0..4 {
                world.sleep(1_100);
                go(&mut world, &mut [], &mut [&mut member]);
            }
            let mut got = sorted(&[&member]);
            if qos == 1 {
                got.dedup();
            }
            assert_eq!(got, (0..5).collect::<Vec<u32>>(), "{what}");
            let left: usize = world.store.durable().sessions.values().map(|stored| stored.queue.len()).sum();
            assert_eq!(left, 0, "{what}");
            assert!(world.brokers.iter().all(|broker| broker.messages().is_empty()), "{what}");
        }
    }
}

#[test]
fn a_group_whose_queue_could_not_be_made_stores_when_it_can() {
    let (mut world, mut publisher, mut member) = with_member(1, 1, "worker");
    member.cut(&mut world);
    go(&mut world, &mut [&mut publisher], &mut []);
    world.disk = Disk::Held;
    publisher.publish(&mut world);
    world.turn();
    world.store.set_fault(Some(Failure::Failed));
    publisher.publish(&mut world);
    world.turn();
    world.commit(1);
    // What comes while the failure is not known yet.
    world.store.set_fault(None);
    world.commit(1);
    go(&mut world, &mut [&mut publisher], &mut []);
    world.disk = Disk::Quick;
    go(&mut world, &mut [&mut publisher], &mut []);
    let acked: Vec<u32> = publisher.acked.iter().copied().collect();
    world.crash(1);
    member.connect(&mut world, 0);
    go(&mut world, &mut [], &mut [&mut member]);
    assert_eq!(acked, [1], "the first was refused");
    assert_eq!(sorted(&[&member]), acked);
}

#[test]
fn a_session_ends_when_what_it_hands_on_is_stored() {
    // covers [MQTT-4.8.2-4]
    let id = id(3, true);
    for first in 0..6 {
        for second in 0..3 {
            let (mut world, mut publisher, mut lazy) = with_member(3, 1, &id);
            lazy.acks_on = false;
            publish(&mut world, &mut publisher, 0);
            for _ in 0..5 {
                publisher.publish(&mut world);
                go(&mut world, &mut [&mut publisher], &mut [&mut lazy]);
            }
            assert_eq!((publisher.acked.len(), lazy.got.len()), (5, 5));
            let mut keen = Subscriber::new("keen", Version::V5, FILTER, 1);
            keen.connect(&mut world, 0);
            keen.subscribe(&mut world);
            go(&mut world, &mut [], &mut [&mut keen]);
            keen.cut(&mut world);
            go(&mut world, &mut [], &mut []);
            world.disk = Disk::Held;
            let conn = world.open(0);
            world.send(conn, wire::connect(Version::V5, &id, true, 100, None));
            world.turns(5);
            world.commit(first);
            world.turns(5);
            world.commit(second);
            world.disk = Disk::Quick;
            world.crash(3);
            lazy.got.clear();
            lazy.acks_on = true;
            lazy.lost();
            lazy.connect(&mut world, 0);
            keen.connect(&mut world, 0);
            for _ in 0..4 {
                go(&mut world, &mut [], &mut [&mut lazy, &mut keen]);
            }
            let mut got = sorted(&[&lazy, &keen]);
            got.dedup();
            assert_eq!(got, (0..5).collect::<Vec<u32>>(), "{first} and {second} batches were committed");
        }
    }
}

#[test]
fn what_was_handed_on_is_not_read_back_before_its_end_is_durable() {
    // covers [MQTT-4.3.3-1] [MQTT-4.8.2-4]
    let id = id(3, true);
    let settings = Settings {
        storage: Some(Storage { page_messages: 1, window_messages: 8, ..Storage::default() }),
        inflight_max: 1,
        ..settings()
    };
    // Each bit: whether a batch is committed between two turns.
    for pattern in 0u32..512 {
        let (mut world, mut publisher, mut former) = with_member_of(3, settings.clone(), 2, &id);
        former.acks_on = false;
        for _ in 0..4 {
            publisher.publish(&mut world);
            go(&mut world, &mut [&mut publisher], &mut [&mut former]);
        }
        assert_eq!((publisher.acked.len(), former.got.len()), (4, 1));
        let mut keen = Subscriber::new("keen", Version::V5, FILTER, 2);
        keen.connect(&mut world, 0);
        keen.subscribe(&mut world);
        go(&mut world, &mut [], &mut [&mut keen]);
        world.disk = Disk::Held;
        former.cut(&mut world);
        world.turn();
        former.connect(&mut world, 0);
        for turn in 0..27 {
            world.turn();
            world.commit((pattern >> (turn / 3) & 1) as usize);
            former.step(&mut world, 9);
            keen.step(&mut world, 9);
        }
        world.disk = Disk::Quick;
        former.acks_on = true;
        for _ in 0..4 {
            go(&mut world, &mut [], &mut [&mut former, &mut keen]);
        }
        assert_eq!(sorted(&[&former, &keen]), [0, 1, 2, 3], "pattern {pattern:b}");
        let left: usize = world.store.durable().sessions.values().map(|stored| stored.queue.len()).sum();
        assert_eq!(left, 0, "pattern {pattern:b}");
    }
}

#[test]
fn a_clean_start_waits_until_the_former_session_is_gone() {
    // covers [MQTT-3.1.2-4]
    for (shards, entry, expiry) in [(1, 0, 0), (1, 0, 100), (3, 0, 0), (3, 1, 0), (3, 2, 0), (3, 0, 100)] {
        let mut world = World::new(shards, settings());
        let mut former = Subscriber::new("same", Version::V5, "a/#", 1);
        former.connect(&mut world, 0);
        former.subscribe(&mut world);
        go(&mut world, &mut [], &mut [&mut former]);
        assert!(former.subscribed);
        world.disk = Disk::Held;
        let conn = world.open(entry);
        world.send(conn, wire::connect(Version::V5, "same", true, expiry, None));
        world.turns(6);
        // The home commits nothing, or only that the former connection is gone.
        let what = format!("{shards} shards, by shard {entry}, expiry {expiry}");
        assert!(world.receive(conn).0.is_empty(), "{what}: CONNACK, and a crash would bring it back");
        world.commit(usize::MAX);
        world.turns(6);
        world.commit(usize::MAX);
        world.turns(6);
        assert!(!world.receive(conn).0.is_empty(), "{what}");
        world.disk = Disk::Quick;
        world.crash(shards);
        assert!(world.store.durable().sessions.values().all(|stored| stored.subscriptions.is_empty()));
    }
}

#[test]
fn a_will_is_published_or_will_be_whatever_is_committed() {
    // covers [MQTT-3.1.2-8]
    for batches in 0..6 {
        let mut world = World::new(3, settings());
        let mut watchers: Vec<Subscriber> = (0..6)
            .map(|n| {
                let mut watcher = Subscriber::new(&format!("watcher-{n}"), Version::V5, "will/#", 2);
                watcher.connect(&mut world, 0);
                watcher.subscribe(&mut world);
                watcher
            })
            .collect();
        let mut dying = Subscriber::new("dying", Version::V5, "x", 1);
        dying.connect_with(&mut world, 0, Some(("will/dying", b"1")));
        for watcher in &mut watchers {
            go(&mut world, &mut [], &mut [&mut dying, watcher]);
            assert!(watcher.subscribed);
            watcher.cut(&mut world);
        }
        go(&mut world, &mut [], &mut []);
        world.disk = Disk::Held;
        dying.cut(&mut world);
        world.turns(6);
        world.commit(batches);
        world.disk = Disk::Quick;
        world.crash(3);
        world.turns(6);
        for watcher in &mut watchers {
            watcher.connect(&mut world, 0);
            go(&mut world, &mut [], &mut [watcher]);
        }
        let got: Vec<usize> = watchers.iter().map(|watcher| watcher.got.len()).collect();
        assert_eq!(got, [1; 6], "{batches} batches were committed");
    }
}

#[test]
fn who_waits_for_a_clean_start_may_give_up() {
    for (shards, expiry) in [(1, 0), (1, 100), (3, 0), (3, 100)] {
        let mut world = World::new(shards, settings());
        let mut former = Subscriber::new("same", Version::V5, "a/#", 1);
        former.connect(&mut world, 0);
        former.subscribe(&mut world);
        go(&mut world, &mut [], &mut [&mut former]);
        world.disk = Disk::Held;
        let mut conns = Vec::new();
        for entry in 0..shards {
            // Each throws the one before out.
            let conn = world.open(entry);
            world.send(conn, wire::connect(Version::V5, "same", true, expiry, None));
            world.turns(4);
            conns.push(conn);
        }
        world.cut(conns[0]);
        world.turns(4);
        let conn = world.open(0);
        world.send(conn, wire::connect(Version::V5, "same", true, expiry, None));
        world.turns(4);
        world.disk = Disk::Quick;
        world.turns(12);
        assert!(!world.receive(conn).0.is_empty(), "{shards} shards, expiry {expiry}");
        let online: usize = world.brokers.iter().map(|broker| broker.census().online).sum();
        let sessions: usize = world.brokers.iter().map(Broker::session_count).sum();
        assert_eq!((online, sessions), (1, 1), "{shards} shards, expiry {expiry}");
        former.cut(&mut world);
        conns.push(conn);
        conns.into_iter().for_each(|conn| world.cut(conn));
        world.turns(6);
        assert!(world.is_quiet());
        let stored = world.store.durable().sessions.len();
        assert_eq!(stored, usize::from(expiry != 0));
    }
}
