//! Bytes of a frame, wherever they lie: in the packet memory of a driver, or in a slice.

/// A frame that is looked at, and that can be turned into its answer.
pub trait Frame {
    /// Bytes it has.
    fn len(&self) -> usize;

    /// Whether it has none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `N` bytes from `at` on, if it has them.
    fn get<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// Overwrites `N` bytes from `at` on, if it has them.
    #[must_use]
    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()>;

    /// Copies the first `len` of `N` bytes from `at` on; `len` is not zero. The others stay.
    #[must_use]
    fn load<const N: usize>(&self, at: usize, into: &mut [u8; N], len: usize) -> Option<()>;

    /// Overwrites bytes from `at` on by the first `len` of `from`; `len` is not zero.
    #[must_use]
    fn store<const N: usize>(&mut self, at: usize, from: &[u8; N], len: usize) -> Option<()>;

    /// Makes it `len` bytes long, at its end. Bytes that are new have any value. `None` if there is no room.
    #[must_use]
    fn resize(&mut self, len: usize) -> Option<()>;
}

/// A frame in memory, with room to grow.
#[derive(Debug)]
pub struct SliceFrame<'a> {
    room: &'a mut [u8],
    len: usize,
}

impl<'a> SliceFrame<'a> {
    /// The first `len` bytes of `room` are a frame, the rest is room to grow.
    ///
    /// # Panics
    /// If `room` is shorter.
    pub fn new(room: &'a mut [u8], len: usize) -> Self {
        assert!(len <= room.len(), "a frame of {len} bytes in {}", room.len());
        Self { room, len }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }
}

impl Frame for SliceFrame<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn get<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes().get(at..)?.first_chunk().copied()
    }

    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()> {
        *self.room[..self.len].get_mut(at..)?.first_chunk_mut()? = bytes;
        Some(())
    }

    fn load<const N: usize>(&self, at: usize, into: &mut [u8; N], len: usize) -> Option<()> {
        into.get_mut(..len)?.copy_from_slice(self.bytes().get(at..)?.get(..len)?);
        Some(())
    }

    fn store<const N: usize>(&mut self, at: usize, from: &[u8; N], len: usize) -> Option<()> {
        self.room[..self.len].get_mut(at..)?.get_mut(..len)?.copy_from_slice(from.get(..len)?);
        Some(())
    }

    fn resize(&mut self, len: usize) -> Option<()> {
        (len <= self.room.len()).then(|| self.len = len)
    }
}
