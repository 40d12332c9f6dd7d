//! A path that was found narrow may be wide again: after a while a longer segment is tried, with data that is to be sent
//! anyway. If it arrives segments are as long from then on; if it is lost alone, that says nothing of congestion
//! (RFC 4821 7.6.2, RFC 8899 5.3, RFC 1191 6.3). Only connections whose segments were made shorter stand here.

use pelton_packet::Port;

use crate::counters::TcpCounter;
use crate::seq::{Seq, time_lt};
use crate::stack::Tcp;
use crate::tcb::Facts;

/// How long a router's word is believed (RFC 1191 6.3), and how often it is tried in the end (RFC 8899 5.1.1).
const WAIT_MS: u32 = 600_000;
/// How long the suspicion of a black hole holds at first: what looked like one may have been an outage.
const SUSPICION_MS: u32 = 60_000;
/// Sizes nearer than this to each other are not told apart.
const STEP_BYTES: u16 = 32;

/// What is known of a narrow path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Narrow {
    /// The segment size that peer and link allow.
    wide: u16,
    /// The least that was lost since the search began; beyond `wide` if nothing was.
    high: u16,
    /// When the search begins.
    next_ms: u32,
    /// What is under way as a probe: its stretch, and the segment size.
    probe: Option<(Seq, Seq, u16)>,
    /// Until this is acknowledged duplicates say again that a probe was lost.
    repaired: Option<Seq>,
}

impl<P: Port> Tcp<P> {
    /// The segment size of a connection came down from `before`: because a router said so, or by suspicion.
    pub(crate) fn narrowed(&mut self, index: u32, before: u16, told: bool) {
        let next_ms = self.now_ms.wrapping_add(if told { WAIT_MS } else { SUSPICION_MS });
        let wide = self.narrow.get(&index).map_or(before, |narrow| narrow.wide);
        self.narrow.insert(index, Narrow { wide, high: wide + 1, next_ms, probe: None, repaired: None });
    }

    /// Whether a probe has arrived, before something new is sent. RFC 4821 7.6.1: its size is the segment size from then on.
    pub(crate) fn path_probe_arrived(&mut self, index: u32) {
        let Some(narrow) = self.narrow.get_mut(&index) else { return };
        let hot = &mut self.tcbs[index];
        if let Some((_, end, mss)) = narrow.probe
            && end.le(hot.snd_una)
        {
            narrow.probe = None;
            hot.mss = mss;
            self.counters.add(TcpCounter::PathMtuRaised);
            if mss >= narrow.wide {
                self.narrow.remove(&index);
            }
        }
    }

    /// How long a segment is that is sent now as a probe: `room` bytes may leave, and there are as many to send.
    /// RFC 4821 7.5: not while something is amiss, and one at a time.
    pub(crate) fn path_probe(&mut self, index: u32, room: u32) -> Option<u32> {
        let narrow = self.narrow.get_mut(&index)?;
        let hot = &self.tcbs[index];
        if narrow.probe.is_some() || time_lt(self.now_ms, narrow.next_ms) {
            return None;
        }
        // RFC 4821 7.2: all that the link carries at first, what is half way to what was lost then.
        let untried = narrow.high > narrow.wide;
        let mss = if untried { narrow.wide } else { hot.mss + (narrow.high - hot.mss) / 2 };
        if mss < hot.mss + STEP_BYTES {
            // It is what the path carries, for a good while.
            narrow.high = narrow.wide + 1;
            narrow.next_ms = self.now_ms.wrapping_add(WAIT_MS);
            return None;
        }
        let len = u32::from(mss) - (u32::from(hot.mss) - hot.payload_max());
        // RFC 4821 7.4: enough behind it that its loss shows.
        let enough = room >= len + 3 * hot.payload_max() && !hot.recovering() && hot.dup_acks == 0;
        enough.then_some(len)
    }

    /// A segment of `len` bytes was sent as a probe.
    pub(crate) fn path_probe_sent(&mut self, index: u32, start: Seq, len: u32) {
        let hot = &self.tcbs[index];
        let mss = len + (u32::from(hot.mss) - hot.payload_max());
        if let Some(narrow) = self.narrow.get_mut(&index) {
            narrow.probe = Some((start, start + len, mss as u16));
        }
    }

    /// Something was lost. RFC 4821 7.6.2: whether it was a probe alone. Then it is sent again in shorter segments, the
    /// congestion window stays, and the next is shorter.
    pub(crate) fn only_probe_lost(&mut self, index: u32) -> bool {
        let Some(narrow) = self.narrow.get_mut(&index) else { return false };
        let hot = &self.tcbs[index];
        // A peer that knows SACK may send duplicates that name nothing all the same.
        let named = hot.sacks().then(|| self.cold.get(hot.cold)?.flight.lost_span()).flatten();
        if narrow.repaired.is_some_and(|until| hot.snd_una.lt(until)) {
            return named.is_none();
        }
        narrow.repaired = None;
        let Some((start, end, _)) = narrow.probe else { return false };
        let alone = named.map_or(hot.snd_una == start, |(first, last)| start.le(first) && last.le(end));
        if !alone {
            // RFC 4821 7.6.4: it may have been the congestion, and the same size is tried again.
            narrow.probe = None;
            return false;
        }
        self.path_probe_lost(index);
        if let Some(narrow) = self.narrow.get_mut(&index) {
            narrow.repaired = Some(end);
        }
        self.lose(index, Some(end));
        let hot = &mut self.tcbs[index];
        hot.dup_acks = 0;
        hot.facts.set(Facts::RESEND_HEAD);
        self.rearm(index);
        self.serve(index);
        true
    }

    /// `start..end`, which was sent before, was sent again, in a segment as short as all. If that is of a probe, its arrival
    /// says nothing of the path (RFC 4821 7.6.4).
    pub(crate) fn path_probe_in_pieces(&mut self, index: u32, start: Seq, end: Seq) {
        if let Some(narrow) = self.narrow.get_mut(&index)
            && narrow.probe.is_some_and(|(first, last, _)| first.lt(end) && start.lt(last))
        {
            narrow.probe = None;
        }
    }

    /// A probe, if there is one under way, is taken for lost.
    pub(crate) fn path_probe_lost(&mut self, index: u32) {
        let Some(narrow) = self.narrow.get_mut(&index) else { return };
        if let Some((_, _, mss)) = narrow.probe.take() {
            narrow.high = mss;
        }
    }
}
