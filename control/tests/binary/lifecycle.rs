//! Start, signals, end.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pelton_mqtt::{Connect, Version};
use rustix::process::Signal;

use crate::client::{Client, will};
use crate::running::{Running, address, pelton, run};

#[test]
fn it_listens_within_a_second() {
    let began = Instant::now();
    let mut broker = Running::start(&[]);
    // The machine may be busy with other tests: the best of a few starts counts.
    let mut best = began.elapsed();
    for _ in 0..4 {
        if best < Duration::from_secs(1) {
            break;
        }
        let began = Instant::now();
        broker = Running::start(&[]);
        best = best.min(began.elapsed());
    }
    assert!(best < Duration::from_secs(1), "{best:?}");
    broker.wait_for("datapath: kernel sockets (");
    Client::connect(broker.address, Version::V311, "c");
}

#[test]
fn every_address_is_said_and_served() {
    let mut broker = Running::of(&mut pelton(&[
        "serve",
        "--shards",
        "3",
        "--bind",
        "127.0.0.1:0",
        "--bind",
        "127.0.0.2:0",
        "--bind",
        "[::1]:0",
    ]));
    broker.wait_for("datapath: kernel sockets (epoll, 3 shards)");
    let addresses: Vec<_> =
        broker.said.iter().filter(|line| line.contains("listening on")).map(|line| address(line)).collect();
    assert_eq!(addresses.len(), 3, "{:?}", broker.said);
    for (n, address) in addresses.into_iter().enumerate() {
        Client::connect(address, Version::V5, &format!("c{n}"));
    }
}

#[test]
fn a_port_in_use_is_said_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    let port = address.rsplit(':').next().expect("there is a port");
    let ended = run(&["serve", "--bind", "127.0.0.1:0", "--bind", &address]);
    assert_eq!(ended.code, Some(1));
    let errors: Vec<&str> = ended.err.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{}", ended.err);
    assert!(errors[0].contains(&format!("port {port} is in use")), "{}", ended.err);
    assert!(!ended.err.contains("listening on"), "nothing was started: {}", ended.err);
}

#[test]
fn an_address_that_is_not_ours_is_said() {
    // TEST-NET-1: no host has it.
    let ended = run(&["serve", "--bind", "192.0.2.1:1883"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.err.contains("192.0.2.1:1883: no interface of this host has that address"),
        "{}",
        ended.err
    );
}

// covers [MQTT-3.14.4-1]
#[test]
fn sigterm_tells_v5_clients_and_ends() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut broker = Running::start(&["--shards", "2"]);
        let mut new = Client::connect(broker.address, Version::V5, "new");
        let mut old = Client::connect(broker.address, Version::V311, "old");
        broker.signal(signal);
        let disconnect = new.receive().expect("DISCONNECT");
        assert_eq!((disconnect[0], disconnect[2]), (0xE0, 0x8B), "{disconnect:?}");
        assert_eq!(new.receive(), None);
        assert_eq!(old.receive(), None, "a v3 client is only closed");
        drop((new, old));
        let (status, took) = broker.wait();
        assert_eq!(status.code(), Some(0), "{:?}", broker.said);
        assert!(took < Duration::from_secs(6), "{took:?}");
        broker.wait_for("stopped after");
    }
}

