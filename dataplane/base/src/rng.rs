//! Randomness from a seed. The seed comes from the driver: the system's entropy in a broker, the run's seed
//! in the simulator.

use crate::hash::HashKey;

/// A seeded generator (wyrand). Fast and reproducible; not for secrets that outlive the process.
#[derive(Clone, Debug)]
pub struct Rng(fastrand::Rng);

impl Rng {
    /// A generator whose sequence depends on nothing but `seed`.
    pub fn with_seed(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A uniform `u64`.
    pub fn u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A uniform value below `bound`; zero for a bound of zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.u64(..bound) }
    }

    /// A uniform value in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.u64(low..=high)
    }

    /// True with probability `per_mille` / 1000.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.0.u32(..1000) < per_mille
    }

    /// A key for [`HashKey`], drawn from this generator.
    pub fn hash_key(&mut self) -> HashKey {
        HashKey::new(self.u64(), self.u64())
    }

    /// A generator independent of the further use of this one.
    pub fn fork(&mut self) -> Self {
        Self::with_seed(self.u64())
    }
}
