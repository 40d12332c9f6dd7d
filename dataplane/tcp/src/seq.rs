//! Sequence numbers: 32 bits that wrap, RFC 9293 3.4.

use std::ops::{Add, AddAssign};

/// A sequence number. Comparisons are right as long as the two are less than 2^31 apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// How far `self` is ahead of `earlier`, modulo 2^32.
    #[inline]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether `self` comes before `other`.
    #[inline]
    pub const fn lt(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether `self` comes before `other` or is it.
    #[inline]
    pub const fn le(self, other: Self) -> bool {
        !other.lt(self)
    }

    /// The later of two.
    #[inline]
    pub const fn max(self, other: Self) -> Self {
        if self.lt(other) { other } else { self }
    }

    /// The earlier of two.
    #[inline]
    pub const fn min(self, other: Self) -> Self {
        if self.lt(other) { self } else { other }
    }

    /// `n` before.
    #[inline]
    pub const fn back(self, n: u32) -> Self {
        Self(self.0.wrapping_sub(n))
    }
}

impl Add<u32> for Seq {
    type Output = Self;

    #[inline]
    fn add(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }
}

impl AddAssign<u32> for Seq {
    #[inline]
    fn add_assign(&mut self, n: u32) {
        self.0 = self.0.wrapping_add(n);
    }
}

/// Whether the 32-bit time `a` is before `b`, both wrapping.
#[inline]
pub(crate) const fn time_lt(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers RFC 9293 3.4
    #[test]
    fn order_holds_over_the_wrap() {
        let (before, after) = (Seq(u32::MAX - 5), Seq(10));
        assert!(before.lt(after) && !after.lt(before) && before.le(before));
        assert_eq!(after.since(before), 16);
        assert_eq!((before.max(after), before.min(after)), (after, before));
        assert_eq!((before + 16, after.back(16)), (after, before));
    }
}
