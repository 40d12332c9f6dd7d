//! A SYN turned into its SYN-ACK, where it lies: what `pelton-tcp` would answer with a cookie, byte for byte (a test
//! there compares them).

use crate::cookie::{self, SCALE_MAX, Tuple};
use crate::frame::Frame;
use crate::layout::Policy;
use crate::packet::{Packet, TCP};
use crate::reason::Reason;
use crate::scratch::Scratch;
use crate::segment::{HEADER_BYTES, HEADER_BYTES_MAX, Header, Ports, flags};

/// The segment size of a peer that names none, RFC 9293 3.7.1 MUST-15, RFC 8200 8.3.
const MSS_DEFAULT_V4: u16 = 536;
const MSS_DEFAULT_V6: u16 = 1220;
/// The least segment size a peer is taken at its word with.
const MSS_MIN: u16 = 64;
/// Hops the answer may take.
const HOPS: u8 = 64;
/// Bytes of options a header can have.
const OPTIONS_MAX: usize = HEADER_BYTES_MAX - HEADER_BYTES;
/// Frames on Ethernet are not shorter; what is missing is padding.
const FRAME_BYTES_MIN: usize = 60;

/// Bytes of the longest SYN-ACK.
pub(crate) const REPLY_BYTES: usize = HEADER_BYTES + 24;

/// A SYN that is to be answered.
struct Syn<'a> {
    ports: &'a Ports,
    header: &'a Header,
    policy: &'a Policy,
    now_ms: u64,
}

/// Answers a SYN with a cookie.
///
/// # Errors
/// [`Reason::DropSynShape`], [`Reason::DropSynChecksum`]: the frame may have been changed by then.
#[inline(always)]
pub fn with_cookie(
    frame: &mut impl Frame,
    ports: &Ports,
    header: &Header,
    policy: &Policy,
    now_ns: u64,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    offer(frame, header, scratch)?;
    agree(policy, scratch);
    let syn = Syn { ports, header, policy, now_ms: now_ns.wrapping_sub(policy.clock_offset_ns) / 1_000_000 };
    secrets(&syn, scratch);
    let len = compose(&syn, scratch);
    write(frame, scratch, len).ok_or(Reason::DropSynShape)
}

/// Finds out what a SYN offers, if its checksum is right and it can be answered in place.
#[inline(never)]
fn offer(frame: &impl Frame, header: &Header, scratch: &mut Scratch) -> Result<(), Reason> {
    let Scratch { packet, segment, offer, .. } = scratch;
    // A client whose SYN carries data sends it again without.
    if !packet.plain || packet.start as usize + header.bytes != packet.end as usize {
        return Err(Reason::DropSynShape);
    }
    *segment = [0; HEADER_BYTES_MAX];
    frame.load(packet.start as usize, segment, header.bytes).ok_or(Reason::DropSynShape)?;
    if fold(addresses(packet) + pseudo(header.bytes) + sum(segment)) != 0 {
        return Err(Reason::DropSynChecksum);
    }
    offer.read(segment, header.bytes);
    Ok(())
}

/// The sum of the addresses. In front of an IPv4 address is a half of ones, which the one's complement sum takes for
/// zero.
#[inline(always)]
fn addresses(packet: &Packet) -> u32 {
    sum(&packet.source) + sum(&packet.destination)
}

/// What is agreed to.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Agreed {
    /// What makes a sequence number a cookie.
    iss: u32,
    /// What the time stamp is offset by.
    offset: u32,
    /// Largest segment that is taken.
    own_mss: u16,
    /// Which of the sizes that a cookie names.
    size: u8,
    scaling: bool,
    sack: bool,
    timestamps: bool,
}

