//! An echo over our TCP and over smoltcp's, with the same frames from the same peers: what each stack takes for it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use pelton_base::{ByteStreams, Mono, Outgoing, StreamEvent, StreamId};
use pelton_packet::ready::Ready;
use pelton_packet::{FramePool, Interface, Port};
use pelton_tcp::segment::Flags;
use pelton_tcp::{Settings, Tcp};
use smoltcp::iface::{Config, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use super::peers::{self, Peer, SERVER, THEM, US};

/// Bytes of an echo.
pub const BYTES: usize = 64;
/// Buffers of a socket of smoltcp's, each way.
const SOCKET_BYTES: usize = 1_024;

/// A stack that echoes.
pub trait Echo {
    /// Frames that are received next.
    fn put(&mut self, frame: &[u8]);
    /// Works on them; `peers` are those that they are from.
    fn turn(&mut self, now: Mono, peers: &[u32]);
    /// Takes what was sent.
    fn take(&mut self, see: &mut dyn FnMut(&[u8]));
}

/// Ours.
pub struct Ours {
    tcp: Tcp<Ready>,
    out: Outgoing,
}

impl Ours {
    /// With room for so many connections.
    pub fn new(connections: u32) -> Self {
        let interface = Interface { mac: US, addresses: vec![SERVER.0.into()] };
        let settings = Settings { connections_max: connections, ..Settings::default() };
        let mut port = Ready::new(1_024);
        port.keep = true;
        let tcp = Tcp::new(port, interface, &[SERVER.1], settings, 1, Mono::from_ms(1_000));
        Self { tcp, out: Outgoing::new(1 << 20) }
    }

    fn transmit(&mut self, token: u64) {
        let (queue, logs) = self.out.queue(token as u32);
        self.tcp.transmit(StreamId(token), queue, logs);
        self.out.settle(token as u32);
    }
}

impl Echo for Ours {
    fn put(&mut self, frame: &[u8]) {
        let port = self.tcp.port();
        let mut owned = port.take().expect("a frame");
        owned.fill(frame);
        port.input.push(owned);
    }

    fn turn(&mut self, now: Mono, _: &[u32]) {
        self.tcp.poll(now);
        while let Some(event) = self.tcp.next() {
            match event {
                StreamEvent::Opened { stream, .. } => {
                    self.out.open(stream.0 as u32);
                    self.tcp.bind(stream, stream.0);
                }
                StreamEvent::Data { token, chunk } => {
                    self.tcp.consumed(StreamId(token), chunk.len());
                    self.out.append(token as u32, |bytes| bytes.extend_from_slice(&chunk));
                    self.tcp.recycle(chunk);
                    self.transmit(token);
                }
                StreamEvent::Writable { token } => self.transmit(token),
                StreamEvent::Closed { token, why } => panic!("{token}: {why:?}"),
            }
        }
        self.tcp.end_turn();
    }

    fn take(&mut self, see: &mut dyn FnMut(&[u8])) {
        for frame in self.tcp.port().output.drain(..) {
            see(&frame);
        }
    }
}

/// Frames of smoltcp's, with buffers to use again.
struct Wire {
    input: VecDeque<Vec<u8>>,
    output: Vec<Vec<u8>>,
    spare: Rc<RefCell<Vec<Vec<u8>>>>,
}

/// A frame that came in.
struct Received(Vec<u8>, Rc<RefCell<Vec<Vec<u8>>>>);

/// A frame that goes out.
struct Sending<'a>(&'a mut Wire);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let result = read(&self.0);
        self.1.borrow_mut().push(self.0);
        result
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut bytes = self.0.spare.borrow_mut().pop().unwrap_or_default();
        bytes.clear();
        bytes.resize(len, 0);
        let result = write(&mut bytes);
        self.0.output.push(bytes);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let bytes = self.input.pop_front()?;
        let spare = Rc::clone(&self.spare);
        Some((Received(bytes, spare), Sending(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1_514;
        capabilities
    }
}

/// smoltcp's. Which sockets have something is taken from who sent something: it is not searched for.
pub struct Smoltcp {
    wire: Wire,
    interface: smoltcp::iface::Interface,
    sockets: SocketSet<'static>,
    /// By peer: the sockets listen in this order, and the first that listens takes a connection.
    handles: Vec<SocketHandle>,
}

fn instant(now: Mono) -> Instant {
    Instant::from_micros((now.0 / 1_000) as i64)
}

impl Smoltcp {
    /// With a listening socket for each of so many connections.
    pub fn new(connections: u32) -> Self {
        let spare = Rc::new(RefCell::new(Vec::new()));
        let mut wire = Wire { input: VecDeque::new(), output: Vec::new(), spare };
        let config = Config::new(EthernetAddress(US.0).into());
        let mut interface = smoltcp::iface::Interface::new(config, &mut wire, instant(Mono::from_ms(1_000)));
        interface.update_ip_addrs(|addresses| {
            let pushed = addresses.push(IpCidr::new(IpAddress::from(SERVER.0), 8));
            assert!(pushed.is_ok(), "room for one");
        });
        let mut sockets = SocketSet::new(Vec::with_capacity(connections as usize));
        let buffer = || SocketBuffer::new(vec![0; SOCKET_BYTES]);
        let handles = (0..connections).map(|_| {
            let mut socket = Socket::new(buffer(), buffer());
            socket.listen(SERVER.1).expect("a port to listen at");
            socket.set_nagle_enabled(false);
            sockets.add(socket)
        });
        let handles = handles.collect();
        Self { wire, interface, sockets, handles }
    }
}

impl Echo for Smoltcp {
    fn put(&mut self, frame: &[u8]) {
        let mut bytes = self.wire.spare.borrow_mut().pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame);
        self.wire.input.push_back(bytes);
    }

    fn turn(&mut self, now: Mono, peers: &[u32]) {
        let mut changed = self.interface.poll(instant(now), &mut self.wire, &mut self.sockets);
        for &peer in peers {
            let socket = self.sockets.get_mut::<Socket<'_>>(self.handles[peer as usize]);
            let mut bytes = [0; BYTES];
            while socket.can_recv() {
                let len = socket.recv_slice(&mut bytes).expect("what can be received");
                assert_eq!(socket.send_slice(&bytes[..len]), Ok(len), "room to send");
                changed = PollResult::SocketStateChanged;
            }
        }
        if changed == PollResult::SocketStateChanged {
            self.interface.poll(instant(now), &mut self.wire, &mut self.sockets);
        }
    }

    fn take(&mut self, see: &mut dyn FnMut(&[u8])) {
        for frame in self.wire.output.drain(..) {
            see(&frame);
            self.wire.spare.borrow_mut().push(frame);
        }
    }
}

