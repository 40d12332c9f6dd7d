//! Who connects from where to where.

use std::net::{Ipv4Addr, SocketAddr};

/// Local ports that are used, from here up.
const FIRST_PORT: u16 = 1024;
const PORTS: u32 = 64_000;
/// Pairs of local address and port that one stack tells apart.
const LOCAL_ENDS_MAX: u32 = 65_000;

/// The two ends of every connection: as few local ends as will do, since a local end may connect to each of the
/// broker's.
#[derive(Clone, Debug)]
pub struct Ends {
    broker: Vec<SocketAddr>,
    sources: Vec<Ipv4Addr>,
}

impl Ends {
    /// Connections from `sources` to `broker`.
    ///
    /// # Errors
    /// If `count` connections cannot be told apart by their ends.
    pub fn new(broker: Vec<SocketAddr>, sources: Vec<Ipv4Addr>, count: u32) -> Result<Self, String> {
        if broker.is_empty() || sources.is_empty() {
            return Err("there is no address to connect to or from".into());
        }
        let ends = Self { broker, sources };
        let most = ends.most();
        if u64::from(count) > most {
            let (sources, broker) = (ends.sources.len(), ends.broker.len());
            return Err(format!(
                "{count} connections are more than {sources} source addresses and {broker} ends of the broker tell \
                 apart ({most}): give more addresses of the broker"
            ));
        }
        Ok(ends)
    }

    /// As many connections as the ends tell apart.
    fn most(&self) -> u64 {
        let local = (self.sources.len() as u64 * u64::from(PORTS)).min(LOCAL_ENDS_MAX.into());
        local * self.broker.len() as u64
    }

    /// The local and the remote end of connection `number`. Neighbours differ in the broker's end first, then in the
    /// source address.
    pub fn of(&self, number: u32) -> (SocketAddr, SocketAddr) {
        let (broker, sources) = (self.broker.len() as u32, self.sources.len() as u32);
        let remote = self.broker[(number % broker) as usize];
        let local = number / broker;
        let source = self.sources[(local % sources) as usize];
        (SocketAddr::new(source.into(), FIRST_PORT + (local / sources) as u16), remote)
    }
}

/// The host addresses of `a.b.c.d/n`, at most `limit`, or the one address of `a.b.c.d`.
///
/// # Errors
/// If it is neither.
pub fn addresses(text: &str, limit: usize) -> Result<Vec<Ipv4Addr>, String> {
    let wrong = || format!("`{text}` is no IPv4 address or prefix such as 10.9.128.0/20");
    let Some((address, bits)) = text.split_once('/') else {
        return Ok(vec![text.parse().map_err(|_| wrong())?]);
    };
    let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
    let bits: u32 = bits.parse().ok().filter(|bits| (8..=30).contains(bits)).ok_or_else(wrong)?;
    let hosts = (1u32 << (32 - bits)) - 2;
    let first = u32::from(address) & !(hosts + 1);
    Ok((1..=hosts).take(limit).map(|host| Ipv4Addr::from(first + host)).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_connection_has_its_own_ends() {
        let broker: Vec<SocketAddr> = (1..=4).map(|n| SocketAddr::from(([10, 9, 0, n], 1883))).collect();
        let ends = Ends::new(broker, addresses("10.9.128.0/28", 100).unwrap(), 260_000).unwrap();
        let all: HashSet<_> = (0..260_000).map(|number| ends.of(number)).collect();
        assert_eq!(all.len(), 260_000);
        let local: HashSet<_> = all.iter().map(|(local, _)| *local).collect();
        assert_eq!(local.len(), 65_000);
        assert!(all.iter().all(|(local, _)| local.port() >= FIRST_PORT));
    }

    #[test]
    fn too_many_are_refused_with_the_way_out() {
        let broker = vec![SocketAddr::from(([10, 9, 0, 1], 1883))];
        let error = Ends::new(broker, addresses("10.9.128.7", 1).unwrap(), 64_001).unwrap_err();
        assert!(error.contains("64000") && error.contains("more addresses"), "{error}");
    }

    #[test]
    fn prefixes_give_their_hosts() {
        assert_eq!(addresses("10.9.128.77/30", 9).unwrap().len(), 2);
        assert_eq!(addresses("10.9.128.0/24", 9).unwrap()[8], Ipv4Addr::new(10, 9, 128, 9));
        assert!(addresses("10.9.128.0/31", 9).is_err() && addresses("fe80::1/64", 9).is_err());
    }
}
