//! What is in storage, while clients are away and across restarts: queues and their bounds, expiry, wills,
//! retained messages, shared groups.

use pelton_broker::Settings;
use pelton_broker::counters::{Dropped, Traffic};
use pelton_broker::settings::{QueuePolicy, Storage};

use crate::clients::{Publisher, Subscriber, number};
use crate::promises::{go, settings};
use crate::wire::Version;
use crate::world::{Disk, World};

fn world_with(settings: Settings) -> (World, Publisher, Subscriber) {
    let mut world = World::new(1, settings);
    let mut publisher = Publisher::new("publisher", Version::V5, "a/b", 1);
    let mut subscriber = Subscriber::new("subscriber", Version::V5, "a/#", 2);
    publisher.connect(&mut world, 0);
    subscriber.connect(&mut world, 0);
    subscriber.subscribe(&mut world);
    go(&mut world, &mut [&mut publisher], &mut [&mut subscriber]);
    (world, publisher, subscriber)
}

fn publish(world: &mut World, publisher: &mut Publisher, count: u32) {
    for _ in 0..count {
        publisher.publish(world);
        publisher.step(world);
        world.turn();
    }
    go(world, &mut [publisher], &mut []);
}

/// Until nothing comes any more.
fn receive(world: &mut World, subscriber: &mut Subscriber) -> Vec<u32> {
    for _ in 0..50 {
        go(world, &mut [], &mut [subscriber]);
    }
    subscriber.got.iter().map(|got| number(&got.payload)).collect()
}

#[test]
fn an_offline_queue_is_not_in_memory() {
    let (mut world, mut publisher, mut subscriber) = world_with(settings());
    subscriber.acks_on = false;
    publish(&mut world, &mut publisher, 20);
    subscriber.step(&mut world, 0);
    subscriber.cut(&mut world);
    publish(&mut world, &mut publisher, 1_000);
    assert_eq!(world.brokers[0].messages().len(), 0);
    assert_eq!(publisher.acked.len(), 1_020);
    subscriber.acks_on = true;
    subscriber.connect(&mut world, 0);
    let got = receive(&mut world, &mut subscriber);
    assert!(world.pages_read >= 4, "{} pages", world.pages_read);
    let want: Vec<u32> = (0..20).chain(0..1_020).collect();
    assert_eq!(got, want, "what was under way comes again, then the queue");
}

#[test]
fn a_slow_client_spills() {
    let storage = Storage { window_messages: 10, page_messages: 4, ..Storage::default() };
    let settings = Settings { storage: Some(storage), inflight_max: 5, ..settings() };
    let (mut world, mut publisher, mut subscriber) = world_with(settings);
    subscriber.acks_on = false;
    publish(&mut world, &mut publisher, 500);
    assert!(world.brokers[0].messages().len() <= 26, "{} kept", world.brokers[0].messages().len());
    subscriber.acks_on = true;
    // The publisher goes on while it catches up.
    for _ in 0..100 {
        publisher.publish(&mut world);
        go(&mut world, &mut [&mut publisher], &mut [&mut subscriber]);
    }
    let got = receive(&mut world, &mut subscriber);
    assert_eq!(got, (0..600).collect::<Vec<u32>>());
    assert!(world.store.durable().sessions.values().all(|stored| stored.queue.is_empty()));
}

#[test]
fn a_full_queue_drops_by_policy() {
    for (policy, want) in [
        (QueuePolicy::DropNewest, (0..50).collect::<Vec<u32>>()),
        // The first may have been sent before the restart.
        (QueuePolicy::DropOldest, std::iter::once(30).chain(71..120).collect()),
    ] {
        let settings =
            Settings { queue_messages_max: 50, queue_policy: policy, inflight_max: 1, ..settings() };
        let (mut world, mut publisher, mut subscriber) = world_with(settings);
        subscriber.cut(&mut world);
        publish(&mut world, &mut publisher, 80);
        world.crash(1);
        publisher.lost();
        publisher.connect(&mut world, 0);
        go(&mut world, &mut [&mut publisher], &mut []);
        publish(&mut world, &mut publisher, 40);
        let dropped = &world.brokers[0].tally().dropped;
        let which = if policy == QueuePolicy::DropOldest {
            Dropped::QueueFullOldest
        } else {
            Dropped::QueueFullNewest
        };
        assert_eq!(dropped.get(which), 40, "since the restart");
        subscriber.lost();
        subscriber.connect(&mut world, 0);
        assert_eq!(receive(&mut world, &mut subscriber), want, "{policy:?}");
    }
}

