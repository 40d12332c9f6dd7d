//! What a medium that fails for a while, or a store that is behind, must not take away or let grow.

use std::sync::Arc;

use pelton_broker::Settings;
use pelton_broker::settings::Storage;
use pelton_storage_ops::Failure;

use crate::clients::{Publisher, Subscriber, number};
use crate::promises::{go, settings};
use crate::wire::{self, Publish, Version};
use crate::world::{Disk, World};

fn subscribed(settings: Settings) -> (World, Subscriber) {
    let mut world = World::new(1, settings);
    let mut subscriber = Subscriber::new("subscriber", Version::V5, "a/#", 2);
    subscriber.connect(&mut world, 0);
    subscriber.subscribe(&mut world);
    go(&mut world, &mut [], &mut [&mut subscriber]);
    assert!(subscriber.subscribed);
    (world, subscriber)
}

fn unsubscribe(world: &mut World, subscriber: &mut Subscriber) {
    let conn = subscriber.conn.expect("connected");
    world.send(conn, wire::unsubscribe(Version::V5, 2, "a/#"));
    go(world, &mut [], &mut [subscriber]);
}

fn stored_subscriptions(world: &World) -> usize {
    world.store.durable().sessions.values().map(|stored| stored.subscriptions.len()).sum()
}

#[test]
fn unsuback_waits_for_a_medium_that_fails() {
    let (mut world, mut subscriber) = subscribed(settings());
    world.store.set_fault(Some(Failure::Failed));
    unsubscribe(&mut world, &mut subscriber);
    assert!(subscriber.subscribed, "after a crash the subscription would be there again");
    world.store.set_fault(None);
    world.sleep(1_100);
    go(&mut world, &mut [], &mut [&mut subscriber]);
    assert_eq!((subscriber.subscribed, stored_subscriptions(&world)), (false, 0));
}

#[test]
fn an_end_that_is_tried_again_does_not_end_what_came_since() {
    let (mut world, mut subscriber) = subscribed(settings());
    world.store.set_fault(Some(Failure::Failed));
    unsubscribe(&mut world, &mut subscriber);
    world.store.set_fault(None);
    subscriber.suback = None;
    subscriber.subscribe(&mut world);
    go(&mut world, &mut [], &mut [&mut subscriber]);
    assert_eq!(subscriber.suback, Some(2));
    world.sleep(1_100);
    assert_eq!(stored_subscriptions(&world), 1, "SUBACK was sent");
}

#[test]
fn a_full_store_takes_no_subscription_away() {
    let (mut world, mut subscriber) = subscribed(settings());
    world.store.set_fault(Some(Failure::Full));
    subscriber.cut(&mut world);
    subscriber.connect(&mut world, 0);
    subscriber.subscribe(&mut world);
    go(&mut world, &mut [], &mut [&mut subscriber]);
    assert_eq!((subscriber.session_present, subscriber.suback), (true, Some(2)));
    assert_eq!(stored_subscriptions(&world), 1);
}

#[test]
fn a_full_store_leaves_a_subscription_as_it_was() {
    for (shards, text) in [(1, "a/#"), (1, "$share/g/a/#"), (3, "$share/g/a/#")] {
        let mut world = World::new(shards, settings());
        let mut publisher = Publisher::new("publisher", Version::V5, "a/b", 2);
        let mut subscriber = Subscriber::new("subscriber", Version::V5, text, 1);
        publisher.connect(&mut world, 0);
        subscriber.connect(&mut world, 0);
        subscriber.subscribe(&mut world);
        go(&mut world, &mut [&mut publisher], &mut [&mut subscriber]);
        let options = |world: &World| -> Vec<(u8, u32)> {
            let sessions = world.store.durable().sessions.values();
            sessions.flat_map(|stored| stored.subscriptions.values().copied()).collect()
        };
        let before = options(&world);
        world.store.set_fault(Some(Failure::Full));
        subscriber.qos = 2;
        subscriber.subscribe(&mut world);
        go(&mut world, &mut [&mut publisher], &mut [&mut subscriber]);
        assert_eq!(subscriber.suback, Some(0x97));
        world.store.set_fault(None);
        world.sleep(1_100);
        publisher.publish(&mut world);
        go(&mut world, &mut [&mut publisher], &mut [&mut subscriber]);
        assert_eq!(options(&world), before, "{text}");
        assert_eq!(subscriber.got.iter().map(|got| got.qos).collect::<Vec<u8>>(), [1], "{text}");
    }
}

