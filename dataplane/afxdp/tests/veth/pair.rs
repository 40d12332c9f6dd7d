//! A veth pair in a network namespace of the calling thread's own.

use std::process::Command;

/// Whether these tests can run here.
fn privileged() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Runs a test on a thread in a new network namespace, which goes with it.
pub(crate) fn in_namespace(test: impl FnOnce() + Send) {
    if !privileged() {
        assert!(std::env::var_os("PELTON_REQUIRE_ROOT").is_none(), "AF_XDP tests need root");
        eprintln!("NOT RUN: AF_XDP tests need root (they make a network namespace of their own)");
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: concerns this thread alone, which ends with the test.
            let done = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(done, 0, "a network namespace: {}", std::io::Error::last_os_error());
            test();
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("`ip` of iproute2");
    assert!(status.success(), "ip {arguments}");
}

/// Two interfaces, each receiving what the other sends.
pub(crate) struct Pair;

impl Pair {
    pub(crate) fn new(queues: u32) -> Self {
        let queues = format!("numrxqueues {queues} numtxqueues {queues}");
        ip(&format!("link add va {queues} type veth peer name vb {queues}"));
        for end in ["va", "vb"] {
            // No IPv6: the kernel sends nothing of its own.
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1").expect("no IPv6");
            ip(&format!("link set {end} up"));
        }
        Self
    }

    /// Takes end b down.
    #[allow(dead_code, reason = "not everyone who uses this module does")]
    pub(crate) fn take_down(&self) {
        ip("link set vb down");
    }

    pub(crate) fn a(&self) -> &'static str {
        "va"
    }

    pub(crate) fn b(&self) -> &'static str {
        "vb"
    }
}
