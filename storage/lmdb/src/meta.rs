//! What a store says of itself: its format, its key, how often it was opened, whether it was closed in order.

use pelton_base::HashKey;

use crate::error::Fault;
use crate::layout::{self, Db};
use crate::txn::{ReadTxn, WriteTxn};

/// The format, four bytes.
pub(crate) const FORMAT: &[u8] = b"format";
/// The hash key, two words.
pub(crate) const KEY: &[u8] = b"key";
/// The hash key again: without it nothing could be found.
pub(crate) const KEY_COPY: &[u8] = b"key-copy";
/// How often the store was opened, eight bytes.
pub(crate) const OPENED: &[u8] = b"opened";
/// 1 if it was closed in order, else 0.
pub(crate) const CLEAN: &[u8] = b"clean";

/// Sets a value.
pub(crate) fn put(txn: &mut WriteTxn<'_>, name: &[u8], value: &[u8]) -> Result<(), Fault> {
    let mut record = Vec::new();
    layout::seal(&mut record, Db::Meta, name, &[value]);
    txn.put(Db::Meta, name, &record)
}

/// A value, if it is there and as it was written.
pub(crate) fn get<const N: usize>(txn: &ReadTxn<'_>, name: &[u8]) -> Result<Option<[u8; N]>, Fault> {
    let value = txn.get(Db::Meta, name)?;
    Ok(value
        .and_then(|value| layout::unseal(Db::Meta, name, value))
        .and_then(|value| <[u8; N]>::try_from(value).ok()))
}

/// Sets the key.
pub(crate) fn put_key(txn: &mut WriteTxn<'_>, key: HashKey) -> Result<(), Fault> {
    let (k0, k1) = key.words();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&k0.to_le_bytes());
    bytes[8..].copy_from_slice(&k1.to_le_bytes());
    put(txn, KEY, &bytes)?;
    put(txn, KEY_COPY, &bytes)
}

/// The key.
pub(crate) fn key(txn: &ReadTxn<'_>) -> Result<Option<HashKey>, Fault> {
    let bytes = match get::<16>(txn, KEY)? {
        Some(bytes) => Some(bytes),
        None => get::<16>(txn, KEY_COPY)?,
    };
    Ok(bytes.map(|bytes| {
        let words = u128::from_le_bytes(bytes);
        HashKey::new(words as u64, (words >> 64) as u64)
    }))
}
