//! Keys and values of the program's maps, as the program has them in memory. User space writes and reads them as
//! bytes ([`ServiceKey::to_bytes`] and its like), in the byte order of the machine; the two agree by the
//! assertions here and by the tests that run the program.

/// Receive queues a device may have: slots of the socket map.
pub const QUEUES_MAX: u32 = 256;
/// Services: pairs of address and port.
pub const SERVICES_MAX: u32 = 1024;
/// Prefixes of the block list, each family.
pub const BLOCKED_MAX: u32 = 65_536;
/// Prefixes of the allow list, each family.
pub const ALLOWED_MAX: u32 = 4096;
/// Prefixes whose SYNs are counted; at the limit the one that was silent longest goes.
pub const SYN_PREFIXES_MAX: u32 = 16_384;
/// Segments that routers called too big; at the limit the oldest goes.
pub const PMTU_MAX: u32 = 8192;
/// Bytes of the ring of events.
pub const EVENT_RING_BYTES: u32 = 65_536;

/// An address: IPv6, or IPv4 as `::ffff:a.b.c.d` (RFC 4291 2.5.5.2).
pub type Address = [u8; 16];

/// An IPv4 address as an [`Address`].
#[inline(always)]
pub const fn mapped(v4: [u8; 4]) -> Address {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]]
}

/// A service: where the broker listens, by TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ServiceKey {
    /// The address it is reached at.
    pub address: Address,
    /// The port, in network order.
    pub port: [u8; 2],
    /// Zero.
    pub pad: [u8; 2],
}

/// What is to be done with a service's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Service {
    /// One: the broker takes them, and what no socket takes is dropped. Zero: they are the kernel's.
    pub armed: u32,
}

/// The key of a segment a router called too big.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PmtuKey {
    /// Who sent it: an address of the broker.
    pub local: Address,
    /// Whom it was for.
    pub remote: Address,
    /// The broker's port, in network order.
    pub local_port: [u8; 2],
    /// The peer's, in network order.
    pub remote_port: [u8; 2],
}

/// What the router said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PmtuValue {
    /// The largest packet its link carries; zero from routers that do not say (RFC 1191 5).
    pub mtu: u32,
    /// The sequence number of the segment.
    pub sequence: u32,
}

/// How many of something are let through, as [`crate::limit`] counts: the time one takes, the time all that may
/// come at once take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// Nanoseconds a token takes to come; zero for no limit.
    pub interval_ns: u64,
    /// That times the tokens a full bucket has.
    pub depth_ns: u64,
}

/// What is done with a SYN above the limit for all.
pub const OVER_DROP: u32 = 0;
/// It is answered with a cookie.
pub const OVER_COOKIE: u32 = 1;

/// What the answers with cookies need, and the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Policy {
    /// SYNs of one /24 or /56, on each CPU.
    pub prefix: Limit,
    /// SYNs in all, on each CPU.
    pub all: Limit,
    /// Events, on each CPU.
    pub events: Limit,
    /// The key of cookies.
    pub cookie_key: [u64; 2],
    /// The key of what time stamps are offset by.
    pub stamp_key: [u64; 2],
    /// What the stack's clock is behind the kernel's monotonic one.
    pub clock_offset_ns: u64,
    /// [`OVER_DROP`] or [`OVER_COOKIE`].
    pub over: u32,
    /// The largest segment that is taken over IPv4.
    pub mss_v4: u16,
    /// The largest segment that is taken over IPv6.
    pub mss_v6: u16,
    /// The window of a SYN-ACK.
    pub window: u16,
    /// The shift of later windows.
    pub scale: u8,
    /// One: window scaling is agreed to.
    pub scaling: u8,
    /// One: SACK is agreed to.
    pub sack: u8,
    /// One: time stamps are agreed to.
    pub timestamps: u8,
    /// Zero.
    pub pad: [u8; 2],
}

/// Slots for a [`Policy`]; which of them counts is in a word of its own, so that a change is never seen half done.
pub const POLICIES: u32 = 2;

/// A frame that was dropped, one of few that are told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// When, by the kernel's monotonic clock.
    pub time_ns: u64,
    /// Whence.
    pub source: Address,
    /// Whereto.
    pub destination: Address,
    /// The source port, in network order.
    pub source_port: [u8; 2],
    /// The destination port, in network order.
    pub destination_port: [u8; 2],
    /// Bytes of the frame.
    pub len: u32,
    /// The [`crate::Reason`], by position.
    pub reason: u8,
    /// TCP flags.
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 6],
}

const _: () = {
    assert!(size_of::<ServiceKey>() == ServiceKey::BYTES && align_of::<ServiceKey>() == 1);
    assert!(size_of::<Service>() == Service::BYTES);
    assert!(size_of::<PmtuKey>() == PmtuKey::BYTES && align_of::<PmtuKey>() == 1);
    assert!(size_of::<PmtuValue>() == PmtuValue::BYTES);
    assert!(size_of::<Policy>() == Policy::BYTES && align_of::<Policy>() == 8);
    assert!(size_of::<Event>() == Event::BYTES && align_of::<Event>() == 8);
};

impl ServiceKey {
    /// Bytes it takes.
    pub const BYTES: usize = 20;

    /// A service at an address and port.
    #[inline(always)]
    pub const fn new(address: Address, port: [u8; 2]) -> Self {
        Self { address, port, pad: [0; 2] }
    }

    /// As the map has it.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut to = Bytes::default();
        to.put(self.address).put(self.port).put(self.pad);
        to.end()
    }

    /// As the map had it.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut from = Taken(bytes);
        Self { address: from.take(), port: from.take(), pad: from.take() }
    }
}

