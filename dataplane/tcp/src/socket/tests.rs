//! Two hosts joined in memory, each with sockets.

use pelton_packet::memory::{MemoryPort, MemorySettings, pair};
use pelton_packet::{Interface, Link, MacAddress};

use super::*;

const SERVER: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const CLIENT: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

struct Two {
    server: Sockets<MemoryPort>,
    client: Sockets<MemoryPort>,
    now: Mono,
}

fn server_address() -> SocketAddr {
    "10.0.0.1:1883".parse().unwrap()
}

impl Two {
    fn new(settings: &Settings) -> Self {
        let (a, b) = pair(MemorySettings::default());
        let host = |port, mac, address: &str| {
            let interface = Interface { mac, addresses: vec![address.parse().unwrap()] };
            Sockets::new(port, interface, settings.clone(), 7, Mono(0))
        };
        Self {
            server: host(a, SERVER, "10.0.0.1"),
            client: host(b, CLIENT, "10.0.0.2"),
            now: Mono::from_ms(1_000),
        }
    }

    /// Lets both do what they have to, for so long.
    fn run(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        loop {
            for _ in 0..4 {
                self.server.turn(self.now);
                self.client.turn(self.now);
            }
            let due = [self.server.next_timeout(), self.client.next_timeout()].into_iter().flatten().min();
            if self.now >= until {
                return;
            }
            self.now = due.unwrap_or(until).clamp(self.now.plus_us(1), until);
        }
    }

    fn listener(&mut self, backlog: usize) -> SocketId {
        let listener = self.server.socket();
        self.server.bind(listener, server_address()).unwrap();
        self.server.listen(listener, backlog).unwrap();
        listener
    }

    fn begin(&mut self) -> SocketId {
        let socket = self.client.socket();
        let link = Link { source: CLIENT, destination: SERVER, vlan: None };
        assert_eq!(self.client.connect(socket, server_address(), link), Err(SocketError::InProgress));
        socket
    }

    /// A connection: the server's socket and the client's.
    fn connected(&mut self) -> (SocketId, SocketId) {
        let listener = self.listener(4);
        let client = self.begin();
        self.run(1);
        let (server, remote) = self.server.accept(listener).unwrap();
        assert_eq!(Ok(Some(remote)), self.client.local(client));
        (server, client)
    }

    fn idle(&self) -> bool {
        let usage = |sockets: &Sockets<MemoryPort>| {
            let usage = sockets.stack().usage();
            usage.connections == 0
                && usage.half_open == 0
                && usage.links == 0
                && sockets.stack().port_ref().pool().outstanding() == 0
        };
        usage(&self.server) && usage(&self.client)
    }
}

fn read(sockets: &mut Sockets<MemoryPort>, socket: SocketId) -> Result<Vec<u8>, SocketError> {
    let mut into = [0; 100_000];
    sockets.read(socket, &mut into).map(|len| into[..len].to_vec())
}

#[test]
fn data_goes_both_ways_and_both_close() {
    let mut two = Two::new(&Settings::default());
    let (server, client) = two.connected();
    assert_eq!(read(&mut two.server, server), Err(SocketError::WouldBlock));
    assert_eq!(two.client.write(client, b"hello"), Ok(5));
    two.run(100);
    assert!(two.server.ready(server).unwrap().readable);
    assert_eq!(two.server.peek(server, &mut [0; 2]), Ok(2));
    assert_eq!(read(&mut two.server, server), Ok(b"hello".to_vec()));
    assert_eq!(two.server.write(server, b"world"), Ok(5));
    two.run(100);
    assert_eq!(read(&mut two.client, client), Ok(b"world".to_vec()));
    let info = two.client.info(client).unwrap().unwrap();
    assert_eq!((info.state, info.phase, info.in_flight_bytes), (State::Established, Phase::Open, 0));
    two.client.close(client).unwrap();
    assert_eq!(two.client.write(client, b"x"), Err(SocketError::NoSuchSocket));
    two.run(10);
    assert_eq!(read(&mut two.server, server), Ok(vec![]));
    two.server.close(server).unwrap();
    two.run(10);
    assert_eq!(two.client.stack().usage().time_wait, 1, "the client closed first");
    two.run(61_000);
    assert!(two.idle());
}

// covers RFC 9293 3.6
#[test]
fn a_connection_may_be_half_open_from_either_side() {
    let mut two = Two::new(&Settings::default());
    let (server, client) = two.connected();
    two.client.shutdown(client, Shutdown::Write).unwrap();
    assert_eq!(two.client.write(client, b"x"), Err(SocketError::BrokenPipe));
    two.run(100_000);
    assert_eq!(two.client.info(client).unwrap().unwrap().state, State::FinWait2);
    assert_eq!(two.server.info(server).unwrap().unwrap().state, State::CloseWait);
    assert_eq!(read(&mut two.server, server), Ok(vec![]));
    let data = vec![9; 50_000];
    assert_eq!(two.server.write(server, &data), Ok(data.len()));
    two.run(1_000);
    assert_eq!(read(&mut two.client, client), Ok(data));
    two.server.shutdown(server, Shutdown::Write).unwrap();
    two.run(100);
    assert_eq!(read(&mut two.client, client), Ok(vec![]));
    two.client.close(client).unwrap();
    two.server.close(server).unwrap();
    two.run(61_000);
    assert!(two.idle());
}

