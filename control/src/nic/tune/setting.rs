//! One thing that can be set: how it is read and how it is written. By files where there are any, else by the driver's
//! ioctl; values are text, as they stand in the plan and in the undo file.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};

use pelton_afxdp::Ethtool;
use pelton_afxdp::ethtool::Coalescing;

use super::super::{Root, interrupt};

/// A setting, of an interface or of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) interface: Option<String>,
    pub(super) what: What,
}

/// What is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Queues,
    RxRing,
    TxRing,
    RxUsecs,
    AdaptiveRx,
    Feature(String),
    Mtu,
    DeferIrqs,
    FlushTimeout,
    /// The cores of an interrupt.
    Irq(u32),
    HugePages,
    ReservedPorts,
}

const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";
const RESERVED_PORTS: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(interface) = &self.interface {
            write!(f, "{interface} ")?;
        }
        f.write_str(&self.word())
    }
}

fn on(value: bool) -> String {
    if value { "on" } else { "off" }.into()
}

impl Setting {
    pub(super) fn of_host(what: What) -> Self {
        Self { interface: None, what }
    }

    pub(super) fn of(interface: &str, what: What) -> Self {
        Self { interface: Some(interface.to_owned()), what }
    }

    /// Its name, as in the undo file.
    pub(super) fn word(&self) -> String {
        match &self.what {
            What::Queues => "queues".into(),
            What::RxRing => "rx-ring".into(),
            What::TxRing => "tx-ring".into(),
            What::RxUsecs => "rx-usecs".into(),
            What::AdaptiveRx => "adaptive-rx".into(),
            What::Feature(name) => format!("feature:{name}"),
            What::Mtu => "mtu".into(),
            What::DeferIrqs => "napi_defer_hard_irqs".into(),
            What::FlushTimeout => "gro_flush_timeout".into(),
            What::Irq(number) => format!("interrupt:{number}"),
            What::HugePages => "vm.nr_hugepages".into(),
            What::ReservedPorts => "net.ipv4.ip_local_reserved_ports".into(),
        }
    }

    /// The setting of a name; none if there is no such.
    pub(super) fn parse(interface: Option<&str>, word: &str) -> Option<Self> {
        let what = match word {
            "queues" => What::Queues,
            "rx-ring" => What::RxRing,
            "tx-ring" => What::TxRing,
            "rx-usecs" => What::RxUsecs,
            "adaptive-rx" => What::AdaptiveRx,
            "mtu" => What::Mtu,
            "napi_defer_hard_irqs" => What::DeferIrqs,
            "gro_flush_timeout" => What::FlushTimeout,
            "vm.nr_hugepages" => What::HugePages,
            "net.ipv4.ip_local_reserved_ports" => What::ReservedPorts,
            _ => match (word.strip_prefix("feature:"), word.strip_prefix("interrupt:")) {
                (Some(name), _) => What::Feature(name.to_owned()),
                (_, Some(number)) => What::Irq(number.parse().ok()?),
                _ => return None,
            },
        };
        let of_host = matches!(what, What::HugePages | What::ReservedPorts);
        let is_name = |name: &str| !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        match interface {
            None if of_host => Some(Self::of_host(what)),
            Some(interface) if !of_host && is_name(interface) => Some(Self::of(interface, what)),
            _ => None,
        }
    }

    /// The file that is it; none for what the driver alone knows.
    fn file(&self) -> Option<String> {
        let of_device = |file: &str| Some(format!("/sys/class/net/{}/{file}", self.interface.as_deref()?));
        match &self.what {
            What::Mtu => of_device("mtu"),
            What::DeferIrqs => of_device("napi_defer_hard_irqs"),
            What::FlushTimeout => of_device("gro_flush_timeout"),
            What::Irq(number) => Some(interrupt::affinity_file(*number)),
            What::HugePages => Some(HUGE_PAGES.into()),
            What::ReservedPorts => Some(RESERVED_PORTS.into()),
            _ => None,
        }
    }

    fn device(&self, root: &Root) -> Result<Ethtool, String> {
        if !root.is_system() {
            return Err("it is the driver's, not a file".into());
        }
        Ethtool::of(self.interface.as_deref().unwrap_or_default()).map_err(|error| error.to_string())
    }

    /// What it is now.
    ///
    /// # Errors
    /// Why that cannot be known.
    pub(super) fn read(&self, root: &Root) -> Result<String, String> {
        if let Some(file) = self.file() {
            return root.read(&file).ok_or_else(|| format!("{file} cannot be read"));
        }
        let device = self.device(root)?;
        let read = || -> io::Result<String> {
            Ok(match &self.what {
                What::Queues => device.channels()?.receiving().to_string(),
                What::RxRing => device.rings()?.rx.to_string(),
                What::TxRing => device.rings()?.tx.to_string(),
                What::RxUsecs => device.coalescing()?.rx_usecs.to_string(),
                What::AdaptiveRx => on(device.coalescing()?.adaptive_rx),
                What::Feature(name) => {
                    let features = device.features()?;
                    let feature = features.iter().find(|feature| feature.name == *name);
                    on(feature.ok_or(io::ErrorKind::NotFound)?.on)
                }
                _ => return Err(io::ErrorKind::Unsupported.into()),
            })
        };
        read().map_err(|error| format!("the driver does not say: {error}"))
    }

    /// Sets it.
    ///
    /// # Errors
    /// Why not, with the way out.
    pub(super) fn write(&self, root: &Root, value: &str) -> Result<(), String> {
        let said = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => "not permitted: run as root".to_owned(),
            _ => error.to_string(),
        };
        if let Some(file) = self.file() {
            // Never makes a file: what is not there is not a setting of this kernel.
            let written = OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(root.path(&file))
                .and_then(|mut file| file.write_all(format!("{value}\n").as_bytes()));
            return written.map_err(said);
        }
        let device = self.device(root)?;
        let number = || value.parse::<u32>().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        let set = || -> io::Result<()> {
            match &self.what {
                What::Queues => device.set_receiving(number()?),
                What::RxRing => device.set_rings(number()?, device.rings()?.tx),
                What::TxRing => device.set_rings(device.rings()?.rx, number()?),
                What::RxUsecs => {
                    device.set_coalescing(Coalescing { rx_usecs: number()?, ..device.coalescing()? })
                }
                What::AdaptiveRx => {
                    device.set_coalescing(Coalescing { adaptive_rx: value == "on", ..device.coalescing()? })
                }
                What::Feature(name) => device.set_feature(name, value == "on"),
                _ => Err(io::ErrorKind::Unsupported.into()),
            }
        };
        set().map_err(said)
    }
}
