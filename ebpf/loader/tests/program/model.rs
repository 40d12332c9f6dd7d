//! The program's tables as plain collections, for the classifier run natively.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use pelton_ebpf_classifier::layout::mapped;
use pelton_ebpf_classifier::{
    Address, Event, Limit, PmtuKey, PmtuValue, Policy, Service, ServiceKey, Tables,
};
use pelton_ebpf_loader::Prefix;

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) services: HashMap<ServiceKey, Service>,
    pub(crate) allowed: HashSet<Prefix>,
    pub(crate) blocked: HashSet<Prefix>,
    pub(crate) policy: Option<Policy>,
    pub(crate) now_ns: u64,
    pub(crate) too_big: RefCell<HashMap<PmtuKey, PmtuValue>>,
    buckets: RefCell<[u64; 2]>,
    prefixes: RefCell<HashMap<Address, u64>>,
}

impl Model {
    pub(crate) fn set_service(&mut self, address: SocketAddr, armed: u32) {
        let key = match address.ip() {
            IpAddr::V4(v4) => mapped(v4.octets()),
            IpAddr::V6(v6) => v6.octets(),
        };
        self.services.insert(ServiceKey::new(key, address.port().to_be_bytes()), Service { armed });
    }
}

fn is_listed(list: &HashSet<Prefix>, v6: bool, source: &Address) -> bool {
    let (address, bits) = if v6 {
        (IpAddr::from(*source), 128)
    } else {
        (IpAddr::from([source[12], source[13], source[14], source[15]]), 32)
    };
    (0..=bits).any(|bits| list.contains(&Prefix::new(address, bits).unwrap()))
}

impl Tables for Model {
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        self.services.get(key).copied()
    }

    fn is_allowed(&self, v6: bool, source: &Address) -> bool {
        is_listed(&self.allowed, v6, source)
    }

    fn is_blocked(&self, v6: bool, source: &Address) -> bool {
        is_listed(&self.blocked, v6, source)
    }

    fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn take_of_prefix(&self, prefix: &Address, limit: &Limit, now_ns: u64) -> bool {
        limit.take(self.prefixes.borrow_mut().entry(*prefix).or_default(), now_ns)
    }

    fn take_of_all(&self, limit: &Limit, now_ns: u64) -> bool {
        limit.take(&mut self.buckets.borrow_mut()[0], now_ns)
    }

    fn take_of_events(&self, limit: &Limit, now_ns: u64) -> bool {
        limit.take(&mut self.buckets.borrow_mut()[1], now_ns)
    }

    fn too_big(&self, key: &PmtuKey, value: &PmtuValue) {
        self.too_big.borrow_mut().insert(*key, *value);
    }

    fn tell(&self, _: Event) {}
}
