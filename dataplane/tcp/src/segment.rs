//! A TCP segment as it is on the wire: header and options, read and written. RFC 9293 3.1, RFC 7323 2.2, 3.2,
//! RFC 2018 2, 3.

use std::net::IpAddr;

use pelton_packet::checksum::pseudo_header;
use pelton_packet::parse::TCP;

use crate::counters::TcpDrop;
use crate::seq::Seq;

/// Bytes of a header without options.
pub const HEADER_BYTES: usize = 20;
/// Bytes that the timestamps option takes with its padding.
pub const TIMESTAMP_BYTES: usize = 12;
/// SACK blocks that fit a segment.
pub const SACK_BLOCKS_MAX: usize = 4;

/// The flags of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data comes.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// The connection is reset.
    pub const RST: Self = Self(0x04);
    /// The receiver should hand on what it has.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);

    /// Congestion was met (RFC 3168 6.1); in a SYN: the sender knows about that.
    pub const ECE: Self = Self(0x40);
    /// The sender has slowed down.
    pub const CWR: Self = Self(0x80);

    /// Whether all of `flags` are set.
    #[inline]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// With `flags` set too.
    #[inline]
    pub const fn and(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// With `flags` cleared.
    #[inline]
    pub const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }
}

/// SACK blocks: what was received beyond the acknowledgement, as left and right edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlocks {
    blocks: [(Seq, Seq); SACK_BLOCKS_MAX],
    count: u8,
}

impl SackBlocks {
    /// The blocks.
    #[inline]
    pub fn as_slice(&self) -> &[(Seq, Seq)] {
        &self.blocks[..usize::from(self.count)]
    }

    /// Adds a block, if there is room.
    pub fn push(&mut self, left: Seq, right: Seq) {
        if let Some(place) = self.blocks.get_mut(usize::from(self.count)) {
            *place = (left, right);
            self.count += 1;
        }
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The options of a segment, whatever its flags. Unknown ones are passed over (RFC 9293 3.1 MUST-5, MUST-6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale; at most 14 (RFC 7323 2.3).
    pub window_scale: Option<u8>,
    /// SACK may be used.
    pub sack_permitted: bool,
    /// Time stamp and echo.
    pub timestamps: Option<(u32, u32)>,
    /// SACK blocks.
    pub sack: SackBlocks,
}

/// A segment: header, options, and where its data is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The sender's port.
    pub source: u16,
    /// The receiver's port.
    pub destination: u16,
    /// Sequence number of the first byte of data (or of SYN or FIN).
    pub seq: Seq,
    /// The next sequence number the sender expects.
    pub ack: Seq,
    /// Flags.
    pub flags: Flags,
    /// The window field, not scaled.
    pub window: u16,
    /// Options.
    pub options: Options,
    /// Bytes of the header with its options.
    pub header: u8,
    /// Bytes of data.
    pub len: u16,
}

impl Segment {
    /// How much of the sequence space it takes.
    #[inline]
    pub const fn sequence_len(&self) -> u32 {
        self.len as u32 + self.flags.has(Flags::SYN) as u32 + self.flags.has(Flags::FIN) as u32
    }

    /// Reads a segment and verifies its checksum.
    ///
    /// # Errors
    /// [`TcpDrop::Malformed`] or [`TcpDrop::BadChecksum`].
    #[inline]
    pub fn parse(source: IpAddr, destination: IpAddr, bytes: &[u8]) -> Result<Self, TcpDrop> {
        let (fixed, _) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(TcpDrop::Malformed)?;
        let header = usize::from(fixed[12] >> 4) * 4;
        if header < HEADER_BYTES || header > bytes.len() {
            return Err(TcpDrop::Malformed);
        }
        // RFC 9293 3.1 MUST-3, RFC 8200 8.1.
        if pseudo_header(source, destination, TCP, bytes.len()).bytes(bytes).fold() != 0 {
            return Err(TcpDrop::BadChecksum);
        }
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let half = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        Ok(Self {
            source: half(0),
            destination: half(2),
            seq: Seq(word(4)),
            ack: Seq(word(8)),
            flags: Flags(fixed[13]),
            window: half(14),
            options: Options::parse(&bytes[HEADER_BYTES..header]),
            header: header as u8,
            len: (bytes.len() - header) as u16,
        })
    }

