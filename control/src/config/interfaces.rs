//! Interfaces served past the kernel: one `[[interface]]` table each.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use pelton_ebpf_loader::Prefix;
use toml::Spanned;
use toml::de::DeValue;

use super::nearest::nearest;
use super::value::{Wrong, quoted, shown};

/// The name of the tables.
pub(crate) const NAME: &str = "interface";

/// What they are about.
pub(crate) const HELP: &str = "Network interfaces that are served past the kernel, by the broker's own TCP; one table each, in the file alone. \
     None by default: then the kernel's sockets serve everything. They go on serving loopback and all other interfaces. \
     `--interface` adds one.";

/// The most that may be configured.
const INTERFACES_MAX: usize = 16;
/// The fewest and most frames of one shard.
const FRAMES: (u32, u32) = (256, 65_536);
/// The fewest and most entries of a ring.
const RING: (u32, u32) = (256, 32_768);
/// The longest poll of a queue.
const BUSY_POLL_US_MAX: u32 = 10_000;
/// The fewest and most packets of one.
const BUSY_POLL_BUDGET: (u16, u16) = (1, 1_024);
/// The highest limit of SYNs a second.
const RATE_MAX: u32 = 100_000_000;
/// The smallest and largest MTU; 0 for that of the interface.
const MTU: (u16, u16) = (576, 9_000);

/// A key of such a table.
pub(crate) struct TableKey {
    /// Its name.
    pub(crate) name: &'static str,
    /// Whether it must be there.
    must: bool,
    /// What it takes.
    pub(crate) allowed: &'static str,
    /// Its default, as TOML; empty if it must be there.
    pub(crate) default: &'static str,
    /// What it means.
    pub(crate) help: &'static str,
}

/// The keys, in the order they are written.
pub(crate) const KEYS: [TableKey; 15] = [
    TableKey {
        name: "name",
        must: true,
        allowed: "the name of an interface, at most 15 bytes",
        default: "",
        help: "The interface, as `ip link` shows it.",
    },
    TableKey {
        name: "mode",
        must: false,
        allowed: "\"auto\", \"zero-copy\", \"copy\", \"generic\" or \"tap\"",
        default: "\"auto\"",
        help: "How frames come and go. `auto`: by AF_XDP, without copies if the driver can, else with; the log and `pelton \
               status` say which it is and why not better. `zero-copy` and `copy`: that one alone. `generic`: by AF_XDP \
               behind the driver, which works everywhere and is rarely faster than the kernel's sockets. `tap`: by a TAP \
               device, which must be there (`ip tuntap add`); the kernel of this host is at the other end of its link. It \
               works everywhere and is slower than the kernel's own sockets.",
    },
    TableKey {
        name: "require",
        must: false,
        allowed: "true or false",
        default: "false",
        help: "Whether to refuse to start where `mode` cannot be had. Else the kernel's sockets serve the interface.",
    },
    TableKey {
        name: "addresses",
        must: false,
        allowed: "a list of \"ADDRESS/PREFIX\", IPv4 and IPv6",
        default: "[]",
        help: "The broker's addresses there. By AF_XDP: addresses that the kernel has; empty for all of those. Mode `tap` \
               needs one at least, none that the kernel has; ARP, neighbour solicitations and pings for it are answered.",
    },
    TableKey {
        name: "ports",
        must: false,
        allowed: "a list of whole numbers from 1 to 65535",
        default: "[]",
        help: "The TCP ports served; empty for those of `[listen] tcp`.",
    },
    TableKey {
        name: "mtu",
        must: false,
        allowed: "0, or a whole number from 576 to 9000",
        default: "0",
        help: "The largest IP packet in bytes, if it is to be less than the interface's; 0 for that.",
    },
    TableKey {
        name: "frames",
        must: false,
        allowed: "a whole number from 256 to 65536",
        default: "4096",
        help: "Frames of each shard, for what has come and what is to go. A frame holds a packet of the MTU. By AF_XDP, \
               at least as many as its rings hold.",
    },
    TableKey {
        name: "ring_entries",
        must: false,
        allowed: "a power of two from 256 to 32768",
        default: "4096",
        help: "Entries of each ring of a receive queue (AF_XDP).",
    },
    TableKey {
        name: "busy_poll_us",
        must: false,
        allowed: "a whole number up to 10000",
        default: "0",
        help: "How long a shard may poll a receive queue in one call when it looks there, in microseconds, instead of \
               waiting for the interrupt of the card; 0 for never (AF_XDP). It saves what interrupts cost where a core is \
               a shard's alone, with `[shards] idle_spin_us`, and where the interface is told to hold its interrupts back: \
               `napi_defer_hard_irqs` 2 and `gro_flush_timeout` 200000 in `/sys/class/net/NAME/`. A veth pair has none to \
               save. The log says if the kernel refuses it, and `pelton status` that queues are polled.",
    },
    TableKey {
        name: "busy_poll_budget",
        must: false,
        allowed: "a whole number from 1 to 1024",
        default: "64",
        help: "The most packets that such a call takes. More than 64 take CAP_NET_ADMIN.",
    },
    TableKey {
        name: "syns_per_second",
        must: false,
        allowed: "a whole number up to 100000000",
        default: "50000",
        help: "New connections that are let through to the shards by each CPU that receives, a second; 0 for no limit. \
               Beyond, the XDP program answers them itself with SYN cookies, and they cost the shards nothing until the \
               client has answered (AF_XDP).",
    },
    TableKey {
        name: "syns_per_prefix",
        must: false,
        allowed: "a whole number up to 100000000",
        default: "0",
        help: "New connections from one /24 (IPv4) or /56 (IPv6) by each CPU that receives, a second; 0 for no limit. \
               Beyond, they are dropped (AF_XDP).",
    },
    TableKey {
        name: "block",
        must: false,
        allowed: "a list of \"PREFIX/LENGTH\", IPv4 and IPv6",
        default: "[]",
        help: "Whose segments for the broker are dropped by the XDP program, before anything is allocated for them; other \
               traffic of theirs is the kernel's as before (AF_XDP).",
    },
    TableKey {
        name: "allow",
        must: false,
        allowed: "a list of \"PREFIX/LENGTH\", IPv4 and IPv6",
        default: "[]",
        help: "Whom neither `block` nor the limits of SYNs touch (AF_XDP).",
    },
    TableKey {
        name: "on_exit",
        must: false,
        allowed: "\"detach\" or \"hold\"",
        default: "\"detach\"",
        help: "What becomes of the XDP program when the process ends, in whatever way. `detach`: it goes too, and the kernel \
               resets what is still open. `hold`: it stays and drops what was the broker's, so that clients wait and send \
               again until the next process takes its place; `pelton xdp detach` ends it. It needs /sys/fs/bpf.",
    },
];

