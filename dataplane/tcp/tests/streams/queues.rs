//! Several stacks on the queues of one interface, and frames that come by another queue than that of the stack which has
//! their connection.

use pelton_base::{ByteStreams, Mono, Rng, StreamEvent, TooBig};
use pelton_packet::fault::{Faults, Faulty};
use pelton_packet::memory::{MemoryPort, MemorySettings, pair};
use pelton_tcp::segment::{Flags, Segment};
use pelton_tcp::{Seq, Settings, TcpCounter, TcpDrop, Usage, relays};

use crate::flood::raw;
use crate::host::{Bad, Host, Plan, client, client_address, server, server_address};

const BYTES: u64 = 100_000;

fn plan(port: u16, server: bool, closes: bool) -> Plan {
    let name = u64::from(port) << 1;
    let (says, hears) = if server { (name | 1, name) } else { (name, name | 1) };
    Plan { says, hears, sends: BYTES, expects: BYTES, write: 5_000, closes }
}

/// A client, and a server with several queues.
struct World {
    client: Host<Bad>,
    /// Its wire's other end.
    far: MemoryPort,
    servers: Vec<Host<Bad>>,
    wires: Vec<MemoryPort>,
    /// Where the client's frames go.
    queue: usize,
    now: Mono,
}

impl World {
    fn new(queues: u16, settings: &Settings, server_closes: bool) -> Self {
        Self::bad(queues, settings, server_closes, Faults::default(), 1)
    }

    fn bad(queues: u16, settings: &Settings, server_closes: bool, faults: Faults, seed: u64) -> Self {
        let port = |near| Faulty::new(near, faults, seed, 64);
        let (near, far) = pair(MemorySettings::default());
        let quick = Settings { connections_max: 64, ..Settings::default() };
        let client = Host::new(client(port(near), quick, 1), |_| unreachable!());
        let mut wires = Vec::new();
        let servers = relays(queues).into_iter().zip(2..).map(|(relays, seed)| {
            let (near, wire) = pair(MemorySettings { wire_frames_max: 8_192, ..MemorySettings::default() });
            wires.push(wire);
            let mut tcp = server(port(near), settings.clone(), seed);
            tcp.join(relays);
            Host::new(tcp, move |port| plan(port, true, server_closes))
        });
        let servers = servers.collect();
        Self { client, far, servers, wires, queue: 0, now: Mono::from_ms(1_000) }
    }

    fn connect(&mut self, port: u16, closes: bool) {
        let (here, there) = (client_address(false, port), server_address(false));
        self.client.connect(here, there, plan(port, false, closes), self.now);
    }

    /// The client's turn, and its frames on their way.
    fn client_turn(&mut self) {
        self.now = self.now.plus_ms(1);
        self.client.turn(self.now);
        while let Some(frame) = self.far.extract() {
            self.wires[self.queue].inject(&frame);
        }
    }

    fn server_turns(&mut self) {
        for (server, wire) in self.servers.iter_mut().zip(&mut self.wires) {
            server.turn(self.now);
            while let Some(frame) = wire.extract() {
                self.far.inject(&frame);
            }
        }
    }

    fn turn(&mut self) {
        self.client_turn();
        self.server_turns();
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..200_000 {
            if done(self) {
                return;
            }
            self.turn();
        }
        let servers: Vec<_> = self.servers.iter().map(|server| (&server.tcp, &server.conns)).collect();
        panic!("{what}: {:?} {:?} {servers:#?}", self.client.tcp, self.client.conns);
    }

    fn count(&self, counter: TcpCounter) -> u64 {
        self.servers.iter().map(|server| server.tcp.counters().get(counter)).sum()
    }

    fn dropped(&self, reason: TcpDrop) -> u64 {
        self.servers.iter().map(|server| server.tcp.drops().get(reason)).sum()
    }

    fn ended_well(&mut self, conns: usize) {
        self.until("all ended", |world| {
            world.client.all_ended() && world.servers.iter().all(Host::all_ended)
        });
        let all: Vec<_> = self.servers.iter().flat_map(|server| &server.conns).collect();
        assert_eq!(all.len(), conns);
        assert!(all.iter().chain(&self.client.conns.iter().collect::<Vec<_>>()).all(|c| c.received == BYTES));
        assert_eq!(self.count(TcpCounter::ResetsOut), 0);
        self.nothing_left();
    }