#[inline(never)]
fn agree(policy: &Policy, scratch: &mut Scratch) {
    let Scratch { packet, offer, agreed, .. } = scratch;
    let own_mss = if packet.v6 { policy.mss_v6 } else { policy.mss_v4 };
    let mut mss = if packet.v6 { MSS_DEFAULT_V6 } else { MSS_DEFAULT_V4 };
    if offer.has_mss {
        mss = offer.mss;
    }
    let mss = if mss < MSS_MIN { MSS_MIN } else { mss };
    let mss = if mss > own_mss { own_mss } else { mss };
    // What cannot travel in the time stamp is not agreed to.
    let timestamps = offer.has_timestamp && policy.timestamps != 0;
    agreed.own_mss = own_mss;
    agreed.size = cookie::size(mss);
    agreed.timestamps = timestamps;
    agreed.scaling = offer.has_scale && timestamps && policy.scaling != 0;
    agreed.sack = offer.sack && timestamps && policy.sack != 0;
}

/// The cookie, and the offset of time stamps.
#[inline(never)]
fn secrets(syn: &Syn<'_>, scratch: &mut Scratch) {
    let &Syn { ports, header, policy, now_ms } = syn;
    let Scratch { packet, agreed, tuple, .. } = scratch;
    *tuple = Tuple {
        remote: packet.source,
        local: packet.destination,
        remote_port: ports.source,
        local_port: ports.destination,
        v6: packet.v6,
    };
    agreed.iss = cookie::make(&policy.cookie_key, tuple, header.sequence, agreed.size, now_ms);
    agreed.offset = tuple.hash(&policy.stamp_key) as u32;
}

/// Makes the SYN-ACK; returns its length.
#[inline(never)]
fn compose(syn: &Syn<'_>, scratch: &mut Scratch) -> usize {
    let &Syn { ports, header, policy, now_ms } = syn;
    let Scratch { packet, offer, agreed, reply, .. } = scratch;
    let mut reply = Reply { bytes: reply };
    *reply.bytes = [0; REPLY_BYTES];
    reply.word(4, agreed.iss);
    reply.word(8, header.sequence.wrapping_add(1));
    reply.half(0, u16::from_be_bytes(ports.destination));
    reply.half(2, u16::from_be_bytes(ports.source));
    reply.half(14, policy.window);
    let mut len = HEADER_BYTES;
    reply.word(len, 0x0204_0000 | agreed.own_mss as u32);
    len += 4;
    if agreed.scaling {
        reply.word(len, 0x0103_0300 | policy.scale as u32);
        len += 4;
    }
    if agreed.sack {
        reply.word(len, 0x0101_0402);
        len += 4;
    }
    if agreed.timestamps {
        let scale = if agreed.scaling { Some(offer.scale) } else { None };
        let stamp = cookie::stamp((now_ms as u32).wrapping_add(agreed.offset), scale, agreed.sack);
        reply.word(len, 0x0101_080a);
        reply.word(len + 4, stamp);
        reply.word(len + 8, offer.timestamp);
        len += 12;
    }
    reply.half(12, ((len as u16 / 4) << 12) | (flags::SYN | flags::ACK) as u16);
    let checksum = fold(addresses(packet) + pseudo(len) + sum(reply.bytes));
    reply.half(16, checksum);
    len
}

/// Puts the reply in the place of the segment, and turns the frame round. Padding keeps what it was.
#[inline(never)]
fn write(frame: &mut impl Frame, scratch: &mut Scratch, len: usize) -> Option<()> {
    let Scratch { packet, reply, .. } = scratch;
    let (header, start) = (packet.header as usize, packet.start as usize);
    let end = start + len;
    frame.resize(if end < FRAME_BYTES_MIN { FRAME_BYTES_MIN } else { end })?;
    let to: [u8; 6] = frame.get(0)?;
    let from: [u8; 6] = frame.get(6)?;
    frame.put(0, from)?;
    frame.put(6, to)?;
    if packet.v6 {
        let payload = (len as u16).to_be_bytes();
        frame.put(header, [0x60, 0, 0, 0, payload[0], payload[1], TCP, HOPS])?;
        frame.put(header + 8, packet.destination)?;
        frame.put(header + 24, packet.source)?;
    } else {
        let total = (20 + len as u16).to_be_bytes();
        let [.., a, b, c, d] = packet.destination;
        let [.., e, f, g, h] = packet.source;
        let mut ip = [0x45, 0, total[0], total[1], 0, 0, 0x40, 0, HOPS, TCP, 0, 0, a, b, c, d, e, f, g, h];
        [ip[10], ip[11]] = fold(sum(&ip)).to_be_bytes();
        frame.put(header, ip)?;
    }
    frame.store(start, reply, len)
}

