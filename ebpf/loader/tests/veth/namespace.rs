//! Two network namespaces joined by a veth pair: the broker's side, where the test runs, and the clients'.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use pelton_ebpf_loader::{Frames, Mode, OnExit, Steering};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Names of this process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The broker's interface.
pub(crate) const OURS: &str = "pelton0";
/// The clients'.
const THEIRS: &str = "pelton1";

/// A BPF file system of the test's own. It goes with this.
pub(crate) struct BpfFs(pub(crate) PathBuf);

impl BpfFs {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("pelton-bpf-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        run("mount", &format!("-t bpf none {}", path.display()));
        Self(path)
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// The two namespaces. They go with this.
pub(crate) struct Network {
    broker: String,
    clients: String,
}

/// Whether the tests can run; if not, that is said, or an error where it is required.
pub(crate) fn is_permitted() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var_os("PELTON_REQUIRE_ROOT").is_none(),
        "network namespaces cannot be made without root"
    );
    // Not by a macro whose output the test harness keeps to itself.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: network namespaces cannot be made without root (PELTON_REQUIRE_ROOT=1 fails here)"
    );
    false
}

impl Network {
    pub(crate) fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |side: &str| format!("pelton-xdp-{}-{number}-{side}", std::process::id());
        let network = Self { broker: name("b"), clients: name("c") };
        let (b, c) = (&network.broker, &network.clients);
        ip(&format!("netns add {b}"));
        ip(&format!("netns add {c}"));
        ip(&format!("link add {OURS} netns {b} type veth peer name {THEIRS} netns {c}"));
        for (at, interface, host) in [(b, OURS, 1), (c, THEIRS, 2)] {
            ip(&format!("-n {at} addr add 10.77.0.{host}/24 dev {interface}"));
            ip(&format!("-n {at} addr add fd77::{host}/64 dev {interface} nodad"));
            for link in ["lo", interface] {
                ip(&format!("-n {at} link set {link} up"));
            }
        }
        // Whole checksums in the frame. TSO off, for generic mode: the driver does it for native mode.
        for features in ["tx off", "tso off", "gso off"] {
            run("ip", &format!("netns exec {c} ethtool -K {THEIRS} {features}"));
        }
        network
    }

    /// Has the clients' end of the pair take what XDP sends back in native mode, which a veth does only with a program of
    /// its own: one without services, that passes everything.
    pub(crate) fn takes_frames_from_xdp(&self) -> Steering {
        self.as_client(|| {
            let mut passes = Steering::load(Frames::InOnePiece).unwrap();
            passes.attach(THEIRS, Mode::Native, OnExit::Detach).unwrap();
            passes
        })
    }

    /// Does something where the broker is.
    pub(crate) fn as_broker<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        within(&self.broker, what)
    }

    /// Does something where the clients are.
    pub(crate) fn as_client<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        within(&self.clients, what)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in [&self.broker, &self.clients] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// Runs on a thread of its own in a namespace.
fn within<T: Send>(namespace: &str, what: impl FnOnce() -> T + Send) -> T {
    let file = File::open(format!("/var/run/netns/{namespace}")).expect("the namespace is there");
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
            what()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn ip(arguments: &str) {
    run("ip", arguments);
}

fn run(program: &str, arguments: &str) {
    let output = Command::new(program)
        .args(arguments.split(' '))
        .output()
        .unwrap_or_else(|error| panic!("{program} is not there: {error}"));
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