#[test]
fn a_client_that_does_not_close_cannot_hold_up_the_end() {
    // Without the bound it would be the transport's two seconds. The machine may be busy with other tests: one of
    // a few tries has to be in time.
    let mut took = Vec::new();
    for _ in 0..4 {
        let mut command = pelton(&["serve", "--bind", "127.0.0.1:0"]);
        let mut broker = Running::of(command.env("PELTON__SHUTDOWN__TIMEOUT_MS", "300"));
        let _stays = Client::connect(broker.address, Version::V311, "stays");
        let began = Instant::now();
        broker.signal(Signal::TERM);
        let (status, _) = broker.wait();
        took.push(began.elapsed());
        assert_eq!(status.code(), Some(0));
        broker.wait_for("were cut off");
        assert!(took.iter().all(|took| *took >= Duration::from_millis(300)), "{took:?}");
        if took.iter().any(|took| *took < Duration::from_millis(1900)) {
            return;
        }
    }
    panic!("{took:?}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut command = pelton(&["serve", "--bind", "127.0.0.1:0"]);
    let mut broker = Running::of(command.env("PELTON__SHUTDOWN__TIMEOUT_MS", "60000"));
    let _stays = Client::connect(broker.address, Version::V311, "stays");
    broker.signal(Signal::TERM);
    broker.wait_for("stopping");
    broker.signal(Signal::TERM);
    assert_eq!(broker.wait().0.code(), Some(128 + 15), "{:?}", broker.said);
}

#[test]
fn a_signal_right_behind_the_start_is_obeyed() {
    let mut broker = Running::start(&[]);
    broker.signal(Signal::TERM);
    assert_eq!(broker.wait().0.code(), Some(0));
}

// covers [MQTT-3.1.2-8] [MQTT-3.1.2-10] [MQTT-3.14.4-3]
#[test]
fn a_will_follows_a_lost_client_but_not_one_that_says_goodbye() {
    let broker = Running::start(&["--shards", "2"]);
    let mut watcher = Client::connect(broker.address, Version::V5, "watcher");
    assert_eq!(watcher.subscribe("wills/#"), 0);
    for version in [Version::V311, Version::V5] {
        let polite = will("wills/polite", b"must not come");
        let polite = Connect { will: Some(polite), ..Connect::new(version, "polite") };
        Client::connect_with(broker.address, &polite).disconnect();
        let lost = Connect { will: Some(will("wills/lost", b"gone")), ..Connect::new(version, "lost") };
        drop(Client::connect_with(broker.address, &lost));
        assert_eq!(watcher.message(), ("wills/lost".into(), "gone".into()));
    }
    assert!(watcher.hears_nothing(Duration::from_millis(200)));
}

#[test]
fn sighup_reads_the_log_level_again() {
    let file = crate::running::Scratch::file("level.toml", "");
    let mut broker = Running::start(&["-c", file.path()]);
    broker.wait_for("datapath");
    std::fs::write(file.path(), "[log]\nlevel = \"nonsense\"\n").expect("it is ours");
    broker.signal(Signal::HUP);
    broker.wait_for("the configuration is wrong, nothing was changed");
    std::fs::write(file.path(), "[log]\nlevel = \"error\"\n").expect("it is ours");
    broker.signal(Signal::HUP);
    // Of what follows nothing is as severe as that.
    std::thread::sleep(Duration::from_millis(300));
    broker.lines_within(Duration::from_millis(100));
    broker.signal(Signal::TERM);
    assert_eq!(broker.wait().0.code(), Some(0));
    assert!(!broker.said.iter().any(|line| line.contains("stopping")), "{:?}", broker.said);
}

#[test]
fn a_log_of_json_is_json() {
    let mut command = pelton(&["serve", "--bind", "127.0.0.1:0"]);
    let mut broker = Running::of(command.env("PELTON__LOG__FORMAT", "json"));
    broker.wait_for("datapath");
    for line in &broker.said {
        assert!(
            line.starts_with('{') && line.ends_with('}') && line.contains("\"level\":\"INFO\""),
            "{line}"
        );
    }
}

#[test]
fn an_idle_broker_costs_next_to_nothing() {
    let mut command = pelton(&["serve", "--shards", "2", "--bind", "127.0.0.1:0"]);
    // Every second, not every ten: what `$SYS` costs shows tenfold.
    let broker = Running::of(command.env("PELTON__SYS__INTERVAL_SECONDS", "1"));
    let mut client = Client::connect(broker.address, Version::V5, "c");
    client.subscribe("a");
    std::thread::sleep(Duration::from_millis(1500));
    let before = broker.ticks();
    std::thread::sleep(Duration::from_secs(4));
    let used = broker.ticks() - before;
    // Ticks are hundredths of a second: 4 of 400 are 1 % of a core, of an unoptimised build at that.
    assert!(used <= 8, "{used} hundredths of a second of processor in 4 s");
}

#[test]
fn a_log_that_nobody_reads_is_no_reason_to_stop() {
    let mut broker = Running::start(&[]);
    broker.wait_for("datapath");
    broker.stop_reading();
    for _ in 0..3 {
        broker.signal(Signal::HUP);
        std::thread::sleep(Duration::from_millis(50));
    }
    Client::connect(broker.address, Version::V5, "c").disconnect();
    broker.signal(Signal::TERM);
    assert_eq!(broker.wait().0.code(), Some(0));
}

#[test]
fn descriptors_are_raised_and_said() {
    let limits = |soft_and_hard: &str, key: &str| {
        let script = format!("{soft_and_hard} && exec \"$0\" serve --shards 1 --bind 127.0.0.1:0");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_pelton")]).stdin(std::process::Stdio::null());
        // As for all: nothing is stored where the test happens to run.
        command.env("PELTON__STORAGE__POLICY", "memory");
        if !key.is_empty() {
            command.env("PELTON__SHARDS__CONNECTIONS_MAX", key);
        }
        Running::of(&mut command).wait_for("file descriptors")
    };
    let line = limits("ulimit -Sn 100 && ulimit -Hn 300", "");
    assert!(line.contains("INFO") && line.contains("300, enough for 220 connections"), "{line}");
    let line = limits("ulimit -n 300", "220");
    assert!(line.contains("INFO"), "{line}");
    let line = limits("ulimit -n 300", "221");
    assert!(line.contains("WARN") && line.contains("connections_max allows 221"), "{line}");
}

#[test]
fn cores_that_are_not_there_are_said() {
    let mut command = pelton(&["serve", "--shards", "1", "--bind", "127.0.0.1:0"]);
    let mut broker = Running::of(command.env("PELTON__SHARDS__CORES", "1023"));
    broker.wait_for("core 1023 is not there or not ours");
}

#[test]
fn huge_pages_are_off() {
    let mut broker = Running::of(&mut pelton(&["serve", "--shards", "1", "--bind", "127.0.0.1:0"]));
    broker.wait_for("listening on");
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).expect("it runs");
    // Kernels before 5.0 do not say.
    if let Some(line) = status.lines().find(|line| line.starts_with("THP_enabled:")) {
        assert!(line.ends_with('0'), "{line}");
    }
}