    fn nothing_left(&mut self) {
        let unused = |host: &Host<Bad>| {
            host.tcp.usage() == Usage::default() && host.tcp.port_ref().inner().pool().outstanding() == 0
        };
        self.until("nothing left", |world| world.servers.iter().chain([&world.client]).all(unused));
    }
}

/// One connection of `port` in the middle of its transfer, at queue 0.
fn begun(queues: u16, port: u16) -> World {
    let mut world = World::new(queues, &Settings { connections_max: 64, ..Settings::default() }, false);
    world.connect(port, true);
    world.until("it has begun", |world| world.client.conns[0].received > BYTES / 4);
    world
}

#[test]
fn a_connection_goes_on_when_its_frames_come_by_another_queue() {
    for (queues, to) in [(2, 1), (3, 1), (3, 2)] {
        let mut world = begun(queues, 4_000);
        world.queue = to;
        world.ended_well(1);
        assert_eq!((world.count(TcpCounter::Searches), world.count(TcpCounter::Found)), (1, 1));
        assert!(world.count(TcpCounter::RelayedOut) > 10);
        // Nothing was lost by the way and nothing came in another order.
        assert_eq!(world.count(TcpCounter::OutOfOrder), 0, "{queues} {to}");
        assert_eq!(world.client.tcp.counters().get(TcpCounter::BytesRetransmitted), 0, "{queues} {to}");
    }
}

#[test]
fn the_queue_may_change_again_and_again() {
    let mut found = 0;
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let queues = rng.between(2, 4) as u16;
        let settings = Settings { connections_max: 64, linger_ms: 100_000, ..Settings::default() };
        let server_closes = rng.chance(500);
        let mut world = World::new(queues, &settings, server_closes);
        for port in 4_000..4_004 {
            world.connect(port, !server_closes);
        }
        let every = rng.between(1, 12);
        let mut until = 0;
        for turn in 0..3_000 {
            if turn >= until {
                world.queue = rng.below(u64::from(queues)) as usize;
                until = turn + rng.between(1, every + 1);
            }
            world.turn();
        }
        world.ended_well(4);
        found += world.count(TcpCounter::Found);
    }
    assert!(found > 100, "{found}");
}

#[test]
fn a_handshake_may_end_at_another_queue() {
    let mut world = World::new(3, &Settings { connections_max: 64, ..Settings::default() }, false);
    world.connect(4_000, true);
    world.turn();
    assert_eq!(world.servers[0].tcp.usage().half_open, 1);
    world.queue = 2;
    world.ended_well(1);
    assert_eq!(world.servers[0].conns.len(), 1);
    assert_eq!(world.count(TcpCounter::Found), 1);
    // One whose client goes away before it is open leaves nothing behind.
    world.queue = 0;
    world.connect(4_001, true);
    world.turn();
    let stray = Segment { seq: Seq(7), flags: Flags::RST, ..Segment::default() };
    while world.far.extract().is_some() {}
    world.wires[1].inject(&raw(client_address(false, 4_001).ip(), 4_001, stray));
    world.servers.iter_mut().for_each(|server| (0..4).for_each(|_| server.turn(world.now)));
    world.server_turns();
    world.server_turns();
    assert_eq!(world.servers[1].tcp.usage().moved, 1);
    world.client.tcp.close(world.client.conns[1].stream, pelton_base::Ending::Abort);
    world.nothing_left();
}

/// A SYN that came to the first queue, whose answer was lost, and came to others when it was sent again. `taken` is the
/// answer that the client gets first; from then on its frames come by `queue`.
fn begun_by_all(queues: u16, taken: usize, queue: usize) -> World {
    let mut world = World::new(queues, &Settings { connections_max: 64, ..Settings::default() }, false);
    world.connect(4_000, true);
    world.now = world.now.plus_ms(1);
    world.client.turn(world.now);
    let syn = world.far.extract().expect("a SYN");
    let at = world.now;
    let mut answers = Vec::new();
    for (server, wire) in world.servers.iter_mut().zip(&mut world.wires) {
        wire.inject(&syn);
        server.turn(at);
        answers.push(wire.extract().expect("a SYN-ACK"));
    }
    let numbers: Vec<_> = answers.iter().map(|answer| answer[38..42].to_vec()).collect();
    assert!(numbers.windows(2).all(|two| two[0] != two[1]), "each begins with a number of its own");
    answers.swap(0, taken);
    answers.iter().for_each(|answer| world.far.inject(answer));
    world.queue = queue;
    world
}

