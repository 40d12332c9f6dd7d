//! The requests that have no safe face: `ioctl` on the tun device, and on a socket to ask about an interface.

use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{c_char, c_short, ifreq};

/// A request about an interface; `None` if the name does not fit.
fn named(name: &str) -> Option<ifreq> {
    // SAFETY: plain data, for which zeros are valid.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains(['\0', '/', '%']) {
        return None;
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as c_char;
    }
    Some(request)
}

/// Makes `file`, which is `/dev/net/tun` opened, a queue of the device `name`. The kernel makes a device of that name
/// if there is none.
pub(crate) fn set_interface(file: &File, name: &str, flags: c_short) -> Result<()> {
    let mut request = named(name).ok_or_else(|| Error::from_raw_os_error(libc::EINVAL))?;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: TUNSETIFF reads and writes an `ifreq`, which lives through the call.
    match unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } {
        0.. => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

/// What the kernel says of its own end of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) mtu: u16,
    pub(crate) mac: [u8; 6],
    pub(crate) up: bool,
}

/// The facts of an interface; `None` if there is none of that name.
pub(crate) fn facts(name: &str) -> Result<Option<Facts>> {
    let Some(request) = named(name) else { return Ok(None) };
    // SAFETY: no pointers are passed.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made, and that nobody else has.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let ask = |what: libc::Ioctl| -> Result<ifreq> {
        let mut answer = request;
        // SAFETY: the requests below read and write an `ifreq`, which lives through the call.
        match unsafe { libc::ioctl(socket.as_raw_fd(), what, &raw mut answer) } {
            0.. => Ok(answer),
            _ => Err(Error::last_os_error()),
        }
    };
    let flags = match ask(libc::SIOCGIFFLAGS as _) {
        Ok(answer) => answer,
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mtu, mac) = (ask(libc::SIOCGIFMTU as _)?, ask(libc::SIOCGIFHWADDR as _)?);
    // SAFETY: each answer holds the field of the union that its request writes.
    let (flags, mtu, mac) =
        unsafe { (flags.ifr_ifru.ifru_flags, mtu.ifr_ifru.ifru_mtu, mac.ifr_ifru.ifru_hwaddr.sa_data) };
    Ok(Some(Facts {
        mtu: mtu.clamp(0, i32::from(u16::MAX)) as u16,
        mac: std::array::from_fn(|at| mac[at] as u8),
        up: i32::from(flags) & libc::IFF_UP != 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_interface_has_are_known() {
        assert!(named("tap0").is_some() && named("fifteen-letters").is_some());
        for name in ["", "sixteen-letters!", "a/b", "tap%d", "a\0b"] {
            assert!(named(name).is_none() && facts(name).expect("nothing is asked").is_none(), "{name:?}");
        }
    }

    #[test]
    fn the_facts_of_the_loopback_are_told() {
        let facts = facts("lo").expect("it can be asked").expect("it is there");
        assert_eq!(facts.mac, [0; 6]);
        assert!(facts.mtu > 1500);
        assert!(super::facts("no-such-thing").expect("it can be asked").is_none());
    }
}
