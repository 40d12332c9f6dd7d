//! Closed sets of counters: an enum names each thing that is counted, an array counts it. What is dropped,
//! refused or closed has a value of one of these enums, so that nothing goes missing without a number.

/// An enum whose values are counted. Made by [`counter_set!`](crate::counter_set).
pub trait CounterSet: Copy + 'static {
    /// The names operators see, in the order of the values.
    const NAMES: &'static [&'static str];
    /// One sentence on each, in the same order.
    const HELP: &'static [&'static str];
    /// A count for each: an array, so that counting is one instruction.
    type Counts: Clone + AsRef<[u64]> + AsMut<[u64]>;
    /// Nothing counted.
    const ZERO: Self::Counts;

    /// The position of this value in [`CounterSet::NAMES`].
    fn index(self) -> usize;

    /// The count of this value.
    fn of(self, counts: &mut Self::Counts) -> &mut u64;
}

/// Declares an enum of things to count, with the name and the sentence an operator sees for each.
///
/// ```
/// pelton_base::counter_set! {
///     /// Why a bucket was emptied.
///     pub enum Emptied {
///         /// It was full.
///         Full = "full",
///         /// Somebody kicked it.
///         Kicked = "kicked",
///     }
/// }
/// let mut emptied = pelton_base::Counters::<Emptied>::default();
/// emptied.add(Emptied::Kicked);
/// assert_eq!(emptied.get(Emptied::Kicked), 1);
/// ```
#[macro_export]
macro_rules! counter_set {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $(#[doc = $help:literal] $variant:ident = $label:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        $vis enum $name { $(#[doc = $help] $variant,)+ }

        impl $crate::CounterSet for $name {
            const NAMES: &'static [&'static str] = &[$($label,)+];
            const HELP: &'static [&'static str] = &[$($help,)+];
            type Counts = [u64; [$($label,)+].len()];
            const ZERO: Self::Counts = [0; [$($label,)+].len()];

            #[inline]
            fn index(self) -> usize {
                self as usize
            }

            #[inline]
            fn of(self, counts: &mut Self::Counts) -> &mut u64 {
                &mut counts[self as usize]
            }
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name operators see.
            pub fn name(self) -> &'static str {
                <Self as $crate::CounterSet>::NAMES[$crate::CounterSet::index(self)]
            }
        }
    };
}

/// One count per value of `E`.
pub struct Counters<E: CounterSet> {
    counts: E::Counts,
}

impl<E: CounterSet> Counters<E> {
    /// Counts one.
    #[inline]
    pub fn add(&mut self, what: E) {
        *what.of(&mut self.counts) += 1;
    }

    /// Counts `n`.
    #[inline]
    pub fn add_n(&mut self, what: E, n: u64) {
        *what.of(&mut self.counts) += n;
    }

    /// The count so far.
    pub fn get(&self, what: E) -> u64 {
        self.counts.as_ref()[what.index()]
    }

    /// The sum over all values.
    pub fn total(&self) -> u64 {
        self.counts.as_ref().iter().sum()
    }

    /// Names and counts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        E::NAMES.iter().copied().zip(self.counts.as_ref().iter().copied())
    }

    /// Adds another shard's counts to these.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.as_mut().iter_mut().zip(other.counts.as_ref()) {
            *mine += theirs;
        }
    }
}

impl<E: CounterSet> Default for Counters<E> {
    fn default() -> Self {
        Self { counts: E::ZERO }
    }
}

impl<E: CounterSet> Clone for Counters<E> {
    fn clone(&self) -> Self {
        Self { counts: self.counts.clone() }
    }
}

impl<E: CounterSet> std::fmt::Debug for Counters<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().filter(|&(_, count)| count != 0)).finish()
    }
}
