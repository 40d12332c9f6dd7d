//! The link layer: addresses, the pair of them that a flow's frames carry, and what an interface is.

use std::net::IpAddr;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it names more than one station.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

/// How frames of a flow travel on the link: whom they are from and for, and in which VLAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Link {
    /// The sender.
    pub source: MacAddress,
    /// The receiver.
    pub destination: MacAddress,
    /// The 802.1Q tag (priority, drop eligible, identifier), if tagged.
    pub vlan: Option<u16>,
}

impl Link {
    /// The way back.
    pub const fn reverse(self) -> Self {
        Self { source: self.destination, destination: self.source, vlan: self.vlan }
    }

    /// Bytes of its header.
    pub const fn header_bytes(self) -> usize {
        if self.vlan.is_some() { 18 } else { 14 }
    }
}

/// An interface: who we are on a link.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Our Ethernet address.
    pub mac: MacAddress,
    /// Our IP addresses.
    pub addresses: Vec<IpAddr>,
}

impl Interface {
    /// Whether an address is ours.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }
}
