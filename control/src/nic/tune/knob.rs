//! The knobs a profile may turn, and what it may want of each. The set is closed: what is not here cannot be set.

/// A knob, with what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::nic) enum Knob {
    /// Receive queues; none for one for each core that works.
    Queues(Option<u32>),
    /// Receive queues, one for each core that works or more.
    QueuesAtLeast,
    /// Entries of the receive ring; none for as many as there can be.
    RxRing(Option<u32>),
    /// Entries of the send ring.
    TxRing(Option<u32>),
    /// Microseconds that interrupts wait.
    RxUsecs(u32),
    /// The driver chooses that by itself.
    AdaptiveRx(bool),
    /// A feature of the device.
    Feature(String, bool),
    /// The MTU is at most this.
    MtuMax(u32),
    /// Empty polls that interrupts are put off for.
    DeferIrqs(u32),
    /// Nanoseconds after which the kernel polls by itself.
    FlushTimeout(u64),
    /// Huge pages are at least this many for each core that works.
    HugePages(u64),
    /// The broker's ports are kept from other uses.
    ReservedPorts,
    /// The interrupt of each queue, of this name, is served on one core.
    IrqAffinity(String),
}

impl Knob {
    /// Reads a profile's words.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(in crate::nic) fn parse(knob: &str, want: &str) -> Result<Self, String> {
        let number = || want.parse::<u32>().map_err(|_| format!("`{want}` is no number"));
        let word = |word: &str| if want == word { Ok(None) } else { number().map(Some) };
        let on = || match want {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(format!("`{want}` is neither on nor off")),
        };
        if let Some(feature) = knob.strip_prefix("feature:") {
            return Ok(Self::Feature(feature.to_owned(), on()?));
        }
        match knob {
            "queues" if want == "at-least-cores" => Ok(Self::QueuesAtLeast),
            "queues" => word("cores").map(Self::Queues),
            "rx-ring" => word("max").map(Self::RxRing),
            "tx-ring" => word("max").map(Self::TxRing),
            "rx-usecs" => number().map(Self::RxUsecs),
            "adaptive-rx" => on().map(Self::AdaptiveRx),
            "mtu-max" => number().map(Self::MtuMax),
            "napi_defer_hard_irqs" => number().map(Self::DeferIrqs),
            "gro_flush_timeout" => number().map(|time| Self::FlushTimeout(time.into())),
            "hugepages" => number().map(|pages| Self::HugePages(pages.into())),
            "reserved-ports" if want == "broker" => Ok(Self::ReservedPorts),
            "irq-affinity" if want.contains("{queue}") => Ok(Self::IrqAffinity(want.to_owned())),
            "reserved-ports" | "irq-affinity" => Err(format!("`{want}` is not what this knob takes")),
            _ => Err("there is no such knob".into()),
        }
    }

    /// Whether it is about the whole host.
    pub(in crate::nic) const fn is_of_host(&self) -> bool {
        matches!(self, Self::HugePages(_) | Self::ReservedPorts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_knob_does_not_take_is_refused() {
        assert_eq!(Knob::parse("queues", "cores"), Ok(Knob::Queues(None)));
        assert_eq!(Knob::parse("queues", "at-least-cores"), Ok(Knob::QueuesAtLeast));
        assert_eq!(Knob::parse("rx-ring", "64"), Ok(Knob::RxRing(Some(64))));
        assert_eq!(Knob::parse("feature:rx-gro", "off"), Ok(Knob::Feature("rx-gro".into(), false)));
        for (knob, want) in [
            ("queues", "max"),
            ("rx-ring", "-1"),
            ("feature:rx-gro", "maybe"),
            ("reserved-ports", "1883"),
            ("irq-affinity", "eth"),
            ("ring", "64"),
        ] {
            assert!(Knob::parse(knob, want).is_err(), "{knob} {want}");
        }
    }
}
