//! The whole broker over our TCP and over the kernel's on its loopback, clients included, in one process and run, round by
//! round in turn: `cargo run --profile bench -p pelton-benches --bin tcp-loopback [CONNECTIONS..]`. Prints nanoseconds of
//! processor time a message, the median and the least of the rounds, as rows of a table. Two descriptors a connection are
//! needed.
#![forbid(unsafe_code)]

use pelton_benches::loopback::clients::Case;
use pelton_benches::loopback::ends::Ends;
use pelton_benches::loopback::{Counted, Whole};
use rustix::time::{ClockId, clock_gettime};

/// Rounds that are measured, of each; one more before them is not.
const ROUNDS: usize = 5;
/// Messages of a round.
const MESSAGES: u64 = 64_000;
/// Operations under way.
const WINDOWS: [u32; 2] = [1, 64];

/// Processor time of the process, the kernel's on its behalf included.
fn spent_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds a message of one round.
fn round<E: Ends>(whole: &mut Whole<E>, case: Case, window: u32) -> f64 {
    let begin = spent_ns();
    whole.run(case, MESSAGES, window);
    (spent_ns() - begin) as f64 / MESSAGES as f64
}

/// The median and the least.
fn of(mut rounds: Vec<f64>) -> (f64, f64) {
    rounds.sort_by(f64::total_cmp);
    (rounds[rounds.len() / 2], rounds[0])
}

/// What the broker has counted since must be what clients were told to send and have got.
fn check(since: Counted, now: Counted, fan_out: u64, case: Case) {
    let messages = MESSAGES * (ROUNDS as u64 + 1);
    let (packets, publishes, deliveries) = match case {
        Case::Ping => (messages, 0, 0),
        Case::Qos0 => (messages, messages, messages),
        Case::Qos1 => (2 * messages, messages, messages),
        Case::FanOut => (messages / fan_out, messages / fan_out, messages),
    };
    let counted = (
        now.packets_in - since.packets_in,
        now.publishes_in - since.publishes_in,
        now.publishes_out - since.publishes_out,
        now.dropped - since.dropped,
    );
    assert_eq!(counted, (packets, publishes, deliveries, 0), "{case:?}");
}

fn main() {
    let mut sizes: Vec<u32> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![1, 100, 5_000];
    }
    println!(
        "| what | connections | under way | ours, median (least) | kernel, median (least) | kernel / ours, median (least) |"
    );
    println!("|---|--:|--:|--:|--:|--:|");
    for size in sizes {
        let mut ours = Whole::over_ours(size);
        let mut kernel = Whole::over_kernel(size);
        let cases = Case::ALL.into_iter().filter(|&case| case != Case::FanOut || size > 1);
        for (case, window) in cases.flat_map(|case| WINDOWS.map(|window| (case, window))) {
            let since = (ours.counted(), kernel.counted());
            round(&mut ours, case, window);
            round(&mut kernel, case, window);
            let (mut of_ours, mut of_kernel) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                of_ours.push(round(&mut ours, case, window));
                of_kernel.push(round(&mut kernel, case, window));
            }
            check(since.0, ours.counted(), ours.fan_out(case), case);
            check(since.1, kernel.counted(), kernel.fan_out(case), case);
            let ratios: Vec<f64> =
                of_kernel.iter().zip(&of_ours).map(|(kernel, ours)| kernel / ours).collect();
            let ((ours, ours_least), (kernel, kernel_least), (ratio, ratio_least)) =
                (of(of_ours), of(of_kernel), of(ratios));
            println!(
                "| {} | {size} | {window} | {ours:.0} ({ours_least:.0}) | {kernel:.0} ({kernel_least:.0}) | {ratio:.1} ({ratio_least:.1}) |",
                case.name()
            );
        }
        eprintln!(
            "{size} connections: {} segments of ours sent again; the kernel's congestion control is {}",
            ours.sent_again(),
            kernel.congestion()
        );
    }
}
