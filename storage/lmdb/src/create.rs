//! A store's file: made whole or not at all, looked at before anything is written to it.

use std::fs::File;
use std::path::{Path, PathBuf};

use pelton_base::HashKey;

use crate::error::{Fault, StoreError};
use crate::layout::FORMAT;
use crate::map::{Access, Map};
use crate::meta;
use crate::options::Policy;

/// The file of a store, in its directory.
pub(crate) const FILE: &str = "pelton.mdb";
/// The file of a store that keeps nothing.
pub(crate) const FILE_OF_MEMORY: &str = "memory.mdb";
/// A file that is not whole yet.
pub(crate) const FILE_NEW: &str = "pelton.new";

/// The file LMDB locks readers with.
pub(crate) fn lock_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-lock");
    PathBuf::from(name)
}

/// Removes a file and its readers' lock.
pub(crate) fn remove(file: &Path) -> Result<(), StoreError> {
    for path in [file.to_owned(), lock_of(file)] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::path(path, "remove", error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes a directory's entries durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|error| StoreError::path(directory, "make durable", error))
}

/// Makes a store that is empty. It gets its name once all of it is durable, so that a crash leaves none or one.
pub(crate) fn create(directory: &Path, file: &Path, key: HashKey) -> Result<(), StoreError> {
    let new = directory.join(FILE_NEW);
    remove(&new)?;
    let failed = |fault: Fault| StoreError::fault(&new, "write", fault);
    let map =
        Map::open(&new, Access::Write(Policy::Commit), 1 << 20, 1 << 20).map_err(|e| failed(e.into()))?;
    let live = map.live();
    live.write()
        .and_then(|mut txn| {
            meta::put(&mut txn, meta::FORMAT, &FORMAT.to_le_bytes())?;
            meta::put_key(&mut txn, key)?;
            meta::put(&mut txn, meta::OPENED, &0u64.to_le_bytes())?;
            meta::put(&mut txn, meta::CLEAN, &[1])?;
            txn.commit()
        })
        .map_err(failed)?;
    drop(live);
    map.sync().map_err(failed)?;
    drop(map);
    std::fs::rename(&new, file).map_err(|error| StoreError::path(file, "make", error))?;
    remove(&new)?;
    sync_directory(directory)
}

/// What a store says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) key: HashKey,
    pub(crate) opened: u64,
    pub(crate) clean: bool,
}

/// Looks at a file without a trace: whether it is a store this program can use.
pub(crate) fn identify(file: &Path, access: Access) -> Result<Identity, StoreError> {
    let not = |what| StoreError::NotAStore { path: file.to_owned(), what };
    match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::Missing { path: file.to_owned() });
        }
        Err(error) => return Err(StoreError::path(file, "read", error)),
        Ok(about) if about.len() < 8192 => return Err(not("it is too short")),
        Ok(about) if !about.is_file() => return Err(not("it is not a file")),
        Ok(_) => {}
    }
    let map = Map::open(file, access, 0, u64::MAX).map_err(|error| match error {
        lmdb::Error::Invalid => not("it is not an LMDB file"),
        lmdb::Error::VersionMismatch => not("it is of another version of LMDB"),
        error => StoreError::fault(file, "open", error.into()),
    })?;
    let live = map.live();
    let read = || -> Result<_, Fault> {
        let txn = live.read()?;
        if !txn.has(crate::layout::Db::Meta) {
            return Ok(None);
        }
        let format = meta::get::<4>(&txn, meta::FORMAT)?.map(u32::from_le_bytes);
        let opened = meta::get(&txn, meta::OPENED)?.map_or(0, u64::from_le_bytes);
        let clean = meta::get::<1>(&txn, meta::CLEAN)? == Some([1]);
        Ok(Some((format, meta::key(&txn)?, opened, clean)))
    };
    match read().map_err(|fault| StoreError::fault(file, "read", fault))? {
        None => Err(not("it has no database \"meta\"")),
        Some((None, ..)) => Err(not("the record of its format is missing or damaged")),
        Some((Some(found), ..)) if found > FORMAT => {
            Err(StoreError::Newer { path: file.to_owned(), found, known: FORMAT })
        }
        Some((_, None, ..)) => Err(not("the record of its key is missing or damaged")),
        Some((Some(_), Some(key), opened, clean)) => Ok(Identity { key, opened, clean }),
    }
}
