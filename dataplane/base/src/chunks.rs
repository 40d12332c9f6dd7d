//! A vector in chunks: it grows without moving what it holds. A table of a million connections would otherwise
//! be copied at once when it doubles, a pause of a tenth of a second, and be half empty afterwards.

use std::ops::{Index, IndexMut};

const SHIFT: u32 = 10;
/// Values of one chunk.
const CHUNK: usize = 1 << SHIFT;
const MASK: usize = CHUNK - 1;

/// A growing table of values by index. Memory is taken for a chunk of 1,024 values at once, and touched value by
/// value.
pub struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Chunks<T> {
    /// No values.
    pub const fn new() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }

    /// How many values there are.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at `index`.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&T> {
        self.chunks.get((index >> SHIFT) as usize)?.get(index as usize & MASK)
    }

    /// As [`Chunks::get`], mutable.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.chunks.get_mut((index >> SHIFT) as usize)?.get_mut(index as usize & MASK)
    }

    /// Adds a value behind the last.
    pub fn push(&mut self, value: T) {
        if self.len & MASK == 0 {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[self.len >> SHIFT].push(value);
        self.len += 1;
    }

    /// Adds values until `index` is one of them.
    pub fn grow_to(&mut self, index: u32, mut value: impl FnMut() -> T) {
        while self.len <= index as usize {
            self.push(value());
        }
    }

    /// All values, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }

    /// As [`Chunks::iter`], mutable.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }
}

impl<T> Index<u32> for Chunks<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.chunks[(index >> SHIFT) as usize][index as usize & MASK]
    }
}

impl<T> IndexMut<u32> for Chunks<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.chunks[(index >> SHIFT) as usize][index as usize & MASK]
    }
}

impl<T> std::fmt::Debug for Chunks<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks").field("len", &self.len).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_a_vector_would() {
        let mut chunks = Chunks::new();
        let mut vector = Vec::new();
        for n in 0..5 * CHUNK as u32 / 2 {
            assert_eq!(chunks.get(n), None);
            chunks.push(n * 3);
            vector.push(n * 3);
            assert_eq!((chunks.len(), chunks[n]), (vector.len(), n * 3));
        }
        *chunks.get_mut(1024).expect("there") = 7;
        chunks[2047] += 1;
        vector[1024] = 7;
        vector[2047] += 1;
        assert!(chunks.iter().eq(&vector));
        assert!(chunks.iter_mut().map(|value| *value).eq(vector.iter().copied()));
        chunks.grow_to(9000, || 1);
        assert_eq!((chunks.len(), chunks.get(9000), chunks.get(9001)), (9001, Some(&1), None));
        chunks.grow_to(5, || 2);
        assert_eq!(chunks.len(), 9001);
    }

    #[test]
    fn a_value_stays_where_it_is() {
        let mut chunks = Chunks::new();
        chunks.push(0u64);
        let first: *const u64 = &chunks[0];
        chunks.grow_to(100_000, || 1);
        assert_eq!(first, &raw const chunks[0]);
    }
}
