//! The store: what is said of it, when it is refused, and the commands on it.

use std::path::Path;

use pelton_mqtt::Version;
use rustix::process::Signal;

use crate::client::Client;
use crate::place::Place;
use crate::running::{Running, pelton, run, run_command};

#[test]
fn it_says_where_it_is_and_how_it_was_left() {
    let place = Place::new("ends");
    for (end, expected) in [
        (Some(Signal::TERM), "new;"),
        (Some(Signal::KILL), "closed in order;"),
        (None, "not closed in order,"),
    ] {
        let mut broker = Running::of(&mut place.serve());
        let line = broker.wait_for("store: ");
        assert!(line.contains(place.text()) && line.contains("policy commit"), "{line}");
        assert!(line.contains(expected), "{line}");
        broker.wait_for("loaded: 0 sessions, 0 subscriptions, 0 queued messages, 0 retained messages");
        if let Some(signal) = end {
            broker.signal(signal);
            broker.wait();
        }
    }
}

#[test]
fn two_brokers_do_not_share_a_store() {
    let place = Place::new("locked");
    let _first = Running::of(&mut place.serve());
    let second = run_command(&mut place.serve());
    assert_eq!(second.code, Some(1));
    assert!(second.err.contains("in use by another process"), "{}", second.err);
    assert!(second.err.contains(place.text()), "{}", second.err);
    assert!(!second.err.contains("listening on"), "{}", second.err);
    let compact = run(&["store", "compact", "--data", place.text()]);
    assert_eq!(compact.code, Some(1));
    assert!(compact.err.contains("in use by another process"), "{}", compact.err);
}

#[test]
fn a_directory_that_cannot_be_used_is_said_with_the_way_out() {
    // Nobody makes a directory there, the administrator included.
    let mut command = pelton(&["serve", "--bind", "127.0.0.1:0", "--data", "/proc/pelton-data"]);
    let ended = run_command(command.env("PELTON__STORAGE__POLICY", "commit"));
    assert_eq!(ended.code, Some(1));
    let errors: Vec<&str> = ended.err.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{}", ended.err);
    assert!(errors[0].contains("/proc/pelton-data") && errors[0].contains("--data"), "{}", errors[0]);
    assert!(errors[0].contains("policy = \"memory\""), "{}", errors[0]);
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let place = Place::new("garbage");
    std::fs::create_dir_all(&place.0).expect("it is ours");
    let file = place.0.join("pelton.mdb");
    let garbage = vec![0x55; 16_384];
    std::fs::write(&file, &garbage).expect("it is ours");
    let ended = run_command(&mut place.serve());
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("pelton.mdb is damaged (page 0: "), "{}", ended.err);
    assert_eq!(std::fs::read(&file).expect("it is there"), garbage);
}

#[test]
fn without_a_store_nothing_is_written() {
    let place = Place::new("memory");
    let mut broker = Running::of(place.serve().env("PELTON__STORAGE__POLICY", "memory"));
    broker.wait_for("storage: none ([storage] policy is memory)");
    Client::connect(broker.address, Version::V311, "c");
    assert!(!place.0.exists());
}

/// Runs `pelton store` on a store; what it says as JSON.
fn store(command: &[&str], place: &Path) -> (Option<i32>, serde_json::Value) {
    let place = place.to_str().expect("the name is ASCII");
    let ended = run(&[&["store"], command, &["--data", place, "--output", "json"]].concat());
    let said = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    (ended.code, said)
}

fn records(stats: &serde_json::Value, database: &str) -> u64 {
    let all = stats["databases"].as_array().expect("a list");
    let found = all.iter().find(|one| one["name"] == database).expect("it is there");
    found["records"].as_u64().expect("a number")
}

#[test]
fn the_commands_work_beside_a_broker_and_without_one() {
    let place = Place::new("commands");
    let missing = run(&["store", "stats", "--data", place.text()]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.starts_with("there is no store at "), "{}", missing.err);

    let mut broker = Running::of(&mut place.serve());
    let mut client = Client::connect_with(
        broker.address,
        &pelton_mqtt::Connect { clean_start: false, ..pelton_mqtt::Connect::new(Version::V311, "stays") },
    );
    assert_eq!(client.subscribe("a/#"), 0);
    let mut watcher = Client::connect(broker.address, Version::V311, "watcher");
    watcher.subscribe("$SYS/broker/pelton/storage/state");
    assert_eq!(watcher.message().1, "well");
    let (code, stats) = store(&["stats"], &place.0);
    assert_eq!((code, stats["closed"].as_bool()), (Some(0), Some(false)));
    assert_eq!((records(&stats, "sess"), records(&stats, "subs")), (1, 1));
    let (code, report) = store(&["check"], &place.0);
    assert_eq!((code, report["problems_total"].as_u64()), (Some(0), Some(0)), "{report}");

    // A backup of a running broker is a store.
    let copy = Place::new("copy");
    std::fs::create_dir_all(&copy.0).expect("it is ours");
    let file = copy.0.join("pelton.mdb");
    let (code, said) = store(&["backup", file.to_str().expect("ASCII")], &place.0);
    assert_eq!(code, Some(0));
    assert_eq!(said["bytes"].as_u64(), std::fs::metadata(&file).ok().map(|about| about.len()));
    let again = run(&["store", "backup", file.to_str().expect("ASCII"), "--data", place.text()]);
    assert_eq!(again.code, Some(1), "nothing is overwritten");
    let mut restored = Running::of(&mut copy.serve());
    restored.wait_for("loaded: 1 sessions, 1 subscriptions");

    broker.signal(Signal::TERM);
    broker.wait();
    broker.wait_for("store closed after");
    let (code, said) = store(&["compact"], &place.0);
    assert_eq!(code, Some(0));
    assert!(said["bytes_after"].as_u64() < said["bytes_before"].as_u64(), "{said}");
    let (_, stats) = store(&["stats"], &place.0);
    assert_eq!((stats["closed"].as_bool(), records(&stats, "sess")), (Some(true), 1));
}

