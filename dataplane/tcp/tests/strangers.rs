//! What a stranger sees of a stack: initial sequence numbers and time stamps that tell nothing, and no answer at all where
//! there is none to be had.

use std::net::{IpAddr, SocketAddr};

use pelton_base::{ByteStreams, Mono};
use pelton_packet::memory::{MemoryPort, MemorySettings, pair};
use pelton_packet::parse::TCP;
use pelton_packet::{Interface, Link, MacAddress, Parsed, headers, parse};
use pelton_tcp::segment::{Flags, Options, Segment};
use pelton_tcp::{Seq, Settings, Tcp, TcpDrop};

const US: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const THEM: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const LOCAL: &str = "10.0.0.1:1883";

struct Stack {
    tcp: Tcp<MemoryPort>,
    wire: MemoryPort,
}

impl Stack {
    fn new(seed: u64) -> Self {
        let (port, wire) = pair(MemorySettings::default());
        let addresses = vec!["10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap()];
        let settings = Settings { connections_max: 16, ..Settings::default() };
        Self { tcp: Tcp::new(port, Interface { mac: US, addresses }, &[1883], settings, seed, Mono(0)), wire }
    }

    /// The answer to a SYN.
    fn answer(&mut self, station: MacAddress, local: &str, remote: &str, now: Mono) -> Option<Segment> {
        let (local, remote): (SocketAddr, SocketAddr) = (local.parse().unwrap(), remote.parse().unwrap());
        let syn = Segment {
            source: remote.port(),
            destination: local.port(),
            flags: Flags::SYN,
            seq: Seq(7),
            window: 1_000,
            options: Options { timestamps: Some((1, 0)), ..Options::default() },
            ..Segment::default()
        };
        let link = Link { source: THEM, destination: station, vlan: None };
        let at = headers::bytes(link, local.ip());
        let mut frame = vec![0; at + syn.header_bytes()];
        headers::write(&mut frame, link, remote.ip(), local.ip(), TCP, 0, syn.header_bytes());
        syn.write(remote.ip(), local.ip(), &mut frame[at..]);
        self.wire.inject(&frame);
        self.tcp.poll(now);
        self.tcp.end_turn();
        let frame = self.wire.extract()?;
        let Ok(Parsed::Ip(datagram)) = parse(&frame) else { panic!("a frame of ours is read") };
        let segment = Segment::parse(datagram.source, datagram.destination, datagram.payload(&frame));
        Some(segment.expect("a segment of ours"))
    }
}

fn numbers(seed: u64, remote: &str, now: Mono) -> (u32, u32) {
    let answer = Stack::new(seed).answer(US, LOCAL, remote, now).expect("an answer");
    (answer.seq.0, answer.options.timestamps.expect("stamps were agreed on").0)
}

// covers RFC 6528 3, RFC 9293 3.4.1 MUST-8, MUST-9, SHLD-1
#[test]
fn initial_sequence_numbers_follow_a_clock_and_a_keyed_hash() {
    let at = Mono::from_ms(5_000);
    let (here, _) = numbers(1, "10.0.0.2:1000", at);
    let (later, _) = numbers(1, "10.0.0.2:1000", Mono::from_ms(6_000));
    assert_eq!(later.wrapping_sub(here), 250_000, "a step each 4 us");
    let others = [numbers(1, "10.0.0.2:1001", at).0, numbers(1, "10.0.0.3:1000", at).0];
    assert!(others.iter().all(|other| other.abs_diff(here) > 1_000), "{here} {others:?}");
    assert_ne!(numbers(2, "10.0.0.2:1000", at).0, here, "another key");
}

// covers RFC 7323 7.1
#[test]
fn time_stamps_tell_nothing_of_the_machine() {
    let at = Mono::from_ms(5_000);
    let (_, here) = numbers(1, "10.0.0.2:1000", at);
    let (_, later) = numbers(1, "10.0.0.2:1000", Mono::from_ms(6_000));
    assert_eq!(later.wrapping_sub(here), 1_000, "a step each millisecond");
    let others = [numbers(1, "10.0.0.3:1000", at).1, numbers(2, "10.0.0.2:1000", at).1];
    assert!(others.iter().all(|other| other.abs_diff(here) > 1_000), "{here} {others:?}");
    assert!(here.abs_diff(5_000) > 1_000, "nor is it the time since the start");
}

// covers RFC 9293 3.9.2.3 MUST-57, MUST-63
// RFC 1122 3.2.1.3
#[test]
fn what_is_to_nobody_or_from_nobody_has_no_answer() {
    let group = MacAddress([1, 0, 0x5e, 0, 0, 1]);
    let remote = "10.0.0.2:1000";
    for (station, local, remote) in [
        (MacAddress::BROADCAST, LOCAL, remote),
        (MacAddress::BROADCAST, "255.255.255.255:1883", remote),
        (US, "255.255.255.255:1883", remote),
        (US, "10.0.0.255:1883", remote),
        (group, "224.0.0.1:1883", remote),
        (US, "224.0.0.1:1883", remote),
        (US, "10.0.0.7:1883", remote),
        (US, LOCAL, "10.0.0.1:1883"),
        (US, LOCAL, "10.0.0.1:1000"),
        (US, LOCAL, "127.0.0.1:1000"),
        (US, LOCAL, "224.0.0.1:1000"),
        (US, LOCAL, "255.255.255.255:1000"),
        (US, LOCAL, "0.0.0.0:1000"),
        (US, "[fe80::1]:1883", "[::]:1000"),
        (US, "[fe80::1]:1883", "[::1]:1000"),
        (US, "[fe80::1]:1883", "[ff02::1]:1000"),
        (US, "[ff02::1]:1883", "[fe80::2]:1000"),
    ] {
        let mut stack = Stack::new(1);
        assert_eq!(stack.answer(station, local, remote, Mono(0)), None, "{remote} to {local}");
        assert_eq!(stack.tcp.usage().half_open, 0);
    }
    let mut stack = Stack::new(1);
    assert!(stack.answer(US, LOCAL, remote, Mono(0)).is_some(), "nothing else is wrong with it");
    let closed: IpAddr = "10.0.0.1".parse().unwrap();
    let reset = stack.answer(US, &format!("{closed}:99"), remote, Mono(0)).expect("a port nobody listens on");
    assert!(reset.flags.has(Flags::RST));
    assert_eq!(stack.tcp.drops().get(TcpDrop::NotForUs), 0);
}
