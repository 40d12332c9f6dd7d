//! What is under way: the scoreboard of RFC 2018 and the transmission times of RFC 8985, as runs. A run is a stretch
//! of sequence space that was sent at one time and has one fate; runs cover what is under way from its first byte
//! to its last without a gap. A connection has runs only while more than one burst is under way: before, one send
//! time says it all.

use std::collections::VecDeque;

use crate::seq::{Seq, time_lt};

/// Runs of one connection. Beyond, SACK information is not taken, which only makes recovery slower.
const RUNS_MAX: usize = 256;
/// The same, where what is sent again is to be told from what is not: else the whole run would be taken for sent again.
const RUNS_RESENT_MAX: usize = 512;

/// A stretch of sequence space under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: Seq,
    pub(crate) end: Seq,
    pub(crate) sent_us: u32,
    /// The peer has it, out of order.
    pub(crate) sacked: bool,
    /// It is taken for lost and has not been sent again since.
    pub(crate) lost: bool,
    /// It was sent more than once, or not all of it at that time: what is known to have arrived of it may have been sent
    /// before.
    pub(crate) resent: bool,
}

impl Run {
    fn len(&self) -> u32 {
        self.end.since(self.start)
    }

    fn alike(&self, other: &Self) -> bool {
        (self.sent_us, self.sacked, self.lost, self.resent)
            == (other.sent_us, other.sacked, other.lost, other.resent)
    }
}

/// The newest that was delivered, RFC 8985 6.2 step 2.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rack {
    /// When it was sent, and its end; `None` before anything was delivered.
    newest: Option<(u32, Seq)>,
    rtt_us: u32,
    /// The highest end that was delivered.
    fack: Seq,
    pub(crate) reordering_seen: bool,
    /// How much longer than at first to wait for what may be late, less one.
    patience: u8,
    /// Recoveries without a duplicate until that is forgotten.
    patience_left: u8,
    /// Duplicates count once until this is acknowledged.
    duplicates_until: Option<Seq>,
}

/// Recoveries without a duplicate after which patience is forgotten, RFC 8985 6.2 step 4.
const PATIENCE_RECOVERIES: u8 = 16;

impl Rack {
    /// The peer said that something came twice: it had been late, not lost. RFC 8985 6.2 step 4: once in a round trip.
    pub(crate) fn came_twice(&mut self, una: Seq, snd_max: Seq) {
        if self.duplicates_until.is_none_or(|until| until.le(una)) {
            self.duplicates_until = Some(snd_max);
            self.patience = self.patience.saturating_add(1);
            self.patience_left = PATIENCE_RECOVERIES;
        }
    }

    /// A recovery is over.
    pub(crate) fn recovered(&mut self) {
        self.patience_left = self.patience_left.saturating_sub(1);
        if self.patience_left == 0 {
            self.patience = 0;
        }
    }

    /// How long what was sent before something that arrived may be late, RFC 8985 6.2 step 4.
    pub(crate) fn reorder_window_us(&self, min_rtt_us: u32, srtt_us: u32) -> u32 {
        (min_rtt_us.min(srtt_us) / 4).saturating_mul(u32::from(self.patience) + 1).min(srtt_us)
    }
}

/// What one acknowledgement brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// Bytes newly known to have arrived.
    pub(crate) bytes: u32,
    /// A round trip time of something that was sent once.
    pub(crate) rtt_us: Option<u32>,
}

/// The runs of one connection.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    runs: VecDeque<Run>,
    pub(crate) rack: Rack,
}

