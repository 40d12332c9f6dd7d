//! What a frame costs in this crate, the kernel's share apart: one thread drives both ends of a veth pair in a
//! network namespace of its own. Needs root.
//!
//! ```text
//! cargo run --profile bench -p pelton-afxdp --example cost -- [frames] [bytes] [batch]
//! ```
//!
//! *ring* is clocked around the calls that touch rings and frames alone (receiving and giving back; taking,
//! filling, queueing). *user* is the thread's user time by the system's accounting, all included, the example's own
//! loop too; *system* is the kernel's.

#[path = "../tests/veth/pair.rs"]
mod pair;

use std::time::{Duration, Instant};

use pelton_afxdp::{CatchAll, Hook, Pages, Settings, Take, XdpPort};
use pelton_base::Mono;
use pelton_packet::{Frame, Port};

const NOW: Mono = Mono(0);

/// User and system time of this thread.
fn used() -> (Duration, Duration) {
    // SAFETY: zeros are a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `rusage`.
    let done = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    assert_eq!(done, 0);
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    (of(usage.ru_utime), of(usage.ru_stime))
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().expect("a number"));
    let frames = arguments.next().unwrap_or(3_000_000);
    let bytes = arguments.next().unwrap_or(64);
    let batch = arguments.next().unwrap_or(64);
    for (name, hook) in [("native", Hook::Native), ("generic", Hook::Generic)] {
        pair::in_namespace(|| run(name, hook, frames, bytes, batch));
    }
}

fn run(name: &str, hook: Hook, frames: usize, bytes: usize, batch: usize) {
    let pair = pair::Pair::new(1);
    let settings = |end| Settings { pages: Pages::HugeIfAny, ..Settings::new(end, vec![0]) };
    let mut a = XdpPort::open(&settings(pair.a())).expect("port a");
    let mut b = XdpPort::open(&settings(pair.b())).expect("port b");
    let _b = CatchAll::attach(pair.b(), hook, Take::Everything, b.queues()).expect("a program");
    let template = vec![0x5a; bytes];
    let (mut sending, mut receiving) = (Duration::ZERO, Duration::ZERO);
    let (mut sent, mut received) = (0, 0);
    let mut into = Vec::<Frame>::with_capacity(batch);
    let (user, system) = used();
    while sent < frames {
        let start = Instant::now();
        for _ in 0..batch {
            let Some(mut frame) = a.take() else { break };
            frame.fill(&template);
            match a.send(NOW, frame) {
                Ok(()) => sent += 1,
                Err(frame) => {
                    a.put(frame);
                    break;
                }
            }
        }
        sending += start.elapsed();
        a.flush(Mono(u64::MAX));
        let start = Instant::now();
        while b.receive(NOW, batch, &mut into) != 0 {
            received += into.len();
            for frame in into.drain(..) {
                b.put(frame);
            }
        }
        receiving += start.elapsed();
    }
    let (user, system) = {
        let (user_end, system_end) = used();
        (user_end - user, system_end - system)
    };
    let each = |time: Duration, of: usize| time.as_nanos() as f64 / of.max(1) as f64;
    println!(
        "{name}: {sent} frames of {bytes} B in batches of {batch}, {received} received, huge pages {}: \
         ring tx {:.1} ns, ring rx {:.1} ns; user {:.0} ns, system {:.0} ns a frame there",
        a.has_huge_pages(),
        each(sending, sent),
        each(receiving, received),
        each(user, sent),
        each(system, sent),
    );
}
