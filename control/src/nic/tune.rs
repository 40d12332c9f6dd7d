//! `pelton tune`: sets a host and its interfaces as a hardware profile advises. What would change is shown with its
//! reason; what was there is saved before anything is written, and put back on request.

pub(super) mod knob;
mod plan;
mod setting;
mod undo;

use serde_json::{Value, json};

use super::Root;
use super::answer::Answer;
use super::device::Device;
use super::host::Host;
use super::profile::Profile;
use crate::cli::nic::{Tune, TuneCommand, TunePlace};
use crate::exit::Exit;
use plan::{Aim, Line, State, for_device, for_host};
use undo::{Entry, Undo};

/// Does it.
pub(crate) fn run(command: &TuneCommand) -> Exit {
    let (place, answer) = match command {
        TuneCommand::Plan(options) => (&options.place, plan(options)),
        TuneCommand::Check(options) => (&options.place, check(options)),
        TuneCommand::Apply(options) => (&options.place, apply(options)),
        TuneCommand::Revert(options) => (&options.place, revert(&options.place)),
    };
    Answer::say(answer, place.output)
}

/// All that a profile advises, beside what is there.
fn lines(options: &Tune) -> Result<Vec<Line>, String> {
    let root = Root::new(&options.place.root);
    let shards = options.shards.map_or_else(|| Host::of(&root).cores, u32::from);
    let aim = Aim { shards, ports: &options.port };
    let named = options.profile.as_deref().map(Profile::named).transpose()?;
    let host = named.clone().map_or_else(|| Profile::named("generic"), Ok)?;
    let mut lines = for_host(&root, &host, &aim)?;
    for name in &options.interface {
        let device = Device::of(&root, name)?;
        let profile = named.as_ref().unwrap_or(&device.profile);
        lines.extend(for_device(&root, &device, profile, &aim)?);
    }
    for line in &mut lines {
        if options.skip.contains(&line.setting.word()) {
            line.state = State::Skipped("--skip".into());
        }
    }
    Ok(lines)
}

fn text(lines: &[Line]) -> String {
    let mut text = String::new();
    for line in lines.iter().filter(|line| line.state == State::Differs) {
        let trust = if line.verified { "seen" } else { "believed" };
        text.push_str(&format!(
            "{}: {} -> {}\n    {} [{trust}: {}]\n",
            line.setting,
            shown(&line.now),
            shown(&line.want),
            line.why,
            line.source
        ));
    }
    for line in lines {
        if let State::Skipped(why) = &line.state {
            text.push_str(&format!("{}: left alone: {why}\n", line.setting));
        }
    }
    let count = |state: &State| lines.iter().filter(|line| line.state == *state).count();
    text.push_str(&format!("{} to change, {} as wanted\n", count(&State::Differs), count(&State::AsWanted)));
    text
}

/// A value; an empty one is a value, too.
fn shown(value: &str) -> &str {
    if value.is_empty() { "(empty)" } else { value }
}

fn in_json(lines: &[Line]) -> Vec<Value> {
    lines
        .iter()
        .map(|line| {
            let (state, skipped) = match &line.state {
                State::Differs => ("differs", None),
                State::AsWanted => ("as wanted", None),
                State::Skipped(why) => ("left alone", Some(why)),
            };
            json!({
                "interface": line.setting.interface,
                "setting": line.setting.word(),
                "now": line.now,
                "want": line.want,
                "state": state,
                "left_alone_because": skipped,
                "why": line.why,
                "source": line.source,
                "verified": line.verified,
            })
        })
        .collect()
}

fn plan(options: &Tune) -> Result<Answer, String> {
    let lines = lines(options)?;
    Ok(Answer::new(text(&lines), json!({ "lines": in_json(&lines) })))
}

