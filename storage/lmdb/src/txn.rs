//! Transactions with cursors whose borrows are those of the data: what a read transaction hands out lives as
//! long as the transaction, what a write transaction hands out until it is used again.

use std::marker::PhantomData;
use std::ptr::null_mut;

use lmdb::{Database, RoTransaction, RwTransaction, Transaction, WriteFlags};
use lmdb_sys::{MDB_cursor, MDB_cursor_op, MDB_txn, MDB_val};

use crate::error::Fault;
use crate::layout::Db;

/// A key and its value.
pub(crate) type Record<'a> = (&'a [u8], &'a [u8]);

/// The handles of the databases; one that a read-only opener did not find is `None`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dbs(pub(crate) [Option<Database>; Db::ALL.len()]);

impl Dbs {
    fn get(&self, db: Db) -> Result<Database, Fault> {
        self.0[db as usize].ok_or(Fault::Damaged)
    }
}

/// How many records and pages a database has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DbSize {
    /// Records.
    pub(crate) records: u64,
    /// Pages.
    pub(crate) pages: u64,
}

fn size(txn: *mut MDB_txn, db: Database) -> Result<DbSize, Fault> {
    // SAFETY: an MDB_stat is plain numbers.
    let mut stat: lmdb_sys::MDB_stat = unsafe { std::mem::zeroed() };
    // SAFETY: the transaction is live (the callers borrow it), the handle was opened in its environment.
    result(unsafe { lmdb_sys::mdb_stat(txn, db.dbi(), &raw mut stat) })?;
    Ok(DbSize {
        records: stat.ms_entries as u64,
        pages: (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) as u64,
    })
}

fn result(code: i32) -> Result<(), Fault> {
    if code == lmdb_sys::MDB_SUCCESS { Ok(()) } else { Err(lmdb::Error::from_err_code(code).into()) }
}

fn found(code: i32) -> Result<bool, Fault> {
    if code == lmdb_sys::MDB_NOTFOUND {
        return Ok(false);
    }
    result(code).map(|()| true)
}

fn open(txn: *mut MDB_txn, db: Database) -> Result<*mut MDB_cursor, Fault> {
    let mut raw = null_mut();
    // SAFETY: the transaction is live (the callers borrow it), the handle was opened in its environment.
    result(unsafe { lmdb_sys::mdb_cursor_open(txn, db.dbi(), &raw mut raw) })?;
    Ok(raw)
}

/// Moves a cursor.
///
/// # Safety
/// The cursor's transaction must be live for `'a`, and not be written to during `'a`.
unsafe fn step<'a>(raw: *mut MDB_cursor, key: &[u8], op: MDB_cursor_op) -> Result<Option<Record<'a>>, Fault> {
    let mut key = MDB_val { mv_size: key.len(), mv_data: key.as_ptr().cast_mut().cast() };
    let mut value = MDB_val { mv_size: 0, mv_data: null_mut() };
    // SAFETY: the cursor is open; LMDB reads the key and overwrites both values with pointers into the map
    // or into dirty pages of the transaction.
    if !found(unsafe { lmdb_sys::mdb_cursor_get(raw, &raw mut key, &raw mut value, op) })? {
        return Ok(None);
    }
    // SAFETY: LMDB's pointers are good until the transaction ends or writes (see above).
    Ok(Some(unsafe { (bytes(&key), bytes(&value)) }))
}

/// The bytes of a value.
///
/// # Safety
/// The value must point to memory that stays as it is for `'a`.
unsafe fn bytes<'a>(value: &MDB_val) -> &'a [u8] {
    if value.mv_size == 0 {
        return &[];
    }
    // SAFETY: said by the caller.
    unsafe { std::slice::from_raw_parts(value.mv_data.cast::<u8>().cast_const(), value.mv_size) }
}

/// A transaction that reads.
pub(crate) struct ReadTxn<'e> {
    txn: RoTransaction<'e>,
    dbs: Dbs,
}

impl<'e> ReadTxn<'e> {
    pub(crate) fn new(txn: RoTransaction<'e>, dbs: Dbs) -> Self {
        Self { txn, dbs }
    }

    /// The value of a key.
    pub(crate) fn get(&self, db: Db, key: &[u8]) -> Result<Option<&[u8]>, Fault> {
        match self.txn.get(self.dbs.get(db)?, &key) {
            Ok(value) => Ok(Some(value)),
            Err(lmdb::Error::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A cursor.
    pub(crate) fn cursor(&self, db: Db) -> Result<ReadCursor<'_>, Fault> {
        Ok(ReadCursor { raw: open(self.txn.txn(), self.dbs.get(db)?)?, txn: PhantomData })
    }

    /// Number of the transaction whose state it sees.
    pub(crate) fn id(&self) -> u64 {
        // SAFETY: the transaction is live.
        unsafe { lmdb_sys::mdb_txn_id(self.txn.txn()) as u64 }
    }

    /// How many records and pages.
    pub(crate) fn size(&self, db: Db) -> Result<DbSize, Fault> {
        size(self.txn.txn(), self.dbs.get(db)?)
    }

    /// Whether the file has the database.
    pub(crate) fn has(&self, db: Db) -> bool {
        self.dbs.get(db).is_ok()
    }
}

/// A cursor of a transaction that reads.
pub(crate) struct ReadCursor<'t> {
    raw: *mut MDB_cursor,
    txn: PhantomData<&'t ()>,
}

impl<'t> ReadCursor<'t> {
    /// The first record at or after `key`.
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<Option<Record<'t>>, Fault> {
        // SAFETY: a read transaction is live for `'t` and never written to.
        unsafe { step(self.raw, key, lmdb_sys::MDB_SET_RANGE) }
    }