#[test]
fn what_was_written_is_sent_after_the_close() {
    let mut two = Two::new(&Settings::default());
    let (server, client) = two.connected();
    let data: Vec<u8> = (0..200_000_u32).map(|at| at as u8).collect();
    assert_eq!(two.server.write(server, &data), Ok(data.len()));
    assert!(two.server.pending(server).unwrap().0 > 100_000, "most of it waits for the window");
    two.server.close(server).unwrap();
    let mut got = Vec::new();
    for _ in 0..100 {
        two.run(10);
        match read(&mut two.client, client) {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => got.extend(bytes),
            Err(why) => assert_eq!(why, SocketError::WouldBlock),
        }
    }
    assert!(got == data, "{} bytes", got.len());
    two.client.close(client).unwrap();
    two.run(61_000);
    assert!(two.idle());
}

#[test]
fn a_full_buffer_has_the_writer_wait() {
    let mut two = Two::new(&Settings::default());
    let (server, client) = two.connected();
    two.server.set_send_bytes_max(server, 100_000).unwrap();
    assert_eq!(two.server.write(server, &[1; 150_000]), Ok(100_000));
    assert_eq!(two.server.write(server, &[1]), Err(SocketError::WouldBlock));
    assert!(!two.server.ready(server).unwrap().writable);
    two.run(100);
    assert!(two.server.ready(server).unwrap().writable, "what the client's window took makes room");
    // Full segments alone: a window's last few bytes are no reason to send a little one.
    assert_eq!(read(&mut two.client, client).map(|bytes| bytes.len()), Ok(65_535 / 1_448 * 1_448));
}

// covers RFC 1122 4.2.2.13, RFC 9293 3.6.1 SHLD-3
#[test]
fn what_was_not_read_is_a_reset() {
    let mut two = Two::new(&Settings::default());
    let (server, client) = two.connected();
    two.client.write(client, b"lost").unwrap();
    two.run(10);
    two.server.close(server).unwrap();
    two.run(10);
    assert_eq!(read(&mut two.client, client), Err(SocketError::Reset));
    assert_eq!(read(&mut two.client, client), Ok(vec![]), "it is told once");
    assert_eq!(two.client.write(client, b"x"), Err(SocketError::BrokenPipe));
    two.client.close(client).unwrap();
    assert!(two.idle());
}

// covers RFC 9293 3.9.1.1 MUST-42, MUST-43, MUST-44, MUST-45, MUST-46, RFC 6335 6
#[test]
fn an_active_open_is_from_the_address_it_was_given() {
    let mut two = Two::new(&Settings::default());
    let listener = two.listener(4);
    let given: SocketAddr = "10.0.0.2:777".parse().unwrap();
    let (bound, free) = (two.client.socket(), two.client.socket());
    two.client.bind(bound, given).unwrap();
    let link = Link { source: CLIENT, destination: SERVER, vlan: None };
    for socket in [bound, free] {
        assert_eq!(two.client.connect(socket, server_address(), link), Err(SocketError::InProgress));
    }
    two.run(10);
    let peers = [two.server.accept(listener).unwrap().1, two.server.accept(listener).unwrap().1];
    assert_eq!(peers[0], given);
    assert_eq!(peers[1].ip(), given.ip());
    assert!(EPHEMERAL_PORTS.contains(&peers[1].port()));
    for nobody in ["224.0.0.1:1", "255.255.255.255:1", "127.0.0.1:1", "0.0.0.0:1"] {
        let socket = two.client.socket();
        let refused = two.client.connect(socket, nobody.parse().unwrap(), link);
        assert_eq!(refused, Err(SocketError::Unreachable), "{nobody}");
    }
}

#[test]
fn nobody_listens() {
    let mut two = Two::new(&Settings::default());
    let client = two.begin();
    two.run(10);
    assert!(two.client.ready(client).unwrap().failed);
    let link = Link { source: CLIENT, destination: SERVER, vlan: None };
    assert_eq!(two.client.connect(client, server_address(), link), Err(SocketError::Refused));
    assert_eq!(two.client.connect(client, server_address(), link), Err(SocketError::NotConnected));
    two.client.close(client).unwrap();
    assert!(two.idle());
}

#[test]
fn a_backlog_has_an_end_and_a_listener_too() {
    let mut two = Two::new(&Settings::default());
    let listener = two.listener(2);
    let second = two.server.socket();
    two.server.bind(second, server_address()).unwrap();
    assert_eq!(two.server.listen(second, 1), Err(SocketError::AddressInUse));
    let clients: Vec<SocketId> = (0..3).map(|_| two.begin()).collect();
    two.run(10);
    assert_eq!(read(&mut two.client, clients[2]), Err(SocketError::Reset), "beyond the backlog");
    assert!(two.server.accept(listener).is_ok());
    two.server.close(listener).unwrap();
    two.run(10);
    assert_eq!(read(&mut two.client, clients[0]), Err(SocketError::WouldBlock), "it was accepted");
    assert_eq!(read(&mut two.client, clients[1]), Err(SocketError::Reset), "it never will be");
    assert_eq!(two.server.accept(listener), Err(SocketError::NoSuchSocket));
    let late = two.begin();
    two.run(10);
    assert!(two.client.ready(late).unwrap().failed);
    two.server.listen(second, 1).unwrap();
    let later = two.begin();
    two.run(10);
    assert!(two.client.ready(later).unwrap().writable);
}
