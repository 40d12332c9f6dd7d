//! A veth pair of four queues between two namespaces, and the binary run at one end.

use std::path::PathBuf;
use std::process::Output;

use pelton_tests::binary::build;
use pelton_tests::namespace::Namespace;
use serde_json::Value;

/// The interface at our end.
pub(crate) const OURS: &str = "veth0";

/// The link. It goes with this.
pub(crate) struct Link {
    pub(crate) ours: Namespace,
    pub(crate) theirs: Namespace,
    binary: PathBuf,
}

/// What a run of the binary left behind.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the binary writes UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// What it wrote, as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }
}

impl Link {
    /// A new one, both ends up.
    pub(crate) fn new() -> Self {
        let (ours, theirs) = (Namespace::new(), Namespace::new());
        ours.run(&format!(
            "ip link add {OURS} numrxqueues 4 numtxqueues 4 type veth peer name veth1 netns {} numrxqueues 4 numtxqueues 4",
            theirs.name()
        ));
        ours.run(&format!("ip address add 10.78.0.1/24 dev {OURS}"));
        ours.run(&format!("ip link set {OURS} up"));
        theirs.run("ip address add 10.78.0.2/24 dev veth1");
        theirs.run("ip link set veth1 up");
        Self { ours, theirs, binary: build("pelton", "pelton") }
    }

    /// Runs the binary to its end.
    pub(crate) fn pelton(&self, arguments: &str) -> Ended {
        let words = arguments.split(' ');
        Ended::of(self.ours.command(&self.binary).args(words).output().expect("ip is there"))
    }

    /// Runs lines of a shell in one view of the file system; `$PELTON` is the binary.
    pub(crate) fn shell(&self, lines: &str) -> Ended {
        let mut command = self.ours.command("sh");
        let output = command.args(["-c", lines]).env("PELTON", &self.binary).output();
        Ended::of(output.expect("ip is there"))
    }
}
