//! What is known of one interface: from `/sys/class/net`, from its driver, and from netlink. Whatever cannot be asked is
//! left open, so that an unprivileged user sees as much as there is to see.

use pelton_afxdp::Ethtool;
use pelton_afxdp::ethtool::{Channels, Coalescing, Feature, Rings};
use pelton_ebpf_loader::Attached;

use super::Root;
use super::netdev::{XdpFeatures, xdp_features};
use super::profile::Profile;

/// ARPHRD_ETHER.
const ETHERNET: u32 = 1;
/// The most queues looked at.
const QUEUES_MAX: usize = 1024;

/// An interface.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) index: u32,
    /// Its link is Ethernet.
    pub(super) ethernet: bool,
    /// The driver's name; empty for what has none.
    pub(super) driver: String,
    /// Its place on its bus; empty for what has none.
    pub(super) bus: String,
    pub(super) mac: String,
    pub(super) mtu: u32,
    pub(super) up: bool,
    /// Whether there is a link; none while it is down.
    pub(super) carrier: Option<bool>,
    /// Mbit/s, if the driver says.
    pub(super) speed: Option<u32>,
    /// The memory node it is near to, if there are several.
    pub(super) numa_node: Option<u32>,
    pub(super) rx_queues: u32,
    pub(super) tx_queues: u32,
    pub(super) channels: Option<Channels>,
    pub(super) rings: Option<Rings>,
    pub(super) coalescing: Option<Coalescing>,
    pub(super) features: Vec<Feature>,
    /// What XDP can do there; none if this kernel does not say.
    pub(super) xdp: Option<XdpFeatures>,
    /// The program it has.
    pub(super) attached: Option<Attached>,
    /// What is advised for its like.
    pub(super) profile: Profile,
}

/// The interfaces there are.
pub(super) fn names(root: &Root) -> Vec<String> {
    let mut names = root.list("/sys/class/net");
    // `bonding_masters` is a file, no interface.
    names.retain(|name| root.path(&format!("/sys/class/net/{name}/ifindex")).exists());
    names
}

impl Device {
    /// Looks at an interface.
    ///
    /// # Errors
    /// There is none of that name; said with the way out.
    pub(super) fn of(root: &Root, name: &str) -> Result<Self, String> {
        let at = |file: &str| format!("/sys/class/net/{name}/{file}");
        let number = |file: &str| root.read(&at(file)).and_then(|text| text.parse::<u32>().ok());
        let missing = || format!("there is no interface `{name}` here: `ip link` lists those there are");
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(missing());
        }
        let index = number("ifindex").ok_or_else(missing)?;
        let flags = root.read(&at("flags")).unwrap_or_default();
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or(0);
        let queues = |kind: &str| {
            let all = root.list(&at("queues"));
            all.iter().take(QUEUES_MAX).filter(|queue| queue.starts_with(kind)).count() as u32
        };
        let asked = root.is_system().then(|| Ethtool::of(name).ok()).flatten();
        let said = asked.as_ref().and_then(|device| device.driver().ok());
        let [driver, _, bus] = said.unwrap_or_else(|| {
            let module = root.link(&at("device/driver")).unwrap_or_default();
            [module, String::new(), root.link(&at("device")).unwrap_or_default()]
        });
        let channels = asked.as_ref().and_then(|device| device.channels().ok());
        let system = root.is_system();
        Ok(Self {
            name: name.to_owned(),
            index,
            ethernet: number("type") == Some(ETHERNET),
            profile: Profile::of_driver(&driver),
            // The bus address of a virtio device names its parent; interrupts are named after the device itself.
            bus: root.link(&at("device")).unwrap_or(bus),
            driver,
            mac: root.read(&at("address")).unwrap_or_default(),
            mtu: number("mtu").unwrap_or(0),
            up: flags & 1 == 1,
            carrier: number("carrier").map(|carrier| carrier == 1),
            speed: number("speed").filter(|&speed| speed != u32::MAX),
            numa_node: number("device/numa_node"),
            rx_queues: channels.map_or_else(|| queues("rx-"), |channels| channels.receiving()).max(1),
            tx_queues: queues("tx-").max(1),
            channels,
            rings: asked.as_ref().and_then(|device| device.rings().ok()).filter(|rings| rings.rx_max != 0),
            coalescing: asked.as_ref().and_then(|device| device.coalescing().ok()),
            features: asked.and_then(|device| device.features().ok()).unwrap_or_default(),
            xdp: if system { xdp_features(index).unwrap_or_default() } else { None },
            attached: if system { pelton_ebpf_loader::attached(name).unwrap_or_default() } else { None },
        })
    }
}
