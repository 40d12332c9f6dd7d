//! Keyed hashing of what strangers choose (topics, client ids): a table keyed by a secret cannot be flooded
//! with collisions. SipHash-1-3, the variant the standard library's maps use.

use std::hash::{BuildHasher, Hasher};

use siphasher::sip::SipHasher13;

/// The secret of one table or one process. `Copy`: two words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey {
    k0: u64,
    k1: u64,
}

impl HashKey {
    /// A key from two random words.
    pub const fn new(k0: u64, k1: u64) -> Self {
        Self { k0, k1 }
    }

    /// The two words, for a store that must find its rows again after a restart.
    pub const fn words(self) -> (u64, u64) {
        (self.k0, self.k1)
    }

    /// Hash of a byte string.
    #[inline]
    pub fn hash(self, bytes: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.k0, self.k1).hash(bytes)
    }

    /// Hash of a 64-bit value and a byte string, as one key (a parent node and a topic level, say).
    #[inline]
    pub fn hash_pair(self, first: u64, bytes: &[u8]) -> u64 {
        // The value perturbs the key instead of being fed through the compression function: one round less,
        // and pairs with different first parts are under different keys.
        SipHasher13::new_with_keys(self.k0 ^ first, self.k1).hash(bytes)
    }
}

impl std::fmt::Debug for HashKey {
    /// A secret is not printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(..)")
    }
}

impl BuildHasher for HashKey {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher(SipHasher13::new_with_keys(self.k0, self.k1))
    }
}

/// The streaming form of [`HashKey`], for use as a map's hasher.
#[derive(Clone, Debug)]
pub struct KeyedHasher(SipHasher13);

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_decides() {
        let (a, b) = (HashKey::new(1, 2), HashKey::new(1, 3));
        assert_ne!(a.hash(b"topic"), b.hash(b"topic"));
        assert_eq!(a.hash(b"topic"), HashKey::new(1, 2).hash(b"topic"));
        assert_ne!(a.hash_pair(1, b"level"), a.hash_pair(2, b"level"));
    }
}
