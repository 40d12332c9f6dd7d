//! The frame memory that a port shares with the kernel.

use std::ptr::NonNull;

use pelton_packet::Region;

use crate::error::OpenError;
use crate::settings::Pages;

/// Bytes of a huge page.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Mapped memory, zeroed, of whole pages.
#[derive(Debug)]
pub struct Umem {
    base: NonNull<u8>,
    bytes: usize,
    huge: bool,
}

// SAFETY: the mapping belongs to the value, wherever it is.
unsafe impl Send for Umem {}

impl Umem {
    /// Maps at least `bytes`.
    ///
    /// # Errors
    /// If there is no such memory.
    pub fn map(bytes: usize, pages: Pages) -> Result<Self, OpenError> {
        let huge_bytes = bytes.next_multiple_of(HUGE_PAGE_BYTES);
        if pages != Pages::Normal {
            if let Some(base) = map(huge_bytes, libc::MAP_HUGETLB | libc::MAP_POPULATE) {
                return Ok(Self { base, bytes: huge_bytes, huge: true });
            }
            if pages == Pages::Huge {
                return Err(OpenError::NoHugePages { pages: huge_bytes / HUGE_PAGE_BYTES });
            }
        }
        let bytes = bytes.next_multiple_of(4096);
        let base = map(bytes, libc::MAP_POPULATE).ok_or_else(|| OpenError::system("map frame memory"))?;
        Ok(Self { base, bytes, huge: false })
    }

    /// Whether it is made of huge pages.
    pub const fn is_huge(&self) -> bool {
        self.huge
    }
}

fn map(bytes: usize, flags: i32) -> Option<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: a new anonymous mapping touches no memory that is there.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if base == libc::MAP_FAILED { None } else { NonNull::new(base.cast()) }
}

impl Drop for Umem {
    fn drop(&mut self) {
        // SAFETY: mapped with this size in `map`, unmapped once.
        unsafe {
            libc::munmap(self.base.as_ptr().cast(), self.bytes);
        }
    }
}

// SAFETY: mapped zeroed and never moved; nobody but the pool's frames and the kernel, to which the pool lends
// frames, uses it.
unsafe impl Region for Umem {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}