/// How frames of an interface come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By AF_XDP, the best that can be had.
    Auto,
    /// By AF_XDP, without copies.
    ZeroCopy,
    /// By AF_XDP, with copies.
    Copy,
    /// By AF_XDP behind the driver.
    Generic,
    /// By a TAP device.
    Tap,
}

impl Mode {
    const ALL: [Self; 5] = [Self::Auto, Self::ZeroCopy, Self::Copy, Self::Generic, Self::Tap];

    fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ZeroCopy => "zero-copy",
            Self::Copy => "copy",
            Self::Generic => "generic",
            Self::Tap => "tap",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.word() == word)
    }
}

/// An address and how much of it names the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
            Some((address.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok().filter(|_| digits)?))
        });
        let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
        let Some((address, prefix)) = parsed.filter(|&(address, prefix)| prefix <= bits(address)) else {
            return Err(format!(
                "{} is no \"ADDRESS/PREFIX\", as 192.0.2.7/24 or 2001:db8::7/64",
                quoted(text)
            ));
        };
        let of_host = match address {
            IpAddr::V4(v4) => {
                let host = v4.to_bits() & u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
                let all = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
                // RFC 3021: networks of two addresses have no others.
                (prefix >= 31 || (host != 0 && host != all))
                    && !v4.is_multicast()
                    && !v4.is_loopback()
                    && v4 != Ipv4Addr::BROADCAST
                    && v4 != Ipv4Addr::UNSPECIFIED
            }
            IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_loopback() && v6 != Ipv6Addr::UNSPECIFIED,
        };
        if !of_host {
            return Err(format!("{text} is not the address of a host in its network"));
        }
        Ok(Self { address, prefix })
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) addresses: Vec<Cidr>,
    pub(crate) ports: Vec<u16>,
    /// 0 for that of the interface.
    pub(crate) mtu: u16,
    pub(crate) frames: u32,
    pub(crate) ring_entries: u32,
    /// 0 for no polling.
    pub(crate) busy_poll_us: u32,
    pub(crate) busy_poll_budget: u16,
    /// The kernel's sockets will not do.
    pub(crate) require: bool,
    /// 0 for no limit.
    pub(crate) syns_per_second: u32,
    /// 0 for no limit.
    pub(crate) syns_per_prefix: u32,
    /// Whose segments are dropped.
    pub(crate) block: Vec<Prefix>,
    /// Whom nothing of that touches.
    pub(crate) allow: Vec<Prefix>,
    /// The XDP program outlives the process.
    pub(crate) hold: bool,
}

