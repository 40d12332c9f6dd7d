//! Random histories: publishers, subscribers that come and go, a store that lags, crashes at any moment.
//! Whatever the broker acknowledged is delivered, in order, QoS 2 exactly once.
//!
//! `PELTON_SEEDS` and `PELTON_FROM` choose other seeds; `PELTON_SHOW` prints what the brokers hold at the end.

use pelton_base::Rng;
use pelton_broker::Settings;
use pelton_broker::settings::{QueuePolicy, Storage};
use pelton_storage_ops::Failure;

use crate::clients::{Publisher, Subscriber};
use crate::wire::Version;
use crate::world::{Disk, World};

const GROUP: &str = "$share/g/t/#";

/// How rough it gets.
#[derive(Clone, Copy)]
struct Weather {
    shards: u64,
    crashes_per_mille: u32,
    /// Per mille of steps at which the medium becomes full, or broken, for a while.
    faults_per_mille: u32,
    /// Queues are short, and drop the oldest.
    short_queues: bool,
    /// Some subscribers are members of a group.
    group: bool,
    steps: usize,
}

impl Weather {
    const FAIR: Self = Self {
        shards: 3,
        crashes_per_mille: 0,
        faults_per_mille: 0,
        short_queues: false,
        group: false,
        steps: 300,
    };
}

fn settings(rng: &mut Rng, weather: &Weather) -> Settings {
    let settings = Settings {
        // Small windows, so that everything spills and pages.
        storage: Some(Storage {
            window_messages: rng.between(1, 12) as u32,
            window_bytes: 4_096,
            page_messages: rng.between(1, 7) as u32,
            page_bytes: rng.between(50, 500) as u32,
            ..Storage::default()
        }),
        inflight_max: rng.between(1, 6) as u16,
        fanout_per_turn: rng.between(2, 40) as u32,
        outbound_bytes_max: rng.between(100, 2_000) as u32,
        ..Settings::default()
    };
    if weather.short_queues {
        let queue_messages_max = rng.between(2, 12) as u32;
        return Settings { queue_messages_max, queue_policy: QueuePolicy::DropOldest, ..settings };
    }
    settings
}

fn version(rng: &mut Rng) -> Version {
    if rng.chance(500) { Version::V5 } else { Version::V311 }
}

fn run(seed: u64, weather: &Weather) {
    let mut rng = Rng::with_seed(seed);
    let shards = rng.between(1, weather.shards) as usize;
    let mut world = World::new(shards, settings(&mut rng, weather));
    let mut publishers: Vec<Publisher> = (0..4)
        .map(|n| {
            let qos = 1 + n % 2;
            Publisher::new(&format!("publisher-{n}"), version(&mut rng), &format!("t/{n}"), qos as u8)
        })
        .collect();
    let filters =
        if weather.group { [GROUP, GROUP, GROUP, "t/#", "t/1"] } else { ["t/#", "t/+", "#", "t/#", "t/1"] };
    let mut subscribers: Vec<Subscriber> = filters
        .into_iter()
        .enumerate()
        .map(|(n, filter)| Subscriber::new(&format!("subscriber-{n}"), version(&mut rng), filter, 2))
        .collect();
    for subscriber in &mut subscribers {
        subscriber.connect(&mut world, rng.below(shards as u64) as usize);
        subscriber.subscribe(&mut world);
    }
    settle(&mut world, &mut publishers, &mut subscribers, 20);
    assert!(subscribers.iter().all(|subscriber| subscriber.subscribed), "seed {seed}");

    // Storage that failed is tried again every second.
    world.turn_ms = if weather.faults_per_mille == 0 { 1 } else { 40 };
    let mut fault_left = 0u64;
    for _ in 0..weather.steps {
        let shards = world.brokers.len() as u64;
        if rng.chance(weather.crashes_per_mille) {
            world.crash(rng.between(1, weather.shards) as usize);
            publishers.iter_mut().for_each(Publisher::lost);
            subscribers.iter_mut().for_each(Subscriber::lost);
            continue;
        }
        if weather.faults_per_mille != 0 {
            fault_left = fault_left.saturating_sub(1);
            let fault = if fault_left != 0 {
                None
            } else if rng.chance(weather.faults_per_mille) {
                fault_left = rng.between(1, 60);
                Some(if rng.chance(500) { Failure::Full } else { Failure::Failed })
            } else {
                None
            };
            if fault.is_some() || fault_left == 0 {
                world.store.set_fault(fault);
            }
        }
        world.disk = if rng.chance(700) { Disk::Held } else { Disk::Quick };
        if rng.chance(300) {
            world.commit(rng.between(1, 3) as usize);
        }
        for publisher in &mut publishers {
            if publisher.is_gone() {
                publisher.connect(&mut world, rng.below(shards) as usize);
            } else if rng.chance(15) {
                publisher.cut(&mut world);
            } else if rng.chance(500) && publisher.under_way() < 20 {
                publisher.publish(&mut world);
            }
            publisher.step(&mut world);
        }
        for subscriber in &mut subscribers {
            match subscriber.conn {
                None if rng.chance(100) => subscriber.connect(&mut world, rng.below(shards) as usize),
                None => {}
                Some(_) if rng.chance(30) => subscriber.cut(&mut world),
                Some(conn) => world.set_reads(conn, rng.chance(800)),
            }
            subscriber.step(&mut world, rng.below(4) as usize);
        }
        world.turn();
    }

    // Calm: everybody comes back, and everything arrives.
    world.store.set_fault(None);
    world.disk = Disk::Quick;
    for _ in 0..20_000 {
        for publisher in publishers.iter_mut().filter(|publisher| publisher.is_gone()) {
            publisher.connect(&mut world, 0);
        }
        for subscriber in subscribers.iter_mut().filter(|subscriber| subscriber.conn.is_none()) {
            subscriber.connect(&mut world, 0);
        }
        for conn in subscribers.iter().filter_map(|subscriber| subscriber.conn) {
            world.set_reads(conn, true);
        }
        settle(&mut world, &mut publishers, &mut subscribers, 1);
        let empty = world.store.durable().sessions.values().all(|stored| stored.queue.is_empty());
        if empty && world.is_quiet() && publishers.iter().all(|publisher| publisher.under_way() == 0) {
            break;
        }
    }
    if std::env::var("PELTON_SHOW").is_ok() {
        for broker in &world.brokers {
            for (_, session) in broker.sessions().iter() {
                println!("{session:#?}");
            }
            println!("{:?} waiting {}", broker.tally(), broker.waiting());
        }
    }
    for publisher in &publishers {
        assert_eq!(publisher.under_way(), 0, "seed {seed}: {} is never answered", publisher.id);
        for subscriber in &subscribers {
            if subscriber.filter == "t/1" && publisher.topic != "t/1" {
                continue;
            }
            if subscriber.filter != GROUP {
                check(seed, publisher, subscriber, weather);
            }
        }
        if weather.group {
            check_group(seed, publisher, &subscribers, weather);
        }
    }
    for (shard, broker) in world.brokers.iter().enumerate() {
        assert_eq!(broker.messages().len(), 0, "seed {seed}: shard {shard} keeps messages for nobody");
        assert_eq!(broker.waiting(), 0, "seed {seed}: shard {shard} waits for something");
    }
    for (session, stored) in &world.store.durable().sessions {
        assert!(stored.queue.is_empty(), "seed {seed}: {session:?} keeps {:?}", stored.queue.keys());
        assert!(stored.received.is_empty(), "seed {seed}: {session:?} keeps {:?}", stored.received);
    }
}

