//! `pelton probe`: which rung each interface reaches, what is missing for the others, and what to type for it. It looks and
//! never tries: what only a try shows, the broker's self test says when it starts.

mod judge;

use serde_json::{Value, json};

use super::Root;
use super::answer::Answer;
use super::device::{Device, names};
use super::host::Host;
use crate::cli::nic::Probe;
use crate::exit::Exit;
use judge::{Judgement, Missing, Stand, judge};

/// Does it.
pub(crate) fn run(options: &Probe) -> Exit {
    Answer::say(answer(&Root::new("/"), options), options.output)
}

fn answer(root: &Root, options: &Probe) -> Result<Answer, String> {
    let host = Host::of(root);
    let shards = options.shards.map_or(host.cores, u32::from).max(1);
    let wanted = if options.interfaces.is_empty() { names(root) } else { options.interfaces.clone() };
    let mut text = host_text(&host, shards);
    let mut interfaces = Vec::new();
    for name in wanted {
        let device = Device::of(root, &name)?;
        let judgement = judge(&host, &device, shards);
        text.push('\n');
        text.push_str(&device_text(&device, &judgement));
        interfaces.push(device_json(&device, &judgement));
    }
    let pages = host.huge_pages;
    let json = json!({
        "kernel": host.kernel,
        "cores": host.cores,
        "shards": shards,
        "af_xdp": host.af_xdp,
        "lacks": host.lacks,
        "huge_pages": { "total": pages.total, "free": pages.free, "kib": pages.kib },
        "bpf_file_system": host.bpf_fs,
        "interfaces": interfaces,
    });
    Ok(Answer::new(text, json))
}

fn host_text(host: &Host, shards: u32) -> String {
    let af_xdp = match host.af_xdp {
        Some(true) => "AF_XDP",
        Some(false) => "no AF_XDP",
        None => "AF_XDP not known",
    };
    let lacks = if host.lacks.is_empty() { "nothing".to_owned() } else { host.lacks.join(", ") };
    let pages = host.huge_pages;
    format!(
        "kernel {}, {} cores, for {shards} shards, {af_xdp}, privilege lacking: {lacks}\n\
         huge pages: {} of {} free ({} KiB each); BPF file system: {}\n",
        host.kernel,
        host.cores,
        pages.free,
        pages.total,
        pages.kib,
        if host.bpf_fs { "mounted" } else { "not mounted" }
    )
}

fn device_text(device: &Device, judgement: &Judgement) -> String {
    let driver = if device.driver.is_empty() { "no driver" } else { &device.driver };
    let mut text = format!(
        "{}: {driver}, profile {}, {} receive queues, MTU {}, {}\n",
        device.name,
        device.profile.family,
        device.rx_queues,
        device.mtu,
        match (device.up, device.carrier) {
            (false, _) => "down",
            (true, Some(false)) => "up without a link",
            (true, _) => "up",
        }
    );
    for Stand { rung, missing, believed } in &judgement.stands {
        let word = match (missing.is_empty(), believed) {
            (false, _) => "no",
            (true, true) => "yes, if its profile is right",
            (true, false) => "yes",
        };
        text.push_str(&format!("  {rung:<18}{word}\n"));
        for Missing { what, fix } in missing {
            text.push_str(&format!("    {what}\n      > {fix}\n"));
        }
    }
    for Missing { what, fix } in &judgement.notes {
        text.push_str(&format!("  note: {what}\n      > {fix}\n"));
    }
    text.push_str(&format!("  reaches: {}\n", judgement.best()));
    text
}

fn device_json(device: &Device, judgement: &Judgement) -> Value {
    let pairs = |all: &[Missing]| -> Vec<Value> {
        all.iter().map(|missing| json!({ "what": missing.what, "fix": missing.fix })).collect()
    };
    let rungs: Vec<Value> = judgement
        .stands
        .iter()
        .map(|stand| {
            json!({
                "rung": stand.rung,
                "reached": stand.missing.is_empty(),
                "believed": stand.believed,
                "missing": pairs(&stand.missing),
            })
        })
        .collect();
    json!({
        "name": device.name,
        "driver": device.driver,
        "profile": device.profile.family,
        "receive_queues": device.rx_queues,
        "mtu": device.mtu,
        "up": device.up,
        "link": device.carrier,
        "xdp_features": device.xdp.map(|features| features.names()),
        "reaches": judgement.best(),
        "rungs": rungs,
        "notes": pairs(&judgement.notes),
    })
}
