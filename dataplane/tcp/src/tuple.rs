//! What names a connection on the wire: the two addresses and ports.

use std::net::{IpAddr, SocketAddr};

use pelton_base::HashKey;

/// The two ends of a connection, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    /// Our end.
    pub(crate) local: SocketAddr,
    /// The peer's.
    pub(crate) remote: SocketAddr,
}

impl Tuple {
    /// Hash under a secret: where connections of strangers land in a table is not for them to choose.
    #[inline]
    pub(crate) fn hash(&self, key: HashKey) -> u64 {
        let ports = u32::from(self.remote.port()) << 16 | u32::from(self.local.port());
        match (self.remote.ip(), self.local.ip()) {
            (IpAddr::V4(remote), IpAddr::V4(local)) => {
                let mut bytes = [0; 12];
                bytes[..4].copy_from_slice(&remote.octets());
                bytes[4..8].copy_from_slice(&local.octets());
                bytes[8..].copy_from_slice(&ports.to_ne_bytes());
                key.hash(&bytes)
            }
            (remote, local) => {
                let mut bytes = [0; 36];
                bytes[..16].copy_from_slice(&octets(remote));
                bytes[16..32].copy_from_slice(&octets(local));
                bytes[32..].copy_from_slice(&ports.to_ne_bytes());
                key.hash(&bytes)
            }
        }
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
