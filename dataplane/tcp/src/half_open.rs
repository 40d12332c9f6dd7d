//! Half-open connections: a small record each, bounded, with their retransmission times in queues of constant
//! delay (RFC 4987 3.3: a SYN cache).

use std::collections::VecDeque;
use std::net::IpAddr;

use pelton_base::Mono;

use crate::seq::Seq;

/// What the two sides agreed on in their SYNs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// The biggest segment the peer takes, and the path to it as far as known.
    pub(crate) mss: u16,
    /// The peer's window scale, if scaling was agreed on.
    pub(crate) scale: Option<u8>,
    pub(crate) sack: bool,
    pub(crate) timestamps: bool,
    pub(crate) ecn: bool,
}

/// A connection whose SYN was answered and whose ACK has not come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HalfOpen {
    pub(crate) remote: IpAddr,
    pub(crate) remote_port: u16,
    pub(crate) local: u16,
    pub(crate) link: u16,
    pub(crate) hash: u32,
    pub(crate) irs: Seq,
    pub(crate) iss: Seq,
    pub(crate) ts_recent: u32,
    pub(crate) agreed: Agreed,
    pub(crate) retries: u8,
    /// The SYN came again and was answered again.
    pub(crate) answered_again: bool,
    /// Odd while in use.
    pub(crate) generation: u32,
    pub(crate) sent_at: Mono,
}

/// A time-out that has come: the record, to be sent again or given up.
pub(crate) type Due = u32;

/// The records.
pub(crate) struct HalfOpens {
    records: Vec<HalfOpen>,
    free: Vec<u32>,
    max: usize,
    /// By how often the SYN-ACK was sent again: the delay is constant, so the queue is in order.
    queues: Vec<VecDeque<(Mono, u32, u32)>>,
    initial_ms: u32,
}

impl HalfOpens {
    /// `max` records, sent again up to `retries` times, at first after `initial_ms`, then after twice as long.
    pub(crate) fn new(max: u32, retries: u8, initial_ms: u32) -> Self {
        let queues = (0..=retries).map(|_| VecDeque::new()).collect();
        Self { records: Vec::new(), free: Vec::new(), max: max as usize, queues, initial_ms }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.max
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> &HalfOpen {
        &self.records[index as usize]
    }

    /// The peer asked once more and is answered once more; `ecn`: it may have that, which it leaves out if it thinks that
    /// its SYN was lost for it (RFC 3168 6.1.1.1).
    pub(crate) fn answer_again(&mut self, index: u32, ecn: bool) {
        let record = &mut self.records[index as usize];
        record.answered_again = true;
        record.agreed.ecn &= ecn;
    }

    /// Keeps a record; `None` at the limit. Its SYN-ACK is sent now.
    pub(crate) fn insert(&mut self, mut record: HalfOpen, now: Mono) -> Option<u32> {
        if self.is_full() {
            return None;
        }
        let index = match self.free.pop() {
            Some(index) => {
                record.generation = self.records[index as usize].generation.wrapping_add(1);
                self.records[index as usize] = record;
                index
            }
            None => {
                record.generation = 1;
                self.records.push(record);
                self.records.len() as u32 - 1
            }
        };
        self.wait(index, now);
        Some(index)
    }

    fn wait(&mut self, index: u32, now: Mono) {
        let record = &self.records[index as usize];
        let retries = usize::from(record.retries);
        // RFC 6298 5.5: the time-out doubles.
        let due = now.plus_ms(u64::from(self.initial_ms) << retries.min(6));
        if let Some(queue) = self.queues.get_mut(retries) {
            queue.push_back((due, index, record.generation));
        }
    }

    pub(crate) fn remove(&mut self, index: u32) {
        let record = &mut self.records[index as usize];
        debug_assert!(record.generation & 1 == 1);
        record.generation = record.generation.wrapping_add(1);
        self.free.push(index);
    }

    /// The next record whose time has come. It either goes ([`HalfOpens::remove`]) or is sent once more
    /// ([`HalfOpens::resent`]).
    pub(crate) fn due(&mut self, now: Mono) -> Option<Due> {
        for queue in &mut self.queues {
            while let Some(&(due, index, generation)) = queue.front() {
                let stale = self.records[index as usize].generation != generation;
                if !stale && due > now {
                    break;
                }
                queue.pop_front();
                if !stale {
                    return Some(index);
                }
            }
        }
        None
    }

    /// Whether the SYN-ACK may be sent once more.
    pub(crate) fn may_resend(&self, index: u32) -> bool {
        usize::from(self.records[index as usize].retries) + 1 < self.queues.len()
    }

    /// The SYN-ACK is sent once more.
    pub(crate) fn resent(&mut self, index: u32, now: Mono) {
        self.records[index as usize].retries += 1;
        self.wait(index, now);
    }

    pub(crate) fn next_timeout(&self) -> Option<Mono> {
        self.queues.iter().filter_map(|queue| queue.front()).map(|&(due, ..)| due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> HalfOpen {
        HalfOpen {
            remote: "10.0.0.1".parse().unwrap(),
            remote_port: 1,
            local: 0,
            link: 0,
            hash: 0,
            irs: Seq(0),
            iss: Seq(0),
            ts_recent: 0,
            agreed: Agreed::default(),
            retries: 0,
            answered_again: false,
            generation: 0,
            sent_at: Mono(0),
        }
    }

    #[test]
    fn it_is_sent_again_at_doubling_times_and_given_up() {
        let mut all = HalfOpens::new(4, 2, 1_000);
        let index = all.insert(record(), Mono(0)).unwrap();
        let mut at = Vec::new();
        for ms in 0..20_000 {
            let now = Mono::from_ms(ms);
            while let Some(due) = all.due(now) {
                assert_eq!(due, index);
                at.push(ms);
                if all.may_resend(due) { all.resent(due, now) } else { all.remove(due) }
            }
        }
        assert_eq!(at, [1_000, 3_000, 7_000]);
        assert_eq!((all.len(), all.next_timeout()), (0, None));
    }

    #[test]
    fn the_limit_holds_and_stale_times_are_passed_over() {
        let mut all = HalfOpens::new(1, 2, 1_000);
        let index = all.insert(record(), Mono(0)).unwrap();
        assert_eq!(all.insert(record(), Mono(0)), None);
        all.remove(index);
        all.insert(record(), Mono::from_ms(500)).unwrap();
        assert_eq!(all.due(Mono::from_ms(1_400)), None);
        assert_eq!(all.due(Mono::from_ms(1_500)), Some(index));
    }
}
