//! The packet memory of a driver as a frame. Every access is in front of the end the kernel names, which is how its
//! verifier wants it.

use core::arch::asm;
use core::ptr::{read_unaligned, write_unaligned};

use aya_ebpf::helpers::generated::{
    bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use aya_ebpf::programs::XdpContext;
use pelton_ebpf_classifier::Frame;

/// Offsets beyond are not looked at: the verifier wants a bound, and no header is so far behind.
const OFFSET_MAX: usize = 0x3fff;

/// The frame the program was called for.
pub struct PacketMemory<'a> {
    ctx: &'a XdpContext,
}

impl<'a> PacketMemory<'a> {
    #[inline(always)]
    pub fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }

    #[inline(always)]
    fn at<const N: usize>(&self, at: usize) -> Option<*mut [u8; N]> {
        let mut at = at;
        // SAFETY: no instruction. The compiler forgets what it knew of the offset, and so bounds the very register that is
        // added below, which is the one the verifier looks at.
        unsafe { asm!("/* {at} */", at = inout(reg) at, options(nomem, nostack, preserves_flags)) };
        if at > OFFSET_MAX {
            return None;
        }
        let start = self.ctx.data() + at;
        if start + N > self.ctx.data_end() {
            return None;
        }
        Some(start as *mut [u8; N])
    }
}

impl Frame for PacketMemory<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: the context is the one the program was called with.
        unsafe { bpf_xdp_get_buff_len(self.ctx.ctx) as usize }
    }

    #[inline(always)]
    fn get<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        // SAFETY: `at` was found to be followed by N bytes of the frame, just now.
        self.at(at).map(|place| unsafe { read_unaligned(place) })
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()> {
        let place = self.at(at)?;
        // SAFETY: as in `get`.
        unsafe { write_unaligned(place, bytes) };
        Some(())
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize, into: &mut [u8; N], len: usize) -> Option<()> {
        if len == 0 || len > N {
            return None;
        }
        // SAFETY: `into` has `len` bytes; the helper looks whether the frame has them.
        let failed =
            unsafe { bpf_xdp_load_bytes(self.ctx.ctx, at as u32, into.as_mut_ptr().cast(), len as u32) };
        if failed == 0 { Some(()) } else { None }
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, at: usize, from: &[u8; N], len: usize) -> Option<()> {
        if len == 0 || len > N {
            return None;
        }
        let from = from.as_ptr().cast_mut();
        // SAFETY: `from` has `len` bytes and is only read; the helper looks whether the frame has them.
        let failed = unsafe { bpf_xdp_store_bytes(self.ctx.ctx, at as u32, from.cast(), len as u32) };
        if failed == 0 { Some(()) } else { None }
    }

    #[inline(always)]
    fn resize(&mut self, len: usize) -> Option<()> {
        let by = len as i32 - self.len() as i32;
        // SAFETY: as in `len`; pointers into the frame are made anew at each access.
        if by == 0 || unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, by) } == 0 { Some(()) } else { None }
    }
}
