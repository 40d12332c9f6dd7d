//! SYN cookies: the same as `pelton-tcp` makes and checks (a test there compares them, `dataplane/tcp/src/cookie.rs`
//! says what is in one).

use crate::layout::Address;
use crate::sip::Sip;

/// Segment sizes a cookie can name.
const SIZES: [u16; 8] = [216, 536, 1024, 1220, 1360, 1400, 1440, 1460];
/// How long the clock stands.
const TICK_MS: u64 = 64_000;
/// Low bits of the time stamp that carry options.
const STAMP_BITS: u32 = 6;
/// The window scale that stands for none.
const NO_SCALE: u32 = 15;
/// The greatest window scale, RFC 7323 2.3.
pub const SCALE_MAX: u8 = 14;

/// The two ends of a connection, seen from the broker.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tuple {
    /// The peer.
    pub remote: Address,
    /// The broker.
    pub local: Address,
    /// The peer's port, in network order.
    pub remote_port: [u8; 2],
    /// The broker's, in network order.
    pub local_port: [u8; 2],
    /// IPv6, not IPv4.
    pub v6: bool,
}

impl Tuple {
    /// None.
    pub const NONE: Self =
        Self { remote: [0; 16], local: [0; 16], remote_port: [0; 2], local_port: [0; 2], v6: false };

    /// Its hash under a key.
    #[inline(never)]
    pub fn hash(&self, key: &[u64; 2]) -> u64 {
        let ports =
            (u16::from_be_bytes(self.remote_port) as u64) << 16 | u16::from_be_bytes(self.local_port) as u64;
        let (remote, local) = (halves(&self.remote), halves(&self.local));
        let mut sip = Sip::new(*key);
        if self.v6 {
            sip.word(remote[0]);
            sip.word(remote[1]);
            sip.word(local[0]);
            sip.word(local[1]);
            sip.end(ports, 36)
        } else {
            // IPv4: the last four bytes of each.
            sip.word(remote[1] >> 32 | local[1] >> 32 << 32);
            sip.end(ports, 12)
        }
    }
}

#[inline(always)]
const fn halves(address: &Address) -> [u64; 2] {
    let a = address;
    [
        u64::from_le_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]),
        u64::from_le_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]),
    ]
}

/// Which of the sizes a cookie can name stands for a segment size: the greatest that is not greater.
#[inline(always)]
pub fn size(mss: u16) -> u8 {
    let mut size = 0;
    for (index, &least) in SIZES.iter().enumerate() {
        if least <= mss {
            size = index as u8;
        }
    }
    size
}

/// The sequence number of the SYN-ACK to a SYN with `sequence` that is agreed to be answered by segments of a
/// [`size`].
#[inline(never)]
pub fn make(key: &[u64; 2], tuple: &Tuple, sequence: u32, size: u8, now_ms: u64) -> u32 {
    let tick = now_ms / TICK_MS;
    let mut sip = Sip::new(*key);
    sip.word(tuple.hash(key));
    sip.word(sequence as u64 | (size as u64) << 32);
    sip.word(tick);
    let mac = sip.end(0, 24) as u32 & 0x00ff_ffff;
    (tick as u32 & 0x1f) << 27 | (size as u32) << 24 | mac
}

/// A time stamp not later than `stamp` that carries what was agreed on.
#[inline(always)]
pub const fn stamp(stamp: u32, scale: Option<u8>, sack: bool) -> u32 {
    let scale = match scale {
        Some(shift) => shift as u32,
        None => NO_SCALE,
    };
    let options = scale | (sack as u32) << 4;
    let with = stamp >> STAMP_BITS << STAMP_BITS | options;
    if with > stamp { with.wrapping_sub(1 << STAMP_BITS) } else { with }
}
