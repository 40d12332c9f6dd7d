//! Network interfaces that are served past the kernel: what is planned for one, and how it is opened.

use std::any::Any;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use pelton_afxdp::OpenError;
use pelton_packet::{Interface, MacAddress};
use pelton_sockets::Bind;
use pelton_tap::TapError;
use pelton_tcp::{Relays, Secrets, relays};

use crate::device::DevicePort;
use crate::rung::{Refused, XdpPlan};

/// How an interface is served.
#[derive(Clone, Debug)]
pub enum InterfaceKind {
    /// A TAP device: frames come from and go to the kernel of this host, at the other end of a link of its own.
    Tap,
    /// By AF_XDP, on the best rung that holds; by the kernel's sockets if none does, unless that is ruled out.
    Xdp {
        /// How.
        plan: XdpPlan,
        /// Whether the kernel's sockets will not do.
        required: bool,
    },
}

/// An interface to be served.
#[derive(Clone, Debug)]
pub struct InterfacePlan {
    /// Its name.
    pub name: String,
    /// How it is served.
    pub kind: InterfaceKind,
    /// Our addresses on it; empty for those the kernel has there (AF_XDP).
    pub addresses: Vec<IpAddr>,
    /// The ports that are listened on; empty for those of the kernel's listeners.
    pub listen_ports: Vec<u16>,
    /// The biggest IP packet, if it is to be less than the device's.
    pub mtu: Option<u16>,
    /// Frames of each shard.
    pub frames: u32,
    /// What the stacks are told.
    pub tcp: pelton_tcp::Settings,
}

/// An interface that is served, for the log.
#[derive(Clone, Debug)]
pub struct Served {
    /// Its name.
    pub name: Arc<str>,
    /// How it is served.
    pub rung: &'static str,
    /// Whether frames of its are steered past the kernel, so that sockets of this host at its ports get none.
    pub is_steered: bool,
    /// The rungs above that did not hold.
    pub refused: Vec<Refused>,
    /// Our Ethernet address.
    pub mac: MacAddress,
    /// Our addresses.
    pub addresses: Vec<IpAddr>,
    /// The ports listened on.
    pub listen_ports: Vec<u16>,
    /// The biggest IP packet.
    pub mtu: u16,
    /// Whether it was up when it was opened.
    pub up: bool,
}

/// An interface cannot be served.
#[derive(Debug)]
pub enum InterfaceError {
    /// The TAP device cannot be used.
    Tap {
        /// The name of the interface.
        name: String,
        /// Why.
        source: TapError,
    },
    /// It cannot be asked about.
    Device {
        /// The name of the interface.
        name: String,
        /// Why.
        source: OpenError,
    },
    /// No rung holds, and the kernel's sockets will not do.
    NoRung {
        /// The name of the interface.
        name: String,
        /// What was tried.
        refused: Vec<Refused>,
    },
    /// It has no address.
    NoAddress {
        /// The name of the interface.
        name: String,
    },
    /// No port is listened on.
    NoPort {
        /// The name of the interface.
        name: String,
    },
}

impl std::fmt::Display for InterfaceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tap { name, source } => write!(f, "cannot serve interface {name}: {source}"),
            Self::Device { name, source } => write!(f, "cannot serve interface {name}: {source}"),
            Self::NoRung { name, refused } => {
                write!(f, "cannot serve interface {name} past the kernel, which is required")?;
                refused.iter().try_for_each(|refused| write!(f, "; {}: {}", refused.rung, refused.why))
            }
            Self::NoAddress { name } => {
                write!(
                    f,
                    "cannot serve interface {name}: it has no address (`ip addr add ADDRESS dev {name}`)"
                )
            }
            Self::NoPort { name } => write!(
                f,
                "cannot serve interface {name}: no port is known in advance to listen on; give it ports = [1883]"
            ),
        }
    }
}

impl std::error::Error for InterfaceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Tap { source, .. } => Some(source),
            Self::Device { source, .. } => Some(source),
            Self::NoRung { .. } | Self::NoAddress { .. } | Self::NoPort { .. } => None,
        }
    }
}

/// What a device gives when it is opened.
pub(crate) struct Opened {
    /// What it is called.
    pub(crate) rung: &'static str,
    /// A queue for each shard; none if the kernel's sockets serve it.
    pub(crate) ports: Vec<DevicePort>,
    pub(crate) mac: MacAddress,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) mtu: u16,
    pub(crate) up: bool,
    pub(crate) refused: Vec<Refused>,
    /// What keeps frames coming.
    pub(crate) guard: Option<Guard>,
}

