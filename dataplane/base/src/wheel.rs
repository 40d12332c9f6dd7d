//! A hierarchical timer wheel over a dense index space: at most one timer per index, so that the owner of
//! slot `i` (a connection, a session) owns timer `i` and no handle is stored.
//!
//! Four levels of 256 slots, one tick a millisecond (256 ms, 65 s, 4.6 h, 49.7 days). A deadline beyond the
//! horizon fires at the horizon: whoever owns a timer compares its own deadline when it fires and arms it
//! again if it was early. That rule also makes lazy re-arming cheap: activity only writes a time stamp, and
//! the timer moves itself when it fires. Arming and clearing are O(1); a timer is moved down at most three
//! times. 12 bytes an index.

use crate::chunks::Chunks;
use crate::time::Mono;

const LEVELS: usize = 4;
const SLOT_BITS: u32 = 8;
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_MASK: u32 = SLOTS as u32 - 1;
/// End of a list.
const NIL: u32 = u32::MAX;
/// In `previous`: the node is the first of its slot, and the low bits say which slot.
const HEAD: u32 = 1 << 31;
/// In `previous`: the node is not armed.
const IDLE: u32 = u32::MAX;
/// The farthest a timer is put, in ticks. One lap less than 2^32 keeps wrapped comparisons right.
const HORIZON: u32 = u32::MAX - (1 << 24);

#[derive(Clone, Copy)]
struct Node {
    next: u32,
    previous: u32,
    deadline: u32,
}

impl Default for Node {
    /// Not armed.
    fn default() -> Self {
        Self { next: NIL, previous: IDLE, deadline: 0 }
    }
}

/// Timers by index. Time is the driver's [`Mono`], in whole milliseconds.
pub struct Wheel {
    nodes: Chunks<Node>,
    heads: Box<[u32; LEVELS * SLOTS]>,
    occupied: [[u64; SLOTS / 64]; LEVELS],
    /// The next tick to look at. Everything armed is due at or after it.
    cursor: u32,
    /// Ticks since the driver's origin that `cursor` stands for.
    cursor_ms: u64,
    armed: usize,
    /// The earliest deadline if it is known, to answer [`Wheel::next_deadline`] without a search.
    earliest: Option<u64>,
}

impl Wheel {
    /// An empty wheel that starts at `now`.
    pub fn new(now: Mono) -> Self {
        Self {
            nodes: Chunks::new(),
            heads: Box::new([NIL; LEVELS * SLOTS]),
            occupied: [[0; SLOTS / 64]; LEVELS],
            cursor: now.as_ms() as u32,
            cursor_ms: now.as_ms(),
            armed: 0,
            earliest: None,
        }
    }

    /// How many timers are armed.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Arms the timer of `index`, or moves it. Fires in the first [`Wheel::expire`] at or after `deadline`
    /// (rounded up to a millisecond), or at the horizon if that is sooner.
    ///
    /// # Panics
    /// For an index of 2^31 or more.
    pub fn set(&mut self, index: u32, deadline: Mono) {
        assert!(index < HEAD, "a timer index below 2^31");
        self.clear(index);
        self.nodes.grow_to(index);
        let deadline_ms = deadline.0.div_ceil(1_000_000);
        let ahead = deadline_ms.saturating_sub(self.cursor_ms).min(u64::from(HORIZON)) as u32;
        self.nodes[index].deadline = self.cursor.wrapping_add(ahead);
        self.link(index);
        self.armed += 1;
        let due = self.cursor_ms + u64::from(ahead);
        if self.armed == 1 {
            self.earliest = Some(due);
        } else if let Some(earliest) = self.earliest {
            self.earliest = Some(earliest.min(due));
        }
    }

    /// Arms the timer of `index` unless it already fires at or before `deadline`.
    pub fn set_no_later(&mut self, index: u32, deadline: Mono) {
        match self.deadline(index) {
            Some(armed) if armed <= deadline => {}
            _ => self.set(index, deadline),
        }
    }

    /// Disarms the timer of `index`; whether it was armed.
    pub fn clear(&mut self, index: u32) -> bool {
        match self.nodes.get(index) {
            Some(node) if node.previous != IDLE => {}
            _ => return false,
        }
        self.unlink(index);
        self.armed -= 1;
        // The earliest may have been this one: it stays as a lower bound, which costs at most one early turn.
        if self.armed == 0 {
            self.earliest = None;
        }
        true
    }

    /// Asks for the timer of `index`, which will be wanted soon.
    #[inline]
    pub fn prefetch(&self, index: u32) {
        self.nodes.prefetch(index);
    }

    /// When the timer of `index` will fire, if it is armed.
    pub fn deadline(&self, index: u32) -> Option<Mono> {
        let node = self.nodes.get(index)?;
        (node.previous != IDLE)
            .then(|| Mono::from_ms(self.cursor_ms + u64::from(node.deadline.wrapping_sub(self.cursor))))
    }

