//! Taking back a reduction that was for nothing: what was taken for lost had only been late, or its acknowledgement
//! was. Shown by the time stamp that comes back (Eifel, RFC 3522) or by duplicates of all that was sent again
//! (DSACK, RFC 3708); answered by RFC 4015.

use crate::cubic::Cubic;
use crate::seq::{Seq, time_lt};

/// What was before a reduction, and what would show that it was for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Undo {
    pub(crate) cwnd: u32,
    pub(crate) ssthresh: u32,
    pub(crate) cubic: Cubic,
    /// What was not acknowledged when it began.
    from: Seq,
    /// The stamp of the first retransmission, until the first acknowledgement of something new has been compared.
    stamp: Option<u32>,
    /// Segments sent again, without those that the peer said had come twice.
    resent: u16,
    /// Something was sent again.
    any: bool,
}

impl Undo {
    pub(crate) const fn new(cwnd: u32, ssthresh: u32, cubic: Cubic, from: Seq) -> Self {
        Self { cwnd, ssthresh, cubic, from, stamp: None, resent: 0, any: false }
    }

    /// A segment was sent again; `stamp` is its time stamp, if it has one.
    pub(crate) fn resent(&mut self, stamp: Option<u32>) {
        if !self.any {
            self.stamp = stamp;
        }
        self.any = true;
        self.resent = self.resent.saturating_add(1);
    }

    /// Something new was acknowledged, with this echo. RFC 3522 3.2 step 5: whether it answers what was sent before the
    /// first retransmission, which was for nothing then. Asked once: later ones may answer anything.
    pub(crate) fn echoed(&mut self, echo: u32) -> bool {
        self.stamp.take().is_some_and(|stamp| time_lt(echo, stamp))
    }

    /// `segments` from `left` on came twice. RFC 3708 3: whether all that was sent again did.
    pub(crate) fn twice(&mut self, left: Seq, segments: u16) -> bool {
        if left.lt(self.from) || !self.any {
            return false;
        }
        self.resent = self.resent.saturating_sub(segments);
        self.resent == 0
    }

    /// Where slow start ends once it is taken back: where the window was, so that it is soon there again without a burst
    /// (RFC 4015 3.3).
    pub(crate) fn threshold(&self) -> u32 {
        if self.cwnd < self.ssthresh { self.ssthresh } else { self.cwnd }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undo() -> Undo {
        Undo::new(10_000, u32::MAX, Cubic::default(), Seq(100))
    }

    // covers RFC 3522 3.2
    #[test]
    fn an_echo_of_before_the_retransmission_shows_that_it_was_for_nothing() {
        let mut late = undo();
        late.resent(Some(5));
        late.resent(Some(6));
        assert!(late.echoed(4));
        let mut lost = undo();
        lost.resent(Some(5));
        assert!(!lost.echoed(5), "the retransmission's own, or of the same millisecond");
        assert!(!lost.echoed(4), "only the first acknowledgement says");
        let mut wraps = undo();
        wraps.resent(Some(3));
        assert!(wraps.echoed(u32::MAX));
        assert!(!undo().echoed(0), "nothing was sent again");
    }

    // covers RFC 3708 3
    #[test]
    fn all_that_was_sent_again_must_have_come_twice() {
        let mut undo = undo();
        assert!(!undo.twice(Seq(100), 1), "nothing was sent again");
        undo.resent(None);
        undo.resent(None);
        assert!(!undo.twice(Seq(99), 2), "of an earlier time");
        assert!(!undo.twice(Seq(100), 1));
        assert!(undo.twice(Seq(200), 1));
    }
}
