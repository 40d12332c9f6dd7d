//! `pelton nic`: what interfaces are, what they can, and how their queues are set. It reads, and changes nothing.

use serde_json::{Value, json};

use super::Root;
use super::answer::Answer;
use super::device::{Device, names};
use super::interrupt;
use super::profile::{Limit, Profile, Since};
use super::program::label;
use crate::cli::nic::NicCommand;
use crate::exit::Exit;

/// What is said of an interface, in both forms.
type Show = fn(&Root, &Device) -> (String, Value);

/// Does it.
pub(crate) fn run(command: &NicCommand) -> Exit {
    let (which, show): (_, Show) = match command {
        NicCommand::Status(which) => (which, status),
        NicCommand::Features(which) => (which, features),
        NicCommand::Queues(which) => (which, queues),
    };
    let root = Root::new("/");
    let wanted = which.interface.clone().map_or_else(|| names(&root), |name| vec![name]);
    let answer = || {
        let (mut text, mut all) = (String::new(), Vec::new());
        for name in wanted {
            let (lines, json) = show(&root, &Device::of(&root, &name)?);
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&lines);
            all.push(json);
        }
        Ok(Answer::new(text, json!({ "interfaces": all })))
    };
    Answer::say(answer(), which.output)
}

/// Lines of names and values below an interface's name.
fn table(name: &str, lines: &[(&str, String)]) -> String {
    let mut text = format!("{name}\n");
    for (key, value) in lines {
        text.push_str(&format!("  {key:<16}{value}\n"));
    }
    text
}

fn or_unknown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "not known".into(), |value| value.to_string())
}

fn status(_: &Root, device: &Device) -> (String, Value) {
    let link = match (device.up, device.carrier) {
        (false, _) => "down",
        (true, Some(false)) => "up, no link",
        (true, _) => "up",
    };
    let program = device.attached.as_ref().map(label);
    let driver = if device.driver.is_empty() { "none" } else { &device.driver };
    let text = table(
        &device.name,
        &[
            ("driver", driver.to_owned()),
            ("device", device.bus.clone()),
            ("profile", format!("{} ({})", device.profile.family, device.profile.title)),
            ("station", device.mac.clone()),
            ("link", link.into()),
            ("speed", device.speed.map_or_else(|| "not known".into(), |speed| format!("{speed} Mbit/s"))),
            ("MTU", device.mtu.to_string()),
            ("queues", format!("{} receive, {} send", device.rx_queues, device.tx_queues)),
            ("memory node", or_unknown(device.numa_node)),
            ("XDP program", program.clone().unwrap_or_else(|| "none".into())),
        ],
    );
    let json = json!({
        "name": device.name,
        "index": device.index,
        "ethernet": device.ethernet,
        "driver": device.driver,
        "device": device.bus,
        "profile": device.profile.family,
        "station": device.mac,
        "up": device.up,
        "link": device.carrier,
        "speed_mbit": device.speed,
        "mtu": device.mtu,
        "receive_queues": device.rx_queues,
        "send_queues": device.tx_queues,
        "memory_node": device.numa_node,
        "xdp_program": program,
    });
    (text, json)
}

/// The word behind what a profile says.
fn trust(verified: bool) -> &'static str {
    if verified { "seen" } else { "believed" }
}

fn features(_: &Root, device: &Device) -> (String, Value) {
    let xdp = match device.xdp {
        None => "this kernel does not say (6.3 and newer do)".into(),
        Some(features) if features.names().is_empty() => "behind the driver only".into(),
        Some(features) => features.names().join(", "),
    };
    let segments = device.xdp.map(|features| features.zero_copy_segments).filter(|&segments| segments != 0);
    let mut lines = vec![("XDP", xdp)];
    if let Some(segments) = segments {
        lines.push(("send segments", segments.to_string()));
    }
    let listed = |on: bool| -> Vec<&str> {
        let wanted = device.features.iter().filter(|feature| feature.on == on && !feature.fixed);
        wanted.map(|feature| feature.name.as_str()).collect()
    };
    lines.push(("on", listed(true).join(" ")));
    lines.push(("off", listed(false).join(" ")));
    let mut text = table(&device.name, &lines);
    text.push_str(&profile_text(&device.profile, &device.name));
    let all: Vec<Value> = device
        .features
        .iter()
        .map(|feature| json!({ "name": feature.name, "on": feature.on, "fixed": feature.fixed }))
        .collect();
    let json = json!({
        "name": device.name,
        "xdp": device.xdp.map(|features| features.names()),
        "zero_copy_segments": segments,
        "features": all,
        "profile": profile_json(&device.profile),
    });
    (text, json)
}

