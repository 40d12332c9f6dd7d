//! A network namespace of a test's own, with a TAP device in it whose kernel's end has addresses.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs `test` in a thread in a namespace of its own, which has a loopback and `tap0` with 10.0.0.1 and fd00::1. It takes
/// root; where it cannot be, that is said, and with `PELTON_REQUIRE_ROOT=1` it is a failure.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("pelton-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let Some(namespace) = Namespace::new(name) else {
        let skipped = "SKIPPED (needs root, ip and /dev/net/tun): a broker on a TAP device\n";
        assert!(std::env::var("PELTON_REQUIRE_ROOT").as_deref() != Ok("1"), "{skipped}");
        // Not by a macro: what those print of a test that passes is kept from everybody.
        let _ = std::io::stderr().write_all(skipped.as_bytes());
        return;
    };
    let file = File::open(format!("/run/netns/{}", namespace.0)).expect("it was just made");
    let thread = std::thread::spawn(move || {
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(file.as_fd(), network).expect("root may enter it");
        for line in [
            "ip link set lo up",
            "ip tuntap add dev tap0 mode tap multi_queue",
            "ip address add 10.0.0.1/24 dev tap0",
            "ip address add fd00::1/64 dev tap0 nodad",
            "ip link set tap0 up",
        ] {
            assert!(run(line), "{line}");
        }
        test();
    });
    let outcome = thread.join();
    drop(namespace);
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// A link from this thread's namespace, where its end is `v0` with 10.9.0.1 and fd09::1, to another one, where its end is
/// `v1` with 10.9.0.2 and fd09::2.
pub(crate) struct Far(Namespace);

impl Far {
    pub(crate) fn new(queues: u16) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pelton-far-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let far = Self(Namespace::new(name).expect("a namespace"));
        let name = &far.0.0;
        let queues = format!("numrxqueues {queues} numtxqueues {queues}");
        for line in [
            format!("ip link add v0 {queues} type veth peer name v1 netns {name} {queues}"),
            "ip address add 10.9.0.1/24 dev v0".into(),
            "ip address add fd09::1/64 dev v0 nodad".into(),
            "ip link set v0 up".into(),
            format!("ip -n {name} address add 10.9.0.2/24 dev v1"),
            format!("ip -n {name} address add fd09::2/64 dev v1 nodad"),
            format!("ip -n {name} link set v1 up"),
            // Without it segments arrive with checksums that a device was to fill in.
            format!("ip netns exec {name} ethtool -K v1 tx off"),
        ] {
            assert!(run(&line), "{line}");
        }
        far
    }

    /// Runs something at the far end.
    pub(crate) fn run<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.0.0)).expect("it is there");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(file.as_fd(), network).expect("root may enter it");
                run()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

struct Namespace(String);

impl Namespace {
    fn new(name: String) -> Option<Self> {
        let there = std::path::Path::new("/dev/net/tun").exists() && run(&format!("ip netns add {name}"));
        there.then_some(Self(name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run(&format!("ip netns delete {}", self.0));
    }
}

/// Runs a command where this thread is.
pub(crate) fn run(line: &str) -> bool {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).status().is_ok_and(|status| status.success())
}