#[test]
fn a_syn_that_was_answered_by_several_is_one_connection_where_the_client_took_it() {
    for queues in [2, 3] {
        let queues_usize = usize::from(queues);
        for (taken, queue) in (0..queues_usize * queues_usize).map(|n| (n / queues_usize, n % queues_usize)) {
            let mut world = begun_by_all(queues, taken, queue);
            world.ended_well(1);
            assert_eq!(world.servers[taken].conns.len(), 1, "{taken} {queue}");
            assert_eq!(world.count(TcpCounter::Accepted), 1);
            assert_eq!(world.count(TcpCounter::Found), u64::from(taken != queue), "{taken} {queue}");
        }
    }
}

#[test]
fn a_client_that_ends_at_another_half_open_one_ends_its_own() {
    let mut world = begun_by_all(2, 0, 0);
    world.until("it is open", |world| !world.servers[0].conns.is_empty());
    world.queue = 1;
    world.client.tcp.close(world.client.conns[0].stream, pelton_base::Ending::Abort);
    for _ in 0..5 {
        world.turn();
    }
    assert_eq!(world.count(TcpCounter::ResetsIn), 1);
    world.nothing_left();
    assert_eq!(world.count(TcpCounter::ResetsOut), 0);
}

#[test]
fn a_half_open_connection_is_given_up_for_a_proof_alone() {
    let mut world = begun_by_all(2, 1, 1);
    while world.far.extract().is_some() {}
    // Neither has sent what is acknowledged: nobody moves.
    let (port, from) = (4_000, client_address(false, 4_000).ip());
    let guess = Segment { seq: Seq(7), ack: Seq(7), flags: Flags::ACK, ..Segment::default() };
    world.wires[0].inject(&raw(from, port, guess));
    for _ in 0..4 {
        let at = world.now;
        world.servers.iter_mut().for_each(|server| server.turn(at));
    }
    assert_eq!((world.count(TcpCounter::Searches), world.count(TcpCounter::Found)), (1, 0));
    assert!(world.servers.iter().all(|server| server.tcp.usage().half_open == 1));
}

#[test]
fn one_that_moved_is_found_where_it_went() {
    let mut world = World::new(3, &Settings { connections_max: 64, ..Settings::default() }, false);
    world.connect(4_000, true);
    world.turn();
    world.client_turn();
    // The first shard gives it to the second as it opens.
    let first = &mut world.servers[0].tcp;
    first.poll(world.now);
    let Some(StreamEvent::Opened { stream, .. }) = first.next() else { panic!("it opens") };
    let handed = first.detach(stream, 1).expect("it can go");
    first.end_turn();
    // Before it is there, its frames come by the third queue: nobody has it, and nobody says so to the client.
    world.queue = 2;
    for _ in 0..400 {
        world.client_turn();
        let at = world.now;
        world.servers.iter_mut().for_each(|server| server.turn(at));
    }
    assert!(world.dropped(TcpDrop::Moving) > 0);
    assert_eq!(world.count(TcpCounter::ResetsOut), 0);
    let second = &mut world.servers[1];
    let (stream, _) = second.tcp.attach(handed).expect("there is room");
    second.adopt(stream, plan(4_000, true, false));
    second.tcp.bind(stream, 0);
    second.conns[0].blocked = false;
    world.ended_well(1);
    assert_eq!(world.count(TcpCounter::Found), 1);
}

