use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::vec::Vec;

use super::*;
use crate::frame::SliceFrame;
use crate::layout::{OVER_DROP, mapped};
use crate::segment::flags::{ACK, FIN, RST, SYN};

/// One service on two addresses; lists by the last byte of the source; buckets that are full or empty.
struct World {
    armed: u32,
    policy: Option<Policy>,
    prefix: Cell<bool>,
    all: Cell<bool>,
    told: RefCell<Vec<Event>>,
    too_big: RefCell<Vec<(PmtuKey, PmtuValue)>>,
    prefixes: RefCell<Vec<Address>>,
}

const ALLOWED: u8 = 7;
const ALLOWED_AND_BLOCKED: u8 = 8;
const BLOCKED: u8 = 9;

impl World {
    fn new() -> Self {
        Self {
            armed: 1,
            policy: None,
            prefix: Cell::new(true),
            all: Cell::new(true),
            told: RefCell::default(),
            too_big: RefCell::default(),
            prefixes: RefCell::default(),
        }
    }

    fn steer(&self, bytes: &[u8]) -> (Reason, Vec<u8>) {
        let mut room = bytes.to_vec();
        room.resize(bytes.len() + 64, 0);
        let mut frame = SliceFrame::new(&mut room, bytes.len());
        let reason = steer(&mut frame, self, &mut Scratch::default());
        (reason, frame.bytes().to_vec())
    }

    fn reason(&self, bytes: &[u8]) -> Reason {
        self.steer(bytes).0
    }
}

impl Tables for World {
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        let ours = [mapped([10, 0, 0, 1]), "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets()];
        (ours.contains(&key.address) && key.port == 1883_u16.to_be_bytes())
            .then_some(Service { armed: self.armed })
    }

    fn is_allowed(&self, _: bool, source: &Address) -> bool {
        matches!(source[15], ALLOWED | ALLOWED_AND_BLOCKED)
    }

    fn is_blocked(&self, _: bool, source: &Address) -> bool {
        matches!(source[15], BLOCKED | ALLOWED_AND_BLOCKED)
    }

    fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    fn now_ns(&self) -> u64 {
        1_000_000_000
    }

    fn take_of_prefix(&self, prefix: &Address, _: &Limit, _: u64) -> bool {
        self.prefixes.borrow_mut().push(*prefix);
        self.prefix.get()
    }

    fn take_of_all(&self, _: &Limit, _: u64) -> bool {
        self.all.get()
    }

    fn take_of_events(&self, limit: &Limit, now_ns: u64) -> bool {
        limit.take(&mut 0, now_ns)
    }

    fn too_big(&self, key: &PmtuKey, value: &PmtuValue) {
        self.too_big.borrow_mut().push((*key, *value));
    }

    fn tell(&self, event: Event) {
        self.told.borrow_mut().push(event);
    }
}

fn sum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&b| b.into())).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A packet behind so many VLAN tags: a customer's, and a provider's.
fn packet(source: IpAddr, destination: IpAddr, tags: usize, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]].concat();
    for kind in [[0x81, 0], [0x88, 0xa8]].iter().cycle().take(tags) {
        frame.extend_from_slice(kind);
        frame.extend_from_slice(&[0, 5]);
    }
    if source.is_ipv4() {
        let [a, b] = (20 + payload.len() as u16).to_be_bytes();
        let mut header =
            [&[0x45, 0, a, b, 0, 0, 0x40, 0, 64, protocol, 0, 0][..], &octets(source), &octets(destination)]
                .concat();
        let check = sum(&[&header]);
        header[10..12].copy_from_slice(&check.to_be_bytes());
        frame.extend_from_slice(&[8, 0]);
        frame.extend(header);
    } else {
        let [a, b] = (payload.len() as u16).to_be_bytes();
        frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, a, b, protocol, 64]);
        frame.extend([octets(source), octets(destination)].concat());
    }
    frame.extend_from_slice(payload);
    frame
}

fn segment(source: SocketAddr, destination: SocketAddr, flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    let mut tcp = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    tcp.extend_from_slice(&[
        0,
        0,
        0,
        99,
        0,
        0,
        0,
        0,
        (20 + options.len() as u8) / 4 * 16,
        flags,
        4,
        0,
        0,
        0,
        0,
        0,
    ]);
    tcp.extend_from_slice(options);
    tcp.extend_from_slice(data);
    let len = [0, TCP, (tcp.len() >> 8) as u8, tcp.len() as u8];
    let check = sum(&[&octets(source.ip()), &octets(destination.ip()), &len, &tcp]);
    tcp[16..18].copy_from_slice(&check.to_be_bytes());
    tcp
}

