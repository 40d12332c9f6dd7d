//! Cookies that connections were made of. A cookie says what a record would, but not that it was used: without this
//! a client that sends again after its connection has ended, and the reset was lost, would have a second one made of
//! the same cookie, and what it had sent would be taken twice (RFC 9293 3.10.7.1 wants a reset).

use std::collections::{BTreeSet, VecDeque};

use pelton_base::Mono;

use crate::seq::Seq;

/// Cookies that are remembered; beyond, the oldest is forgotten.
const SPENT_MAX: usize = 1 << 16;

/// Those of the last two minutes.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    known: BTreeSet<u64>,
    queue: VecDeque<(Mono, u64)>,
}

/// `ends`: the keyed hash of the tuple.
fn name(ends: u64, iss: Seq) -> u64 {
    ends ^ u64::from(iss.0)
}

impl Spent {
    /// Whether a connection was made of this cookie.
    pub(crate) fn has(&self, ends: u64, iss: Seq) -> bool {
        self.known.contains(&name(ends, iss))
    }

    /// One is made of it now; `until` then the cookie is none any more.
    pub(crate) fn insert(&mut self, ends: u64, iss: Seq, now: Mono, until: Mono) {
        while let Some(&(over, oldest)) = self.queue.front()
            && (over <= now || self.queue.len() >= SPENT_MAX)
        {
            self.queue.pop_front();
            self.known.remove(&oldest);
        }
        if self.known.insert(name(ends, iss)) {
            self.queue.push_back((until, name(ends, iss)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_remembered_while_it_is_one_and_there_is_room() {
        let mut spent = Spent::default();
        spent.insert(7, Seq(1), Mono(0), Mono(100));
        assert!(spent.has(7, Seq(1)) && !spent.has(7, Seq(2)) && !spent.has(8, Seq(1)));
        spent.insert(8, Seq(1), Mono(99), Mono(199));
        assert!(spent.has(7, Seq(1)));
        spent.insert(9, Seq(1), Mono(100), Mono(200));
        assert!(!spent.has(7, Seq(1)) && spent.has(8, Seq(1)));
        for other in 0..SPENT_MAX as u64 {
            spent.insert(100 + other, Seq(0), Mono(101), Mono(300));
        }
        assert!(!spent.has(9, Seq(1)) && spent.has(101, Seq(0)));
        assert_eq!((spent.known.len(), spent.queue.len()), (SPENT_MAX, SPENT_MAX));
    }
}
