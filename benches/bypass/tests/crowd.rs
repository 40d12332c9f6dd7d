//! A crowd at a shard, over a wire in memory, and a flood at a bare stack.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use pelton_base::{ByteStreams, HashKey, Mono, Wall};
use pelton_broker::{Settings, Setup};
use pelton_bypass::ends::addresses;
use pelton_bypass::flood::Flood;
use pelton_bypass::{Crowd, Ends, Wants};
use pelton_mqtt::QoS;
use pelton_packet::memory::{MemoryPort, MemorySettings, pair};
use pelton_packet::{Interface, Link, MacAddress};
use pelton_shard::{Shard, mesh};
use pelton_tcp::Tcp;

const BROKER: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const CROWD: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const TO_BROKER: Link = Link { source: CROWD, destination: BROKER, vlan: None };
const START: Mono = Mono(1_000_000_000);

fn broker_addresses() -> Vec<std::net::IpAddr> {
    (1..=3).map(|n| Ipv4Addr::new(10, 9, 0, n).into()).collect()
}

fn stack(
    port: MemoryPort,
    mac: MacAddress,
    addresses: Vec<std::net::IpAddr>,
    listeners: &[u16],
) -> Tcp<MemoryPort> {
    let settings = pelton_tcp::Settings { connections_max: 4096, ..pelton_tcp::Settings::default() };
    Tcp::new(port, Interface { mac, addresses }, listeners, settings, 7, START)
}

fn run(wants: Wants, milliseconds: u64) -> Crowd<MemoryPort> {
    let (ours, theirs) =
        pair(MemorySettings { frames: 4096, wire_frames_max: 2048, ..MemorySettings::default() });
    let setup = Setup {
        shard: 0,
        shards: 1,
        key: HashKey::new(1, 2),
        seed: 3,
        settings: Arc::new(Settings::default()),
        mono: START,
        wall: Wall(1_700_000_000_000),
    };
    let (_commands, receiver) = crossbeam_channel::bounded(1);
    let transport = stack(theirs, BROKER, broker_addresses(), &[1883]);
    let ring = mesh(1).remove(0);
    let mut shard = Shard::new(setup, transport, ring, receiver);
    let sources = addresses("10.9.128.0/28", 16).unwrap();
    let remotes = broker_addresses().into_iter().map(|address| SocketAddr::new(address, 1883)).collect();
    let ends = Ends::new(remotes, sources.clone(), wants.clients).unwrap();
    let ours = stack(ours, CROWD, sources.into_iter().map(Into::into).collect(), &[]);
    let mut crowd = Crowd::new(ours, TO_BROKER, ends, wants, 5, START);
    for millisecond in 0..milliseconds {
        let now = START.plus_ms(millisecond);
        if crowd.is_open() {
            crowd.hold();
        }
        for _ in 0..4 {
            crowd.turn(now);
            shard.turn(now, Wall(1_700_000_000_000 + millisecond));
        }
    }
    crowd
}

fn wants(clients: u32) -> Wants {
    Wants {
        clients,
        opening_max: 100,
        connects_per_second: 0,
        keep_alive_s: 10,
        subscribe: Some(QoS::AtLeastOnce),
        messages_per_second: 0,
        qos: QoS::AtLeastOnce,
        payload_bytes: 64,
    }
}

#[test]
fn all_clients_connect_ping_and_get_their_messages() {
    let crowd = run(Wants { messages_per_second: 500, ..wants(1_000) }, 8_000);
    let counts = crowd.counts;
    assert_eq!(
        (counts.begun, counts.ready, counts.refused, counts.failed, counts.lost),
        (1_000, 1_000, 0, 0, 0)
    );
    assert!(counts.pings > 1_000 && counts.pongs >= counts.pings - 10, "{counts:?}");
    assert_eq!((counts.missed, counts.strange), (0, 0));
    assert!(counts.published > 2_500, "{counts:?}");
    assert!(
        counts.delivered >= counts.published - 10 && counts.acknowledged >= counts.published - 10,
        "{counts:?}"
    );
    assert!(crowd.message_times.summary().unwrap().count == counts.delivered);
}

#[test]
fn a_rate_of_connects_is_kept() {
    let crowd = run(Wants { connects_per_second: 100, subscribe: None, ..wants(1_000) }, 5_000);
    assert!((490..=510).contains(&crowd.counts.begun), "{:?}", crowd.counts);
}

#[test]
fn a_flood_is_of_syns_that_are_right() {
    let (ours, theirs) =
        pair(MemorySettings { frames: 4096, wire_frames_max: 2048, ..MemorySettings::default() });
    let mut target = stack(theirs, BROKER, broker_addresses(), &[1883]);
    let to = SocketAddrV4::new(Ipv4Addr::new(10, 9, 0, 1), 1883);
    let mut flood = Flood::new(ours, TO_BROKER, to, Ipv4Addr::new(10, 200, 0, 0), 65_536, 9);
    for millisecond in 0..100 {
        let now = START.plus_ms(millisecond);
        assert_eq!(flood.turn(now, 20), 20);
        target.poll(now);
        target.end_turn();
    }
    let dropped: u64 =
        target.drops().iter().chain(target.packet_drops().iter()).map(|(_, count)| count).sum();
    assert_eq!((flood.sent, dropped), (2_000, 0));
    assert_eq!(target.usage().half_open, 2_000);
}
