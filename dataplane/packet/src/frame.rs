//! An owned frame: the right to use one piece of a pool's memory, and which part of it holds bytes.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// One frame of a [`FramePool`](crate::FramePool). It is not copied and not shared: who has it may write it. It
/// goes back by [`FramePool::put`](crate::FramePool::put); one that is dropped instead is lost to its pool, which
/// shows in [`FramePool::outstanding`](crate::FramePool::outstanding).
///
/// Dereferences to the bytes between its start and its end.
pub struct Frame {
    base: NonNull<u8>,
    index: u32,
    capacity: u16,
    start: u16,
    len: u16,
}

// SAFETY: a frame is the only access to its memory while it exists (the pool hands each piece out once), so it
// may be used from whichever thread holds it.
unsafe impl Send for Frame {}
// SAFETY: a shared frame only gives out shared slices.
unsafe impl Sync for Frame {}

impl Frame {
    /// # Safety
    /// `base` must point to `capacity` initialised bytes that nothing else accesses while the frame exists, and
    /// that are not freed before it is given back.
    pub(crate) const unsafe fn new(base: NonNull<u8>, index: u32, capacity: u16) -> Self {
        Self { base, index, capacity, start: 0, len: 0 }
    }

    pub(crate) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Which frame of its pool it is.
    #[inline]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// How many bytes it can hold.
    #[inline]
    pub const fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Where its bytes start in its memory.
    #[inline]
    pub const fn start(&self) -> usize {
        self.start as usize
    }

    /// Says which part of the memory holds bytes.
    ///
    /// # Panics
    /// If that part is not inside of the frame.
    #[inline]
    pub fn set_range(&mut self, start: usize, len: usize) {
        assert!(start + len <= self.capacity(), "{start}+{len} in a frame of {}", self.capacity);
        self.start = start as u16;
        self.len = len as u16;
    }

    /// Drops `n` bytes from the front.
    ///
    /// # Panics
    /// If it has fewer.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len(), "{n} bytes dropped from a frame with {}", self.len);
        self.start += n as u16;
        self.len -= n as u16;
    }

    /// Keeps the first `n` bytes, if it has more.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(n.min(usize::from(u16::MAX)) as u16);
    }

    /// Makes it hold a copy of `bytes`.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn fill(&mut self, bytes: &[u8]) {
        self.set_range(0, bytes.len());
        self.copy_from_slice(bytes);
    }
}

impl Deref for Frame {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `start + len <= capacity` always holds (`set_range`, `advance`, `truncate`), the memory is
        // initialised and this frame's alone (contract of `new`).
        unsafe {
            std::slice::from_raw_parts(self.base.as_ptr().add(usize::from(self.start)), usize::from(self.len))
        }
    }
}

impl DerefMut for Frame {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` excludes other slices of this frame.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.base.as_ptr().add(usize::from(self.start)),
                usize::from(self.len),
            )
        }
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({}: {} bytes at {})", self.index, self.len, self.start)
    }
}