/// The named rungs and limits of a profile.
fn rungs(profile: &Profile) -> [(&'static str, Option<&Since>); 3] {
    let rungs = &profile.rungs;
    [
        ("native", rungs.native.as_ref()),
        ("zero-copy", rungs.zero_copy.as_ref()),
        ("multi-buffer", rungs.multi_buffer.as_ref()),
    ]
}

fn limits(profile: &Profile) -> [(&'static str, Option<&Limit>); 5] {
    let limits = &profile.limits;
    [
        ("queues at most", limits.queues_max.as_ref()),
        ("share of queues, percent", limits.queues_share_percent.as_ref()),
        ("MTU of native XDP", limits.mtu_native.as_ref()),
        ("ring entries", limits.ring_max.as_ref()),
        ("zero-copy send segments", limits.zero_copy_segments.as_ref()),
    ]
}

fn profile_text(profile: &Profile, interface: &str) -> String {
    let mut text = format!("  profile {}: {}\n", profile.family, profile.title);
    let mut add = |what: &str, verified: bool, source: &str, note: Option<&String>| {
        let note = note.map(|note| format!("; {note}")).unwrap_or_default();
        text.push_str(&format!("    {what} [{}: {source}{note}]\n", trust(verified)));
    };
    for (name, since) in rungs(profile) {
        if let Some(since) = since {
            let words = if since.since == "never" {
                format!("{name}: never")
            } else {
                format!("{name}: from kernel {}", since.since)
            };
            add(&words, since.verified, &since.source, since.note.as_ref());
        }
    }
    for (name, limit) in limits(profile) {
        if let Some(limit) = limit {
            add(&format!("{name}: {}", limit.value), limit.verified, &limit.source, limit.note.as_ref());
        }
    }
    for fact in &profile.fact {
        let words = format!("{}: {}", fact.about, fact.text.replace("{interface}", interface));
        add(&words, fact.verified, &fact.source, fact.note.as_ref());
    }
    for command in &profile.command {
        let run = command.run.replace("{interface}", interface);
        let words = format!("{}: `{run}`: {}", command.what, command.why);
        add(&words, command.verified, &command.source, command.note.as_ref());
    }
    text
}

fn profile_json(profile: &Profile) -> Value {
    let rungs = rungs(profile).into_iter().filter_map(|(name, since)| {
        let since = since?;
        Some(
            json!({ "rung": name, "since": since.since, "source": since.source, "verified": since.verified }),
        )
    });
    let limits = limits(profile).into_iter().filter_map(|(name, limit)| {
        let limit = limit?;
        Some(json!({ "limit": name, "value": limit.value, "source": limit.source, "verified": limit.verified }))
    });
    let facts = profile.fact.iter().map(
        |fact| json!({ "about": fact.about, "text": fact.text, "source": fact.source, "verified": fact.verified }),
    );
    json!({
        "family": profile.family,
        "rungs": rungs.collect::<Vec<_>>(),
        "limits": limits.collect::<Vec<_>>(),
        "facts": facts.collect::<Vec<_>>(),
    })
}

fn queues(root: &Root, device: &Device) -> (String, Value) {
    let pattern = device.profile.tune.iter().find(|tune| tune.knob == "irq-affinity");
    let interrupts = pattern.map_or_else(Vec::new, |tune| {
        interrupt::of_queues(root, &tune.want, &device.name, &device.bus, device.rx_queues)
    });
    let cores = |number: u32| root.read(&interrupt::affinity_file(number));
    let mut lines = vec![("queues", format!("{} receive, {} send", device.rx_queues, device.tx_queues))];
    let most = device.channels.map(|channels| channels.receiving_max());
    lines.push(("at most", or_unknown(most)));
    lines.push((
        "rings",
        device.rings.map_or_else(
            || "not known".into(),
            |rings| {
                format!(
                    "{} of {} to receive, {} of {} to send",
                    rings.rx, rings.rx_max, rings.tx, rings.tx_max
                )
            },
        ),
    ));
    lines.push((
        "coalescing",
        device.coalescing.map_or_else(
            || "not known".into(),
            |set| {
                format!("{} us{}", set.rx_usecs, if set.adaptive_rx { ", chosen by the driver" } else { "" })
            },
        ),
    ));
    let napi = |file: &str| root.read(&format!("/sys/class/net/{}/{file}", device.name));
    let (defer, flush) = (napi("napi_defer_hard_irqs"), napi("gro_flush_timeout"));
    lines.push((
        "interrupts",
        format!(
            "put off for {} empty polls, timer {} ns",
            or_unknown(defer.as_ref()),
            or_unknown(flush.as_ref())
        ),
    ));
    let mut text = table(&device.name, &lines);
    let mut found = Vec::new();
    for (queue, number) in interrupts.iter().enumerate() {
        let Some(number) = *number else { continue };
        let at = cores(number);
        text.push_str(&format!(
            "  queue {queue:<10}interrupt {number} on core {}\n",
            or_unknown(at.as_ref())
        ));
        found.push(json!({ "queue": queue, "interrupt": number, "cores": at }));
    }
    let json = json!({
        "name": device.name,
        "receive": device.rx_queues,
        "send": device.tx_queues,
        "receive_max": most,
        "rings": device.rings.map(|rings| json!({
            "receive": rings.rx, "receive_max": rings.rx_max, "send": rings.tx, "send_max": rings.tx_max,
        })),
        "rx_usecs": device.coalescing.map(|set| set.rx_usecs),
        "adaptive_rx": device.coalescing.map(|set| set.adaptive_rx),
        "napi_defer_hard_irqs": defer,
        "gro_flush_timeout": flush,
        "interrupts": found,
    });
    (text, json)
}
