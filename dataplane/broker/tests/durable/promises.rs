//! What waits for storage, what does not, and what happens when storage refuses.

use pelton_broker::Settings;
use pelton_broker::settings::Storage;
use pelton_storage_ops::Failure;

use crate::clients::{Publisher, Subscriber};
use crate::wire::{self, Publish, Said, Version};
use crate::world::{Disk, World};

pub(crate) fn settings() -> Settings {
    Settings { storage: Some(Storage::default()), ..Settings::default() }
}

/// Some turns in which everybody does what is to be done.
pub(crate) fn go(world: &mut World, publishers: &mut [&mut Publisher], subscribers: &mut [&mut Subscriber]) {
    for _ in 0..12 {
        publishers.iter_mut().for_each(|publisher| publisher.step(world));
        subscribers.iter_mut().for_each(|subscriber| subscriber.step(world, usize::MAX));
        world.turn();
    }
}

fn pair(shards: usize, version: Version, qos: u8) -> (World, Publisher, Subscriber) {
    let mut world = World::new(shards, settings());
    let mut publisher = Publisher::new("publisher", version, "a/b", qos);
    let mut subscriber = Subscriber::new("subscriber", version, "a/#", 2);
    publisher.connect(&mut world, 0);
    subscriber.connect(&mut world, 0);
    subscriber.subscribe(&mut world);
    go(&mut world, &mut [&mut publisher], &mut [&mut subscriber]);
    assert!(publisher.connected && subscriber.subscribed);
    (world, publisher, subscriber)
}

#[test]
fn an_acknowledgement_waits_for_the_commit() {
    for (shards, qos) in [(1, 1), (1, 2), (3, 1), (3, 2)] {
        let (mut world, mut publisher, mut subscriber) = pair(shards, Version::V311, qos);
        subscriber.cut(&mut world);
        go(&mut world, &mut [&mut publisher], &mut [&mut subscriber]);
        world.disk = Disk::Held;
        publisher.publish(&mut world);
        go(&mut world, &mut [&mut publisher], &mut []);
        assert!(publisher.acked.is_empty(), "QoS {qos}: acknowledged before it was stored");
        world.disk = Disk::Quick;
        go(&mut world, &mut [&mut publisher], &mut []);
        assert!(publisher.acked.contains(&0), "QoS {qos}");
    }
}

#[test]
fn what_the_client_has_need_not_be_stored() {
    for shards in [1, 3] {
        let (mut world, mut publisher, mut subscriber) = pair(shards, Version::V5, 1);
        world.disk = Disk::Held;
        publisher.publish(&mut world);
        go(&mut world, &mut [&mut publisher], &mut []);
        assert!(publisher.acked.is_empty(), "its subscriber has not acknowledged");
        go(&mut world, &mut [&mut publisher], &mut [&mut subscriber]);
        assert_eq!((subscriber.got.len(), publisher.acked.len()), (1, 1));
    }
}

#[test]
fn acknowledgements_leave_in_order() {
    // covers [MQTT-4.6.0-2]
    let (mut world, mut publisher, mut subscriber) = pair(1, Version::V311, 1);
    subscriber.cut(&mut world);
    go(&mut world, &mut [&mut publisher], &mut []);
    world.disk = Disk::Held;
    publisher.publish(&mut world);
    go(&mut world, &mut [&mut publisher], &mut []);
    // Nobody wants the second: nothing keeps it but the first.
    publisher.topic = "nobody".to_owned();
    publisher.publish(&mut world);
    go(&mut world, &mut [&mut publisher], &mut []);
    assert!(publisher.acked.is_empty(), "{:?}", publisher.acked);
    world.disk = Disk::Quick;
    go(&mut world, &mut [&mut publisher], &mut []);
    assert_eq!(publisher.acked.len(), 2);
}

#[test]
fn clean_sessions_never_touch_storage() {
    let mut world = World::new(2, settings());
    let mut subscriber = Subscriber::new("clean", Version::V5, "a/#", 2);
    subscriber.expiry = 0;
    subscriber.connect(&mut world, 0);
    subscriber.subscribe(&mut world);
    let conn = world.open(1);
    world.send(conn, wire::connect(Version::V5, "clean publisher", true, 0, None));
    go(&mut world, &mut [], &mut [&mut subscriber]);
    for qos in 0..3 {
        let publish = Publish {
            topic: "a/b".to_owned(),
            payload: b"1".to_vec(),
            qos,
            retain: false,
            dup: false,
            packet_id: 1 + u16::from(qos),
            expiry: None,
        };
        world.send(conn, wire::publish(Version::V5, &publish));
    }
    go(&mut world, &mut [], &mut [&mut subscriber]);
    subscriber.cut(&mut world);
    world.cut(conn);
    go(&mut world, &mut [], &mut []);
    assert_eq!((subscriber.got.len(), world.operations), (3, 0));
}