impl Interface {
    fn new(name: &str, mode: Mode) -> Self {
        Self {
            name: name.into(),
            mode,
            addresses: Vec::new(),
            ports: Vec::new(),
            mtu: 0,
            frames: 4_096,
            ring_entries: 4_096,
            busy_poll_us: 0,
            busy_poll_budget: 64,
            require: false,
            syns_per_second: 50_000,
            syns_per_prefix: 0,
            block: Vec::new(),
            allow: Vec::new(),
            hold: false,
        }
    }
}

/// `NAME`, `MODE:NAME`, or `MODE:NAME=ADDRESS/PREFIX,...`, as on the command line.
impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, addresses) = text.split_once('=').unwrap_or((text, ""));
        let (mode, name) = place.split_once(':').unwrap_or((Mode::Auto.word(), place));
        let mode = Mode::of(mode).ok_or_else(|| {
            let words = Mode::ALL.map(Mode::word).join(", ");
            format!("there is no mode {}, only {words}", quoted(mode))
        })?;
        if !is_name(name) {
            return Err(format!("{} is no name of an interface", quoted(name)));
        }
        let mut interface = Self::new(name, mode);
        for address in addresses.split(',').filter(|address| !address.is_empty()) {
            interface.addresses.push(address.parse()?);
        }
        Ok(interface)
    }
}

/// Adds an interface of the command line. One that the file names too gets from it what is not said here.
pub(crate) fn add(interfaces: &mut Vec<Interface>, named: &Interface) {
    match interfaces.iter_mut().find(|known| known.name == named.name) {
        Some(known) => {
            known.mode = named.mode;
            known.require |= named.require;
            if !named.addresses.is_empty() {
                known.addresses.clone_from(&named.addresses);
            }
        }
        None => interfaces.push(named.clone()),
    }
}

/// Whether an interface can have this name and a topic can hold it.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !"/%+#=:,".contains(c);
    (1..=15).contains(&name.len()) && name.chars().all(plain) && name != "." && name != ".."
}

/// Reads all tables.
pub(crate) fn read(value: &Spanned<DeValue<'_>>) -> Result<Vec<Interface>, Vec<Wrong>> {
    let DeValue::Array(tables) = value.get_ref() else {
        return Err(vec![(value.span(), format!("write [[{NAME}]]: there may be several"))]);
    };
    let mut interfaces = Vec::new();
    let mut wrongs = Vec::new();
    for table in tables.iter() {
        match read_one(table) {
            Ok(interface) => interfaces.push(interface),
            Err(wrong) => wrongs.extend(wrong),
        }
    }
    if wrongs.is_empty() { Ok(interfaces) } else { Err(wrongs) }
}

fn read_one(value: &Spanned<DeValue<'_>>) -> Result<Interface, Vec<Wrong>> {
    let DeValue::Table(table) = value.get_ref() else {
        return Err(vec![(value.span(), format!("{} is no [[{NAME}]] table", shown(value)))]);
    };
    let mut interface = Interface::new("", Mode::Auto);
    let mut wrongs = Vec::new();
    for key in &KEYS {
        match table.get(key.name) {
            Some(item) => {
                if let Err(mut wrong) = set(&mut interface, key, item) {
                    wrongs.append(&mut wrong);
                }
            }
            None if key.must => {
                wrongs.push((value.span(), format!("[[{NAME}]] needs `{}`: {}", key.name, key.allowed)));
            }
            None => {}
        }
    }
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        if KEYS.iter().all(|known| known.name != name) {
            let near = nearest(name, KEYS.iter().map(|known| known.name));
            let advice = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            wrongs.push((key.span(), format!("unknown key `{name}` in [[{NAME}]]{advice}")));
        }
    }
    if wrongs.is_empty() { Ok(interface) } else { Err(wrongs) }
}

