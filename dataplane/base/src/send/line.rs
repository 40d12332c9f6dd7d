//! What the driver of a connection keeps beside its queue.

use crate::stream::StreamId;

/// What nearly every event of a connection needs to know of it. It lies with the queue, so that whoever answers a packet
/// touches one line of memory for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The connection's stream, while it is bound to one.
    pub stream: StreamId,
    /// When it was last heard of by whoever answers packets without a look at anything else: the monotonic clock, cut to
    /// 32 bits.
    pub(super) heard_ms: u32,
    /// It is bound to its stream.
    pub bound: bool,
    /// The transport has not taken all that was queued; it says when to go on.
    pub blocked: bool,
    /// Its driver has put something aside for it, and looks there first.
    pub aside: bool,
}

impl Line {
    /// A line to a stream on which nothing has happened.
    pub const fn to(stream: StreamId) -> Self {
        Self { stream, heard_ms: 0, bound: true, blocked: false, aside: false }
    }
}

impl Default for Line {
    /// A line to nowhere.
    fn default() -> Self {
        Self { bound: false, ..Self::to(StreamId(0)) }
    }
}
