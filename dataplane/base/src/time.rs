//! Monotonic and wall time as plain integers. Whoever drives a stage reads the clocks; a stage only compares.

use std::ops::{Add, Sub};

/// Monotonic time: nanoseconds since an origin the driver chose. Never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// Later than every instant that occurs: "no deadline".
    pub const NEVER: Self = Self(u64::MAX);

    /// The instant `ms` milliseconds after the origin.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// Whole milliseconds since the origin.
    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The instant `ms` milliseconds later, or [`Mono::NEVER`] where that overflows.
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// The instant `us` microseconds later.
    pub const fn plus_us(self, us: u64) -> Self {
        Self(self.0.saturating_add(us.saturating_mul(1_000)))
    }

    /// Nanoseconds from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Mono {
    type Output = Self;

    /// Adds nanoseconds, saturating.
    fn add(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }
}

impl Sub for Mono {
    type Output = u64;

    /// Nanoseconds between two instants, saturating at zero.
    fn sub(self, other: Self) -> u64 {
        self.since(other)
    }
}

/// Wall time: milliseconds since the Unix epoch. May jump; used only for what outlives the process
/// (message expiry, session expiry, stored timers).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub u64);

impl Wall {
    /// "Does not expire".
    pub const NEVER: Self = Self(u64::MAX);

    /// The instant `seconds` later, or [`Wall::NEVER`] where that overflows.
    pub const fn plus_seconds(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(seconds as u64 * 1_000))
    }

    /// Milliseconds from `earlier` to `self`; zero if the clock went back.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole seconds left until `self`, rounded up; zero when passed.
    pub const fn seconds_from(self, now: Self) -> u64 {
        self.0.saturating_sub(now.0).div_ceil(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_stays_never() {
        assert_eq!(Mono::NEVER.plus_ms(5), Mono::NEVER);
        assert_eq!(Wall::NEVER.plus_seconds(5), Wall::NEVER);
    }

    #[test]
    fn remaining_seconds_round_up() {
        assert_eq!(Wall(10_001).seconds_from(Wall(10_000)), 1);
        assert_eq!(Wall(10_000).seconds_from(Wall(10_000)), 0);
        assert_eq!(Wall(9_000).seconds_from(Wall(10_000)), 0);
    }
}
