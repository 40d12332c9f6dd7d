//! Timers of the next second. Nearly every segment with data starts one, and nearly none of them is still wanted when
//! it fires. In the wheel, whose lists are linked through a node of each connection, starting one beside a long timer
//! touches the nodes of up to four other connections: cache misses, when there are millions. Here it is one word at
//! the end of a vector of its millisecond, and nothing is ever taken out: whoever fires looks whether it is meant.
//!
//! The bound on entries is the owner's to choose; what finds no room goes to the wheel.

use pelton_base::Mono;

/// Milliseconds ahead that have a place: the longest time-out before anything was measured (RFC 6298 2.1), and some.
const SLOTS: usize = 1_024;
const MASK: u64 = SLOTS as u64 - 1;
/// A millisecond's vector that has become longer than this is given back when it is empty.
const KEPT: usize = 4_096;

/// Connections by the millisecond in which they are to be looked at.
pub(crate) struct Soon {
    slots: Box<[Vec<u32>]>,
    occupied: [u64; SLOTS / 64],
    /// The next millisecond to look at; all that stands here is due then or later.
    cursor_ms: u64,
    len: usize,
    max: usize,
}

impl Soon {
    /// Nothing, and room for `max` entries.
    pub(crate) fn new(now: Mono, max: usize) -> Self {
        Self {
            slots: std::iter::repeat_with(Vec::new).take(SLOTS).collect(),
            occupied: [0; SLOTS / 64],
            cursor_ms: now.as_ms(),
            len: 0,
            max,
        }
    }

    /// Has `index` come up in the first [`Soon::expire`] at or after `at_ms`; `false` if that is too far ahead or there
    /// is no room.
    #[inline]
    pub(crate) fn push(&mut self, index: u32, at_ms: u64) -> bool {
        let at_ms = at_ms.max(self.cursor_ms);
        if at_ms - self.cursor_ms >= SLOTS as u64 || self.len >= self.max {
            return false;
        }
        let slot = (at_ms & MASK) as usize;
        self.slots[slot].push(index);
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.len += 1;
        true
    }

    /// Takes out what is due at `now`, `limit` entries at most. Whether more is due and waits for the next call.
    #[inline]
    pub(crate) fn expire(&mut self, now: Mono, limit: usize, due: &mut Vec<u32>) -> bool {
        let now_ms = now.as_ms();
        while let Some(at_ms) = self.next_ms()
            && at_ms <= now_ms
        {
            self.cursor_ms = at_ms;
            let slot = (at_ms & MASK) as usize;
            let entries = &mut self.slots[slot];
            let first = entries.len().saturating_sub(limit - due.len().min(limit));
            self.len -= entries.len() - first;
            due.extend(entries.drain(first..));
            if !entries.is_empty() {
                return true;
            }
            if entries.capacity() > KEPT {
                *entries = Vec::new();
            }
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
        self.cursor_ms = self.cursor_ms.max(now_ms + 1);
        false
    }

    /// When the next entry comes up.
    pub(crate) fn next(&self) -> Option<Mono> {
        self.next_ms().map(Mono::from_ms)
    }

    fn next_ms(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let own = (self.cursor_ms & MASK) as usize;
        let (word, bit) = (own / 64, own % 64);
        // Around once; the word of the cursor's own bit comes first and last, cut in two.
        for step in 0..=self.occupied.len() {
            let at = (word + step) % self.occupied.len();
            let cut = match step {
                0 => u64::MAX << bit,
                _ if step == self.occupied.len() => !(u64::MAX << bit),
                _ => u64::MAX,
            };
            let bits = self.occupied[at] & cut;
            if bits != 0 {
                let slot = at * 64 + bits.trailing_zeros() as usize;
                return Some(self.cursor_ms + (slot.wrapping_sub(own) as u64 & MASK));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list, over laps and gaps, with a limit that leaves some behind.
        #[test]
        fn agrees_with_a_list(
            start in 0..5_000u64,
            steps in proptest::collection::vec((0..3u8, 0..1_400u64), 0..200),
        ) {
            let mut soon = Soon::new(Mono::from_ms(start), 60);
            let (mut model, mut now, mut number) = (Vec::new(), start, 0);
            for (step, n) in steps {
                if step > 0 {
                    // What is late is due at the next look.
                    let at = (now + n).saturating_sub(20).max(soon.cursor_ms);
                    let taken = soon.push(number, (now + n).saturating_sub(20));
                    prop_assert_eq!(taken, model.len() < 60 && at < soon.cursor_ms + 1_024);
                    if taken {
                        model.push((at, number));
                    }
                    number += 1;
                } else {
                    now += n / 3;
                    let mut due = Vec::new();
                    let more = soon.expire(Mono::from_ms(now), 7, &mut due);
                    prop_assert!(due.len() <= 7);
                    let wanted = model.iter().filter(|(at, _)| *at <= now).count();
                    prop_assert_eq!(more, wanted > due.len());
                    prop_assert!(more || due.len() == wanted);
                    for index in due {
                        let at = model.iter().position(|(_, i)| *i == index).expect("it was put in");
                        let (was_due, _) = model.swap_remove(at);
                        prop_assert!(was_due <= now);
                    }
                }
                prop_assert_eq!(soon.len, model.len());
                let next = model.iter().map(|(at, _)| *at).min();
                prop_assert_eq!(soon.next().is_none(), next.is_none());
                if let (Some(soon), Some(next)) = (soon.next(), next) {
                    prop_assert!(soon.as_ms() == next || soon.as_ms() <= now + 1);
                }
            }
        }
    }

    #[test]
    fn what_is_too_far_ahead_or_too_much_is_not_taken() {
        let mut soon = Soon::new(Mono::from_ms(10), 2);
        assert!(!soon.push(1, 10 + 1_024) && soon.push(1, 10 + 1_023) && soon.push(2, 3));
        assert!(!soon.push(3, 11), "full");
        assert_eq!(soon.next(), Some(Mono::from_ms(10)), "what is late is due at once");
        let mut due = Vec::new();
        assert!(!soon.expire(Mono::from_ms(2_000), 9, &mut due));
        assert_eq!((due, soon.next()), (vec![2, 1], None));
    }
}