    /// Fires what is due at `now`: appends the indices to `due`, `limit` at most. Returns whether more is due
    /// and waits for the next call.
    pub fn expire(&mut self, now: Mono, limit: usize, due: &mut Vec<u32>) -> bool {
        let now_ms = now.as_ms();
        let full = due.len() + limit;
        while self.cursor_ms <= now_ms {
            if self.armed == 0 {
                self.jump_to(now_ms + 1);
                return false;
            }
            let slot = (self.cursor & SLOT_MASK) as usize;
            let mut index = self.heads[slot];
            while index != NIL {
                if due.len() == full {
                    self.earliest = Some(self.cursor_ms);
                    return true;
                }
                let next = self.nodes[index].next;
                self.unlink(index);
                self.armed -= 1;
                due.push(index);
                index = next;
            }
            self.step(now_ms);
        }
        if self.armed == 0 {
            self.earliest = None;
        } else if self.earliest.is_none_or(|earliest| earliest < self.cursor_ms) {
            self.earliest = self.next_event(0);
        }
        false
    }

    /// A time at or before which nothing fires, to sleep until; `None` if nothing is armed. Exact after an
    /// [`Wheel::expire`] within the first 256 ms, otherwise a lower bound (the next slot that holds anything).
    pub fn next_deadline(&self) -> Option<Mono> {
        (self.armed != 0).then(|| Mono::from_ms(self.earliest.unwrap_or(self.cursor_ms)))
    }

    /// Advances the cursor to the next tick at which anything can happen, at most one past `now_ms`, and
    /// brings down what the higher levels hold for it. What is skipped is empty on every level.
    fn step(&mut self, now_ms: u64) {
        self.skip_to(self.next_event(1).unwrap_or(u64::MAX).min(now_ms + 1));
        if self.cursor & SLOT_MASK == 0 {
            self.cascade();
        }
    }

    fn skip_to(&mut self, ms: u64) {
        self.cursor = self.cursor.wrapping_add((ms - self.cursor_ms) as u32);
        self.cursor_ms = ms;
    }

    /// Moves the cursor over empty time.
    fn jump_to(&mut self, ms: u64) {
        debug_assert!(self.armed == 0);
        self.skip_to(ms);
        self.earliest = None;
    }

    /// The cursor has come to a multiple of 256: the slot of each higher level that begins here is dealt out
    /// to the levels below.
    fn cascade(&mut self) {
        for level in 1..LEVELS {
            let slot = (self.cursor >> (SLOT_BITS * level as u32)) & SLOT_MASK;
            let head = level * SLOTS + slot as usize;
            let mut index = std::mem::replace(&mut self.heads[head], NIL);
            self.occupied[level][slot as usize / 64] &= !(1 << (slot % 64));
            while index != NIL {
                let next = self.nodes[index].next;
                self.link(index);
                index = next;
            }
            if slot != 0 {
                break;
            }
        }
    }

    fn link(&mut self, index: u32) {
        let deadline = self.nodes[index].deadline;
        let ahead = deadline.wrapping_sub(self.cursor);
        // The level is the highest in which deadline and cursor differ: at that level the slots differ too,
        // so the slot is dealt out before the cursor gets to the deadline.
        let level = if ahead == 0 {
            0
        } else {
            ((31 - (deadline ^ self.cursor).leading_zeros()) / SLOT_BITS) as usize
        };
        let slot = (deadline >> (SLOT_BITS * level as u32)) & SLOT_MASK;
        let head = level * SLOTS + slot as usize;
        let first = self.heads[head];
        if first != NIL {
            self.nodes[first].previous = index;
        }
        let node = &mut self.nodes[index];
        node.next = first;
        node.previous = HEAD | head as u32;
        self.heads[head] = index;
        self.occupied[level][slot as usize / 64] |= 1 << (slot % 64);
    }

    fn unlink(&mut self, index: u32) {
        let Node { next, previous, .. } = self.nodes[index];
        if next != NIL {
            self.nodes[next].previous = previous;
        }
        if previous & HEAD != 0 {
            let head = (previous & !HEAD) as usize;
            self.heads[head] = next;
            if next == NIL {
                self.occupied[head / SLOTS][head % SLOTS / 64] &= !(1 << (head % 64));
            }
        } else {
            self.nodes[previous].next = next;
        }
        self.nodes[index].previous = IDLE;
    }

    fn next_occupied(&self, level: usize, from: usize) -> Option<usize> {
        let words = &self.occupied[level];
        let mut word = from / 64;
        let mut bits = words.get(word)? & (u64::MAX << (from % 64));
        loop {
            if bits != 0 {
                return Some(word * 64 + bits.trailing_zeros() as usize);
            }
            word += 1;
            bits = *words.get(word)?;
        }
    }

