//! What a broker uses over the seconds measured: processor time, that of one of its threads, bytes it writes to disk.

use crate::failure::Failure;
use crate::options::Options;
use crate::process::{CpuTime, Process};
use crate::report::{Report, Used};

/// What it had used at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct At {
    cpu: CpuTime,
    thread_ns: u64,
    written_bytes: Option<u64>,
}

/// Looks at a broker twice.
pub(crate) struct Meter {
    broker: Option<Process>,
    thread: Option<String>,
    before: At,
    used: At,
}

impl Meter {
    /// The first look.
    pub(crate) fn start(options: &Options, broker: Option<Process>) -> Result<Self, Failure> {
        let mut meter =
            Self { broker, thread: options.thread.clone(), before: At::default(), used: At::default() };
        meter.before = meter.look()?;
        Ok(meter)
    }

    fn look(&self) -> Result<At, Failure> {
        let Some(broker) = self.broker else { return Ok(At::default()) };
        let thread_ns = self.thread.as_ref().map_or(Ok(0), |name| broker.thread_cpu_ns(name))?;
        Ok(At { cpu: broker.cpu_time()?, thread_ns, written_bytes: broker.written_bytes() })
    }

    /// The second look.
    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        let now = self.look()?;
        self.used = At {
            cpu: now.cpu.since(self.before.cpu),
            thread_ns: now.thread_ns.saturating_sub(self.before.thread_ns),
            written_bytes: now
                .written_bytes
                .zip(self.before.written_bytes)
                .map(|(now, before)| now.saturating_sub(before)),
        };
        Ok(())
    }

    /// Tells what was used between the looks, for each of `report.count`.
    pub(crate) fn tell(&self, report: &mut Report) -> Result<(), Failure> {
        let Some(broker) = self.broker else { return Ok(()) };
        let each = |amount: f64| (report.count > 0).then(|| amount / report.count as f64);
        report.broker = Some(Used {
            written_bytes_per_count: self.used.written_bytes.and_then(|bytes| each(bytes as f64)),
            ..Used::of(self.used.cpu, report.seconds, report.count, broker.anonymous_bytes()?)
        });
        report.thread_us_per_count =
            self.thread.as_ref().and_then(|_| each(self.used.thread_ns as f64 / 1_000.0));
        Ok(())
    }
}
