//! Where it happens: network namespaces. In the middle a bridge, with our server's TAP device on it and a cable to the
//! client's namespace, one to that of a kernel's server, and a second kernel's server behind a TAP device as ours is. Frames
//! get lost as the bridge forwards them, in both directions.
//!
//! All programs run with real-time priority, so that what else the host does has little part in the times.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pelton_tests::namespace::Namespace;

use crate::stream::Deed;

pub(crate) const PORT: u16 = 7_700;
/// Which server, by its address: ours; the kernel's behind a TAP device too; the kernel's on a cable.
pub(crate) const OURS: &str = "10.88.0.2";
pub(crate) const TAP: &str = "10.88.0.4";
pub(crate) const CABLE: &str = "10.88.0.3";
/// The servers, in the order of their columns.
pub(crate) const SERVERS: [&str; 3] = [OURS, TAP, CABLE];

/// The route of every kernel. Its congestion control is the kernel's own default, whatever this host prefers.
const ROUTE: &str = "10.88.0.0/24 dev eth0 rto_min 300ms congctl cubic";

/// What a client and its kernel are made to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) sack: bool,
    pub(crate) timestamps: bool,
    pub(crate) window_scaling: bool,
    pub(crate) mtu: u16,
    /// The receive window it announces, and its buffers; 0 for what the kernel likes.
    pub(crate) window: usize,
}

pub(crate) struct Place {
    switch: Namespace,
    client: Namespace,
    _kernels: [Namespace; 2],
    servers: Vec<Child>,
    own: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let (switch, client) = (Namespace::new(), Namespace::new());
        let (cable, tap) = (Namespace::new(), Namespace::new());
        let own = std::env::current_exe().expect("a program knows where it is");
        switch.run("ip link add br0 type bridge");
        switch.run("ip link set br0 up");
        for name in ["tap0", "tap1", "eth0"] {
            switch.run(&format!("ip tuntap add dev {name} mode tap"));
            // A device without a driver to push back: its queue must hold what a window holds.
            switch.run(&format!("ip link set {name} txqueuelen 10000"));
        }
        switch.run("ip link set tap0 master br0 up");
        switch.run("ip link set tap1 master br0 up");
        let wire = start(urgent(&switch, &own).args(["relay", "tap1", "eth0"]));
        switch.run(&format!("ip link set eth0 netns {}", tap.name()));
        for (name, namespace) in [("client", &client), ("cable", &cable)] {
            let peer = namespace.name();
            switch.run(&format!("ip link add {name} type veth peer name eth0 netns {peer}"));
            switch.run(&format!("ip link set {name} master br0 up"));
        }
        for (namespace, address) in [(&client, "10.88.0.1"), (&cable, CABLE), (&tap, TAP)] {
            namespace.run(&format!("ip address add {address}/24 dev eth0"));
            namespace.run("ip link set eth0 up");
            // A frame is a segment, as on a wire: what is lost is one, and not 64 KiB.
            namespace.run("ethtool -K eth0 tso off gso off gro off");
            // One run must not learn from those before it.
            write_settings(namespace, &[("tcp_no_metrics_save", "1")]);
            namespace.run(&format!("ip route replace {ROUTE} src {address}"));
        }
        let mut servers = vec![wire, start(urgent(&switch, &own).args(["ours", "tap0", OURS]))];
        for (namespace, address) in [(&cable, CABLE), (&tap, TAP)] {
            servers.push(start(urgent(namespace, &own).args(["kernel", &format!("{address}:{PORT}")])));
        }
        Self { switch, client, _kernels: [cable, tap], servers, own }
    }

    /// Makes the client's kernel what it is to be.
    pub(crate) fn shape(&self, shape: &Shape) {
        let flag = |on| if on { "1" } else { "0" };
        write_settings(
            &self.client,
            &[
                ("tcp_sack", flag(shape.sack)),
                ("tcp_timestamps", flag(shape.timestamps)),
                ("tcp_window_scaling", flag(shape.window_scaling)),
            ],
        );
        self.client.run(&format!("ip link set eth0 mtu {}", shape.mtu));
        let window = if shape.window == 0 { String::new() } else { format!(" window {}", shape.window) };
        self.client.run(&format!("ip route replace {ROUTE} src 10.88.0.1{window}"));
    }

    /// Makes the bridge lose so many of a thousand packets.
    pub(crate) fn lose(&self, permille: u32) {
        let _ = self.switch.try_run("nft delete table bridge loss");
        if permille == 0 {
            return;
        }
        let rules = format!(
            "table bridge loss {{\nchain forward {{\ntype filter hook forward priority 0;\nether type ip numgen random \
             mod 1000 < {permille} drop\n}}\n}}\n"
        );
        let mut nft =
            self.switch.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft starts");
        nft.stdin.take().expect("it is piped").write_all(rules.as_bytes()).expect("it reads");
        assert!(nft.wait().expect("it is our child").success(), "nft refuses: {rules}");
    }

    /// One run; how long it took, or what went wrong.
    pub(crate) fn run(
        &self,
        server: &str,
        deed: Deed,
        bytes: u64,
        shape: &Shape,
    ) -> Result<Duration, String> {
        let deed = match deed {
            Deed::Get => "get",
            Deed::Put => "put",
            Deed::Echo => "echo",
        };
        let mut command = urgent(&self.client, &self.own);
        command.args(["client", &format!("{server}:{PORT}"), deed, &bytes.to_string()]);
        command.args(["--buffer", &shape.window.to_string()]);
        let output = command.output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        said.trim().parse().map(Duration::from_micros).map_err(|_| failed())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// A program in a namespace, before all others of the host.
fn urgent(namespace: &Namespace, program: &Path) -> Command {
    let mut command = namespace.command("chrt");
    command.args(["-f", "10"]).arg(program);
    command
}

/// Starts a server and waits until it is ready.
fn start(command: &mut Command) -> Child {
    let mut server = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut line = String::new();
    let out = server.stdout.take().expect("it is piped");
    BufReader::new(out).read_line(&mut line).expect("it is a pipe");
    assert_eq!(line, "ready\n", "the server did not start");
    server
}

fn write_settings(namespace: &Namespace, settings: &[(&str, &str)]) {
    for (name, value) in settings {
        let script = format!("echo {value} > /proc/sys/net/ipv4/{name}");
        let status = namespace.command("sh").args(["-c", &script]).status().expect("there is a shell");
        assert!(status.success(), "{script}");
    }
}
