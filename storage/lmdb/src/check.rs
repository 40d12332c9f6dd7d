//! Looks at everything in a store: the pages of the file, then every record, checksum and reference.

use std::fs::File;
use std::path::Path;

use crate::create::{self, FILE};
use crate::error::{Fault, StoreError};
use crate::layout::{self, Db, message, row, segment, session_of};
use crate::lock::Lock;
use crate::map::{Access, Map};
use crate::page::Messages;
use crate::pages::{self, PageCounts};
use crate::scan;
use crate::txn::ReadTxn;

/// Problems that are listed; further ones are only counted.
const LISTED_MAX: usize = 1_000;

/// Where something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file as a whole.
    File,
    /// In a page.
    Page(u64),
    /// In a record.
    Record {
        /// The database.
        database: &'static str,
        /// The key.
        key: Vec<u8>,
    },
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub what: &'static str,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::File => write!(f, "file: {}", self.what),
            Place::Page(number) => write!(f, "page {number}: {}", self.what),
            Place::Record { database, key } => {
                write!(f, "{database} ")?;
                for byte in key {
                    write!(f, "{byte:02x}")?;
                }
                write!(f, ": {}", self.what)
            }
        }
    }
}

/// A bounded list of problems.
#[derive(Clone, Debug, Default)]
pub(crate) struct Problems {
    listed: Vec<Problem>,
    total: u64,
}

impl Problems {
    pub(crate) fn add(&mut self, place: Place, what: &'static str) {
        self.total += 1;
        if self.listed.len() < LISTED_MAX {
            self.listed.push(Problem { place, what });
        }
    }

    /// The first there is.
    pub(crate) fn into_first(self) -> Option<Problem> {
        self.listed.into_iter().next()
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    fn record(&mut self, db: Db, key: &[u8], what: &'static str) {
        self.add(Place::Record { database: db.name(), key: key.to_vec() }, what);
    }
}

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Pages.
    pub pages: PageCounts,
    /// Records that were looked at.
    pub records: u64,
    /// Messages that were looked at.
    pub messages: u64,
    /// What is wrong: the first thousand.
    pub problems: Vec<Problem>,
    /// How much is wrong.
    pub problems_total: u64,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems_total == 0
    }
}

/// Checks the store in `directory`, which a broker may be using meanwhile.
///
/// # Errors
/// If there is no store, it is of a later format, or cannot be read. What is wrong inside is in the report.
pub fn check(directory: &Path) -> Result<CheckReport, StoreError> {
    let path = directory.join(FILE);
    let open = || File::open(&path).map_err(|error| StoreError::path(&path, "read", error));
    let mut report = CheckReport::default();
    let mut problems = Problems::default();
    // While nobody writes, nothing is handed to LMDB before its pages were looked at.
    let alone = match Lock::take(directory) {
        Ok(lock) => Some(lock),
        Err(StoreError::Locked { .. } | StoreError::Path { .. }) => None,
        Err(error) => return Err(error),
    };
    if alone.is_some() {
        create::is_file(&path)?;
        report.pages = pages::walk(&open()?, None, true, &mut problems);
        if problems.total() != 0 {
            return Ok(report.with(problems));
        }
    }
    create::identify(&path, Access::Read)?;
    let failed = |fault: Fault| StoreError::fault(&path, "read", fault);
    let map = Map::open(&path, Access::Read, 0, u64::MAX).map_err(|error| failed(error.into()))?;
    let live = map.live();
    let txn = live.read().map_err(failed)?;
    if alone.is_none() {
        report.pages = pages::walk(&open()?, Some(txn.id()), true, &mut problems);
    }
    records(&txn, &mut report, &mut problems).map_err(failed)?;
    Ok(report.with(problems))
}

impl CheckReport {
    fn with(mut self, problems: Problems) -> Self {
        self.problems_total = problems.total;
        self.problems = problems.listed;
        self
    }
}

fn records(txn: &ReadTxn<'_>, report: &mut CheckReport, problems: &mut Problems) -> Result<(), Fault> {
    let found = scan::everything(txn)?;
    for (db, key) in &found.damaged {
        problems.record(*db, key, "the checksum or the contents are wrong");
    }
    for db in Db::ALL {
        let mut cursor = txn.cursor(db)?;
        while let Some((key, value)) = cursor.next()? {
            report.records += 1;
            match db {
                Db::Segments => report.messages += segment(key, value, problems),
                Db::Queues => queue(txn, key, value, problems)?,
                Db::Lost => problems.record(db, key, "was found damaged earlier and moved here"),
                Db::Meta if !scan::is_sound(db, key, value) => {
                    problems.record(db, key, "the checksum is wrong");
                }
                Db::Subscriptions | Db::Received => owner(txn, db, key, problems)?,
                Db::Meta | Db::Sessions | Db::Retained => {}
            }
        }
    }
    for &number in &found.unused {
        problems.record(Db::Segments, &segment::key(number), "nothing refers to it");
    }
    Ok(())
}

fn owner(txn: &ReadTxn<'_>, db: Db, key: &[u8], problems: &mut Problems) -> Result<(), Fault> {
    let is_there = match session_of(key) {
        Some(session) => txn.get(Db::Sessions, &layout::session_key(session))?.is_some(),
        None => false,
    };
    if !is_there {
        problems.record(db, key, "its session is not there");
    }
    Ok(())
}

/// Checks a segment; returns how many messages begin in it.
fn segment(key: &[u8], value: &[u8], problems: &mut Problems) -> u64 {
    let number = <[u8; 8]>::try_from(key).map(u64::from_be_bytes);
    let Some(found) = number.ok().and_then(|number| segment::Segment::read(number, value)) else {
        problems.record(Db::Segments, key, "the head or the directory is damaged");
        return 0;
    };
    match found.kind {
        segment::KIND_BATCH => {
            for index in 0..found.count {
                if found.message(index).and_then(message::decode).is_none() {
                    problems.record(Db::Segments, key, "a message is damaged");
                }
            }
            u64::from(found.count)
        }
        // Its message is looked at from the row that refers to it.
        kind => u64::from(kind == segment::KIND_LONG),
    }
}

fn queue(txn: &ReadTxn<'_>, key: &[u8], value: &[u8], problems: &mut Problems) -> Result<(), Fault> {
    owner(txn, Db::Queues, key, problems)?;
    // Damaged rows are among those the scan has found.
    let Some(row) = row::Row::read(key, value) else { return Ok(()) };
    let segment = row.segment;
    let mut messages = Messages::new(txn);
    for entry in row.filter(row::Entry::has_message) {
        if messages.get(segment, entry.index)?.is_none_or(|(_, body)| body.len() != entry.body as usize) {
            problems.record(Db::Queues, key, "a message it refers to is missing or damaged");
        }
    }
    Ok(())
}