#[test]
fn what_nobody_has_is_refused_by_whom_it_came_to() {
    let mut world = World::new(3, &Settings { connections_max: 64, ..Settings::default() }, false);
    let from = client_address(false, 0).ip();
    let ack = Segment { seq: Seq(5), ack: Seq(9), flags: Flags::ACK, ..Segment::default() };
    let reset = Segment { flags: Flags::RST, ..ack };
    let unlistened = Segment { len: 3, ..ack };
    for _ in 0..3 {
        world.wires[1].inject(&raw(from, 5_000, ack));
        world.wires[1].inject(&raw(from, 5_001, reset));
        world.wires[1].inject(&raw(from, 5_002, unlistened));
    }
    for _ in 0..6 {
        let at = world.now;
        world.servers.iter_mut().for_each(|server| server.turn(at));
    }
    let asked = &world.servers[1].tcp;
    assert_eq!(asked.counters().get(TcpCounter::Searches), 3);
    assert_eq!(asked.counters().get(TcpCounter::SegmentsIn), 9);
    assert_eq!(world.count(TcpCounter::Found), 0);
    assert_eq!((world.dropped(TcpDrop::NoConnection), world.dropped(TcpDrop::StrayReset)), (6, 3));
    assert_eq!(world.servers[1].tcp.counters().get(TcpCounter::ResetsOut), 6);
    assert_eq!(world.count(TcpCounter::ResetsOut), 6);
    let answer = world.wires[1].extract().expect("a reset");
    assert_eq!(answer[47] & 0x3f, 0x04, "{answer:02x?}");
    while world.wires[1].extract().is_some() {}
    world.nothing_left();
}

#[test]
fn a_flood_of_strays_is_not_multiplied() {
    let settings = Settings { connections_max: 64, searches_per_second: 100, ..Settings::default() };
    let mut world = World::new(3, &settings, false);
    let ack = Segment { seq: Seq(5), ack: Seq(9), flags: Flags::ACK, ..Segment::default() };
    for port in 0..4_000u16 {
        let from = std::net::IpAddr::from([10, 0, 3, (port % 250) as u8 + 1]);
        world.wires[2].inject(&raw(from, 10_000 + port, ack));
    }
    for _ in 0..100 {
        let at = world.now;
        world.servers.iter_mut().for_each(|server| server.turn(at));
    }
    let searches = world.count(TcpCounter::Searches);
    assert!((50..=100).contains(&searches), "{searches}");
    assert_eq!(world.dropped(TcpDrop::SearchLimited), 4_000 - searches);
    assert_eq!(world.dropped(TcpDrop::NoConnection), searches);
    // Of one connection no more is kept than a few frames.
    world.now = world.now.plus_ms(2_000);
    for _ in 0..60 {
        world.wires[2].inject(&raw([10, 0, 3, 1].into(), 9_999, ack));
    }
    for _ in 0..10 {
        let at = world.now;
        world.servers.iter_mut().for_each(|server| server.turn(at));
    }
    assert_eq!(world.dropped(TcpDrop::SearchFull), 60 - 16);
    assert_eq!(world.count(TcpCounter::Searches), searches + 1);
    while world.wires[2].extract().is_some() {}
    world.nothing_left();
}

#[test]
fn all_stacks_are_told_what_was_too_big_and_who_has_it_believes_what_is_under_way() {
    let mut world = begun(2, 4_000);
    let told = |sequence| TooBig {
        local: server_address(false),
        remote: client_address(false, 4_000),
        mtu_bytes: 1_000,
        sequence,
    };
    // Whoever does not know what is under way is not believed; the stack that never had it says nothing.
    world.servers.iter_mut().for_each(|server| server.tcp.too_big("v0", &[told(7)]));
    let refused: Vec<u64> =
        world.servers.iter().map(|server| server.tcp.drops().get(TcpDrop::BadIcmp)).collect();
    assert_eq!(refused, [1, 0]);
    assert_eq!(world.count(TcpCounter::PathMtuLowered), 0);
    // What the first stack sends next is lost, as by a router whose link is too small.
    let at = world.now;
    let mut lost = None;
    for _ in 0..100 {
        world.client_turn();
        world.servers[0].turn(at);
        while let Some(frame) = world.wires[0].extract() {
            if frame.len() > 1_014 {
                lost = Some(u32::from_be_bytes([frame[38], frame[39], frame[40], frame[41]]));
            }
        }
        if lost.is_some() {
            break;
        }
    }
    let lost = lost.expect("something long leaves");
    world.servers.iter_mut().for_each(|server| server.tcp.too_big("v0", &[told(lost)]));
    assert_eq!(world.count(TcpCounter::PathMtuLowered), 1);
    for _ in 0..2_000 {
        world.client_turn();
        let at = world.now;
        for (server, wire) in world.servers.iter_mut().zip(&mut world.wires) {
            server.turn(at);
            while let Some(frame) = wire.extract() {
                assert!(frame.len() <= 1_014, "{} bytes", frame.len());
                world.far.inject(&frame);
            }
        }
    }
    world.ended_well(1);
}