#[test]
fn messages_expire_while_their_client_is_away() {
    let (mut world, mut publisher, mut subscriber) = world_with(settings());
    subscriber.cut(&mut world);
    publisher.expiry = Some(10);
    publish(&mut world, &mut publisher, 5);
    publisher.expiry = Some(100);
    publish(&mut world, &mut publisher, 1);
    publisher.expiry = None;
    publish(&mut world, &mut publisher, 1);
    world.crash(1);
    world.sleep(20_000);
    subscriber.lost();
    subscriber.connect(&mut world, 0);
    assert_eq!(receive(&mut world, &mut subscriber), [5, 6]);
    let left = subscriber.got[0].expiry.expect("it expires");
    assert!((78..=80).contains(&left), "{left}");
    assert_eq!(world.brokers[0].tally().dropped.get(Dropped::Expired), 5);
    assert!(world.store.durable().sessions.values().all(|stored| stored.queue.is_empty()));
}

#[test]
fn retained_messages_come_although_all_that_waited_has_expired() {
    let (mut world, mut publisher, mut subscriber) = world_with(settings());
    subscriber.cut(&mut world);
    publisher.expiry = Some(1);
    publish(&mut world, &mut publisher, 1);
    (publisher.expiry, publisher.retain, publisher.topic) = (None, true, "r/1".to_owned());
    publish(&mut world, &mut publisher, 1);
    world.sleep(2_000);
    // It subscribes before its queue is read.
    world.disk = Disk::Held;
    subscriber.filter = "r/+".to_owned();
    subscriber.connect(&mut world, 0);
    subscriber.subscribe(&mut world);
    for disk in [Disk::Held, Disk::Quick] {
        world.disk = disk;
        world.commit(1);
        go(&mut world, &mut [], &mut [&mut subscriber]);
    }
    let got: Vec<_> = subscriber.got.iter().map(|got| got.topic.as_str()).collect();
    assert_eq!(got, ["r/1"]);
}

#[test]
fn sessions_expire_across_restarts() {
    // covers [MQTT-3.1.2-23]
    let mut world = World::new(2, settings());
    let mut early = Subscriber::new("early", Version::V5, "a/#", 1);
    let mut late = Subscriber::new("late", Version::V5, "a/#", 1);
    (early.expiry, late.expiry) = (100, 1_000);
    for subscriber in [&mut early, &mut late] {
        subscriber.connect(&mut world, 0);
        subscriber.subscribe(&mut world);
    }
    go(&mut world, &mut [], &mut [&mut early, &mut late]);
    // One is away, the other is cut off by the crash: its time runs from the start.
    early.cut(&mut world);
    go(&mut world, &mut [], &mut [&mut late]);
    world.sleep(60_000);
    world.crash(2);
    world.sleep(50_000);
    assert_eq!(world.store.durable().sessions.len(), 1, "the first has expired");
    world.sleep(900_000);
    assert_eq!(world.store.durable().sessions.len(), 1);
    world.sleep(60_000);
    assert_eq!(world.store.durable().sessions.len(), 0);
    assert_eq!(world.brokers.iter().map(|broker| broker.session_count()).sum::<usize>(), 0);
}

#[test]
fn a_crash_publishes_wills() {
    let mut world = World::new(2, settings());
    let mut watcher = Subscriber::new("watcher", Version::V311, "will/#", 1);
    watcher.connect(&mut world, 0);
    watcher.subscribe(&mut world);
    let mut dying = Subscriber::new("dying", Version::V311, "x", 1);
    let mut gone = Subscriber::new("gone", Version::V311, "x", 1);
    dying.connect_with(&mut world, 1, Some(("will/dying", b"1")));
    gone.connect_with(&mut world, 1, Some(("will/gone", b"2")));
    go(&mut world, &mut [], &mut [&mut watcher, &mut dying, &mut gone]);
    world.send(gone.conn.expect("connected"), wire_disconnect());
    go(&mut world, &mut [], &mut [&mut watcher, &mut dying, &mut gone]);
    world.crash(2);
    watcher.lost();
    world.turns(5);
    watcher.connect(&mut world, 0);
    let got = receive(&mut world, &mut watcher);
    assert_eq!(got, [1], "that of the client that was cut off");
    // And not again at the next start.
    let wills = |world: &World| -> u64 {
        world.brokers.iter().map(|broker| broker.tally().traffic.get(Traffic::WillsPublished)).sum()
    };
    assert_eq!(wills(&world), 1);
    world.crash(2);
    world.turns(5);
    assert_eq!(wills(&world), 0);
}

fn wire_disconnect() -> Vec<u8> {
    crate::wire::DISCONNECT.to_vec()
}

