//! What a receiver owes its peer for what came in: that it is told in time, and how much may follow.
//!
//! | what | source |
//! |---|---|
//! | what came in order is acknowledged within the delay of our stack, half a second at most | RFC 9293 3.8.6.3 MUST-40, MUST-58 |
//! | of full segments in order every second is acknowledged | RFC 5681 4.2 |
//! | all of the window is promised but for what is unread, and what is too little to be told | RFC 9293 3.8.6.2.2 |

use std::collections::VecDeque;

use pelton_base::Mono;
use pelton_tcp::Seq;
use pelton_tcp::segment::{Flags, Segment};

use super::watch::SEGMENT_BYTES;

/// Bytes that a time stamp takes from a full segment.
const STAMP_BYTES: u32 = 12;
/// Full segments that one acknowledgement may be for: the last in a turn waits for the end of that.
const FULL_MAX: usize = 4;

/// What a stack promises about what it receives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    /// The receive window.
    pub(crate) window: u32,
    /// How long an acknowledgement may take, in milliseconds.
    pub(crate) ack_ms: u64,
    /// What arrives is at the stack that has the connection, and its turns are in time.
    pub(crate) direct: bool,
    /// The longest time-out.
    pub(crate) rto_max_ms: u64,
}

/// What is owed on one connection by one side.
#[derive(Debug, Default)]
pub(crate) struct Duties {
    /// What came in order and is not acknowledged: where it ends, and when it came.
    owed: Option<(Seq, Mono)>,
    /// The end of what came in order.
    pub(crate) reached: Option<Seq>,
    /// The end of what came.
    furthest: Option<Seq>,
    /// Something came out of order, and what it waits for has not come.
    gap: bool,
    /// The ends of full segments that came one after the other.
    full: VecDeque<Seq>,
    /// Bytes that the owner has taken.
    pub(crate) consumed: u32,
}

impl Duties {
    /// Data comes. `said`: what was acknowledged, and the right edge of the window.
    pub(crate) fn arrives(&mut self, segment: &Segment, said: (Seq, Seq), promise: Promise, now: Mono) {
        let (start, end) = (segment.seq, segment.seq + u32::from(segment.len));
        let reached = self.reached.map_or(said.0, |reached| reached.max(said.0));
        if end.le(reached) || said.1.lt(end) {
            if said.1.lt(end) {
                self.full.clear();
            }
            return;
        }
        self.furthest = Some(self.furthest.map_or(end, |furthest| furthest.max(end)));
        if reached.lt(start) {
            self.gap = true;
            self.full.clear();
            return;
        }
        self.reached = Some(end);
        let bytes = u32::from(segment.len);
        let full = bytes == SEGMENT_BYTES
            || (bytes == SEGMENT_BYTES - STAMP_BYTES && segment.options.timestamps.is_some());
        if self.gap || !full || start != reached {
            self.full.clear();
        } else {
            self.full.push_back(end);
        }
        if start.le(said.0) && (self.owed.is_none() || !promise.direct) {
            self.owed = Some((end, now));
        }
    }

    /// Something is sent that acknowledges `ack`, with a window up to `edge`. `before`: what was acknowledged before;
    /// `first`: where the peer began; `hindered`: when there was no frame or no room last.
    pub(crate) fn speaks(
        &mut self,
        segment: &Segment,
        edge: Seq,
        before: Option<Seq>,
        first: Seq,
        promise: Promise,
        (now, hindered): (Mono, Mono),
    ) -> Result<(), &'static str> {
        let ack = segment.ack;
        if let Some((end, at)) = self.owed.take()
            && hindered < at
            && end.le(ack)
            && now.as_ms().saturating_sub(at.as_ms()) > promise.ack_ms
        {
            return Err("acknowledged too late");
        }
        let again = before == Some(ack) && segment.len == 0;
        let covered = self.full.iter().filter(|end| end.le(ack)).count();
        self.full.drain(..covered);
        let more = self.furthest.is_some_and(|furthest| ack.lt(furthest));
        if again || (more && self.full.is_empty()) {
            // Not all of what came was taken.
            self.gap = true;
            self.full.clear();
        }
        if self.furthest.is_none_or(|furthest| furthest.le(ack)) {
            self.gap = false;
        }
        self.reached = Some(self.reached.map_or(ack, |reached| reached.max(ack)));
        if covered > FULL_MAX && now.as_ms().saturating_sub(hindered.as_ms()) > promise.ack_ms {
            return Err("does not acknowledge every second full segment");
        }
        // Before anything was taken a record of a half-open connection may have spoken.
        if self.consumed != 0 && !segment.flags.has(Flags::FIN) {
            let worth = SEGMENT_BYTES.min(promise.window / 2).max(1);
            let held = ack.since(first).saturating_sub(self.consumed);
            if edge.since(ack) + worth < promise.window.saturating_sub(held) {
                return Err("promises less than its window");
            }
        }
        Ok(())
    }
}