fn tcp(source: &str, destination: &str, tags: usize, flags: u8) -> Vec<u8> {
    with(source, destination, tags, flags, &[], &[])
}

fn with(source: &str, destination: &str, tags: usize, flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    let (source, destination): (SocketAddr, SocketAddr) =
        (source.parse().unwrap(), destination.parse().unwrap());
    packet(source.ip(), destination.ip(), tags, TCP, &segment(source, destination, flags, options, data))
}

const PEERS: [(&str, &str); 2] =
    [("10.0.0.2:4000", "10.0.0.1:1883"), ("[2001:db8::2]:4000", "[2001:db8::1]:1883")];

#[test]
fn a_service_is_steered_behind_no_tag_or_one_and_nothing_else() {
    let mut world = World::new();
    for (peer, service) in PEERS {
        for tags in 0..=1 {
            assert_eq!(world.reason(&tcp(peer, service, tags, ACK)), Reason::Redirect);
            assert_eq!(
                world.reason(&tcp(peer, &service.replace("1883", "1884"), tags, ACK)),
                Reason::PassOther
            );
            assert_eq!(world.reason(&tcp(service, peer, tags, ACK)), Reason::PassOther);
        }
        // The stack takes no more, nor a provider's tag: the kernel may.
        let two = tcp(peer, service, 2, ACK);
        assert_eq!(world.reason(&two), Reason::PassOther);
        assert_eq!(world.reason(&[&two[..12], &two[16..]].concat()), Reason::PassOther);
        let (peer, service): (SocketAddr, SocketAddr) = (peer.parse().unwrap(), service.parse().unwrap());
        let udp = packet(peer.ip(), service.ip(), 0, 17, &segment(peer, service, ACK, &[], &[]));
        assert_eq!(world.reason(&udp), Reason::PassOther);
    }
    world.armed = 0;
    assert_eq!(world.reason(&tcp(PEERS[0].0, PEERS[0].1, 0, ACK)), Reason::PassService);
}

#[test]
fn what_is_cut_passes_and_never_fails() {
    let world = World::new();
    for (peer, service) in PEERS {
        for tags in 0..=1 {
            let whole = tcp(peer, service, tags, ACK);
            for len in 0..whole.len() {
                assert_eq!(world.reason(&whole[..len]), Reason::PassMalformed, "{len} bytes");
            }
        }
    }
}

#[test]
fn headers_and_sources_that_no_peer_has_are_dropped() {
    let world = World::new();
    for (peer, service) in PEERS {
        for (flags, reason) in [
            (SYN, Reason::Redirect),
            (SYN | ACK, Reason::Redirect),
            (RST, Reason::Redirect),
            (FIN | ACK, Reason::Redirect),
            (SYN | FIN, Reason::DropFlags),
            (SYN | RST, Reason::DropFlags),
            (SYN | FIN | ACK, Reason::DropFlags),
            (FIN, Reason::DropFlags),
            (0x29, Reason::DropFlags),
            (0, Reason::DropFlags),
        ] {
            assert_eq!(world.reason(&tcp(peer, service, 0, flags)), reason, "{flags:#x}");
        }
        assert_eq!(world.reason(&tcp(&peer.replace("4000", "0"), service, 0, ACK)), Reason::DropSource);
        let land = service.replace("1883", "4000");
        assert_eq!(world.reason(&tcp(&land, service, 0, ACK)), Reason::DropSource);
        let mut frame = tcp(peer, service, 0, ACK);
        let at = frame.len() - 20 + 12;
        for (offset, reason) in [(4, Reason::DropHeader), (5, Reason::Redirect), (6, Reason::DropHeader)] {
            frame[at] = offset << 4;
            assert_eq!(world.reason(&frame), reason, "{offset} words");
        }
    }
    for source in ["127.0.0.1:1", "224.1.1.1:1", "255.255.255.255:1", "240.0.0.1:1", "0.0.0.0:1"] {
        assert_eq!(world.reason(&tcp(source, PEERS[0].1, 0, ACK)), Reason::DropSource, "{source}");
    }
    for source in ["[::]:1", "[::1]:1", "[ff02::1]:1", "[::ffff:10.0.0.2]:1"] {
        assert_eq!(world.reason(&tcp(source, PEERS[1].1, 0, ACK)), Reason::DropSource, "{source}");
    }
    // The service of the other family.
    assert_eq!(world.reason(&tcp(PEERS[1].0, "[::ffff:10.0.0.1]:1883", 0, ACK)), Reason::DropSource);
}

