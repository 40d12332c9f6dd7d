//! A fleet that serves a TAP device beside the kernel's sockets: real clients of this host's kernel, our TCP.

mod afxdp;
#[path = "../peers/client.rs"]
mod client;
mod namespace;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, wait_until};
use namespace::{in_namespace, run};
use pelton_base::HashKey;
use pelton_broker::Settings;
use pelton_mqtt::{QoS, Version};
use pelton_runtime::{Fleet, Idle, InterfaceKind, InterfacePlan, Plan, StartError};
use pelton_shard::Snapshot;
use pelton_sockets::Bind;

const V311: Version = Version::V311;
/// Our addresses on the TAP device, and one of the kernel's own.
const PLACES: [&str; 3] = ["10.0.0.2:1883", "[fd00::2]:1883", "127.0.0.1:1883"];

fn interface() -> InterfacePlan {
    InterfacePlan {
        name: "tap0".into(),
        kind: InterfaceKind::Tap,
        addresses: vec![[10, 0, 0, 2].into(), "fd00::2".parse().expect("an address")],
        listen_ports: Vec::new(),
        mtu: None,
        frames: 1_024,
        tcp: pelton_tcp::Settings { connections_max: 1_000, ..pelton_tcp::Settings::default() },
    }
}

fn start(shards: u16, spin_us: u32) -> Result<Fleet, StartError> {
    Fleet::start(&Plan {
        binds: vec![Bind { address: SocketAddr::from(([0; 4], 1883)) }],
        interfaces: vec![interface()],
        shards,
        cores: Vec::new(),
        idle: Idle { spin_us },
        patience: pelton_base::Patience::default(),
        settings: Arc::new(Settings::default()),
        key: HashKey::new(1, 2),
        seed: 3,
    })
}

/// A figure of the interface over all shards.
fn figure(snapshots: &[Snapshot], name: &str) -> u64 {
    let all = snapshots.iter().flat_map(|snapshot| &snapshot.interfaces);
    let counts = all.flat_map(|interface| interface.figures.iter().chain(&interface.dropped));
    counts.filter(|(other, _)| *other == name).map(|(_, count)| count).sum()
}

/// Clients at every place, on sessions that stay where they connect or belong to a shard, all hear all in order.
fn everybody_hears_everybody(shards: u16, spin_us: u32, clean: bool) {
    const CLIENTS: usize = 9;
    const MESSAGES: u32 = 200;
    let fleet = start(shards, spin_us).expect("the device is there");
    assert_eq!(fleet.interfaces()[0].listen_ports, [1883]);
    let place = |n: usize| PLACES[n % PLACES.len()].parse().expect("an address");
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|n| Client::connect(place(n), V311, &format!("c{n}"), clean)).collect();
    clients.iter_mut().for_each(|client| client.subscribe("t/#", QoS::AtMostOnce));
    let payload = |from: usize, number: u32| {
        // Some go in one segment, some in several, none in order of size.
        let mut payload = vec![from as u8; 1 + (number as usize * 977) % 6_000];
        payload.splice(0..0, number.to_be_bytes());
        payload
    };
    for number in 0..MESSAGES {
        let from = number as usize % CLIENTS;
        clients[from].publish(&format!("t/{from}"), QoS::AtMostOnce, 0, &payload(from, number));
    }
    for client in &mut clients {
        let mut last = [None; CLIENTS];
        for _ in 0..MESSAGES {
            let got = client.receive_payload();
            let number = u32::from_be_bytes([got[0], got[1], got[2], got[3]]);
            let from = number as usize % CLIENTS;
            assert!(got == payload(from, number), "message {number}");
            assert!(last[from] < Some(number), "{number} after {:?}", last[from]);
            last[from] = Some(number);
        }
    }
    wait_until(&fleet, "connections of the device", |all| {
        all.iter().flat_map(|shard| &shard.interfaces).map(|interface| interface.connections).sum::<u64>()
            == CLIENTS as u64 * 2 / 3
    });
    let snapshots = fleet.snapshots(Duration::from_secs(1));
    // Connections that came by one shard's queue and belong to another's session went there.
    let moved = figure(&snapshots, "relayed_out");
    assert_eq!(moved > 0, shards > 1 && !clean, "{moved} frames handed over");
    for lost in ["bad_checksum", "malformed", "tap_no_frame", "tap_too_long", "tap_refused"] {
        assert_eq!(figure(&snapshots, lost), 0, "{lost}: {snapshots:#?}");
    }
    drop(clients);
    wait_until(&fleet, "all gone", |all| all.iter().all(|shard| shard.connections == 0));
    assert!(fleet.shut_down(Duration::from_secs(10)));
}

