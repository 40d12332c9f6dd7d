//! The ports that our TCP can stand on. Another kind is another variant, its way to be opened, and a line in each of
//! the figures; what drives them does not change.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use pelton_afxdp::{Device, XdpPort};
use pelton_base::Mono;
use pelton_packet::{Frame, Port, PortCaps};
use pelton_tap::{TapPort, attach};

use crate::interface::{InterfaceError, InterfaceKind, InterfacePlan, Opened, StackKeys, WaitOn};
use crate::rung::{OnRung, Rung, Site, XdpPlan, climb};
use crate::steering::Answers;

/// The rung of a TAP device.
const TAP: &str = "TAP";

/// A queue of a device, of whichever kind.
#[derive(Debug)]
pub(crate) enum DevicePort {
    /// Of a TAP device.
    Tap(TapPort),
    /// Queues of a device, by AF_XDP.
    Xdp(Box<XdpPort>, Rung),
}

/// The same for every kind.
macro_rules! each {
    ($device:expr, $port:ident => $then:expr) => {
        match $device {
            DevicePort::Tap($port) => $then,
            DevicePort::Xdp($port, _) => $then,
        }
    };
}

impl DevicePort {
    /// Opens queues of the interface for each shard.
    pub(crate) fn open(
        plan: &InterfacePlan,
        listen_ports: &[u16],
        shards: u16,
        keys: StackKeys,
    ) -> Result<Opened, InterfaceError> {
        match &plan.kind {
            InterfaceKind::Tap => Self::open_tap(plan, shards),
            InterfaceKind::Xdp { plan: xdp, required } => {
                let opened = Self::open_xdp(plan, xdp, listen_ports, shards, keys)?;
                if *required && opened.ports.is_empty() {
                    return Err(InterfaceError::NoRung { name: plan.name.clone(), refused: opened.refused });
                }
                Ok(opened)
            }
        }
    }

    fn open_tap(plan: &InterfacePlan, shards: u16) -> Result<Opened, InterfaceError> {
        let attached = attach(&plan.name, shards, plan.frames, plan.mtu)
            .map_err(|source| InterfaceError::Tap { name: plan.name.clone(), source })?;
        Ok(Opened {
            rung: TAP,
            ports: attached.ports.into_iter().map(Self::Tap).collect(),
            mac: attached.mac,
            addresses: plan.addresses.clone(),
            mtu: attached.mtu,
            up: attached.up,
            refused: Vec::new(),
            guard: None,
        })
    }

    fn open_xdp(
        plan: &InterfacePlan,
        xdp: &XdpPlan,
        listen_ports: &[u16],
        shards: u16,
        keys: StackKeys,
    ) -> Result<Opened, InterfaceError> {
        let name = &plan.name;
        let mut device =
            Device::of(name).map_err(|source| InterfaceError::Device { name: name.clone(), source })?;
        if let Some(mtu) = plan.mtu {
            device.mtu = device.mtu.min(mtu.into());
        }
        let addresses = if plan.addresses.is_empty() { &device.addresses } else { &plan.addresses }.clone();
        if addresses.is_empty() {
            return Err(InterfaceError::NoAddress { name: name.clone() });
        }
        let at = |&address: &IpAddr| listen_ports.iter().map(move |&port| SocketAddr::new(address, port));
        let services: Vec<SocketAddr> = addresses.iter().flat_map(at).collect();
        let mtu = u16::try_from(device.mtu).unwrap_or(u16::MAX);
        let answers = Answers {
            secrets: keys.secrets,
            syn_ack: plan.tcp.syn_ack(mtu),
            clock_behind_ns: keys.clock_behind_ns,
        };
        let mut refused = Vec::new();
        let site = Site {
            interface: name,
            device: &device,
            services: &services,
            answers,
            shards,
            frames: plan.frames,
        };
        let on_rung = climb(&site, xdp, &mut refused);
        let (rung, ports, guard) = match on_rung {
            Some(OnRung { rung, ports, guard }) => {
                let ports: Vec<_> = ports.into_iter().map(|port| Self::Xdp(Box::new(port), rung)).collect();
                (ports.first().map_or(rung.name(), Self::rung), ports, Some(guard))
            }
            None => ("kernel sockets", Vec::new(), None),
        };
        Ok(Opened { rung, ports, mac: device.mac, addresses, mtu, up: device.up, refused, guard })
    }

    /// What it is called.
    pub(crate) fn rung(&self) -> &'static str {
        match self {
            Self::Tap(_) => TAP,
            Self::Xdp(port, rung) => rung.name_of(port.is_busy_polled()),
        }
    }

    /// What becomes readable when there is something to receive; none once nothing can come any more.
    pub(crate) fn wait_on(&self) -> WaitOn<'_> {
        match self {
            Self::Tap(port) => (!port.is_gone()).then(|| port.as_fd()),
            Self::Xdp(port, _) => Some(port.as_fd()),
        }
    }

    /// What was dropped at the device, by reason.
    pub(crate) fn dropped(&self) -> Vec<(&'static str, u64)> {
        match self {
            Self::Tap(port) => port.drops().iter().collect(),
            Self::Xdp(port, _) => port.drops().iter().collect(),
        }
    }

    /// What happened at the device, by name.
    pub(crate) fn happened(&self) -> Vec<(&'static str, u64)> {
        match self {
            Self::Tap(port) => port.counters().iter().collect(),
            Self::Xdp(port, _) => port.counters().iter().collect(),
        }
    }
}

impl Port for DevicePort {
    fn caps(&self) -> PortCaps {
        each!(self, port => port.caps())
    }

    #[inline]
    fn take(&mut self) -> Option<Frame> {
        each!(self, port => port.take())
    }

    fn frames_free(&self) -> u32 {
        each!(self, port => port.frames_free())
    }

    #[inline]
    fn put(&mut self, frame: Frame) {
        each!(self, port => port.put(frame));
    }

    #[inline]
    fn receive(&mut self, now: Mono, limit: usize, into: &mut Vec<Frame>) -> usize {
        each!(self, port => port.receive(now, limit, into))
    }

    #[inline]
    fn send(&mut self, now: Mono, frame: Frame) -> Result<(), Frame> {
        each!(self, port => port.send(now, frame))
    }

    #[inline]
    fn flush(&mut self, now: Mono) {
        each!(self, port => port.flush(now));
    }

    fn next_timeout(&self) -> Option<Mono> {
        each!(self, port => port.next_timeout())
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        each!(self, port => port.figures())
    }
}