#[test]
fn fragments_are_judged_by_what_they_name() {
    let world = World::new();
    let (peer, service) = PEERS[0];
    for (port, field, reason) in [
        (1883, 0x2000_u16, Reason::DropFragment),
        (1884, 0x2000, Reason::PassOther),
        (1883, 0x2001, Reason::PassFragment),
        (1883, 0x0001, Reason::PassFragment),
        (1883, 0x4000, Reason::Redirect),
    ] {
        let mut frame = tcp(peer, &std::format!("10.0.0.1:{port}"), 0, ACK);
        frame[14 + 6..14 + 8].copy_from_slice(&field.to_be_bytes());
        assert_eq!(world.reason(&frame), reason, "{port} {field:#x}");
    }
    let _ = service;
    // IPv6: the fragment header names what follows in the first one only.
    for (field, reason) in
        [(1_u16, Reason::DropFragment), (0, Reason::DropFragment), (9, Reason::PassFragment)]
    {
        let [a, b] = field.to_be_bytes();
        assert_eq!(world.reason(&extended(&[(44, [TCP, 0, a, b, 0, 0, 0, 1].to_vec())])), reason, "{field}");
    }
}

/// A segment behind extension headers: the kind of each, and its bytes; what it says follows is put right.
fn extended(headers: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let (peer, service): (SocketAddr, SocketAddr) =
        (PEERS[1].0.parse().unwrap(), PEERS[1].1.parse().unwrap());
    let mut payload = Vec::new();
    for (at, (_, header)) in headers.iter().enumerate() {
        let mut header = header.clone();
        header[0] = headers.get(at + 1).map_or(TCP, |next| next.0);
        payload.extend(header);
    }
    payload.extend(segment(peer, service, ACK, &[], &[]));
    packet(peer.ip(), service.ip(), 0, headers.first().map_or(TCP, |first| first.0), &payload)
}

#[test]
fn extension_headers_are_followed_so_far_and_no_farther() {
    let world = World::new();
    let options = |units: u8| {
        let mut header = std::vec![0; 8 * (usize::from(units) + 1)];
        header[1] = units;
        header
    };
    for n in 0..=4 {
        let headers: Vec<_> = (0..n).map(|at| (if at == 0 { 0 } else { 60 }, options(at))).collect();
        assert_eq!(world.reason(&extended(&headers)), Reason::Redirect, "{n} headers");
    }
    let five: Vec<_> = (0..5).map(|_| (60, options(0))).collect();
    assert_eq!(world.reason(&extended(&five)), Reason::PassExtensions);
    assert_eq!(world.reason(&extended(&[(43, options(0))])), Reason::Redirect);
    assert_eq!(world.reason(&extended(&[(43, [0, 0, 0, 1, 0, 0, 0, 0].to_vec())])), Reason::PassExtensions);
    // One that reaches beyond the packet.
    assert_eq!(world.reason(&extended(&[(60, [0, 9, 0, 0, 0, 0, 0, 0].to_vec())])), Reason::PassMalformed);
}

#[test]
fn lists_come_before_the_rest_and_the_allow_list_first() {
    let mut world = World::new();
    world.policy = Some(Policy { prefix: Limit::new(1, 1), events: Limit::new(10, 10), ..Policy::OPEN });
    world.prefix.set(false);
    for (peer, service) in PEERS {
        let from = |last: u8, flags| {
            tcp(
                &peer.replace("2]:", &std::format!("{last}]:")).replace("0.2:", &std::format!("0.{last}:")),
                service,
                0,
                flags,
            )
        };
        assert_eq!(world.reason(&from(2, SYN)), Reason::DropSynPrefix);
        assert_eq!(world.reason(&from(BLOCKED, SYN | FIN)), Reason::DropBlocked);
        assert_eq!(world.reason(&from(ALLOWED_AND_BLOCKED, ACK)), Reason::Redirect);
        assert_eq!(world.reason(&from(ALLOWED, SYN)), Reason::Redirect);
        assert_eq!(world.reason(&from(ALLOWED, SYN | FIN)), Reason::DropFlags);
        let told: Vec<_> = world.told.take().iter().map(|event| (event.reason, event.flags)).collect();
        assert_eq!(
            told,
            [
                (Reason::DropSynPrefix as u8, SYN),
                (Reason::DropBlocked as u8, 0),
                (Reason::DropFlags as u8, SYN | FIN)
            ]
        );
    }
    let prefixes = world.prefixes.take();
    assert_eq!(prefixes[0], mapped([10, 0, 0, 0]));
    assert_eq!(prefixes[1], "2001:db8::".parse::<std::net::Ipv6Addr>().unwrap().octets());
}

