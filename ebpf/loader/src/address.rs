//! Addresses as the maps have them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pelton_ebpf_classifier::layout::{Address, ServiceKey, mapped};

pub(crate) fn service_key(service: SocketAddr) -> ServiceKey {
    ServiceKey::new(to_map(service.ip()), service.port().to_be_bytes())
}

pub(crate) fn to_map(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => mapped(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}

pub(crate) fn from_map(address: Address) -> IpAddr {
    let address = Ipv6Addr::from(address);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), |v4: Ipv4Addr| IpAddr::V4(v4))
}

pub(crate) fn socket_from_map(address: Address, port: [u8; 2]) -> SocketAddr {
    SocketAddr::new(from_map(address), u16::from_be_bytes(port))
}
