//! Taking back a reduction that was for nothing: what was taken for lost had only been late, or its acknowledgement
//! was. Shown by the time stamp that comes back (Eifel, RFC 3522) or by duplicates of all that was sent again
//! (DSACK, RFC 3708); answered by RFC 4015.

use crate::cubic::Cubic;
use crate::seq::{Seq, time_lt};
use crate::tcb::Hot;

/// What was before a reduction, and what would show that it was for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Undo {
    pub(crate) cwnd: u32,
    pub(crate) ssthresh: u32,
    pub(crate) cubic: Cubic,
    /// What was under way when it began.
    from: Seq,
    to: Seq,
    /// The stamp of the first retransmission, until the first acknowledgement of something new has been compared.
    stamp: Option<u32>,
    /// Bytes sent again, without those that the peer said had come twice.
    resent_bytes: u32,
    /// Something was sent again.
    any: bool,
}

impl Undo {
    /// What there is before the reduction.
    pub(crate) const fn new(hot: &Hot, cubic: Cubic) -> Self {
        let Hot { cwnd, ssthresh, snd_una: from, snd_max: to, .. } = *hot;
        Self { cwnd, ssthresh, cubic, from, to, stamp: None, resent_bytes: 0, any: false }
    }

    /// A segment of so many bytes was sent again; `stamp` is its time stamp, if it has one.
    pub(crate) fn resent(&mut self, bytes: u32, stamp: Option<u32>) {
        if !self.any {
            self.stamp = stamp;
        }
        self.any = true;
        self.resent_bytes = self.resent_bytes.saturating_add(bytes);
    }

    /// Something new was acknowledged, with this echo. RFC 3522 3.2 step 5: whether it answers what was sent before the
    /// first retransmission, which was for nothing then. Asked once: later ones may answer anything.
    pub(crate) fn echoed(&mut self, echo: u32) -> bool {
        self.stamp.take().is_some_and(|stamp| time_lt(echo, stamp))
    }

    /// `left..right` came twice. RFC 3708 3: whether all that was sent again did. What was not sent again, or is more than
    /// that, is of another time or made up.
    pub(crate) fn twice(&mut self, left: Seq, right: Seq) -> bool {
        let bytes = right.since(left);
        if left.lt(self.from) || self.to.lt(right) || bytes > self.resent_bytes || !self.any {
            return false;
        }
        self.resent_bytes -= bytes;
        self.resent_bytes == 0
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
        let hot = Hot {
            cwnd: 10_000,
            ssthresh: u32::MAX,
            snd_una: Seq(100),
            snd_max: Seq(3_100),
            ..Hot::default()
        };
        Undo::new(&hot, Cubic::default())
    }

    // covers RFC 3522 3.2
    #[test]
    fn an_echo_of_before_the_retransmission_shows_that_it_was_for_nothing() {
        let mut late = undo();
        late.resent(1_000, Some(5));
        late.resent(1_000, Some(6));
        assert!(late.echoed(4));
        let mut lost = undo();
        lost.resent(1_000, Some(5));
        assert!(!lost.echoed(5), "the retransmission's own, or of the same millisecond");
        assert!(!lost.echoed(4), "only the first acknowledgement says");
        let mut wraps = undo();
        wraps.resent(1_000, Some(3));
        assert!(wraps.echoed(u32::MAX));
        assert!(!undo().echoed(0), "nothing was sent again");
    }

    // covers RFC 3708 3
    #[test]
    fn all_that_was_sent_again_must_have_come_twice() {
        let mut undo = undo();
        assert!(!undo.twice(Seq(100), Seq(1_100)), "nothing was sent again");
        undo.resent(1_000, None);
        undo.resent(500, None);
        assert!(!undo.twice(Seq(99), Seq(1_599)), "of an earlier time");
        assert!(!undo.twice(Seq(1_601), Seq(3_101)), "of a later time");
        assert!(!undo.twice(Seq(100), Seq(1_601)), "more than was sent again");
        assert!(!undo.twice(Seq(100), Seq(1_100)));
        assert!(!undo.twice(Seq(1_100), Seq(1_599)), "not all of it");
        assert!(undo.twice(Seq(1_599), Seq(1_600)));
    }
}