impl Service {
    /// Bytes it takes.
    pub const BYTES: usize = 4;

    /// As the map has it.
    pub const fn to_bytes(self) -> [u8; Self::BYTES] {
        self.armed.to_ne_bytes()
    }
}

impl PmtuKey {
    /// None.
    pub const EMPTY: Self = Self { local: [0; 16], remote: [0; 16], local_port: [0; 2], remote_port: [0; 2] };

    /// Bytes it takes.
    pub const BYTES: usize = 36;

    /// As the map had it.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut from = Taken(bytes);
        Self { local: from.take(), remote: from.take(), local_port: from.take(), remote_port: from.take() }
    }
}

impl PmtuValue {
    /// None.
    pub const EMPTY: Self = Self { mtu: 0, sequence: 0 };

    /// Bytes it takes.
    pub const BYTES: usize = 8;

    /// As the map had it.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut from = Taken(bytes);
        Self { mtu: u32::from_ne_bytes(from.take()), sequence: u32::from_ne_bytes(from.take()) }
    }
}

impl Policy {
    /// Bytes it takes.
    pub const BYTES: usize = 104;

    /// All SYNs pass, no events.
    pub const OPEN: Self = Self {
        prefix: Limit::OFF,
        all: Limit::OFF,
        events: Limit::new(0, 0),
        cookie_key: [0; 2],
        stamp_key: [0; 2],
        clock_offset_ns: 0,
        over: OVER_DROP,
        mss_v4: 0,
        mss_v6: 0,
        window: 0,
        scale: 0,
        scaling: 0,
        sack: 0,
        timestamps: 0,
        pad: [0; 2],
    };

    /// As the map has it.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut to = Bytes::default();
        for limit in [self.prefix, self.all, self.events] {
            to.put(limit.interval_ns.to_ne_bytes()).put(limit.depth_ns.to_ne_bytes());
        }
        for word in [self.cookie_key, self.stamp_key].as_flattened() {
            to.put(word.to_ne_bytes());
        }
        to.put(self.clock_offset_ns.to_ne_bytes())
            .put(self.over.to_ne_bytes())
            .put(self.mss_v4.to_ne_bytes())
            .put(self.mss_v6.to_ne_bytes())
            .put(self.window.to_ne_bytes())
            .put([self.scale, self.scaling, self.sack, self.timestamps])
            .put(self.pad);
        to.end()
    }
}

impl Event {
    /// Bytes it takes.
    pub const BYTES: usize = 56;

    /// As the ring had it; `None` if it is cut.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut from = Taken(bytes.first_chunk::<{ Self::BYTES }>()?);
        Some(Self {
            time_ns: u64::from_ne_bytes(from.take()),
            source: from.take(),
            destination: from.take(),
            source_port: from.take(),
            destination_port: from.take(),
            len: u32::from_ne_bytes(from.take()),
            reason: u8::from_ne_bytes(from.take()),
            flags: u8::from_ne_bytes(from.take()),
            pad: from.take(),
        })
    }
}

/// Fields one behind the other.
struct Bytes<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Default for Bytes<N> {
    fn default() -> Self {
        Self { bytes: [0; N], at: 0 }
    }
}

impl<const N: usize> Bytes<N> {
    fn put<const M: usize>(&mut self, field: [u8; M]) -> &mut Self {
        self.bytes[self.at..][..M].copy_from_slice(&field);
        self.at += M;
        self
    }

    fn end(self) -> [u8; N] {
        assert!(self.at == N, "{} bytes of {N}", self.at);
        self.bytes
    }
}

/// Fields taken off the front. The lengths are constants that fit.
struct Taken<'a>(&'a [u8]);

impl Taken<'_> {
    fn take<const M: usize>(&mut self) -> [u8; M] {
        let (field, rest) = self.0.split_at(M);
        self.0 = rest;
        let mut taken = [0; M];
        taken.copy_from_slice(field);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_program_has_them() {
        let key = ServiceKey::new(mapped([10, 0, 0, 1]), [7, 0x5b]);
        assert_eq!(ServiceKey::from_bytes(&key.to_bytes()), key);
        assert_eq!(key.to_bytes()[core::mem::offset_of!(ServiceKey, port)..][..2], [7, 0x5b]);
        let policy = Policy {
            clock_offset_ns: 0x0102_0304_0506_0708,
            window: 0x1122,
            timestamps: 9,
            all: Limit { interval_ns: 5, depth_ns: 6 },
            ..Policy::OPEN
        };
        let bytes = policy.to_bytes();
        let at = |offset: usize| &bytes[offset..];
        assert_eq!(
            at(core::mem::offset_of!(Policy, clock_offset_ns))[..8],
            policy.clock_offset_ns.to_ne_bytes()
        );
        assert_eq!(at(core::mem::offset_of!(Policy, window))[..2], policy.window.to_ne_bytes());
        assert_eq!(at(core::mem::offset_of!(Policy, timestamps))[0], 9);
        assert_eq!(at(core::mem::offset_of!(Policy, all))[..8], 5_u64.to_ne_bytes());
        assert_eq!(Event::from_bytes(&[0; Event::BYTES - 1]), None);
        let mut bytes = [0; Event::BYTES];
        bytes[core::mem::offset_of!(Event, reason)] = 3;
        bytes[core::mem::offset_of!(Event, len)..][..4].copy_from_slice(&60_u32.to_ne_bytes());
        let event = Event::from_bytes(&bytes).unwrap();
        assert_eq!((event.reason, event.len), (3, 60));
    }
}
