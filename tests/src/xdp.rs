//! A broker on one end of a veth pair by AF_XDP, in a namespace of its own; whoever wants something of it is at the other
//! end, in another. The broker's end has 10.78.0.1 and fd78::1, the other 10.78.0.2 and fd78::2.

use std::process::Command;

use crate::binary::{Pelton, build};
use crate::namespace::Namespace;
use crate::scratch::Scratch;

/// The broker's addresses on the link.
pub const ADDRESSES: [&str; 2] = ["10.78.0.1", "fd78::1"];

/// A link between two namespaces.
#[derive(Debug)]
pub struct Link {
    /// Where the broker is to be, at `v0`.
    pub near: Namespace,
    /// The other end, `v1`.
    pub far: Namespace,
}

impl Link {
    /// A link with so many queues each way.
    ///
    /// # Panics
    /// If it cannot be: see [`is_possible`](crate::namespace::is_possible).
    pub fn new(queues: u16) -> Self {
        let (near, far) = (Namespace::new(), Namespace::new());
        let queues = format!("numrxqueues {queues} numtxqueues {queues}");
        near.run(&format!("ip link add v0 {queues} type veth peer name v1 netns {} {queues}", far.name()));
        for (namespace, device, number) in [(&near, "v0", 1), (&far, "v1", 2)] {
            namespace.run(&format!("ip address add 10.78.0.{number}/24 dev {device}"));
            namespace.run(&format!("ip address add fd78::{number}/64 dev {device} nodad"));
            namespace.run(&format!("ip link set {device} up"));
        }
        // Frames as a network card brings them: with their checksums, no longer than the link's.
        far.run("ethtool -K v1 tx off tso off gso off");
        Self { near, far }
    }
}

/// A broker that runs.
#[derive(Debug)]
pub struct OnXdp {
    // In this order they go.
    broker: Pelton,
    data: Scratch,
    link: Link,
}

impl OnXdp {
    /// Starts one on a link, with more arguments. Port 1883, on the link and on the loopback of its namespace.
    ///
    /// # Panics
    /// If it does not serve the link by AF_XDP.
    pub fn start(link: Link, mode: &str, shards: u16, arguments: &[&str]) -> Self {
        let data = Scratch::directory();
        let broker = Self::run(&link, &data, mode, shards, arguments);
        Self { broker, data, link }
    }

    fn run(link: &Link, data: &Scratch, mode: &str, shards: u16, arguments: &[&str]) -> Pelton {
        let binary = build("pelton", "pelton");
        let (interface, shards) = (format!("{mode}:v0"), shards.to_string());
        let mut all = vec!["--interface", &interface, "--require", "--shards", &shards];
        all.extend(arguments);
        let local = ([127, 0, 0, 1], 1883).into();
        Pelton::start_by(link.near.command(&binary), local, data.path(), &all)
    }

    /// Ends the broker as SIGKILL does and starts it again on the same store.
    pub fn kill_and_start(&mut self, mode: &str, shards: u16, arguments: &[&str]) {
        self.broker.kill();
        self.start_again(mode, shards, arguments);
    }

    /// Starts one that has ended on the same store.
    pub fn start_again(&mut self, mode: &str, shards: u16, arguments: &[&str]) {
        self.broker = Self::run(&self.link, &self.data, mode, shards, arguments);
    }

    /// Ends the broker as an operator does.
    pub fn stop(&mut self) {
        self.broker.stop();
    }

    /// Ends the broker as SIGKILL does.
    pub fn kill(&mut self) {
        self.broker.kill();
    }

    /// A program at the other end.
    pub fn command(&self, program: &str) -> Command {
        self.link.far.command(program)
    }

    /// The next line of its log that holds this, once it serves.
    pub fn says(&self, what: &str) -> String {
        self.broker.says(what)
    }

    /// The link.
    pub const fn link(&self) -> &Link {
        &self.link
    }
}
