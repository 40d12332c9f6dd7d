//! The pool: a region of memory in frames of one size, and who has which.
//!
//! Every frame is in one of three places: free, owned by somebody as a [`Frame`], or lent to a device that
//! knows it by index alone (an AF_XDP ring). The pool checks every step between them, so that an index a device
//! made up, a frame given back twice or a frame of another pool is found at once.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::frame::Frame;

/// Memory for frames that somebody else provides, huge pages registered with a device for example.
///
/// # Safety
/// `base` must point to `bytes` initialised bytes that stay where they are, and are accessed by nobody but the
/// pool's frames (and the device they are lent to), as long as the value lives.
pub unsafe trait Region: Send {
    /// The first byte.
    fn base(&self) -> NonNull<u8>;
    /// How many.
    fn bytes(&self) -> usize;
}

/// Zeroed memory of this process, on page boundaries.
struct Heap {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory belongs to the value, wherever it is.
unsafe impl Send for Heap {}

impl Heap {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes.max(1), 4096).expect("a pool below the address space");
        // SAFETY: the size is not zero.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        Self { base, layout }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`, freed once. The pool drops it only with all frames home.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

// SAFETY: allocated zeroed and never moved; only `FramePool` uses it.
unsafe impl Region for Heap {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn bytes(&self) -> usize {
        self.layout.size()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Free,
    Owned,
    Lent,
}

/// A pool of frames. Frames are taken last freed first, so that few of them stay warm.
pub struct FramePool {
    /// `None` once it was given up because frames were out when the pool was dropped.
    region: Option<Box<dyn Region>>,
    base: NonNull<u8>,
    frame_bytes: u16,
    places: Vec<Place>,
    free: Vec<u32>,
    exhausted: u64,
}

// SAFETY: the pool never reads frame memory; `base` is only used to make frames.
unsafe impl Send for FramePool {}

impl FramePool {
    /// A pool of `frames` frames of `frame_bytes` each, in memory of its own.
    pub fn new(frames: u32, frame_bytes: u16) -> Self {
        let bytes = frames as usize * usize::from(frame_bytes);
        Self::over(Heap::new(bytes), frame_bytes)
    }

    /// A pool over memory that was set up elsewhere, as many frames as fit.
    ///
    /// # Panics
    /// For frames of no size.
    pub fn over(region: impl Region + 'static, frame_bytes: u16) -> Self {
        assert!(frame_bytes > 0, "frames hold something");
        let frames = region.bytes() / usize::from(frame_bytes);
        let frames = u32::try_from(frames).expect("a pool below 2^32 frames");
        let base = region.base();
        Self {
            region: Some(Box::new(region)),
            base,
            frame_bytes,
            places: vec![Place::Free; frames as usize],
            free: (0..frames).rev().collect(),
            exhausted: 0,
        }
    }

    /// Bytes a frame can hold.
    pub fn frame_bytes(&self) -> usize {
        usize::from(self.frame_bytes)
    }

    /// Frames in all.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether the pool has no frames at all.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Frames that can be taken.
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Frames that are owned or lent.
    pub fn outstanding(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// How often a frame was asked for and there was none.
    pub fn exhausted(&self) -> u64 {
        self.exhausted
    }

    /// An empty frame; `None` is counted.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        let Some(index) = self.free.pop() else {
            self.exhausted += 1;
            return None;
        };
        self.step(index, Place::Free, Place::Owned);
        Some(self.make(index))
    }

    /// Takes a frame back.
    ///
    /// # Panics
    /// If it belongs to another pool.
    #[inline]
    pub fn put(&mut self, frame: Frame) {
        let index = self.check(&frame);
        self.step(index, Place::Owned, Place::Free);
        self.free.push(index);
    }

    /// Gives a frame to a device, which knows it by its index.
    ///
    /// # Panics
    /// If it belongs to another pool.
    #[inline]
    pub fn lend(&mut self, frame: Frame) -> u32 {
        let index = self.check(&frame);
        self.step(index, Place::Owned, Place::Lent);
        index
    }

    /// A frame that a device gives back, with `len` bytes at `start`. `None` if the device does not have it or
    /// the bytes are not inside of it: nothing that a device says is believed.
    #[inline]
    pub fn reclaim(&mut self, index: u32, start: usize, len: usize) -> Option<Frame> {
        if self.places.get(index as usize) != Some(&Place::Lent) || start + len > self.frame_bytes() {
            return None;
        }
        self.step(index, Place::Lent, Place::Owned);
        let mut frame = self.make(index);
        frame.set_range(start, len);
        Some(frame)
    }

