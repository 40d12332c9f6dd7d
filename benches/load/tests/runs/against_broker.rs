//! What is measured of the broker itself, started in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pelton_base::HashKey;
use pelton_broker::Settings;
use pelton_load::Report;
use pelton_runtime::{Fleet, Idle, Plan};
use pelton_sockets::Bind;

use crate::load;

fn start(shards: u16) -> (Fleet, u16) {
    let plan = Plan {
        binds: vec![Bind { address: SocketAddr::from(([127, 0, 0, 1], 0)) }],
        interfaces: Vec::new(),
        shards,
        cores: Vec::new(),
        idle: Idle { spin_us: 0 },
        patience: pelton_base::Patience::default(),
        settings: Arc::new(Settings::default()),
        key: HashKey::new(1, 2),
        seed: 3,
    };
    let fleet = Fleet::start(&plan).expect("a port of the system's choice is free");
    let port = fleet.addresses()[0].port();
    (fleet, port)
}

/// Everything arrived, once, in order.
fn assert_whole(report: &Report, line: &str) {
    let wrong = [
        report.lost,
        report.duplicated,
        report.out_of_order,
        report.foreign,
        report.unacknowledged,
        report.stray_acknowledgements,
        report.closed_by_broker,
        report.stalls,
    ];
    assert_eq!(wrong, [0; 8], "{line}: {report:#?}");
    assert!(report.published > 100 && report.received == report.expected, "{line}: {report:#?}");
    assert!(report.count > 0 && report.count <= report.received, "{line}: {report:#?}");
    let latency = report.latency.expect(line);
    let rising = [1.0, latency.p50_us, latency.p90_us, latency.p99_us, latency.p99_9_us, latency.max_us];
    assert!(rising.is_sorted(), "{line}: {latency:?}");
}

