//! A thread that panics ends the process: half a broker would take messages it cannot deliver. Whoever runs the
//! broker starts it again.

use std::any::Any;
use std::panic::PanicHookInfo;

use crate::exit::Exit;

/// From now on a panic in any thread says where and why, and ends the process.
pub(crate) fn exit_on_panic() {
    std::panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let thread = std::thread::current();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        // Not by the log: the panic may be in it.
        eprintln!(
            "pelton: thread {} panicked at {place}: {}; this is a fault of the broker, please report it",
            thread.name().unwrap_or("without name"),
            message(info.payload())
        );
        if let Ok("1" | "full") = std::env::var("RUST_BACKTRACE").as_deref() {
            eprintln!("{}", std::backtrace::Backtrace::force_capture());
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
