//! Listening sockets: one for each configured address and shard, all on the same port. TCP: ordered, lossless,
//! both ways [MQTT-4.2.0-1].

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use pelton_base::Patience;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, listen, socket_with, sockopt,
};

/// Connections that may wait to be accepted, a listener. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 16_384;

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
}

/// An address could not be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The system's reason.
    pub source: std::io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address = self.address;
        match self.source.kind() {
            std::io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {address}: port {} is in use by another process (find it with: ss -ltnp 'sport = :{}')",
                address.port(),
                address.port()
            ),
            std::io::ErrorKind::PermissionDenied => write!(
                f,
                "cannot listen on {address}: not permitted (ports below 1024 need CAP_NET_BIND_SERVICE)"
            ),
            std::io::ErrorKind::AddrNotAvailable => {
                write!(f, "cannot listen on {address}: no interface of this host has that address")
            }
            _ => write!(f, "cannot listen on {address}: {}", self.source),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The listening sockets of one shard.
#[derive(Debug, Default)]
pub struct Listeners {
    pub(crate) sockets: Vec<OwnedFd>,
    /// Whether connections can be watched.
    pub(crate) keep_alive: bool,
}

impl Listeners {
    /// Opens the listeners of all shards. Either all addresses can be listened on, or none is.
    ///
    /// # Errors
    /// The first address that cannot be listened on.
    pub fn open(
        binds: &[Bind],
        shards: u16,
        patience: &Patience,
    ) -> Result<(Vec<Self>, Vec<SocketAddr>), BindError> {
        let mut all: Vec<Self> = (0..shards).map(|_| Self::default()).collect();
        let mut addresses = Vec::new();
        for bind in binds {
            let wrap = |source: Errno| BindError { address: bind.address, source: source.into() };
            // With SO_REUSEPORT a second process of the same user could listen beside us without a word: a
            // socket without it says whether the port is free.
            let probe = open_socket(bind.address, false).map_err(wrap)?;
            let mut address = bind.address;
            if address.port() == 0 {
                address = local_address(&probe).unwrap_or(address);
            }
            drop(probe);
            for shard in &mut all {
                let socket = open_socket(address, true).map_err(wrap)?;
                set_patience(&socket, patience).map_err(wrap)?;
                shard.sockets.push(socket);
                shard.keep_alive = patience.keep_alive_idle_ms != 0;
            }
            for shard in &all {
                if let Some(socket) = shard.sockets.last() {
                    listen(socket, BACKLOG).map_err(wrap)?;
                }
            }
            addresses.push(address);
        }
        Ok((all, addresses))
    }
}

fn open_socket(address: SocketAddr, shared: bool) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // A restart must not wait for the TIME-WAIT of the connections before it.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if shared {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two listeners, on every system alike.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Accepted sockets inherit it: no system call per connection.
    sockopt::set_tcp_nodelay(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket)
}

/// Accepted sockets inherit it. Keep-alive itself is switched on where it is asked for
/// ([`keep_alive`](pelton_base::ByteStreams::keep_alive)).
fn set_patience(socket: &OwnedFd, patience: &Patience) -> Result<(), Errno> {
    sockopt::set_tcp_user_timeout(socket, patience.user_timeout_ms)?;
    if patience.keep_alive_idle_ms != 0 {
        sockopt::set_tcp_keepidle(socket, whole_seconds(patience.keep_alive_idle_ms))?;
        sockopt::set_tcp_keepintvl(socket, whole_seconds(patience.keep_alive_interval_ms))?;
        sockopt::set_tcp_keepcnt(socket, patience.keep_alive_probes.max(1).into())?;
    }
    Ok(())
}

/// The kernel counts these in seconds, of which it wants at least one.
fn whole_seconds(ms: u32) -> Duration {
    Duration::from_secs(ms.div_ceil(1_000).max(1).into())
}

fn local_address(socket: &OwnedFd) -> Option<SocketAddr> {
    getsockname(socket).ok()?.try_into().ok()
}