    /// The start of the next occupied slot, in milliseconds: a timer fires there (level 0) or is dealt out
    /// (the levels above). Level 0 is searched from `from` slots after the cursor's own.
    fn next_event(&self, from: usize) -> Option<u64> {
        for level in 0..LEVELS {
            let shift = SLOT_BITS * level as u32;
            let own = ((self.cursor >> shift) & SLOT_MASK) as usize;
            let found = self.next_occupied(level, if level == 0 { own + from } else { own + 1 });
            // Below the top level a timer is in the lap of the cursor (the levels above are equal); on top
            // the slots before the cursor's own belong to the next lap.
            let found = match found {
                None if level == LEVELS - 1 => self.next_occupied(level, 0).map(|slot| slot + SLOTS),
                found => found,
            };
            if let Some(slot) = found {
                let lap = u64::from(self.cursor) & ((1u64 << (shift + SLOT_BITS)) - 1);
                return Some(self.cursor_ms - lap + ((slot as u64) << shift));
            }
        }
        None
    }
}

impl std::fmt::Debug for Wheel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wheel").field("armed", &self.armed).field("cursor_ms", &self.cursor_ms).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn fired(wheel: &mut Wheel, ms: u64) -> Vec<u32> {
        let mut due = Vec::new();
        assert!(!wheel.expire(Mono::from_ms(ms), usize::MAX / 2, &mut due));
        due.sort_unstable();
        due
    }

    #[test]
    fn fires_in_its_millisecond_on_every_level() {
        for deadline in [1, 255, 256, 257, 65_535, 65_536, 70_000, 16_777_216, 20_000_000] {
            let mut wheel = Wheel::new(Mono::from_ms(1_000_003));
            wheel.set(7, Mono::from_ms(1_000_003 + deadline));
            assert_eq!(fired(&mut wheel, 1_000_003 + deadline - 1), [], "early by 1 at {deadline}");
            assert_eq!(fired(&mut wheel, 1_000_003 + deadline), [7], "due at {deadline}");
        }
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_once() {
        let mut wheel = Wheel::new(Mono::from_ms(500));
        wheel.set(1, Mono::from_ms(20));
        assert_eq!(fired(&mut wheel, 500), [1]);
    }

    #[test]
    fn beyond_the_horizon_it_fires_early_and_can_be_armed_again() {
        let mut wheel = Wheel::new(Mono(0));
        wheel.set(0, Mono::NEVER);
        assert!(wheel.next_deadline().is_some());
        assert_eq!(fired(&mut wheel, u64::from(HORIZON)), [0]);
    }

    #[test]
    fn a_bounded_turn_keeps_the_rest() {
        let mut wheel = Wheel::new(Mono(0));
        for index in 0..10 {
            wheel.set(index, Mono::from_ms(5));
        }
        let mut due = Vec::new();
        assert!(wheel.expire(Mono::from_ms(9), 4, &mut due));
        assert_eq!(due.len(), 4);
        assert!(wheel.next_deadline().unwrap() <= Mono::from_ms(9));
        assert!(!wheel.expire(Mono::from_ms(9), 100, &mut due));
        assert_eq!(due.len(), 10);
    }

    #[test]
    fn time_wraps_past_2_to_the_32_ticks() {
        let start = u64::from(u32::MAX) - 100;
        let mut wheel = Wheel::new(Mono::from_ms(start));
        wheel.set(3, Mono::from_ms(start + 300));
        assert_eq!(fired(&mut wheel, start + 299), []);
        assert_eq!(fired(&mut wheel, start + 300), [3]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u32, u64),
        Clear(u32),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let far = prop_oneof![0..300u64, 0..70_000u64, 0..20_000_000u64, 0..6_000_000_000u64];
        prop_oneof![
            4 => (0..40u32, far.clone()).prop_map(|(index, ahead)| Step::Set(index, ahead)),
            1 => (0..40u32).prop_map(Step::Clear),
            3 => far.prop_map(Step::Advance),
        ]
    }

    proptest! {
        /// Against a sorted map: everything fires at its time, nothing before, nothing twice, and the wheel
        /// never says that it may sleep past a deadline.
        #[test]
        fn agrees_with_a_sorted_map(origin in 0..10_000_000_000u64,
                                    steps in proptest::collection::vec(step(), 1..200)) {
            let mut now = origin;
            let mut wheel = Wheel::new(Mono::from_ms(now));
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Set(index, ahead) => {
                        wheel.set(index, Mono::from_ms(now + ahead));
                        // The cursor stands one past the last expired millisecond.
                        let horizon = wheel.cursor_ms + u64::from(HORIZON);
                        model.insert(index, (now + ahead).clamp(wheel.cursor_ms, horizon));
                    }
                    Step::Clear(index) => {
                        prop_assert_eq!(wheel.clear(index), model.remove(&index).is_some());
                    }
                    Step::Advance(ahead) => {
                        now += ahead;
                        let got = fired(&mut wheel, now);
                        let want: Vec<u32> =
                            model.iter().filter(|&(_, &at)| at <= now).map(|(&index, _)| index).collect();
                        prop_assert_eq!(got, want);
                        model.retain(|_, at| *at > now);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                for (&index, &at) in &model {
                    prop_assert_eq!(wheel.deadline(index), Some(Mono::from_ms(at)));
                }
                match (wheel.next_deadline(), model.values().min()) {
                    (Some(next), Some(&first)) => prop_assert!(next <= Mono::from_ms(first)),
                    (None, None) => {}
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }
}
