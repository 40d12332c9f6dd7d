//! A flood of SYNs, and blind segments: memory stays what it is, who is connected notices nothing, and who comes
//! gets in by cookie.

use std::net::IpAddr;

use pelton_base::{Mono, Rng};
use pelton_packet::fault::{Faults, Faulty};
use pelton_packet::memory::{MemoryPort, MemorySettings, pair};
use pelton_packet::parse::TCP;
use pelton_packet::{Port, headers};
use pelton_tcp::segment::{Flags, Options, Segment};
use pelton_tcp::{Seq, Settings, TcpCounter, TcpDrop};

use crate::host::{Host, Plan, client, client_address, link, server, server_address};

const SYNS_A_TURN: usize = 50;

pub(crate) fn raw(from: IpAddr, port: u16, segment: Segment) -> Vec<u8> {
    let to = server_address(false);
    let segment = Segment { source: port, destination: to.port(), ..segment };
    let mut bytes = vec![0; headers::bytes(link(), from)];
    let start = bytes.len();
    headers::write(
        &mut bytes,
        link(),
        from,
        to.ip(),
        TCP,
        0,
        segment.header_bytes() + usize::from(segment.len),
    );
    bytes.resize(start + segment.header_bytes() + usize::from(segment.len), 0x55);
    segment.write(from, to.ip(), &mut bytes[start..]);
    bytes
}

/// A client and a server, with a third party that puts frames on the client's side of the wire.
struct World {
    a: Host<Faulty<MemoryPort>>,
    b: Host<Faulty<MemoryPort>>,
    now: Mono,
}

impl World {
    fn new(settings: Settings) -> Self {
        let memory = MemorySettings { wire_frames_max: 4_096, ..MemorySettings::default() };
        let (near, far) = pair(memory);
        let quick = Settings { connections_max: 64, ..Settings::default() };
        let a = Host::new(client(Faulty::new(near, Faults::default(), 1, 256), quick, 1), |_| unreachable!());
        let b = Host::new(server(Faulty::new(far, Faults::default(), 2, 256), settings, 2), |port| {
            let port = u64::from(port);
            Plan {
                says: port << 1 | 1,
                hears: port << 1,
                sends: 5_000,
                expects: 5_000,
                write: 50,
                closes: false,
            }
        });
        Self { a, b, now: Mono::from_ms(1_000) }
    }

    fn connect(&mut self, port: u16) {
        let name = u64::from(port);
        let plan = Plan {
            says: name << 1,
            hears: name << 1 | 1,
            sends: 5_000,
            expects: 5_000,
            write: 50,
            closes: true,
        };
        self.a.connect(client_address(false, port), server_address(false), plan, self.now);
    }

    fn inject(&mut self, bytes: &[u8]) {
        self.a.tcp.port().port().inject(bytes);
    }

    fn turn(&mut self) {
        self.a.turn(self.now);
        self.b.turn(self.now);
        self.now = self.now.plus_us(50);
    }
}

#[test]
fn a_flood_of_syns_leaves_everybody_else_alone() {
    let settings = Settings { connections_max: 64, half_open_max: 100, ..Settings::default() };
    let mut world = World::new(settings);
    let mut rng = Rng::with_seed(9);
    // One that was there before.
    world.connect(2_000);
    while world.b.conns.is_empty() {
        world.turn();
    }
    let syn = Segment {
        flags: Flags::SYN,
        window: 1_000,
        options: Options { mss: Some(1_460), timestamps: Some((1, 0)), ..Options::default() },
        ..Segment::default()
    };
    let mut turns = 0;
    for round in 0..2_000 {
        // A million a second, from anywhere.
        for _ in 0..SYNS_A_TURN {
            let from = IpAddr::from((rng.u64() as u32 & 0x0fff_ffff | 0x2000_0000).to_be_bytes());
            let port = rng.between(1, 65_535) as u16;
            world.inject(&raw(from, port, Segment { seq: Seq(rng.u64() as u32), ..syn }));
        }
        // And one that comes in the middle of it.
        if round == 1_000 {
            world.connect(2_001);
        }
        world.turn();
        turns += 1;
        let usage = world.b.tcp.usage();
        assert!(usage.half_open <= 100 && usage.connections <= 2 && usage.links <= 1, "{usage:?}");
    }
    while !(world.a.all_ended() && world.b.all_ended() && world.b.conns.len() == 2) {
        world.turn();
        turns += 1;
        assert!(turns < 1_000_000, "{:?} {:?}", world.a.conns, world.b.tcp.counters());
    }
    for conn in world.a.conns.iter().chain(&world.b.conns) {
        assert_eq!(conn.received, 5_000);
    }
    let counters = world.b.tcp.counters();
    assert!(counters.get(TcpCounter::CookiesSent) > 90_000, "{counters:?}");
    assert_eq!(counters.get(TcpCounter::CookiesAccepted), 1, "{counters:?}");
    // What was half open goes in its time.
    world.now = world.now.plus_ms(200_000);
    world.b.turn(world.now);
    while world.b.tcp.usage().half_open > 0 {
        world.now = world.now.plus_ms(10_000);
        world.b.turn(world.now);
    }
    assert_eq!(world.b.tcp.port_ref().inner().pool().outstanding(), world.b.tcp.port_ref().held());
}

/// A stranger who knows addresses and ports, not sequence numbers, sends resets, SYNs, ACKs and data.
#[test]
fn blind_segments_do_no_harm_and_get_few_answers() {
    let mut world =
        World::new(Settings { connections_max: 64, challenges_per_second: 100, ..Settings::default() });
    let mut rng = Rng::with_seed(3);
    world.connect(2_000);
    while world.b.conns.is_empty() {
        world.turn();
    }
    let from = client_address(false, 2_000).ip();
    let kinds = [
        Flags::RST,
        Flags::SYN,
        Flags::ACK,
        Flags::RST.and(Flags::ACK),
        Flags::ACK.and(Flags::PSH),
        Flags::FIN,
    ];
    let mut turns = 0;
    while !(world.a.all_ended() && world.b.all_ended()) {
        for _ in 0..20 {
            let flags = kinds[rng.below(6) as usize];
            let segment = Segment {
                flags,
                seq: Seq(rng.u64() as u32),
                ack: Seq(rng.u64() as u32),
                window: rng.u64() as u16,
                len: rng.below(100) as u16,
                options: Options { timestamps: Some((rng.u64() as u32, 0)), ..Options::default() },
                ..Segment::default()
            };
            world.inject(&raw(from, 2_000, segment));
        }
        world.turn();
        turns += 1;
        assert!(turns < 1_000_000);
    }
    for conn in world.a.conns.iter().chain(&world.b.conns) {
        assert_eq!(conn.received, 5_000, "{:?}", world.b.tcp.drops());
    }
    let seconds = world.now.as_ms() / 1_000 + 1;
    assert!(world.b.tcp.counters().get(TcpCounter::Challenges) <= 100 * seconds);
    assert!(world.b.tcp.drops().get(TcpDrop::OutOfWindow) > 100);
    let _ = world.b.tcp.port().caps();
}
