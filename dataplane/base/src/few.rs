//! A list that mostly has one entry, where there can be a million such lists: one entry stands in place, more
//! of them in a vector behind one pointer.

use std::ops::{Deref, DerefMut};

/// A list by position. With one entry it is that entry (and what tells it from the others), no more.
#[derive(Clone, Debug, Default)]
pub enum Few<T> {
    /// No entry.
    #[default]
    None,
    /// One.
    One(T),
    /// Two or more.
    Many(Box<Vec<T>>),
}

impl<T> Deref for Few<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(list) => list,
        }
    }
}

impl<T> DerefMut for Few<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::None => &mut [],
            Self::One(entry) => std::slice::from_mut(entry),
            Self::Many(list) => list,
        }
    }
}

impl<T> Few<T> {
    /// Adds an entry behind the others; returns its position.
    pub fn push(&mut self, entry: T) -> usize {
        *self = match std::mem::take(self) {
            Self::None => Self::One(entry),
            Self::One(first) => Self::Many(Box::new(vec![first, entry])),
            Self::Many(mut list) => {
                list.push(entry);
                Self::Many(list)
            }
        };
        self.len() - 1
    }

    /// Takes the last entry out.
    pub fn pop(&mut self) -> Option<T> {
        let last = self.len().checked_sub(1)?;
        Some(self.swap_remove(last))
    }

    /// Takes the entry at `position` out; the last one takes its place.
    ///
    /// # Panics
    /// If there is none.
    pub fn swap_remove(&mut self, position: usize) -> T {
        match std::mem::take(self) {
            Self::Many(mut list) => {
                let gone = list.swap_remove(position);
                *self = match list.len() {
                    1 => list.pop().map_or(Self::None, Self::One),
                    _ => Self::Many(list),
                };
                gone
            }
            Self::One(entry) if position == 0 => entry,
            _ => panic!("no entry at {position}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Agrees with a vector.
        #[test]
        fn agrees_with_a_vector(steps in proptest::collection::vec((0..4u8, any::<u16>()), 0..100)) {
            let mut few = Few::None;
            let mut vector = Vec::new();
            for (step, n) in steps {
                match step {
                    0 if !vector.is_empty() => {
                        let position = usize::from(n) % vector.len();
                        prop_assert_eq!(few.swap_remove(position), vector.swap_remove(position));
                    }
                    1 => prop_assert_eq!(few.pop(), vector.pop()),
                    _ => {
                        prop_assert_eq!(few.push(n), vector.len());
                        vector.push(n);
                    }
                }
                prop_assert_eq!(&few[..], &vector[..]);
                few.iter_mut().chain(&mut vector).for_each(|entry| *entry = entry.wrapping_add(1));
                prop_assert_eq!(matches!(few, Few::Many(_)), vector.len() > 1);
            }
        }
    }
}
