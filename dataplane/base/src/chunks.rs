//! A table in chunks: it grows without moving what it holds. A vector of a million connections would be copied at
//! once when it doubles, a pause of a tenth of a second, and be half empty afterwards.

use std::ops::{Index, IndexMut};

use crate::mem::prefetch;

const SHIFT: u32 = 9;
/// Values of one chunk. 512 of whatever is a multiple of eight bytes are whole pages: the end of a block that the
/// allocator has rounded up is never touched.
const CHUNK: usize = 1 << SHIFT;
const MASK: usize = CHUNK - 1;

/// Its values begin with a cache line: those whose size divides one, or is some, share none they need not.
#[repr(align(64))]
struct Chunk<T>([T; CHUNK]);

/// A growing table of values by index, 512 to a chunk. A chunk is made of default values, so that it is an array
/// and only its own place in the table has to be checked when it is indexed.
pub struct Chunks<T> {
    chunks: Vec<Box<Chunk<T>>>,
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

    /// The value at `index`. Behind the last value there may be some defaults.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&T> {
        Some(&self.chunks.get((index >> SHIFT) as usize)?.0[index as usize & MASK])
    }

    /// As [`Chunks::get`], mutable.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        Some(&mut self.chunks.get_mut((index >> SHIFT) as usize)?.0[index as usize & MASK])
    }

    /// Asks for the value at `index`, which will be wanted soon.
    #[inline]
    pub fn prefetch(&self, index: u32) {
        if let Some(value) = self.get(index) {
            prefetch(value);
        }
    }

    /// All values, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.0.iter()).take(self.len)
    }

    /// As [`Chunks::iter`], mutable.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flat_map(|chunk| chunk.0.iter_mut()).take(self.len)
    }
}

impl<T: Default> Chunks<T> {
    /// Adds a value behind the last.
    pub fn push(&mut self, value: T) {
        let index = self.len as u32;
        self.grow_to(index);
        self[index] = value;
    }

    /// Adds default values until `index` is one of them.
    pub fn grow_to(&mut self, index: u32) {
        while self.chunks.len() <= (index >> SHIFT) as usize {
            self.chunks.push(Box::new(Chunk(std::array::from_fn(|_| T::default()))));
        }
        self.len = self.len.max(index as usize + 1);
    }
}

impl<T> Index<u32> for Chunks<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.chunks[(index >> SHIFT) as usize].0[index as usize & MASK]
    }
}

impl<T> IndexMut<u32> for Chunks<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.chunks[(index >> SHIFT) as usize].0[index as usize & MASK]
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
            assert_eq!(chunks.len(), vector.len());
            chunks.push(n * 3);
            vector.push(n * 3);
            assert_eq!(chunks[n], n * 3);
        }
        assert_eq!(chunks.get(3 * CHUNK as u32), None);
        *chunks.get_mut(256).expect("there") = 7;
        chunks[511] += 1;
        vector[256] = 7;
        vector[511] += 1;
        assert!(chunks.iter().eq(&vector));
        assert!(chunks.iter_mut().map(|value| *value).eq(vector.iter().copied()));
        chunks.grow_to(9000);
        assert_eq!((chunks.len(), chunks.get(9000)), (9001, Some(&0)));
        chunks.grow_to(5);
        assert_eq!(chunks.len(), 9001);
    }

    #[test]
    fn a_value_stays_where_it_is() {
        let mut chunks = Chunks::new();
        chunks.push(0u64);
        let first: *const u64 = &chunks[0];
        chunks.grow_to(100_000);
        assert_eq!(first, &raw const chunks[0]);
    }
}
