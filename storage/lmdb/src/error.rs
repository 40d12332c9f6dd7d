//! What can go wrong: when a store is opened, and while it runs.

use std::path::PathBuf;

use crate::check::Problem;

/// Why a transaction did not take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The map is full: it may grow.
    MapFull,
    /// The disk is full, or a quota is used up.
    Space,
    /// The medium failed, with the system's error number.
    Medium(i32),
    /// LMDB gave up on the environment: it must be opened again.
    Fatal,
    /// The file is not what it should be.
    Damaged,
}

impl From<lmdb::Error> for Fault {
    fn from(error: lmdb::Error) -> Self {
        match error {
            lmdb::Error::MapFull => Self::MapFull,
            lmdb::Error::Other(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => Self::Space,
            lmdb::Error::Other(code) => Self::Medium(code),
            lmdb::Error::Panic => Self::Fatal,
            lmdb::Error::BadTxn => Self::Medium(libc::EIO),
            _ => Self::Damaged,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MapFull => f.write_str("the store has reached its largest size"),
            Self::Space => f.write_str("no space left on the disk"),
            Self::Medium(code) => std::io::Error::from_raw_os_error(*code).fmt(f),
            Self::Fatal => f.write_str("the store must be opened again"),
            Self::Damaged => f.write_str("the file is damaged"),
        }
    }
}

/// Why a store cannot be opened, or a command on it not be done. The text says what to do next.
#[derive(Debug)]
pub enum StoreError {
    /// Another process has it.
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// It was written by a later version. It was not touched.
    Newer {
        /// The store's file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The latest format this program knows.
        known: u32,
    },
    /// The file is there, and is not a store, or its outermost structures are damaged.
    NotAStore {
        /// The store's file.
        path: PathBuf,
        /// What was wrong.
        what: &'static str,
    },
    /// A page of the file is not what it must be. (A damaged record would be moved aside instead.)
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// The first problem found.
        problem: Problem,
    },
    /// There is no store where one was expected.
    Missing {
        /// The store's file.
        path: PathBuf,
    },
    /// A file or directory cannot be used as needed.
    Path {
        /// Which.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// The system refused a thread or memory.
    System(std::io::Error),
}

impl StoreError {
    pub(crate) fn path(path: impl Into<PathBuf>, doing: &'static str, error: std::io::Error) -> Self {
        Self::Path { path: path.into(), doing, error }
    }

    pub(crate) fn fault(path: impl Into<PathBuf>, doing: &'static str, fault: Fault) -> Self {
        let path = path.into();
        match fault {
            Fault::Space => {
                Self::Path { path, doing, error: std::io::Error::from_raw_os_error(libc::ENOSPC) }
            }
            Fault::Medium(code) => Self::Path { path, doing, error: std::io::Error::from_raw_os_error(code) },
            Fault::MapFull => Self::NotAStore { path, what: "it is larger than the configured largest size" },
            Fault::Fatal | Fault::Damaged => Self::NotAStore { path, what: "its structure is damaged" },
        }
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Locked { path } => write!(
                f,
                "the store is in use by another process ({} is locked): stop it, or use another directory",
                path.display()
            ),
            Self::Newer { path, found, known } => write!(
                f,
                "{} has format {found}, this program knows formats up to {known}: use the version that wrote \
                 it; it was left as it is",
                path.display()
            ),
            Self::NotAStore { path, what } => write!(
                f,
                "{} cannot be used as a store: {what}; restore a backup, or move it away to begin anew",
                path.display()
            ),
            Self::Damaged { path, problem } => write!(
                f,
                "{} is damaged ({problem}): restore a backup, or move it away to begin anew; \
                 `pelton store check` lists all that is wrong",
                path.display()
            ),
            Self::Missing { path } => write!(f, "there is no store at {}", path.display()),
            Self::Path { path, doing, error } => write!(f, "cannot {doing} {}: {error}", path.display()),
            Self::System(error) => write!(f, "cannot start the store: {error}"),
        }
    }
}

impl std::error::Error for StoreError {}