/// Sets one key of an interface.
fn set(interface: &mut Interface, key: &TableKey, item: &Spanned<DeValue<'_>>) -> Result<(), Vec<Wrong>> {
    let wrong = |item: &Spanned<DeValue<'_>>| {
        vec![(item.span(), format!("`{}`: {} is not allowed, only {}", key.name, shown(item), key.allowed))]
    };
    let text = item.get_ref().as_str();
    let list = || item.get_ref().as_array().ok_or_else(|| wrong(item));
    match key.name {
        "name" => interface.name = text.filter(|name| is_name(name)).ok_or_else(|| wrong(item))?.into(),
        "mode" => interface.mode = text.and_then(Mode::of).ok_or_else(|| wrong(item))?,
        "addresses" => {
            for item in list()?.iter() {
                let text = item.get_ref().as_str().ok_or_else(|| wrong(item))?;
                let address = text.parse::<Cidr>();
                let said = |said| vec![(item.span(), format!("`{}`: {said}", key.name))];
                interface.addresses.push(address.map_err(said)?);
            }
        }
        "ports" => {
            for item in list()?.iter() {
                let port = number(item).and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0);
                interface.ports.push(port.ok_or_else(|| wrong(item))?);
            }
        }
        "mtu" => {
            let allowed = |&mtu: &u16| mtu == 0 || (MTU.0..=MTU.1).contains(&mtu);
            let mtu = number(item).and_then(|mtu| u16::try_from(mtu).ok()).filter(allowed);
            interface.mtu = mtu.ok_or_else(|| wrong(item))?;
        }
        "frames" => {
            let frames = number(item).and_then(|frames| u32::try_from(frames).ok());
            let allowed = |frames: &u32| (FRAMES.0..=FRAMES.1).contains(frames);
            interface.frames = frames.filter(allowed).ok_or_else(|| wrong(item))?;
        }
        "ring_entries" => {
            let entries = number(item).and_then(|entries| u32::try_from(entries).ok());
            let allowed = |entries: &u32| entries.is_power_of_two() && (RING.0..=RING.1).contains(entries);
            interface.ring_entries = entries.filter(allowed).ok_or_else(|| wrong(item))?;
        }
        "busy_poll_us" => {
            let us = number(item).and_then(|us| u32::try_from(us).ok()).filter(|&us| us <= BUSY_POLL_US_MAX);
            interface.busy_poll_us = us.ok_or_else(|| wrong(item))?;
        }
        "busy_poll_budget" => {
            let budget = number(item).and_then(|budget| u16::try_from(budget).ok());
            let allowed = |budget: &u16| (BUSY_POLL_BUDGET.0..=BUSY_POLL_BUDGET.1).contains(budget);
            interface.busy_poll_budget = budget.filter(allowed).ok_or_else(|| wrong(item))?;
        }
        "syns_per_second" => interface.syns_per_second = rate(item).ok_or_else(|| wrong(item))?,
        "syns_per_prefix" => interface.syns_per_prefix = rate(item).ok_or_else(|| wrong(item))?,
        "block" => interface.block = prefixes(key, item)?,
        "allow" => interface.allow = prefixes(key, item)?,
        "require" => interface.require = item.get_ref().as_bool().ok_or_else(|| wrong(item))?,
        "on_exit" => {
            interface.hold = match text {
                Some("detach") => false,
                Some("hold") => true,
                _ => return Err(wrong(item)),
            }
        }
        other => unreachable!("`{other}` is read where it is declared"),
    }
    Ok(())
}

fn prefixes(key: &TableKey, item: &Spanned<DeValue<'_>>) -> Result<Vec<Prefix>, Vec<Wrong>> {
    let wrong =
        |item: &Spanned<DeValue<'_>>, said: String| vec![(item.span(), format!("`{}`: {said}", key.name))];
    let not_allowed = |item: &Spanned<DeValue<'_>>| {
        wrong(item, format!("{} is not allowed, only {}", shown(item), key.allowed))
    };
    let list = item.get_ref().as_array().ok_or_else(|| not_allowed(item))?;
    let one = |item: &Spanned<DeValue<'_>>| {
        let text = item.get_ref().as_str().ok_or_else(|| not_allowed(item))?;
        text.parse::<Prefix>().map_err(|error| wrong(item, format!("{}: {error}", quoted(text))))
    };
    list.iter().map(one).collect()
}

fn rate(item: &Spanned<DeValue<'_>>) -> Option<u32> {
    number(item).and_then(|rate| u32::try_from(rate).ok()).filter(|&rate| rate <= RATE_MAX)
}

