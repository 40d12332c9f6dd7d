//! What is done with SYNs beyond what is let through, and how much is told.

use pelton_base::HashKey;
use pelton_ebpf_classifier::Limit;
use pelton_ebpf_classifier::layout;

/// How many of something are let through: on each CPU that receives, apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// On average. Zero for none.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// What is done with SYNs beyond the limit for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// They are dropped, and counted.
    Drop,
    /// They are answered with cookies, and take no memory.
    Cookie(Cookies),
}

/// What an answer with a cookie needs to be the same as the TCP stack's, which is to check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookies {
    /// The stack's key of cookies.
    pub key: HashKey,
    /// The stack's key of time stamps.
    pub stamps: HashKey,
    /// What the stack's clock is behind the system's monotonic clock.
    pub clock_offset_ns: u64,
    /// The largest segment the stack takes over IPv4.
    pub mss_v4: u16,
    /// The largest segment the stack takes over IPv6.
    pub mss_v6: u16,
    /// The receive window, as a SYN-ACK has it.
    pub window: u16,
    /// The shift of the windows behind it; `None` if window scaling is not agreed to.
    pub scale: Option<u8>,
    /// SACK is agreed to.
    pub sack: bool,
    /// Time stamps are agreed to.
    pub timestamps: bool,
}

/// Limits. `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// SYNs from one /24 or /56; beyond, they are dropped.
    pub prefix: Option<Rate>,
    /// SYNs in all.
    pub all: Option<Rate>,
    /// What is done with those beyond the limit for all.
    pub over: Over,
    /// Drops that are told about ([`Steering::next_dropped`](crate::Steering::next_dropped)), the others are only
    /// counted.
    pub events: Rate,
}

impl Policy {
    /// All SYNs pass, nothing is told.
    pub const OPEN: Self =
        Self { prefix: None, all: None, over: Over::Drop, events: Rate { per_second: 0, burst: 0 } };

    pub(crate) fn to_map(self) -> layout::Policy {
        let limit =
            |rate: Option<Rate>| rate.map_or(Limit::OFF, |rate| Limit::new(rate.per_second, rate.burst));
        let limits = layout::Policy {
            prefix: limit(self.prefix),
            all: limit(self.all),
            events: limit(Some(self.events)),
            ..layout::Policy::OPEN
        };
        let Over::Cookie(cookies) = self.over else { return limits };
        layout::Policy {
            cookie_key: cookies.key.words().into(),
            stamp_key: cookies.stamps.words().into(),
            clock_offset_ns: cookies.clock_offset_ns,
            over: layout::OVER_COOKIE,
            mss_v4: cookies.mss_v4,
            mss_v6: cookies.mss_v6,
            window: cookies.window,
            scale: cookies.scale.unwrap_or(0),
            scaling: cookies.scale.is_some().into(),
            sack: cookies.sack.into(),
            timestamps: cookies.timestamps.into(),
            ..limits
        }
    }
}
