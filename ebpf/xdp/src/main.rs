//! The XDP program: what `pelton-ebpf-classifier` decides, with maps for tables and the packet memory for frames.
//! Nothing is decided here.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod maps;
mod memory;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use pelton_ebpf_classifier::{Action, Reason, steer};

use crate::maps::{KernelTables, SOCKETS, count, scratch};
use crate::memory::PacketMemory;

/// For frames that lie in one piece.
#[xdp]
pub fn pelton_steer(ctx: XdpContext) -> u32 {
    run(&ctx)
}

/// For devices whose frames may lie in several pieces: headers are in the first.
#[xdp(frags)]
pub fn pelton_frags(ctx: XdpContext) -> u32 {
    run(&ctx)
}

#[inline(always)]
fn run(ctx: &XdpContext) -> u32 {
    // There is one for each CPU.
    let Some(scratch) = scratch() else { return XDP_PASS };
    let mut reason = steer(&mut PacketMemory::new(ctx), &KernelTables, scratch);
    let action = match reason.action() {
        Action::Pass => XDP_PASS,
        Action::Drop => XDP_DROP,
        Action::Answer => XDP_TX,
        Action::Redirect => match SOCKETS.redirect(ctx.rx_queue_index(), XDP_DROP.into()) {
            Ok(_) => XDP_REDIRECT,
            Err(action) => {
                reason = Reason::DropNoSocket;
                action
            }
        },
    };
    count(reason);
    action
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
