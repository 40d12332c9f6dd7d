//! The smallest XDP program there is for a port: each frame to the socket of its queue, made by hand so that
//! the port is tested without the broker's own program.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_MAP_CREATE: i32 = 0;
const BPF_MAP_UPDATE_ELEM: i32 = 2;
const BPF_PROG_LOAD: i32 = 5;
const BPF_LINK_CREATE: i32 = 28;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;

/// How a program is attached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attach {
    Native,
    Generic,
}

/// `bpf(2)`: a command and 128 bytes of what goes with it.
fn bpf(command: i32, words: &[(usize, u64, usize)]) -> i32 {
    let mut attributes = [0u8; 128];
    for &(offset, value, bytes) in words {
        attributes[offset..offset + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    }
    // SAFETY: the attributes are as long as is said; pointers in them are to memory of the caller's that lives
    // during the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), attributes.len()) };
    assert!(result >= 0, "bpf({command}): {}", std::io::Error::last_os_error());
    result as i32
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just given it to us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

const fn instruction(op: u8, registers: u8, offset: i16, immediate: i32) -> u64 {
    op as u64 | (registers as u64) << 8 | (offset as u16 as u64) << 16 | (immediate as u32 as u64) << 32
}

/// Steers every queue's frames of an interface to its socket, until what is returned is dropped.
pub(crate) fn steer<'a>(
    interface: &str,
    attach: Attach,
    queues: impl Iterator<Item = (u32, BorrowedFd<'a>)>,
) -> (OwnedFd, OwnedFd) {
    let map =
        owned(bpf(BPF_MAP_CREATE, &[(0, BPF_MAP_TYPE_XSKMAP.into(), 4), (4, 4, 4), (8, 4, 4), (12, 64, 4)]));
    for (queue, fd) in queues {
        let (key, value) = (queue.to_le_bytes(), fd.as_raw_fd().to_le_bytes());
        let words =
            [(0, map.as_raw_fd() as u64, 4), (8, key.as_ptr() as u64, 8), (16, value.as_ptr() as u64, 8)];
        bpf(BPF_MAP_UPDATE_ELEM, &words);
    }
    let code = [
        // r2 = context->rx_queue_index; r1 = map; r3 = XDP_PASS; return bpf_redirect_map(r1, r2, r3)
        instruction(0x61, 0x12, 16, 0),
        instruction(0x18, 0x11, 0, map.as_raw_fd()),
        instruction(0, 0, 0, 0),
        instruction(0xb7, 0x03, 0, 2),
        instruction(0x85, 0, 0, 51),
        instruction(0x95, 0, 0, 0),
    ];
    let license = c"GPL";
    let program = owned(bpf(
        BPF_PROG_LOAD,
        &[
            (0, BPF_PROG_TYPE_XDP.into(), 4),
            (4, code.len() as u64, 4),
            (8, code.as_ptr() as u64, 8),
            (16, license.as_ptr() as u64, 8),
        ],
    ));
    let index = u64::from(index_of(interface));
    let flags: u64 = match attach {
        Attach::Generic => 1 << 1,
        Attach::Native => 1 << 2,
    };
    let link = bpf(
        BPF_LINK_CREATE,
        &[(0, program.as_raw_fd() as u64, 4), (4, index, 4), (8, BPF_XDP.into(), 4), (12, flags, 4)],
    );
    (owned(link), map)
}

fn index_of(interface: &str) -> u32 {
    let name = std::ffi::CString::new(interface).expect("a name");
    // SAFETY: a string that ends with zero, only read.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}
