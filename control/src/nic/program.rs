//! `pelton xdp`: which XDP program interfaces have and who has it; one that a broker left is taken away. A program that
//! is not ours, or that a running process has, is never touched.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use pelton_ebpf_loader::{Attached, Mode, attached};
use serde_json::{Value, json};

use super::Root;
use super::answer::Answer;
use super::capability;
use super::device::names;
use crate::cli::nic::{Detach, Which, XdpCommand};
use crate::exit::Exit;
use crate::xdp::pin_of;

/// How long the kernel may take to let go of a link that nobody holds any more.
const LET_GO: Duration = Duration::from_secs(2);

/// Does it.
pub(crate) fn run(command: &XdpCommand) -> Exit {
    match command {
        XdpCommand::Status(which) => Answer::say(status(which), which.output),
        XdpCommand::Detach(options) => Answer::say(detach(options), options.output),
    }
}

/// A program in words.
pub(super) fn label(attached: &Attached) -> String {
    let name = attached.name.as_deref().unwrap_or("without a name to be seen");
    format!("{} ({name}), {}", attached.program_id, mode(attached))
}

fn mode(attached: &Attached) -> &'static str {
    match attached.mode {
        Some(Mode::Native) => "native",
        Some(Mode::Generic) => "generic",
        None => "in hardware or in several ways",
    }
}

fn status(which: &Which) -> Result<Answer, String> {
    let root = Root::new("/");
    let wanted = which.interface.clone().map_or_else(|| names(&root), |name| vec![name]);
    let (mut text, mut all) = (String::new(), Vec::new());
    for name in wanted {
        let program = attached(&name).map_err(|error| no_interface(&name, &error))?;
        let pinned = pin_of(&name).exists();
        let pin = if pinned { format!(", held by {}", pin_of(&name).display()) } else { String::new() };
        let (words, json) = match &program {
            None => (format!("none{pin}"), json!({ "name": name, "program": Value::Null, "pinned": pinned })),
            Some(program) => {
                let holders = holders(&root, program.program_id);
                let whose = match (program.is_ours(), is_hidden(&root, program)) {
                    (true, _) if holders.is_empty() => "left by a broker",
                    (true, _) => "of a broker",
                    (false, false) => "not ours",
                    (false, true) => "whose it is cannot be told without privilege",
                };
                let by: Vec<String> = holders.iter().map(|(id, name)| format!("{id} ({name})")).collect();
                let by =
                    if by.is_empty() { String::new() } else { format!(", of process {}", by.join(", ")) };
                let json = json!({
                    "name": name,
                    "program": program.program_id,
                    "program_name": program.name,
                    "mode": mode(program),
                    "ours": program.is_ours(),
                    "processes": holders.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
                    "pinned": pinned,
                });
                (format!("program {}, {whose}{by}{pin}", label(program)), json)
            }
        };
        text.push_str(&format!("{name}: {words}\n"));
        all.push(json);
    }
    Ok(Answer::new(text, json!({ "interfaces": all })))
}

/// Whether its name is kept from this process. A program may have none, too.
fn is_hidden(root: &Root, program: &Attached) -> bool {
    program.name.is_none() && capability::missing(root).contains(&"CAP_BPF")
}

fn no_interface(name: &str, error: &std::io::Error) -> String {
    const ENODEV: i32 = 19;
    match error.raw_os_error() {
        Some(ENODEV) => format!("there is no interface `{name}` here: `ip link` lists those there are"),
        _ => format!("cannot ask about interface `{name}`: {error}"),
    }
}

fn detach(options: &Detach) -> Result<Answer, String> {
    let name = &options.interface;
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(format!("there is no interface `{name}` here: `ip link` lists those there are"));
    }
    let pin = pin_of(name);
    let done = |what: &str| {
        let json = json!({ "name": name, "done": what });
        Ok(Answer::new(format!("{name}: {what}\n"), json))
    };
    let found = match attached(name) {
        Ok(found) => found,
        // The device went and left the file.
        Err(_) if pin.exists() => None,
        Err(error) => return Err(no_interface(name, &error)),
    };
    let Some(found) = found else {
        if pin.exists() {
            remove(&pin)?;
            return done("no program was attached; the file that held one is removed");
        }
        return done("no program is attached");
    };
    let root = Root::new("/");
    if is_hidden(&root, &found) {
        return Err(format!(
            "{name} has an XDP program ({}) that cannot be told from others' without privilege: run as root",
            found.program_id
        ));
    }
    if !found.is_ours() {
        return Err(format!(
            "{name} has program {}, which is not ours and is left alone: end what attached it, or `ip link set dev {name} \
             xdp off`",
            label(&found)
        ));
    }
    if let Some((id, process)) = holders(&root, found.program_id).first() {
        return Err(format!(
            "{name} is served by process {id} ({process}): stop that one first; unless on_exit is \"hold\" the program \
             goes with it"
        ));
    }
    if !pin.exists() {
        return Err(format!(
            "{name} has our program {}, held by something else than {}: `bpftool link` shows what",
            found.program_id,
            pin.display()
        ));
    }
    remove(&pin)?;
    let began = Instant::now();
    while attached(name).is_ok_and(|now| now.is_some_and(|now| now.program_id == found.program_id)) {
        if began.elapsed() > LET_GO {
            return Err(format!(
                "{name} still has program {}: something else holds it, `bpftool link` shows what",
                found.program_id
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    done("the program that a broker left is gone; the kernel has all frames again")
}

fn remove(pin: &Path) -> Result<(), String> {
    fs::remove_file(pin).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => format!("{} may not be removed: run as root", pin.display()),
        _ => format!("{} cannot be removed: {error}", pin.display()),
    })
}

/// The processes that have a program open, or a link to it, by what `/proc` says of their descriptors.
fn holders(root: &Root, program_id: u32) -> Vec<(u32, String)> {
    let wanted = format!("prog_id:\t{program_id}");
    let own = std::process::id();
    let mut holders = Vec::new();
    for process in root.list("/proc") {
        let Some(id) = process.parse::<u32>().ok().filter(|&id| id != own) else { continue };
        let folder = format!("/proc/{id}/fdinfo");
        let has = |file: &String| {
            root.read(&format!("{folder}/{file}"))
                .is_some_and(|text| text.lines().any(|line| line.trim_end() == wanted))
        };
        if root.list(&folder).iter().any(has) {
            holders.push((id, root.read(&format!("/proc/{id}/comm")).unwrap_or_default()));
        }
    }
    holders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_with_a_program_are_found_by_their_descriptors() {
        let folder = std::env::temp_dir().join(format!("pelton-holders-{}", std::process::id()));
        let file = |path: &str, text: &str| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        file("proc/10/fdinfo/3", "pos:\t0\nlink_type:\txdp\nlink_id:\t4\nprog_id:\t77\n");
        file("proc/10/comm", "pelton\n");
        file("proc/11/fdinfo/3", "pos:\t0\nprog_id:\t777\n");
        file("proc/self/fdinfo/3", "prog_id:\t77\n");
        let root = Root::new(&folder);
        assert_eq!(holders(&root, 77), [(10, "pelton".to_owned())]);
        assert_eq!(holders(&root, 7), []);
        fs::remove_dir_all(&folder).unwrap();
    }
}
