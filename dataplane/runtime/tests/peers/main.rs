//! Peers that do not behave, over real sockets: each has a defined outcome and a counter.

mod client;

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use client::{Client, connect_packet, connect_packet_with, publish_packet, start, transport, wait_until};
use pelton_broker::Settings;
use pelton_broker::counters::{Dropped, Ended};
use pelton_mqtt::{QoS, Version};

const V311: Version = Version::V311;

#[test]
fn messages_cross_shards_in_order() {
    let (fleet, address) = start(3, Settings::default());
    let mut subscribers: Vec<Client> =
        (0..6).map(|n| Client::connect(address, V311, &format!("s{n}"), true)).collect();
    for subscriber in &mut subscribers {
        subscriber.subscribe("a/#", QoS::AtMostOnce);
    }
    let mut publisher = Client::connect(address, V311, "p", true);
    for n in 0..500u32 {
        publisher.publish("a/b", QoS::AtMostOnce, 0, &n.to_be_bytes());
    }
    for subscriber in &mut subscribers {
        for n in 0..500u32 {
            assert_eq!(subscriber.receive_payload(), n.to_be_bytes());
        }
    }
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

#[test]
fn a_peer_that_sends_a_byte_at_a_time_is_understood() {
    let (fleet, address) = start(1, Settings::default());
    let mut subscriber = Client::connect(address, V311, "s", true);
    subscriber.subscribe("slow", QoS::AtMostOnce);
    let mut slow = Client::open(address, V311);
    let mut bytes = connect_packet(V311, "slow", true);
    bytes.extend(publish_packet(V311, "slow", QoS::AtMostOnce, 0, &[b'x'; 200]));
    for byte in bytes {
        slow.send(&[byte]);
        std::thread::sleep(Duration::from_micros(300));
    }
    assert_eq!(subscriber.receive_payload(), [b'x'; 200]);
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

#[test]
fn no_connect_in_time_is_closed() {
    let (fleet, address) = start(1, Settings { connect_timeout_ms: 200, ..Settings::default() });
    let begin = Instant::now();
    let mut silent = Client::open(address, V311);
    // A CONNECT that never gets whole is none either.
    let mut half = Client::open(address, V311);
    half.send(&connect_packet(V311, "half", true)[..8]);
    assert_eq!(silent.receive(), None);
    assert_eq!(half.receive(), None);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    wait_until(&fleet, "two timed out", |all| all[0].tally.ended.get(Ended::ConnectTimeout) == 2);
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

/// Which of the broker's connections have the kernel's keep-alive timer running, by the client's port.
fn kept_alive(broker: SocketAddr, client: SocketAddr) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux lists its connections");
    let (local, remote) = (format!(":{:04X}", broker.port()), format!(":{:04X}", client.port()));
    let line = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields.len() > 5 && fields[1].ends_with(&local) && fields[2].ends_with(&remote));
    // The sixth field is the timer that is active: 02 is keep-alive.
    line.expect("the connection is there")[5].starts_with("02:")
}

/// RFC 9293 3.8.4: where MQTT has no Keep Alive, TCP finds out who has gone; where it has, TCP keeps quiet.
#[test]
fn tcp_watches_over_clients_without_keep_alive() {
    let (fleet, address) = start(1, Settings::default());
    for (keep_alive, watched) in [(0, true), (60, false)] {
        let mut client = Client::open(address, V311);
        client.send(&connect_packet_with(V311, "c", true, keep_alive));
        assert_eq!(client.receive().expect("CONNACK")[0], 0x20);
        let local = client.stream.local_addr().expect("it is connected");
        let until = Instant::now() + Duration::from_secs(5);
        while kept_alive(address, local) != watched {
            assert!(Instant::now() < until, "Keep Alive {keep_alive}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

#[test]
fn what_was_sent_before_a_half_close_counts() {
    let (fleet, address) = start(1, Settings::default());
    let mut subscriber = Client::connect(address, V311, "s", true);
    subscriber.subscribe("last/words", QoS::AtMostOnce);
    let mut publisher = Client::open(address, V311);
    let mut bytes = connect_packet(V311, "p", true);
    bytes.extend(publish_packet(V311, "last/words", QoS::AtMostOnce, 0, b"bye"));
    publisher.send(&bytes);
    publisher.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(subscriber.receive_payload(), b"bye");
    // CONNACK still gets through, then the broker closes its side too.
    assert_eq!(publisher.receive().expect("CONNACK")[0], 0x20);
    assert_eq!(publisher.receive(), None);
    wait_until(&fleet, "closed by the peer", |all| all[0].tally.ended.get(Ended::PeerClosed) == 1);
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

#[test]
fn a_reset_in_the_middle_of_a_packet_leaves_nothing() {
    let (fleet, address) = start(1, Settings::default());
    let mut publisher = Client::connect(address, V311, "p", true);
    let packet = publish_packet(V311, "t", QoS::AtMostOnce, 0, &[0; 10_000]);
    publisher.send(&packet[..5_000]);
    wait_until(&fleet, "read", |all| transport(all, "bytes_read") >= 5_000);
    rustix::net::sockopt::set_socket_linger(&publisher.stream, Some(Duration::ZERO)).unwrap();
    drop(publisher);
    wait_until(&fleet, "reset", |all| {
        all[0].tally.ended.get(Ended::PeerReset) == 1 && all[0].connections == 0 && all[0].sessions == 0
    });
    assert!(fleet.shut_down(Duration::from_secs(5)));
}

#[test]
fn a_peer_that_never_reads_costs_a_bounded_buffer_and_others_nothing() {
    let outbound_bytes_max = 256 * 1024;
    let (fleet, address) = start(1, Settings { outbound_bytes_max, ..Settings::default() });
    let mut deaf = Client::connect(address, V311, "deaf", true);
    deaf.subscribe("flood", QoS::AtMostOnce);
    let mut hearing = Client::connect(address, V311, "hearing", true);
    hearing.subscribe("flood", QoS::AtMostOnce);
    let mut publisher = Client::connect(address, V311, "p", true);
    let payload = vec![b'x'; 64 * 1024];
    let packet = publish_packet(V311, "flood", QoS::AtMostOnce, 0, &payload);
    // Well above what the kernel buffers of both ends hold.
    for _ in 0..400 {
        publisher.stream.write_all(&packet).unwrap();
        assert_eq!(hearing.receive_payload().len(), payload.len());
    }
    wait_until(&fleet, "dropped and blocked", |all| {
        all[0].tally.dropped.get(Dropped::OutboundFull) > 100 && transport(all, "blocked") >= 1
    });
    // It still is a client: what it reads now is whole packets.
    for _ in 0..3 {
        assert_eq!(deaf.receive_payload().len(), payload.len());
    }
    assert!(fleet.shut_down(Duration::from_secs(8)));
}

#[test]
fn qos_1_to_a_peer_that_never_reads_waits_in_its_session() {
    let settings = Settings { outbound_bytes_max: 64 * 1024, ..Settings::default() };
    let (fleet, address) = start(1, settings);
    let mut deaf = Client::connect(address, V311, "deaf", true);
    deaf.subscribe("flood", QoS::AtLeastOnce);
    let mut publisher = Client::connect(address, V311, "p", true);
    let payload = vec![b'x'; 32 * 1024];
    const COUNT: u16 = 500;
    for n in 1..=COUNT {
        publisher.publish("flood", QoS::AtLeastOnce, n, &payload);
        assert_eq!(publisher.receive().expect("PUBACK")[0], 0x40);
    }
    wait_until(&fleet, "queued", |all| all[0].stored_messages > 0);
    for _ in 0..COUNT {
        let packet = deaf.receive().expect("PUBLISH");
        assert_eq!(packet[0], 0x32, "QoS 1");
        // fixed header of 4 bytes, topic "flood"
        let id = [packet[4 + 7], packet[4 + 8]];
        deaf.send(&[0x40, 2, id[0], id[1]]);
    }
    wait_until(&fleet, "drained", |all| all[0].stored_messages == 0);
    assert!(fleet.shut_down(Duration::from_secs(8)));
}

#[test]
fn shutting_down_tells_v5_clients() {
    let (fleet, address) = start(2, Settings::default());
    let mut clients: Vec<Client> =
        (0..10).map(|n| Client::connect(address, Version::V5, &format!("c{n}"), true)).collect();
    let begin = Instant::now();
    assert!(fleet.shut_down(Duration::from_secs(5)));
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    for client in &mut clients {
        let disconnect = client.receive().expect("DISCONNECT");
        assert_eq!((disconnect[0], disconnect[2]), (0xE0, 0x8B));
        assert_eq!(client.receive(), None);
    }
}
