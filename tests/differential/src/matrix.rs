//! The cases, their runs, and what is made of them.

use std::fmt::Write;
use std::process::ExitCode;

use pelton_tests::namespace::is_possible;

use crate::Run;
use crate::place::{Place, SERVERS, Shape};
use crate::stream::Deed;

const PLAIN: Shape =
    Shape { name: "as it is", sack: true, timestamps: true, window_scaling: true, mtu: 1500, window: 0 };

/// The clients. An MTU of 576 makes an MSS of 536, both ways.
const SHAPES: [Shape; 6] = [
    PLAIN,
    Shape { name: "SACK off", sack: false, ..PLAIN },
    Shape { name: "timestamps off", timestamps: false, ..PLAIN },
    Shape { name: "window scaling off", window_scaling: false, ..PLAIN },
    Shape { name: "MSS 536", mtu: 576, ..PLAIN },
    Shape {
        name: "MSS 536, 2 KiB window, no options",
        sack: false,
        timestamps: false,
        window_scaling: false,
        mtu: 576,
        window: 2_048,
    },
];

/// Losses in each direction, of a thousand packets.
const LOSSES: [u32; 3] = [0, 10, 50];

/// How many bytes a case moves: what takes some tenths of a second.
fn bytes(deed: Deed, shape: &Shape, permille: u32) -> u64 {
    let bulk = match (shape.window != 0, permille) {
        (false, 0) => 32 << 20,
        (false, 10) => 4 << 20,
        (false, _) => 512 << 10,
        (true, 0) => 2 << 20,
        (true, 10) => 64 << 10,
        (true, _) => 16 << 10,
    };
    match deed {
        Deed::Get | Deed::Put => bulk,
        Deed::Echo => 100 * if permille == 0 { 2_000 } else { 25 },
    }
}

struct Outcome {
    name: String,
    bytes: u64,
    /// Microseconds with each server, sorted.
    took: [Vec<u128>; SERVERS.len()],
    /// Runs that failed, and how the first did.
    failed: usize,
    complaint: String,
}

fn median(sorted: &[u128]) -> u128 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(u128::MAX)
}

impl Outcome {
    /// Our time in those of a kernel's server: 1 is that behind a TAP device, 2 that on a cable.
    fn ratio(&self, to: usize) -> f64 {
        median(&self.took[0]) as f64 / median(&self.took[to]) as f64
    }
}

