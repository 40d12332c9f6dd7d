//! Proportional rate reduction, RFC 9937: how much may be sent for each acknowledgement while the window comes down
//! from what it was to the threshold, so that neither a burst nor a silence comes of it.

/// One reduction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prr {
    /// Bytes under way when it began, without those that had arrived by then (RecoverFS).
    flight: u32,
    /// Bytes that have arrived since.
    delivered: u32,
    /// Bytes sent since.
    out: u32,
}

/// What an acknowledgement said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Bytes newly known to have arrived.
    pub(crate) delivered: u32,
    /// It acknowledged something new and showed no more losses: it is safe to go faster.
    pub(crate) safe: bool,
}

impl Prr {
    /// A reduction begins with `flight` bytes under way, those that arrived before not counted.
    pub(crate) const fn new(flight: u32) -> Self {
        Self { flight, delivered: 0, out: 0 }
    }

    /// Whether nothing has been sent yet.
    pub(crate) const fn is_new(&self) -> bool {
        self.out == 0
    }

    /// Something was sent, for the first time or again.
    pub(crate) const fn sent(&mut self, bytes: u32) {
        self.out = self.out.saturating_add(bytes);
    }

    /// The window after an acknowledgement, with `pipe` bytes in the network. RFC 9937 6.2.
    pub(crate) fn window(&mut self, news: News, pipe: u32, ssthresh: u32, size: u32) -> u32 {
        self.delivered = self.delivered.saturating_add(news.delivered);
        let mut more = if pipe > ssthresh {
            // In proportion: of what arrives, so much is sent as the threshold is of what was under way.
            let share = u64::from(self.delivered) * u64::from(ssthresh);
            let share = share.div_ceil(u64::from(self.flight.max(1)));
            share.saturating_sub(u64::from(self.out)).min(u64::from(self.delivered)) as u32
        } else {
            // Below the threshold already: as much as arrives (CRB), and a segment more while all goes well (SSRB).
            let conserved = self.delivered.saturating_sub(self.out).max(news.delivered);
            let faster = if news.safe { size } else { 0 };
            conserved.saturating_add(faster).min(ssthresh - pipe)
        };
        if self.out == 0 && more < size {
            // The first retransmission does not wait.
            more = size;
        }
        pipe.saturating_add(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seven_tenths_leave_for_what_arrives() {
        let mut prr = Prr::new(100_000);
        let mut pipe = 99_000;
        let mut sent = 0;
        for _ in 0..100 {
            let window = prr.window(News { delivered: 1_000, safe: true }, pipe, 70_000, 1_000);
            while pipe + 1_000 <= window {
                pipe += 1_000;
                sent += 1_000;
                prr.sent(1_000);
            }
            pipe -= 1_000;
        }
        assert!((69_000..=71_000).contains(&sent), "{sent}");
        assert!((68_000..=71_000).contains(&pipe), "{pipe}");
    }

    #[test]
    fn below_the_threshold_no_more_than_arrives_unless_all_goes_well() {
        let news = |safe| News { delivered: 1_000, safe };
        let mut prr = Prr::new(10_000);
        assert_eq!(prr.window(news(false), 2_000, 7_000, 1_000), 3_000);
        prr.sent(1_000);
        assert_eq!(prr.window(news(false), 2_000, 7_000, 1_000), 3_000);
        prr.sent(1_000);
        assert_eq!(prr.window(news(true), 2_000, 7_000, 1_000), 4_000);
        assert_eq!(prr.window(news(true), 6_500, 7_000, 1_000), 7_000, "not beyond the threshold");
    }

    proptest! {
        /// Never more is sent in all than has arrived, but for the first retransmission and a segment for each
        /// acknowledgement that shows that all goes well; and what is under way never grows beyond the threshold.
        #[test]
        fn sends_no_more_than_arrives(
            first in 2..100_u32, half in 0..100_u32, size in 100..1_500_u32,
            steps in proptest::collection::vec((0..4_u32, any::<bool>(), 0..3_u32), 1..200),
        ) {
            let flight = first * size;
            let ssthresh = (flight * (half.max(50)) / 100).max(2 * size);
            let mut prr = Prr::new(flight);
            let (mut pipe, mut sent, mut arrived, mut safe_acks) = (flight, 0, 0, 0);
            for (segments, safe, lost) in steps {
                let delivered = (segments * size).min(pipe);
                pipe -= delivered;
                pipe -= (lost * size).min(pipe);
                arrived += delivered;
                safe_acks += u32::from(safe);
                let before = pipe;
                let window = prr.window(News { delivered, safe }, pipe, ssthresh, size);
                while pipe + size <= window {
                    pipe += size;
                    sent += size;
                    prr.sent(size);
                }
                prop_assert!(sent <= arrived + (safe_acks + 1) * size, "{sent} of {arrived}, {safe_acks}");
                prop_assert!(pipe <= before.max(ssthresh) + delivered.max(size));
                if before <= ssthresh && sent > size {
                    prop_assert!(pipe <= ssthresh.max(before) + size);
                }
            }
        }
    }
}
