//! Two stacks of ours with a bad link between: whatever the link does, the streams are equal, everything ends, and
//! nothing is left over.

use pelton_base::{Mono, Rng, StreamEnd};
use pelton_packet::fault::{Faults, Faulty};
use pelton_packet::memory::{MemorySettings, pair};
use pelton_tcp::{Settings, Usage};

use crate::host::{Host, Plan, client, client_address, drive, server, server_address};

/// One world from a seed.
struct World {
    faults: Faults,
    server: Settings,
    client: Settings,
    connections: u16,
    v6: bool,
    memory: MemorySettings,
    bytes: u64,
}

fn any_settings(rng: &mut Rng) -> Settings {
    Settings {
        connections_max: 64,
        half_open_max: [64, 64, 0][rng.below(3) as usize],
        time_wait_max: [64, 8][rng.below(2) as usize],
        cold_max: [64, 64, 1, 0][rng.below(4) as usize],
        receive_window_bytes: [2_048, 8_192, 65_535, 300_000][rng.below(4) as usize],
        sack: rng.chance(700),
        timestamps: rng.chance(700),
        window_scaling: rng.chance(700),
        // The link may be so bad that the last bytes take their time.
        linger_ms: 900_000,
        user_timeout_ms: 900_000,
        ..Settings::default()
    }
}

fn world(seed: u64) -> (World, Rng) {
    let mut rng = Rng::with_seed(seed);
    let mut some = |most: u64, likely: u32| {
        if rng.chance(likely) { rng.below(most + 1) as u32 } else { 0 }
    };
    let faults = Faults {
        loss: some(200, 700),
        burst: some(20, 300),
        burst_end: 300,
        duplication: some(100, 300),
        reordering: some(300, 400),
        reorder_ns: 20_000_000,
        corruption: some(30, 300),
        delay_ns: u64::from(some(100_000_000, 800)),
        jitter_ns: u64::from(some(5_000_000, 500)),
        frame_bytes_max: [0, 0, 0, 1_274, 600][some(4, 500) as usize],
        black_hole: false,
    };
    let memory = MemorySettings {
        frames: [1024, 200, 96][rng.below(3) as usize],
        wire_frames_max: [512, 32][rng.below(2) as usize],
        ..MemorySettings::default()
    };
    let mut faults = faults;
    let v6 = rng.chance(300);
    if v6 && faults.frame_bytes_max != 0 {
        // No IPv6 path carries less than 1280.
        faults.frame_bytes_max = 1_294;
    }
    let (mut a, b) = (any_settings(&mut rng), any_settings(&mut rng));
    if faults.frame_bytes_max != 0 || faults.loss > 100 {
        // A cookie is good for two minutes; on such a link the first ACK that carries data may come later.
        a.half_open_max = 64;
    }
    let world = World {
        faults,
        server: a,
        client: Settings { half_open_max: 64, ..b },
        connections: 1 + rng.below(4) as u16,
        v6,
        memory,
        bytes: [3_000, 30_000, 120_000][rng.below(3) as usize],
    };
    (world, rng)
}

fn plan(seed: u64, at: u64, sends: u64, expects: u64, server: bool, write: usize) -> Plan {
    let (says, hears) = (seed << 8 | at << 1, seed << 8 | at << 1 | 1);
    if server {
        Plan { says: hears, hears: says, sends: expects, expects: sends, write, closes: false }
    } else {
        Plan { says, hears, sends, expects, write, closes: true }
    }
}

fn run(seed: u64) {
    let (world, mut rng) = world(seed);
    let (near, far) = pair(world.memory);
    let held = 64;
    let a = Faulty::new(near, world.faults, rng.u64(), held);
    let b = Faulty::new(far, world.faults, rng.u64(), held);
    let bytes = world.bytes;
    let write = [100, 1_000, 20_000][rng.below(3) as usize];
    let mut a = Host::new(client(a, world.client.clone(), rng.u64()), |_| {
        unreachable!("nobody connects to a client")
    });
    let mut b = Host::new(server(b, world.server.clone(), rng.u64()), move |port| {
        plan(seed, u64::from(port), bytes, bytes, true, write)
    });
    let mut now = Mono::from_ms(1_000);
    for at in 0..world.connections {
        let plan = plan(seed, u64::from(2_000 + at), bytes, bytes, false, write);
        a.connect(client_address(world.v6, 2_000 + at), server_address(world.v6), plan, now);
    }
    let limit = Mono::from_ms(3_600_000);
    drive(&mut a, &mut b, &mut now, limit, |a, b, _| a.all_ended() && b.all_ended());
    let story = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?}",
        a.tcp.counters(),
        a.tcp.drops(),
        b.tcp.counters(),
        b.tcp.drops(),
        b.conns,
        world.faults
    );
    for conn in &a.conns {
        assert_eq!(conn.received, conn.plan.expects, "seed {seed}: {conn:?} {story}");
        assert_eq!(conn.ended, Some(StreamEnd::Local), "seed {seed}");
    }
    assert_eq!(b.conns.len(), usize::from(world.connections), "seed {seed}: each accepted once");
    for conn in &b.conns {
        assert_eq!(conn.received, conn.plan.expects, "seed {seed}: {conn:?}");
    }
    // Everything heals; what is left times out.
    a.tcp.port().faults = Faults::default();
    b.tcp.port().faults = Faults::default();
    let limit = now.plus_ms(2_000_000);
    drive(&mut a, &mut b, &mut now, limit, |a, b, _| {
        a.tcp.usage() == Usage::default() && b.tcp.usage() == Usage::default()
    });
    for host in [&a, &b] {
        assert_eq!(
            host.tcp.port_ref().inner().pool().outstanding(),
            host.tcp.port_ref().held(),
            "seed {seed}: frames"
        );
        assert_eq!(host.out.total(), 0);
        assert!(host.out.logs.is_empty());
    }
}

fn seeds() -> std::ops::Range<u64> {
    // A longer run: PELTON_TCP_SEEDS=100000 cargo test --release -p pelton-tcp --test streams
    let seeds = std::env::var("PELTON_TCP_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let first = std::env::var("PELTON_TCP_FIRST").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    first..first + seeds
}

#[test]
fn whatever_the_link_does_the_streams_are_equal() {
    for seed in seeds() {
        let result = std::panic::catch_unwind(|| run(seed));
        if result.is_err() {
            panic!("seed {seed}: PELTON_TCP_FIRST={seed} PELTON_TCP_SEEDS=1");
        }
    }
}