/// Keeps an interface's frames coming to its sockets until it is dropped.
pub(crate) type Guard = Box<dyn Any + Send + Sync>;

/// What one shard's stack on an interface is made from.
pub(crate) struct DeviceParts {
    pub(crate) name: Arc<str>,
    pub(crate) port: DevicePort,
    pub(crate) interface: Interface,
    /// Ports listened on, and the number of the listener that each stands for.
    pub(crate) listeners: Vec<(u16, u16)>,
    pub(crate) relays: Option<Relays>,
    pub(crate) settings: pelton_tcp::Settings,
}

/// What all stacks of a process have alike, so that a cookie of one is known to all, and to the XDP program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StackKeys {
    pub(crate) secrets: Secrets,
    /// What the shards' clock is behind the system's.
    pub(crate) clock_behind_ns: u64,
}

/// An interface that was opened.
pub(crate) struct OpenInterface {
    /// The parts of every shard's stack; none if the kernel's sockets serve it.
    pub(crate) parts: Vec<DeviceParts>,
    pub(crate) served: Served,
    pub(crate) guard: Option<Guard>,
}

/// Opens an interface.
pub(crate) fn open(
    plan: &InterfacePlan,
    binds: &[Bind],
    shards: u16,
    keys: StackKeys,
) -> Result<OpenInterface, InterfaceError> {
    let listeners = listeners(plan, binds);
    if listeners.is_empty() {
        return Err(InterfaceError::NoPort { name: plan.name.clone() });
    }
    let listen_ports: Vec<u16> = listeners.iter().map(|&(port, _)| port).collect();
    let Opened { rung, ports, mac, addresses, mtu, up, refused, guard } =
        DevicePort::open(plan, &listen_ports, shards, keys)?;
    let is_steered = guard.is_some();
    let name: Arc<str> = plan.name.as_str().into();
    let mut relays = relays(shards).into_iter();
    let parts = ports.into_iter().map(|port| DeviceParts {
        name: name.clone(),
        port,
        interface: Interface { mac, addresses: addresses.clone() },
        listeners: listeners.clone(),
        // A shard that is alone has nobody to hand anything to.
        relays: relays.next().filter(|_| shards > 1),
        settings: pelton_tcp::Settings { secrets: Some(keys.secrets), ..plan.tcp.clone() },
    });
    let parts = parts.collect();
    let served = Served { name, rung, is_steered, refused, mac, addresses, listen_ports, mtu, up };
    Ok(OpenInterface { parts, served, guard })
}

/// The ports of an interface. One that a kernel's listener has too stands for that listener; others come behind.
fn listeners(plan: &InterfacePlan, binds: &[Bind]) -> Vec<(u16, u16)> {
    let mut listeners: Vec<(u16, u16)> = Vec::new();
    let known = |port: u16| binds.iter().position(|bind| bind.address.port() == port);
    let bound = binds.iter().map(|bind| bind.address.port()).filter(|_| plan.listen_ports.is_empty());
    for port in plan.listen_ports.iter().copied().chain(bound) {
        if port != 0 && listeners.iter().all(|&(other, _)| other != port) {
            let number = known(port).unwrap_or(binds.len() + listeners.len());
            listeners.push((port, number as u16));
        }
    }
    listeners
}

/// What a shard waits on for a device.
pub(crate) type WaitOn<'a> = Option<BorrowedFd<'a>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(listen_ports: &[u16]) -> InterfacePlan {
        InterfacePlan {
            name: "tap0".into(),
            kind: InterfaceKind::Tap,
            addresses: vec![[10, 0, 0, 2].into()],
            listen_ports: listen_ports.to_vec(),
            mtu: None,
            frames: 8,
            tcp: pelton_tcp::Settings::default(),
        }
    }

    #[test]
    fn an_interface_listens_where_the_kernel_does_or_where_it_is_told() {
        let bind = |text: &str| Bind { address: text.parse().expect("an address") };
        let binds = [bind("0.0.0.0:1883"), bind("[::]:1883"), bind("127.0.0.1:1884")];
        assert_eq!(listeners(&plan(&[]), &binds), [(1883, 0), (1884, 2)]);
        assert_eq!(listeners(&plan(&[1884, 9, 1884]), &binds), [(1884, 2), (9, 4)]);
        // A port that the system chooses is not known yet.
        let key = pelton_base::HashKey::new(1, 2);
        let keys = StackKeys { secrets: Secrets { cookie: key, stamps: key }, clock_behind_ns: 0 };
        let opened = open(&plan(&[]), &[bind("127.0.0.1:0")], 1, keys);
        assert!(matches!(opened.err(), Some(InterfaceError::NoPort { .. })));
    }
}
