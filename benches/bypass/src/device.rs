//! The AF_XDP port of an interface that the generator has to itself, and the broker's Ethernet address.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use pelton_afxdp::{CatchAll, Hook, Settings, Take, XdpPort};
use pelton_packet::{Link, MacAddress};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long the broker has to answer for its address.
const RESOLVE: Duration = Duration::from_secs(3);

/// An opened interface.
pub struct Device {
    /// The port.
    pub port: XdpPort,
    /// Detached when dropped.
    pub program: CatchAll,
    /// From us to the broker.
    pub link: Link,
}

impl Device {
    /// Opens an interface: every TCP frame that arrives is the generator's from now on.
    ///
    /// # Errors
    /// With what is missing.
    pub fn open(settings: &Settings, generic: bool, broker: Ipv4Addr) -> Result<Self, String> {
        let interface = &settings.interface;
        let own = format!("/sys/class/net/{interface}/address");
        let source = fs::read_to_string(&own)
            .ok()
            .and_then(|text| mac(text.trim()))
            .ok_or_else(|| format!("there is no interface `{interface}` here (`{own}` cannot be read)"))?;
        let destination = resolve(broker)?;
        let port = XdpPort::open(settings).map_err(|error| error.to_string())?;
        let hook = if generic { Hook::Generic } else { Hook::Native };
        let program = CatchAll::attach(interface, hook, Take::TcpOverIpv4, port.queues())
            .map_err(|error| error.to_string())?;
        Ok(Self { port, program, link: Link { source, destination, vlan: None } })
    }
}

/// Sleeps until something arrives, at most a millisecond.
pub fn rest(port: &XdpPort) {
    let mut fds: Vec<_> = port.queues().map(|(_, fd)| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    // Interrupted, or nothing came: the caller looks again.
    let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 }));
}

fn mac(text: &str) -> Option<MacAddress> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(MacAddress(bytes))
}

/// Has the kernel find the broker's Ethernet address, and reads it from its table.
fn resolve(broker: Ipv4Addr) -> Result<MacAddress, String> {
    let nothing = |error| format!("cannot send to {broker}: {error}");
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(nothing)?;
    let end = Instant::now() + RESOLVE;
    while Instant::now() < end {
        // To the discard port: what counts is that the kernel asks for the address.
        socket.send_to(b"?", (broker, 9)).map_err(nothing)?;
        std::thread::sleep(Duration::from_millis(50));
        let table = fs::read_to_string("/proc/net/arp").map_err(|error| format!("/proc/net/arp: {error}"))?;
        let found = table.lines().skip(1).find_map(|line| {
            let mut columns = line.split_whitespace();
            let address: Ipv4Addr = columns.next()?.parse().ok()?;
            let address_of = columns.nth(2).and_then(mac)?;
            (address == broker && address_of != MacAddress::default()).then_some(address_of)
        });
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Err(format!("nobody answers for {broker} on the link: is the address right, and the other end up?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernet_addresses_are_read() {
        assert_eq!(mac("02:00:0a:ff:00:01"), Some(MacAddress([2, 0, 10, 255, 0, 1])));
        assert_eq!(mac("02:00:0a:ff:00"), None);
        assert_eq!(mac("02:00:0a:ff:00:01:02"), None);
    }
}
