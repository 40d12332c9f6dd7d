//! PINGREQ is answered without a look at its connection: only where a look would have found that it may be.

use std::sync::Arc;

use pelton_base::{HashKey, Key, Mono, StreamEnd, Wall};
use pelton_broker::access::{Access, Decision};
use pelton_broker::counters::{Ended, Traffic};
use pelton_broker::link::Hold;
use pelton_broker::peers::Chunk;
use pelton_broker::{Broker, Handled, Settings, Setup};
use pelton_mqtt::{Frame, MAX_PACKET, PINGREQ, PINGRESP, frame};

const START_MS: u64 = 1_000;
/// SUBSCRIBE to `a`.
const SUBSCRIBE: &[u8] = &[0x82, 6, 0, 1, 0, 1, b'a', 0];
/// PUBLISH to `a` at QoS 0.
const PUBLISH: &[u8] = &[0x30, 3, 0, 1, b'a'];
const CONNACK: &[u8] = &[0x20, 2, 0, 0];
const SUBACK: &[u8] = &[0x90, 3, 0, 1, 0];

fn broker(shard: u16, shards: u16, settings: Settings) -> Broker {
    Broker::new(Setup {
        shard,
        shards,
        key: HashKey::new(1, 2),
        seed: 3,
        settings: Arc::new(settings),
        mono: Mono::from_ms(START_MS),
        wall: Wall(1_000_000),
    })
}

fn alone() -> Broker {
    broker(0, 1, Settings::default())
}

/// A CONNECT of 3.1.1 whose session ends with it.
fn connect_packet(name: &str, keep_alive: u16) -> Vec<u8> {
    let mut packet = vec![0x10, 12 + name.len() as u8, 0, 4, b'M', b'Q', b'T', b'T', 4, 2];
    packet.extend_from_slice(&keep_alive.to_be_bytes());
    packet.extend_from_slice(&[0, name.len() as u8]);
    packet.extend_from_slice(name.as_bytes());
    packet
}

fn feed(broker: &mut Broker, key: Key, packet: &[u8]) -> Handled {
    match frame(packet, MAX_PACKET) {
        Ok(Frame::Complete { header, total }) => {
            assert_eq!(total, packet.len());
            broker.handle_packet(key, header, &packet[usize::from(header.header_len)..])
        }
        Ok(Frame::Partial { .. }) => panic!("a whole packet"),
        Err(error) => broker.handle_malformed(key, error),
    }
}

fn connect(broker: &mut Broker, name: &str, keep_alive: u16) -> Key {
    let key = broker.handle_opened().expect("room");
    assert_eq!(feed(broker, key, &connect_packet(name, keep_alive)), Handled::Done);
    assert_eq!(take(broker, key), CONNACK);
    key
}

/// What is queued to a connection, or to whoever has its place.
fn take(broker: &mut Broker, key: Key) -> Vec<u8> {
    let (queue, logs) = broker.out().queue(key.index);
    let bytes: Vec<u8> = queue.slices(logs).flatten().copied().collect();
    queue.consume(bytes.len(), logs);
    broker.out().settle(key.index);
    bytes
}

/// Packets and bytes that were taken, and packets other than PUBLISH that were sent.
fn counted(broker: &Broker) -> [u64; 3] {
    [Traffic::PacketsIn, Traffic::BytesIn, Traffic::ControlOut].map(|what| broker.tally().traffic.get(what))
}

/// Answered, and counted.
fn assert_answered(broker: &mut Broker, key: Key) {
    let [packets, bytes, sent] = counted(broker);
    assert_eq!(feed(broker, key, &PINGREQ), Handled::Done);
    assert_eq!(counted(broker), [packets + 1, bytes + 2, sent + 1]);
    assert_eq!(take(broker, key), PINGRESP);
}

/// Nobody gets anything for it, and it counts for nothing.
fn assert_not_answered(broker: &mut Broker, key: Key, handled: Handled) {
    let before = counted(broker);
    assert_eq!(feed(broker, key, &PINGREQ), handled);
    assert_eq!(counted(broker), before);
    assert_eq!(take(broker, key), b"");
}

#[test]
fn it_is_answered_and_counted() {
    // covers [MQTT-3.12.4-1]
    let mut broker = alone();
    let key = connect(&mut broker, "one", 0);
    (0..3).for_each(|_| assert_answered(&mut broker, key));
    assert_eq!(feed(&mut broker, key, PUBLISH), Handled::Done);
    assert_answered(&mut broker, key);
}

