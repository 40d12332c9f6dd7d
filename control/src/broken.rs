//! A thread that panics, or does not end when it should, ends the process: half a broker would take messages it cannot
//! deliver. Whoever runs the broker starts it again.

use std::any::Any;
use std::io::Write;
use std::panic::PanicHookInfo;
use std::time::Duration;

use crate::exit::Exit;

/// From now on a panic in any thread says where and why, and ends the process.
pub(crate) fn exit_on_panic() {
    std::panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let thread = std::thread::current();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        // Not by the log: the panic may be in it. And it is all the same whether somebody reads it.
        let mut err = std::io::stderr();
        let _ = writeln!(
            err,
            "pelton: thread {} panicked at {place}: {}; this is a fault of the broker, please report it",
            thread.name().unwrap_or("without name"),
            message(info.payload())
        );
        if let Ok("1" | "full") = std::env::var("RUST_BACKTRACE").as_deref() {
            let _ = writeln!(err, "{}", std::backtrace::Backtrace::force_capture());
        }
        std::process::exit(Exit::Broken as i32);
    }));
}

/// From now on the process has so long to end. If a thread holds it up beyond that, it is ended.
pub(crate) fn exit_after(limit: Duration) {
    let guard = std::thread::Builder::new().name("guard".into()).spawn(move || {
        std::thread::sleep(limit);
        let mut err = std::io::stderr();
        let _ = writeln!(
            err,
            "pelton: a thread did not end in time; this is a fault of the broker, please report it"
        );
        std::process::exit(Exit::Broken as i32);
    });
    // Without a thread for it there is no guard; whoever sent the signal can send a second.
    drop(guard);
}

fn message(payload: &dyn Any) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Says to the test's own binary that it is to break.
    const CHILD: &str = "PELTON_TEST_BREAKS";

    /// Runs one test of this binary in a process of its own.
    fn child(test: &str) -> (Option<i32>, String) {
        let myself = std::env::current_exe().expect("the system knows it");
        let output = Command::new(myself)
            .args(["--exact", &format!("broken::tests::{test}"), "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("the test's own binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[test]
    fn a_thread_that_panics_ends_the_process() {
        if std::env::var_os(CHILD).is_some() {
            exit_on_panic();
            let thread = std::thread::Builder::new().name("shard-3".into());
            let _ = thread.spawn(|| panic!("out of {}", "luck")).map(std::thread::JoinHandle::join);
            return;
        }
        let (code, err) = child("a_thread_that_panics_ends_the_process");
        assert_eq!(code, Some(70), "{err}");
        assert!(
            err.contains("pelton: thread shard-3 panicked at ") && err.contains(": out of luck;"),
            "{err}"
        );
    }

    #[test]
    fn a_thread_that_does_not_end_is_not_waited_for() {
        if std::env::var_os(CHILD).is_some() {
            exit_after(Duration::from_millis(50));
            std::thread::sleep(Duration::from_secs(10));
            return;
        }
        let (code, err) = child("a_thread_that_does_not_end_is_not_waited_for");
        assert_eq!(code, Some(70), "{err}");
        assert!(err.contains("did not end in time"), "{err}");
    }
}
