//! What a sender does about losses, as far as can be said from outside.
//!
//! | what | source |
//! |---|---|
//! | nothing is sent again but what was sent before something that arrived; after a time-out all; the first segment, and the last, after a silence | RFC 8985 6.2, 7.3, RFC 6675 5 |
//! | what the peer shows to be missing is sent again at once, or when it cannot merely be late | RFC 5681 3.2, RFC 8985 6.2 |

use std::collections::VecDeque;

use pelton_base::Mono;
use pelton_tcp::Seq;

use super::watch::SEGMENT_BYTES;

/// Acknowledgements that show that something is missing, RFC 5681 3.2.
const SHOWN: u32 = 3;
/// Stretches under way beyond which a sender need not know the fate of each.
const KNOWN_MAX: usize = 100;
/// How late a repair may be by itself, in milliseconds.
const REPAIR_MS: u64 = 100;

/// A stretch that was sent at one time.
#[derive(Clone, Copy, Debug)]
struct Sent {
    start: Seq,
    end: Seq,
    at: Mono,
    /// When it was sent last.
    last: Mono,
    resent: bool,
}

/// What is under way in one direction.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    under_way: VecDeque<Sent>,
    /// When the last of what arrived was sent.
    newest: Mono,
    /// When something was sent again whose arrival the sender may hear of only now.
    crossed: Option<Mono>,
    /// What is before may be sent again: there was a time-out, or what probed a window may have been refused.
    excused: Option<Seq>,
    /// What is before is being repaired.
    repairing: Option<Seq>,
    /// Acknowledgements that say that the first of what is under way is missing, and when the first of these came.
    shown: u32,
    shown_from: Mono,
    /// When there were enough of them, and how many milliseconds the repair may take.
    missing: Option<(Mono, u64)>,
}

impl Repairs {
    fn is_before(limit: Option<Seq>, seq: Seq) -> bool {
        limit.is_some_and(|limit| seq.lt(limit))
    }

    fn overlapping(&mut self, start: Seq, end: Seq) -> impl Iterator<Item = &mut Sent> {
        self.under_way.iter_mut().filter(move |sent| sent.start.lt(end) && start.lt(sent.end))
    }

    /// `start..end` is sent for the first time.
    pub(crate) fn sent(&mut self, start: Seq, end: Seq, now: Mono) {
        match self.under_way.back_mut() {
            Some(last) if last.end == start && last.last == now && !last.resent => last.end = end,
            _ => self.under_way.push_back(Sent { start, end, at: now, last: now, resent: false }),
        }
    }

    /// `start..end` is sent again; `una` is what the sender was told that arrived, and `last` the end of what was sent.
    pub(crate) fn resent(
        &mut self,
        start: Seq,
        end: Seq,
        una: Seq,
        last: Seq,
        now: Mono,
    ) -> Result<(), &'static str> {
        let tail = end == last;
        if let Some(crossed) = self.crossed.take_if(|crossed| *crossed < now) {
            self.newest = self.newest.max(crossed);
        }
        let newest = self.newest;
        let excused = Self::is_before(self.excused, start);
        let (mut fresh, mut early) = (false, true);
        for sent in self.overlapping(start, end) {
            fresh = true;
            early &= !sent.resent && newest < sent.at;
            (sent.last, sent.resent) = (now, true);
        }
        if start.le(una) {
            (self.shown, self.missing) = (0, None);
        }
        if !tail || start.le(una) {
            self.repairing = Some(last);
        }
        let head = end.le(una + SEGMENT_BYTES);
        if fresh && early && !excused && !tail && !head {
            return Err("sends again what nothing shows to be lost");
        }
        Ok(())
    }

    /// Everything before `una` has arrived.
    pub(crate) fn acknowledged(&mut self, una: Seq) {
        while let Some(first) = self.under_way.front_mut() {
            if una.le(first.start) {
                break;
            }
            self.newest = self.newest.max(first.last);
            if una.lt(first.end) {
                first.start = una;
                break;
            }
            self.under_way.pop_front();
        }
        (self.shown, self.missing) = (0, None);
    }

    /// `left..right` has arrived.
    pub(crate) fn arrived(&mut self, left: Seq, right: Seq) {
        let newest = self.overlapping(left, right).map(|sent| sent.last).max();
        self.newest = self.newest.max(newest.unwrap_or_default());
    }

    /// Something arrived, and nobody says what.
    pub(crate) fn something_arrived(&mut self, now: Mono) {
        self.newest = now;
    }

    /// What is sent again at this moment has arrived, and its sender has not heard of it. RFC 8985 6.2: when it does, that
    /// is to it the arrival of what it sent now, and what left before that is lost.
    pub(crate) fn crosses(&mut self, now: Mono) {
        self.crossed = Some(now);
    }

    /// There was a time-out, or nobody can know what arrived: all up to `end` may be sent again.
    pub(crate) fn excuse(&mut self, end: Seq) {
        self.excused = Some(end);
    }

    /// What was shown may not have been taken in.
    pub(crate) fn forget_shown(&mut self) {
        (self.shown, self.missing) = (0, None);
    }

    /// The sender was told that something behind `una` arrived, and so that what is there is missing. `wait_ms`: how
    /// long it may be late; `hindered`: when the sender had no frame or no room last.
    pub(crate) fn shown(&mut self, una: Seq, wait_ms: u64, now: Mono, hindered: Mono) {
        let known = self.under_way.len() <= KNOWN_MAX
            && self.under_way.front().is_some_and(|first| !first.resent && first.start.le(una))
            && (self.shown != 0 || !Self::is_before(self.excused, una))
            && !Self::is_before(self.repairing, una);
        if !known || (self.shown != 0 && self.shown_from <= hindered) {
            (self.shown, self.missing) = (0, None);
        }
        if known && hindered < now {
            if self.shown == 0 {
                self.shown_from = now;
            }
            self.shown += 1;
            if self.missing.is_none() && self.shown >= SHOWN {
                self.missing = Some((now, REPAIR_MS + 2 * wait_ms));
            }
        }
    }

    /// Whether what is missing was repaired in time, so far.
    pub(crate) fn check(&mut self, now: Mono, hindered: Mono) -> Result<(), &'static str> {
        if self.shown != 0 && self.shown_from <= hindered {
            (self.shown, self.missing) = (0, None);
        }
        match self.missing {
            Some((at, ms)) if now.as_ms().saturating_sub(at.as_ms()) > ms => {
                Err("does not send again what the peer shows to be missing")
            }
            _ => Ok(()),
        }
    }
}
