//! The ports that our TCP can stand on. Another kind is another variant, its way to be opened, and a line in each of
//! the figures; what drives them does not change.

use std::os::fd::AsFd;

use pelton_base::Mono;
use pelton_packet::{Frame, Port, PortCaps};
use pelton_tap::{TapPort, attach};

use crate::interface::{InterfaceError, InterfaceKind, InterfacePlan, Opened, WaitOn};

/// A queue of a device, of whichever kind.
#[derive(Debug)]
pub(crate) enum DevicePort {
    /// Of a TAP device.
    Tap(TapPort),
}

/// The same for every kind.
macro_rules! each {
    ($device:expr, $port:ident => $then:expr) => {
        match $device {
            DevicePort::Tap($port) => $then,
        }
    };
}

impl DevicePort {
    /// Opens a queue of the interface for each shard.
    pub(crate) fn open(plan: &InterfacePlan, shards: u16) -> Result<Opened, InterfaceError> {
        match plan.kind {
            InterfaceKind::Tap => {
                let attached = attach(&plan.name, shards, plan.frames, plan.mtu)
                    .map_err(|source| InterfaceError::Tap { name: plan.name.clone(), source })?;
                Ok(Opened {
                    ports: attached.ports.into_iter().map(Self::Tap).collect(),
                    mac: attached.mac,
                    mtu: attached.mtu,
                    up: attached.up,
                })
            }
        }
    }

    /// What it is called.
    pub(crate) const fn rung(&self) -> &'static str {
        match self {
            Self::Tap(_) => "TAP",
        }
    }

    /// What becomes readable when there is something to receive; none once nothing can come any more.
    pub(crate) fn wait_on(&self) -> WaitOn<'_> {
        match self {
            Self::Tap(port) => (!port.is_gone()).then(|| port.as_fd()),
        }
    }

    /// What was dropped at the device, by reason.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        match self {
            Self::Tap(port) => port.drops().iter(),
        }
    }

    /// What happened at the device, by name.
    pub(crate) fn happened(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        match self {
            Self::Tap(port) => port.counters().iter(),
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
