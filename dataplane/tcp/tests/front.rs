//! SYNs that are answered with cookies in a stack's place, as the XDP program does (`ebpf/classifier`): the answer is the
//! stack's own, and the stack takes what comes of it.

use std::net::{IpAddr, SocketAddr};

use pelton_base::{ByteStreams, HashKey, Mono, Rng, StreamEvent};
use pelton_ebpf_classifier::frame::SliceFrame;
use pelton_ebpf_classifier::layout::{Address, OVER_COOKIE};
use pelton_ebpf_classifier::{
    Event, Limit, PmtuKey, PmtuValue, Policy, Reason, Scratch, Service, ServiceKey, Tables, steer,
};
use pelton_packet::memory::{MemoryPort, MemorySettings, pair};
use pelton_packet::parse::TCP;
use pelton_packet::{Interface, Link, MacAddress, Port, headers};
use pelton_tcp::segment::{Flags, Options, Segment};
use pelton_tcp::{Secrets, Seq, Settings, SynAck, Tcp};

const US: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const THEM: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

/// Who answers in front: one service, a cookie for each SYN.
struct Front {
    policy: Policy,
    now_ns: u64,
}

impl Front {
    fn new(secrets: Secrets, terms: SynAck, clock_offset_ns: u64) -> Self {
        let policy = Policy {
            all: Limit::new(0, 0),
            cookie_key: secrets.cookie.words().into(),
            stamp_key: secrets.stamps.words().into(),
            clock_offset_ns,
            over: OVER_COOKIE,
            mss_v4: terms.mss_v4,
            mss_v6: terms.mss_v6,
            window: terms.window,
            scale: terms.scale.unwrap_or(0),
            scaling: terms.scale.is_some().into(),
            sack: terms.sack.into(),
            timestamps: terms.timestamps.into(),
            ..Policy::OPEN
        };
        Self { policy, now_ns: 0 }
    }
}

impl Tables for Front {
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        (key.port == 1883_u16.to_be_bytes()).then_some(Service { armed: 1 })
    }

    fn is_allowed(&self, _: bool, _: &Address) -> bool {
        false
    }

    fn is_blocked(&self, _: bool, _: &Address) -> bool {
        false
    }

    fn policy(&self) -> Option<&Policy> {
        Some(&self.policy)
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn take_of_prefix(&self, _: &Address, _: &Limit, _: u64) -> bool {
        true
    }

    fn take_of_all(&self, limit: &Limit, now_ns: u64) -> bool {
        limit.take(&mut 0, now_ns)
    }

    fn take_of_events(&self, _: &Limit, _: u64) -> bool {
        false
    }

    fn too_big(&self, _: &PmtuKey, _: &PmtuValue) {}

    fn tell(&self, _: Event) {}
}

struct Pair {
    tcp: Tcp<MemoryPort>,
    wire: MemoryPort,
}

impl Pair {
    fn new(settings: Settings, mtu: u16, seed: u64) -> Self {
        let (port, wire) = pair(MemorySettings { mtu, ..MemorySettings::default() });
        let interface = Interface {
            mac: US,
            addresses: vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        };
        Self { tcp: Tcp::new(port, interface, &[1883], settings, seed, Mono(0)), wire }
    }

    /// Puts a frame in; what comes out, if anything.
    fn answer(&mut self, frame: &[u8], now: Mono) -> Option<Vec<u8>> {
        let mut sent = self.wire.take().unwrap();
        sent.fill(frame);
        self.wire.send(now, sent).unwrap();
        self.wire.flush(now);
        self.tcp.poll(now);
        self.tcp.end_turn();
        let mut frames = Vec::new();
        self.wire.receive(now, 8, &mut frames);
        let bytes = frames.first().map(|frame| frame.to_vec());
        frames.into_iter().for_each(|frame| self.wire.put(frame));
        bytes
    }
}

fn segment(remote: SocketAddr, vlan: Option<u16>, segment: &Segment) -> Vec<u8> {
    let local: IpAddr = if remote.is_ipv4() { "10.0.0.1" } else { "2001:db8::1" }.parse().unwrap();
    let segment = Segment { source: remote.port(), destination: 1883, ..*segment };
    let link = Link { source: THEM, destination: US, vlan };
    let mut frame = vec![0; headers::bytes(link, local) + segment.header_bytes()];
    let at = headers::bytes(link, local);
    headers::write(&mut frame, link, remote.ip(), local, TCP, 0, segment.header_bytes());
    segment.write(remote.ip(), local, &mut frame[at..]);
    frame
}

fn in_front(front: &Front, frame: &[u8]) -> (Reason, Vec<u8>) {
    let mut room = frame.to_vec();
    room.resize(frame.len() + 60, 0);
    let mut slice = SliceFrame::new(&mut room, frame.len());
    let reason = steer(&mut slice, front, &mut Scratch::default());
    (reason, slice.bytes().to_vec())
}