#[test]
fn one_shard_serves_a_device_and_the_kernels_sockets() {
    in_namespace(|| everybody_hears_everybody(1, 0, true));
    in_namespace(|| everybody_hears_everybody(1, 50, false));
}

#[test]
fn several_shards_have_a_queue_each_and_connections_move_between_them() {
    in_namespace(|| everybody_hears_everybody(3, 0, true));
    in_namespace(|| everybody_hears_everybody(3, 0, false));
    in_namespace(|| everybody_hears_everybody(2, 50, false));
}

#[test]
fn clients_are_told_when_the_broker_stops() {
    in_namespace(|| {
        let fleet = start(2, 0).expect("the device is there");
        let mut clients: Vec<Client> = (0..6)
            .map(|n| {
                let place = PLACES[n % 3].parse().expect("an address");
                Client::connect(place, Version::V5, &format!("c{n}"), false)
            })
            .collect();
        let stopping = std::thread::spawn(move || fleet.shut_down(Duration::from_secs(10)));
        for client in &mut clients {
            // DISCONNECT, server shutting down, and then the end of the stream.
            let packet = client.receive().expect("DISCONNECT");
            assert_eq!((packet[0], packet[2]), (0xe0, 0x8b), "{packet:?}");
            assert_eq!(client.receive(), None);
        }
        drop(clients);
        assert!(stopping.join().expect("it ends"));
    });
}

#[test]
fn a_device_that_is_taken_away_does_not_keep_the_shard_busy() {
    in_namespace(|| {
        let fleet = start(1, 0).expect("the device is there");
        let mut near = Client::connect(PLACES[2].parse().expect("an address"), V311, "near", true);
        near.subscribe("a", QoS::AtMostOnce);
        let _far = Client::connect(PLACES[0].parse().expect("an address"), V311, "far", true);
        assert!(run("ip link delete tap0"));
        wait_until(&fleet, "the loss is counted", |all| figure(all, "tap_gone") == 1);
        let turns = |fleet: &Fleet| fleet.snapshots(Duration::from_secs(1))[0].turns;
        let before = turns(&fleet);
        std::thread::sleep(Duration::from_millis(500));
        let turned = turns(&fleet) - before;
        assert!(turned < 100, "{turned} turns with nothing to do");
        // Everybody else is served as before.
        near.publish("a", QoS::AtMostOnce, 0, b"still here");
        assert_eq!(near.receive_payload(), b"still here");
        fleet.shut_down(Duration::from_millis(100));
    });
}

#[test]
fn an_interface_that_cannot_be_served_is_an_error_with_the_way_out() {
    let mut plan = Plan {
        binds: vec![Bind { address: SocketAddr::from(([127, 0, 0, 1], 0)) }],
        interfaces: vec![InterfacePlan { name: "not-there-0".into(), ..interface() }],
        shards: 1,
        cores: Vec::new(),
        idle: Idle { spin_us: 0 },
        patience: pelton_base::Patience::default(),
        settings: Arc::new(Settings::default()),
        key: HashKey::new(1, 2),
        seed: 3,
    };
    let said = |plan: &Plan| Fleet::start(plan).expect_err("it cannot be served").to_string();
    assert!(said(&plan).contains("no port is known"), "{}", said(&plan));
    plan.interfaces[0].listen_ports = vec![1883];
    let said = said(&plan);
    assert!(said.contains("interface not-there-0") && said.contains("ip tuntap add"), "{said}");
}
