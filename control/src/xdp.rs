//! The XDP program of each interface that is served by AF_XDP: attached when the broker starts, looked at while it runs.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pelton_ebpf_loader::{
    AttachError, Cookies, Counts, Dropped, Frames, Mode, OnExit, Over, Policy, Prefix, Rate, Reason, Service,
    Steering as Program, TooBig,
};
use pelton_runtime::{Answers, Hook, Steered, Steering};

/// The program's reasons, for the reference.
pub(crate) const NAMES: [&str; Reason::COUNT] = {
    let mut names = [""; Reason::COUNT];
    let mut at = 0;
    while at < Reason::COUNT {
        names[at] = Reason::ALL[at].name();
        at += 1;
    }
    names
};

/// What they mean.
pub(crate) const HELPS: [&str; Reason::COUNT] = {
    let mut helps = [""; Reason::COUNT];
    let mut at = 0;
    while at < Reason::COUNT {
        helps[at] = Reason::ALL[at].help();
        at += 1;
    }
    helps
};

/// How often routers' words are looked for: before what was too big is sent again for the first time.
const LOOK: Duration = Duration::from_millis(100);

/// Frames dropped that are told about at one look. The ring keeps more.
const TOLD_MAX: usize = 64;
/// The frames dropped that a program tells about, on each CPU: who it is that sends what is not wanted, without paying for
/// each frame of a flood.
const TOLD: Rate = Rate { per_second: 1, burst: 10 };

/// Where links are kept that outlive the process.
const PINS: &str = "/sys/fs/bpf/pelton";

/// What is done with SYNs before they reach a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SynLimits {
    /// From one /24 or /56, on each CPU, a second; 0 for no limit.
    pub(crate) per_prefix: u32,
    /// In all, on each CPU, a second; 0 for no limit. Beyond, they are answered with cookies by the program.
    pub(crate) in_all: u32,
}

/// The programs that are attached, by interface.
#[derive(Clone, Default)]
pub(crate) struct Programs(Arc<Mutex<Vec<(String, Program)>>>);

impl Programs {
    fn with<T>(&self, then: impl FnOnce(&mut Vec<(String, Program)>) -> T) -> T {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often routers' words are to be taken from them; `None` if there are none.
    pub(crate) fn look(&self) -> Option<Duration> {
        self.with(|programs| !programs.is_empty()).then_some(LOOK)
    }

    /// The segments that routers called too big since the last time, by interface.
    pub(crate) fn take_too_big(&self) -> Vec<(String, Vec<TooBig>)> {
        self.with(|programs| {
            let mut all = Vec::new();
            for (name, program) in programs {
                let mut told = Vec::new();
                // What could not be read now is there the next time.
                let _ = program.take_too_big(&mut told);
                if !told.is_empty() {
                    all.push((name.clone(), told));
                }
            }
            all
        })
    }

    /// What the programs tell of frames that they dropped, by interface: a sample.
    pub(crate) fn take_dropped(&self) -> Vec<(String, Dropped)> {
        self.with(|programs| {
            let mut all = Vec::new();
            for (name, program) in programs {
                while all.len() < TOLD_MAX
                    && let Some(dropped) = program.next_dropped()
                {
                    all.push((name.clone(), dropped));
                }
            }
            all
        })
    }

    /// What each program counted, by interface.
    pub(crate) fn counts(&self) -> Vec<(String, Counts)> {
        self.with(|programs| {
            programs
                .iter()
                .filter_map(|(name, program)| Some((name.clone(), program.counts().ok()?)))
                .collect()
        })
    }
}

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.with(|programs| programs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
        f.debug_tuple("Programs").field(&names).finish()
    }
}

/// Attaches the program for an interface.
#[derive(Debug)]
pub(crate) struct Attaching {
    /// Where it is entered.
    pub(crate) programs: Programs,
    /// It outlives the process.
    pub(crate) hold: bool,
    /// What is done with SYNs.
    pub(crate) limits: SynLimits,
    /// Whose segments are dropped.
    pub(crate) block: Vec<Prefix>,
    /// Whom nothing of that touches.
    pub(crate) allow: Vec<Prefix>,
}

