//! What names a connection on the wire: the two addresses and ports.

use std::net::{IpAddr, SocketAddr};

use pelton_base::{HashKey, Rng};

/// The two ends of a connection, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    /// Our end.
    pub(crate) local: SocketAddr,
    /// The peer's.
    pub(crate) remote: SocketAddr,
}

impl Tuple {
    /// Hash under a secret, for what strangers see the result of: initial sequence numbers, cookies.
    #[inline]
    pub(crate) fn hash(&self, key: HashKey) -> u64 {
        let ports = ports(self.remote.port(), self.local.port());
        match (self.remote.ip(), self.local.ip()) {
            (IpAddr::V4(remote), IpAddr::V4(local)) => {
                hash_v4(key, remote.to_bits(), local.to_bits(), self.remote.port(), self.local.port())
            }
            (remote, local) => {
                let mut bytes = [0; 36];
                bytes[..16].copy_from_slice(&octets(remote));
                bytes[16..32].copy_from_slice(&octets(local));
                bytes[32..].copy_from_slice(&ports.to_ne_bytes());
                key.hash(&bytes)
            }
        }
    }
}

/// As [`Tuple::hash`], for addresses as numbers.
#[inline]
pub(crate) fn hash_v4(key: HashKey, remote: u32, local: u32, remote_port: u16, local_port: u16) -> u64 {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&remote.to_be_bytes());
    bytes[4..8].copy_from_slice(&local.to_be_bytes());
    bytes[8..].copy_from_slice(&ports(remote_port, local_port).to_ne_bytes());
    key.hash(&bytes)
}

/// The secret that says where in the table a tuple goes: where connections of strangers land is not for them to
/// choose.
///
/// The sum of the tuple's 32-bit words, each times a random 64-bit word of its own, of which the high half is taken.
/// Over the choice of the key any two tuples, whoever chose them, meet with a chance of 2^-32 (multilinear hashing is
/// strongly universal: Lemire and Kaser, "Strongly universal string hashing is fast", 2014), as with a perfect hash. What
/// such a sum does not do is to scatter tuples that follow each other, so that a mixing without loss comes behind it.
/// A stranger sees nothing of the result, and must complete a handshake for an entry that stays; the SipHash of
/// [`HashKey`] costs ten times as much and is kept for what goes out.
#[derive(Clone, Copy)]
pub(crate) struct TupleKey {
    v4: [u64; 4],
    v6: [u64; 10],
}

impl TupleKey {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self { v4: std::array::from_fn(|_| rng.u64()), v6: std::array::from_fn(|_| rng.u64()) }
    }

    /// Where the tuple goes.
    #[inline]
    pub(crate) fn hash(&self, tuple: &Tuple) -> u32 {
        let (remote_port, local_port) = (tuple.remote.port(), tuple.local.port());
        match (tuple.remote.ip(), tuple.local.ip()) {
            (IpAddr::V4(remote), IpAddr::V4(local)) => {
                self.hash_v4(remote.to_bits(), local.to_bits(), remote_port, local_port)
            }
            (remote, local) => {
                let [first, keys @ ..] = &self.v6;
                let ports = u64::from(ports(remote_port, local_port));
                let mut sum = first.wrapping_add(keys[0].wrapping_mul(ports));
                let words = [octets(remote), octets(local)];
                let words = words.as_flattened().as_chunks::<4>().0;
                for (key, word) in keys[1..].iter().zip(words) {
                    sum = sum.wrapping_add(key.wrapping_mul(u64::from(u32::from_ne_bytes(*word))));
                }
                scatter((sum >> 32) as u32)
            }
        }
    }

    /// As [`TupleKey::hash`], for addresses as numbers.
    #[inline]
    pub(crate) fn hash_v4(&self, remote: u32, local: u32, remote_port: u16, local_port: u16) -> u32 {
        let ports = ports(remote_port, local_port);
        let [first, a, b, c] = self.v4;
        let sum = first
            .wrapping_add(a.wrapping_mul(u64::from(remote)))
            .wrapping_add(b.wrapping_mul(u64::from(local)))
            .wrapping_add(c.wrapping_mul(u64::from(ports)));
        scatter((sum >> 32) as u32)
    }
}

/// Takes every value to another, and neighbours far apart: the last steps of MurmurHash3.
#[inline]
const fn scatter(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

const fn ports(remote: u16, local: u16) -> u32 {
    (remote as u32) << 16 | local as u32
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// The longest run of used slots in a table half full, and how many entries share a slot's hash.
    fn clustering(hashes: impl Iterator<Item = u32>) -> (usize, usize) {
        let mut hashes: Vec<u32> = hashes.collect();
        let len = (hashes.len() * 2).next_power_of_two();
        let mut slots = vec![false; len];
        for hash in &hashes {
            let mut at = *hash as usize & (len - 1);
            while slots[at] {
                at = (at + 1) & (len - 1);
            }
            slots[at] = true;
        }
        let mut longest = 0;
        let mut run = 0;
        for used in slots {
            run = if used { run + 1 } else { 0 };
            longest = longest.max(run);
        }
        hashes.sort_unstable();
        let same = hashes.windows(2).filter(|pair| pair[0] == pair[1]).count();
        (longest, same)
    }

    #[test]
    fn tuples_that_follow_each_other_are_scattered() {
        // 2^17 tuples of 2^32 hashes: two of them meet twice on the average.
        let count = 1 << 17;
        for seed in 0..8 {
            let key = TupleKey::new(&mut Rng::with_seed(seed));
            let local = u32::from_be_bytes([10, 0, 0, 1]);
            let shapes: [&dyn Fn(u32) -> u32; 4] = [
                // Ports of few addresses, addresses with one port, strides of a power of two.
                &|n| key.hash_v4(0x0a01_0000 + (n >> 14), local, 10_000 + (n & 0x3fff) as u16, 1883),
                &|n| key.hash_v4(0x0a01_0000 + n, local, 5_000, 1883),
                &|n| key.hash_v4(n << 12, local, 5_000, 1883),
                &|n| {
                    let remote = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n));
                    let tuple =
                        Tuple { local: (Ipv6Addr::LOCALHOST, 1883).into(), remote: (remote, 5_000).into() };
                    key.hash(&tuple)
                },
            ];
            for (at, shape) in shapes.iter().enumerate() {
                let (longest, same) = clustering((0..count).map(shape));
                assert!(longest < 150 && same < 16, "shape {at}: {longest} in a row, {same} alike");
            }
        }
    }

    #[test]
    fn the_key_decides_and_both_ways_agree() {
        let (a, b) = (TupleKey::new(&mut Rng::with_seed(1)), TupleKey::new(&mut Rng::with_seed(2)));
        let (local, remote) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 1, 2, 3));
        let tuple = Tuple { local: (local, 1883).into(), remote: (remote, 77).into() };
        assert_eq!(a.hash(&tuple), a.hash_v4(remote.to_bits(), local.to_bits(), 77, 1883));
        assert_ne!(a.hash(&tuple), b.hash(&tuple));
        let turned = Tuple { local: tuple.remote, remote: tuple.local };
        assert_ne!(a.hash(&tuple), a.hash(&turned));
    }
}