fn number(item: &Spanned<DeValue<'_>>) -> Option<u64> {
    let integer = item.get_ref().as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// What is each allowed but does not go together: the interface, and what is wrong.
pub(crate) fn contradictions(interfaces: &[Interface]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut add = |name: &str, text: String| found.push((format!("[[{NAME}]] {name}"), text));
    if interfaces.len() > INTERFACES_MAX {
        add("", format!("{} interfaces, at most {INTERFACES_MAX} are served", interfaces.len()));
    }
    for (i, Interface { name, mode, addresses, .. }) in interfaces.iter().enumerate() {
        if interfaces[..i].iter().any(|other| other.name == *name) {
            add(name, "it is there twice".into());
        }
        if *mode == Mode::Tap && addresses.is_empty() {
            add(
                name,
                format!(
                    "an address is needed, one that no other host has: addresses = [\"192.0.2.7/24\"], or --interface \
                     tap:{name}=192.0.2.7/24"
                ),
            );
        }
        for (at, cidr) in addresses.iter().enumerate() {
            if addresses[..at].iter().any(|other| other.address == cidr.address) {
                add(name, format!("address {} is there twice", cidr.address));
            }
        }
    }
    found
}

fn list(prefixes: &[Prefix]) -> String {
    let texts: Vec<String> = prefixes.iter().map(|prefix| quoted(&prefix.to_string())).collect();
    format!("[{}]", texts.join(", "))
}

/// An interface as a table.
pub(crate) fn write(interface: &Interface) -> String {
    let addresses: Vec<String> = interface.addresses.iter().map(|cidr| quoted(&cidr.to_string())).collect();
    let ports: Vec<String> = interface.ports.iter().map(u16::to_string).collect();
    let values = [
        quoted(&interface.name),
        quoted(interface.mode.word()),
        interface.require.to_string(),
        format!("[{}]", addresses.join(", ")),
        format!("[{}]", ports.join(", ")),
        interface.mtu.to_string(),
        interface.frames.to_string(),
        interface.ring_entries.to_string(),
        interface.busy_poll_us.to_string(),
        interface.busy_poll_budget.to_string(),
        interface.syns_per_second.to_string(),
        interface.syns_per_prefix.to_string(),
        list(&interface.block),
        list(&interface.allow),
        quoted(if interface.hold { "hold" } else { "detach" }),
    ];
    let lines = KEYS.iter().zip(values).map(|(key, value)| format!("{} = {value}\n", key.name));
    format!("[[{NAME}]]\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_hosts() {
        for right in
            ["10.0.0.1/8", "192.0.2.0/31", "192.0.2.7/32", "fd00::1/64", "2001:db8::7/128", "1.2.3.4/0"]
        {
            let cidr: Cidr = right.parse().unwrap_or_else(|said| panic!("{right}: {said}"));
            assert_eq!(cidr.to_string(), right);
        }
        for wrong in [
            "10.0.0.1",
            "10.0.0.1/33",
            "10.0.0.1/+8",
            "10.0.0/8",
            "10.0.0.0/8",
            "10.255.255.255/8",
            "224.0.0.1/24",
            "127.0.0.1/8",
            "0.0.0.0/0",
            "fd00::1/129",
            "::/0",
            "::1/128",
            "ff02::1/64",
            "10.0.0.1/",
            "/8",
            "a/8",
            "",
        ] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_adds_to_the_file() {
        let parse = |text: &str| text.parse::<Interface>();
        let mut all = vec![Interface { mtu: 1_000, ..parse("tap:a=10.0.0.2/24").expect("it is right") }];
        add(&mut all, &parse("tap:a").expect("it is right"));
        add(&mut all, &parse("tap:b=10.1.0.2/24,fd00::2/64").expect("it is right"));
        assert_eq!((all[0].mtu, all[0].addresses.len(), all[1].addresses.len()), (1_000, 1, 2));
        add(&mut all, &parse("tap:a=10.2.0.2/24").expect("it is right"));
        assert_eq!((all.len(), all[0].addresses[0].to_string()), (2, "10.2.0.2/24".into()));
        let plain = parse("eth1").expect("it is right");
        assert_eq!((plain.mode, plain.name.as_str()), (Mode::Auto, "eth1"));
        assert_eq!(parse("generic:eth1").expect("it is right").mode, Mode::Generic);
        for wrong in ["tup:a", "tap:", "tap:a b", "tap:sixteen-letters!", "tap:a=10.0.0.2", "tap:a#"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
