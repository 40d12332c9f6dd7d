//! The mapped file: opening it, growing it, opening it again after a fault.
//!
//! Changing the size of a map that a transaction looks at unmaps memory under it. So transactions are begun
//! only through [`Live`], which keeps the map as it is, and whatever changes the map waits until there is none.

use std::path::{Path, PathBuf};
use std::sync::{RwLock, RwLockReadGuard};

use lmdb::{Database, DatabaseFlags, Environment, EnvironmentFlags};

use crate::error::Fault;
use crate::layout::Db;
use crate::options::Policy;
use crate::txn::{Dbs, ReadTxn, WriteTxn};

/// Transactions that read at the same time, those of other processes (backup, check) included.
const READERS_MAX: u32 = 64;

/// How a map is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// By the one process that writes.
    Write(Policy),
    /// Beside a process that may be writing.
    Read,
    /// Without a trace: no lock file is made. Only while nobody writes.
    Peek,
}

struct Opened {
    env: Environment,
    dbs: Dbs,
}

/// The mapped file.
pub(crate) struct Map {
    path: PathBuf,
    access: Access,
    bytes_max: u64,
    opened: RwLock<(u64, Option<Opened>)>,
}

/// The map as it is: transactions can be begun, nothing moves.
pub(crate) struct Live<'m>(RwLockReadGuard<'m, (u64, Option<Opened>)>);

/// How much of the file is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Bytes mapped.
    pub(crate) map_bytes: u64,
    /// Bytes up to the last page ever used.
    pub(crate) used_bytes: u64,
    /// Bytes of a page.
    pub(crate) page_bytes: u64,
    /// Number of the last committed transaction.
    pub(crate) transaction: u64,
}

impl Map {
    /// Opens the file at `path`; with [`Access::Write`] it is made if it is not there.
    pub(crate) fn open(path: &Path, access: Access, bytes: u64, bytes_max: u64) -> Result<Self, lmdb::Error> {
        let opened = open(path, access, bytes)?;
        Ok(Self {
            path: path.to_owned(),
            access,
            bytes_max: bytes_max.max(bytes),
            // A file that is larger than asked for is mapped as a whole.
            opened: RwLock::new((bytes.max(opened.env.info()?.map_size() as u64), Some(opened))),
        })
    }