    /// Bytes of the header that [`Segment::write`] writes.
    #[inline]
    pub fn header_bytes(&self) -> usize {
        HEADER_BYTES + self.options.bytes()
    }

    /// Writes the header to the front of `bytes`, which has the data behind it, with the checksum over all.
    #[inline]
    pub fn write(&self, source: IpAddr, destination: IpAddr, bytes: &mut [u8]) {
        let header = self.header_bytes();
        bytes[..2].copy_from_slice(&self.source.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.destination.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        bytes[12] = ((header / 4) << 4) as u8;
        bytes[13] = self.flags.0;
        bytes[14..16].copy_from_slice(&self.window.to_be_bytes());
        // RFC 9293 3.1 MUST-2.
        bytes[16..20].fill(0);
        self.options.write(&mut bytes[HEADER_BYTES..header]);
        let sum = pseudo_header(source, destination, TCP, bytes.len()).bytes(bytes).fold();
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    }
}

impl Options {
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        // What every segment of a connection with timestamps has: two of no operation, and the option
        // (RFC 7323 A).
        if let &[1, 1, 8, 10, a, b, c, d, e, f, g, h] = bytes {
            let timestamps = Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
            return Self { timestamps, ..Self::default() };
        }
        if bytes.is_empty() { Self::default() } else { Self::parse_any(bytes) }
    }

