//! `$SYS`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pelton_mqtt::Version;

use crate::client::Client;
use crate::running::{PATIENCE, Running, pelton, run};

fn broker(interval: &str) -> Running {
    let mut command = pelton(&["serve", "--shards", "2", "--bind", "127.0.0.1:0"]);
    Running::of(command.env("PELTON__SYS__INTERVAL_SECONDS", interval))
}

/// Follows `$SYS` until the values `hold`.
fn follow(watcher: &mut Client, mut hold: impl FnMut(&HashMap<String, String>) -> bool) {
    let mut values = HashMap::new();
    let until = Instant::now() + PATIENCE;
    while !hold(&values) {
        assert!(Instant::now() < until, "{values:#?}");
        let (topic, value) = watcher.message();
        values.insert(topic, value);
    }
}

#[test]
fn it_comes_to_those_who_ask_for_it_by_name() {
    let broker = broker("1");
    let mut everything = Client::connect(broker.address, Version::V311, "everything");
    everything.subscribe("#");
    let mut watcher = Client::connect(broker.address, Version::V5, "watcher");
    watcher.subscribe("$share/group/shared/+");
    watcher.subscribe("$SYS/#");
    everything.publish("some/topic", b"12345");
    assert_eq!(everything.message(), ("some/topic".into(), "12345".into()));
    let want = [
        ("$SYS/broker/version", concat!("pelton version ", env!("CARGO_PKG_VERSION"))),
        ("$SYS/broker/clients/connected", "2"),
        ("$SYS/broker/clients/total", "2"),
        ("$SYS/broker/clients/maximum", "2"),
        ("$SYS/broker/clients/disconnected", "0"),
        ("$SYS/broker/subscriptions/count", "3"),
        ("$SYS/broker/shared_subscriptions/count", "1"),
        ("$SYS/broker/publish/messages/received", "1"),
        ("$SYS/broker/publish/bytes/received", "5"),
        ("$SYS/broker/pelton/shards", "2"),
        ("$SYS/broker/pelton/traffic/publish_in", "1"),
        ("$SYS/broker/pelton/dropped/queue_full_newest", "0"),
        ("$SYS/broker/pelton/ended/malformed", "0"),
        ("$SYS/broker/pelton/transport/accepted", "2"),
    ];
    follow(&mut watcher, |values| {
        want.iter().all(|&(topic, value)| values.get(topic).is_some_and(|found| found == value))
            && values.get("$SYS/broker/uptime").is_some_and(|uptime| uptime.ends_with(" seconds"))
            && values.get("$SYS/broker/load/publish/received/1min").is_some_and(|load| load != "0.00")
    });
    // Counters of a second round: what came in and went out in between shows.
    everything.send(&pelton_mqtt::PINGREQ);
    assert_eq!(everything.receive().expect("PINGRESP")[0], 0xD0, "and nothing of $SYS before it");
    let gone = Client::connect(broker.address, Version::V311, "gone");
    gone.disconnect();
    follow(&mut watcher, |values| {
        values.get("$SYS/broker/pelton/ended/disconnect").is_some_and(|count| count == "1")
    });
    assert!(everything.hears_nothing(Duration::from_millis(100)));
}

#[test]
fn it_can_be_switched_off() {
    let broker = broker("0");
    let mut watcher = Client::connect(broker.address, Version::V5, "watcher");
    watcher.subscribe("$SYS/#");
    assert!(watcher.hears_nothing(Duration::from_millis(1500)));
}

#[test]
fn clients_cannot_write_there() {
    let broker = broker("0");
    let mut watcher = Client::connect(broker.address, Version::V311, "watcher");
    watcher.subscribe("$SYS/#");
    let mut liar = Client::connect(broker.address, Version::V311, "liar");
    liar.publish("$SYS/broker/version", b"another");
    assert!(watcher.hears_nothing(Duration::from_millis(300)));
}

#[test]
fn status_shows_a_running_broker() {
    let broker = broker("1");
    let mut client = Client::connect(broker.address, Version::V311, "c");
    client.subscribe("a");
    client.disconnect();
    let address = broker.address.to_string();
    let until = Instant::now() + PATIENCE;
    loop {
        let ended = run(&["status", &address]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let lines: Vec<&str> = ended.out.lines().collect();
        // Under load it may have looked before all figures had come.
        if lines.contains(&"ended          1 disconnect") && !ended.out.contains('?') {
            assert!(lines[0].starts_with("pelton version ") && lines[0].ends_with(" seconds"), "{lines:?}");
            assert_eq!(lines[1], "datapath       kernel sockets, 2 shards");
            return;
        }
        assert!(Instant::now() < until, "{lines:#?}");
    }
}

#[test]
fn status_says_why_there_is_none() {
    let silent = broker("0");
    let ended = run(&["status", &silent.address.to_string()]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("publishes no figures"), "{}", ended.err);
    let address = silent.address.to_string();
    drop(silent);
    let ended = run(&["status", &address]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.starts_with(&format!("nothing answers at {address}: ")), "{}", ended.err);
    assert_eq!(ended.err.lines().count(), 1);
}

#[test]
fn status_takes_a_name() {
    let broker = broker("1");
    let port = broker.address.port();
    // It may have IPv6 addresses, too, on which nobody listens.
    let by_name = || run(&["status", &format!("localhost:{port}")]);
    let mut ended = by_name();
    let until = Instant::now() + PATIENCE;
    // It listens before it has published for the first time.
    while ended.err.contains("publishes no figures") && Instant::now() < until {
        ended = by_name();
    }
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    for (place, says) in [
        ("nowhere.invalid:1883", "no address is known for nowhere.invalid:1883: "),
        ("nowhere.invalid", "no address is known for nowhere.invalid: "),
        ("127.0.0.1:port", "no address is known for 127.0.0.1:port: "),
        // Nothing listens there, whatever the machine runs.
        ("127.0.0.1:0", "nothing answers at 127.0.0.1:0: "),
    ] {
        let ended = run(&["status", place]);
        assert_eq!(ended.code, Some(1), "{place}");
        assert!(ended.err.starts_with(says) && ended.err.lines().count() == 1, "{place}: {}", ended.err);
    }
}
