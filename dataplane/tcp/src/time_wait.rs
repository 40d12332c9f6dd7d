//! TIME-WAIT: what is kept of a connection after it ended, so that its old segments do no harm (RFC 9293 3.6.1 MUST-13).
//! A record, not a block; all wait equally long, so they stand in a queue.

use std::collections::VecDeque;

use pelton_base::Mono;

use crate::seq::Seq;
use crate::tuple::Tuple;

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeWait {
    pub(crate) tuple: Tuple,
    pub(crate) hash: u32,
    pub(crate) snd_nxt: Seq,
    pub(crate) rcv_nxt: Seq,
    /// The window, scaled as on the wire.
    pub(crate) window: u16,
    /// The last time stamp of the peer, if timestamps were agreed on, and our offset.
    pub(crate) stamps: Option<(u32, u32)>,
    pub(crate) link: u16,
    /// The shard whose port the frames come in on, if it is another.
    pub(crate) home: Option<u16>,
    generation: u32,
    /// Its wait began anew (RFC 9293 3.10.7.4 eighth: a FIN again): until then.
    until: Mono,
}

/// The records.
pub(crate) struct TimeWaits {
    records: Vec<TimeWait>,
    free: Vec<u32>,
    queue: VecDeque<(Mono, u32, u32)>,
    max: usize,
    wait_ms: u32,
}

impl TimeWaits {
    pub(crate) const fn new(max: u32, wait_ms: u32) -> Self {
        Self { records: Vec::new(), free: Vec::new(), queue: VecDeque::new(), max: max as usize, wait_ms }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.max
    }

    pub(crate) fn get(&self, index: u32) -> &TimeWait {
        &self.records[index as usize]
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut TimeWait {
        &mut self.records[index as usize]
    }

    /// Keeps a record.
    pub(crate) fn insert(&mut self, record: TimeWait, now: Mono) -> u32 {
        let until = now.plus_ms(u64::from(self.wait_ms));
        let (index, generation) = match self.free.pop() {
            Some(index) => (index, self.records[index as usize].generation.wrapping_add(1)),
            None => (self.records.len() as u32, 1),
        };
        let record = TimeWait { generation, until, ..record };
        if index as usize == self.records.len() {
            self.records.push(record);
        } else {
            self.records[index as usize] = record;
        }
        self.queue.push_back((until, index, generation));
        index
    }

    pub(crate) fn remove(&mut self, index: u32) -> TimeWait {
        let record = &mut self.records[index as usize];
        let removed = *record;
        record.generation = record.generation.wrapping_add(1);
        self.free.push(index);
        removed
    }

    /// The wait of a record begins anew.
    pub(crate) fn restart(&mut self, index: u32, now: Mono) {
        self.records[index as usize].until = now.plus_ms(u64::from(self.wait_ms));
    }

    /// The oldest record, whatever its time.
    pub(crate) fn oldest(&mut self) -> Option<u32> {
        self.next(Mono::NEVER)
    }

    /// The next record whose time is over; to be removed.
    pub(crate) fn next(&mut self, now: Mono) -> Option<u32> {
        while let Some(&(due, index, generation)) = self.queue.front() {
            let record = &self.records[index as usize];
            if record.generation != generation {
                self.queue.pop_front();
                continue;
            }
            if due > now {
                return None;
            }
            self.queue.pop_front();
            if record.until > now {
                self.queue.push_back((record.until, index, generation));
                continue;
            }
            return Some(index);
        }
        None
    }

    pub(crate) fn next_timeout(&self) -> Option<Mono> {
        self.queue.front().map(|&(due, ..)| due)
    }
}

/// A record that [`TimeWaits::insert`] completes.
pub(crate) fn record(
    tuple: Tuple,
    hash: u32,
    (snd_nxt, rcv_nxt): (Seq, Seq),
    window: u16,
    stamps: Option<(u32, u32)>,
    (link, home): (u16, Option<u16>),
) -> TimeWait {
    TimeWait { tuple, hash, snd_nxt, rcv_nxt, window, stamps, link, home, generation: 0, until: Mono(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_its_time_and_longer_when_restarted() {
        let mut all = TimeWaits::new(4, 1_000);
        let tuple = Tuple { local: "10.0.0.1:1".parse().unwrap(), remote: "10.0.0.2:2".parse().unwrap() };
        let one = || record(tuple, 0, (Seq(1), Seq(2)), 0, None, (0, None));
        let (a, b) = (all.insert(one(), Mono(0)), all.insert(one(), Mono::from_ms(10)));
        all.restart(a, Mono::from_ms(500));
        assert_eq!(all.next(Mono::from_ms(1_005)), None);
        assert_eq!(all.next(Mono::from_ms(1_010)), Some(b));
        all.remove(b);
        assert_eq!(all.next(Mono::from_ms(1_499)), None);
        assert_eq!(all.next(Mono::from_ms(1_500)), Some(a));
        all.remove(a);
        assert_eq!((all.len(), all.next_timeout()), (0, None));
        let c = all.insert(one(), Mono(0));
        assert_eq!(all.oldest(), Some(c));
    }
}
