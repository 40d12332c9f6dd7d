//! SYN cookies: the sequence number of a SYN-ACK that stands for the state that was not kept (RFC 4987 3.6).
//!
//! From the top: 5 bits of a clock that ticks every 64 s, 3 bits that name the segment size, 24 bits of a keyed hash
//! over tuple, the peer's sequence number, clock and size. What else was agreed on travels in the low bits of the
//! time stamp, which the peer echoes; without timestamps neither window scaling nor SACK is offered.

use pelton_base::{HashKey, Mono};

use crate::half_open::Agreed;
use crate::seq::Seq;
use crate::tuple::Tuple;

/// Segment sizes a cookie can name: the peer's is rounded down. The common ones, and the least that is used.
const SIZES: [u16; 8] = [216, 536, 1024, 1220, 1360, 1400, 1440, 1460];
/// How long the clock stands.
const TICK_MS: u64 = 64_000;
/// Low bits of the time stamp that carry options.
const STAMP_BITS: u32 = 6;
/// The window scale that stands for none.
const NO_SCALE: u32 = 15;

/// `ends` is the hash of the tuple under the same key.
#[inline]
fn mac(key: HashKey, ends: u64, irs: Seq, tick: u64, size: usize) -> u32 {
    let mut words = [0; 24];
    words[..8].copy_from_slice(&ends.to_ne_bytes());
    words[8..12].copy_from_slice(&irs.0.to_ne_bytes());
    words[12] = size as u8;
    words[16..].copy_from_slice(&tick.to_ne_bytes());
    key.hash(&words) as u32 & 0x00ff_ffff
}

/// The cookie for the tuple whose hash under `key` is `ends`.
#[inline]
pub(crate) fn make(key: HashKey, ends: u64, irs: Seq, mss: u16, now: Mono) -> Seq {
    let size = SIZES.iter().rposition(|&size| size <= mss).unwrap_or(0);
    let tick = now.as_ms() / TICK_MS;
    Seq((tick as u32 & 0x1f) << 27 | (size as u32) << 24 | mac(key, ends, irs, tick, size))
}

/// The segment size, if `iss` is a cookie that was made for this in the last two minutes at most.
pub(crate) fn check(key: HashKey, tuple: &Tuple, irs: Seq, iss: Seq, now: Mono) -> Option<u16> {
    let size = (iss.0 >> 24 & 7) as usize;
    ticks(iss, now)
        .any(|tick| mac(key, tuple.hash(key), irs, tick, size) == iss.0 & 0x00ff_ffff)
        .then_some(SIZES[size])
}

/// Whether `iss` may be a cookie at all, whoever's: it says a time when one that is good was made. Of other numbers
/// one in sixteen does.
pub(crate) fn may_be(iss: Seq, now: Mono) -> bool {
    ticks(iss, now).next().is_some()
}

/// When a cookie that is good may have been made, by what it says itself.
fn ticks(iss: Seq, now: Mono) -> impl Iterator<Item = u64> {
    let tick = now.as_ms() / TICK_MS;
    let last = [Some(tick), tick.checked_sub(1)].into_iter().flatten();
    last.filter(move |&tick| tick as u32 & 0x1f == iss.0 >> 27)
}

/// A time stamp not later than `stamp` that carries what was agreed on.
pub(crate) fn stamp(stamp: u32, agreed: Agreed) -> u32 {
    let options = agreed.scale.map_or(NO_SCALE, u32::from) | u32::from(agreed.sack) << 4;
    let with = stamp >> STAMP_BITS << STAMP_BITS | options;
    if with > stamp { with.wrapping_sub(1 << STAMP_BITS) } else { with }
}

/// What a time stamp that came back carries.
pub(crate) fn agreed(echo: Option<u32>, mss: u16) -> Agreed {
    let Some(echo) = echo else {
        return Agreed { mss, scale: None, sack: false, timestamps: false, ecn: false };
    };
    let scale = echo & 0xf;
    Agreed {
        mss,
        scale: (scale != NO_SCALE).then_some((scale as u8).min(14)),
        sack: echo & 0x10 != 0,
        timestamps: true,
        // The time stamp has no bit for it that whoever else makes cookies knows.
        ecn: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tuple(port: u16) -> Tuple {
        Tuple { local: "10.0.0.1:1883".parse().unwrap(), remote: ([10, 0, 0, 2], port).into() }
    }

    proptest! {
        #[test]
        fn a_cookie_is_good_for_its_connection_and_time(port: u16, irs: u32, mss in 216..9000u16, ms in 0..10_000_000_000u64) {
            let key = HashKey::new(1, 2);
            let iss = make(key, tuple(port).hash(key), Seq(irs), mss, Mono::from_ms(ms));
            let size = check(key, &tuple(port), Seq(irs), iss, Mono::from_ms(ms));
            prop_assert!(size.is_some_and(|size| size <= mss));
            prop_assert_eq!(check(key, &tuple(port), Seq(irs), iss, Mono::from_ms(ms + 63_999)), size);
            prop_assert_eq!(check(key, &tuple(port), Seq(irs), iss, Mono::from_ms(ms + 128_000)), None);
            prop_assert!(may_be(iss, Mono::from_ms(ms)) && may_be(iss, Mono::from_ms(ms + 63_999)));
            prop_assert!(!may_be(iss, Mono::from_ms(ms + 128_000)));
            // One guess in 2^24 would be right: these seeds have none.
            prop_assert_eq!(check(key, &tuple(port ^ 1), Seq(irs), iss, Mono::from_ms(ms)), None);
            prop_assert_eq!(check(key, &tuple(port), Seq(irs) + 1, iss, Mono::from_ms(ms)), None);
            prop_assert_eq!(check(HashKey::new(1, 3), &tuple(port), Seq(irs), iss, Mono::from_ms(ms)), None);
        }

        #[test]
        fn options_travel_in_the_time_stamp(now: u32, scale in proptest::option::of(0..15u8), sack: bool) {
            let agreed_on = Agreed { mss: 1400, scale, sack, timestamps: true, ecn: false };
            let with = stamp(now, agreed_on);
            prop_assert!(now.wrapping_sub(with) <= 64);
            prop_assert_eq!(agreed(Some(with), 1400), agreed_on);
        }
    }
}
