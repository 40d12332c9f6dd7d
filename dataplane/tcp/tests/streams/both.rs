//! Both ends open at once, RFC 9293 3.5 figure 7.

use pelton_base::{Mono, StreamEnd};
use pelton_packet::fault::{Faults, Faulty};
use pelton_packet::memory::{MemorySettings, pair};
use pelton_tcp::{Settings, TcpCounter, Usage};

use crate::host::{Host, Plan, client, client_address, drive, server, server_address};

#[test]
fn both_open_at_once() {
    let (near, far) = pair(MemorySettings::default());
    let faults = Faults { delay_ns: 10_000_000, ..Faults::default() };
    let settings = Settings { connections_max: 8, ..Settings::default() };
    let mut a = Host::new(client(Faulty::new(near, faults, 1, 64), settings.clone(), 1), |_| unreachable!());
    let mut b = Host::new(server(Faulty::new(far, faults, 2, 64), settings, 2), |_| unreachable!());
    let mut now = Mono::from_ms(1_000);
    let (here, there) = (client_address(false, 5_000), server_address(false));
    let there = std::net::SocketAddr::new(there.ip(), 6_000);
    let plan = |says, hears, closes| Plan { says, hears, sends: 5_000, expects: 5_000, write: 500, closes };
    a.connect(here, there, plan(1, 2, true), now);
    // The other host's link is the way back.
    let token = b.conns.len() as u64;
    let link = crate::host::link().reverse();
    let stream = b.tcp.connect(there, here, link, token, now).unwrap();
    b.adopt(stream, plan(2, 1, false));
    drive(&mut a, &mut b, &mut now, Mono::from_ms(100_000), |a, b, _| a.all_ended() && b.all_ended());
    for (conn, end) in [(&a.conns[0], StreamEnd::Local), (&b.conns[0], StreamEnd::PeerClosed)] {
        assert_eq!((conn.received, conn.ended), (5_000, Some(end)));
    }
    for host in [&a, &b] {
        assert_eq!(host.tcp.counters().get(TcpCounter::Connected), 1);
        assert_eq!(host.tcp.counters().get(TcpCounter::ResetsOut), 0);
    }
    let limit = now.plus_ms(200_000);
    drive(&mut a, &mut b, &mut now, limit, |a, b, _| {
        a.tcp.usage() == Usage::default() && b.tcp.usage() == Usage::default()
    });
}