    /// The record after the one last handed out; the first, if there was none.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'t>>, Fault> {
        // SAFETY: as in `seek`.
        unsafe { step(self.raw, &[], lmdb_sys::MDB_NEXT) }
    }

    /// The record before the one last handed out; the last, if the last search found nothing.
    pub(crate) fn previous(&mut self) -> Result<Option<Record<'t>>, Fault> {
        // SAFETY: as in `seek`.
        unsafe { step(self.raw, &[], lmdb_sys::MDB_PREV) }
    }

    /// The last record.
    pub(crate) fn last(&mut self) -> Result<Option<Record<'t>>, Fault> {
        // SAFETY: as in `seek`.
        unsafe { step(self.raw, &[], lmdb_sys::MDB_LAST) }
    }
}

impl Drop for ReadCursor<'_> {
    fn drop(&mut self) {
        // SAFETY: opened by us, closed once; its transaction is still live.
        unsafe { lmdb_sys::mdb_cursor_close(self.raw) };
    }
}

/// The cursors of a write transaction, one for each database that was walked.
struct Cursors([*mut MDB_cursor; Db::ALL.len()]);

impl Drop for Cursors {
    fn drop(&mut self) {
        for raw in self.0.into_iter().filter(|raw| !raw.is_null()) {
            // SAFETY: opened by us, closed once; its transaction ends after this (field order).
            unsafe { lmdb_sys::mdb_cursor_close(raw) };
        }
    }
}

/// The transaction that writes. Dropped without [`WriteTxn::commit`], nothing has happened.
pub(crate) struct WriteTxn<'e> {
    // Before `txn`: cursors are closed while their transaction is live.
    cursors: Cursors,
    txn: RwTransaction<'e>,
    dbs: Dbs,
}

impl<'e> WriteTxn<'e> {
    pub(crate) fn new(txn: RwTransaction<'e>, dbs: Dbs) -> Self {
        Self { cursors: Cursors([null_mut(); Db::ALL.len()]), txn, dbs }
    }

    /// The value of a key.
    pub(crate) fn get(&self, db: Db, key: &[u8]) -> Result<Option<&[u8]>, Fault> {
        match self.txn.get(self.dbs.get(db)?, &key) {
            Ok(value) => Ok(Some(value)),
            Err(lmdb::Error::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the value of a key.
    pub(crate) fn put(&mut self, db: Db, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        Ok(self.txn.put(self.dbs.get(db)?, &key, &value, WriteFlags::empty())?)
    }

    /// Room for a value behind all others; the caller fills it at once.
    pub(crate) fn append(&mut self, db: Db, key: &[u8], len: usize) -> Result<&mut [u8], Fault> {
        let db = self.dbs.get(db)?;
        let out = self.txn.reserve(db, &key, len, WriteFlags::APPEND)?;
        Ok(out)
    }

    /// Room for the value of a key; the caller fills it at once.
    pub(crate) fn reserve(&mut self, db: Db, key: &[u8], len: usize) -> Result<&mut [u8], Fault> {
        let db = self.dbs.get(db)?;
        let out = self.txn.reserve(db, &key, len, WriteFlags::empty())?;
        Ok(out)
    }

    /// Removes a key. `false` if it was not there.
    pub(crate) fn delete(&mut self, db: Db, key: &[u8]) -> Result<bool, Fault> {
        match self.txn.del(self.dbs.get(db)?, &key, None) {
            Ok(()) => Ok(true),
            Err(lmdb::Error::NotFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn cursor(&mut self, db: Db) -> Result<*mut MDB_cursor, Fault> {
        let raw = &mut self.cursors.0[db as usize];
        if raw.is_null() {
            *raw = open(self.txn.txn(), self.dbs.get(db)?)?;
        }
        Ok(*raw)
    }

    /// The first record at or after `key`.
    pub(crate) fn seek(&mut self, db: Db, key: &[u8]) -> Result<Option<Record<'_>>, Fault> {
        let raw = self.cursor(db)?;
        // SAFETY: what is returned borrows `self`, which no write can do meanwhile.
        unsafe { step(raw, key, lmdb_sys::MDB_SET_RANGE) }
    }

    /// The record after the cursor (where the record at the cursor was deleted: the one that took its place).
    pub(crate) fn next(&mut self, db: Db) -> Result<Option<Record<'_>>, Fault> {
        let raw = self.cursor(db)?;
        // SAFETY: as in `seek`.
        unsafe { step(raw, &[], lmdb_sys::MDB_NEXT) }
    }

    /// The record before the cursor; the last one, if the search before found nothing.
    pub(crate) fn previous(&mut self, db: Db) -> Result<Option<Record<'_>>, Fault> {
        let raw = self.cursor(db)?;
        // SAFETY: as in `seek`.
        unsafe { step(raw, &[], lmdb_sys::MDB_PREV) }
    }

    /// The last record.
    pub(crate) fn last(&mut self, db: Db) -> Result<Option<Record<'_>>, Fault> {
        let raw = self.cursor(db)?;
        // SAFETY: as in `seek`.
        unsafe { step(raw, &[], lmdb_sys::MDB_LAST) }
    }

    /// Removes the record at the cursor. The next [`WriteTxn::next`] hands out the one behind it.
    pub(crate) fn delete_here(&mut self, db: Db) -> Result<(), Fault> {
        let raw = self.cursor(db)?;
        // SAFETY: the cursor is open and nothing borrows from the transaction.
        result(unsafe { lmdb_sys::mdb_cursor_del(raw, 0) })
    }

    /// Makes it so.
    pub(crate) fn commit(self) -> Result<(), Fault> {
        let Self { cursors, txn, .. } = self;
        drop(cursors);
        Ok(txn.commit()?)
    }
}
