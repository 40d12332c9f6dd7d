//! What the bytes mean: databases, keys, checksums. `docs/storage-format.md` is this folder in words; a change
//! here is a change of the format.

pub(crate) mod message;
pub(crate) mod row;
pub(crate) mod segment;

use pelton_storage_ops::SessionId;

/// The format written.
pub(crate) const FORMAT: u32 = 1;
/// The only realm there is today.
pub(crate) const REALM: u16 = 0;

/// The databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Db {
    /// What concerns the store itself.
    Meta,
    /// Session images.
    Sessions,
    /// Subscriptions.
    Subscriptions,
    /// Message segments.
    Segments,
    /// Rows of queues.
    Queues,
    /// QoS 2 identifiers received and not released.
    Received,
    /// Retained messages.
    Retained,
    /// Damaged records, moved aside.
    Lost,
}

impl Db {
    pub(crate) const ALL: [Self; 8] = [
        Self::Meta,
        Self::Sessions,
        Self::Subscriptions,
        Self::Segments,
        Self::Queues,
        Self::Received,
        Self::Retained,
        Self::Lost,
    ];

    /// Its name in the file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Sessions => "sess",
            Self::Subscriptions => "subs",
            Self::Segments => "seg",
            Self::Queues => "queue",
            Self::Received => "recv",
            Self::Retained => "ret",
            Self::Lost => "lost",
        }
    }

    /// What its checksums begin with.
    pub(crate) const fn tag(self) -> u8 {
        match self {
            Self::Meta => b'm',
            Self::Sessions => b's',
            Self::Subscriptions => b'f',
            Self::Segments => b'g',
            Self::Queues => b'q',
            Self::Received => b'v',
            Self::Retained => b'r',
            Self::Lost => b'l',
        }
    }
}

/// Length of [`session_key`].
pub(crate) const SESSION_KEY: usize = 12;

/// Key of a session, and the beginning of the keys of all it has.
pub(crate) fn session_key(session: SessionId) -> [u8; SESSION_KEY] {
    let mut key = [0; SESSION_KEY];
    key[..2].copy_from_slice(&REALM.to_be_bytes());
    key[2..4].copy_from_slice(&session.slot.to_be_bytes());
    key[4..].copy_from_slice(&session.serial.to_be_bytes());
    key
}

/// The session a key begins with.
pub(crate) fn session_of(key: &[u8]) -> Option<SessionId> {
    let key = key.first_chunk::<SESSION_KEY>()?;
    (key[..2] == REALM.to_be_bytes()).then(|| SessionId {
        slot: u16::from_be_bytes([key[2], key[3]]),
        serial: u64::from_be_bytes(*key.last_chunk().expect("12 bytes end with 8")),
    })
}

/// Key of a row of a queue.
pub(crate) fn queue_key(session: SessionId, sequence: u64) -> [u8; 20] {
    let mut key = [0; 20];
    key[..SESSION_KEY].copy_from_slice(&session_key(session));
    key[SESSION_KEY..].copy_from_slice(&sequence.to_be_bytes());
    key
}

/// The sequence number at the end of a [`queue_key`].
pub(crate) fn base_of(key: &[u8]) -> Option<u64> {
    (key.len() == 20).then(|| u64::from_be_bytes(*key.last_chunk().expect("20 bytes end with 8")))
}

/// Key of a subscription: the hash of the filter, and a number for filters of one hash.
pub(crate) fn subscription_key(session: SessionId, hash: u64, number: u8) -> [u8; 21] {
    let mut key = [0; 21];
    key[..SESSION_KEY].copy_from_slice(&session_key(session));
    key[SESSION_KEY..20].copy_from_slice(&hash.to_be_bytes());
    key[20] = number;
    key
}

/// Key of a QoS 2 identifier.
pub(crate) fn received_key(session: SessionId, packet_id: u16) -> [u8; 14] {
    let mut key = [0; 14];
    key[..SESSION_KEY].copy_from_slice(&session_key(session));
    key[SESSION_KEY..].copy_from_slice(&packet_id.to_be_bytes());
    key
}

/// Topics up to this length are keys themselves.
const TOPIC_KEY_MAX: usize = 480;
/// Of longer ones this many bytes, [`LONG_TOPIC`], the hash and a number.
const TOPIC_PREFIX: usize = 440;
/// Never a byte of UTF-8: no short key looks like a long one.
const LONG_TOPIC: u8 = 0xFF;

/// Key of a retained message, and whether other topics may have the same: then the last byte counts up.
pub(crate) fn retained_key(out: &mut Vec<u8>, topic: &[u8], hash: impl FnOnce(&[u8]) -> u64) -> bool {
    out.clear();
    out.extend_from_slice(&REALM.to_be_bytes());
    // Separators sort before all else, so that a topic is followed by what is below it.
    let mapped = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    let plain = topic.len() <= TOPIC_KEY_MAX && !topic.contains(&0);
    if plain {
        out.extend(topic.iter().map(mapped));
    } else {
        out.extend(topic.iter().take(TOPIC_PREFIX).map(mapped));
        out.push(LONG_TOPIC);
        out.extend_from_slice(&hash(topic).to_be_bytes());
        out.push(0);
    }
    !plain
}

/// Checksum of a record: of the database's tag, the key, and the parts of the value.
pub(crate) fn checksum(db: Db, key: &[u8], parts: &[&[u8]]) -> u32 {
    let mut sum = crc32c::crc32c_append(crc32c::crc32c(&[db.tag()]), key);
    for part in parts {
        sum = crc32c::crc32c_append(sum, part);
    }
    sum
}

/// A record with its checksum in front.
pub(crate) fn seal(out: &mut Vec<u8>, db: Db, key: &[u8], parts: &[&[u8]]) {
    out.clear();
    out.extend_from_slice(&checksum(db, key, parts).to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// What [`seal`] was given, if it is still that.
pub(crate) fn unseal<'a>(db: Db, key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (sum, rest) = value.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*sum) == checksum(db, key, &[rest])).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_sort_as_a_tree() {
        let mut keys: Vec<Vec<u8>> = ["a/b!", "a/b", "a/b/c", "a", "a/c"]
            .iter()
            .map(|topic| {
                let mut key = Vec::new();
                assert!(!retained_key(&mut key, topic.as_bytes(), |_| 0));
                key
            })
            .collect();
        keys.sort();
        let shown: Vec<String> =
            keys.iter().map(|key| String::from_utf8_lossy(&key[2..]).replace('\0', "/")).collect();
        assert_eq!(shown, ["a", "a/b", "a/b/c", "a/b!", "a/c"]);
    }

    #[test]
    fn every_key_is_one_lmdb_takes() {
        let mut key = Vec::new();
        for len in [1, 480, 481, 65_535] {
            let long = retained_key(&mut key, &vec![b'x'; len], |_| 7);
            assert_eq!(long, len > 480);
            assert!(key.len() <= 511, "{len}: {}", key.len());
        }
        assert!(retained_key(&mut key, b"a\0b", |_| 7), "a NUL is not a separator");
    }

    #[test]
    fn a_record_knows_its_place() {
        let mut record = Vec::new();
        seal(&mut record, Db::Sessions, b"key", &[b"one", b"two"]);
        assert_eq!(unseal(Db::Sessions, b"key", &record), Some(&b"onetwo"[..]));
        assert_eq!(unseal(Db::Sessions, b"kez", &record), None);
        assert_eq!(unseal(Db::Retained, b"key", &record), None);
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(Db::Sessions, b"key", &flipped), None, "bit {bit}");
        }
        assert_eq!(unseal(Db::Sessions, b"key", b"abc"), None);
    }
}
