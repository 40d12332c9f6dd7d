//! The pages that tables are on, which decides how many look-ups miss the table of addresses too.

/// The pages of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// 4 KiB, as the broker's are.
    Small,
    /// Transparent huge ones, which the allocator asks for (`[shards] huge_pages`).
    Huge,
}

impl Pages {
    /// What `PELTON_BENCH_PAGES` says: `small` (if it says nothing) or `huge`.
    ///
    /// # Panics
    /// If it says something else.
    pub fn chosen() -> Self {
        match std::env::var("PELTON_BENCH_PAGES").as_deref() {
            Err(_) | Ok("small") => Self::Small,
            Ok("huge") => Self::Huge,
            Ok(other) => panic!("small or huge, not {other}"),
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "small pages",
            Self::Huge => "huge pages",
        }
    }

    /// Has the process do without huge pages if there are to be none, as the broker does.
    pub fn settle(self) {
        if self == Self::Small
            && let Err(error) = rustix::thread::disable_transparent_huge_pages(true)
        {
            eprintln!("transparent huge pages are on: {error}");
        }
    }
}

/// KiB of this process that are on huge pages.
pub fn huge_kib() -> u64 {
    kib("/proc/self/smaps_rollup", "AnonHugePages:")
}

/// KiB of anonymous memory that this process has.
pub fn anonymous_kib() -> u64 {
    kib("/proc/self/status", "RssAnon:")
}

fn kib(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0)
}