impl Flight {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.rack = Rack::default();
    }

    #[cfg(test)]
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    /// Something was sent for the first time, right behind what is under way.
    pub(crate) fn sent(&mut self, start: Seq, end: Seq, now_us: u32, resent: bool) {
        let run = Run { start, end, sent_us: now_us, sacked: false, lost: false, resent };
        let (full, crammed) = (self.runs.len() >= RUNS_MAX, self.runs.len() >= RUNS_RESENT_MAX);
        match self.runs.back_mut() {
            Some(last) if last.alike(&run) || (full && !last.sacked && !last.lost) || crammed => {
                // At the limit the last run grows, and is as new as its newest part: losses in it are found late. Nothing of
                // it has arrived or is lost then, as if the peer had not said so. What arrives of it may be of an older
                // part: taken for the newest, it would make all that was sent before that a loss, with every block.
                last.resent |= last.sent_us != now_us;
                last.end = end;
                last.sent_us = now_us;
                (last.sacked, last.lost) = (false, false);
            }
            _ => self.runs.push_back(run),
        }
    }

    /// Everything before `una` has arrived.
    pub(crate) fn acknowledged(&mut self, una: Seq, now_us: u32, min_rtt_us: u32) -> Delivered {
        let mut delivered = Delivered::default();
        let mut repaired = false;
        while let Some(&first) = self.runs.front() {
            if una.le(first.start) {
                break;
            }
            let part = Run { end: first.end.min(una), ..first };
            if !first.sacked {
                delivered.bytes += part.len();
                self.newest(&part, now_us, min_rtt_us);
                // Where a hole was filled what came behind it waited for that at the other end: it measures nothing.
                repaired |= first.resent;
                delivered.rtt_us = (!repaired).then(|| now_us.wrapping_sub(first.sent_us));
            }
            if una.lt(first.end) {
                if let Some(first) = self.runs.front_mut() {
                    first.start = una;
                }
                break;
            }
            self.runs.pop_front();
        }
        if self.runs.is_empty() {
            // What is sent next is later than all of this, however long that takes: in half an hour the time wraps.
            self.rack.newest = None;
        }
        delivered
    }

    /// The peer says that it has `left..right`. RFC 2018 4, RFC 6675 4 Update.
    pub(crate) fn sacked(&mut self, left: Seq, right: Seq, now_us: u32, min_rtt_us: u32) -> Delivered {
        let mut delivered = Delivered::default();
        let (Some(first), Some(last)) = (self.runs.front(), self.runs.back()) else { return delivered };
        // What is not under way is an old block, a duplicate's (RFC 2883), or made up.
        if !left.lt(right) || left.lt(first.start) || last.end.lt(right) {
            return delivered;
        }
        if !self.split(left, RUNS_MAX) || !self.split(right, RUNS_MAX) {
            return delivered;
        }
        for at in 0..self.runs.len() {
            let run = self.runs[at];
            if right.le(run.start) {
                break;
            }
            if run.start.lt(left) || run.sacked {
                continue;
            }
            self.runs[at].sacked = true;
            self.runs[at].lost = false;
            delivered.bytes += run.len();
            if !run.resent {
                delivered.rtt_us = Some(now_us.wrapping_sub(run.sent_us));
            }
            self.newest(&run, now_us, min_rtt_us);
        }
        self.merge();
        delivered
    }

    /// Makes a run begin at `at`, unless there are `max` of them; whether one does now.
    fn split(&mut self, at: Seq, max: usize) -> bool {
        let Some(index) = self.runs.iter().position(|run| at.lt(run.end)) else { return true };
        let run = self.runs[index];
        if at.le(run.start) {
            return true;
        }
        if self.runs.len() >= max {
            return false;
        }
        self.runs[index].end = at;
        self.runs.insert(index + 1, Run { start: at, ..run });
        true
    }

    /// Runs that touch and are alike become one; so do those that have arrived, whenever they were sent.
    fn merge(&mut self) {
        let mut kept = 0;
        for at in 1..self.runs.len() {
            let (before, run) = (self.runs[kept], self.runs[at]);
            if before.alike(&run) || (before.sacked && run.sacked) {
                self.runs[kept].end = run.end;
            } else {
                kept += 1;
                self.runs[kept] = run;
            }
        }
        self.runs.truncate(kept + 1);
    }

    /// RFC 8985 6.2 steps 2 and 3.
    fn newest(&mut self, run: &Run, now_us: u32, min_rtt_us: u32) {
        let rtt_us = now_us.wrapping_sub(run.sent_us);
        // An acknowledgement sooner than a round trip can be is one of the first transmission.
        if run.resent && min_rtt_us != u32::MAX && rtt_us < min_rtt_us {
            return;
        }
        // The last that is looked at counts, also when it was sent before the newest: what was sent with it is no later.
        let rack = &mut self.rack;
        rack.rtt_us = rtt_us;
        if let Some((sent_us, end)) = rack.newest {
            if rack.fack.lt(run.end) {
                rack.fack = run.end;
            } else if run.end.lt(rack.fack) && !run.resent {
                rack.reordering_seen = true;
            }
            if time_lt(run.sent_us, sent_us) || (run.sent_us == sent_us && run.end.le(end)) {
                return;
            }
        } else {
            rack.fack = run.end;
        }
        rack.newest = Some((run.sent_us, run.end));
    }

    /// Marks as lost what was sent so long before something that was delivered that it cannot merely be late
    /// (RFC 8985 6.2 step 5). Returns the bytes newly lost, and in how many microseconds the next will be, if any.
    pub(crate) fn detect_losses(&mut self, now_us: u32, reorder_window_us: u32) -> (u32, Option<u32>) {
        let Some((newest_us, newest_end)) = self.rack.newest else { return (0, None) };
        let (mut lost, mut next): (u32, Option<u32>) = (0, None);
        for run in &mut self.runs {
            let before =
                time_lt(run.sent_us, newest_us) || (run.sent_us == newest_us && run.end.lt(newest_end));
            if run.sacked || run.lost || !before {
                continue;
            }
            let deadline = run.sent_us.wrapping_add(self.rack.rtt_us).wrapping_add(reorder_window_us);
            if time_lt(now_us, deadline) {
                let left = deadline.wrapping_sub(now_us);
                next = Some(next.map_or(left, |next| next.max(left)));
            } else {
                run.lost = true;
                lost += run.len();
            }
        }
        if lost != 0 {
            self.merge();
        }
        (lost, next)
    }

    /// Marks what is before `limit` and has not arrived as lost; how many bytes newly so.
    pub(crate) fn lose_until(&mut self, limit: Seq) -> u32 {
        // Where the runs are at their limit the whole run goes: sent again for nothing, not lost.
        self.split(limit, RUNS_MAX);
        let mut lost = 0;
        for run in &mut self.runs {
            if !run.start.lt(limit) {
                break;
            }
            if !run.sacked && !run.lost {
                run.lost = true;
                lost += run.len();
            }
        }
        self.merge();
        lost
    }

    /// A time-out: all that has not arrived is lost. What the peer said to have it may have thrown away since
    /// (RFC 2018 8); that shows by its having what is missing first, and then nothing that it said counts (RFC 6675 5.1).
    pub(crate) fn lose_all(&mut self) {
        let thrown_away = self.runs.front().is_some_and(|first| first.sacked);
        for run in &mut self.runs {
            run.sacked &= !thrown_away;
            run.lost = !run.sacked;
        }
        self.merge();
    }

    /// Nothing was lost after all.
    pub(crate) fn find_all(&mut self) {
        for run in &mut self.runs {
            run.lost = false;
        }
        self.merge();
    }

    /// From the first that is lost to the end of the last.
    pub(crate) fn lost_span(&self) -> Option<(Seq, Seq)> {
        let mut lost = self.runs.iter().filter(|run| run.lost);
        let first = lost.next()?;
        Some((first.start, lost.next_back().unwrap_or(first).end))
    }

    /// The first that is lost.
    pub(crate) fn next_lost(&self) -> Option<(Seq, Seq)> {
        self.runs.iter().find(|run| run.lost).map(|run| (run.start, run.end))
    }

    /// `start..end` was sent again.
    pub(crate) fn resent(&mut self, start: Seq, end: Seq, now_us: u32) {
        self.split(start, RUNS_RESENT_MAX);
        self.split(end, RUNS_RESENT_MAX);
        for run in &mut self.runs {
            if end.le(run.start) {
                break;
            }
            if start.le(run.start) && !run.sacked {
                run.lost = false;
                run.resent = true;
                run.sent_us = now_us;
            }
        }
        self.merge();
    }

    /// Whether there may be no room to tell all that is sent next from what it is next to.
    #[cfg(debug_assertions)]
    pub(crate) fn is_crowded(&self) -> bool {
        self.runs.len() + 4 > RUNS_RESENT_MAX
    }

    /// Bytes that are thought to be in the network: neither arrived nor lost (RFC 6675 4 SetPipe).
    pub(crate) fn pipe(&self) -> u32 {
        self.runs.iter().filter(|run| !run.sacked && !run.lost).map(Run::len).sum()
    }

    /// Bytes that arrived out of order.
    pub(crate) fn sacked_bytes(&self) -> u32 {
        self.runs.iter().filter(|run| run.sacked).map(Run::len).sum()
    }

    /// Bytes that are taken for lost and were not sent again.
    pub(crate) fn lost_bytes(&self) -> u32 {
        self.runs.iter().filter(|run| run.lost).map(Run::len).sum()
    }

    /// Bytes that were sent again and have not arrived as far as is known.
    pub(crate) fn resent_bytes(&self) -> u32 {
        self.runs.iter().filter(|run| run.resent && !run.sacked && !run.lost).map(Run::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flight(bursts: &[(u32, u32)]) -> Flight {
        let mut flight = Flight::default();
        let mut at = 0;
        for &(len, sent_us) in bursts {
            flight.sent(Seq(at), Seq(at + len), sent_us, false);
            at += len;
        }
        flight
    }

    #[test]
    fn bursts_of_one_time_are_one_run() {
        let flight = flight(&[(100, 5), (100, 5), (100, 6)]);
        assert_eq!(
            flight.runs().map(|run| (run.start.0, run.end.0)).collect::<Vec<_>>(),
            [(0, 200), (200, 300)]
        );
    }

    // covers RFC 8985 6.2 step 5
    #[test]
    fn losses_are_found_by_time() {
        let mut flight = flight(&[(100, 1_000), (100, 2_000), (100, 3_000)]);
        flight.sacked(Seq(200), Seq(300), 13_000, 0);
        assert_eq!(flight.detect_losses(13_000, 2_500), (0, Some(1_500)), "the second may be late still");
        assert_eq!(flight.detect_losses(13_500, 2_500), (100, Some(1_000)));
        assert_eq!(flight.next_lost(), Some((Seq(0), Seq(100))));
        assert_eq!(flight.pipe(), 100);
        flight.resent(Seq(0), Seq(100), 13_600);
        assert_eq!((flight.next_lost(), flight.pipe()), (None, 200));
        // The retransmission is lost too: found by something sent after it.
        flight.sent(Seq(300), Seq(400), 14_000, false);
        flight.sacked(Seq(300), Seq(400), 24_000, 0);
        assert_eq!(flight.detect_losses(40_000, 0).0, 200);
    }

    // covers RFC 8985 6.2 step 2
    #[test]
    fn what_was_sent_again_is_not_delivered_sooner_than_a_round_trip() {
        let mut flight = flight(&[(100, 1_000), (100, 1_100)]);
        flight.lose_until(Seq(100));
        flight.resent(Seq(0), Seq(100), 9_000);
        let mut soon = Flight { runs: flight.runs.clone(), ..Flight::default() };
        soon.acknowledged(Seq(100), 10_000, 5_000);
        assert_eq!(soon.detect_losses(10_000, 0), (0, None), "it may have been the first that arrived");
        flight.acknowledged(Seq(100), 15_000, 5_000);
        assert_eq!(flight.detect_losses(15_100, 0), (100, None), "what was sent before it is lost");
    }

    // covers RFC 8985 6.2 step 3
    #[test]
    fn late_arrivals_show_reordering() {
        let mut flight = flight(&[(100, 1_000), (100, 2_000)]);
        flight.sacked(Seq(100), Seq(200), 10_000, 0);
        assert!(!flight.rack.reordering_seen);
        flight.acknowledged(Seq(200), 11_000, 0);
        assert!(flight.rack.reordering_seen);
        assert!(flight.is_empty());
    }

    // covers RFC 8985 6.2 step 4
    #[test]
    fn what_came_twice_makes_patient_for_sixteen_recoveries() {
        let mut rack = Rack::default();
        assert_eq!(rack.reorder_window_us(40_000, 100_000), 10_000);
        rack.came_twice(Seq(0), Seq(100));
        rack.came_twice(Seq(99), Seq(200));
        assert_eq!(rack.reorder_window_us(40_000, 100_000), 20_000, "once in a round trip");
        rack.came_twice(Seq(100), Seq(200));
        assert_eq!(rack.reorder_window_us(40_000, 100_000), 30_000);
        assert_eq!(rack.reorder_window_us(40_000, 25_000), 18_750);
        for _ in 0..20 {
            rack.came_twice(Seq(300), Seq(200));
        }
        assert_eq!(rack.reorder_window_us(40_000, 100_000), 100_000, "a round trip at most");
        for _ in 0..15 {
            rack.recovered();
        }
        assert_eq!(rack.reorder_window_us(40_000, 100_000), 100_000);
        rack.recovered();
        assert_eq!(rack.reorder_window_us(40_000, 100_000), 10_000);
    }

    // covers RFC 6675 5.1
    #[test]
    fn what_arrived_stays_so_after_a_time_out_unless_the_first_did() {
        let mut flight = flight(&[(100, 1), (100, 2), (100, 3)]);
        flight.sacked(Seq(100), Seq(200), 10, 0);
        flight.lose_all();
        assert_eq!((flight.lost_bytes(), flight.sacked_bytes()), (200, 100));
        flight.sacked(Seq(0), Seq(100), 10, 0);
        flight.lose_all();
        assert_eq!((flight.lost_bytes(), flight.sacked_bytes()), (300, 0), "the peer threw away what it had");
        flight.find_all();
        assert_eq!((flight.lost_bytes(), flight.pipe()), (0, 300));
    }

    #[test]
    fn what_is_not_under_way_is_not_sacked() {
        let mut flight = flight(&[(100, 1)]);
        for (left, right) in [(100, 200), (0, 101), (50, 50), (60, 50), (u32::MAX, 20)] {
            assert_eq!(flight.sacked(Seq(left), Seq(right), 5, 0), Delivered::default());
        }
        assert_eq!(flight.pipe(), 100);
    }

    #[test]
    fn what_is_sent_at_the_limit_of_runs_has_neither_arrived_nor_been_lost() {
        let bursts: Vec<_> = (0..RUNS_MAX as u32).map(|at| (100, at)).collect();
        let all = 100 * RUNS_MAX as u32;
        let mut full = flight(&bursts);
        full.sent(Seq(all), Seq(all + 100), 1_000, false);
        assert_eq!((full.runs.len(), full.pipe()), (RUNS_MAX, all + 100), "it is of the last run");
        full.sacked(Seq(all - 100), Seq(all + 100), 2_000, 0);
        full.sent(Seq(all + 100), Seq(all + 200), 2_000, false);
        assert_eq!((full.pipe(), full.sacked_bytes()), (all, 200));
        full.lose_all();
        full.sent(Seq(all + 200), Seq(all + 300), 3_000, false);
        assert_eq!((full.pipe(), full.lost_bytes()), (100, all));
        // However often the last is lost or arrives.
        for at in 3..2_000 {
            full.sent(Seq(all + at * 100), Seq(all + at * 100 + 100), at * 1_000, false);
            full.lose_all();
        }
        assert_eq!(full.runs.len(), RUNS_RESENT_MAX);
        full.sent(Seq(all + 200_000), Seq(all + 200_100), 9_000_000, false);
        assert!(full.pipe() >= 100, "it is under way, and more with it");
    }

    // covers RFC 8985 6.2 step 2
    #[test]
    fn what_arrives_of_the_last_run_at_the_limit_may_have_been_sent_before_what_was_sent_again() {
        let bursts: Vec<_> = (0..RUNS_MAX as u32).map(|at| (100, at)).collect();
        let all = 100 * RUNS_MAX as u32;
        let mut full = flight(&bursts);
        full.sent(Seq(all), Seq(all + 100), 9_000, false);
        full.lose_until(Seq(300));
        full.resent(Seq(0), Seq(300), 10_000);
        full.sent(Seq(all + 100), Seq(all + 200), 10_100, false);
        full.acknowledged(Seq(200), 13_000, 5_000);
        // What was sent at 9 ms, not at 10.1.
        let delivered = full.sacked(Seq(all), Seq(all + 100), 14_000, 5_000);
        assert_eq!((delivered.bytes, delivered.rtt_us), (100, None));
        assert!(full.runs().next().is_some_and(|first| first.resent));
        full.detect_losses(14_000, 0);
        assert!(full.runs().next().is_some_and(|first| !first.lost), "it was sent later than what arrived");
    }

    #[test]
    fn half_an_hour_after_the_last_arrived_nothing_is_older_than_that() {
        let mut flight = flight(&[(100, 1_000), (100, 2_000)]);
        flight.acknowledged(Seq(200), 10_000, 0);
        // More than half of what 32 bits of microseconds hold.
        let later = 2_300_000_000;
        flight.sent(Seq(200), Seq(300), later, false);
        assert_eq!(flight.detect_losses(later + 50_000, 0), (0, None));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Sent(u32),
        Acked(u32),
        Sacked(u32, u32),
        Lose(u32),
        LoseAll,
        Resend,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1..40u32).prop_map(Step::Sent),
            2 => (0..60u32).prop_map(Step::Acked),
            3 => (0..120u32, 1..40u32).prop_map(|(at, len)| Step::Sacked(at, len)),
            1 => (0..60u32).prop_map(Step::Lose),
            1 => Just(Step::LoseAll),
            2 => Just(Step::Resend),
        ]
    }

    proptest! {
        /// Against a byte map, near the wrap of the sequence space: what arrived, what is lost, and what is under
        /// way agree for every byte.
        #[test]
        fn agrees_with_a_byte_map(steps in proptest::collection::vec(step(), 1..120)) {
            #[derive(Clone, Copy, Default, PartialEq)]
            struct Byte { sacked: bool, lost: bool }
            let mut flight = Flight::default();
            let mut una = Seq(u32::MAX - 200);
            let mut model: VecDeque<Byte> = VecDeque::new();
            for (now, step) in steps.into_iter().enumerate() {
                let now = now as u32;
                match step {
                    Step::Sent(n) => {
                        let start = una + model.len() as u32;
                        flight.sent(start, start + n, now, false);
                        model.extend((0..n).map(|_| Byte::default()));
                    }
                    Step::Acked(n) => {
                        let n = n.min(model.len() as u32);
                        una += n;
                        let got = flight.acknowledged(una, now, 0).bytes as usize;
                        prop_assert_eq!(got, model.drain(..n as usize).filter(|byte| !byte.sacked).count());
                    }
                    Step::Sacked(at, n) => {
                        let got = flight.sacked(una + at, una + at + n, now, 0).bytes;
                        let mut fresh = 0;
                        if (at + n) as usize <= model.len() {
                            for byte in model.range_mut(at as usize..(at + n) as usize) {
                                fresh += u32::from(!byte.sacked);
                                *byte = Byte { sacked: true, lost: false };
                            }
                        }
                        prop_assert_eq!(got, fresh);
                    }
                    Step::Lose(n) => {
                        let n = (n as usize).min(model.len());
                        flight.lose_until(una + n as u32);
                        for byte in model.range_mut(..n) {
                            byte.lost |= !byte.sacked;
                        }
                    }
                    Step::LoseAll => {
                        flight.lose_all();
                        let thrown_away = model.front().is_some_and(|byte| byte.sacked);
                        for byte in &mut model {
                            let sacked = byte.sacked && !thrown_away;
                            *byte = Byte { sacked, lost: !sacked };
                        }
                    }
                    Step::Resend => {
                        let first = model.iter().position(|byte| byte.lost);
                        prop_assert_eq!(flight.next_lost().map(|(start, _)| start),
                                        first.map(|first| una + first as u32));
                        if let Some((start, end)) = flight.next_lost() {
                            let end = end.min(start + 10);
                            flight.resent(start, end, now);
                            let range = start.since(una) as usize..end.since(una) as usize;
                            for byte in model.range_mut(range) {
                                prop_assert!(byte.lost);
                                byte.lost = false;
                            }
                        }
                    }
                }
                prop_assert_eq!(flight.pipe() as usize, model.iter().filter(|b| !b.sacked && !b.lost).count());
                prop_assert_eq!(flight.sacked_bytes() as usize, model.iter().filter(|b| b.sacked).count());
                let mut at = una;
                for run in flight.runs() {
                    prop_assert_eq!(run.start, at);
                    prop_assert!(run.start.lt(run.end));
                    at = run.end;
                }
                prop_assert_eq!(at, una + model.len() as u32);
            }
        }
    }
}
