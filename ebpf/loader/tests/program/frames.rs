//! Frames made for the tests.

use std::net::{IpAddr, SocketAddr};

use pelton_packet::checksum::{Sum, pseudo_header};
use pelton_packet::headers;
use pelton_packet::link::{Link, MacAddress};
use pelton_packet::parse::TCP;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// A TCP segment in a frame.
#[derive(Clone, Debug)]
pub(crate) struct Tcp {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) options: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) vlan: Option<u16>,
}

impl Tcp {
    pub(crate) fn new(source: &str, destination: &str, flags: u8) -> Self {
        Self {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            flags,
            sequence: 1_000,
            options: Vec::new(),
            data: Vec::new(),
            vlan: None,
        }
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend_from_slice(&self.source.port().to_be_bytes());
        tcp.extend_from_slice(&self.destination.port().to_be_bytes());
        tcp.extend_from_slice(&self.sequence.to_be_bytes());
        tcp.extend_from_slice(&[0; 4]);
        tcp.push(((20 + self.options.len() as u8) / 4) << 4);
        tcp.push(self.flags);
        tcp.extend_from_slice(&[0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend_from_slice(&self.options);
        tcp.extend_from_slice(&self.data);
        let sum = pseudo_header(self.source.ip(), self.destination.ip(), TCP, tcp.len()).bytes(&tcp).fold();
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        packet(self.source.ip(), self.destination.ip(), self.vlan, TCP, &tcp)
    }
}

/// A packet in a frame.
pub(crate) fn packet(
    source: IpAddr,
    destination: IpAddr,
    vlan: Option<u16>,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let link =
        Link { source: MacAddress([2, 0, 0, 0, 0, 2]), destination: MacAddress([2, 0, 0, 0, 0, 1]), vlan };
    let mut frame = vec![0; headers::bytes(link, source)];
    headers::write(&mut frame, link, source, destination, protocol, 0, payload.len());
    frame.extend_from_slice(payload);
    frame
}

/// Makes the checksum of the IPv4 header at `at` right again.
pub(crate) fn mend_ipv4(frame: &mut [u8], at: usize) {
    let bytes = usize::from(frame[at] & 0xf) * 4;
    frame[at + 10..at + 12].fill(0);
    let sum = Sum::ZERO.bytes(&frame[at..at + bytes]).fold();
    frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
}
