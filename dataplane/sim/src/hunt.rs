//! Many seeds, by one thread or several: what they were like together, which failed, and how to see those again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::world::Report;

/// Seeds between two lines about how far it is.
const LINE_EVERY: u64 = 1_000;

/// Which seeds, and how.
#[derive(Clone, Copy, Debug)]
pub struct Hunt {
    /// The first.
    pub from: u64,
    /// The one behind the last.
    pub to: u64,
    /// Threads.
    pub jobs: u64,
    /// It ends when so many have failed.
    pub failures_max: u64,
}

#[derive(Debug, Default)]
struct Sum {
    played: u64,
    failed: Vec<u64>,
    all: Report,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        let all = &mut self.all;
        all.shards += report.shards;
        all.clients += report.clients;
        all.steps += report.steps;
        all.messages += report.messages;
        all.deliveries += report.deliveries;
        all.connections += report.connections;
        all.ms += report.ms;
        all.crashes += report.crashes;
        all.undone += report.undone;
        all.faults += report.faults;
        all.jumps += report.jumps;
        all.tcp.merge(&report.tcp);
    }

    fn print(&self, hunt: Hunt, cpu_ms_before: Option<u64>) {
        let (all, played) = (&self.all, self.played);
        println!(
            "{played} seeds from {}: {} failed; {} events, {} messages, {} deliveries, {} simulated hours",
            hunt.from,
            self.failed.len(),
            all.steps,
            all.messages,
            all.deliveries,
            all.ms / 3_600_000
        );
        if all.crashes + all.faults + all.jumps != 0 {
            println!(
                "{} processes ended, {} transactions undone, {} faults of the disk, {} jumps of the clock",
                all.crashes, all.undone, all.faults, all.jumps
            );
        }
        let passed = (played - self.failed.len() as u64).max(1);
        let each = |n: u64| n as f64 / passed as f64;
        println!(
            "a seed: {:.1} shards, {:.1} clients, {:.0} messages, {:.0} deliveries, {:.0} connections, {:.0} events, \
             {:.0} simulated seconds{}",
            each(all.shards),
            each(all.clients),
            each(all.messages as u64),
            each(all.deliveries),
            each(all.connections),
            each(all.steps),
            each(all.ms) / 1e3,
            cpu_ms_before.zip(cpu_ms()).map_or_else(String::new, |(before, now)| {
                format!(", {:.1} ms of CPU", (now - before) as f64 / played.max(1) as f64)
            })
        );
        if !all.tcp.is_empty() {
            println!("of TCP, a seed: {}", all.tcp.average(passed));
        }
    }
}

/// Milliseconds of CPU that the process has used, where the system tells.
fn cpu_ms() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may have spaces; in hundredths of a second.
    let mut words = text.rsplit(')').next()?.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((user + system) * 10)
}

/// Plays the seeds; what is found goes to the standard output, and failures to the error output as well. Whether any
/// seed failed.
pub fn hunt(hunt: Hunt, play: &(dyn Fn(u64, bool) -> Result<Report, String> + Sync)) -> bool {
    let (next, enough) = (AtomicU64::new(hunt.from), AtomicBool::new(false));
    let sum = Mutex::new(Sum::default());
    let before = cpu_ms();
    let work = || {
        while !enough.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= hunt.to {
                break;
            }
            let played = play(seed, false);
            let Ok(mut sum) = sum.lock() else { break };
            sum.played += 1;
            match played {
                Ok(report) => sum.add(&report),
                Err(why) => {
                    eprintln!("{why}");
                    sum.failed.push(seed);
                    if sum.failed.len() as u64 >= hunt.failures_max {
                        enough.store(true, Ordering::Relaxed);
                    }
                }
            }
            if sum.played.is_multiple_of(LINE_EVERY) {
                sum.print(hunt, before);
                let jobs = hunt.jobs;
                println!("go on from here: --seeds {}..{}", seed.saturating_sub(jobs - 1), hunt.to);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..hunt.jobs {
            scope.spawn(work);
        }
        work();
    });
    let Ok(sum) = sum.into_inner() else { return true };
    sum.print(hunt, before);
    if !sum.failed.is_empty() {
        println!("failed: {:?}", sum.failed);
    }
    !sum.failed.is_empty()
}
