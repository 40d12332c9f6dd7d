//! A thread that panics ends the process: half a broker would take messages it cannot deliver. Whoever runs the
//! broker starts it again.

use std::any::Any;
use std::io::Write;
use std::panic::PanicHookInfo;

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

    /// Says to the test's own binary that it is to panic.
    const CHILD: &str = "PELTON_TEST_PANICS";

    #[test]
    fn a_thread_that_panics_ends_the_process() {
        if std::env::var_os(CHILD).is_some() {
            exit_on_panic();
            let thread = std::thread::Builder::new().name("shard-3".into());
            let _ = thread.spawn(|| panic!("out of {}", "luck")).map(std::thread::JoinHandle::join);
            return;
        }
        let myself = std::env::current_exe().expect("the system knows it");
        let output = Command::new(myself)
            .args(["--exact", "broken::tests::a_thread_that_panics_ends_the_process", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("the test's own binary runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(70), "{err}");
        assert!(
            err.contains("pelton: thread shard-3 panicked at ") && err.contains(": out of luck;"),
            "{err}"
        );
    }
}