#[test]
fn retained_messages_survive() {
    // covers [MQTT-3.3.1-6]
    let mut world = World::new(3, settings());
    let topics = ["r/one", "r/two", "r/three", "r/four"];
    let mut publishers: Vec<Publisher> = topics
        .iter()
        .enumerate()
        .map(|(n, topic)| Publisher::new(&format!("p{n}"), Version::V5, topic, (n % 3) as u8))
        .collect();
    for publisher in &mut publishers {
        publisher.retain = true;
        publisher.connect(&mut world, 0);
        go(&mut world, &mut [publisher], &mut []);
        publish(&mut world, publisher, 3);
    }
    assert_eq!(world.store.durable().retained.len(), 4);
    world.crash(2);
    let mut subscriber = Subscriber::new("late", Version::V5, "r/+", 2);
    subscriber.connect(&mut world, 0);
    subscriber.subscribe(&mut world);
    assert_eq!(receive(&mut world, &mut subscriber), [2, 2, 2, 2]);
    assert!(subscriber.got.iter().all(|got| got.retain));
    // The broker's own are not stored; a cleared one is gone, and an expired one.
    assert!(world.brokers[0].publish_message("$SYS/x", b"1", pelton_mqtt::QoS::AtMostOnce, true));
    assert!(world.brokers[0].publish_message("r/one", b"", pelton_mqtt::QoS::AtMostOnce, true));
    let last = &mut publishers[3];
    last.lost();
    last.connect(&mut world, 0);
    last.expiry = Some(5);
    go(&mut world, &mut [last], &mut []);
    publish(&mut world, last, 1);
    assert_eq!(world.store.durable().retained.len(), 3);
    world.sleep(6_000);
    assert_eq!(world.store.durable().retained.len(), 2);
}

#[test]
fn a_clock_that_was_set_back_gives_nobody_what_is_anothers() {
    let (mut world, mut publisher, mut subscriber) = world_with(settings());
    subscriber.cut(&mut world);
    publish(&mut world, &mut publisher, 3);
    let serials = |world: &World| -> Vec<u64> {
        world.store.durable().sessions.keys().map(|session| session.serial).collect()
    };
    let before = serials(&world);
    world.wall.0 -= 86_400_000;
    world.crash(1);
    let mut new = Subscriber::new("new", Version::V5, "c/#", 2);
    new.connect(&mut world, 0);
    subscriber.connect(&mut world, 0);
    go(&mut world, &mut [], &mut [&mut new]);
    assert!(new.connected && !new.session_present);
    let after = serials(&world);
    let added: Vec<&u64> = after.iter().filter(|serial| !before.contains(serial)).collect();
    assert_eq!((added.len(), after.len()), (1, 3), "no serial number is used twice");
    assert!(before.iter().all(|serial| serial < added[0]));
    assert_eq!(receive(&mut world, &mut subscriber), [0, 1, 2]);
    assert!(new.got.is_empty());
}

#[test]
fn a_group_keeps_its_queue() {
    for shards in [1, 3] {
        let mut world = World::new(shards, settings());
        let mut publisher = Publisher::new("publisher", Version::V5, "job/1", 1);
        publisher.connect(&mut world, 0);
        let mut members: Vec<Subscriber> = (0..3)
            .map(|n| Subscriber::new(&format!("worker-{n}"), Version::V5, "$share/g/job/#", 1))
            .collect();
        for member in &mut members {
            member.connect(&mut world, 0);
            member.subscribe(&mut world);
            go(&mut world, &mut [&mut publisher], &mut [member]);
        }
        for member in &mut members {
            member.cut(&mut world);
        }
        go(&mut world, &mut [&mut publisher], &mut []);
        publish(&mut world, &mut publisher, 30);
        assert_eq!(publisher.acked.len(), 30);
        world.crash(shards);
        let [first, second, _] = &mut members[..] else { panic!("three") };
        first.connect(&mut world, 0);
        second.connect(&mut world, 0);
        receive(&mut world, first);
        let mut got = receive(&mut world, second);
        got.extend(receive(&mut world, first));
        got.sort_unstable();
        assert_eq!(got, (0..30).collect::<Vec<u32>>(), "{shards} shards");
        let queued: usize = world.store.durable().sessions.values().map(|stored| stored.queue.len()).sum();
        assert_eq!(queued, 0);
    }
}

#[test]
fn what_a_member_does_not_take_goes_to_another() {
    // covers [MQTT-4.8.2-4]
    for shards in [1, 3] {
        let mut world = World::new(shards, settings());
        let mut publisher = Publisher::new("publisher", Version::V5, "job/1", 1);
        publisher.connect(&mut world, 0);
        let mut lazy = Subscriber::new("lazy", Version::V5, "$share/g/job/#", 1);
        let mut keen = Subscriber::new("keen", Version::V5, "$share/g/job/#", 1);
        lazy.acks_on = false;
        lazy.connect(&mut world, 0);
        lazy.subscribe(&mut world);
        go(&mut world, &mut [&mut publisher], &mut [&mut lazy]);
        publish(&mut world, &mut publisher, 10);
        lazy.cut(&mut world);
        go(&mut world, &mut [&mut publisher], &mut []);
        world.crash(shards);
        keen.connect(&mut world, 0);
        keen.subscribe(&mut world);
        let got = receive(&mut world, &mut keen);
        assert_eq!(got, (0..10).collect::<Vec<u32>>(), "{shards} shards");
        lazy.connect(&mut world, 0);
        lazy.acks_on = true;
        lazy.got.clear();
        assert_eq!(receive(&mut world, &mut lazy), [], "they left its session");
    }
}