#[test]
fn a_damaged_record_is_named_and_the_rest_is_served() {
    let place = Place::new("damage");
    let mut broker = Running::of(&mut place.serve());
    let mut client = Client::connect(broker.address, Version::V311, "c");
    for topic in ["kept/1", "kept/2"] {
        client.send(&retained(topic));
    }
    client.subscribe("none");
    broker.signal(Signal::TERM);
    broker.wait();
    let file = place.0.join("pelton.mdb");
    let mut bytes = std::fs::read(&file).expect("it is there");
    // Old pages hold copies; every one is hit.
    let text = b"kept/2";
    let hits: Vec<usize> =
        (0..bytes.len() - text.len()).filter(|&at| &bytes[at..at + text.len()] == text).collect();
    assert!(!hits.is_empty());
    hits.into_iter().for_each(|at| bytes[at] = b'K');
    std::fs::write(&file, &bytes).expect("it is ours");

    let check = run(&["store", "check", "--data", place.text()]);
    assert_eq!(check.code, Some(1), "{}", check.out);
    assert!(check.out.starts_with("ret ") && check.out.contains("1 problems"), "{}", check.out);
    let mut broker = Running::of(&mut place.serve());
    broker.wait_for("1 records of the store are damaged: they were moved aside");
    let mut client = Client::connect(broker.address, Version::V311, "c");
    client.subscribe("kept/#");
    assert_eq!(client.message().0, "kept/1");
    client.subscribe("$SYS/broker/pelton/storage/records_quarantined");
    assert_eq!(client.message().1, "1");
}

fn retained(topic: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut publish = pelton_mqtt::Publish::new(pelton_mqtt::RawTopic::new(topic.as_bytes()), b"x");
    publish.retain = true;
    publish.encode(Version::V311, &mut bytes);
    bytes
}

/// Publishes QoS 1 and waits for the answer; its reason code.
fn publish(client: &mut Client, id: u16, payload: &[u8]) -> u8 {
    let mut publish = pelton_mqtt::Publish::new(pelton_mqtt::RawTopic::new(b"a/b"), payload);
    (publish.qos, publish.packet_id) = (pelton_mqtt::QoS::AtLeastOnce, pelton_mqtt::PacketId::new(id));
    let mut bytes = Vec::new();
    publish.encode(Version::V5, &mut bytes);
    client.send(&bytes);
    let puback = client.receive().expect("PUBACK");
    assert_eq!(puback[0], 0x40, "{puback:?}");
    puback.get(4).copied().unwrap_or(0)
}

#[test]
fn a_full_store_refuses_says_so_and_recovers() {
    let place = Place::new("full");
    let mut command = place.serve();
    command.env("PELTON__STORAGE__BYTES_MAX", "4194304").env("PELTON__STORAGE__MAP_BYTES", "4194304");
    let mut broker = Running::of(&mut command);
    let properties = pelton_mqtt::ConnectProperties {
        session_expiry: Some(3_600),
        ..pelton_mqtt::ConnectProperties::default()
    };
    let away = pelton_mqtt::Connect {
        clean_start: true,
        properties,
        ..pelton_mqtt::Connect::new(Version::V5, "away")
    };
    let mut client = Client::connect_with(broker.address, &away);
    client.subscribe_at("a/b", pelton_mqtt::QoS::AtLeastOnce);
    client.disconnect();
    let mut publisher = Client::connect(broker.address, Version::V5, "p");
    let payload = vec![b'x'; 20_000];
    let mut stored = 0;
    while publish(&mut publisher, 1 + stored % 60_000, &payload) == 0 {
        stored += 1;
        assert!(stored < 400, "four megabytes hold no eight");
    }
    assert!(stored > 20, "{stored} messages");
    broker.wait_for("is full");
    // The session's end frees all it held.
    let ends = pelton_mqtt::Connect { properties: pelton_mqtt::ConnectProperties::default(), ..away };
    Client::connect_with(broker.address, &ends).disconnect();
    let until = std::time::Instant::now() + crate::running::PATIENCE;
    let back = pelton_mqtt::Connect { clean_start: false, ..away };
    let mut client = loop {
        assert!(std::time::Instant::now() < until, "{:?}", broker.said);
        std::thread::sleep(std::time::Duration::from_millis(300));
        if let Some(client) = Client::try_connect(broker.address, &back) {
            break client;
        }
    };
    client.subscribe_at("a/b", pelton_mqtt::QoS::AtLeastOnce);
    while publish(&mut publisher, 1, &payload) != 0 {
        assert!(std::time::Instant::now() < until, "{:?}", broker.said);
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    broker.wait_for("takes writes again");
}
