//! Where PSH stands in what leaves. RFC 9293 3.9.1 asks for it in the last segment that is queued, and leaves it free
//! elsewhere; packetdrill compares it, and its scripts have it where Linux puts it. So that a script does not fail for
//! that alone, it is put there: at the end of what was written, and in segments that leave as a burst for the first
//! time.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use pelton_base::Mono;
use pelton_packet::checksum::pseudo_header;
use pelton_packet::parse::TCP;

const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;

/// The TCP segment of an IP packet: what PSH depends on.
struct Seen {
    at: usize,
    ports: u32,
    seq: u32,
    len: u32,
    syn: bool,
}

/// What one connection has sent.
#[derive(Default)]
struct Sent {
    /// The end of what was sent for the first time.
    end: u32,
    /// The end of what was written.
    written: u32,
    /// Ends of all that was written.
    ends: BTreeSet<u32>,
}

/// What all have sent.
#[derive(Default)]
pub(crate) struct Pushes {
    sent: HashMap<u32, Sent>,
}

impl Pushes {
    /// So much is written to a connection.
    pub(crate) fn written(&mut self, local_port: u16, remote_port: u16, len: usize) {
        if let Some(sent) = self.sent.get_mut(&(u32::from(local_port) << 16 | u32::from(remote_port))) {
            sent.written = sent.written.wrapping_add(len as u32);
            sent.ends.insert(sent.written);
        }
    }

    /// `packet` leaves; `before` left before it.
    pub(crate) fn leaves(&mut self, now: Mono, before: Option<&mut (Mono, Vec<u8>)>, packet: &mut [u8]) {
        let Some(seen) = read(packet) else { return };
        if seen.syn {
            let begin = seen.seq.wrapping_add(1);
            self.sent.insert(seen.ports, Sent { end: begin, written: begin, ends: BTreeSet::new() });
            return;
        }
        let Some(sent) = self.sent.get_mut(&seen.ports).filter(|_| seen.len > 0) else { return };
        let end = seen.seq.wrapping_add(seen.len);
        put(packet, &seen, sent.ends.contains(&end));
        if end.wrapping_sub(sent.end) as i32 <= 0 {
            return;
        }
        sent.end = end;
        if let Some((at, other)) = before
            && *at == now
            && let Some(previous) = read(other)
            && previous.ports == seen.ports
            && previous.len > 0
            && previous.seq.wrapping_add(previous.len) == seen.seq
        {
            put(other, &previous, true);
            put(packet, &seen, true);
        }
    }
}

fn read(packet: &[u8]) -> Option<Seen> {
    let (at, protocol, end) = match packet.first()? >> 4 {
        4 => {
            let end = u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]);
            (usize::from(packet[0] & 15) * 4, *packet.get(9)?, usize::from(end))
        }
        6 => {
            let len = u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]);
            (40, *packet.get(6)?, 40 + usize::from(len))
        }
        _ => return None,
    };
    let header = packet.get(at..at + 20)?;
    if protocol != TCP || header[13] & RST != 0 {
        return None;
    }
    let word = |from: usize| {
        u32::from_be_bytes([header[from], header[from + 1], header[from + 2], header[from + 3]])
    };
    let data = at + usize::from(header[12] >> 4) * 4;
    Some(Seen {
        at,
        ports: word(0),
        seq: word(4),
        len: end.checked_sub(data)? as u32,
        syn: header[13] & SYN != 0,
    })
}

/// Sets or clears PSH, and has the checksum agree.
fn put(packet: &mut [u8], seen: &Seen, push: bool) {
    let (ip, segment) = packet.split_at_mut(seen.at);
    segment[13] = segment[13] & !PSH | if push { PSH } else { 0 };
    let addresses: Option<(IpAddr, IpAddr)> = if ip.len() == 40 {
        let half = |from: usize| <[u8; 16]>::try_from(&ip[from..from + 16]).ok().map(Into::into);
        half(8).zip(half(24))
    } else {
        let half = |from: usize| <[u8; 4]>::try_from(&ip[from..from + 4]).ok().map(Into::into);
        half(12).zip(half(16))
    };
    if let Some((source, destination)) = addresses {
        sum(source, destination, segment);
    }
}

/// Puts the checksum into a segment.
pub(crate) fn sum(source: IpAddr, destination: IpAddr, segment: &mut [u8]) {
    segment[16..18].fill(0);
    let sum = pseudo_header(source, destination, TCP, segment.len()).bytes(segment).fold();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
}
