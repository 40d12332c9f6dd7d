//! File descriptors: one for each connection, so their limit is a limit on connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process needs besides connections, and for each shard: listeners, epoll, eventfd.
const OWN: u64 = 64;
const PER_SHARD: u64 = 16;

/// Raises the soft limit to the hard one and returns what it is now; `None` for no limit.
pub(crate) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Refused: then it stays, and what it is is said.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current
}

/// Connections that fit in so many descriptors.
pub(crate) fn connections(limit: u64, shards: u16) -> u64 {
    limit.saturating_sub(OWN + PER_SHARD * u64::from(shards))
}