pub(crate) fn run(options: &Run) -> ExitCode {
    if !is_possible("our TCP and the kernel's beside each other", &["ethtool", "nft", "chrt"]) {
        return ExitCode::SUCCESS;
    }
    let place = Place::new();
    let mut outcomes = Vec::new();
    for shape in &SHAPES {
        for permille in LOSSES {
            for deed in [Deed::Get, Deed::Put, Deed::Echo] {
                let what = match deed {
                    Deed::Get => "to the client",
                    Deed::Put => "from the client",
                    Deed::Echo => "to and fro",
                };
                let name = format!("{}, {} %, {what}", shape.name, f64::from(permille) / 10.0);
                // Small messages do not care about the shape.
                if !name.contains(&options.only) || (deed == Deed::Echo && shape.name != PLAIN.name) {
                    continue;
                }
                let bytes = (bytes(deed, shape, permille) / options.divide).max(4_000);
                let outcome = case(&place, shape, permille, deed, bytes, options.runs, name);
                let ms = |at: usize| median(&outcome.took[at]) as f64 / 1e3;
                println!(
                    "{:60} {:>9.1} {:>9.1} {:>9.1} ms {:>6.2} {:>6.2} {}",
                    outcome.name,
                    ms(0),
                    ms(1),
                    ms(2),
                    outcome.ratio(1),
                    outcome.ratio(2),
                    outcome.complaint
                );
                outcomes.push(outcome);
            }
        }
    }
    let failed = outcomes.iter().filter(|outcome| outcome.failed > 0).count();
    let slow = outcomes.iter().filter(|outcome| outcome.ratio(1) > options.limit).count();
    println!(
        "{} cases, {failed} with runs that failed, {slow} above {} times",
        outcomes.len(),
        options.limit
    );
    if let Some(path) = &options.write
        && let Err(error) = std::fs::write(path, page(&outcomes, options))
    {
        eprintln!("cannot write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    if failed + slow == 0 && !outcomes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn case(
    place: &Place,
    shape: &Shape,
    permille: u32,
    deed: Deed,
    bytes: u64,
    runs: usize,
    name: String,
) -> Outcome {
    place.lose(0);
    place.shape(shape);
    let mut outcome = Outcome { name, bytes, took: Default::default(), failed: 0, complaint: String::new() };
    // The first connection asks for addresses and warms caches: not counted.
    for server in SERVERS {
        let _ = place.run(server, Deed::Echo, 100, shape);
    }
    place.lose(permille);
    for number in 0..runs {
        for turn in 0..SERVERS.len() {
            // None is always the first.
            let at = (number + turn) % SERVERS.len();
            let server = SERVERS[at];
            match place.run(server, deed, bytes, shape) {
                Ok(took) => outcome.took[at].push(took.as_micros()),
                Err(error) => {
                    outcome.failed += 1;
                    if outcome.complaint.is_empty() {
                        outcome.complaint = format!("{server}: {error}");
                    }
                }
            }
        }
    }
    outcome.took.iter_mut().for_each(|took| took.sort_unstable());
    outcome
}

/// The page of results.
fn page(outcomes: &[Outcome], options: &Run) -> String {
    let system = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut page = format!(
        "# Our TCP beside the kernel's\n\nMade by `cargo run --release -p pelton-differential -- run --write \
         benches/results/tcp-differential.md` as root, on Linux {}, in network namespaces.\n\nA kernel client moves bytes \
         to and from three servers behind the same bridge, which loses packets at random in both directions: one on our \
         TCP, at a TAP device; one on the kernel's TCP, at a TAP device too (a wire of two of them, carried over by a \
         program); one on the kernel's TCP, on a veth pair. Frames are single segments (no TSO, GSO or GRO), `rto_min` is \
         300 ms on every route, congestion control of the kernels is CUBIC, and no run knows of the one before. Every byte \
         is compared. The time is that of the client, the opening of the connection included. {} runs with each server, in \
         turn; the median, and the fastest and slowest in brackets, in milliseconds.\n\nA ratio above 1 is a loss for our \
         TCP; the bound is {} times the kernel at the same kind of device. What the device costs shows against the veth \
         pair, on which a frame is neither copied nor checked.\n\n| client, loss, direction | bytes | ours | kernel, TAP | \
         kernel, veth | ours / TAP | ours / veth |\n|---|---|---|---|---|---|---|\n",
        system.trim(),
        options.runs,
        options.limit
    );
    let ms = |us: u128| us as f64 / 1e3;
    for outcome in outcomes {
        let span = |sorted: &[u128]| match (sorted.first(), sorted.last()) {
            (Some(&first), Some(&last)) => {
                format!("{:.1} ({:.1} to {:.1})", ms(median(sorted)), ms(first), ms(last))
            }
            _ => "none".into(),
        };
        let [ours, tap, cable] = outcome.took.each_ref().map(|took| span(took));
        let ratio = |to| {
            let ratio = outcome.ratio(to);
            let mark = if ratio > options.limit { "**" } else { "" };
            format!("{mark}{ratio:.2}{mark}")
        };
        let (name, bytes) = (&outcome.name, outcome.bytes);
        let _ =
            writeln!(page, "| {name} | {bytes} | {ours} | {tap} | {cable} | {} | {} |", ratio(1), ratio(2));
    }
    let failed: usize = outcomes.iter().map(|outcome| outcome.failed).sum();
    let _ = writeln!(page, "\nRuns that failed: {failed}.");
    page
}