/// Some member of the group has it.
fn check_group(seed: u64, publisher: &Publisher, subscribers: &[Subscriber], weather: &Weather) {
    let members = subscribers.iter().filter(|subscriber| subscriber.filter == GROUP);
    let got: Vec<u32> = members.flat_map(|member| member.numbers(&publisher.topic)).collect();
    let who = format!("seed {seed}: {} to the group, QoS {}", publisher.topic, publisher.qos);
    let lost: Vec<_> = publisher.acked.iter().filter(|number| !got.contains(number)).collect();
    assert!(weather.short_queues || lost.is_empty(), "{who}: acknowledged and lost: {lost:?}");
    // A crash between two queues delivers once more, and so does what one shard refused after another stored it.
    if publisher.qos == 2 && weather.crashes_per_mille == 0 && weather.faults_per_mille == 0 {
        let mut sorted = got;
        sorted.sort_unstable();
        assert!(sorted.is_sorted_by(|one, next| one < next), "{who}: more than once: {sorted:?}");
    }
}

fn check(seed: u64, publisher: &Publisher, subscriber: &Subscriber, weather: &Weather) {
    // What the store refuses between messages that it takes comes again behind them, and so does what was dropped
    // and its publisher sends again.
    let in_order = weather.faults_per_mille == 0 && !(weather.short_queues && publisher.qos == 1);
    let who = format!("seed {seed}: {} to {}, QoS {}", publisher.topic, subscriber.id, publisher.qos);
    let got = subscriber.numbers(&publisher.topic);
    let mut first = Vec::new();
    for &number in &got {
        if !first.contains(&number) {
            first.push(number);
        }
    }
    let lost: Vec<_> = publisher.acked.iter().filter(|number| !first.contains(number)).collect();
    assert!(weather.short_queues || lost.is_empty(), "{who}: acknowledged and lost: {lost:?}");
    assert!(!in_order || first.is_sorted(), "{who}: out of order {first:?}");
    // Of a message that one shard stored and the member's shard refused, the publisher is told that it was refused.
    if publisher.qos == 2 && !(weather.group && weather.faults_per_mille != 0) {
        assert_eq!(got, first, "{who}: more than once");
    }
}

fn settle(world: &mut World, publishers: &mut [Publisher], subscribers: &mut [Subscriber], steps: usize) {
    for _ in 0..steps {
        publishers.iter_mut().for_each(|publisher| publisher.step(world));
        subscribers.iter_mut().for_each(|subscriber| subscriber.step(world, usize::MAX));
        world.turn();
    }
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let count = std::env::var("PELTON_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(default);
    let from = std::env::var("PELTON_FROM").ok().and_then(|from| from.parse().ok()).unwrap_or(0);
    from..from + count
}

#[test]
fn nothing_acknowledged_is_lost_without_crashes() {
    for seed in seeds(4) {
        run(seed, &Weather { steps: 250, ..Weather::FAIR });
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_crashes() {
    for seed in seeds(10) {
        run(seed, &Weather { crashes_per_mille: 12, ..Weather::FAIR });
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_medium_fails() {
    for seed in seeds(10) {
        run(seed, &Weather { crashes_per_mille: 4, faults_per_mille: 30, steps: 400, ..Weather::FAIR });
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_groups() {
    for seed in seeds(6) {
        let weather = Weather { group: true, ..Weather::FAIR };
        run(seed, &weather);
        run(seed, &Weather { crashes_per_mille: 12, ..weather });
        run(seed, &Weather { crashes_per_mille: 4, faults_per_mille: 30, ..weather });
    }
}

#[test]
fn nothing_stays_behind_in_short_queues() {
    for seed in seeds(10) {
        run(seed, &Weather { short_queues: true, ..Weather::FAIR });
        run(
            seed,
            &Weather { short_queues: true, crashes_per_mille: 6, faults_per_mille: 15, ..Weather::FAIR },
        );
    }
}