#[test]
fn a_stale_key_does_not_speak_for_who_has_its_place() {
    let mut broker = alone();
    let gone = connect(&mut broker, "one", 0);
    broker.handle_closed(gone, StreamEnd::PeerReset);
    assert_not_answered(&mut broker, gone, Handled::Ended);
    let there = connect(&mut broker, "two", 0);
    assert_eq!(there.index, gone.index, "the place is used again");
    assert_not_answered(&mut broker, gone, Handled::Ended);
    assert_answered(&mut broker, there);
    let before = Key { generation: 0, ..there };
    assert_not_answered(&mut broker, before, Handled::Ended);
    // A place whose connection has not said CONNECT.
    broker.handle_closed(there, StreamEnd::PeerReset);
    let new = broker.handle_opened().expect("room");
    assert_eq!(new.index, there.index);
    assert_not_answered(&mut broker, there, Handled::Ended);
    assert_not_answered(&mut broker, before, Handled::Ended);
}

#[test]
fn before_connect_it_is_refused() {
    // covers [MQTT-3.1.0-1]
    let mut broker = alone();
    let key = broker.handle_opened().expect("room");
    assert_not_answered(&mut broker, key, Handled::Ended);
    assert_eq!(broker.tally().ended.get(Ended::NotConnect), 1);
}

#[test]
fn before_connack_it_waits() {
    // covers [MQTT-3.2.0-1]
    let mut shards = [0, 1].map(|shard| broker(shard, 2, Settings::default()));
    // A client id whose home is the other shard has to be claimed there.
    let (key, name) = (0..)
        .find_map(|n: u32| {
            let (key, name) = (shards[0].handle_opened().expect("room"), format!("client-{n}"));
            let handled = feed(&mut shards[0], key, &connect_packet(&name, 0));
            assert_eq!(handled, Handled::Done);
            (take(&mut shards[0], key) != CONNACK).then_some((key, name))
        })
        .expect("there are such names");
    assert_not_answered(&mut shards[0], key, Handled::Hold(Hold::Claim));
    exchange(&mut shards);
    assert_eq!(take(&mut shards[0], key), CONNACK, "{name}");
    assert_answered(&mut shards[0], key);
}

#[test]
fn behind_a_subscribe_it_waits() {
    let mut shards = [0, 1].map(|shard| broker(shard, 2, Settings::default()));
    let key = shards[0].handle_opened().expect("room");
    feed(&mut shards[0], key, &connect_packet("one", 0));
    exchange(&mut shards);
    assert_eq!(take(&mut shards[0], key), CONNACK);
    assert_answered(&mut shards[0], key);
    assert_eq!(feed(&mut shards[0], key, SUBSCRIBE), Handled::Done);
    assert_not_answered(&mut shards[0], key, Handled::Hold(Hold::Subscribe));
    exchange(&mut shards);
    assert_eq!(take(&mut shards[0], key), SUBACK);
    assert_answered(&mut shards[0], key);
}

/// All that two shards have for each other.
fn exchange(shards: &mut [Broker; 2]) {
    for _ in 0..8 {
        for from in [0u16, 1] {
            let to = 1 - from;
            let [first, second] = shards;
            let (here, there) = if from == 0 { (first, second) } else { (second, first) };
            let mut taken = 0;
            while let Ok(chunk) = here.peers.take_data(to, Chunk::default()) {
                there.handle_chunk(from, &chunk);
                taken += 1;
            }
            here.peers.set_taken(to, taken);
            while let Ok(chunk) = here.peers.take_replies(to, Chunk::default()) {
                there.handle_replies(from, &chunk);
            }
        }
        shards.iter_mut().for_each(Broker::end_turn);
    }
}

#[test]
fn while_access_is_asked_for_the_connection_is_looked_at() {
    let settings = Settings { access: Access { ask: true, ..Access::default() }, ..Settings::default() };
    let mut broker = broker(0, 1, settings);
    let key = broker.handle_opened().expect("room");
    let connect = connect_packet("one", 0);
    assert_eq!(feed(&mut broker, key, &connect), Handled::Hold(Hold::Access));
    let ticket = |broker: &mut Broker| broker.effects.asks.pop().expect("asked").ticket;
    let asked = ticket(&mut broker);
    broker.handle_answer(key, asked, Decision::Allow);
    assert_eq!(feed(&mut broker, key, &connect), Handled::Done);
    assert_eq!(take(&mut broker, key), CONNACK);
    assert!(broker.out().flows(key));
    assert_eq!(feed(&mut broker, key, PUBLISH), Handled::Hold(Hold::Access));
    assert!(!broker.out().flows(key), "its PUBLISH waits");
    let asked = ticket(&mut broker);
    broker.handle_answer(key, asked, Decision::Allow);
    assert!(broker.out().flows(key));
    assert_eq!(feed(&mut broker, key, PUBLISH), Handled::Done);
    assert_answered(&mut broker, key);
}

/// How a connection ends, and what makes it.
type End = (Ended, fn(&mut Broker, Key));

