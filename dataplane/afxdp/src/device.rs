//! What the kernel says of an interface.

use std::io;
use std::net::IpAddr;

use pelton_packet::MacAddress;

use crate::error::OpenError;
use crate::ethtool::Ethtool;
use crate::syscall;

/// What the kernel says of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// The biggest IP packet.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// How many receive queues it has.
    pub queues: u32,
    /// Its addresses, IPv6 ones of the link alone (`fe80::`) left out.
    pub addresses: Vec<IpAddr>,
}

impl Device {
    /// Asks for an interface of this network namespace.
    ///
    /// # Errors
    /// If there is none of this name, or the kernel does not say.
    pub fn of(interface: &str) -> Result<Self, OpenError> {
        let missing = || OpenError::NoInterface { interface: interface.into() };
        if syscall::interface_index(interface).is_none() {
            return Err(missing());
        }
        let system = |error| OpenError::System { doing: "ask about an interface", error };
        let socket = syscall::control_socket().map_err(system)?;
        let facts =
            syscall::interface_facts(&socket, interface).map_err(|error| match error.raw_os_error() {
                Some(libc::ENODEV) => missing(),
                _ => system(error),
            })?;
        Ok(Self {
            mac: MacAddress(facts.mac),
            mtu: facts.mtu,
            up: facts.flags & libc::IFF_UP as u16 != 0,
            queues: queues(interface),
            addresses: syscall::interface_addresses(interface).map_err(system)?,
        })
    }
}

/// Receive queues: as the driver says, else as many as are shown in `/sys`, which may be that of another namespace,
/// else one.
fn queues(interface: &str) -> u32 {
    let shown = || -> io::Result<u32> {
        let mut count = 0;
        for entry in std::fs::read_dir(format!("/sys/class/net/{interface}/queues"))? {
            count += u32::from(entry?.file_name().as_encoded_bytes().starts_with(b"rx-"));
        }
        Ok(count)
    };
    let said = Ethtool::of(interface).and_then(|device| device.channels());
    said.map(|channels| channels.receiving()).or_else(|_| shown()).unwrap_or(1).max(1)
}