/// Peers of a stack that echoes.
pub struct Echoes<E> {
    /// The stack.
    pub stack: E,
    peers: Vec<Peer>,
    now: Mono,
    pool: FramePool,
}

impl<E: Echo> Echoes<E> {
    /// So many peers, connected one after the other.
    pub fn new(stack: E, count: u32) -> Self {
        let mut echoes =
            Self { stack, peers: Vec::new(), now: Mono::from_ms(1_000), pool: FramePool::new(1, 2_048) };
        echoes.greet();
        for peer in 0..count {
            echoes.open(peer);
        }
        echoes
    }

    /// Asks for the stack's link address, so that it has the peers' own: smoltcp forgets it after a minute.
    pub fn greet(&mut self) {
        let mut frame = [0; 42];
        frame[..6].copy_from_slice(&US.0);
        frame[6..12].copy_from_slice(&THEM.0);
        frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame[22..28].copy_from_slice(&THEM.0);
        frame[28..32].copy_from_slice(&peers::end(0).0.to_be_bytes());
        frame[38..].copy_from_slice(&SERVER.0.octets());
        self.stack.put(&frame);
        self.turn(&[]);
        self.stack.take(&mut |_| {});
    }

    fn put(&mut self, peer: u32, flags: Flags, data: &[u8]) {
        let mut frame = self.pool.take().expect("the frame");
        let state = self.peers[peer as usize];
        peers::write(&mut frame, peer, state, flags, self.now.as_ms() as u32, data);
        self.stack.put(&frame);
        self.pool.put(frame);
        self.peers[peer as usize].seq = state.seq.wrapping_add(data.len() as u32);
    }

    fn turn(&mut self, picked: &[u32]) {
        self.now = self.now + 20_000;
        self.stack.turn(self.now, picked);
    }

    fn open(&mut self, peer: u32) {
        let seq = peer.wrapping_mul(0x9e37_79b9);
        let mut frame = self.pool.take().expect("the frame");
        peers::write_syn(&mut frame, peer, seq, self.now.as_ms() as u32);
        self.stack.put(&frame);
        self.pool.put(frame);
        self.turn(&[]);
        let mut ack = None;
        self.stack.take(&mut |frame| {
            let (whose, seq, flags) = peers::answer(frame);
            assert!(whose == peer && flags.has(Flags::SYN.and(Flags::ACK)), "a SYN-ACK");
            ack = Some(seq.wrapping_add(1));
        });
        self.peers.push(Peer { seq: seq.wrapping_add(1), ack: ack.expect("a SYN-ACK") });
        self.put(peer, Flags::ACK, &[]);
        self.turn(&[]);
        self.stack.take(&mut |_| {});
    }

    /// Each of `picked` (no two of them alike) has its bytes echoed and acknowledges them; `measured` is given what the
    /// stack does.
    pub fn round(&mut self, picked: &[u32], measured: &mut dyn FnMut(&mut dyn FnMut())) {
        for &peer in picked {
            self.put(peer, Flags::ACK.and(Flags::PSH), &[b'x'; BYTES]);
        }
        measured(&mut || self.turn(picked));
        let mut answered = 0;
        let peers = &mut self.peers;
        self.stack.take(&mut |frame| {
            let (peer, seq, _) = peers::answer(frame);
            let bytes = frame.len() - 14 - 20 - usize::from(frame[46] >> 4) * 4;
            // An acknowledgement may come by itself before.
            if bytes > 0 {
                assert!(bytes == BYTES && seq == peers[peer as usize].ack, "the echo");
                peers[peer as usize].ack = seq.wrapping_add(BYTES as u32);
                answered += 1;
            }
        });
        assert_eq!(answered, picked.len(), "an echo for each");
        for &peer in picked {
            self.put(peer, Flags::ACK, &[]);
        }
        measured(&mut || self.turn(&[]));
        // What was put off is done.
        measured(&mut || self.turn(&[]));
        self.stack.take(&mut |_| {});
    }
}