    #[inline]
    fn address(&self, index: u32) -> NonNull<u8> {
        // SAFETY: `index` is below the number of frames (all callers), so the offset is inside of the region.
        unsafe { self.base.add(index as usize * usize::from(self.frame_bytes)) }
    }

    #[inline]
    fn make(&self, index: u32) -> Frame {
        // SAFETY: the places table says that nobody else has this piece; the region outlives the frame (see
        // `drop`).
        unsafe { Frame::new(self.address(index), index, self.frame_bytes) }
    }

    #[inline]
    fn check(&self, frame: &Frame) -> u32 {
        let index = frame.index();
        assert!(
            (index as usize) < self.places.len() && self.address(index) == frame.base(),
            "a frame goes back to its own pool"
        );
        index
    }

    #[inline]
    fn step(&mut self, index: u32, from: Place, to: Place) {
        let place = &mut self.places[index as usize];
        // Two owners of one frame cannot be made in safe code; a device that completes a frame twice is caught
        // in `reclaim`.
        debug_assert_eq!(*place, from, "frame {index}");
        *place = to;
    }
}

impl Drop for FramePool {
    fn drop(&mut self) {
        if self.outstanding() != 0 {
            // Somebody still holds a frame: its memory must not go away under it.
            std::mem::forget(self.region.take());
        }
    }
}

impl std::fmt::Debug for FramePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FramePool")
            .field("frames", &self.len())
            .field("outstanding", &self.outstanding())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_are_apart_and_exhaustion_is_counted() {
        let mut pool = FramePool::new(2, 64);
        let (mut a, mut b) = (pool.take().unwrap(), pool.take().unwrap());
        assert!(pool.take().is_none());
        assert_eq!(pool.exhausted(), 1);
        a.fill(&[1; 64]);
        b.fill(&[2; 64]);
        assert_eq!((&a[..], &b[..]), (&[1u8; 64][..], &[2u8; 64][..]));
        pool.put(a);
        assert_eq!(pool.available(), 1);
        pool.put(b);
        assert_eq!(pool.outstanding(), 0);
    }

    #[test]
    #[should_panic(expected = "its own pool")]
    fn a_frame_of_another_pool_is_refused() {
        let (mut a, mut b) = (FramePool::new(1, 64), FramePool::new(1, 64));
        let frame = a.take().unwrap();
        b.put(frame);
    }

    #[test]
    fn what_a_device_says_is_checked() {
        let mut pool = FramePool::new(2, 64);
        let frame = pool.take().unwrap();
        let index = pool.lend(frame);
        assert!(pool.reclaim(index, 60, 5).is_none(), "beyond the frame");
        assert!(pool.reclaim(1 - index, 0, 1).is_none(), "free, not lent");
        assert!(pool.reclaim(7, 0, 1).is_none(), "no such frame");
        let frame = pool.reclaim(index, 4, 60).unwrap();
        assert!(pool.reclaim(index, 0, 1).is_none(), "given back twice");
        assert_eq!((frame.start(), frame.len()), (4, 60));
        pool.put(frame);
    }

    #[test]
    fn a_frame_outlives_its_pool() {
        let mut pool = FramePool::new(1, 64);
        let mut frame = pool.take().unwrap();
        drop(pool);
        frame.fill(b"still mine");
        assert_eq!(&frame[..], b"still mine");
    }

    proptest! {
        /// Whatever is taken, lent, reclaimed and given back: no frame is in two hands, none is lost.
        #[test]
        fn no_frame_is_lost(steps in proptest::collection::vec((0..4u8, 0..8u32), 0..200)) {
            let mut pool = FramePool::new(8, 32);
            let mut owned: Vec<Frame> = Vec::new();
            let mut lent: Vec<u32> = Vec::new();
            for (step, n) in steps {
                match step {
                    0 => match pool.take() {
                        Some(mut frame) => {
                            frame.fill(&frame.index().to_be_bytes());
                            owned.push(frame);
                        }
                        None => prop_assert_eq!(owned.len() + lent.len(), 8),
                    },
                    1 if !owned.is_empty() => pool.put(owned.swap_remove(n as usize % owned.len())),
                    2 if !owned.is_empty() => lent.push(pool.lend(owned.swap_remove(n as usize % owned.len()))),
                    _ => match pool.reclaim(n, 0, 4) {
                        Some(frame) => {
                            let at = lent.iter().position(|&index| index == n);
                            prop_assert!(at.is_some());
                            lent.swap_remove(at.unwrap_or_default());
                            owned.push(frame);
                        }
                        None => prop_assert!(!lent.contains(&n)),
                    },
                }
                prop_assert_eq!(pool.outstanding(), owned.len() + lent.len());
                for frame in &owned {
                    prop_assert_eq!(&frame[..], &frame.index().to_be_bytes()[..]);
                }
            }
        }
    }
}