#[test]
fn every_scenario_at_every_qos_in_every_version() {
    let (fleet, port) = start(2);
    for scenario in
        ["fan-in -c 5 --subscribers 2 -F 16", "fan-out -c 20 -F 8", "pairs -c 10", "shared -c 5 -g 3 -F 16"]
    {
        for qos in 0..=2 {
            for version in [3, 4, 5] {
                let line = format!(
                    "{scenario} -q {qos} -V {version} -s 100 -d 0.15 --warmup 0.05 -t t{qos}{version}"
                );
                let report = load(port, &line).expect(&line);
                assert_whole(&report, &line);
                assert_eq!((report.qos, report.mqtt_version), (qos, version));
            }
        }
    }
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

#[test]
fn deliveries_are_those_of_the_scenario() {
    let (fleet, port) = start(1);
    let fan_out = load(port, "fan-out -c 20 -F 8 -d 0.1 --warmup 0").unwrap();
    assert_eq!(fan_out.expected, fan_out.published * 20);
    let fan_in = load(port, "fan-in -c 4 --subscribers 3 -d 0.1 --warmup 0").unwrap();
    assert_eq!(fan_in.expected, fan_in.published * 3);
    let shared = load(port, "shared -c 4 -g 3 -d 0.1 --warmup 0").unwrap();
    assert_eq!(shared.expected, shared.published);
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

#[test]
fn an_open_loop_sends_what_was_asked_for() {
    let (fleet, port) = start(1);
    for line in ["pairs -c 10 --rate 2000 -d 1 --warmup 0.2", "pairs -c 10 -I 5 -q 1 -d 1 --warmup 0.2"] {
        let begun = Instant::now();
        let report = load(port, line).unwrap();
        assert_whole(&report, line);
        assert_eq!(report.rate_asked, Some(2000.0), "{line}");
        // 1.2 s of it, and never more than the time allows; it is not behind, or says so.
        let sent = report.published + report.behind;
        let most = 20 + (begun.elapsed().as_secs_f64() * 2_000.0) as u64;
        assert!((2_380..=most).contains(&sent), "{line}: {sent} of {most}");
    }
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

/// The broker runs in this process: what is measured of it is at least what the run took.
#[test]
fn cpu_time_and_memory_of_the_broker_are_told() {
    let (fleet, port) = start(1);
    let line = format!("pairs -c 10 -d 0.3 --warmup 0.1 --broker-pid {}", std::process::id());
    let report = load(port, &line).unwrap();
    let broker = report.broker.unwrap();
    let cpu_us = broker.cpu_us_per_count.unwrap() * report.count as f64;
    assert!(cpu_us / 1e6 / report.seconds - broker.cores < 0.001, "{report:#?}");
    assert!(broker.cores > 0.05 && broker.cores >= report.generator_cores * 0.9, "{report:#?}");
    assert!(broker.anonymous_bytes > 100_000, "{report:#?}");
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

#[test]
fn connections_come_and_go() {
    let (fleet, port) = start(1);
    let churn = load(port, "connect -c 8 -d 0.3 --warmup 0.1").unwrap();
    assert!(churn.count > 50 && churn.latency.is_some(), "{churn:#?}");
    let paced = load(port, "connect -c 8 --rate 100 -d 1 --warmup 0").unwrap();
    assert!((80..=110).contains(&paced.count), "{paced:#?}");
    let held = load(port, "connect --hold -c 300 -d 0.2 -k 1").unwrap();
    assert_eq!((held.count, held.closed_by_broker), (300, 0));
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

/// Idle connections hold memory of this process, and are pinged: with a keep alive of 1 s they outlive 2 s.
#[test]
fn idle_connections_are_kept_alive() {
    let (fleet, port) = start(1);
    let line = format!("idle -c 600 --from 100 --settle 0.3 -k 1 -d 2 --broker-pid {}", std::process::id());
    let report = load(port, &line).unwrap();
    let idle = report.idle.unwrap();
    assert_eq!((idle.connections_from, idle.connections_to, report.closed_by_broker), (100, 600, 0));
    assert!(idle.bytes_to > 0 && idle.bytes_from > 0, "{idle:?}");
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

/// Visitors came before, and have gone: nothing of what is published reaches them, and the run is whole.
#[test]
fn visitors_leave_nothing() {
    let (fleet, port) = start(1);
    let line = "pairs -c 5 --visitors 50 -d 0.2 --warmup 0";
    assert_whole(&load(port, line).unwrap(), line);
    let until = Instant::now() + Duration::from_secs(5);
    while fleet.snapshots(Duration::from_secs(1)).iter().any(|snapshot| snapshot.sessions > 0) {
        assert!(Instant::now() < until, "{:#?}", fleet.snapshots(Duration::from_secs(1)));
    }
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

/// Sessions of subscribers that are to stay are there when the run is over; publishers leave nothing.
#[test]
fn subscribers_may_stay() {
    let (fleet, port) = start(2);
    let line = "pairs -c 5 -q 1 -F 4 -d 0.2 --warmup 0 --stays";
    assert_whole(&load(port, line).unwrap(), line);
    let until = Instant::now() + Duration::from_secs(5);
    let sessions = || {
        let shards = fleet.snapshots(Duration::from_secs(1));
        let sum = |of: fn(&pelton_shard::Snapshot) -> usize| shards.iter().map(of).sum::<usize>();
        (sum(|shard| shard.sessions), sum(|shard| shard.sessions_online))
    };
    while sessions() != (5, 0) {
        assert!(Instant::now() < until, "{:?}", sessions());
    }
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

/// Retained numbers are found, what is no number or not there is left out.
#[test]
fn figures_of_the_broker_are_found() {
    let (fleet, port) = start(1);
    for (topic, text) in [("$SYS/a", "17"), ("$SYS/b", " 2.5 "), ("$SYS/c", "well")] {
        let command = pelton_shard::Command::Publish {
            topic: topic.into(),
            payload: text.into(),
            qos: pelton_mqtt::QoS::AtMostOnce,
            retain: true,
        };
        assert!(fleet.send(0, command));
    }
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let found = pelton_load::figures::ask(address, &["$SYS/a", "$SYS/b"]).unwrap();
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        [("$SYS/a".to_owned(), 17.0), ("$SYS/b".to_owned(), 2.5)]
    );
    assert!(pelton_load::figures::ask(address, &["$SYS/c", "$SYS/d"]).unwrap().is_empty());
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

/// Sessions are made and stay, and every message to them is acknowledged.
#[test]
fn those_who_are_away_are_published_to() {
    let (fleet, port) = start(2);
    for version in [4, 5] {
        let line = format!(
            "away -c 30 --publishers 4 -q {} -V {version} -F 10 -d 0.3 --warmup 0 -t a{version}",
            version - 3
        );
        let pid = std::process::id();
        let report = load(port, &format!("{line} --broker-pid {pid}")).unwrap();
        assert!(report.count > 50 && report.latency.is_some(), "{report:#?}");
        assert_eq!(report.away.map(|away| away.sessions), Some(30));
    }
    let snapshots = fleet.snapshots(Duration::from_secs(1));
    // Both rounds have the same clients.
    assert_eq!(snapshots.iter().map(|shard| shard.sessions - shard.sessions_online).sum::<usize>(), 30);
    assert!(load(port, "away -c 1 --publishers 1").is_err(), "QoS 0 is acknowledged by nobody");
    assert!(fleet.shut_down(Duration::from_secs(5)));
}
