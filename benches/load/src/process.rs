//! What a process has used: CPU time and memory, from `/proc`.

use std::fs;
use std::io;

use crate::failure::Failure;

/// Length of a clock tick in `/proc/PID/stat`: fixed at 100 a second on Linux, whatever the kernel's own.
const TICK_NS: u64 = 10_000_000;

/// CPU time of all threads of a process since it started, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// All of it.
    pub total_ns: u64,
    /// In user space, to the tick of 10 ms.
    pub user_ns: u64,
    /// In the kernel, to the tick of 10 ms.
    pub system_ns: u64,
}

impl CpuTime {
    /// What was used since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            user_ns: self.user_ns.saturating_sub(earlier.user_ns),
            system_ns: self.system_ns.saturating_sub(earlier.system_ns),
        }
    }

    /// The part in user space, 0 to 1, as far as ticks can tell.
    pub fn user_share(self) -> Option<f64> {
        let ticks = self.user_ns + self.system_ns;
        (ticks > 0).then(|| self.user_ns as f64 / ticks as f64)
    }
}

/// A process that is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// The process with this id.
    ///
    /// # Errors
    /// If there is none.
    pub fn of(pid: u32) -> Result<Self, Failure> {
        let process = Self { pid };
        process.cpu_time()?;
        Ok(process)
    }

    /// This process.
    pub fn this() -> Self {
        Self { pid: std::process::id() }
    }

    /// The CPU time it has used.
    ///
    /// # Errors
    /// If it has gone.
    pub fn cpu_time(self) -> Result<CpuTime, Failure> {
        self.read_cpu_time().map_err(|error| Failure::Process(self.pid, error))
    }

    /// Bytes of anonymous memory: what the process has allocated and touched.
    ///
    /// # Errors
    /// If it has gone, or belongs to somebody else.
    pub fn anonymous_bytes(self) -> Result<u64, Failure> {
        // The sum over the page tables is exact; the counters behind `status` may lag by pages for each core.
        let exact = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid));
        let (text, key) = match exact {
            Ok(text) => (text, "Anonymous:"),
            Err(_) => (
                fs::read_to_string(format!("/proc/{}/status", self.pid))
                    .map_err(|error| Failure::Process(self.pid, error))?,
                "RssAnon:",
            ),
        };
        kilobytes(&text, key)
            .map(|kilobytes| kilobytes * 1024)
            .ok_or_else(|| Failure::Process(self.pid, io::Error::other(format!("no {key}"))))
    }

    /// Bytes it has caused to be written to disk, those that are still to be written included. `None` where the system
    /// does not say.
    pub fn written_bytes(self) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/io", self.pid)).ok()?;
        text.lines().find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse().ok())
    }

    /// CPU time of the threads of this name, nanoseconds.
    ///
    /// # Errors
    /// If the process has gone, or has no such thread.
    pub fn thread_cpu_ns(self, name: &str) -> Result<u64, Failure> {
        let failed = |error| Failure::Process(self.pid, error);
        let mut found = None;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid)).map_err(failed)? {
            let path = task.map_err(failed)?.path();
            let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
            if read("comm").trim_end() == name {
                let ns =
                    read("schedstat").split_ascii_whitespace().next().and_then(|ns| ns.parse::<u64>().ok());
                found = Some(found.unwrap_or(0) + ns.unwrap_or(0));
            }
        }
        found.ok_or_else(|| failed(io::Error::other(format!("no thread {name}"))))
    }

    fn read_cpu_time(self) -> io::Result<CpuTime> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let (user, system) = ticks(&stat).ok_or_else(|| io::Error::other("stat has another form"))?;
        let (user_ns, system_ns) = (user * TICK_NS, system * TICK_NS);
        // In nanoseconds where the kernel keeps them, thread by thread.
        let mut total_ns = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            total_ns += text.split_ascii_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
        }
        if total_ns == 0 {
            total_ns = user_ns + system_ns;
        }
        Ok(CpuTime { total_ns, user_ns, system_ns })
    }
}

/// Runs the calling thread, and what it starts, on these cores from now on.
///
/// # Errors
/// If there is no such core, or it may not be used.
pub fn pin_to(cores: &[usize]) -> Result<(), Failure> {
    let mut set = rustix::thread::CpuSet::new();
    for &core in cores {
        if core >= rustix::thread::CpuSet::MAX_CPU {
            return Err(Failure::Core(core, io::Error::other("no such core")));
        }
        set.set(core);
    }
    rustix::thread::sched_setaffinity(None, &set)
        .map_err(|error| Failure::Core(cores.first().copied().unwrap_or(0), error.into()))
}

/// User and system ticks of `/proc/PID/stat`: the 14th and 15th field, counted behind the name in brackets.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line[key.len()..].split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a ) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 123 45 0 0 20 0 9 0 100 200 300";
        assert_eq!(ticks(stat), Some((123, 45)));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_in_kilobytes() {
        let text = "Rss:      10 kB\nAnonymous:            2048 kB\nLazyFree: 0 kB\n";
        assert_eq!(kilobytes(text, "Anonymous:"), Some(2048));
        assert_eq!(kilobytes(text, "RssAnon:"), None);
    }

    #[test]
    fn work_shows_as_cpu_time_and_memory() {
        let this = Process::this();
        let memory = this.anonymous_bytes().unwrap();
        let block = vec![1u8; 32 << 20];
        // From here on: to get the memory alone may take as long as what follows.
        let cpu = this.cpu_time().unwrap();
        let mut sum = 0u64;
        while this.cpu_time().unwrap().since(cpu).total_ns < 50_000_000 {
            sum += block.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        }
        assert!(sum > 0);
        assert!(this.anonymous_bytes().unwrap() >= memory + (30 << 20));
    }

    #[test]
    fn what_is_written_is_counted() {
        let Some(before) = Process::this().written_bytes() else { return };
        // Next to the binary of this test: there is a disk; what is for temporary files may be memory.
        let path = std::env::current_exe().unwrap().with_extension("written");
        fs::write(&path, vec![7; 1 << 20]).unwrap();
        fs::File::open(&path).unwrap().sync_all().unwrap();
        fs::remove_file(&path).unwrap();
        assert!(Process::this().written_bytes().unwrap() >= before + (1 << 20));
    }

    #[test]
    fn a_process_that_is_not_there_is_said() {
        let failure = Process::of(u32::MAX).unwrap_err();
        assert!(failure.to_string().contains("/proc/4294967295"), "{failure}");
    }
}