/// A SYN-ACK being written.
struct Reply<'a> {
    bytes: &'a mut [u8; REPLY_BYTES],
}

impl Reply<'_> {
    #[inline(always)]
    fn half(&mut self, at: usize, value: u16) {
        let bytes = value.to_be_bytes();
        if let Some(place) = self.bytes.get_mut(at..at + 2) {
            place.copy_from_slice(&bytes);
        }
    }

    #[inline(always)]
    fn word(&mut self, at: usize, value: u32) {
        let bytes = value.to_be_bytes();
        if let Some(place) = self.bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&bytes);
        }
    }
}

/// What the options of a SYN offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Offer {
    /// The peer's time stamp.
    pub timestamp: u32,
    /// Maximum segment size.
    pub mss: u16,
    /// Window scale, at most 14 (RFC 7323 2.3).
    pub scale: u8,
    /// Where in the header the next option is.
    at: u8,
    /// There is a time stamp.
    pub has_timestamp: bool,
    /// There is a maximum segment size.
    pub has_mss: bool,
    /// There is a window scale.
    pub has_scale: bool,
    /// SACK may be used.
    pub sack: bool,
}

impl Offer {
    /// Nothing.
    pub const NONE: Self = Self {
        timestamp: 0,
        mss: 0,
        scale: 0,
        at: 0,
        has_timestamp: false,
        has_mss: false,
        has_scale: false,
        sack: false,
    };

    /// Reads the options of a header of `end` bytes. Unknown ones are passed over; a length that cannot be ends the
    /// list (RFC 9293 3.1 MUST-6, MUST-7).
    #[inline(never)]
    pub fn read(&mut self, header: &[u8; HEADER_BYTES_MAX], end: usize) {
        *self = Self { at: HEADER_BYTES as u8, ..Self::NONE };
        for _ in 0..OPTIONS_MAX {
            if !self.option(header, end) {
                break;
            }
        }
    }

    /// Reads an option; whether there may be another. Where it stands is in memory, else the verifier would follow each
    /// sum of lengths.
    #[inline(never)]
    fn option(&mut self, header: &[u8; HEADER_BYTES_MAX], end: usize) -> bool {
        let byte = |at: usize| header.get(at).copied().unwrap_or(0);
        let at = self.at as usize;
        if at >= end {
            return false;
        }
        let kind = byte(at);
        if kind == 1 {
            self.at = at as u8 + 1;
            return true;
        }
        let bytes = byte(at + 1) as usize;
        if kind == 0 || at + 1 >= end || bytes < 2 || at + bytes > end {
            return false;
        }
        match (kind, bytes) {
            (2, 4) => {
                self.has_mss = true;
                self.mss = u16::from_be_bytes([byte(at + 2), byte(at + 3)]);
            }
            (3, 3) => {
                let shift = byte(at + 2);
                self.has_scale = true;
                self.scale = if shift > SCALE_MAX { SCALE_MAX } else { shift };
            }
            (4, 2) => self.sack = true,
            (8, 10) => {
                self.has_timestamp = true;
                self.timestamp = u32::from_be_bytes([byte(at + 2), byte(at + 3), byte(at + 4), byte(at + 5)]);
            }
            _ => {}
        }
        self.at = (at + bytes) as u8;
        true
    }
}

/// The sum of the big-endian halves of `bytes`.
#[inline(never)]
fn sum<const N: usize>(bytes: &[u8; N]) -> u32 {
    let mut sum = 0;
    let mut at = 0;
    while at < N {
        sum += (bytes[at] as u32) << 8 | bytes[at + 1] as u32;
        at += 2;
    }
    sum
}

/// What the pseudo header adds to the addresses, RFC 9293 3.1.
#[inline(always)]
const fn pseudo(len: usize) -> u32 {
    TCP as u32 + len as u32
}

/// The checksum of a sum, RFC 1071. The sums here have at most 64 halves: two foldings do.
#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