#[test]
fn after_the_end_it_is_of_no_interest() {
    let mut broker = alone();
    let ends: [End; 5] = [
        (Ended::TakenOver, |broker, key| assert_ne!(connect(broker, "one", 0), key)),
        (Ended::Administrative, |broker, _| assert!(broker.kick("one"))),
        (Ended::Disconnect, |broker, key| assert_eq!(feed(broker, key, &[0xE0, 0]), Handled::Ended)),
        (Ended::SecondConnect, |broker, key| {
            assert_eq!(feed(broker, key, &connect_packet("one", 0)), Handled::Ended);
        }),
        (Ended::Shutdown, |broker, _| broker.shut_down()),
    ];
    for (why, end) in ends {
        let key = connect(&mut broker, "one", 0);
        assert_answered(&mut broker, key);
        let before = broker.tally().ended.get(why);
        end(&mut broker, key);
        assert_eq!(broker.tally().ended.get(why), before + 1, "{why:?}");
        assert_not_answered(&mut broker, key, Handled::Ended);
        broker.handle_closed(key, StreamEnd::Local);
        broker.kick("one");
    }
}

#[test]
fn where_the_connection_is_handed_over_it_is_forgotten() {
    let mut broker = alone();
    let key = connect(&mut broker, "one", 0);
    broker.handle_detached(key);
    assert_not_answered(&mut broker, key, Handled::Ended);
}

#[test]
fn one_that_is_malformed_ends_the_connection() {
    let mut broker = alone();
    for malformed in [&[0xC1, 0][..], &[0xC8, 0], &[0xC0, 1, 0]] {
        let key = connect(&mut broker, "one", 0);
        let before = broker.tally().ended.get(Ended::Malformed);
        assert_eq!(feed(&mut broker, key, malformed), Handled::Ended);
        assert_eq!(broker.tally().ended.get(Ended::Malformed), before + 1);
        assert_eq!(take(&mut broker, key), b"");
    }
}

/// A turn at that time; whether a connection fell silent for too long.
fn falls_silent(broker: &mut Broker, now_ms: u64) -> bool {
    let before = broker.tally().ended.get(Ended::KeepAlive);
    broker.begin_turn(Mono::from_ms(now_ms), Wall(1_000_000));
    broker.poll_timers();
    broker.tally().ended.get(Ended::KeepAlive) != before
}

#[test]
fn it_alone_keeps_a_connection_alive() {
    // covers [MQTT-3.1.2-22]
    let mut broker = alone();
    let key = connect(&mut broker, "one", 10);
    let mut now_ms = START_MS;
    for _ in 0..5 {
        now_ms += 14_000;
        assert!(!falls_silent(&mut broker, now_ms));
        assert_answered(&mut broker, key);
    }
    assert!(!falls_silent(&mut broker, now_ms + 15_000), "one and a half intervals, as of the last");
    assert!(falls_silent(&mut broker, now_ms + 15_002));
    assert_not_answered(&mut broker, key, Handled::Ended);
}

#[test]
fn the_last_packet_counts_of_whatever_kind_it_is() {
    // covers [MQTT-3.1.2-22]
    for last in [PUBLISH, &PINGREQ] {
        let mut broker = alone();
        let key = connect(&mut broker, "one", 10);
        let mut now_ms = START_MS;
        for packet in [&PINGREQ, PUBLISH, PUBLISH, &PINGREQ, &PINGREQ, last] {
            now_ms += 10_000;
            assert!(!falls_silent(&mut broker, now_ms));
            assert_eq!(feed(&mut broker, key, packet), Handled::Done);
        }
        assert!(!falls_silent(&mut broker, now_ms + 15_000));
        assert!(falls_silent(&mut broker, now_ms + 15_002));
    }
}

#[test]
fn one_of_fifty_days_ago_is_no_news() {
    // covers [MQTT-3.1.2-22]
    const DAY_MS: u64 = 86_400_000;
    for (first, then) in [(&PINGREQ[..], PUBLISH), (PUBLISH, &PINGREQ)] {
        let mut broker = alone();
        // One and a half times: a day, and an hour more.
        let key = connect(&mut broker, "one", 60_000);
        assert_eq!(feed(&mut broker, key, first), Handled::Done);
        let wraps_ms = START_MS + (1 << 32);
        let mut now_ms = START_MS;
        while now_ms + DAY_MS < wraps_ms {
            now_ms += DAY_MS;
            assert!(!falls_silent(&mut broker, now_ms));
            assert_eq!(feed(&mut broker, key, then), Handled::Done);
        }
        assert!(!falls_silent(&mut broker, now_ms + 90_000_000));
        assert!(now_ms + 90_000_002 > wraps_ms);
        assert!(falls_silent(&mut broker, now_ms + 90_000_002));
    }
}

#[test]
fn connect_counts_as_a_packet() {
    // covers [MQTT-3.1.2-22]
    let mut broker = alone();
    // A place at which nothing was ever heard, and a clock that comes by zero before the deadline.
    let now_ms = (1 << 32) - 5_000;
    assert!(!falls_silent(&mut broker, now_ms));
    connect(&mut broker, "one", 10);
    assert!(!falls_silent(&mut broker, now_ms + 15_000));
    assert!(falls_silent(&mut broker, now_ms + 15_002));
}
