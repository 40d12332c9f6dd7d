//! The ways an interface can be served past the kernel by AF_XDP, best first, and the one that is taken.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use pelton_afxdp::{BusyPoll, Device, Hook, OpenError, Pages, Settings, Sharing, XdpPort};

use crate::steering::{Answers, Steered, Steering};

/// Bytes of a small frame's memory that a packet may take: 2048, the kernel's 256 and an Ethernet header less.
const SMALL_MTU: u32 = 2048 - 256 - 22;

/// A way to be served by AF_XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// The program in the driver, frames not copied.
    ZeroCopy,
    /// The program in the driver, frames copied by the kernel.
    Copy,
    /// The program behind the driver. Rarely faster than the kernel's sockets.
    Generic,
}

impl Rung {
    /// As operators see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ZeroCopy => "AF_XDP zero-copy",
            Self::Copy => "AF_XDP copy",
            Self::Generic => "AF_XDP generic",
        }
    }

    /// As operators see it, with the queues polled by the shards.
    pub(crate) const fn name_of(self, busy_polled: bool) -> &'static str {
        match (self, busy_polled) {
            (_, false) => self.name(),
            (Self::ZeroCopy, true) => "AF_XDP zero-copy, busy polling",
            (Self::Copy, true) => "AF_XDP copy, busy polling",
            (Self::Generic, true) => "AF_XDP generic, busy polling",
        }
    }

    const fn hook(self) -> Hook {
        match self {
            Self::ZeroCopy | Self::Copy => Hook::Native,
            Self::Generic => Hook::Generic,
        }
    }

    const fn sharing(self) -> Sharing {
        match self {
            Self::ZeroCopy => Sharing::ZeroCopy,
            Self::Copy | Self::Generic => Sharing::Copy,
        }
    }
}

/// How an interface is to be served by AF_XDP.
#[derive(Clone, Debug)]
pub struct XdpPlan {
    /// The rungs that may be tried, in order.
    pub rungs: Vec<Rung>,
    /// Entries of the fill and receive rings of each queue.
    pub rx_entries: u32,
    /// Entries of the send and completion rings of each shard.
    pub tx_entries: u32,
    /// Which pages frames are in.
    pub pages: Pages,
    /// Whether queues are polled by the shards, instead of by interrupts.
    pub busy_poll: Option<BusyPoll>,
    /// Who brings the frames.
    pub steering: Arc<dyn Steering>,
}

/// A rung that was not taken, or something else that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which.
    pub rung: &'static str,
    /// What was missing, and the way out.
    pub why: String,
}

/// An interface on a rung.
pub(crate) struct OnRung {
    pub(crate) rung: Rung,
    /// One for each shard.
    pub(crate) ports: Vec<XdpPort>,
    pub(crate) guard: Box<dyn Any + Send + Sync>,
}

/// What is to be served.
pub(crate) struct Site<'a> {
    /// Its name.
    pub(crate) interface: &'a str,
    pub(crate) device: &'a Device,
    pub(crate) services: &'a [SocketAddr],
    pub(crate) answers: Answers,
    pub(crate) shards: u16,
    /// The least each shard is to have.
    pub(crate) frames: u32,
}

/// Takes the first rung that holds. `refused` is told about those that do not.
pub(crate) fn climb(site: &Site<'_>, plan: &XdpPlan, refused: &mut Vec<Refused>) -> Option<OnRung> {
    if let Err(why) = fits(site.interface, site.device, site.shards) {
        refused.push(Refused { rung: "AF_XDP", why });
        return None;
    }
    for &rung in &plan.rungs {
        match stand_on(site, plan, rung) {
            Ok(on_rung) => {
                let why = on_rung.ports.iter().find_map(XdpPort::busy_poll_refused).map(no_busy_poll);
                refused.extend(why.map(|why| Refused { rung: BUSY_POLLING, why }));
                return Some(on_rung);
            }
            Err(why) => refused.push(Refused { rung: rung.name(), why }),
        }
    }
    None
}

/// What no rung can do without.
fn fits(interface: &str, device: &Device, shards: u16) -> Result<(), String> {
    if !device.up {
        return Err(OpenError::Down { interface: interface.into() }.to_string());
    }
    if device.queues < u32::from(shards) {
        return Err(format!(
            "`{interface}` has {} receive queues for {shards} shards: `ethtool -L {interface} combined {shards}` (or `rx \
             {shards} tx {shards}`, where they are not combined), or fewer shards; `pelton probe {interface}` says more",
            device.queues
        ));
    }
    Ok(())
}

/// What was asked for besides a rung.
const BUSY_POLLING: &str = "busy polling";

fn no_busy_poll(error: &io::Error) -> String {
    format!(
        "the kernel refuses it: {error}; it takes Linux 5.11 with CONFIG_NET_RX_BUSY_POLL, and CAP_NET_ADMIN for a \
         busy_poll_budget above 64. Interrupts say when there is something to receive"
    )
}

fn stand_on(site: &Site<'_>, plan: &XdpPlan, rung: Rung) -> Result<OnRung, String> {
    let &Site { interface, device, services, answers, shards, frames } = site;
    let mut ports = Vec::new();
    for shard in 0..u32::from(shards) {
        let mut settings = Settings {
            sharing: rung.sharing(),
            frame_bytes: if device.mtu > SMALL_MTU { 4096 } else { 2048 },
            rx_entries: plan.rx_entries,
            tx_entries: plan.tx_entries,
            pages: plan.pages,
            busy_poll: plan.busy_poll,
            mtu: u16::try_from(device.mtu).unwrap_or(u16::MAX),
            ..Settings::new(interface, (shard..device.queues).step_by(usize::from(shards)).collect())
        };
        settings.frames = settings.frame_count().max(frames);
        ports.push(XdpPort::open(&settings).map_err(|error| error.to_string())?);
    }
    let sockets: Vec<(u32, BorrowedFd<'_>)> = ports.iter().flat_map(XdpPort::queues).collect();
    let guard = plan.steering.steer(&Steered {
        interface,
        hook: rung.hook(),
        sockets: &sockets,
        services,
        answers,
    })?;
    for port in &mut ports {
        port.try_out(interface, device.mac).map_err(|error| error.to_string())?;
    }
    Ok(OnRung { rung, ports, guard })
}

#[cfg(test)]
mod tests {
    use pelton_packet::MacAddress;

    use super::*;

    #[test]
    fn what_no_rung_can_do_without_is_said_with_the_way_out() {
        let device = Device {
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            up: true,
            queues: 2,
            addresses: Vec::new(),
        };
        assert_eq!(fits("eth1", &device, 2), Ok(()));
        let why = fits("eth1", &device, 4).unwrap_err();
        assert!(
            why.contains("2 receive queues for 4 shards") && why.contains("ethtool -L eth1 combined 4"),
            "{why}"
        );
        let why = fits("eth1", &Device { up: false, ..device }, 1).unwrap_err();
        assert!(why.contains("ip link set eth1 up"), "{why}");
    }
}
