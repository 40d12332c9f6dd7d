//! What a seed does to links and ports: which faults there are and how bad they get, in phases that come and go.

use pelton_base::{Mono, Rng};
use pelton_packet::fault::Faults;
use pelton_packet::memory::MemorySettings;
use pelton_tcp::Settings;

use super::duties::Promise;
use super::link::Link;

/// How long a ring stays full at most: meanwhile everybody who has something to send tries every millisecond.
const STUCK_MS_MAX: u64 = 200;

/// RFC 9293 3.8.6.3 MUST-58.
const ACK_MS_MAX: u64 = 500;

/// At least so many kinds of trouble in a run.
const KINDS_MIN: usize = 4;

/// What a seed decides about the TCP below the broker.
#[derive(Clone, Debug)]
pub struct TcpPlan {
    /// The worst of each fault; a phase has each of them or not.
    pub worst: Faults,
    /// Per mille of phases that are a black hole.
    pub black_hole: u32,
    /// The longest such, in milliseconds.
    pub black_hole_ms_max: u64,
    /// Per mille of phases in which a port has few frames.
    pub starved: u32,
    /// Per mille of phases in which a port's ring stays full.
    pub stuck: u32,
    /// The longest phase, in milliseconds.
    pub phase_ms_max: u64,
    /// Wires and pools.
    pub memory: MemorySettings,
    /// The shards' stacks.
    pub server: Settings,
    /// The clients' stack.
    pub client: Settings,
    /// Per mille of connections over IPv6.
    pub v6: u32,
    /// Per mille of connections of the other implementation.
    pub foreign: u32,
    /// Its buffers.
    pub foreign_bytes: usize,
    /// Local ports of clients, for each shard: the fewer, the sooner one is used again.
    pub ports: u16,
    /// Jumps of the clock: how many, and the longest in milliseconds.
    pub jumps: (u32, u64),
    /// Jumps of the wall clock, both ways.
    pub wall_jumps: bool,
}

impl TcpPlan {
    /// What a seed decides.
    pub fn of_seed(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed ^ 0x74_63_70);
        let mut some = |likely: u32, most: u64| {
            if rng.chance(likely) { rng.between(1, most) as u32 } else { 0 }
        };
        let mut worst = Faults {
            loss: some(850, 200),
            burst: some(400, 20),
            burst_end: 300,
            duplication: some(500, 100),
            reordering: some(600, 300),
            reorder_ns: u64::from(some(1_000, 50)) * 1_000_000,
            corruption: some(500, 30),
            delay_ns: u64::from(some(900, 80)) * 1_000_000,
            jitter_ns: u64::from(some(700, 10)) * 1_000_000,
            frame_bytes_max: 0,
            black_hole: false,
        };
        let v6 = [0, 0, 300][rng.below(3) as usize];
        if rng.chance(350) {
            // No IPv6 path carries less than 1280.
            worst.frame_bytes_max = if v6 != 0 { 1_294 } else { [600, 1_294][rng.below(2) as usize] };
        }
        let memory = MemorySettings {
            frames: [512, 512, 128, 64][rng.below(4) as usize],
            wire_frames_max: [256, 256, 24][rng.below(3) as usize],
            ..MemorySettings::default()
        };
        let mut server = settings(rng);
        server.half_open_max = [256, 256, 4][rng.below(3) as usize];
        if worst.duplication != 0 || worst.frame_bytes_max != 0 {
            // The acknowledgement of a cookie makes a connection whenever it comes, be it for the second time.
            server.half_open_max = 256;
        }
        (server.keep_alive_idle_ms, server.keep_alive_watched_ms) = (20_000, 20_000);
        // Nor is somebody forgotten who is being answered.
        server.syn_ack_retries = 12;
        let mut client = settings(rng);
        client.keep_alive_idle_ms = 30_000;
        let foreign = [0, 0, 0, 250][rng.below(4) as usize];
        let mut plan = Self {
            worst,
            black_hole: [0, 50, 150][rng.below(3) as usize],
            black_hole_ms_max: [300, 3_000, 8_000][rng.below(3) as usize],
            starved: [0, 100][rng.below(2) as usize],
            stuck: [0, 100][rng.below(2) as usize],
            phase_ms_max: [100, 1_000, 4_000][rng.below(3) as usize],
            memory,
            server,
            client,
            v6,
            foreign,
            foreign_bytes: [4_096, 65_536][rng.below(2) as usize],
            ports: [30, 150, 8_000][rng.below(3) as usize],
            jumps: ([0, 0, 1, 3][rng.below(4) as usize], [200, 5_000, 20_000][rng.below(3) as usize]),
            wall_jumps: rng.chance(200),
        };
        // Several kinds of trouble in every run.
        if plan.kinds() < KINDS_MIN {
            plan.worst.loss = plan.worst.loss.max(50);
            plan.worst.reordering = plan.worst.reordering.max(100);
            plan.worst.reorder_ns = plan.worst.reorder_ns.max(20_000_000);
            plan.worst.duplication = plan.worst.duplication.max(30);
        }
        plan
    }

    /// For how long frames may lie about on a wire at most, in milliseconds: when the port has none to take them.
    pub(crate) fn patience_ms(&self) -> u64 {
        let black_hole_ms = if self.black_hole == 0 { 0 } else { self.black_hole_ms_max };
        if self.starved == 0 { 0 } else { self.phase_ms_max.max(black_hole_ms) }
    }

    /// What the clients' stack promises, and what the shards' stacks do.
    pub(crate) fn promises(&self) -> [Promise; 2] {
        // The clients' takes its turns in time. Between shards segments are handed on, with turns that come late.
        let late = 4;
        let (client, server) = (&self.client, &self.server);
        [
            Promise {
                window: client.receive_window_bytes,
                ack_ms: u64::from(client.delayed_ack_ms) * late,
                direct: true,
                rto_max_ms: u64::from(client.rto_max_ms),
            },
            Promise {
                window: server.receive_window_bytes,
                ack_ms: ACK_MS_MAX,
                direct: false,
                rto_max_ms: u64::from(server.rto_max_ms),
            },
        ]
    }

    /// How many kinds of trouble there are.
    fn kinds(&self) -> usize {
        let worst = &self.worst;
        let rates = [worst.loss, worst.burst, worst.duplication, worst.reordering, worst.corruption];
        let phases = [self.black_hole, self.starved, self.stuck, self.jumps.0];
        let rates = rates.iter().chain(&phases).filter(|&&rate| rate != 0).count();
        rates + usize::from(worst.frame_bytes_max != 0)
    }
}

