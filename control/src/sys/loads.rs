//! `$SYS/broker/load/...`: what happened per minute, as moving averages over 1, 5 and 15 minutes. Computed as load
//! averages are: each sample counts for `1 - e^(-elapsed/window)` of the new value.

use std::time::Duration;

use pelton_broker::counters::Traffic;

use super::figures::Totals;

/// The windows: name and seconds.
pub(crate) const WINDOWS: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// What is averaged: name, meaning, count so far.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    count: fn(&Totals) -> u64,
}

/// The loads, in the order of the page.
pub(crate) const LOADS: [Load; 9] = [
    Load {
        name: "messages/received",
        help: "MQTT packets received",
        count: |totals| totals.traffic(Traffic::PacketsIn),
    },
    Load { name: "messages/sent", help: "MQTT packets sent", count: Totals::packets_out },
    Load {
        name: "publish/dropped",
        help: "messages not delivered",
        count: |totals| totals.tally.dropped.total(),
    },
    Load {
        name: "publish/received",
        help: "PUBLISH packets received",
        count: |totals| totals.traffic(Traffic::PublishIn),
    },
    Load {
        name: "publish/sent",
        help: "PUBLISH packets sent",
        count: |totals| totals.traffic(Traffic::PublishOut),
    },
    Load { name: "bytes/received", help: "bytes read", count: Totals::bytes_in },
    Load { name: "bytes/sent", help: "bytes written", count: Totals::bytes_out },
    Load { name: "sockets", help: "connections accepted", count: |totals| totals.tally.accepted },
    Load {
        name: "connections",
        help: "CONNECTs answered with success",
        count: |totals| totals.tally.connected,
    },
];

/// The topic of a load over a window.
pub(crate) fn topic(load: &Load, window: &str) -> String {
    format!("$SYS/broker/load/{}/{window}", load.name)
}

/// The averages so far.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    counts: [u64; LOADS.len()],
    averages: [[f64; WINDOWS.len()]; LOADS.len()],
}

impl Loads {
    /// Takes the counts after `elapsed`; with nothing elapsed only where counting begins.
    pub(crate) fn update(&mut self, totals: &Totals, elapsed: Duration) {
        let elapsed = elapsed.as_secs_f64();
        for (i, load) in LOADS.iter().enumerate() {
            let count = (load.count)(totals);
            let new = count - std::mem::replace(&mut self.counts[i], count);
            if elapsed <= 0.0 {
                continue;
            }
            let per_minute = new as f64 * 60.0 / elapsed;
            for (average, (_, seconds)) in self.averages[i].iter_mut().zip(WINDOWS) {
                let kept = (-elapsed / seconds).exp();
                *average = per_minute + kept * (*average - per_minute);
            }
        }
    }

    /// Topics and values.
    pub(crate) fn values(&self) -> impl Iterator<Item = (String, String)> + '_ {
        LOADS.iter().zip(&self.averages).flat_map(|(load, averages)| {
            WINDOWS
                .iter()
                .zip(averages)
                .map(move |((window, _), average)| (topic(load, window), format!("{average:.2}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(loads: &mut Loads, publishes: u64, seconds: u64) -> Vec<String> {
        let mut totals = Totals::default();
        totals.tally.traffic.add_n(Traffic::PublishIn, publishes);
        loads.update(&totals, Duration::from_secs(seconds));
        loads
            .values()
            .filter(|(topic, _)| topic.contains("publish/received"))
            .map(|(_, value)| value)
            .collect()
    }

    #[test]
    fn averages_follow_the_rate_and_forget_it() {
        let mut loads = Loads::default();
        assert_eq!(after(&mut loads, 7, 0), ["0.00", "0.00", "0.00"]);
        // 100 in 10 s are 600 a minute; one sample of 10 s weighs 1 - e^(-10/60) = 0.153518 of it.
        assert_eq!(after(&mut loads, 107, 10), ["92.11", "19.67", "6.63"]);
        // Then nothing for a minute: e^-1 of it is left.
        assert_eq!(after(&mut loads, 107, 60)[0], "33.89");
    }
}
