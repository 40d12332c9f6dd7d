//! A wire between two TAP devices: what comes from the one goes to the other. It puts the kernel's server behind the same
//! kind of device as ours.

use std::io::{Error, Result};
use std::os::fd::AsFd;

use pelton_base::Mono;
use pelton_packet::{Frame, Port};
use pelton_tap::{TapPort, attach};
use rustix::event::{PollFd, PollFlags, poll};

/// Frames taken at once.
const BURST: usize = 64;

pub(crate) fn run(one: &str, other: &str) -> Result<()> {
    let open = |name: &str| -> Result<TapPort> {
        let mut attached = attach(name, 1, 1_024, None).map_err(Error::other)?;
        attached.ports.pop().ok_or_else(|| Error::other("no queue"))
    };
    let (mut one, mut other) = (open(one)?, open(other)?);
    println!("ready");
    let mut frames = Vec::with_capacity(BURST);
    loop {
        let moved = carry(&mut one, &mut other, &mut frames) + carry(&mut other, &mut one, &mut frames);
        if moved == 0 {
            let ends = [one.as_fd(), other.as_fd()];
            poll(&mut ends.map(|end| PollFd::from_borrowed_fd(end, PollFlags::IN)), None)?;
        }
    }
}

/// Takes what has come from one end to the other; how many frames.
fn carry(from: &mut TapPort, to: &mut TapPort, frames: &mut Vec<Frame>) -> usize {
    let count = from.receive(Mono(0), BURST, frames);
    for frame in frames.drain(..) {
        if let Some(mut copy) = to.take() {
            copy.fill(&frame);
            // A queue that is full loses it, as a wire's would.
            if let Err(copy) = to.send(Mono(0), copy) {
                to.put(copy);
            }
        }
        from.put(frame);
    }
    count
}
