//! From a profile and what is there: a line for each setting, with what it is, what it should be, and why.

use super::super::Root;
use super::super::device::Device;
use super::super::interrupt;
use super::super::profile::{Profile, Tune};
use super::knob::Knob;
use super::setting::{Setting, What};

/// What it is all for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim<'a> {
    pub(super) shards: u32,
    /// The broker's ports.
    pub(super) ports: &'a [u16],
}

/// Whether there is something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Differs,
    AsWanted,
    /// It cannot be set here, and why.
    Skipped(String),
}

/// A line of a plan.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) setting: Setting,
    pub(super) now: String,
    pub(super) want: String,
    pub(super) why: String,
    pub(super) source: String,
    pub(super) verified: bool,
    pub(super) state: State,
}

/// What is there, and what is wanted; or why nothing can be.
type Wish = Result<(String, String), String>;

fn line(tune: &Tune, setting: Setting, wish: Wish) -> Line {
    let (now, want, state) = match wish {
        Ok((now, want)) => {
            let state = if now == want { State::AsWanted } else { State::Differs };
            (now, want, state)
        }
        Err(why) => (String::new(), String::new(), State::Skipped(why)),
    };
    Line {
        setting,
        now,
        want,
        why: tune.why.clone(),
        source: match &tune.note {
            Some(note) => format!("{}; {note}", tune.source),
            None => tune.source.clone(),
        },
        verified: tune.verified,
        state,
    }
}

fn knob(profile: &Profile, tune: &Tune) -> Result<Knob, String> {
    Knob::parse(&tune.knob, &tune.want)
        .map_err(|why| format!("profile {}: {}: {why}", profile.family, tune.knob))
}

/// What concerns the whole host.
///
/// # Errors
/// A fault of the profile.
pub(super) fn for_host(root: &Root, profile: &Profile, aim: &Aim<'_>) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for tune in &profile.tune {
        let (what, want) = match knob(profile, tune)? {
            Knob::HugePages(each) => (What::HugePages, Some(each * u64::from(aim.shards))),
            Knob::ReservedPorts => (What::ReservedPorts, None),
            _ => continue,
        };
        let setting = Setting::of_host(what);
        let wish = setting.read(root).and_then(|now| {
            let want = match want {
                Some(pages) => {
                    now.parse::<u64>().map_err(|_| format!("`{now}` is no number"))?.max(pages).to_string()
                }
                None => with_ports(&now, aim.ports),
            };
            Ok((now, want))
        });
        lines.push(line(tune, setting, wish));
    }
    Ok(lines)
}

/// A list of ports and ranges with those added that it lacks.
fn with_ports(list: &str, ports: &[u16]) -> String {
    let mut list = list.to_owned();
    for port in ports {
        let holds = |range: &str| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            matches!((from.trim().parse::<u16>(), to.trim().parse::<u16>()), (Ok(from), Ok(to)) if (from..=to).contains(port))
        };
        if !list.split(',').any(holds) {
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(&port.to_string());
        }
    }
    list
}

/// What concerns an interface.
///
/// # Errors
/// A fault of the profile.
pub(super) fn for_device(
    root: &Root,
    device: &Device,
    profile: &Profile,
    aim: &Aim<'_>,
) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for tune in &profile.tune {
        let knob = knob(profile, tune)?;
        if knob.is_of_host() {
            continue;
        }
        if let Knob::IrqAffinity(pattern) = &knob {
            lines.extend(interrupts(root, device, pattern, tune, aim));
            continue;
        }
        let (what, wish) = wish(root, device, profile, aim, &knob);
        lines.push(line(tune, Setting::of(&device.name, what), wish));
    }
    Ok(lines)
}