#[test]
fn connack_suback_and_unsuback_wait() {
    let mut world = World::new(1, settings());
    world.disk = Disk::Held;
    let mut subscriber = Subscriber::new("subscriber", Version::V5, "a/#", 1);
    subscriber.connect(&mut world, 0);
    go(&mut world, &mut [], &mut [&mut subscriber]);
    assert!(!subscriber.connected);
    world.commit(usize::MAX);
    go(&mut world, &mut [], &mut [&mut subscriber]);
    assert!(subscriber.connected);
    subscriber.subscribe(&mut world);
    go(&mut world, &mut [], &mut [&mut subscriber]);
    assert_eq!(subscriber.suback, None);
    world.commit(usize::MAX);
    go(&mut world, &mut [], &mut [&mut subscriber]);
    assert_eq!(subscriber.suback, Some(1));
    let conn = subscriber.conn.expect("connected");
    world.send(conn, wire::unsubscribe(Version::V5, 2, "a/#"));
    go(&mut world, &mut [], &mut [&mut subscriber]);
    assert!(subscriber.subscribed);
    world.commit(usize::MAX);
    go(&mut world, &mut [], &mut [&mut subscriber]);
    assert!(!subscriber.subscribed);
    assert!(world.store.durable().sessions.values().all(|stored| stored.subscriptions.is_empty()));
}

#[test]
fn two_connections_wait_for_one_session() {
    // covers [MQTT-3.1.4-3]
    let mut world = World::new(1, settings());
    world.disk = Disk::Held;
    let mut first = Subscriber::new("same", Version::V5, "a/#", 1);
    let mut second = Subscriber::new("same", Version::V5, "a/#", 1);
    first.connect(&mut world, 0);
    go(&mut world, &mut [], &mut [&mut first]);
    second.connect(&mut world, 0);
    go(&mut world, &mut [], &mut [&mut first, &mut second]);
    world.disk = Disk::Quick;
    go(&mut world, &mut [], &mut [&mut first, &mut second]);
    assert!(!first.connected && first.conn.is_none());
    assert!(second.connected);
    assert_eq!(world.brokers[0].census().online, 1);
}

#[test]
fn qos_2_is_sent_when_its_identifier_is_durable() {
    let (mut world, mut publisher, mut subscriber) = pair(1, Version::V311, 2);
    subscriber.acks_on = false;
    world.disk = Disk::Held;
    publisher.publish(&mut world);
    go(&mut world, &mut [&mut publisher], &mut [&mut subscriber]);
    assert!(subscriber.got.is_empty(), "a crash now would give it another identifier");
    world.commit(usize::MAX);
    go(&mut world, &mut [&mut publisher], &mut [&mut subscriber]);
    let packet_id = subscriber.got[0].packet_id;
    // After a crash it comes again, under the same identifier.
    world.crash(1);
    subscriber.lost();
    world.disk = Disk::Quick;
    let conn = world.open(0);
    world.send(conn, wire::connect(Version::V311, "subscriber", false, u32::MAX, None));
    world.turns(5);
    let (mut bytes, _) = world.receive(conn);
    let said = wire::read(Version::V311, &mut bytes);
    let again = said.iter().find_map(|said| match said {
        Said::Publish(publish) => Some((publish.dup, publish.packet_id)),
        _ => None,
    });
    assert_eq!(again, Some((true, packet_id)), "{said:?}");
    // PUBREL waits for the commit of what PUBREC says; then it is what is sent again.
    world.disk = Disk::Held;
    world.send(conn, wire::ack(5, packet_id));
    world.turns(5);
    assert_eq!(world.receive(conn).0, b"", "PUBREL before the release is durable");
    world.commit(usize::MAX);
    world.turns(2);
    let pubrel = wire::ack(6, packet_id);
    assert_eq!(world.receive(conn).0, pubrel);
    world.crash(1);
    world.disk = Disk::Quick;
    let conn = world.open(0);
    world.send(conn, wire::connect(Version::V311, "subscriber", false, u32::MAX, None));
    world.turns(5);
    let (bytes, _) = world.receive(conn);
    assert_eq!(bytes, [&[0x20, 2, 1, 0][..], &pubrel].concat());
    world.send(conn, wire::ack(7, packet_id));
    world.turns(3);
    assert!(world.store.durable().sessions.values().all(|stored| stored.queue.is_empty()));
}

