//! A loaded program: its services and its sockets.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf, XskMap};
use aya::programs::Xdp;
use aya::{Ebpf, VerifierLogLevel};
use pelton_ebpf_classifier::layout::{self, PmtuKey, PmtuValue, QUEUES_MAX, ServiceKey};

use crate::address::{service_key, socket_from_map};
use crate::attach::Link;
use crate::error::{LoadError, MapError, code};
use crate::lists::List;
use crate::object::OBJECT;
use crate::policy::Policy;

/// How frames lie in the memory of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// Each in one piece. A native driver then refuses an MTU beyond a page.
    InOnePiece,
    /// In several pieces, if they are large. The sockets must take them so.
    InPieces,
}

impl Frames {
    const fn program(self) -> &'static str {
        match self {
            Self::InOnePiece => "pelton_steer",
            Self::InPieces => "pelton_frags",
        }
    }
}

/// What is done with the segments of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// They go to the socket of their queue; where there is none they are dropped.
    Steered,
    /// They are left to the kernel. Routers' words about them are noted all the same.
    Passed,
}

/// The program, loaded once for one interface, with its maps.
pub struct Steering {
    ebpf: Ebpf,
    frames: Frames,
    pub(crate) link: Option<Link>,
    services: HashMap<MapData, [u8; ServiceKey::BYTES], [u8; layout::Service::BYTES]>,
    sockets: XskMap<MapData>,
    policies: Array<MapData, [u8; layout::Policy::BYTES]>,
    policy_now: Array<MapData, u32>,
    allowed: List,
    blocked: List,
    pub(crate) pmtu: HashMap<MapData, [u8; PmtuKey::BYTES], [u8; PmtuValue::BYTES]>,
    pub(crate) counters: PerCpuArray<MapData, u64>,
    pub(crate) events: RingBuf<MapData>,
}

impl Steering {
    /// Loads the program and makes its maps. It is attached to nothing: no service, no socket, all SYNs let through.
    ///
    /// # Errors
    /// No privilege, or a kernel that does not take it.
    pub fn load(frames: Frames) -> Result<Self, LoadError> {
        let mut ebpf = aya::EbpfLoader::new().verifier_log_level(VerifierLogLevel::STATS).load(OBJECT)?;
        program(&mut ebpf, frames)?.load()?;
        let mut map = |name: &str| -> Result<Map, LoadError> {
            ebpf.take_map(name).ok_or_else(|| LoadError::Kernel(format!("the object has no map {name}")))
        };
        let mut policies: Array<_, _> = map("POLICY")?.try_into()?;
        policies.set(0, layout::Policy::OPEN.to_bytes(), 0)?;
        Ok(Self {
            link: None,
            frames,
            services: map("SERVICES")?.try_into()?,
            sockets: map("SOCKETS")?.try_into()?,
            policies,
            policy_now: map("POLICY_NOW")?.try_into()?,
            allowed: List::new("allowed prefixes", map("ALLOWED_V4")?, map("ALLOWED_V6")?)?,
            blocked: List::new("blocked prefixes", map("BLOCKED_V4")?, map("BLOCKED_V6")?)?,
            pmtu: map("PMTU")?.try_into()?,
            counters: map("COUNTERS")?.try_into()?,
            events: map("EVENTS")?.try_into()?,
            ebpf,
        })
    }

    pub(crate) fn program(&mut self) -> &mut Xdp {
        program(&mut self.ebpf, self.frames).expect("it was found when it was loaded")
    }

    /// What is done with segments to an address and port from now on.
    ///
    /// # Errors
    /// [`MapError::Full`] after 1,024 services.
    pub fn set_service(&mut self, address: SocketAddr, service: Service) -> Result<(), MapError> {
        let value = layout::Service { armed: (service == Service::Steered).into() };
        self.services
            .insert(service_key(address).to_bytes(), value.to_bytes(), 0)
            .map_err(|error| MapError::of("services", &error))
    }

    /// Forgets a service: the kernel has its segments again. Whether it was known.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove_service(&mut self, address: SocketAddr) -> Result<bool, MapError> {
        const ENOENT: i32 = 2;
        match self.services.remove(&service_key(address).to_bytes()) {
            Ok(()) => Ok(true),
            Err(error) if code(&error) == Some(ENOENT) => Ok(false),
            Err(error) => Err(MapError::of("services", &error)),
        }
    }

    /// The services, in no order.
    pub fn services(&self) -> impl Iterator<Item = (SocketAddr, Service)> {
        self.services.iter().filter_map(Result::ok).map(|(key, value)| {
            let key = ServiceKey::from_bytes(&key);
            let service = if value == [0; 4] { Service::Passed } else { Service::Steered };
            (socket_from_map(key.address, key.port), service)
        })
    }

    /// The AF_XDP socket that has the frames of a receive queue from now on. It must be bound to this queue of this
    /// device: the kernel drops what it gets from elsewhere.
    ///
    /// The slot is empty again when the socket is closed.
    ///
    /// # Errors
    /// If there is no such slot, or it is no AF_XDP socket.
    pub fn set_socket(&mut self, queue: u32, socket: impl AsFd) -> Result<(), MapError> {
        const EOPNOTSUPP: i32 = 95;
        const ENOTSOCK: i32 = 88;
        if queue >= QUEUES_MAX {
            return Err(MapError::NoSuchQueue(queue));
        }
        self.sockets.set(queue, socket.as_fd().as_raw_fd(), 0).map_err(|error| match code(&error) {
            Some(EOPNOTSUPP | ENOTSOCK) => MapError::NotASocket(queue),
            _ => MapError::of("sockets", &error),
        })
    }

    /// Empties the slot of a receive queue: frames for steered services are dropped there.
    ///
    /// # Errors
    /// If there is no such slot.
    pub fn clear_socket(&mut self, queue: u32) -> Result<(), MapError> {
        const ENOENT: i32 = 2;
        if queue >= QUEUES_MAX {
            return Err(MapError::NoSuchQueue(queue));
        }
        match self.sockets.unset(queue) {
            Err(error) if code(&error) != Some(ENOENT) => Err(MapError::of("sockets", &error)),
            _ => Ok(()),
        }
    }

    /// Sources that neither the block list nor limits touch.
    pub fn allowed(&mut self) -> &mut List {
        &mut self.allowed
    }

    /// Sources whose segments to steered services are dropped. Other traffic of theirs is the kernel's.
    pub fn blocked(&mut self) -> &mut List {
        &mut self.blocked
    }

    /// What is done with SYNs from now on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_policy(&mut self, policy: &Policy) -> Result<(), MapError> {
        let refused = |error| MapError::of("policies", &error);
        // The program reads the one that is not written.
        let next = 1 - self.policy_now.get(&0, 0).map_err(refused)?.min(1);
        self.policies.set(next, policy.to_map().to_bytes(), 0).map_err(refused)?;
        self.policy_now.set(0, next, 0).map_err(refused)
    }
}

fn program(ebpf: &mut Ebpf, frames: Frames) -> Result<&mut Xdp, LoadError> {
    let name = frames.program();
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| LoadError::Kernel(format!("the object has no program {name}")))
}
