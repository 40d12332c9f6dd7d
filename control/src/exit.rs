//! Exit codes. `docs/OPERATING.md` says what to do about each.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done, or stopped by a signal in good order.
    Ok = 0,
    /// The system refused something: a port, a thread, a file.
    Refused = 1,
    /// The configuration or the command line is wrong; nothing was started.
    Config = 2,
    /// The broker broke: a shard ended that should not have (EX_SOFTWARE).
    Broken = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