#[test]
fn a_full_store_refuses_and_recovers() {
    let (mut world, mut publisher, mut subscriber) = pair(1, Version::V5, 1);
    let mut v3 = Publisher::new("old", Version::V311, "a/b", 2);
    let mut away = Subscriber::new("away", Version::V311, "a/#", 2);
    v3.connect(&mut world, 0);
    away.connect(&mut world, 0);
    away.subscribe(&mut world);
    go(&mut world, &mut [&mut v3], &mut [&mut away]);
    away.cut(&mut world);
    world.store.set_fault(Some(Failure::Full));
    publisher.publish(&mut world);
    v3.publish(&mut world);
    go(&mut world, &mut [&mut publisher, &mut v3], &mut [&mut subscriber]);
    assert_eq!(publisher.refused.get(&0), Some(&0x97));
    assert!(v3.is_gone() && v3.acked.is_empty(), "a v3 client sends again when it is back");
    // It is back: its packet waits. Subscribers go on, also those that come back.
    v3.connect(&mut world, 0);
    subscriber.cut(&mut world);
    subscriber.connect(&mut world, 0);
    publisher.publish(&mut world);
    go(&mut world, &mut [&mut publisher, &mut v3], &mut [&mut subscriber]);
    assert!(subscriber.connected && subscriber.session_present);
    assert_eq!(publisher.refused.get(&1), Some(&0x97), "not even tried");
    assert!(!world.brokers[0].is_storage_well());
    let mut new = Subscriber::new("new", Version::V5, "a/#", 2);
    new.connect(&mut world, 0);
    go(&mut world, &mut [], &mut [&mut new]);
    assert_eq!((new.connected, new.code), (false, 0x97));
    // Probed in vain, then in earnest.
    world.sleep(1_100);
    publisher.publish(&mut world);
    go(&mut world, &mut [&mut publisher, &mut v3], &mut [&mut subscriber]);
    assert_eq!(publisher.refused.get(&2), Some(&0x97));
    world.store.set_fault(None);
    world.sleep(1_100);
    if v3.is_gone() {
        v3.connect(&mut world, 0);
    }
    publisher.publish(&mut world);
    go(&mut world, &mut [&mut publisher, &mut v3], &mut [&mut subscriber]);
    assert!(publisher.acked.contains(&3) && v3.acked.contains(&0), "{:?} {:?}", publisher.acked, v3.acked);
    assert!(world.brokers[0].is_storage_well());
    // What was acknowledged is there, the QoS 2 message once.
    world.crash(1);
    away.connect(&mut world, 0);
    go(&mut world, &mut [], &mut [&mut away]);
    let got: Vec<(u8, u32)> =
        away.got.iter().map(|got| (got.qos, crate::clients::number(&got.payload))).collect();
    assert!(got.contains(&(1, 3)) && got.iter().filter(|got| got.0 == 2).count() == 1, "{got:?}");
}

#[test]
fn what_a_broken_medium_did_not_forget_is_forgotten_later() {
    let (mut world, mut publisher, mut subscriber) = pair(1, Version::V5, 1);
    subscriber.acks_on = false;
    publisher.publish(&mut world);
    go(&mut world, &mut [&mut publisher], &mut [&mut subscriber]);
    world.store.set_fault(Some(Failure::Failed));
    subscriber.acks_on = true;
    go(&mut world, &mut [&mut publisher], &mut [&mut subscriber]);
    let queued = |world: &World| -> usize {
        world.store.durable().sessions.values().map(|stored| stored.queue.len()).sum()
    };
    assert_eq!(queued(&world), 1, "its end could not be written");
    world.store.set_fault(None);
    world.sleep(1_100);
    assert_eq!(queued(&world), 0);
    assert!(world.brokers[0].is_storage_well());
}
