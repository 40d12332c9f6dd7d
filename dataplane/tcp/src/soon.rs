//! Timers of the next second. Nearly every segment with data starts one, and nearly none of them is still wanted when
//! it fires. In the wheel, whose lists are linked through a node of each connection, starting one beside a long timer
//! touches the nodes of up to four other connections: cache misses, when there are millions. Here it is one word at
//! the end of a vector of its millisecond, and nothing is ever taken out: whoever fires looks whether it is meant. Most
//! need not even be looked at then, which would be cache misses once more: what is not wanted any more is known by two
//! bits here, of which those of thousands of connections lie on a page.
//!
//! The bound on entries is the owner's to choose; what finds no room goes to the wheel.

use pelton_base::Mono;
use pelton_base::mem::prefetch;

/// Milliseconds ahead that have a place: the longest time-out before anything was measured (RFC 6298 2.1), and some.
const SLOTS: usize = 1_024;
const MASK: u64 = SLOTS as u64 - 1;
/// A millisecond's vector that has become longer than this is given back when it is empty.
const KEPT: usize = 4_096;

/// Marks of a connection: it stands in the list, at the time its owner knows.
const STANDS: u64 = 1;
/// It is to be looked at when it comes up.
const WANTED: u64 = 2;
/// Connections whose marks are in one word.
const MARKED: u32 = u64::BITS / 2;

/// Two bits of each connection. One that is gone wrongly only costs a second entry.
#[derive(Default)]
struct Marks(Vec<u64>);

impl Marks {
    #[inline]
    fn of(&self, index: u32) -> u64 {
        self.0.get((index / MARKED) as usize).map_or(0, |word| word >> (index % MARKED * 2))
            & (STANDS | WANTED)
    }

    #[inline]
    fn put(&mut self, index: u32, marks: u64) {
        if let Some(word) = self.0.get_mut((index / MARKED) as usize) {
            let shift = index % MARKED * 2;
            *word = *word & !((STANDS | WANTED) << shift) | marks << shift;
        }
    }

    /// Makes room for a connection.
    #[inline]
    fn reach(&mut self, index: u32) {
        let words = (index / MARKED) as usize + 1;
        if self.0.len() < words {
            self.0.resize(words, 0);
        }
    }
}

/// Connections by the millisecond in which they are to be looked at.
pub(crate) struct Soon {
    slots: Box<[Vec<u32>]>,
    occupied: [u64; SLOTS / 64],
    marks: Marks,
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
            marks: Marks::default(),
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
        self.marks.reach(index);
        self.marks.put(index, STANDS | WANTED);
        true
    }

    /// Asks for the marks of `index`, which will be wanted soon.
    #[inline]
    pub(crate) fn prefetch(&self, index: u32) {
        if let Some(word) = self.marks.0.get((index / MARKED) as usize) {
            prefetch(word);
        }
    }

    /// Whether `index` is to be looked at when it comes up.
    #[inline]
    pub(crate) fn is_wanted(&self, index: u32) -> bool {
        self.marks.of(index) & WANTED != 0
    }

    /// Whether `index` stands where it was last put.
    #[cfg(test)]
    fn stands(&self, index: u32) -> bool {
        self.marks.of(index) & STANDS != 0
    }

    /// `index` is wanted (again), if it stands where it was last put; `false` if it does not stand here.
    #[inline]
    pub(crate) fn want_again(&mut self, index: u32) -> bool {
        let Some(word) = self.marks.0.get_mut((index / MARKED) as usize) else { return false };
        let shift = index % MARKED * 2;
        let stands = *word >> shift & STANDS != 0;
        *word |= u64::from(stands) << shift << WANTED.trailing_zeros();
        stands
    }

    /// `index` is not wanted when it comes up, unless it is again by then.
    #[inline]
    pub(crate) fn dismiss(&mut self, index: u32) {
        if let Some(word) = self.marks.0.get_mut((index / MARKED) as usize) {
            *word &= !(WANTED << (index % MARKED * 2));
        }
    }

    /// `index` has come up, or is gone.
    #[inline]
    pub(crate) fn forget(&mut self, index: u32) {
        self.marks.put(index, 0);
    }

    /// Takes out what is due at `now`, and wanted, `limit` entries at most. Whether more is due and waits for the next call.
    #[inline]
    pub(crate) fn expire(&mut self, now: Mono, limit: usize, due: &mut Vec<u32>) -> bool {
        let now_ms = now.as_ms();
        while let Some(at_ms) = self.next_ms()
            && at_ms <= now_ms
        {
            self.cursor_ms = at_ms;
            let slot = (at_ms & MASK) as usize;
            let entries = &mut self.slots[slot];
            while !entries.is_empty() {
                if due.len() >= limit {
                    return true;
                }
                let first = entries.len().saturating_sub(limit - due.len());
                self.len -= entries.len() - first;
                for index in entries.drain(first..) {
                    if self.marks.of(index) & WANTED == 0 {
                        self.marks.put(index, 0);
                    } else {
                        due.push(index);
                    }
                }
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
            steps in proptest::collection::vec((0..4u8, 0..1_400u64), 0..200),
        ) {
            let mut soon = Soon::new(Mono::from_ms(start), 60);
            let (mut model, mut now, mut number) = (Vec::<(u64, u32)>::new(), start, 0);
            let mut dismissed = Vec::new();
            for (step, n) in steps {
                if step == 3 {
                    // One that is not wanted stays where it is, and is not taken out.
                    if let Some(&(_, index)) = model.get(n as usize % model.len().max(1)) {
                        let again = dismissed.iter().position(|&other| other == index);
                        prop_assert_eq!(soon.is_wanted(index), again.is_none());
                        prop_assert!(soon.stands(index));
                        match again {
                            Some(at) => {
                                dismissed.swap_remove(at);
                                soon.want_again(index);
                            }
                            None => {
                                dismissed.push(index);
                                soon.dismiss(index);
                            }
                        }
                    }
                } else if step > 0 {
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
                    let is_due = |&&(at, index): &&(u64, u32)| at <= now && !dismissed.contains(&index);
                    let wanted = model.iter().filter(is_due).count();
                    // Whether what is left behind is wanted is seen when it is taken.
                    prop_assert!(more || due.len() == wanted);
                    prop_assert!(!more || due.len() == 7);
                    model.retain(|&(at, index)| {
                        let gone = at <= now && dismissed.contains(&index) && !soon.stands(index);
                        assert!(more || gone == (at <= now && dismissed.contains(&index)));
                        !gone
                    });
                    for index in due {
                        let at = model.iter().position(|(_, i)| *i == index).expect("it was put in");
                        let (was_due, _) = model.swap_remove(at);
                        prop_assert!(was_due <= now && soon.is_wanted(index));
                        soon.forget(index);
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
