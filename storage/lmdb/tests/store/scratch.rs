//! Directories of tests, removed when they are done.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one, in memory where the system has a place for that.
    pub(crate) fn new() -> Self {
        let shared = Path::new("/dev/shm");
        if shared.is_dir() { Self::within(shared) } else { Self::on_disk() }
    }

    /// Makes one on the disk, where making durable takes its time.
    pub(crate) fn on_disk() -> Self {
        Self::within(&std::env::temp_dir())
    }

    fn within(parent: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("pelton-store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory for a test");
        Self(path)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
