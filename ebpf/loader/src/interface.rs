//! What XDP program an interface has, whoever attached it: RTM_GETLINK (rtnetlink(7)) and the list of programs.

use std::fmt;
use std::io;

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use crate::attach::Mode;
use crate::netlink::{self, Answer, Protocol, attribute, cut, word};

/// A program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its number in the kernel.
    pub program_id: u32,
    /// Its name, if it has one and may be read.
    pub name: Option<String>,
    /// How it is attached. None: in hardware, or in several ways at once.
    pub mode: Option<Mode>,
}

impl Attached {
    /// Whether it is this program, of this process or another.
    pub fn is_ours(&self) -> bool {
        self.name.as_deref().is_some_and(|name| matches!(name, "pelton_steer" | "pelton_frags"))
    }
}

impl fmt::Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Some(Mode::Native) => "native",
            Some(Mode::Generic) => "generic",
            None => "in hardware or in several ways",
        };
        let (name, id) = (self.name.as_deref().unwrap_or("without a name"), self.program_id);
        write!(f, "program {id} ({name}), {mode}")?;
        if self.is_ours() {
            write!(f, "; it is that of another broker")
        } else {
            write!(f, "; detach it by `ip link set dev INTERFACE xdp off` or by whatever attached it")
        }
    }
}

/// The program an interface has, if any.
///
/// # Errors
/// No such interface, or what the kernel says.
pub fn attached(interface: &str) -> io::Result<Option<Attached>> {
    of_index(index(interface)?)
}

pub(crate) fn index(interface: &str) -> io::Result<u32> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(netdevice::name_to_index(socket, interface)?)
}

pub(crate) fn of_index(index: u32) -> io::Result<Option<Attached>> {
    let reply = ask(index)?;
    let Some((mode, id)) = xdp(&reply)? else { return Ok(None) };
    // Not to be seen without privilege; then it has no name here.
    let name = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned));
    Ok(Some(Attached { program_id: id, name, mode }))
}

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
/// Bytes of `ifinfomsg`.
const INFO: usize = 16;
const IFLA_XDP: u16 = 43;

fn ask(index: u32) -> io::Result<Answer> {
    let mut info = [0; INFO];
    info[4..8].copy_from_slice(&index.to_ne_bytes());
    netlink::ask(Protocol::Route, RTM_GETLINK, &info)
}

/// How XDP is attached according to an answer, and the program's number.
fn xdp(reply: &Answer) -> io::Result<Option<(Option<Mode>, u32)>> {
    const IFLA_XDP_ATTACHED: u16 = 2;
    const IFLA_XDP_PROG_ID: u16 = 4;
    const IFLA_XDP_DRV_PROG_ID: u16 = 5;
    const IFLA_XDP_SKB_PROG_ID: u16 = 6;
    const IFLA_XDP_HW_PROG_ID: u16 = 7;
    const DRIVER: u8 = 1;
    const SKB: u8 = 2;
    if reply.kind != RTM_NEWLINK {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer of rtnetlink is of another kind"));
    }
    let Some(xdp) = attribute(reply.body.get(INFO..).ok_or_else(cut)?, IFLA_XDP) else { return Ok(None) };
    let mode = match attribute(xdp, IFLA_XDP_ATTACHED).and_then(<[u8]>::first) {
        None | Some(0) => return Ok(None),
        Some(&DRIVER) => Some(Mode::Native),
        Some(&SKB) => Some(Mode::Generic),
        Some(_) => None,
    };
    // With several there is no single number.
    let id = [IFLA_XDP_PROG_ID, IFLA_XDP_DRV_PROG_ID, IFLA_XDP_SKB_PROG_ID, IFLA_XDP_HW_PROG_ID]
        .iter()
        .find_map(|&kind| word(attribute(xdp, kind)?, 0))
        .unwrap_or(0);
    Ok(Some((mode, id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_none_and_what_is_not_there_is_an_error() {
        assert_eq!(attached("lo").unwrap(), None);
        assert!(attached("no-such-thing").is_err());
        assert!(of_index(0x7fff_0000).is_err());
    }

    #[test]
    fn an_answer_that_is_cut_is_an_error_or_nothing() {
        let whole = ask(index("lo").unwrap()).unwrap();
        for len in 0..whole.body.len() {
            let answer = Answer { body: whole.body[..len].to_vec(), ..whole };
            assert!(!matches!(xdp(&answer), Ok(Some(_))), "{len} bytes");
        }
    }
}
