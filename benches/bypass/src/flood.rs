//! SYNs as fast as the port takes them, each from another address and port of a prefix.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use pelton_base::{Mono, Rng};
use pelton_packet::checksum::pseudo_header;
use pelton_packet::parse::TCP;
use pelton_packet::{Link, Port, headers};

/// A TCP header with an MSS option.
const SEGMENT_BYTES: usize = 24;
/// Ethernet, IPv4 and TCP.
const FRAME_BYTES: usize = 14 + 20 + SEGMENT_BYTES;
/// SYNs queued between two doorbells.
const BATCH: u64 = 64;

/// A flood.
pub struct Flood<P: Port> {
    port: P,
    link: Link,
    target: SocketAddrV4,
    first_source: u32,
    sources: u64,
    rng: Rng,
    /// SYNs sent.
    pub sent: u64,
}

impl<P: Port> Flood<P> {
    /// A flood from `sources` addresses, the first of which is `first_source`.
    pub fn new(
        port: P,
        link: Link,
        target: SocketAddrV4,
        first_source: Ipv4Addr,
        sources: u32,
        seed: u64,
    ) -> Self {
        let rng = Rng::with_seed(seed);
        Self {
            port,
            link,
            target,
            first_source: first_source.into(),
            sources: sources.max(1).into(),
            rng,
            sent: 0,
        }
    }

    /// Sends at most `limit` SYNs; returns how many the port took. What comes back is thrown away.
    pub fn turn(&mut self, now: Mono, limit: u64) -> u64 {
        let mut taken = 0;
        for _ in 0..limit.min(BATCH) {
            let Some(mut frame) = self.port.take() else { break };
            frame.set_range(0, FRAME_BYTES);
            self.write(&mut frame);
            if let Err(frame) = self.port.send(now, frame) {
                self.port.put(frame);
                break;
            }
            taken += 1;
        }
        self.port.flush(now);
        let mut answers = Vec::new();
        self.port.receive(now, BATCH as usize, &mut answers);
        for frame in answers {
            self.port.put(frame);
        }
        self.sent += taken;
        taken
    }

    /// The port.
    pub fn port(&self) -> &P {
        &self.port
    }

    fn write(&mut self, into: &mut [u8]) {
        let source = Ipv4Addr::from(self.first_source + self.rng.below(self.sources) as u32);
        let random = self.rng.u64();
        let (source, destination) = (IpAddr::V4(source), IpAddr::V4(*self.target.ip()));
        headers::write(into, self.link, source, destination, TCP, 0, SEGMENT_BYTES);
        let segment = &mut into[FRAME_BYTES - SEGMENT_BYTES..];
        let port = 1024 + (random as u16 % 64_000);
        segment[..2].copy_from_slice(&port.to_be_bytes());
        segment[2..4].copy_from_slice(&self.target.port().to_be_bytes());
        segment[4..8].copy_from_slice(&((random >> 16) as u32).to_be_bytes());
        segment[8..12].fill(0);
        // Six words, SYN; window; checksum and urgent pointer; an MSS of 1460.
        segment[12..14].copy_from_slice(&[0x60, 0x02]);
        segment[14..16].copy_from_slice(&64_240u16.to_be_bytes());
        segment[16..20].fill(0);
        segment[20..24].copy_from_slice(&[2, 4, 0x05, 0xb4]);
        let sum = pseudo_header(source, destination, TCP, SEGMENT_BYTES).bytes(segment).fold();
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
    }
}
