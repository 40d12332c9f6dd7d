//! By AF_XDP over a veth pair: what is the broker's goes to it, all else stays with the kernel.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use pelton_tests::binary::build;
use pelton_tests::namespace::is_possible;
use pelton_tests::scratch::Scratch;
use pelton_tests::xdp::{ADDRESSES, Link, OnXdp};

pub(crate) const PROGRAMS: &[&str] = &["ping", "ethtool", "mosquitto_pub", "mosquitto_sub", "python3"];

/// A figure of `v0`, asked over the loopback of the broker's namespace until `holds` is satisfied with it.
pub(crate) fn figure(broker: &OnXdp, name: &str, holds: impl Fn(u64) -> bool) -> u64 {
    let topic = format!("$SYS/broker/pelton/interface/v0/{name}");
    // The figures are published when the broker starts, and again ten seconds later.
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let said = broker.link().near.try_run(&format!("mosquitto_sub -h 127.0.0.1 -t {topic} -C 1 -W 2")).1;
        let value = said.trim().parse().unwrap_or(0);
        if holds(value) {
            return value;
        }
        assert!(Instant::now() < until, "{name} is {said:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A message from the other end to the other end.
fn hears(broker: &OnXdp, host: &str, message: &str) {
    let subscriber = broker
        .command("mosquitto_sub")
        .args(["-h", host, "-t", "t/#", "-C", "1", "-W", "20", "-q", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it is installed");
    // It is not said when it is subscribed: retained, it does not matter.
    broker.link().far.run(&format!("mosquitto_pub -h {host} -t t/x -q 1 -r -m {message}"));
    let output = subscriber.wait_with_output().expect("it is our child");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), message);
    broker.link().far.run(&format!("mosquitto_pub -h {host} -t t/x -q 1 -r -n"));
}

fn leaves_alone(mode: &str, queues: u16, shards: u16) {
    let broker = OnXdp::start(Link::new(queues), mode, shards, &[]);
    let Link { near, far } = broker.link();
    for host in ADDRESSES {
        hears(&broker, host, "hello");
        for bytes in ["56", "1400", "4000"] {
            // The largest comes in fragments.
            far.run(&format!("ping -n -q -c 3 -i 0.05 -W 2 -s {bytes} {host}"));
        }
        assert!(far.run(&format!("ip neighbour show {host}")).contains("lladdr"));
    }
    // Another service at the same address is the kernel's.
    let mut server = near
        .command("python3")
        .args(["-m", "http.server", "2222", "--bind", ADDRESSES[0]])
        .current_dir("/proc/sys/net")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("python is there");
    let page = format!("bash -c exec<>/dev/tcp/{}/2222", ADDRESSES[0]);
    let until = Instant::now() + Duration::from_secs(10);
    while !far.try_run(&page).0 {
        assert!(Instant::now() < until, "nobody at the other service");
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = server.kill();
    let _ = server.wait();
    // So is the loopback.
    near.run("mosquitto_pub -h 127.0.0.1 -t t/y -m near -q 1");
    assert!(figure(&broker, "xdp/redirect", |count| count > 10) > 10);
    assert!(figure(&broker, "xdp/pass_other", |count| count > 10) > 10);
}

#[test]
fn what_is_not_the_brokers_stays_with_the_kernel() {
    if !is_possible("other traffic beside a broker on AF_XDP", PROGRAMS) {
        return;
    }
    leaves_alone("auto", 1, 1);
    leaves_alone("auto", 4, 2);
    leaves_alone("generic", 1, 1);
}

#[test]
fn a_blocked_prefix_is_dropped_by_the_program() {
    if !is_possible("a prefix that is blocked in XDP", PROGRAMS) {
        return;
    }
    let folder = Scratch::directory();
    let file = folder.path().join("pelton.toml");
    let text = "[[interface]]\nname = \"v0\"\nmode = \"copy\"\nblock = [\"10.78.0.128/25\"]\nallow = [\"10.78.0.200/32\"]\n";
    std::fs::write(&file, text).expect("it can be written");
    let link = Link::new(1);
    for number in [129, 200] {
        link.far.run(&format!("ip address add 10.78.0.{number}/24 dev v1"));
    }
    let broker = OnXdp::start(link, "copy", 1, &["--config", file.to_str().expect("a path of text")]);
    let far = &broker.link().far;
    let publish = |from: &str| {
        far.try_run(&format!("timeout 3 mosquitto_pub -h {} -A {from} -t t/x -m x -q 1", ADDRESSES[0])).0
    };
    assert!(publish("10.78.0.2") && publish("10.78.0.200"));
    assert!(!publish("10.78.0.129"));
    // Pings of the same source are the kernel's.
    far.run(&format!("ping -n -q -c 2 -i 0.05 -W 2 -I 10.78.0.129 {}", ADDRESSES[0]));
    // Who it was is said, not of every frame.
    let told = broker.says("XDP dropped a frame");
    assert!(told.contains("interface v0:") && told.contains("from 10.78.0.129:"), "{told}");
    assert!(told.contains(" to 10.78.0.1:1883: blocked "), "{told}");
    let blocked = figure(&broker, "xdp/drop_blocked", |count| count >= 2);
    let pelton = build("pelton", "pelton");
    let said = broker.link().near.command(&pelton).args(["status", "127.0.0.1:1883"]).output();
    let said = String::from_utf8_lossy(&said.expect("it starts").stdout).into_owned();
    let dropped: Vec<&str> = said.lines().filter(|line| line.contains("XDP dropped")).collect();
    let [line] = dropped[..] else { panic!("no other reason than one: {said}") };
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((words[0], words[1], words[3]), ("XDP", "dropped", "blocked"), "{said}");
    assert!(words[2].parse().is_ok_and(|count: u64| count >= blocked), "{said}");
}

#[test]
fn queues_are_polled_if_that_is_wanted() {
    if !is_possible("queues of AF_XDP that the shards poll", PROGRAMS) {
        return;
    }
    let folder = Scratch::directory();
    let file = folder.path().join("pelton.toml");
    let text = "[[interface]]\nname = \"v0\"\nmode = \"copy\"\nbusy_poll_us = 20\nbusy_poll_budget = 16\n";
    std::fs::write(&file, text).expect("it can be written");
    let broker = OnXdp::start(Link::new(2), "copy", 1, &["--config", file.to_str().expect("a path of text")]);
    assert!(broker.says("interface v0").contains("(AF_XDP copy, busy polling)"));
    ADDRESSES.iter().for_each(|host| hears(&broker, host, "hello"));
    let pelton = build("pelton", "pelton");
    let said = broker.link().near.command(&pelton).args(["status", "127.0.0.1:1883"]).output();
    let said = String::from_utf8_lossy(&said.expect("it starts").stdout).into_owned();
    assert!(said.contains("AF_XDP copy, busy polling (v0)"), "{said}");
    assert!(figure(&broker, "afxdp_rx_calls", |count| count > 10) > 10);
}

#[test]
fn its_ports_are_reserved_while_it_runs() {
    if !is_possible("ports of a broker on AF_XDP that are reserved", PROGRAMS) {
        return;
    }
    let link = Link::new(1);
    let reserved = |link: &Link| link.near.run("cat /proc/sys/net/ipv4/ip_local_reserved_ports");
    link.near.run("sysctl -q -w net.ipv4.ip_local_reserved_ports=1880-1882");
    let mut broker = OnXdp::start(link, "copy", 1, &[]);
    assert_eq!(reserved(broker.link()), "1880-1883\n");
    broker.stop();
    assert_eq!(reserved(broker.link()), "1880-1882\n");
    // One that was alone in the list leaves it empty.
    broker.link().near.run("sysctl -q -w net.ipv4.ip_local_reserved_ports=");
    broker.start_again("copy", 1, &[]);
    assert_eq!(reserved(broker.link()), "1883\n");
    broker.stop();
    assert_eq!(reserved(broker.link()), "\n");
}

#[test]
fn after_a_kill_the_next_process_has_it_all() {
    if !is_possible("a broker on AF_XDP that is killed", PROGRAMS) {
        return;
    }
    let mut broker = OnXdp::start(Link::new(1), "copy", 1, &[]);
    let publish = "mosquitto_pub -h 10.78.0.1 -q 1 -t t/kept -m kept";
    // A session that is away, and a message for it that was acknowledged.
    let subscribe = "mosquitto_sub -h 10.78.0.1 -c -i stays -q 1 -t t/kept";
    broker.link().far.run(&format!("{subscribe} -E"));
    broker.link().far.run(publish);
    let dropped = broker.link().near.run("ip -details link show v0");
    assert!(dropped.contains("xdp"), "{dropped}");
    broker.kill_and_start("copy", 1, &[]);
    let said = broker.link().far.run(&format!("{subscribe} -C 1 -W 20"));
    assert_eq!(said.trim(), "kept");
    hears(&broker, ADDRESSES[1], "again");
    // Nothing of the program outlives a process that was not to leave it.
    broker.kill();
    let left = broker.link().near.run("ip -details link show v0");
    assert!(!left.contains("xdp"), "{left}");
}

#[test]
fn what_is_missing_is_one_line_and_the_next_rung_is_taken() {
    if !is_possible("rungs that do not hold", PROGRAMS) {
        return;
    }
    let link = Link::new(1);
    let binary = build("pelton", "pelton");
    // What it says until it serves, or ends.
    let serve = |arguments: &str| {
        let data = Scratch::directory();
        let mut child = link
            .near
            .command(&binary)
            .args(["serve", "--bind", "127.0.0.1:1883", "--data"])
            .arg(data.path())
            .args(arguments.split(' '))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary that was just built starts");
        let mut said = String::new();
        for line in BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok) {
            said.push_str(&line);
            said.push('\n');
            if line.contains("datapath:") {
                break;
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        said
    };
    let required = serve("--interface zero-copy:v0 --require --shards 1");
    assert!(required.contains("AF_XDP zero-copy") && required.contains("use copy mode"), "{required}");
    assert!(!required.contains("listening on"), "{required}");
    let stepped = serve("--interface zero-copy:v0 --shards 1");
    assert!(
        stepped.contains("not served by AF_XDP zero-copy") && stepped.contains("(kernel sockets)"),
        "{stepped}"
    );
    let queues = serve("--interface v0 --shards 4");
    assert!(queues.contains("1 receive queues for 4 shards") && queues.contains("ethtool -L v0"), "{queues}");
    let nobody = serve("--interface nosuch0 --shards 1");
    assert!(nobody.contains("`nosuch0`"), "{nobody}");
    link.near.run("ip link set v0 down");
    let down = serve("--interface v0 --require --shards 1");
    assert!(down.contains("ip link set v0 up"), "{down}");
}
