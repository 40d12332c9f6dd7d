//! The internet checksum, RFC 1071: the one's complement of the one's complement sum of 16-bit words. Sums are
//! kept unfolded in 64 bits and are composable: the sum of a message's payload can be made once and added to
//! each header's.

use std::net::IpAddr;

/// A sum that has not been folded. Words are summed in the machine's byte order, which the one's complement sum
/// does not mind (RFC 1071 2); [`Sum::fold`] gives network order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

/// Bytes that are summed in lanes.
const BLOCK: usize = 32;
/// From so many bytes on that is quicker than one after the other.
const LONG: usize = 128;

impl Sum {
    /// Nothing summed.
    pub const ZERO: Self = Self(0);

    /// Adds bytes that start at an even offset of what is summed.
    #[inline]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (sum, bytes) = if bytes.len() < LONG { (self, bytes) } else { self.lanes(bytes) };
        let (mut sum, mut rest) = (sum.0, bytes);
        while let Some((word, behind)) = rest.split_first_chunk::<8>() {
            sum = add(sum, u64::from_ne_bytes(*word));
            rest = behind;
        }
        // Fewer than eight are left: four, two and one of them, what is odd with nothing behind it.
        let mut last = 0;
        if let Some((word, behind)) = rest.split_first_chunk::<4>() {
            sum = add(sum, u64::from(u32::from_ne_bytes(*word)));
            rest = behind;
        }
        if let Some((word, behind)) = rest.split_first_chunk::<2>() {
            last = u32::from(u16::from_ne_bytes(*word));
            rest = behind;
        }
        if let [byte] = *rest {
            last += u32::from(u16::from_ne_bytes([byte, 0]));
        }
        Self(fold_once(add(sum, u64::from(last))))
    }

    /// Adds the whole blocks of what is long, in lanes that the compiler does with vectors, and gives back the rest.
    fn lanes(self, bytes: &[u8]) -> (Self, &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        let (mut low, mut high) = ([0u64; 4], [0u64; 4]);
        for block in blocks {
            for (lane, word) in block.as_chunks::<8>().0.iter().enumerate() {
                let word = u64::from_ne_bytes(*word);
                low[lane] += word & 0xffff_ffff;
                high[lane] += word >> 32;
            }
        }
        // 2^32 words of 32 bits fit below 2^64; a packet has 2^14 at most.
        let sum = low.iter().chain(&high).sum();
        (Self(fold_once(self.0) + fold_once(sum)), rest)
    }

    /// Adds two 16-bit words that lie beside each other, in the machine's byte order.
    #[inline]
    pub const fn double(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds a 16-bit word.
    #[inline]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word.to_be() as u64)
    }

    /// The checksum: what goes into the header, zero for a packet that contains its own right checksum.
    #[inline]
    pub const fn fold(self) -> u16 {
        // A half added to the other comes out in the upper one, with what it carried.
        let sum = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        let sum = sum.wrapping_add(sum.rotate_left(16)) >> 16;
        u16::from_be(!(sum as u16))
    }
}

/// The one's complement sum of two words.
#[inline]
const fn add(sum: u64, word: u64) -> u64 {
    let (sum, carried) = sum.overflowing_add(word);
    sum + carried as u64
}

#[inline]
const fn fold_once(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

/// The sum of the pseudo header of TCP or ICMPv6 (RFC 9293 3.1, RFC 8200 8.1).
///
/// # Panics
/// For addresses of two families.
#[inline]
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Sum {
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let word = |octets| u64::from(u32::from_ne_bytes(octets));
            Sum(word(source.octets()) + word(destination.octets()))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Sum::ZERO.bytes(&source.octets()).bytes(&destination.octets())
        }
        _ => panic!("a packet has addresses of one family"),
    };
    addresses.word(u16::from(protocol)).word(len as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    // covers RFC 1071 2
    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(Sum::ZERO.bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).fold(), !0xddf2);
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_sum(bytes in proptest::collection::vec(any::<u8>(), 0..2000), cut in 0..1000usize) {
            prop_assert_eq!(Sum::ZERO.bytes(&bytes).fold(), reference(&bytes));
            let cut = (cut * 2).min(bytes.len() / 2 * 2);
            prop_assert_eq!(Sum::ZERO.bytes(&bytes[..cut]).bytes(&bytes[cut..]).fold(), reference(&bytes));
        }

        #[test]
        fn all_ones_do_not_overflow(words in 0..35_000usize) {
            let bytes = vec![0xff; words * 2];
            let twice = [bytes.as_slice(), &bytes].concat();
            prop_assert_eq!(Sum::ZERO.bytes(&bytes).bytes(&bytes).fold(), reference(&twice));
        }
    }
}