    fn parse_any(mut bytes: &[u8]) -> Self {
        let mut options = Self::default();
        // RFC 9293 3.1 MUST-4, 3.2 MUST-64: two have no length, and none need be aligned.
        while let [kind, rest @ ..] = bytes {
            match kind {
                0 => break,
                1 => {
                    bytes = rest;
                    continue;
                }
                _ => {}
            }
            // RFC 9293 3.1 MUST-7, MUST-68: a length that cannot be ends the list.
            let Some(&len) = rest.first() else { break };
            let len = usize::from(len);
            if len < 2 || len > bytes.len() {
                break;
            }
            let (option, behind) = bytes.split_at(len);
            match *option {
                [2, 4, a, b] => options.mss = Some(u16::from_be_bytes([a, b])),
                [3, 3, shift] => options.window_scale = Some(shift.min(14)),
                [4, 2] => options.sack_permitted = true,
                [5, _, ref blocks @ ..] if blocks.len().is_multiple_of(8) => {
                    for block in blocks.chunks_exact(8) {
                        let edge = |at: usize| {
                            Seq(u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]))
                        };
                        options.sack.push(edge(0), edge(4));
                    }
                }
                [8, 10, a, b, c, d, e, f, g, h] => {
                    let echo = u32::from_be_bytes([e, f, g, h]);
                    options.timestamps = Some((u32::from_be_bytes([a, b, c, d]), echo));
                }
                _ => {}
            }
            bytes = behind;
        }
        options
    }

    fn bytes(&self) -> usize {
        let mss = if self.mss.is_some() { 4 } else { 0 };
        let scale = if self.window_scale.is_some() { 4 } else { 0 };
        let timestamps = if self.timestamps.is_some() { TIMESTAMP_BYTES } else { 0 };
        let permitted = if self.sack_permitted { 4 } else { 0 };
        let sack = if self.sack.is_empty() { 0 } else { 4 + 8 * self.sack.as_slice().len() };
        mss + scale + timestamps + permitted + sack
    }

    /// RFC 9293 3.1 MUST-69, RFC 7323 A: each is padded in front to a word, so that all of them end at one.
    fn write(&self, into: &mut [u8]) {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            into[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            put(&[2, 4, a, b]);
        }
        if let Some(shift) = self.window_scale {
            put(&[1, 3, 3, shift]);
        }
        if self.sack_permitted {
            put(&[1, 1, 4, 2]);
        }
        if let Some((stamp, echo)) = self.timestamps {
            put(&[1, 1, 8, 10]);
            put(&stamp.to_be_bytes());
            put(&echo.to_be_bytes());
        }
        if !self.sack.is_empty() {
            put(&[1, 1, 5, (2 + 8 * self.sack.as_slice().len()) as u8]);
            for (left, right) in self.sack.as_slice() {
                put(&left.0.to_be_bytes());
                put(&right.0.to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addresses(v6: bool) -> (IpAddr, IpAddr) {
        let (a, b) = if v6 { ("fe80::1", "fe80::2") } else { ("10.0.0.1", "10.0.0.2") };
        (a.parse().unwrap(), b.parse().unwrap())
    }

    fn option_strategy() -> impl Strategy<Value = Options> {
        let edges = proptest::collection::vec((any::<u32>(), any::<u32>()), 0..=1);
        (
            any::<Option<u16>>(),
            proptest::option::of(0..15u8),
            any::<bool>(),
            any::<Option<(u32, u32)>>(),
            edges,
        )
            .prop_map(|(mss, window_scale, sack_permitted, timestamps, edges)| {
                let mut sack = SackBlocks::default();
                edges.iter().for_each(|&(left, right)| sack.push(Seq(left), Seq(right)));
                Options { mss, window_scale, sack_permitted, timestamps, sack }
            })
    }

    proptest! {
        // covers RFC 9293 3.1, 3.1 MUST-2, MUST-3, MUST-5, MUST-69
        // RFC 8200 8.1, RFC 2018 3
        #[test]
        fn what_is_written_is_read(options in option_strategy(), seq: u32, ack: u32, window: u16, flags: u8,
                                   data in proptest::collection::vec(any::<u8>(), 0..50), v6: bool) {
            let mut segment = Segment { source: 1, destination: 2, seq: Seq(seq), ack: Seq(ack), window,
                                        flags: Flags(flags), options, header: 0, len: data.len() as u16 };
            segment.header = segment.header_bytes() as u8;
            let mut bytes = vec![0xaa; segment.header_bytes()];
            bytes.extend_from_slice(&data);
            prop_assert_eq!(segment.header_bytes() % 4, 0);
            let (a, b) = addresses(v6);
            segment.write(a, b, &mut bytes);
            prop_assert_eq!(Segment::parse(a, b, &bytes), Ok(segment));
            prop_assert_eq!(&bytes[segment.header_bytes()..], &data[..]);
            prop_assert!(Segment::parse(a, a, &bytes).is_err(), "the addresses are covered too");
            // One bit anywhere: not the same segment any more.
            let bit = seq as usize % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Segment::parse(a, b, &bytes).is_err());
        }

        /// Any option bytes are read without a panic, and end where the length lies.
        #[test]
        fn any_options(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let options = Options::parse(&bytes);
            prop_assert!(options.window_scale.unwrap_or(0) <= 14);
        }
    }

    // covers RFC 9293 3.1 MUST-4, MUST-6, MUST-7, MUST-68, 3.2 MUST-64
    // RFC 7323 2.3
    #[test]
    fn options_stand_anywhere_and_a_bad_length_ends_them() {
        // Not aligned, unknown ones between, an end before the end.
        let options = Options::parse(&[1, 30, 4, 9, 9, 2, 4, 5, 0xb4, 1, 3, 3, 20, 0, 4, 2]);
        assert_eq!(
            (options.mss, options.window_scale, options.sack_permitted),
            (Some(1460), Some(14), false)
        );
        let options = Options::parse(&[4, 2, 2, 0, 5, 0xb4]);
        assert_eq!((options.sack_permitted, options.mss), (true, None));
        assert_eq!(Options::parse(&[2, 40, 5, 0xb4]), Options::default());
    }
    // covers RFC 7323 A
    #[test]
    fn time_stamps_are_aligned() {
        let options = Options { timestamps: Some((1, 2)), ..Options::default() };
        let mut bytes = vec![0; options.bytes()];
        options.write(&mut bytes);
        assert_eq!(bytes, [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    }
}
