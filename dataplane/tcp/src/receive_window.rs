//! How much a peer may send ahead: as much for every connection at first, and more for who fills that round trip for
//! round trip. Only those stand here, and those that may come to.
//!
//! What has arrived *and* been used is measured against the round trip: if it is at the pace of half a window a round
//! trip or more, the window is what holds the peer back, or soon will be, and it doubles. A shard that does not keep up
//! makes no window grow, nor does a peer that has pauses, nor anyone while frames are short. What was promised stays: a
//! limit that is forgotten lets the right edge where it is (RFC 9293 3.8.6 SHLD-14), until as much has come.

use std::collections::VecDeque;

use hashbrown::HashMap;
use pelton_base::{HashKey, Mono};
use pelton_packet::Port;

use crate::counters::TcpCounter;
use crate::seq::Seq;
use crate::stack::Tcp;
use crate::tcb::{Facts, Hot};

/// Connections whose pace is measured and whose window has not grown; beyond, the oldest is forgotten.
const TRIALS_MAX: usize = 1_024;
/// This share of the port's frames must be free where a window grows: one in so many.
const FREE_SHARE: u32 = 8;

/// What is known of a peer that sends in bulk.
#[derive(Clone, Copy, Debug)]
struct Growth {
    /// By how much the window has grown.
    extra: u32,
    /// Where the measurement began, and when.
    mark: Seq,
    since: Mono,
}

/// Those that have grown, and those that are measured.
#[derive(Debug)]
pub(crate) struct ReceiveWindows {
    growths: HashMap<u32, Growth, HashKey>,
    /// Those that had not grown when they came, oldest first; some are gone, or have grown.
    trials: VecDeque<u32>,
    /// By how much all together have grown.
    extra: u64,
}

impl ReceiveWindows {
    pub(crate) fn new(key: HashKey) -> Self {
        Self { growths: HashMap::with_hasher(key), trials: VecDeque::new(), extra: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.growths.len()
    }

    /// See [`Tcp::receive_limit`]; `least` is what all have.
    #[inline]
    pub(crate) fn limit(&self, index: u32, hot: &Hot, least: u32) -> u32 {
        let extra = if hot.facts.has(Facts::BULK) { self.extra(index) } else { 0 };
        (least + extra).min(65_535 << hot.receive_scale())
    }

    /// By how much the window of a connection has grown.
    pub(crate) fn extra(&self, index: u32) -> u32 {
        self.growths.get(&index).map_or(0, |growth| growth.extra)
    }

    /// Begins to measure a connection. Says which has to make room for it.
    fn begin(&mut self, index: u32, mark: Seq, since: Mono) -> Option<u32> {
        let mut gone = None;
        if self.trials.len() >= TRIALS_MAX
            && let Some(oldest) = self.trials.pop_front()
            && self.growths.get(&oldest).is_some_and(|growth| growth.extra == 0)
        {
            self.growths.remove(&oldest);
            gone = Some(oldest);
        }
        self.trials.push_back(index);
        self.growths.insert(index, Growth { extra: 0, mark, since });
        gone
    }

    /// A connection is over, or goes elsewhere.
    pub(crate) fn forget(&mut self, index: u32) {
        if let Some(growth) = self.growths.remove(&index) {
            self.extra -= u64::from(growth.extra);
        }
    }
}

impl Hot {
    /// Whether so much more of the window tells that the peer may be sending in bulk: more than a segment since it was
    /// last told anything. Little ones that come one by one are less, whatever they add up to.
    #[inline]
    pub(crate) const fn is_bulk(&self, moved: u32) -> bool {
        self.facts.has(Facts::BULK) || moved >= self.payload_max() + self.payload_max() / 2
    }
}

impl<P: Port> Tcp<P> {
    /// What the peer of a connection may have sent and the shard not used. Without scaling no more than the header can say
    /// is promised, whatever there is room for.
    #[inline]
    pub(crate) fn receive_limit(&self, index: u32) -> u32 {
        self.windows.limit(index, &self.tcbs[index], self.settings.receive_window_bytes)
    }

    /// What the peer sent in bulk has been used. By how much the window may be wider from now on than `limit`.
    #[cold]
    pub(crate) fn widen(&mut self, index: u32, limit: u32) -> u32 {
        let most = self.settings.receive_window_max_bytes.min(65_535 << self.tcbs[index].receive_scale());
        if limit >= most {
            return 0;
        }
        let (now, hot) = (self.now, &mut self.tcbs[index]);
        let (next, used) = (hot.rcv_nxt, hot.rcv_nxt.back(hot.held));
        if !hot.facts.has(Facts::BULK) {
            hot.facts.set(Facts::BULK);
            if let Some(gone) = self.windows.begin(index, next, now) {
                self.tcbs[gone].facts.clear(Facts::BULK);
            }
            return 0;
        }
        let Some(growth) = self.windows.growths.get_mut(&index) else { return 0 };
        let round_trip_us = u64::from(hot.srtt_us);
        let elapsed_us = now.0.saturating_sub(growth.since.0) / 1_000;
        let got = if growth.mark.lt(used) { used.since(growth.mark) } else { 0 };
        if elapsed_us > 2 * round_trip_us {
            (growth.mark, growth.since) = (next, now);
            return 0;
        }
        // Half a window a round trip: the peer doubles in slow start what it sends, and is not to wait for us.
        let fast = 2 * u64::from(got) * round_trip_us >= u64::from(limit) * elapsed_us.max(round_trip_us);
        let keeps_up = !hot.facts.has(Facts::PAUSED) && hot.held <= limit / 4;
        if !fast || !keeps_up {
            return 0;
        }
        (growth.mark, growth.since) = (next, now);
        let more = limit.min(most - limit);
        let room = self.windows.extra + u64::from(more) <= self.settings.receive_growth_bytes_max
            && self.port.frames_free() >= self.port.caps().frames / FREE_SHARE
            && self.kept_frames <= self.settings.reassembly_frames_max / 2;
        if !room {
            self.counters.add(TcpCounter::WindowsHeld);
            return 0;
        }
        growth.extra += more;
        self.windows.extra += u64::from(more);
        self.counters.add(TcpCounter::WindowsGrown);
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_has_not_grown_makes_room() {
        let mut windows = ReceiveWindows::new(HashKey::new(1, 2));
        assert_eq!(windows.begin(0, Seq(5), Mono(0)), None);
        windows.growths.get_mut(&0).unwrap().extra = 1_000;
        windows.extra = 1_000;
        for index in 1..TRIALS_MAX as u32 {
            assert_eq!(windows.begin(index, Seq(0), Mono(0)), None);
        }
        let next = TRIALS_MAX as u32;
        assert_eq!(windows.begin(next, Seq(0), Mono(0)), None, "the oldest has grown");
        assert_eq!(windows.begin(next + 1, Seq(0), Mono(0)), Some(1));
        windows.forget(2);
        assert_eq!(windows.begin(next + 2, Seq(0), Mono(0)), None, "the oldest is gone");
        assert_eq!(windows.begin(next + 3, Seq(0), Mono(0)), Some(3));
        assert_eq!((windows.extra(0), windows.extra(3), windows.extra(next)), (1_000, 0, 0));
        assert_eq!((windows.len(), windows.trials.len()), (TRIALS_MAX + 1, TRIALS_MAX));
        (0..=next + 3).for_each(|index| windows.forget(index));
        assert_eq!((windows.len(), windows.extra), (0, 0));
    }
}
