//! Statistics, backups and compaction.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::create::{self, FILE, FILE_NEW};
use crate::error::{Fault, StoreError};
use crate::layout::{Db, FORMAT};
use crate::lock::Lock;
use crate::map::{Access, Map};

/// How large one database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseStats {
    /// Its name.
    pub name: &'static str,
    /// Records.
    pub records: u64,
    /// Bytes of its pages.
    pub bytes: u64,
}

/// How large a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The store's file.
    pub file: PathBuf,
    /// Its format.
    pub format: u32,
    /// How often it was opened.
    pub opened: u64,
    /// Whether it was closed in order; `false` also while it is open.
    pub closed: bool,
    /// Bytes up to the last page used.
    pub used_bytes: u64,
    /// Bytes of free pages among them.
    pub free_bytes: u64,
    /// Number of the last transaction.
    pub transactions: u64,
    /// Its databases.
    pub databases: Vec<DatabaseStats>,
}

fn open(directory: &Path) -> Result<(PathBuf, Map), StoreError> {
    let file = directory.join(FILE);
    create::identify(&file, Access::Read)?;
    let map = Map::open(&file, Access::Read, 0, u64::MAX)
        .map_err(|error| StoreError::fault(&file, "open", error.into()))?;
    Ok((file, map))
}

/// Tells how large the store in `directory` is. A broker may be using it meanwhile.
///
/// # Errors
/// If there is no store, it is of a later format, or cannot be read.
pub fn stats(directory: &Path) -> Result<Stats, StoreError> {
    let file = directory.join(FILE);
    let identity = create::identify(&file, Access::Read)?;
    let (file, map) = open(directory)?;
    let live = map.live();
    let read = || -> Result<_, Fault> {
        let (extent, free, txn) = (live.extent()?, live.free_pages()?, live.read()?);
        let mut databases = Vec::new();
        for db in Db::ALL {
            let size = txn.size(db)?;
            let bytes = size.pages * extent.page_bytes;
            databases.push(DatabaseStats { name: db.name(), records: size.records, bytes });
        }
        Ok((extent, free * extent.page_bytes, databases))
    };
    let (extent, free_bytes, databases) = read().map_err(|fault| StoreError::fault(&file, "read", fault))?;
    Ok(Stats {
        file,
        format: FORMAT,
        opened: identity.opened,
        closed: identity.clean,
        used_bytes: extent.used_bytes,
        free_bytes,
        transactions: extent.transaction,
        databases,
    })
}

fn copy(map: &Map, to: &Path) -> Result<(), StoreError> {
    let file = File::options()
        .write(true)
        .create_new(true)
        // As private as the store is.
        .mode(0o600)
        .open(to)
        .map_err(|error| StoreError::path(to, "write", error))?;
    let copied = map
        .copy_to(&file)
        .map_err(|fault| StoreError::fault(to, "write", fault))
        .and_then(|()| file.sync_all().map_err(|error| StoreError::path(to, "write", error)));
    if copied.is_err() {
        let _ = std::fs::remove_file(to);
    }
    copied
}

/// Copies what is committed now to the new file `to`, without free pages. A broker may be using the store
/// meanwhile; what it frees until the copy is done is not used again, so that its file grows by as much.
///
/// # Errors
/// If the store cannot be read, or `to` exists or cannot be written.
pub fn backup(directory: &Path, to: &Path) -> Result<(), StoreError> {
    let (_, map) = open(directory)?;
    copy(&map, to)?;
    let parent = match to.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create::sync_directory(parent)
}

/// Writes the store anew without its free pages, while no broker uses it. Returns its size before and after.
///
/// # Errors
/// If another process uses it, or there is no room for the copy beside it.
pub fn compact(directory: &Path) -> Result<(u64, u64), StoreError> {
    let file = directory.join(FILE);
    let size = || std::fs::metadata(&file).map(|about| about.len());
    let before = size().map_err(|_| StoreError::Missing { path: file.clone() })?;
    let _lock = Lock::take(directory)?;
    let new = directory.join(FILE_NEW);
    create::remove(&new)?;
    let (_, map) = open(directory)?;
    copy(&map, &new)?;
    drop(map);
    std::fs::rename(&new, &file).map_err(|error| StoreError::path(&file, "replace", error))?;
    create::sync_directory(directory)?;
    Ok((before, size().map_err(|error| StoreError::path(&file, "read", error))?))
}
