//! Frames from a seed: mostly right, then damaged in few places, where headers are.

use std::net::IpAddr;

use pelton_base::Rng;
use pelton_packet::checksum::{Sum, pseudo_header};
use pelton_packet::parse::{ICMP, ICMPV6, TCP};

use crate::frames::{ACK, SYN, Tcp, mend_ipv4, packet};

/// Addresses and ports that mean something to the tables of the test, and others.
const V4: [&str; 6] = ["10.0.0.1", "10.0.0.2", "10.1.0.7", "10.2.0.7", "224.0.0.1", "10.1.5.9"];
const V6: [&str; 6] =
    ["2001:db8::1", "2001:db8::2", "2001:db8:1::7", "2001:db8:2::7", "ff02::1", "::ffff:10.0.0.1"];
const PORTS: [u16; 5] = [1883, 8883, 4000, 0, 65_535];

pub(crate) struct Mutator {
    rng: Rng,
}

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed) }
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.below(of.len() as u64) as usize]
    }

    /// A frame of at least 14 bytes, which is the least the kernel runs a program on.
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        let v6 = self.rng.chance(500);
        let mut frame = match self.rng.below(10) {
            0 => self.too_big(v6),
            1 => {
                let protocol = self.one_of(&[17, ICMP, ICMPV6, 0, 43, 44, 60, 51]);
                let payload = self.bytes(60);
                let (a, b) = (self.address(v6), self.address(v6));
                packet(a, b, None, protocol, &payload)
            }
            _ => self.segment(v6),
        };
        if v6 && self.rng.chance(250) {
            self.extend(&mut frame);
        }
        if self.rng.chance(150) {
            self.tag(&mut frame);
        }
        if self.rng.chance(500) {
            self.damage(&mut frame, v6);
        }
        if self.rng.chance(100) {
            let cut = self.rng.between(14, frame.len() as u64) as usize;
            frame.truncate(cut);
        }
        frame.resize(frame.len().max(14), 0);
        if self.rng.chance(300) {
            // Padding.
            frame.resize(frame.len().max(60), 0);
        }
        frame
    }

    fn address(&mut self, v6: bool) -> IpAddr {
        // The service more often than others.
        let (v4, six) =
            if self.rng.chance(300) { (V4[0], V6[0]) } else { (self.one_of(&V4), self.one_of(&V6)) };
        if v6 { six } else { v4 }.parse().unwrap()
    }

    fn bytes(&mut self, max: u64) -> Vec<u8> {
        (0..self.rng.below(max)).map(|_| self.rng.u64() as u8).collect()
    }

    fn segment(&mut self, v6: bool) -> Vec<u8> {
        let (mut source, mut destination) = (self.address(v6), self.address(v6));
        if self.rng.chance(600) {
            source = if v6 { V6[1] } else { V4[1] }.parse().unwrap();
        }
        if self.rng.chance(800) {
            destination = if v6 { V6[0] } else { V4[0] }.parse().unwrap();
        }
        let flags = if self.rng.chance(600) { self.one_of(&[SYN, ACK]) } else { self.rng.u64() as u8 };
        let mut options = Vec::new();
        while options.len() < 28 && self.rng.chance(700) {
            let option = self.option();
            options.extend_from_slice(&option);
        }
        options.resize(options.len().next_multiple_of(4).min(40), 0);
        let data = if self.rng.chance(700) { Vec::new() } else { self.bytes(40) };
        Tcp {
            source: (source, self.one_of(&PORTS[2..])).into(),
            destination: (destination, self.one_of(&[1883, 1883, 1883, 8883, 4000])).into(),
            flags,
            sequence: self.rng.u64() as u32,
            options,
            data,
            vlan: None,
        }
        .frame()
    }

    fn option(&mut self) -> Vec<u8> {
        let [a, b, c, d, e, f, g, h] = self.rng.u64().to_be_bytes();
        match self.rng.below(8) {
            0 => vec![1],
            1 => vec![2, 4, a & 7, b],
            2 => vec![3, 3, a & 15],
            3 => vec![4, 2],
            4 => vec![8, 10, a, b, c, d, e, f, g, h],
            5 => vec![30, 4, a, b],
            6 => vec![0],
            _ => vec![a, b & 15],
        }
    }

    /// A router's word about a segment of ours, or one that quotes something else.
    fn too_big(&mut self, v6: bool) -> Vec<u8> {
        let (us, them, router) = (self.address(v6), self.address(v6), self.address(v6));
        let segment = Tcp {
            source: (us, self.one_of(&PORTS)).into(),
            destination: (them, self.one_of(&PORTS)).into(),
            sequence: self.rng.u64() as u32,
            ..Tcp::new("10.0.0.1:1", "10.0.0.1:2", ACK)
        };
        let mut message = if v6 { vec![2, 0, 0, 0, 0, 0, 5, 0] } else { vec![3, 4, 0, 0, 0, 0, 5, 0] };
        let quoted = self.rng.between(0, 40) as usize;
        message.extend(segment.frame().iter().skip(14).take(40 + quoted));
        let (protocol, sum) =
            if v6 { (ICMPV6, pseudo_header(router, us, ICMPV6, message.len())) } else { (ICMP, Sum::ZERO) };
        let sum = sum.bytes(&message).fold();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        packet(router, us, None, protocol, &message)
    }

    /// Puts extension headers behind an IPv6 header.
    fn extend(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..self.rng.between(1, 5) {
            let kind = self.one_of(&[0, 43, 44, 60, 60, 60]);
            let units = self.rng.below(3) as u8;
            let mut header = vec![0; if kind == 44 { 8 } else { 8 * (usize::from(units) + 1) }];
            header[0] = frame[14 + 6];
            header[1] = units;
            if self.rng.chance(100) {
                header[3] = self.rng.u64() as u8;
            }
            frame[14 + 6] = kind;
            let payload = u16::from_be_bytes([frame[18], frame[19]]) + header.len() as u16;
            frame[18..20].copy_from_slice(&payload.to_be_bytes());
            frame.splice(54..54, header);
        }
    }

    fn tag(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..self.rng.between(1, 3) {
            let kind: u16 = self.one_of(&[0x8100, 0x8100, 0x88a8]);
            let [a, b] = kind.to_be_bytes();
            frame.splice(12..12, [a, b, 0, 5]);
        }
    }

    /// Changes a few bytes of the headers; the IPv4 checksum is often made right again.
    fn damage(&mut self, frame: &mut [u8], v6: bool) {
        for _ in 0..self.rng.between(1, 3) {
            let at = self.rng.between(12, (frame.len() as u64 - 1).min(90)) as usize;
            frame[at] = match self.rng.below(4) {
                0 => frame[at] ^ 1 << self.rng.below(8),
                1 => self.one_of(&[0, 1, 4, 6, 0x45, 0x46, 0x60, 0xff, 0x20, TCP]),
                2 => frame[at].wrapping_add(1),
                _ => self.rng.u64() as u8,
            };
        }
        let header = usize::from(frame[14] & 0xf) * 4;
        if !v6 && self.rng.chance(800) && header >= 20 && frame.len() >= 14 + header {
            mend_ipv4(frame, 14);
        }
    }
}