    /// Keeps the map as it is.
    pub(crate) fn live(&self) -> Live<'_> {
        Live(self.opened.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// Doubles the map, once no transaction of this process is live. `false` if it may not get larger.
    pub(crate) fn grow(&self) -> bool {
        let mut opened = self.opened.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let larger = (opened.0.saturating_mul(2)).min(self.bytes_max);
        if larger <= opened.0 {
            return false;
        }
        let Some(Opened { env, .. }) = &opened.1 else { return false };
        if env.set_map_size(larger as usize).is_err() {
            return false;
        }
        opened.0 = larger;
        true
    }

    /// Closes the file and opens it again: the only way on after LMDB failed to write its meta page.
    pub(crate) fn reopen(&self) -> Result<(), Fault> {
        let mut opened = self.opened.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        opened.1 = None;
        opened.1 = Some(open(&self.path, self.access, opened.0)?);
        Ok(())
    }

    /// Makes sure of all that was committed, whatever the policy.
    pub(crate) fn sync(&self) -> Result<(), Fault> {
        let opened = self.opened.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(Opened { env, .. }) = &opened.1 else { return Err(Fault::Medium(libc::EIO)) };
        Ok(env.sync(true)?)
    }

    /// Frees what readers of processes that were killed still hold.
    pub(crate) fn forget_dead_readers(&self) {
        let opened = self.opened.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(Opened { env, .. }) = &opened.1 {
            let mut dead = 0;
            // SAFETY: the environment lives as long as the guard, and `dead` is written before it returns.
            unsafe { lmdb_sys::mdb_reader_check(env.env(), &raw mut dead) };
        }
    }

    /// Copies what is committed to `file`, without free pages.
    pub(crate) fn copy_to(&self, file: &std::fs::File) -> Result<(), Fault> {
        use std::os::fd::AsRawFd;
        let opened = self.opened.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(Opened { env, .. }) = &opened.1 else { return Err(Fault::Medium(libc::EIO)) };
        // SAFETY: the environment lives as long as the guard, the descriptor as long as `file`.
        let code =
            unsafe { lmdb_sys::mdb_env_copyfd2(env.env(), file.as_raw_fd(), lmdb_sys::MDB_CP_COMPACT) };
        if code == lmdb_sys::MDB_SUCCESS { Ok(()) } else { Err(lmdb::Error::from_err_code(code).into()) }
    }
}

fn open(path: &Path, access: Access, bytes: u64) -> Result<Opened, lmdb::Error> {
    // NO_TLS: a read transaction belongs to its object, not to the thread.
    let mut flags = EnvironmentFlags::NO_SUB_DIR | EnvironmentFlags::NO_TLS;
    flags |= match access {
        Access::Write(Policy::Commit) => EnvironmentFlags::empty(),
        Access::Write(Policy::Relaxed) => EnvironmentFlags::NO_META_SYNC,
        Access::Write(Policy::Memory) => EnvironmentFlags::NO_SYNC | EnvironmentFlags::NO_META_SYNC,
        Access::Read => EnvironmentFlags::READ_ONLY,
        Access::Peek => EnvironmentFlags::READ_ONLY | EnvironmentFlags::NO_LOCK,
    };
    let env = Environment::new()
        .set_flags(flags)
        .set_max_dbs(Db::ALL.len() as u32)
        .set_max_readers(READERS_MAX)
        .set_map_size(bytes as usize)
        .open_with_permissions(path, 0o600)?;
    let mut dbs: [Option<Database>; Db::ALL.len()] = [None; Db::ALL.len()];
    for (db, handle) in Db::ALL.into_iter().zip(&mut dbs) {
        *handle = match access {
            Access::Write(_) => Some(env.create_db(Some(db.name()), DatabaseFlags::empty())?),
            Access::Read | Access::Peek => match env.open_db(Some(db.name())) {
                Ok(handle) => Some(handle),
                Err(lmdb::Error::NotFound) => None,
                Err(error) => return Err(error),
            },
        };
    }
    Ok(Opened { env, dbs: Dbs(dbs) })
}

impl Live<'_> {
    fn opened(&self) -> Result<&Opened, Fault> {
        self.0.1.as_ref().ok_or(Fault::Medium(libc::EIO))
    }

    /// Begins a transaction that reads what is committed now.
    pub(crate) fn read(&self) -> Result<ReadTxn<'_>, Fault> {
        let opened = self.opened()?;
        Ok(ReadTxn::new(opened.env.begin_ro_txn()?, opened.dbs))
    }

    /// Begins the transaction that writes.
    pub(crate) fn write(&self) -> Result<WriteTxn<'_>, Fault> {
        let opened = self.opened()?;
        Ok(WriteTxn::new(opened.env.begin_rw_txn()?, opened.dbs))
    }

    /// How much of the file is used.
    pub(crate) fn extent(&self) -> Result<Extent, Fault> {
        let opened = self.opened()?;
        let (info, stat) = (opened.env.info()?, opened.env.stat()?);
        Ok(Extent {
            map_bytes: info.map_size() as u64,
            used_bytes: (info.last_pgno() as u64 + 1) * u64::from(stat.page_size()),
            page_bytes: u64::from(stat.page_size()),
            transaction: info.last_txnid() as u64,
        })
    }

    /// Pages that are free within the file.
    pub(crate) fn free_pages(&self) -> Result<u64, Fault> {
        Ok(self.opened()?.env.freelist()? as u64)
    }
}

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Map").field("path", &self.path).field("access", &self.access).finish_non_exhaustive()
    }
}
