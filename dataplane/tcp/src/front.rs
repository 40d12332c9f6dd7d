//! SYNs that are answered with cookies in front of the stack, before a frame reaches it (`ebpf/classifier`): what the one
//! in front must know, so that the stack takes the cookies for its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pelton_base::{HashKey, Mono};
use pelton_packet::Port;

use crate::stack::Tcp;

/// What an answer with a cookie of a stack is made of, beside the SYN and the stack's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieTerms {
    /// The key of cookies.
    pub key: HashKey,
    /// The key of what time stamps are offset by.
    pub stamps: HashKey,
    /// The largest segment that is taken over IPv4.
    pub mss_v4: u16,
    /// The largest segment that is taken over IPv6.
    pub mss_v6: u16,
    /// The window of a SYN-ACK.
    pub window: u16,
    /// The shift of the windows behind it; `None` if window scaling is not agreed to.
    pub scale: Option<u8>,
    /// SACK is agreed to.
    pub sack: bool,
    /// Time stamps are agreed to.
    pub timestamps: bool,
}

impl<P: Port> Tcp<P> {
    /// The terms of this stack's cookies.
    pub fn cookie_terms(&self) -> CookieTerms {
        CookieTerms {
            key: self.keys.cookie,
            stamps: self.keys.stamps,
            mss_v4: self.own_mss(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            mss_v6: self.own_mss(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            window: self.settings.receive_window_bytes.min(65_535) as u16,
            scale: self.settings.window_scaling.then(|| self.settings.receive_scale()),
            sack: self.settings.sack,
            timestamps: self.settings.timestamps,
        }
    }

    /// Takes keys that other stacks use, too: one in front of several knows one pair. Before there are connections.
    pub fn set_cookie_keys(&mut self, key: HashKey, stamps: HashKey) {
        self.keys.cookie = key;
        self.keys.stamps = stamps;
    }

    /// Cookies were sent in front of the stack up to this time: ACKs that belong to nothing may be theirs for two
    /// minutes more.
    pub fn cookies_were_sent(&mut self, until: Mono) {
        self.cookies_until = self.cookies_until.max(until.plus_ms(crate::handshake::COOKIE_LIFE_MS));
    }
}

#[cfg(test)]
mod tests;
