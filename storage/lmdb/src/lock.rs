//! One process at a time writes a store.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// Name of the lock file in a store's directory. It is empty and stays; the lock on it is what counts, and ends
/// with its process.
const NAME: &str = "pelton.lock";

/// The right to write a store, until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the right, or says that another process has it.
    pub(crate) fn take(directory: &Path) -> Result<Self, StoreError> {
        let path: PathBuf = directory.join(NAME);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| StoreError::path(&path, "write", error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path }),
            Err(TryLockError::Error(error)) => Err(StoreError::path(path, "lock", error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would not be enough while a child process is being started, which has the file open until it
        // runs its own program.
        let _ = self.file.unlock();
    }
}
