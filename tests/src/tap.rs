//! A broker on a TAP device, in a namespace of its own: the kernel's end of the link has 10.77.0.1 and fd77::1.

use std::process::Command;

use crate::binary::{Pelton, build};
use crate::namespace::Namespace;
use crate::scratch::Scratch;

/// The broker's own addresses there.
pub const ADDRESSES: [&str; 2] = ["10.77.0.2", "fd77::2"];

/// A broker that runs.
#[derive(Debug)]
pub struct OnTap {
    // In this order they go.
    _broker: Pelton,
    _data: Scratch,
    namespace: Namespace,
}

impl OnTap {
    /// Starts one with so many shards. Port 1883, on the device and on the loopback of its namespace.
    ///
    /// # Panics
    /// If it cannot be: see [`is_possible`](crate::namespace::is_possible).
    pub fn start(shards: u16, arguments: &[&str]) -> Self {
        let namespace = Namespace::new();
        for line in [
            "ip tuntap add dev tap0 mode tap multi_queue",
            "ip address add 10.77.0.1/24 dev tap0",
            "ip address add fd77::1/64 dev tap0 nodad",
            "ip link set tap0 up",
        ] {
            namespace.run(line);
        }
        let data = Scratch::directory();
        let binary = build("pelton", "pelton");
        let interface = format!("tap:tap0={}/24,{}/64", ADDRESSES[0], ADDRESSES[1]);
        let shards = shards.to_string();
        let mut all = vec!["--interface", &interface, "--shards", &shards];
        all.extend(arguments);
        let local = ([127, 0, 0, 1], 1883).into();
        let broker = Pelton::start_by(namespace.command(&binary), local, data.path(), &all);
        Self { _broker: broker, _data: data, namespace }
    }

    /// A program that has the broker within reach.
    pub fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }

    /// The namespace.
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}
