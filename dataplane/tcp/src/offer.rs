//! What a SYN offers: RFC 9293 3.7.1, RFC 7323 2.2 and 3.2, RFC 2018 2.

use crate::segment::Options;

/// The kinds of options that a SYN has, each with its length, as the first or the last bytes of a word.
const MSS: u32 = 0x0204;
const SCALE: u32 = 0x01_0303;
const SACK: u32 = 0x0101_0402;
const STAMPS: u32 = 0x0101_080a;
const SACK_AND_STAMPS: u32 = 0x0402_080a;
const SACK_AT_THE_END: u32 = 0x0402_0000;
const NOTHING: u32 = 0x0101_0101;

/// What a SYN offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The segment size its sender takes, if it says so.
    pub(crate) mss: Option<u16>,
    /// The scale of the sender's windows; at most 14 (RFC 7323 2.3).
    pub(crate) scale: Option<u8>,
    pub(crate) sack: bool,
    pub(crate) timestamps: bool,
}

impl Offer {
    /// What options say.
    pub(crate) const fn of(options: &Options) -> Self {
        Self {
            mss: options.mss,
            scale: options.window_scale,
            sack: options.sack_permitted,
            timestamps: options.timestamps.is_some(),
        }
    }

    /// Reads options that come in words of four bytes, as they do from Linux, the BSDs, Windows, lwIP and this stack; and
    /// the time stamp and its echo. `None` if they do not, or there are others: then
    /// [`Segment::parse`](crate::segment::Segment::parse) reads them.
    #[inline]
    pub(crate) fn read(options: &[u8]) -> Option<(Self, Option<(u32, u32)>)> {
        let (words, []) = options.as_chunks::<4>() else { return None };
        let mut offer = Self::default();
        let mut stamps = None;
        let mut words = words.iter().map(|word| u32::from_be_bytes(*word));
        while let Some(word) = words.next() {
            match word {
                _ if word >> 16 == MSS => offer.mss = Some(word as u16),
                _ if word >> 8 == SCALE => offer.scale = Some((word as u8).min(14)),
                STAMPS | SACK_AND_STAMPS => {
                    offer.sack |= word == SACK_AND_STAMPS;
                    offer.timestamps = true;
                    stamps = Some((words.next()?, words.next()?));
                }
                SACK => offer.sack = true,
                SACK_AT_THE_END => {
                    offer.sack = true;
                    break;
                }
                NOTHING => {}
                _ => return None,
            }
        }
        Some((offer, stamps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_common_systems_send_is_read() {
        let all = |scale| Offer { mss: Some(1_460), scale: Some(scale), sack: true, timestamps: true };
        let stamps = Some((0x0102_0304, 0));
        let linux = [2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];
        assert_eq!(Offer::read(&linux), Some((all(7), stamps)));
        let bsd = [2, 4, 5, 180, 1, 3, 3, 6, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0];
        assert_eq!(Offer::read(&bsd), Some((all(6), stamps)));
        let macos = [2, 4, 5, 180, 1, 3, 3, 6, 1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 4, 2, 0, 0];
        assert_eq!(Offer::read(&macos), Some((all(6), stamps)));
        let windows = [2, 4, 5, 180, 1, 3, 3, 8, 1, 1, 4, 2];
        assert_eq!(Offer::read(&windows), Some((Offer { timestamps: false, ..all(8) }, None)));
        let lwip = [2, 4, 2, 24];
        assert_eq!(Offer::read(&lwip), Some((Offer { mss: Some(536), ..Offer::default() }, None)));
        assert_eq!(Offer::read(&[3, 3, 7, 1]), None, "for the long way");
    }

    proptest! {
        /// What is read is what the long way reads.
        #[test]
        fn agrees_with_the_long_way(
            kinds in proptest::collection::vec((0..10usize, any::<u32>()), 0..10), cut in 0..40usize,
        ) {
            let mut bytes = Vec::new();
            for (kind, any) in kinds {
                let word = match kind {
                    0 => MSS << 16 | any >> 16,
                    1 => SCALE << 8 | any >> 24,
                    at => [SACK, STAMPS, SACK_AND_STAMPS, SACK_AT_THE_END, NOTHING, any, 0, 0x0303_0204][at - 2],
                };
                bytes.extend_from_slice(&word.to_be_bytes());
            }
            bytes.truncate(40.min(bytes.len().saturating_sub(cut)));
            let long = Options::parse(&bytes);
            if let Some((offer, stamps)) = Offer::read(&bytes) {
                prop_assert_eq!((offer, stamps), (Offer::of(&long), long.timestamps));
                prop_assert!(long.sack.is_empty());
            }
        }
    }
}
