//! The broker on AF_XDP in a namespace of its own, its clients at the other end of the link, which loses frames.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pelton_tests::xdp::{ADDRESSES, Link};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::run::Site;

/// A link with losses, and who is at its far end.
pub(crate) struct Far(Link);

impl Far {
    pub(crate) fn new() -> Self {
        let link = Link::new(2);
        for line in [
            "nft add table inet losses",
            "nft add chain inet losses in { type filter hook input priority 0; }",
            "nft add chain inet losses out { type filter hook output priority 0; }",
            "nft add rule inet losses in tcp sport 1883 numgen random mod 50 < 1 drop",
            "nft add rule inet losses out tcp dport 1883 numgen random mod 50 < 1 drop",
        ] {
            link.far.run(line);
        }
        Self(link)
    }

    /// Runs the clients at the far end: threads that are started there stay there.
    pub(crate) fn run(&self, clients: impl FnOnce() + Send) {
        let place = File::open(format!("/run/netns/{}", self.0.far.name())).expect("it is there");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let network = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(place.as_fd(), network).expect("root may enter it");
                clients();
            });
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }
}

impl Site for Far {
    fn command(&self, binary: &Path) -> Command {
        self.0.near.command(binary)
    }

    fn bind(&self) -> SocketAddr {
        ([127, 0, 0, 1], 1883).into()
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(ADDRESSES[0].parse().expect("an address"), 1883)
    }

    fn arguments(&self) -> &[&str] {
        &["--shards", "2", "--interface", "copy:v0", "--require"]
    }

    fn patience(&self) -> Duration {
        // An attempt to connect to a broker that is being killed may wait for its time-outs.
        Duration::from_secs(20)
    }

    fn quiet(&self) -> Duration {
        // A frame that is lost is sent again after 300 ms, or twice that.
        Duration::from_secs(1)
    }
}
