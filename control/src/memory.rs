//! Memory: what a connection costs is what it takes, not what a huge page rounds it up to.

/// Turns transparent huge pages off for this process, unless `[shards] huge_pages` wants them: the allocator asks for them
/// by itself. With them resident memory moves in steps of 2 MiB for each shard and size of allocation: 838 bytes an idle
/// connection instead of 573, and 8.3 MiB instead of 4.5 before the first.
pub(crate) fn small_pages() {
    // Refused: the process is somewhat larger, and otherwise the same.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
