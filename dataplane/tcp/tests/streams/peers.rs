//! smoltcp as the client: an independent implementation, with small buffers, over a bad link.

use std::collections::VecDeque;

use pelton_base::{Mono, Rng};
use pelton_packet::Port;
use pelton_packet::fault::{Faults, Faulty};
use pelton_packet::memory::{MemoryPort, MemorySettings, pair};
use pelton_tcp::{Settings, Usage};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use crate::host::{CLIENT_MAC, Host, Plan, byte, server};

/// A port of ours as a device of smoltcp's.
struct Wire {
    port: Faulty<MemoryPort>,
    now: Mono,
    arrived: VecDeque<Vec<u8>>,
}

struct Receive(Vec<u8>);
struct Transmit<'a>(&'a mut Faulty<MemoryPort>, Mono);

impl RxToken for Receive {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut bytes = vec![0; len];
        let result = write(&mut bytes);
        if let Some(mut frame) = self.0.take() {
            frame.fill(&bytes);
            if let Err(frame) = self.0.send(self.1, frame) {
                self.0.put(frame);
            }
        }
        result
    }
}

impl Wire {
    fn poll(&mut self) {
        let mut frames = Vec::new();
        self.port.receive(self.now, 64, &mut frames);
        for frame in frames {
            self.arrived.push_back(frame.to_vec());
            self.port.put(frame);
        }
    }
}

impl Device for Wire {
    type RxToken<'a> = Receive;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Receive, Transmit<'_>)> {
        let bytes = self.arrived.pop_front()?;
        Some((Receive(bytes), Transmit(&mut self.port, self.now)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Transmit<'_>> {
        Some(Transmit(&mut self.port, self.now))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1_514;
        capabilities
    }
}

/// `connections` of smoltcp's send `bytes` each way and close.
fn run(seed: u64, buffer: usize, bytes: u64, connections: u16, faults: Faults) {
    let mut rng = Rng::with_seed(seed);
    let (near, far) = pair(MemorySettings::default());
    let mut wire = Wire {
        port: Faulty::new(near, faults, rng.u64(), 512),
        now: Mono::from_ms(1_000),
        arrived: VecDeque::new(),
    };
    let plan = move |port: u16| {
        let says = u64::from(port) << 1;
        Plan { says: says | 1, hears: says, sends: bytes, expects: bytes, write: 3_000, closes: false }
    };
    let settings = Settings { connections_max: 64, linger_ms: 900_000, ..Settings::default() };
    let mut host = Host::new(server(Faulty::new(far, faults, rng.u64(), 512), settings, rng.u64()), plan);

    let instant = |now: Mono| Instant::from_micros((now.0 / 1_000) as i64);
    let mut config = Config::new(EthernetAddress(CLIENT_MAC.0).into());
    config.random_seed = rng.u64();
    let mut interface = Interface::new(config, &mut wire, instant(Mono::from_ms(1_000)));
    interface.update_ip_addrs(|addresses| {
        addresses.push(IpCidr::new(IpAddress::v4(10, 0, 0, 2), 24)).expect("room for one");
    });
    let mut sockets = SocketSet::new(Vec::new());
    let handles: Vec<_> = (0..connections)
        .map(|n| {
            let buffers = || SocketBuffer::new(vec![0; buffer]);
            let mut socket = Socket::new(buffers(), buffers());
            socket
                .connect(interface.context(), (IpAddress::v4(10, 0, 0, 1), 1883), 3_000 + n)
                .expect("a connection");
            sockets.add(socket)
        })
        .collect();
    let mut written = vec![0u64; handles.len()];
    let mut received = vec![0u64; handles.len()];
    let mut closed = vec![false; handles.len()];
    let mut now = Mono::from_ms(1_000);
    let mut turns = 0u64;
    loop {
        wire.now = now;
        wire.poll();
        interface.poll(instant(now), &mut wire, &mut sockets);
        for (n, &handle) in handles.iter().enumerate() {
            let socket = sockets.get_mut::<Socket>(handle);
            let port = 3_000 + n as u64;
            while socket.can_recv() {
                let got = socket
                    .recv(|data| {
                        for (at, &got) in data.iter().enumerate() {
                            assert_eq!(got, byte(port << 1 | 1, received[n] + at as u64), "seed {seed}");
                        }
                        (data.len(), data.len())
                    })
                    .expect("it can");
                received[n] += got as u64;
            }
            while socket.can_send() && written[n] < bytes {
                written[n] += socket
                    .send(|room| {
                        let len = room.len().min((bytes - written[n]) as usize);
                        for (at, place) in room[..len].iter_mut().enumerate() {
                            *place = byte(port << 1, written[n] + at as u64);
                        }
                        (len, len)
                    })
                    .expect("it can") as u64;
            }
            if written[n] == bytes && received[n] == bytes && !closed[n] {
                closed[n] = true;
                socket.close();
            }
        }
        interface.poll(instant(now), &mut wire, &mut sockets);
        host.turn(now);
        let theirs = handles
            .iter()
            .all(|&handle| matches!(sockets.get::<Socket>(handle).state(), State::Closed | State::TimeWait));
        let accepted = host.conns.len() == handles.len();
        if theirs && closed.iter().all(|&closed| closed) && accepted && host.all_ended() {
            break;
        }
        let theirs =
            interface.poll_at(instant(now), &sockets).map(|at| Mono(at.total_micros() as u64 * 1_000));
        let until = [theirs, wire.port.next_timeout(), Some(host.until())].into_iter().flatten().min();
        now = until.unwrap_or(now).clamp(now + 5_000, now.plus_ms(1_000));
        turns += 1;
        assert!(
            turns < 5_000_000 && now < Mono::from_ms(3_600_000),
            "seed {seed}: {:?} {received:?}",
            host.conns
        );
    }
    for conn in &host.conns {
        assert_eq!(conn.received, bytes, "seed {seed}");
    }
    // What is left times out.
    wire.port.faults = Faults::default();
    host.tcp.port().faults = Faults::default();
    let end = now.plus_ms(1_000_000);
    while host.tcp.usage() != Usage::default() && now < end {
        now = now.plus_ms(100);
        wire.now = now;
        wire.poll();
        interface.poll(instant(now), &mut wire, &mut sockets);
        host.turn(now);
    }
    assert_eq!(host.tcp.usage(), Usage::default(), "seed {seed}");
    assert_eq!(host.tcp.port_ref().inner().pool().outstanding(), host.tcp.port_ref().held(), "seed {seed}");
}

#[test]
fn smoltcp_with_small_and_big_buffers_over_a_good_link() {
    for buffer in [4_096, 65_536] {
        run(1, buffer, 200_000, 5, Faults { delay_ns: 2_000_000, ..Faults::default() });
    }
}

#[test]
fn smoltcp_over_links_that_lose_reorder_and_double() {
    for seed in 0..12 {
        let mut rng = Rng::with_seed(seed);
        let faults = Faults {
            loss: rng.below(100) as u32,
            duplication: rng.below(50) as u32,
            reordering: rng.below(100) as u32,
            reorder_ns: 5_000_000,
            corruption: rng.below(10) as u32,
            delay_ns: rng.below(20_000_000),
            ..Faults::default()
        };
        let buffer = [4_096, 65_536][rng.below(2) as usize];
        run(seed, buffer, 40_000, 3, faults);
    }
}
