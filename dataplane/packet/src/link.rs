//! The link layer: addresses, the pair of them that a flow's frames carry, and what an interface is.

use std::net::IpAddr;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it names more than one station.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl std::fmt::Display for MacAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
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
    #[inline]
    pub const fn header_bytes(self) -> usize {
        if self.vlan.is_some() { 18 } else { 14 }
    }
}

/// The link header of a frame that came in as one word, to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkKey(u128);

impl LinkKey {
    /// The key of a frame that starts with `addresses`, tagged or not.
    #[inline]
    pub fn of(addresses: &[u8; 12], vlan: Option<u16>) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = *addresses;
        let tag = match vlan {
            Some(tag) => 1 << 16 | u64::from(tag),
            None => 0,
        };
        let high = tag << 32 | u64::from(u32::from_le_bytes(rest));
        Self(u128::from(high) << 64 | u128::from(u64::from_le_bytes([a, b, c, d, e, f, g, h])))
    }
}

impl LinkKey {
    /// Whether the frame is for this station.
    #[inline]
    pub fn is_for(self, mac: MacAddress) -> bool {
        let [a, b, c, d, e, f] = mac.0;
        (self.0 as u64) << 16 == u64::from_le_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The link itself.
    pub fn link(self) -> Link {
        let bytes = self.0.to_le_bytes();
        let mac = |at: usize| MacAddress(std::array::from_fn(|n| bytes[at + n]));
        let tag = (self.0 >> 96) as u32;
        Link { destination: mac(0), source: mac(6), vlan: (tag >> 16 != 0).then_some(tag as u16) }
    }
}

impl Link {
    /// The key of frames that arrive by this link.
    pub fn key(self) -> LinkKey {
        let mut addresses = [0; 12];
        addresses[..6].copy_from_slice(&self.destination.0);
        addresses[6..].copy_from_slice(&self.source.0);
        LinkKey::of(&addresses, self.vlan)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_link() {
        let link = |n: u8, vlan| Link {
            source: MacAddress([n, 1, 2, 3, 4, 5]),
            destination: MacAddress([6, 7, 8, 9, 10, 11]),
            vlan,
        };
        let links = [link(0, None), link(0, Some(0)), link(0, Some(0xffff)), link(1, None)];
        for (at, a) in links.iter().enumerate() {
            assert_eq!(a.key().link(), *a);
            for (other, b) in links.iter().enumerate() {
                assert_eq!(a.key() == b.key(), at == other);
            }
        }
    }
}
