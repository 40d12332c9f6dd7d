//! The maps, and the tables they are.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, LruPerCpuHashMap, PerCpuArray, RingBuf, XskMap};
use pelton_ebpf_classifier::layout::{
    ALLOWED_MAX, BLOCKED_MAX, EVENT_RING_BYTES, PMTU_MAX, POLICIES, QUEUES_MAX, SERVICES_MAX, SYN_PREFIXES_MAX,
};
use pelton_ebpf_classifier::{
    Address, Event, Limit, PmtuKey, PmtuValue, Policy, Reason, Scratch, Service, ServiceKey, Tables,
};

/// By receive queue: the socket that has its frames.
#[map]
pub static SOCKETS: XskMap = XskMap::with_max_entries(QUEUES_MAX, 0);

#[map]
static SERVICES: HashMap<ServiceKey, Service> = HashMap::with_max_entries(SERVICES_MAX, 0);

#[map]
static ALLOWED_V4: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(ALLOWED_MAX, BPF_F_NO_PREALLOC);

#[map]
static ALLOWED_V6: LpmTrie<Address, u32> = LpmTrie::with_max_entries(ALLOWED_MAX, BPF_F_NO_PREALLOC);

#[map]
static BLOCKED_V4: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(BLOCKED_MAX, BPF_F_NO_PREALLOC);

#[map]
static BLOCKED_V6: LpmTrie<Address, u32> = LpmTrie::with_max_entries(BLOCKED_MAX, BPF_F_NO_PREALLOC);

/// Buckets of SYNs, by prefix.
#[map]
static SYN_PREFIXES: LruPerCpuHashMap<Address, u64> = LruPerCpuHashMap::with_max_entries(SYN_PREFIXES_MAX, 0);

/// Two buckets: of all SYNs, of events.
#[map]
static BUCKETS: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);
const SYNS: u32 = 0;
const EVENT: u32 = 1;

#[map]
static POLICY: Array<Policy> = Array::with_max_entries(POLICIES, 0);

/// Which of the policies counts.
#[map]
static POLICY_NOW: Array<u32> = Array::with_max_entries(1, 0);

#[map]
static PMTU: LruHashMap<PmtuKey, PmtuValue> = LruHashMap::with_max_entries(PMTU_MAX, 0);

/// By reason.
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Reason::COUNT as u32, 0);

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(EVENT_RING_BYTES, 0);

/// Counts an outcome.
#[inline(always)]
pub fn count(reason: Reason) {
    if let Some(counter) = COUNTERS.get_ptr_mut(reason as u32) {
        // SAFETY: a slot of this CPU's, which a program does not leave while it runs.
        unsafe { *counter += 1 };
    }
}

#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// This CPU's memory to work in.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: a slot of this CPU's; programs do not interrupt each other on one CPU, and this one asks once.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// The maps as tables.
pub struct KernelTables;

impl Tables for KernelTables {
    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        // SAFETY: the value is a word that is written whole; it is copied at once.
        unsafe { SERVICES.get(key) }.copied()
    }

    #[inline(always)]
    fn is_allowed(&self, v6: bool, source: &Address) -> bool {
        contains(v6, source, &ALLOWED_V4, &ALLOWED_V6)
    }

    #[inline(always)]
    fn is_blocked(&self, v6: bool, source: &Address) -> bool {
        contains(v6, source, &BLOCKED_V4, &BLOCKED_V6)
    }

    #[inline(always)]
    fn policy(&self) -> Option<&Policy> {
        POLICY.get(*POLICY_NOW.get(0)?)
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: reads a clock.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn take_of_prefix(&self, prefix: &Address, limit: &Limit, now_ns: u64) -> bool {
        if let Some(bucket) = SYN_PREFIXES.get_ptr_mut(prefix) {
            // SAFETY: a slot of this CPU's.
            return limit.take(unsafe { &mut *bucket }, now_ns);
        }
        let mut bucket = 0;
        let taken = limit.take(&mut bucket, now_ns);
        // It is refused at worst where all slots are busy: the limit for all holds then.
        let _ = SYN_PREFIXES.insert(prefix, bucket, 0);
        taken
    }

    #[inline(always)]
    fn take_of_all(&self, limit: &Limit, now_ns: u64) -> bool {
        take(SYNS, limit, now_ns)
    }

    #[inline(always)]
    fn take_of_events(&self, limit: &Limit, now_ns: u64) -> bool {
        take(EVENT, limit, now_ns)
    }

    #[inline(always)]
    fn too_big(&self, key: &PmtuKey, value: &PmtuValue) {
        let _ = PMTU.insert(key, value, 0);
    }

    #[inline(always)]
    fn tell(&self, event: Event) {
        // A full ring: nobody reads it. What is dropped is counted all the same.
        if let Some(mut place) = EVENTS.reserve::<Event>(0) {
            place.write(event);
            place.submit(0);
        }
    }
}

#[inline(always)]
fn take(bucket: u32, limit: &Limit, now_ns: u64) -> bool {
    match BUCKETS.get_ptr_mut(bucket) {
        // SAFETY: a slot of this CPU's.
        Some(bucket) => limit.take(unsafe { &mut *bucket }, now_ns),
        None => false,
    }
}

#[inline(always)]
fn contains(v6: bool, source: &Address, v4: &LpmTrie<[u8; 4], u32>, six: &LpmTrie<Address, u32>) -> bool {
    if v6 {
        six.get(Key::new(128, *source)).is_some()
    } else {
        v4.get(Key::new(32, [source[12], source[13], source[14], source[15]])).is_some()
    }
}