#[test]
fn syns_are_counted_by_what_one_customer_has() {
    let mut world = World::new();
    world.policy = Some(Policy { prefix: Limit::new(1, 1), ..Policy::OPEN });
    world.reason(&tcp("10.9.254.255:4000", PEERS[0].1, 0, SYN));
    world.reason(&tcp("[2001:db8:abcd:ffff:ffff:ffff:ffff:ffff]:4000", PEERS[1].1, 0, SYN));
    let prefixes = world.prefixes.take();
    let v6: std::net::Ipv6Addr = "2001:db8:abcd:ff00::".parse().unwrap();
    assert_eq!(prefixes, [mapped([10, 9, 254, 0]), v6.octets()]);
}

#[test]
fn syns_beyond_what_is_let_through() {
    let mut world = World::new();
    let (peer, service) = PEERS[0];
    let policy = Policy { all: Limit::new(1, 1), mss_v4: 1460, over: OVER_DROP, ..Policy::OPEN };
    world.policy = Some(policy);
    assert_eq!(world.reason(&tcp(peer, service, 0, SYN)), Reason::Redirect);
    world.all.set(false);
    assert_eq!(world.reason(&tcp(peer, service, 0, SYN)), Reason::DropSynAll);
    assert_eq!(world.reason(&tcp(peer, service, 0, ACK)), Reason::Redirect);
    world.policy = Some(Policy { over: OVER_COOKIE, ..policy });
    for tags in 0..=1 {
        let (reason, answer) = world.steer(&tcp(peer, service, tags, SYN));
        assert_eq!(reason, Reason::Cookie);
        // It goes back, behind the same tags, and acknowledges the SYN.
        let at = 14 + 4 * tags;
        assert_eq!(answer[..12], [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]].concat());
        assert_eq!(answer[at + 12..at + 20], [10, 0, 0, 1, 10, 0, 0, 2]);
        assert_eq!(answer[at + 20..at + 24], [0x07, 0x5b, 0x0f, 0xa0]);
        assert_eq!(answer[at + 28..at + 32], [0, 0, 0, 100]);
        assert_eq!(answer[at + 33], SYN | ACK);
        assert_eq!(answer[at + 40..at + 44], [2, 4, 0x05, 0xb4]);
    }
    // Data, options of IP, a wrong checksum: not answered.
    assert_eq!(world.reason(&with(peer, service, 0, SYN, &[], b"data")), Reason::DropSynShape);
    let mut wrong = tcp(peer, service, 0, SYN);
    wrong[14 + 20 + 15] ^= 1;
    assert_eq!(world.reason(&wrong), Reason::DropSynChecksum);
}

#[test]
fn too_big_is_noted_if_it_is_about_a_service() {
    let world = World::new();
    for (v6, (peer, service)) in [false, true].into_iter().zip(PEERS) {
        let (peer, service): (SocketAddr, SocketAddr) = (peer.parse().unwrap(), service.parse().unwrap());
        let message = |kind: u8, code: u8, from: SocketAddr| {
            let quoted = packet(from.ip(), peer.ip(), 0, TCP, &segment(from, peer, ACK, &[], b"data"));
            let message = [&[kind, code, 0, 0, 0, 0, 5, 0][..], &quoted[14..]].concat();
            packet(peer.ip(), service.ip(), 0, if v6 { ICMPV6 } else { ICMP }, &message)
        };
        let (kind, code) = if v6 { (2, 0) } else { (3, 4) };
        assert_eq!(world.reason(&message(kind, code, service)), Reason::PassTooBig);
        let noted = world.too_big.take();
        assert_eq!(noted.len(), 1);
        assert_eq!(noted[0].1, PmtuValue { mtu: 1280, sequence: 99 });
        assert_eq!((noted[0].0.local_port, noted[0].0.remote_port), ([0x07, 0x5b], [0x0f, 0xa0]));
        let other = SocketAddr::new(service.ip(), 1884);
        assert_eq!(world.reason(&message(kind, code, other)), Reason::PassOther);
        assert_eq!(world.reason(&message(kind + 1, code, service)), Reason::PassOther);
        // Cut before the sequence number.
        let whole = message(kind, code, service);
        let ip = if v6 { 40 } else { 20 };
        for len in 0..whole.len() {
            let enough = len >= 14 + ip + 8 + ip + 8;
            let reason = world.reason(&whole[..len]);
            assert!(reason != Reason::PassTooBig || enough, "{len} bytes");
        }
        assert!(world.too_big.take().is_empty());
    }
}
