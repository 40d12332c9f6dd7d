//! A router between the broker and its clients, whose far link carries less: it says so to the broker's host, and the
//! stack, which never sees the frame, hears of it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use pelton_tests::namespace::{Namespace, is_possible};
use pelton_tests::xdp::{ADDRESSES, Link, OnXdp};

use crate::xdp::{PROGRAMS, figure};

/// The client's namespace, behind the link's far end, over a link that carries `mtu` towards it.
fn behind(link: &Link, mtu: u16) -> Namespace {
    let Link { near, far } = link;
    let client = Namespace::new();
    far.run(&format!("ip link add r0 type veth peer name c0 netns {}", client.name()));
    for (namespace, device, number) in [(far, "r0", 1), (&client, "c0", 2)] {
        namespace.run(&format!("ip address add 10.79.0.{number}/24 dev {device}"));
        namespace.run(&format!("ip address add fd79::{number}/64 dev {device} nodad"));
        namespace.run(&format!("ip link set {device} up"));
    }
    // The client does not know: it offers what its own link carries.
    far.run(&format!("ip link set r0 mtu {mtu}"));
    far.run("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    client.run("ethtool -K c0 tx off tso off gso off");
    // Forwarded frames are not joined on the way to the broker.
    far.run("ethtool -K r0 gro off");
    client.run("ip route add default via 10.79.0.1");
    client.run("ip route add default via fd79::1");
    near.run("ip route add 10.79.0.0/24 via 10.78.0.2");
    near.run("ip route add fd79::/64 via fd78::2");
    // It asks for the broker's host from there.
    far.wait_for_link_local("v1");
    client
}

/// A subscriber there gets a message of 20 kB.
fn arrives(broker: &OnXdp, client: &Namespace, host: &str) {
    let near = &broker.link().near;
    let mut subscriber = client
        .command("mosquitto_sub")
        .args(["-h", host, "-t", "big", "-C", "1", "-W", "60"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it is installed");
    let until = Instant::now() + Duration::from_secs(10);
    // It is there when a connection of its is open.
    while !client.run("ss -Htn state established").contains(":1883") {
        let ended = subscriber.try_wait().expect("it is our child");
        assert!(ended.is_none() && Instant::now() < until, "nobody subscribes: {ended:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    let message = "0123456789".repeat(2_000);
    let began = Instant::now();
    near.run(&format!("mosquitto_pub -h 127.0.0.1 -t big -q 1 -m {message}"));
    let output = subscriber.wait_with_output().expect("it is our child");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), message);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_router_s_word_reaches_the_stack() {
    if !is_possible("a link behind a router that carries less", &[PROGRAMS, &["ss", "sysctl"]].concat()) {
        return;
    }
    // IPv4 carries less than what is tried when nobody says anything, so that only the router can have said it.
    for (host, mtu, shards) in [(ADDRESSES[0], 1_000, 2), (ADDRESSES[1], 1_400, 1)] {
        let link = Link::new(shards);
        let client = behind(&link, mtu);
        let broker = OnXdp::start(link, "copy", shards, &[]);
        arrives(&broker, &client, host);
        assert!(figure(&broker, "xdp/pass_too_big", |count| count > 0) > 0);
        assert_eq!(figure(&broker, "path_mtu_lowered", |count| count > 0), 1, "{host}");
        assert_eq!(figure(&broker, "black_hole_suspected", |_| true), 0, "{host}");
    }
}
