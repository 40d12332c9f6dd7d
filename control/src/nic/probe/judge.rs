//! From what is known of a host and an interface: the rungs, and what each is missing. Pure.

use super::super::device::Device;
use super::super::host::Host;
use super::super::profile::Since;

/// The biggest packet that one frame of a port holds: 4096 bytes, the kernel's 256 and an Ethernet header with tags less.
const MTU_MAX: u32 = 4096 - 256 - 22;
/// KiB of frame memory of each shard, with one queue: rings of 4096 to receive and to send and a quarter more, frames of
/// 2048 bytes.
const FRAMES_KIB: u64 = 20_480;

/// What is missing, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) what: String,
    pub(super) fix: String,
}

impl Missing {
    fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}

/// A rung.
#[derive(Clone, Debug)]
pub(super) struct Stand {
    pub(super) rung: &'static str,
    pub(super) missing: Vec<Missing>,
    /// The kernel does not say; the profile does.
    pub(super) believed: bool,
}

/// All rungs, best first; the kernel's sockets always hold.
#[derive(Clone, Debug)]
pub(super) struct Judgement {
    pub(super) stands: Vec<Stand>,
    /// What does not stand in the way and is still worth a look.
    pub(super) notes: Vec<Missing>,
}

impl Judgement {
    /// The first rung with nothing missing that is taken without being asked for.
    pub(super) fn best(&self) -> &'static str {
        let taken = |stand: &&Stand| stand.missing.is_empty() && stand.rung != GENERIC;
        self.stands.iter().find(taken).map_or(SOCKETS, |stand| stand.rung)
    }
}

const ZERO_COPY: &str = "AF_XDP zero-copy";
const COPY: &str = "AF_XDP copy";
const GENERIC: &str = "AF_XDP generic";
const SOCKETS: &str = "kernel sockets";

/// Judges an interface for so many shards.
pub(super) fn judge(host: &Host, device: &Device, shards: u32) -> Judgement {
    let sockets = Stand { rung: SOCKETS, missing: Vec::new(), believed: false };
    if !device.ethernet {
        let missing = vec![Missing::new(
            format!("{} is no Ethernet device", device.name),
            "none: the kernel's sockets serve it, beside any other interface",
        )];
        let none = Stand { rung: COPY, missing, believed: false };
        return Judgement { stands: vec![none, sockets], notes: Vec::new() };
    }
    let all = for_all(host, device, shards);
    let (mut native, native_believed) = native(host, device);
    let (zero_copy, zero_copy_believed) = zero_copy(host, device);
    native.extend(all.iter().cloned());
    let stands = vec![
        Stand {
            rung: ZERO_COPY,
            missing: zero_copy.into_iter().chain(native.iter().cloned()).collect(),
            believed: zero_copy_believed || native_believed,
        },
        Stand { rung: COPY, missing: native, believed: native_believed },
        Stand { rung: GENERIC, missing: all, believed: false },
        sockets,
    ];
    Judgement { stands, notes: notes(host, device, shards) }
}

/// What no rung of AF_XDP can do without.
fn for_all(host: &Host, device: &Device, shards: u32) -> Vec<Missing> {
    let name = &device.name;
    let mut missing: Vec<Missing> =
        host.missing().into_iter().map(|(what, fix)| Missing::new(what, fix)).collect();
    if !device.up {
        missing.push(Missing::new("it is down", format!("ip link set {name} up")));
    } else if device.carrier == Some(false) {
        missing.push(Missing::new("there is no link", "plug in the cable, or bring the other end up"));
    }
    if device.rx_queues < shards {
        let most = device.channels.map_or(1, |channels| channels.receiving_max()).max(device.rx_queues);
        let fix = if most >= shards {
            format!("{}, or pelton serve --shards {}", set_queues(device, shards), device.rx_queues)
        } else {
            format!("pelton serve --shards {most}: the device has no more")
        };
        missing.push(Missing::new(format!("{} receive queues for {shards} shards", device.rx_queues), fix));
    }
    if device.mtu > MTU_MAX {
        missing.push(Missing::new(
            format!("MTU {} is more than a frame holds ({MTU_MAX})", device.mtu),
            format!("ip link set {name} mtu {}", mtu_fit(device)),
        ));
    }
    if let Some(foreign) = device.attached.as_ref().filter(|attached| !attached.is_ours()) {
        let id = foreign.program_id;
        missing.push(match &foreign.name {
            None if host.lacks.contains(&"CAP_BPF") => Missing::new(
                format!("XDP program {id} is attached, and whose it is cannot be seen without privilege"),
                format!("as root: pelton xdp status {name}"),
            ),
            named => Missing::new(
                format!(
                    "another XDP program is attached: {id} ({})",
                    named.as_deref().unwrap_or("without a name")
                ),
                format!("if nobody needs it: ip link set dev {name} xdp off; else end what attached it"),
            ),
        });
    }
    missing
}

