//! What every payload begins with: whose message it is, which one, and when it was to be sent.

/// Bytes of a stamp; payloads are not smaller.
pub(crate) const STAMP_BYTES: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Tells the messages of this run from those of others.
    pub(crate) run: u32,
    pub(crate) publisher: u32,
    /// Counts the publisher's messages from 0.
    pub(crate) sequence: u64,
    /// Nanoseconds on the run's clock: when it was sent, or at a fixed rate when it was to be sent.
    pub(crate) time_ns: u64,
}

impl Stamp {
    #[inline]
    pub(crate) fn write(self, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&self.run.to_be_bytes());
        payload[4..8].copy_from_slice(&self.publisher.to_be_bytes());
        payload[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        payload[16..24].copy_from_slice(&self.time_ns.to_be_bytes());
    }

    #[inline]
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let bytes: &[u8; STAMP_BYTES] = payload.first_chunk()?;
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        Some(Self { run: word(0), publisher: word(4), sequence: long(8), time_ns: long(16) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let stamp = Stamp {
            run: 0x0102_0304,
            publisher: 0xF0E0_D0C0,
            sequence: u64::MAX - 7,
            time_ns: 0x1122_3344_5566_7788,
        };
        let mut payload = [0xAA; 40];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(payload[STAMP_BYTES..], [0xAA; 16]);
        assert_eq!(Stamp::read(&payload[..STAMP_BYTES - 1]), None);
    }
}
