//! What became of the messages: lost, duplicated, out of order.
//!
//! A [`Stream`] is what one subscriber gets of one publisher, every message of it. A [`Share`] is what a shared group
//! gets of one publisher: each message once, whoever of the group it goes to.

/// Gaps a stream keeps apart; of those beyond it forgets the oldest, and what comes of it late counts as a duplicate.
const GAPS_MAX: usize = 1024;

/// Messages of a publisher to a shared group whose fate is kept at the same time.
const SHARE_SPAN: u64 = 1 << 17;

/// What a message turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The one that was due.
    InOrder,
    /// So many before it have not come.
    Skipped(u64),
    /// One that was skipped: it comes out of order.
    Late,
    /// It had come before.
    Duplicate,
}

/// What one subscriber gets of one publisher.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    next: u64,
    /// Ranges of numbers below `next` that have not come, in order; empty as long as all goes well.
    gaps: Vec<(u64, u64)>,
}

impl Stream {
    #[inline]
    pub(crate) fn arrived(&mut self, sequence: u64) -> Arrival {
        if sequence == self.next {
            self.next += 1;
            return Arrival::InOrder;
        }
        self.out_of_step(sequence)
    }

    #[cold]
    fn out_of_step(&mut self, sequence: u64) -> Arrival {
        if sequence > self.next {
            let skipped = sequence - self.next;
            if self.gaps.len() == GAPS_MAX {
                self.gaps.remove(0);
            }
            self.gaps.push((self.next, sequence));
            self.next = sequence + 1;
            return Arrival::Skipped(skipped);
        }
        let Some(at) = self.gaps.iter().position(|&(from, to)| (from..to).contains(&sequence)) else {
            return Arrival::Duplicate;
        };
        let (from, to) = self.gaps.remove(at);
        if sequence + 1 < to {
            self.gaps.insert(at, (sequence + 1, to));
        }
        if from < sequence {
            self.gaps.insert(at, (from, sequence));
        }
        Arrival::Late
    }
}

/// What a shared group gets of one publisher.
pub(crate) struct Share {
    /// The lowest number whose bit is kept.
    base: u64,
    /// One bit a number, in a ring.
    seen: Vec<u64>,
    /// For each member the number after its last.
    next: Vec<u64>,
}

impl Share {
    pub(crate) fn new(members: usize) -> Self {
        Self { base: 0, seen: vec![0; (SHARE_SPAN / 64) as usize], next: vec![0; members] }
    }

    /// A member never gets a message that was published before one it got already [MQTT-4.6.0-6]: then it is
    /// [`Arrival::Late`]. Numbers between a member's messages went to others and say nothing.
    #[inline]
    pub(crate) fn arrived(&mut self, member: usize, sequence: u64) -> Arrival {
        if sequence < self.base {
            return Arrival::Duplicate;
        }
        while sequence >= self.base + SHARE_SPAN {
            self.seen[(self.base % SHARE_SPAN / 64) as usize] = 0;
            self.base += 64;
        }
        let word = &mut self.seen[(sequence % SHARE_SPAN / 64) as usize];
        let bit = 1 << (sequence % 64);
        if *word & bit != 0 {
            return Arrival::Duplicate;
        }
        *word |= bit;
        let next = &mut self.next[member];
        if sequence < *next {
            return Arrival::Late;
        }
        *next = sequence + 1;
        Arrival::InOrder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_arrival() {
        let mut stream = Stream::default();
        assert_eq!(stream.arrived(0), Arrival::InOrder);
        assert_eq!(stream.arrived(0), Arrival::Duplicate);
        assert_eq!(stream.arrived(5), Arrival::Skipped(4));
        assert_eq!(stream.arrived(6), Arrival::InOrder);
        assert_eq!(stream.arrived(3), Arrival::Late);
        assert_eq!(stream.arrived(3), Arrival::Duplicate);
        assert_eq!(stream.arrived(1), Arrival::Late);
        assert_eq!(stream.arrived(4), Arrival::Late);
        assert_eq!(stream.arrived(2), Arrival::Late);
        assert!(stream.gaps.is_empty());
        assert_eq!(stream.arrived(2), Arrival::Duplicate);
    }

    /// Against a model that keeps every number: random losses, repetitions and swaps.
    #[test]
    fn a_stream_agrees_with_a_model() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let mut stream = Stream::default();
            let mut model = std::collections::BTreeSet::new();
            let mut highest = 0;
            let mut lost = 0i64;
            for _ in 0..300 {
                let sequence = match random(10) {
                    0 => highest + random(6),
                    1..=3 => random(highest + 1),
                    _ => highest,
                };
                let expected = if !model.insert(sequence) {
                    Arrival::Duplicate
                } else if sequence < highest {
                    Arrival::Late
                } else if sequence == highest {
                    Arrival::InOrder
                } else {
                    Arrival::Skipped(sequence - highest)
                };
                highest = highest.max(sequence + 1);
                let arrival = stream.arrived(sequence);
                assert_eq!(arrival, expected, "{sequence}");
                lost += match arrival {
                    Arrival::Skipped(count) => count as i64,
                    Arrival::Late => -1,
                    _ => 0,
                };
            }
            assert_eq!(lost, highest as i64 - model.len() as i64);
        }
    }

    #[test]
    fn a_group_gets_each_message_once_and_each_member_in_order() {
        let mut share = Share::new(2);
        assert_eq!(share.arrived(0, 0), Arrival::InOrder);
        assert_eq!(share.arrived(1, 3), Arrival::InOrder);
        assert_eq!(share.arrived(0, 1), Arrival::InOrder);
        assert_eq!(share.arrived(1, 2), Arrival::Late);
        assert_eq!(share.arrived(0, 2), Arrival::Duplicate);
        assert_eq!(share.arrived(0, SHARE_SPAN + 70), Arrival::InOrder);
        assert_eq!(share.arrived(1, SHARE_SPAN + 3), Arrival::InOrder);
        assert_eq!(share.arrived(1, 100), Arrival::Duplicate, "forgotten");
        assert_eq!(share.arrived(1, 200), Arrival::Late);
    }
}