#[test]
fn what_waits_for_a_broken_store_is_not_looked_at_all_the_time() {
    let mut world = World::new(1, settings());
    let mut publisher = Publisher::new("publisher", Version::V311, "a/b", 1);
    let mut subscriber = Subscriber::new("subscriber", Version::V311, "a/#", 1);
    publisher.connect(&mut world, 0);
    subscriber.connect(&mut world, 0);
    subscriber.subscribe(&mut world);
    go(&mut world, &mut [&mut publisher], &mut [&mut subscriber]);
    subscriber.cut(&mut world);
    world.store.set_fault(Some(Failure::Failed));
    publisher.publish(&mut world);
    go(&mut world, &mut [&mut publisher], &mut []);
    // A v3 client was cut off; what it sends when it is back waits.
    publisher.connect(&mut world, 0);
    go(&mut world, &mut [&mut publisher], &mut []);
    let before = world.decongested;
    world.turns(500);
    assert_eq!(world.decongested, before, "it was looked at again while storage was not to be tried");
    world.store.set_fault(None);
    world.sleep(1_100);
    go(&mut world, &mut [&mut publisher], &mut []);
    assert!(publisher.acked.contains(&0));
}

#[test]
fn a_subscription_that_was_not_stored_is_stored_when_it_is_asked_for_again() {
    let mut world = World::new(1, settings());
    let mut subscriber = Subscriber::new("subscriber", Version::V5, "a/#", 1);
    subscriber.connect(&mut world, 0);
    go(&mut world, &mut [], &mut [&mut subscriber]);
    world.disk = Disk::Held;
    subscriber.subscribe(&mut world);
    go(&mut world, &mut [], &mut [&mut subscriber]);
    // Nobody is left to be told that it failed.
    subscriber.cut(&mut world);
    world.store.set_fault(Some(Failure::Failed));
    world.commit(usize::MAX);
    world.store.set_fault(None);
    world.disk = Disk::Quick;
    world.sleep(1_100);
    subscriber.connect(&mut world, 0);
    subscriber.subscribe(&mut world);
    go(&mut world, &mut [], &mut [&mut subscriber]);
    assert_eq!((subscriber.suback, stored_subscriptions(&world)), (Some(1), 1));
}

#[test]
fn pubrels_of_nothing_wait_for_storage() {
    let storage = Storage { bytes_max: 8 * 1024, ..Storage::default() };
    let (mut world, subscriber) = subscribed(Settings { storage: Some(storage), ..settings() });
    let conn = subscriber.conn.expect("connected");
    for (disk, fault) in [(Disk::Held, None), (Disk::Quick, Some(Failure::Failed))] {
        world.disk = disk;
        world.store.set_fault(fault);
        for _ in 0..20 {
            for packet_id in 1..=500 {
                world.send(conn, wire::ack(6, packet_id));
            }
            world.turn();
            assert!(world.brokers[0].waiting() < 1_000, "{} wait", world.brokers[0].waiting());
        }
        let (answers, _) = world.receive(conn);
        assert!(answers.is_empty(), "PUBCOMP before its identifier is free for sure");
        world.disk = Disk::Quick;
        world.store.set_fault(None);
        world.sleep(1_100);
        world.turns(100);
        let (answers, open) = world.receive(conn);
        assert!(open && !answers.is_empty());
    }
}

#[test]
fn what_is_over_does_not_come_again_while_its_end_is_tried_again() {
    let (mut world, mut subscriber) = subscribed(settings());
    let mut publishers =
        [2, 1].map(|qos| Publisher::new(&format!("publisher-{qos}"), Version::V5, "a/b", qos));
    subscriber.acks_on = false;
    for publisher in &mut publishers {
        publisher.connect(&mut world, 0);
        go(&mut world, &mut [&mut *publisher], &mut [&mut subscriber]);
        for _ in 0..3 {
            publisher.publish(&mut world);
            go(&mut world, &mut [&mut *publisher], &mut [&mut subscriber]);
        }
    }
    assert_eq!(subscriber.got.len(), 6);
    // Those of QoS 2, which are older, are not over without storage.
    world.store.set_fault(Some(Failure::Failed));
    subscriber.acks_on = true;
    go(&mut world, &mut [], &mut [&mut subscriber]);
    subscriber.cut(&mut world);
    // It is back, and its queue is being read, when the ends are tried again; what is read is as it was before them.
    world.disk = Disk::Held;
    subscriber.connect(&mut world, 0);
    world.turns(5);
    world.commit(usize::MAX);
    world.turn();
    world.store.set_fault(None);
    let pages = world.pages_read;
    world.sleep(1_100);
    world.turn();
    world.commit(0);
    assert!(world.pages_read > pages, "nothing was being read");
    world.disk = Disk::Quick;
    (0..20).for_each(|_| go(&mut world, &mut [], &mut [&mut subscriber]));
    let again: Vec<u32> = subscriber.got[6..].iter().map(|got| number(&got.payload)).collect();
    assert_eq!(again, [], "only what is not over, and it knows that it has it");
    assert!(world.store.durable().sessions.values().all(|stored| stored.queue.is_empty()));
}

