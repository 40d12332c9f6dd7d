//! What can be set. Our TCP has most of its limits and times per stack, not per connection: an option set on a socket
//! holds for all of them, which in a script with one connection is the same.

use std::net::IpAddr;

use pelton_tcp::{Ecn, Settings, SocketId, State};

use crate::call::{Errno, errno};
use crate::world::{World, usual_addresses};

/// What the flags of the shared object say: `name=value` with commas between.
pub(crate) struct Flags {
    pub(crate) settings: Settings,
    pub(crate) mtu: u16,
    /// Of this side, for connections that are opened from here.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Flags {
    /// Where they say nothing the receive window is as wide as the scripts take Linux's to be (their window scale of
    /// 8), and the least retransmission time-out as short.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut flags = Self {
            settings: Settings {
                receive_window_bytes: 65_535 << 8,
                // The scripts know no window that grows.
                receive_window_max_bytes: 0,
                rto_min_ms: 200,
                connections_max: 1 << 10,
                half_open_max: 1 << 10,
                time_wait_max: 1 << 10,
                cold_max: 1 << 10,
                ..Settings::default()
            },
            mtu: 1_500,
            addresses: usual_addresses(),
        };
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| format!("{pair}: a name and a value are wanted"))?;
            if name == "local" {
                flags.addresses = vec![value.parse().map_err(|_| format!("{pair}: an address is wanted"))?];
                continue;
            }
            flags.set(name, value.parse().map_err(|_| format!("{pair}: a number is wanted"))?)?;
        }
        Ok(flags)
    }

    fn set(&mut self, name: &str, value: u32) -> Result<(), String> {
        let settings = &mut self.settings;
        match name {
            "mtu" => self.mtu = value as u16,
            "segment_bytes_max" => settings.segment_bytes_max = value as u16,
            "receive_window_bytes" => settings.receive_window_bytes = value,
            "rto_min_ms" => settings.rto_min_ms = value,
            "rto_initial_ms" => settings.rto_initial_ms = value,
            "rto_max_ms" => settings.rto_max_ms = value,
            "user_timeout_ms" => settings.user_timeout_ms = value,
            "delayed_ack_ms" => settings.delayed_ack_ms = value,
            "peer_ack_delay_ms" => settings.peer_ack_delay_ms = value,
            "linger_ms" => settings.linger_ms = value,
            "fin_wait_2_ms" => settings.fin_wait_2_ms = value,
            "time_wait_ms" => settings.time_wait_ms = value,
            "sack" => settings.sack = value != 0,
            "ecn" => {
                settings.ecn = match value {
                    0 => Ecn::Off,
                    1 => Ecn::Ask,
                    _ => Ecn::Accept,
                }
            }
            "timestamps" => settings.timestamps = value != 0,
            "window_scaling" => settings.window_scaling = value != 0,
            _ => return Err(format!("{name}: no such flag")),
        }
        Ok(())
    }
}

impl World {
    /// The value of an option.
    pub(crate) fn option(&mut self, socket: SocketId, level: i32, name: i32) -> Result<i32, Errno> {
        let settings = self.sockets.settings();
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_ERROR) => {
                let failure = self.sockets.take_failure(socket).map_err(errno)?;
                Ok(failure.map_or(0, errno))
            }
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => {
                Ok(self.sockets.send_bytes_max(socket).map_err(errno)? as i32)
            }
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => Ok(settings.receive_window_bytes as i32),
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => Ok(i32::from(settings.keep_alive_idle_ms != 0)),
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => Ok(1),
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => Ok(settings.user_timeout_ms as i32),
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => {
                let most = match settings.segment_bytes_max {
                    0 => 536,
                    most => i32::from(most),
                };
                let info = self.sockets.info(socket).map_err(errno)?;
                Ok(info
                    .filter(|info| info.state != State::SynSent)
                    .map_or(most, |info| info.segment_bytes as i32))
            }
            _ => Err(libc::ENOPROTOOPT),
        }
    }

    /// Sets an option.
    pub(crate) fn set_option(
        &mut self,
        socket: SocketId,
        level: i32,
        name: i32,
        value: i32,
    ) -> Result<(), Errno> {
        let positive = u32::try_from(value).map_err(|_| libc::EINVAL)?;
        let settings = self.sockets.settings();
        match (level, name) {
            // Whatever was bound before, the stack takes a new one; and it never waits for more to send.
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) | (libc::IPPROTO_TCP, libc::TCP_NODELAY) => {}
            // Linux doubles it, for what it keeps beside the data.
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => {
                self.sockets.set_send_bytes_max(socket, positive as usize * 2).map_err(errno)?;
            }
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => settings.receive_window_bytes = positive,
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => {
                settings.keep_alive_idle_ms = if positive == 0 { 0 } else { 7_200_000 };
            }
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => settings.keep_alive_idle_ms = positive * 1_000,
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => settings.keep_alive_interval_ms = positive * 1_000,
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => settings.keep_alive_probes = positive.min(255) as u8,
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => settings.user_timeout_ms = positive,
            // Linux takes none below 88, nor more than its widest window.
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) if (88..=32_767).contains(&positive) => {
                settings.segment_bytes_max = positive as u16;
            }
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => return Err(libc::EINVAL),
            _ => return Err(libc::ENOPROTOOPT),
        }
        Ok(())
    }
}
