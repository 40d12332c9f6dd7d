//! Connections with one subscription each that do nothing: what each costs the broker in memory, and what all cost it in
//! CPU time.
//!
//! Opening leaves memory behind that an allocator gives back when it is next at work, which in an idle process may be
//! never: before each look at the memory every connection is pinged.

use std::time::Duration;

use crate::connects::{ping_round, rest};
use crate::failure::Failure;
use crate::messages::number_of_run;
use crate::opening::{Opener, Wanted};
use crate::options::{Idle, Options};
use crate::process::Process;
use crate::report::{IdleMemory, Report, Used};

pub(crate) fn run(options: &Options, idle: &Idle) -> Result<Report, Failure> {
    let Some(pid) = options.broker_pid else {
        return Err(Failure::Option("idle measures the broker's process: name it with --broker-pid".into()));
    };
    let broker = Process::of(pid)?;
    let bytes_before = broker.anonymous_bytes()?;
    let mut opener = Opener::new(options)?;
    let number_of_run = number_of_run();
    let wanted = |number: usize| Wanted {
        client_id: format!("load-{number_of_run:08x}-{number}"),
        filter: Some(format!("{}/{number}", options.topic)),
    };
    let mut closed_by_broker = 0;
    let mut look = |opener: &mut Opener<'_>, count: usize| {
        opener.open(count, wanted)?;
        let settle = Duration::from_secs_f64(idle.settle.clamp(0.001, 3_600.0));
        closed_by_broker += rest(opener, settle, Some(settle / 2))?;
        broker.anonymous_bytes()
    };
    let (from, to) = (idle.from as usize, idle.count as usize);
    let bytes_from = if from == 0 { bytes_before } else { look(&mut opener, from)? };
    let bytes_to = look(&mut opener, to - from)?;

    let (before, own) = (broker.cpu_time()?, Process::this().cpu_time()?);
    let from_ns = opener.clock.now_ns();
    closed_by_broker += rest(&mut opener, options.duration(), ping_round(options))?;
    let (used, own) = (broker.cpu_time()?.since(before), Process::this().cpu_time()?.since(own));
    let seconds = (opener.clock.now_ns() - from_ns) as f64 / 1e9;
    Ok(Report {
        scenario: "idle".into(),
        mqtt_version: options.version.level(),
        seconds,
        count: to as u64,
        closed_by_broker,
        latency: opener.latencies.summary(),
        broker: Some(Used::of(used, seconds, 0, broker.anonymous_bytes()?)),
        generator_cores: own.total_ns as f64 / 1e9 / seconds,
        idle: Some(IdleMemory {
            connections_from: from,
            connections_to: to,
            bytes_before,
            bytes_from,
            bytes_to,
            bytes_per_connection: (bytes_to as f64 - bytes_from as f64) / (to - from) as f64,
        }),
        ..Report::default()
    })
}