#[test]
fn a_page_of_a_group_that_could_not_be_read_is_read_again() {
    let storage = Storage { page_messages: 8, ..Storage::default() };
    let mut world = World::new(1, Settings { storage: Some(storage), ..settings() });
    let mut publisher = Publisher::new("publisher", Version::V5, "job/1", 2);
    let mut member = Subscriber::new("worker", Version::V5, "$share/g/job/#", 2);
    publisher.connect(&mut world, 0);
    member.connect(&mut world, 0);
    member.subscribe(&mut world);
    go(&mut world, &mut [&mut publisher], &mut [&mut member]);
    member.cut(&mut world);
    for _ in 0..30 {
        publisher.publish(&mut world);
        go(&mut world, &mut [&mut publisher], &mut []);
    }
    world.unreadable = Some(world.pages_read + 1);
    world.crash(1);
    member.connect(&mut world, 0);
    for _ in 0..20 {
        go(&mut world, &mut [], &mut [&mut member]);
    }
    let got: Vec<u32> = member.got.iter().map(|got| number(&got.payload)).collect();
    assert_eq!(got, (0..30).collect::<Vec<u32>>());
}

#[test]
fn a_retained_message_there_was_no_room_for_can_be_cleared() {
    let retain = |topic: &str, payload: &[u8], packet_id| {
        let publish = Publish {
            topic: topic.to_owned(),
            payload: payload.to_vec(),
            qos: 1,
            retain: true,
            dup: false,
            packet_id,
            expiry: None,
        };
        wire::publish(Version::V5, &publish)
    };
    let mut world = World::new(1, settings());
    for payload in [&b"1"[..], b""] {
        let conn = world.open(0);
        world.send(conn, wire::connect(Version::V5, "publisher", true, 0, None));
        world.send(conn, retain("r/1", payload, 1));
        world.send(conn, retain("r/2", payload, 2));
        world.turns(5);
        if !payload.is_empty() {
            assert_eq!(world.store.durable().retained.len(), 2);
            // The operator allows for fewer from now on.
            world.settings = Arc::new(Settings { retained_messages_max: 1, ..settings() });
            world.crash(1);
            assert_eq!(world.brokers[0].retained().len(), 1);
        }
    }
    assert!(world.store.durable().retained.is_empty(), "it would be back after the next start");
}

#[test]
fn a_retained_message_is_cleared_when_its_end_is_durable() {
    let retain = |payload: &[u8]| {
        let publish = Publish {
            topic: "r".to_owned(),
            payload: payload.to_vec(),
            qos: 1,
            retain: true,
            dup: false,
            packet_id: 1,
            expiry: None,
        };
        wire::publish(Version::V311, &publish)
    };
    let mut world = World::new(1, settings());
    let conns = [0; 3].map(|shard| world.open(shard));
    for (number, &conn) in conns.iter().enumerate() {
        world.send(conn, wire::connect(Version::V311, &format!("publisher-{number}"), true, 0, None));
    }
    world.send(conns[0], retain(b"1"));
    world.turns(3);
    assert_eq!(world.store.durable().retained.len(), 1);
    conns.iter().for_each(|&conn| drop(world.receive(conn)));
    // Two clear it; for the second there is nothing to clear any more but in storage.
    world.disk = Disk::Held;
    world.send(conns[1], retain(b""));
    world.turns(3);
    world.send(conns[2], retain(b""));
    world.turns(3);
    assert_eq!(world.receive(conns[2]).0, b"", "after a crash it would be back");
    world.commit(usize::MAX);
    world.turns(3);
    assert_eq!(world.receive(conns[2]).0, wire::ack(4, 1));
    assert!(world.store.durable().retained.is_empty());
}

#[test]
fn a_store_that_is_behind_does_not_hold_the_loading() {
    let storage = Storage { bytes_max: 1024, ..Storage::default() };
    let mut world = World::new(1, Settings { storage: Some(storage), ..settings() });
    for number in 0..50 {
        let mut subscriber = Subscriber::new(&format!("subscriber-{number}"), Version::V5, "a", 1);
        subscriber.expiry = 1_000;
        subscriber.connect(&mut world, 0);
        go(&mut world, &mut [], &mut [&mut subscriber]);
    }
    // All are cut off: a new image is staged for each.
    world.crash(1);
    assert_eq!(world.brokers[0].session_count(), 50);
}