fn settings(rng: &mut Rng) -> Settings {
    Settings {
        connections_max: 1_024,
        time_wait_max: [1_024, 16][rng.below(2) as usize],
        cold_max: [256, 256, 2, 0][rng.below(4) as usize],
        receive_window_bytes: [2_048, 8_192, 65_535, 300_000][rng.below(4) as usize],
        sack: rng.chance(700),
        timestamps: rng.chance(700),
        window_scaling: rng.chance(700),
        rto_max_ms: [5_000, 60_000][rng.below(2) as usize],
        // Nobody is given up because a link is bad.
        user_timeout_ms: 900_000,
        keep_alive_interval_ms: 5_000,
        keep_alive_probes: 200,
        ..Settings::default()
    }
}

/// Phases there were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Phases {
    pub(crate) black_holes: u64,
    pub(crate) starved: u64,
    pub(crate) stuck: u64,
}

/// When which end's phase is over.
#[derive(Debug)]
pub(crate) struct Trouble {
    plan: TcpPlan,
    rng: Rng,
    until: Vec<Mono>,
}

impl Trouble {
    pub(crate) fn new(plan: TcpPlan, rng: Rng, links: usize) -> Self {
        Self { plan, rng, until: vec![Mono(0); links * 2] }
    }

    pub(crate) fn due(&self) -> Option<Mono> {
        self.until.iter().copied().min()
    }

    /// Begins the phases that are due.
    pub(crate) fn turn(&mut self, now: Mono, links: &[Link], phases: &mut Phases) {
        for (at, end) in links.iter().flat_map(Link::ends).enumerate() {
            if self.until[at] > now {
                continue;
            }
            let (plan, rng) = (&self.plan, &mut self.rng);
            let end = &mut *end.borrow_mut();
            end.feed();
            end.stuck = rng.chance(plan.stuck);
            phases.stuck += u64::from(end.stuck);
            if rng.chance(plan.starved) {
                phases.starved += 1;
                end.starve(rng.below(4) as usize);
            }
            let black_hole = rng.chance(plan.black_hole);
            phases.black_holes += u64::from(black_hole);
            end.faulty.faults =
                if black_hole { Faults { black_hole, ..Faults::default() } } else { phase(rng, &plan.worst) };
            let ms = match (end.stuck, black_hole) {
                (true, _) => STUCK_MS_MAX,
                (false, true) => plan.black_hole_ms_max,
                (false, false) => plan.phase_ms_max,
            };
            self.until[at] = now.plus_us(1_000 + rng.below(ms * 1_000));
        }
    }
}

fn phase(rng: &mut Rng, worst: &Faults) -> Faults {
    let mut some = |most: u64| if rng.chance(600) { rng.below(most + 1) } else { 0 };
    Faults {
        loss: some(u64::from(worst.loss)) as u32,
        burst: some(u64::from(worst.burst)) as u32,
        burst_end: worst.burst_end,
        duplication: some(u64::from(worst.duplication)) as u32,
        reordering: some(u64::from(worst.reordering)) as u32,
        reorder_ns: worst.reorder_ns,
        corruption: some(u64::from(worst.corruption)) as u32,
        delay_ns: some(worst.delay_ns),
        jitter_ns: some(worst.jitter_ns),
        frame_bytes_max: if rng.chance(500) { worst.frame_bytes_max } else { 0 },
        black_hole: false,
    }
}

/// A link on which nothing goes wrong.
pub(crate) fn kind() -> Faults {
    Faults { delay_ns: 200_000, jitter_ns: 100_000, ..Faults::default() }
}