/// What sets the number of queues.
fn set_queues(device: &Device, count: u32) -> String {
    let name = &device.name;
    match device.channels {
        Some(channels) if channels.combined_max == 0 => format!("ethtool -L {name} rx {count} tx {count}"),
        _ => format!("ethtool -L {name} combined {count}"),
    }
}

/// The largest MTU with which nothing stands in the way.
fn mtu_fit(device: &Device) -> u32 {
    device.profile.limits.mtu_native.as_ref().map_or(MTU_MAX, |limit| limit.value.min(MTU_MAX))
}

/// What the program in the driver cannot do without, and whether that is only believed.
fn native(host: &Host, device: &Device) -> (Vec<Missing>, bool) {
    let (name, limits) = (&device.name, &device.profile.limits);
    let said = device.xdp.map(|features| features.native());
    let (mut missing, believed) =
        ability(host, device, "XDP in the driver", said, device.profile.rungs.native.as_ref());
    let in_pieces = device.xdp.map_or_else(
        || is_since(host, device.profile.rungs.multi_buffer.as_ref()) == Some(true),
        |features| features.multi_buffer(),
    );
    // Beyond what a frame holds is said for all rungs.
    if let Some(limit) = &limits.mtu_native
        && (limit.value + 1..=MTU_MAX).contains(&device.mtu)
        && !in_pieces
    {
        missing.push(Missing::new(
            format!("MTU {} is more than the driver's XDP takes ({})", device.mtu, limit.value),
            format!("ip link set {name} mtu {}", mtu_fit(device)),
        ));
    }
    let most = limits.queues(device.channels.map_or(u32::MAX, |channels| channels.receiving_max()));
    if device.rx_queues > most {
        let fix = match most {
            0 => "give the machine a device with more queues".into(),
            _ => format!("{}, and pelton serve --shards {most}", set_queues(device, most)),
        };
        missing.push(Missing::new(
            format!(
                "the driver attaches a program to {most} queues at most, {} are in use",
                device.rx_queues
            ),
            fix,
        ));
    }
    (missing, believed)
}

fn zero_copy(host: &Host, device: &Device) -> (Vec<Missing>, bool) {
    let said = device.xdp.map(|features| features.zero_copy());
    ability(host, device, "AF_XDP without copies", said, device.profile.rungs.zero_copy.as_ref())
}

/// Whether the driver can do something: as the kernel says, else as the profile has it.
fn ability(
    host: &Host,
    device: &Device,
    what: &str,
    said: Option<bool>,
    since: Option<&Since>,
) -> (Vec<Missing>, bool) {
    let believed = is_since(host, since);
    if said.or(believed) == Some(true) {
        return (Vec::new(), said.is_none());
    }
    let driver = if device.driver.is_empty() { "this kind of device" } else { &device.driver };
    let fix = match since.and_then(Since::version) {
        Some((major, minor)) if believed == Some(false) => {
            format!("boot kernel {major}.{minor} or newer: from then on {driver} has it")
        }
        // The profile says that it should.
        Some(_) => refusal(device).unwrap_or_else(|| "see what the driver wants: pelton nic features".into()),
        None => "none with this driver; the next rung is taken".into(),
    };
    let certainty = if said.is_some() { "" } else { ", as far as is known" };
    (vec![Missing::new(format!("{driver} has no {what} here{certainty}"), fix)], said.is_none())
}

/// Why a driver that has it in general does not have it here.
fn refusal(device: &Device) -> Option<String> {
    let fact = device.profile.fact.iter().find(|fact| fact.about == "refused-because")?;
    Some(fact.text.replace("{interface}", &device.name))
}

/// Whether this kernel is new enough; none if that is not known.
fn is_since(host: &Host, since: Option<&Since>) -> Option<bool> {
    let since = since?;
    Some(since.version().is_some_and(|version| version <= host.version()))
}

fn notes(host: &Host, device: &Device, shards: u32) -> Vec<Missing> {
    let name = &device.name;
    let mut notes = Vec::new();
    let pages = host.huge_pages;
    let needed = (u64::from(shards) * FRAMES_KIB).div_ceil(pages.kib.max(1));
    if pages.kib != 0 && pages.free < needed {
        let total = pages.total + needed - pages.free;
        notes.push(Missing::new(
            format!("{} huge pages are free, {needed} would hold the frames", pages.free),
            format!("sysctl vm.nr_hugepages={total}"),
        ));
    }
    for (feature, short) in [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")] {
        if device.features.iter().any(|known| known.name == feature && known.on && !known.fixed) {
            notes.push(Missing::new(
                format!("{feature} is on: merged frames do not fit"),
                format!("ethtool -K {name} {short} off"),
            ));
        }
    }
    if device.rx_queues > shards {
        notes.push(Missing::new(
            format!("{} receive queues for {shards} shards: each shard reads several", device.rx_queues),
            format!("{}, if the rest of the host does not need them", set_queues(device, shards)),
        ));
    }
    if device.attached.as_ref().is_some_and(|attached| attached.is_ours()) {
        notes.push(Missing::new("a broker's program is attached", format!("pelton xdp status {name}")));
    }
    notes
}

#[cfg(test)]
mod tests;
