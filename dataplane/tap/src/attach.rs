//! Taking the queues of a device.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;

use pelton_packet::MacAddress;

use crate::port::TapPort;
use crate::request;

/// Ethernet header and a VLAN tag: what a frame has in front of a packet.
pub(crate) const LINK_BYTES: u16 = 18;
/// Frames are laid out in steps of this, for the sake of cache lines.
const STEP_BYTES: u16 = 256;

/// A device whose queues are ours.
#[derive(Debug)]
pub struct Attached {
    /// The queues.
    pub ports: Vec<TapPort>,
    /// Our address on the link. It follows from that of the kernel's end, so it stays while the device does.
    pub mac: MacAddress,
    /// The biggest IP packet.
    pub mtu: u16,
    /// Whether the device is up. If not, nothing comes and nothing goes until it is.
    pub up: bool,
}

/// A device cannot be used.
#[derive(Debug)]
pub enum TapError {
    /// There is no `/dev/net/tun`.
    NoTun,
    /// No interface has that name.
    NoDevice {
        /// The name.
        name: String,
    },
    /// The interface is no TAP device.
    NotTap {
        /// Its name.
        name: String,
    },
    /// Neither `CAP_NET_ADMIN` nor the owner of the device.
    NotPermitted {
        /// The name of the device, or `/dev/net/tun`.
        name: String,
    },
    /// The device has one queue, and more are needed.
    OneQueue {
        /// Its name.
        name: String,
        /// How many are needed.
        queues: u16,
    },
    /// Another process has the device.
    Busy {
        /// Its name.
        name: String,
    },
    /// The system refused something else.
    System {
        /// The name of the device.
        name: String,
        /// The reason.
        source: std::io::Error,
    },
}

impl std::fmt::Display for TapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoTun => {
                write!(f, "there is no /dev/net/tun: modprobe tun, or give the container that device")
            }
            Self::NoDevice { name } => write!(
                f,
                "there is no interface {name}; make it: ip tuntap add dev {name} mode tap multi_queue && ip link set \
                 {name} up"
            ),
            Self::NotTap { name } => write!(f, "{name} is no TAP device (ip tuntap shows those there are)"),
            Self::NotPermitted { name } => write!(
                f,
                "no permission for {name}: it takes CAP_NET_ADMIN, or a device of this user (ip tuntap add ... user \
                 NAME) and the right to write /dev/net/tun"
            ),
            Self::OneQueue { name, queues } => write!(
                f,
                "{name} has one queue and {queues} shards need one each: make it with ip tuntap add dev {name} mode tap \
                 multi_queue, or run with --shards 1"
            ),
            Self::Busy { name } => {
                write!(f, "another process has {name} (find it with: fuser -v /dev/net/tun)")
            }
            Self::System { name, source } => write!(f, "{name} cannot be used: {source}"),
        }
    }
}

impl std::error::Error for TapError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Takes `queues` queues of the TAP device `name`, each with `frames` frames of its own. `mtu` lowers that of the
/// device.
///
/// # Errors
/// If there is no such device, or it cannot be had.
pub fn attach(name: &str, queues: u16, frames: u32, mtu: Option<u16>) -> Result<Attached, TapError> {
    let system = |source| TapError::System { name: name.into(), source };
    // Asked first: the kernel would make the device, without addresses and routes, and take it away in the end.
    let facts = request::facts(name).map_err(system)?;
    let facts = facts.ok_or_else(|| TapError::NoDevice { name: name.into() })?;
    let mtu = mtu.map_or(facts.mtu, |mtu| mtu.min(facts.mtu));
    let frame_bytes = frame_bytes(mtu);
    let mut ports = Vec::new();
    for file in files(name, queues)? {
        ports.push(TapPort::new(file, frames, frame_bytes, mtu));
    }
    Ok(Attached { ports, mac: opposite(facts.mac), mtu, up: facts.up })
}

/// Bytes of a frame that holds a packet of the MTU, and shows when one was longer.
fn frame_bytes(mtu: u16) -> u16 {
    let needed = u32::from(mtu) + u32::from(LINK_BYTES) + 1;
    let stepped = needed.div_ceil(u32::from(STEP_BYTES)) * u32::from(STEP_BYTES);
    stepped.min(u32::from(u16::MAX)) as u16
}

/// The address at the other end of the link from one: locally administered, and not the same.
fn opposite(mac: [u8; 6]) -> MacAddress {
    let mut ours = mac;
    ours[0] = (ours[0] | 2) & !1;
    ours[5] ^= 1;
    MacAddress(ours)
}

/// The queues. Whether the device has one or many must be said as it is.
fn files(name: &str, queues: u16) -> Result<Vec<File>, TapError> {
    let single = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    let many = single | libc::IFF_MULTI_QUEUE as libc::c_short;
    let failed = |source: std::io::Error| match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => TapError::NotPermitted { name: name.into() },
        Some(libc::EBUSY | libc::E2BIG) => TapError::Busy { name: name.into() },
        Some(libc::EINVAL) => TapError::NotTap { name: name.into() },
        _ => TapError::System { name: name.into(), source },
    };
    let queue = |flags| -> Result<Result<File, std::io::Error>, TapError> {
        let file = tun()?;
        Ok(request::set_interface(&file, name, flags).map(|()| file))
    };
    let invalid = |error: &std::io::Error| error.raw_os_error() == Some(libc::EINVAL);
    let first = match queue(many)? {
        Err(error) if invalid(&error) => {
            // No TAP device at all, or one with a single queue.
            let file = queue(single)?.map_err(failed)?;
            return match queues {
                1 => Ok(vec![file]),
                _ => Err(TapError::OneQueue { name: name.into(), queues }),
            };
        }
        outcome => outcome.map_err(failed)?,
    };
    let mut files = vec![first];
    for _ in 1..queues {
        files.push(queue(many)?.map_err(failed)?);
    }
    Ok(files)
}

fn tun() -> Result<File, TapError> {
    let path = "/dev/net/tun";
    let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
    opened.map_err(|source| match source.kind() {
        ErrorKind::NotFound => TapError::NoTun,
        ErrorKind::PermissionDenied => TapError::NotPermitted { name: path.into() },
        _ => TapError::System { name: path.into(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_hold_the_longest_packet_and_one_byte() {
        assert_eq!(frame_bytes(1500), 1536);
        assert_eq!(frame_bytes(9000), 9216);
        assert_eq!(frame_bytes(u16::MAX), u16::MAX);
        assert!((0..=60_000).all(|mtu| frame_bytes(mtu) > mtu + LINK_BYTES));
    }

    #[test]
    fn the_other_end_has_an_address_of_its_own() {
        assert_eq!(opposite([0x52, 0x54, 0, 1, 2, 3]).0, [0x52, 0x54, 0, 1, 2, 2]);
        assert_eq!(opposite([1, 0, 0, 0, 0, 0]).0, [2, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn what_is_not_there_or_no_tap_is_refused_with_the_way_out() {
        let text = attach("nothing-such", 1, 8, None).expect_err("it is not there").to_string();
        assert!(text.contains("ip tuntap add dev nothing-such mode tap"), "{text}");
        // Without the privilege, or where there is no tun, that is said instead.
        let text = attach("lo", 1, 8, None).expect_err("it is no TAP device").to_string();
        assert!(text.contains("lo is no TAP device") || text.contains("/dev/net/tun"), "{text}");
    }
}