fn any_syn(rng: &mut Rng) -> (SocketAddr, Option<u16>, Segment) {
    let remote: IpAddr = if rng.chance(500) {
        IpAddr::from([10, 9, rng.u64() as u8, rng.between(1, 250) as u8])
    } else {
        IpAddr::from([0x2001, 0xdb8, 9, 0, 0, 0, 0, rng.between(1, 65_535) as u16])
    };
    let options = Options {
        mss: rng.chance(800).then(|| rng.u64() as u16),
        window_scale: rng.chance(600).then(|| rng.below(15) as u8),
        sack_permitted: rng.chance(600),
        timestamps: rng.chance(600).then(|| (rng.u64() as u32, 0)),
        ..Options::default()
    };
    let syn = Segment {
        seq: Seq(rng.u64() as u32),
        flags: Flags::SYN,
        window: 1000,
        options,
        ..Segment::default()
    };
    let vlan = rng.chance(200).then_some(7);
    (SocketAddr::new(remote, rng.between(1, 65_535) as u16), vlan, syn)
}

/// The same SYN, the same answer, whoever gives it: byte for byte.
#[test]
fn the_answer_in_front_is_the_stack_s() {
    let mut rng = Rng::with_seed(11);
    for round in 0..40 {
        let secrets = Secrets { cookie: rng.hash_key(), stamps: rng.hash_key() };
        let settings = Settings {
            secrets: Some(secrets),
            half_open_max: 0,
            connections_max: 16,
            sack: rng.chance(800),
            timestamps: rng.chance(800),
            window_scaling: rng.chance(800),
            receive_window_bytes: rng.between(2_000, 2_000_000) as u32,
            ..Settings::default()
        };
        let mtu = rng.between(1_280, 1_500) as u16;
        let offset_ns = rng.below(1 << 50);
        let mut front = Front::new(secrets, settings.syn_ack(mtu), offset_ns);
        let mut pair = Pair::new(settings, mtu, round);
        let mut now = Mono(rng.below(1 << 50));
        for _ in 0..50 {
            now = now.plus_ms(rng.below(100_000));
            front.now_ns = now.0 + offset_ns;
            let (remote, vlan, syn) = any_syn(&mut rng);
            let frame = segment(remote, vlan, &syn);
            let stack = pair.answer(&frame, now).expect("the stack answers");
            let (reason, answer) = in_front(&front, &frame);
            assert_eq!(reason, Reason::Cookie);
            // Short frames are padded in front of the stack.
            assert_eq!(answer[..stack.len()], stack, "{remote} {syn:?}");
            assert!(answer.len() == stack.len() || answer.len() == 60);
        }
    }
}

/// The stack takes a connection whose SYN it never saw, if whoever answered has its keys.
#[test]
fn the_stack_takes_a_cookie_from_in_front() {
    let mut rng = Rng::with_seed(12);
    for round in 0..200 {
        let secrets = Secrets { cookie: HashKey::new(round, 1), stamps: HashKey::new(round, 2) };
        let settings = Settings { connections_max: 16, secrets: Some(secrets), ..Settings::default() };
        let other = Secrets { cookie: HashKey::new(round, 3), ..secrets };
        let known = round % 2 == 0;
        let now = Mono::from_ms(rng.between(1, 10_000_000));
        let mut front = Front::new(if known { secrets } else { other }, settings.syn_ack(1_500), 0);
        front.now_ns = now.0;
        let mut pair = Pair::new(settings, 1_500, round);
        let (remote, vlan, syn) = any_syn(&mut rng);
        let (reason, answer) = in_front(&front, &segment(remote, vlan, &syn));
        assert_eq!(reason, Reason::Cookie);
        let Ok(pelton_packet::Parsed::Ip(datagram)) = pelton_packet::parse(&answer) else {
            panic!("{answer:02x?}")
        };
        let syn_ack =
            Segment::parse(datagram.source, datagram.destination, datagram.payload(&answer)).unwrap();
        let ack = Segment {
            seq: syn.seq + 1,
            ack: syn_ack.seq + 1,
            flags: Flags::ACK,
            window: 1000,
            options: Options {
                timestamps: syn_ack.options.timestamps.map(|(stamp, _)| (77, stamp)),
                ..Options::default()
            },
            ..Segment::default()
        };
        let frame = segment(remote, vlan, &ack);
        let later = now.plus_ms(50);
        let answer = pair.answer(&frame, later);
        let event = pair.tcp.next();
        if known {
            assert_eq!(answer, None);
            assert!(matches!(event, Some(StreamEvent::Opened { .. })), "{remote} {syn:?}");
        } else {
            assert!(answer.is_some() && event.is_none(), "a stranger's cookie: {remote} {syn:?}");
        }
    }
}
