//! A store's file: made whole or not at all, looked at before anything is written to it.

use std::fs::File;
use std::path::{Path, PathBuf};

use pelton_base::HashKey;

use crate::check::Problems;
use crate::error::{Fault, StoreError};
use crate::layout::FORMAT;
use crate::map::{Access, Map};
use crate::meta;
use crate::options::Policy;
use crate::pages;

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

/// Looks at the pages of a file before LMDB follows them.
pub(crate) fn inspect(file: &Path) -> Result<(), StoreError> {
    let opened = File::open(file).map_err(|error| StoreError::path(file, "read", error))?;
    let mut problems = Problems::default();
    pages::walk(&opened, None, false, &mut problems);
    match problems.into_first() {
        None => Ok(()),
        Some(problem) => Err(StoreError::Damaged { path: file.to_owned(), problem }),
    }
}

/// What a store says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) key: HashKey,
    pub(crate) opened: u64,
    pub(crate) clean: bool,
}

/// Whether a file can be a store at all.
pub(crate) fn is_file(file: &Path) -> Result<(), StoreError> {
    let not = |what| Err(StoreError::NotAStore { path: file.to_owned(), what });
    match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(StoreError::Missing { path: file.to_owned() })
        }
        Err(error) => Err(StoreError::path(file, "read", error)),
        Ok(about) if !about.is_file() => not("it is not a file"),
        Ok(about) if about.len() < 8192 => not("it is too short"),
        Ok(_) => Ok(()),
    }
}

/// Looks at a file without a trace: whether it is a store this program can use.
pub(crate) fn identify(file: &Path, access: Access) -> Result<Identity, StoreError> {
    is_file(file)?;
    let not = |what| StoreError::NotAStore { path: file.to_owned(), what };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, Options};

    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_later_format_is_named_and_left_alone() {
        let scratch = Scratch(std::env::temp_dir().join(format!("pelton-format-{}", std::process::id())));
        std::fs::create_dir_all(&scratch.0).expect("a directory for a test");
        let file = scratch.0.join(FILE);
        create(&scratch.0, &file, HashKey::new(1, 2)).expect("a store");
        let map = Map::open(&file, Access::Write(Policy::Commit), 1 << 20, 1 << 20).expect("opens");
        let live = map.live();
        let mut txn = live.write().expect("a transaction");
        meta::put(&mut txn, meta::FORMAT, &(FORMAT + 1).to_le_bytes()).expect("put");
        txn.commit().expect("commit");
        drop(live);
        drop(map);
        let before = std::fs::read(&file).expect("read");
        let options = || Options::new(HashKey::new(3, 4), Vec::new());
        let refused = Engine::open(&scratch.0, options()).expect_err("refused").to_string();
        assert!(refused.contains("format 2") && refused.contains("up to 1"), "{refused}");
        assert!(refused.contains(&file.display().to_string()), "{refused}");
        for refused in [
            crate::check(&scratch.0).map(drop),
            crate::stats(&scratch.0).map(drop),
            crate::backup(&scratch.0, &scratch.0.join("copy")),
            crate::compact(&scratch.0).map(drop),
        ] {
            assert!(matches!(refused, Err(StoreError::Newer { found: 2, known: 1, .. })), "{refused:?}");
        }
        assert!(std::fs::read(&file).expect("read") == before, "not a byte of it was changed");
        assert!(!scratch.0.join("copy").exists());
    }
}
