//! The smallest XDP program there is for a port, a dozen instructions made here: frames to the socket of their queue,
//! by their kind alone. For tools that have an interface to themselves, and for tests of the port; the broker's own
//! program knows services, lists and limits, and is loaded elsewhere.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::error::OpenError;
use crate::syscall::{self, BpfCommand};

const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// Queues a program steers for.
const QUEUES_MAX: u32 = 256;

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// In the driver.
    Native,
    /// Behind it, where the kernel has made its own buffers.
    Generic,
}

/// Which frames go to the sockets; the others stay with the kernel, as do those of queues without a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// All.
    Everything,
    /// TCP over IPv4, without VLAN.
    TcpOverIpv4,
}

/// An attached program; detached when dropped.
#[derive(Debug)]
pub struct CatchAll {
    _link: OwnedFd,
    _map: OwnedFd,
}

impl CatchAll {
    /// Attaches a program to an interface.
    ///
    /// # Errors
    /// If there is no such interface, the driver cannot, another program is attached, or there is no privilege.
    pub fn attach<'a>(
        interface: &str,
        hook: Hook,
        take: Take,
        queues: impl Iterator<Item = (u32, BorrowedFd<'a>)>,
    ) -> Result<Self, OpenError> {
        let Some(index) = syscall::interface_index(interface) else {
            return Err(OpenError::NoInterface { interface: interface.into() });
        };
        let system = |doing| move |error| OpenError::System { doing, error };
        let map = syscall::bpf_new(&BpfCommand::map_of_sockets(QUEUES_MAX))
            .map_err(system("make a table of AF_XDP sockets"))?;
        for (queue, socket) in queues {
            let entry = [queue, socket.as_raw_fd() as u32];
            syscall::bpf(&BpfCommand::put(&map, &entry)).map_err(system("enter an AF_XDP socket"))?;
        }
        let code = program(&map, take);
        let program =
            syscall::bpf_new(&BpfCommand::xdp_program(&code)).map_err(system("load an XDP program"))?;
        let flags = match hook {
            Hook::Generic => XDP_FLAGS_SKB_MODE,
            Hook::Native => XDP_FLAGS_DRV_MODE,
        };
        let link = syscall::bpf_new(&BpfCommand::link(&program, index, flags))
            .map_err(system("attach an XDP program"))?;
        Ok(Self { _link: link, _map: map })
    }
}

const fn instruction(op: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    op as u64
        | (to as u64 | (from as u64) << 4) << 8
        | (offset as u16 as u64) << 16
        | (immediate as u32 as u64) << 32
}

const LOAD_8: u8 = 0x71;
const LOAD_16: u8 = 0x69;
const LOAD_32: u8 = 0x61;
const LOAD_MAP: u8 = 0x18;
const MOVE: u8 = 0xbf;
const SET: u8 = 0xb7;
const ADD: u8 = 0x07;
const JUMP_IF_ABOVE: u8 = 0x2d;
const JUMP_IF_NOT: u8 = 0x55;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const REDIRECT_MAP: i32 = 51;
const XDP_PASS: i32 = 2;

fn program(map: &OwnedFd, take: Take) -> Vec<u64> {
    let steer = [
        instruction(LOAD_32, 2, 1, 16, 0), // r2 = context.rx_queue_index
        instruction(LOAD_MAP, 1, 1, 0, map.as_raw_fd()),
        0,
        instruction(SET, 3, 0, 0, XDP_PASS), // what is done without a socket
        instruction(CALL, 0, 0, 0, REDIRECT_MAP),
        instruction(EXIT, 0, 0, 0, 0),
    ];
    let pass = [instruction(SET, 0, 0, 0, XDP_PASS), instruction(EXIT, 0, 0, 0, 0)];
    let mut code = Vec::new();
    if take == Take::TcpOverIpv4 {
        // Jumps are counted from the instruction behind them; `pass` stands behind `steer`.
        let over = |left: i16| left + steer.len() as i16;
        code.extend([
            instruction(LOAD_32, 2, 1, 0, 0), // r2 = context.data
            instruction(LOAD_32, 3, 1, 4, 0), // r3 = context.data_end
            instruction(MOVE, 4, 2, 0, 0),
            instruction(ADD, 4, 0, 0, 34),
            instruction(JUMP_IF_ABOVE, 4, 3, over(4), 0),
            instruction(LOAD_16, 5, 2, 12, 0),
            instruction(JUMP_IF_NOT, 5, 0, over(2), i32::from(0x0800u16.to_be())),
            instruction(LOAD_8, 5, 2, 23, 0),
            instruction(JUMP_IF_NOT, 5, 0, over(0), libc::IPPROTO_TCP),
        ]);
    }
    code.extend(steer);
    if take != Take::Everything {
        // Not where nothing leads to it: the verifier refuses that.
        code.extend(pass);
    }
    code
}