fn check(options: &Tune) -> Result<Answer, String> {
    let lines = lines(options)?;
    let drift = lines.iter().any(|line| line.state == State::Differs);
    let mut answer = Answer::new(text(&lines), json!({ "drift": drift, "lines": in_json(&lines) }));
    answer.exit = if drift { Exit::Refused } else { Exit::Ok };
    Ok(answer)
}

fn apply(options: &Tune) -> Result<Answer, String> {
    let root = Root::new(&options.place.root);
    let lines = lines(options)?;
    let todo: Vec<&Line> = lines.iter().filter(|line| line.state == State::Differs).collect();
    let mut undo = Undo::load(&root, &options.place.undo)?.unwrap_or_default();
    for line in &todo {
        undo.remember(Entry {
            setting: line.setting.clone(),
            before: line.now.clone(),
            after: line.want.clone(),
        });
    }
    if !todo.is_empty() {
        undo.save(&root, &options.place.undo)?;
    }
    let (mut text, mut done, mut exit) = (String::new(), Vec::new(), Exit::Ok);
    for line in todo {
        let set = line.setting.write(&root, &line.want).and_then(|()| line.setting.read(&root));
        let (what, now, error) = match set {
            Ok(now) => (format!("{} -> {}", shown(&line.now), shown(&now)), Some(now), None),
            Err(why) => (format!("not set: {why}"), None, Some(why)),
        };
        text.push_str(&format!("{}: {what}\n", line.setting));
        done.push(json!({
            "interface": line.setting.interface,
            "setting": line.setting.word(),
            "before": line.now,
            "now": now,
            "error": error,
        }));
        match now {
            // Drivers round; what is there now is what revert is to find.
            Some(now) => undo.settled(&line.setting, now),
            None => {
                exit = Exit::Refused;
                undo.forget_new(&line.setting);
            }
        }
    }
    if done.is_empty() {
        text.push_str("nothing to change\n");
    } else {
        undo.save(&root, &options.place.undo)?;
        text.push_str(&format!("to undo: pelton tune revert{}\n", with_undo(&options.place)));
    }
    let json = json!({ "changed": done, "undo": options.place.undo.display().to_string() });
    Ok(Answer { text, json, exit })
}

/// What names the undo file, unless it is the usual one.
fn with_undo(place: &TunePlace) -> String {
    if place.undo.as_os_str() == "/var/lib/pelton/tune-undo.json" {
        return String::new();
    }
    format!(" --undo {}", place.undo.display())
}

fn revert(place: &TunePlace) -> Result<Answer, String> {
    let root = Root::new(&place.root);
    let Some(mut undo) = Undo::load(&root, &place.undo)? else {
        return Err(format!("nothing to undo: {} is not there", root.path_of(&place.undo).display()));
    };
    let (mut text, mut done, mut exit) = (String::new(), Vec::new(), Exit::Ok);
    let mut stuck = Vec::new();
    while let Some(entry) = undo.last() {
        let Entry { setting, before, after } = &entry;
        let what = match setting.read(&root) {
            Err(why) => format!("left alone: {why}"),
            Ok(now) if now == *before => format!("is {} already", shown(before)),
            Ok(now) if now != *after => {
                format!(
                    "left alone: somebody changed it since from {} to {}; it was {}",
                    shown(after),
                    shown(&now),
                    shown(before)
                )
            }
            Ok(now) => match setting.write(&root, before) {
                Ok(()) => format!("{} -> {}", shown(&now), shown(before)),
                Err(why) => {
                    exit = Exit::Refused;
                    stuck.push(entry.clone());
                    format!("not put back: {why}")
                }
            },
        };
        text.push_str(&format!("{setting}: {what}\n"));
        done.push(json!({ "interface": setting.interface, "setting": setting.word(), "result": what }));
    }
    for entry in stuck.into_iter().rev() {
        undo.remember(entry);
    }
    undo.save(&root, &place.undo)?;
    Ok(Answer { text, json: json!({ "reverted": done }), exit })
}

#[cfg(test)]
mod tests;
