//! Signals: SIGTERM and SIGINT end the broker, a second one at once; SIGHUP reads the log level again.

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// End in good order.
    Stop,
    /// Read the log level again.
    Reload,
}

/// Signals from now on, as wishes.
///
/// # Errors
/// If the system refuses the handlers or the thread.
pub(crate) fn wishes() -> std::io::Result<Receiver<Wish>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    // Wishes that nobody takes any more are not kept.
    let (sender, wishes) = bounded(16);
    let mut stopping = false;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                let _ = sender.try_send(Wish::Reload);
            } else if std::mem::replace(&mut stopping, true) {
                // Without a word: whoever does not read the log must not hold this up. The code is what a shell
                // makes of a process that a signal ended.
                std::process::exit(128 + signal);
            } else {
                let _ = sender.try_send(Wish::Stop);
            }
        }
    })?;
    Ok(wishes)
}
