//! Hands out what is there at the start.

use pelton_storage_ops::{Loaded, LoadedSession, SessionImage};

use crate::error::Fault;
use crate::layout::{self, Db, SESSION_KEY, message, row, session_of};
use crate::txn::{ReadCursor, ReadTxn, Record};

/// How often progress is said: after so many records.
const EVERY: u64 = 50_000;

/// How far loading has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Sessions handed out.
    pub sessions: u64,
    /// Sessions there are.
    pub sessions_total: u64,
    /// Subscriptions handed out.
    pub subscriptions: u64,
    /// Messages in the queues of those sessions.
    pub queued: u64,
    /// Retained messages handed out.
    pub retained: u64,
    /// Retained messages there are.
    pub retained_total: u64,
    /// Records passed over because they are damaged.
    pub damaged: u64,
}

/// The records of one session after the other.
struct Following<'t> {
    cursor: ReadCursor<'t>,
    at: Option<Record<'t>>,
}

impl<'t> Following<'t> {
    fn new(txn: &'t ReadTxn<'t>, db: Db) -> Result<Self, Fault> {
        let mut cursor = txn.cursor(db)?;
        let at = cursor.next()?;
        Ok(Self { cursor, at })
    }

    /// The next record of the session whose key begins with `prefix`; sessions are asked for in order.
    fn of(&mut self, prefix: &[u8]) -> Result<Option<Record<'t>>, Fault> {
        loop {
            let Some(record) = self.at else { return Ok(None) };
            let own = &record.0[..record.0.len().min(SESSION_KEY)];
            if own > prefix {
                return Ok(None);
            }
            self.at = self.cursor.next()?;
            if own == prefix {
                return Ok(Some(record));
            }
        }
    }
}

/// Hands out everything.
pub(crate) fn everything(
    txn: &ReadTxn<'_>,
    mut each: impl FnMut(Loaded),
    mut say: impl FnMut(&Progress),
) -> Result<Progress, Fault> {
    let mut progress = Progress {
        sessions_total: txn.size(Db::Sessions)?.records,
        retained_total: txn.size(Db::Retained)?.records,
        ..Progress::default()
    };
    let mut sessions = txn.cursor(Db::Sessions)?;
    let mut subscriptions = Following::new(txn, Db::Subscriptions)?;
    let mut received = Following::new(txn, Db::Received)?;
    let mut queues = Following::new(txn, Db::Queues)?;
    while let Some((key, value)) = sessions.next()? {
        let image =
            layout::unseal(Db::Sessions, key, value).and_then(|image| SessionImage::decode(image).ok());
        let (Some(session), Some(image)) = (session_of(key), image) else {
            progress.damaged += 1;
            continue;
        };
        let mut loaded = LoadedSession {
            session,
            image,
            subscriptions: Vec::new(),
            received: Vec::new(),
            next_sequence: 0,
            queued_messages: 0,
            queued_bytes: 0,
        };
        while let Some((key, value)) = subscriptions.of(key)? {
            let payload = layout::unseal(Db::Subscriptions, key, value);
            match payload.and_then(|payload| payload.split_first_chunk::<5>()) {
                Some((fixed, filter)) => {
                    let identifier = u32::from_le_bytes([fixed[1], fixed[2], fixed[3], fixed[4]]);
                    let filter = String::from_utf8_lossy(filter).into_owned();
                    loaded.subscriptions.push((filter, fixed[0], identifier));
                }
                None => progress.damaged += 1,
            }
        }
        while let Some((key, value)) = received.of(key)? {
            match (layout::unseal(Db::Received, key, value), key.get(SESSION_KEY..)) {
                (Some([]), Some(&[high, low])) => loaded.received.push(u16::from_be_bytes([high, low])),
                _ => progress.damaged += 1,
            }
        }
        while let Some((key, value)) = queues.of(key)? {
            let Some(row) = row::Row::read(key, value) else {
                progress.damaged += 1;
                continue;
            };
            for entry in row {
                loaded.next_sequence = entry.sequence + 1;
                loaded.queued_messages += 1;
                loaded.queued_bytes += u64::from(entry.body);
            }
        }
        progress.sessions += 1;
        progress.subscriptions += loaded.subscriptions.len() as u64;
        progress.queued += u64::from(loaded.queued_messages);
        each(Loaded::Session(Box::new(loaded)));
        if progress.sessions.is_multiple_of(EVERY) {
            say(&progress);
        }
    }
    let mut retained = txn.cursor(Db::Retained)?;
    while let Some((key, value)) = retained.next()? {
        match layout::unseal(Db::Retained, key, value).and_then(message::decode) {
            Some((head, body)) => {
                progress.retained += 1;
                each(Loaded::Retained(head, body.to_vec()));
            }
            None => progress.damaged += 1,
        }
        if progress.retained.is_multiple_of(EVERY) {
            say(&progress);
        }
    }
    say(&progress);
    Ok(progress)
}