/// What is wanted of one thing of a device.
fn wish(root: &Root, device: &Device, profile: &Profile, aim: &Aim<'_>, knob: &Knob) -> (What, Wish) {
    let silent = || "the driver does not say".to_owned();
    let file = |what: What, want: String| {
        let now = Setting::of(&device.name, what.clone()).read(root);
        (what, now.map(|now| (now, want)))
    };
    let ring = |now: u32, most: u32, wanted: Option<u32>| {
        // Longer than advised was somebody's wish.
        (now.to_string(), wanted.unwrap_or(most).min(most).max(now).to_string())
    };
    match knob {
        Knob::Queues(wanted) => (What::Queues, queues(device, profile, wanted.unwrap_or(aim.shards))),
        Knob::QueuesAtLeast => {
            let now = device.channels.map_or(0, |channels| channels.receiving());
            (What::Queues, queues(device, profile, aim.shards.max(now)))
        }
        Knob::RxRing(wanted) => {
            let rings = device.rings.ok_or_else(silent);
            (What::RxRing, rings.map(|rings| ring(rings.rx, rings.rx_max, *wanted)))
        }
        Knob::TxRing(wanted) => {
            let rings = device.rings.ok_or_else(silent);
            (What::TxRing, rings.map(|rings| ring(rings.tx, rings.tx_max, *wanted)))
        }
        Knob::RxUsecs(wanted) => {
            let set = device.coalescing.ok_or_else(silent);
            (What::RxUsecs, set.map(|set| (set.rx_usecs.to_string(), wanted.to_string())))
        }
        Knob::AdaptiveRx(wanted) => {
            let word = |on: bool| if on { "on" } else { "off" }.to_owned();
            let set = device.coalescing.ok_or_else(silent);
            (What::AdaptiveRx, set.map(|set| (word(set.adaptive_rx), word(*wanted))))
        }
        Knob::Feature(name, wanted) => (What::Feature(name.clone()), feature(device, name, *wanted)),
        Knob::MtuMax(most) => (What::Mtu, Ok((device.mtu.to_string(), device.mtu.min(*most).to_string()))),
        Knob::DeferIrqs(wanted) => file(What::DeferIrqs, wanted.to_string()),
        Knob::FlushTimeout(wanted) => file(What::FlushTimeout, wanted.to_string()),
        Knob::HugePages(_) | Knob::ReservedPorts | Knob::IrqAffinity(_) => {
            unreachable!("they are looked at elsewhere")
        }
    }
}

/// So many queues, or as near to it as the device and its driver allow.
fn queues(device: &Device, profile: &Profile, wanted: u32) -> Wish {
    let channels = device.channels.ok_or("the driver does not say")?;
    let there = channels.receiving_max();
    match profile.limits.queues(there).min(there) {
        0 => Err("the driver can attach a program to none of its queues".into()),
        most => Ok((channels.receiving().to_string(), wanted.clamp(1, most).to_string())),
    }
}

fn feature(device: &Device, name: &str, wanted: bool) -> Wish {
    let word = |on: bool| if on { "on" } else { "off" }.to_owned();
    let feature = device
        .features
        .iter()
        .find(|feature| feature.name == name)
        .ok_or_else(|| "there is no such feature here".to_owned())?;
    if feature.fixed && feature.on != wanted {
        return Err(format!("the driver has it fixed to {}", word(feature.on)));
    }
    Ok((word(feature.on), word(wanted)))
}

/// A line for the interrupt of each queue.
fn interrupts(root: &Root, device: &Device, pattern: &str, tune: &Tune, aim: &Aim<'_>) -> Vec<Line> {
    let numbers = interrupt::of_queues(root, pattern, &device.name, &device.bus, device.rx_queues);
    let lines = (0u32..).zip(numbers).filter_map(|(queue, number)| {
        let setting = Setting::of(&device.name, What::Irq(number?));
        // The shard that reads queue q is q modulo the number of shards.
        let wish = setting.read(root).map(|now| (now, (queue % aim.shards.max(1)).to_string()));
        Some(line(tune, setting, wish))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_added_where_they_are_not_yet() {
        for (list, ports, with) in [
            ("", &[1883][..], "1883"),
            ("1883", &[1883], "1883"),
            ("80,1880-1890", &[1883, 8883], "80,1880-1890,8883"),
            ("1884", &[1883], "1884,1883"),
        ] {
            assert_eq!(with_ports(list, ports), with);
        }
    }
}