impl World {
    /// Hands a connection that is under way to another shard; whether there is one that goes.
    fn hand_over(&mut self, rng: &mut Rng) -> bool {
        let from = rng.below(self.servers.len() as u64) as usize;
        let to = (from + 1 + rng.below(self.servers.len() as u64 - 1) as usize) % self.servers.len();
        let (low, high) = self.servers.split_at_mut(from.max(to));
        let (a, b) = if from < to { (&mut low[from], &mut high[0]) } else { (&mut high[0], &mut low[to]) };
        let under_way = |conn: &crate::host::Conn| conn.ended.is_none() && !conn.closing;
        let Some(at) = a.conns.iter().position(under_way) else { return false };
        a.hand_over(at, b, to as u16)
    }
}

/// Connections go to other shards in the middle of their transfers, over links that lose, while their frames come by
/// one queue and then another.
#[test]
fn connections_move_with_what_is_under_way() {
    let (mut moved, mut in_flight) = (0, 0);
    for seed in 0..8 {
        let faults = Faults {
            loss: if seed % 3 == 0 { 0 } else { 20 },
            reordering: 20,
            reorder_ns: 3_000_000,
            delay_ns: 5_000_000,
            ..Faults::default()
        };
        let settings = Settings { connections_max: 64, ..Settings::default() };
        let mut world = World::bad(3, &settings, seed % 2 == 0, faults, seed);
        let mut rng = Rng::with_seed(seed);
        let ports = 4_000..4_006;
        for port in ports.clone() {
            world.connect(port, seed % 2 != 0);
        }
        for _ in 0..200 {
            world.turn();
            if rng.chance(20) {
                world.queue = rng.below(3) as usize;
            }
            if rng.chance(100) {
                let busy = world.servers.iter().any(|server| {
                    server
                        .conns
                        .iter()
                        .any(|conn| conn.ended.is_none() && server.out.queued(0) > 0 && !conn.moved)
                });
                let went = world.hand_over(&mut rng);
                moved += usize::from(went);
                in_flight += usize::from(went && busy);
            }
        }
        let queue = world.queue;
        world.until("all ended", |world| {
            world.client.all_ended() && world.servers.iter().all(Host::all_ended)
        });
        let all: Vec<_> =
            world.servers.iter().flat_map(|server| &server.conns).filter(|conn| !conn.moved).collect();
        assert_eq!(all.len(), ports.len(), "seed {seed}, queue {queue}");
        assert!(all.iter().all(|conn| conn.received == BYTES), "seed {seed}");
        assert!(world.client.conns.iter().all(|conn| conn.received == BYTES), "seed {seed}");
        assert_eq!(world.count(TcpCounter::ResetsOut), 0, "seed {seed}");
        world.nothing_left();
    }
    assert!(moved > 16 && in_flight > 8, "{moved} moved, {in_flight} with something queued");
}

/// One that was found by another queue goes to a third shard, and to that whose queue it is.
#[test]
fn one_whose_frames_come_by_another_queue_moves_too() {
    for to in [1, 2] {
        let mut world = begun(3, 4_000);
        world.queue = 1;
        world.until("it is found", |world| world.count(TcpCounter::Found) == 1);
        let (first, rest) = world.servers.split_at_mut(1);
        assert!(first[0].hand_over(0, &mut rest[to - 1], to as u16));
        // Nobody has an entry but the queue that the frames come by, if its shard is not the owner.
        for _ in 0..5 {
            world.turn();
        }
        let moved: Vec<usize> = world.servers.iter().map(|server| server.tcp.usage().moved).collect();
        assert_eq!(moved, if to == 1 { [0, 0, 0] } else { [0, 1, 0] });
        let relayed = world.count(TcpCounter::RelayedOut);
        world.until("all ended", |world| world.client.all_ended());
        let more = world.count(TcpCounter::RelayedOut) - relayed;
        assert!(if to == 1 { more == 0 } else { more > 0 }, "{more} frames were handed over");
        assert_eq!(world.client.conns[0].received, BYTES);
        assert_eq!(world.servers[to].conns[0].received, BYTES);
        world.nothing_left();
    }
}