/// Ends a program's work with the fleet's.
struct Attached {
    programs: Programs,
    interface: String,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.programs.with(|programs| programs.retain(|(name, _)| *name != self.interface));
    }
}

impl Steering for Attaching {
    fn steer(&self, steered: &Steered<'_>) -> Result<Box<dyn Any + Send + Sync>, String> {
        let name = steered.interface;
        let mode = match steered.hook {
            Hook::Native => Mode::Native,
            Hook::Generic => Mode::Generic,
        };
        let program = match self.attach(steered, mode, Frames::InOnePiece) {
            // Frames in pieces would come to nothing at our sockets; those of an MTU that fits one do not.
            Err(Refused::Attach(AttachError::MtuTooLarge(_))) => self.attach(steered, mode, Frames::InPieces),
            outcome => outcome,
        };
        let program = program.map_err(|refused| match refused {
            Refused::Attach(error) => with_way_out(&error, name),
            Refused::Other(why) => why,
        })?;
        self.programs.with(|programs| programs.push((name.to_owned(), program)));
        Ok(Box::new(Attached { programs: self.programs.clone(), interface: name.to_owned() }))
    }
}

enum Refused {
    Attach(AttachError),
    Other(String),
}

fn other(error: impl ToString) -> Refused {
    Refused::Other(error.to_string())
}

impl Attaching {
    fn attach(&self, steered: &Steered<'_>, mode: Mode, frames: Frames) -> Result<Program, Refused> {
        let mut program = Program::load(frames).map_err(other)?;
        for &(queue, socket) in steered.sockets {
            program.set_socket(queue, socket).map_err(other)?;
        }
        for &service in steered.services {
            program.set_service(service, Service::Steered).map_err(other)?;
        }
        for &prefix in &self.block {
            program.blocked().insert(prefix, None).map_err(other)?;
        }
        for &prefix in &self.allow {
            program.allowed().insert(prefix, None).map_err(other)?;
        }
        program.set_policy(&policy(self.limits, &steered.answers)).map_err(other)?;
        let on_exit = if self.hold { OnExit::Hold { pin: pin(steered.interface)? } } else { OnExit::Detach };
        program.attach(steered.interface, mode, on_exit).map_err(Refused::Attach)?;
        Ok(program)
    }
}

fn policy(limits: SynLimits, answers: &Answers) -> Policy {
    let rate = |per_second: u32| {
        (per_second != 0).then_some(Rate { per_second, burst: per_second.saturating_mul(2).max(16) })
    };
    let &Answers { secrets, syn_ack, clock_behind_ns } = answers;
    Policy {
        prefix: rate(limits.per_prefix),
        all: rate(limits.in_all),
        over: Over::Cookie(Cookies {
            key: secrets.cookie,
            stamps: secrets.stamps,
            clock_offset_ns: clock_behind_ns,
            mss_v4: syn_ack.mss_v4,
            mss_v6: syn_ack.mss_v6,
            window: syn_ack.window,
            scale: syn_ack.scale,
            sack: syn_ack.sack,
            timestamps: syn_ack.timestamps,
        }),
        events: TOLD,
    }
}

/// The file that holds an interface's link.
pub(crate) fn pin_of(interface: &str) -> PathBuf {
    Path::new(PINS).join(interface)
}

fn pin(interface: &str) -> Result<PathBuf, Refused> {
    std::fs::create_dir_all(PINS).map_err(|error| {
        Refused::Other(format!(
            "{PINS} cannot be made: {error} (on_exit = \"hold\" needs it: mount -t bpf bpf /sys/fs/bpf)"
        ))
    })?;
    Ok(pin_of(interface))
}

fn with_way_out(error: &AttachError, interface: &str) -> String {
    match error {
        AttachError::Occupied { .. } => {
            format!("{error}; `ip link set dev {interface} xdp off` takes it away, if nobody needs it")
        }
        _ => error.to_string(),
    }
}
