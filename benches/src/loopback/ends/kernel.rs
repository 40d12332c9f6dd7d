//! The kernel's sockets on 127.0.0.1: non-blocking, registered once with an epoll instance, edge-triggered, as the
//! shard's own are.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use pelton_base::{Mono, Patience};
use pelton_sockets::{Bind, Listeners, Sockets, wake_pair};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};

use super::Ends;

/// Events taken at once, and bytes read at once: as the shard's side does.
const EVENTS: usize = 512;
const READ_BYTES: usize = 64 * 1024;

/// Clients' sockets.
pub struct Kernel {
    epoll: OwnedFd,
    server: SocketAddr,
    sockets: Vec<TcpStream>,
    events: Vec<epoll::Event>,
    buffer: Box<[u8]>,
    _waker: pelton_sockets::Waker,
}

impl Kernel {
    /// A listening shard's side, and the clients'.
    pub fn new() -> (Sockets, Self) {
        let bind = Bind { address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let (mut listeners, addresses) =
            Listeners::open(&[bind], 1, &Patience::default()).expect("a port of the loopback");
        let (waker, sleeper) = wake_pair().expect("an eventfd");
        let listener = listeners.pop().expect("one for one shard");
        let transport = Sockets::new(listener, sleeper).expect("an epoll instance");
        let ends = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance"),
            server: addresses[0],
            sockets: Vec::new(),
            events: Vec::with_capacity(EVENTS),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            _waker: waker,
        };
        (transport, ends)
    }

    /// The congestion control of the first connection, by name.
    pub fn congestion(&self) -> String {
        let first = self.sockets.first().map(sockopt::tcp_congestion);
        first.and_then(Result::ok).unwrap_or_default()
    }
}

impl Ends for Kernel {
    type Streams = Sockets;

    fn open(&mut self, client: u32, _: Mono) {
        let socket = TcpStream::connect(self.server).unwrap_or_else(|why| {
            panic!("client {client}: {why}: two descriptors each are needed (ulimit -n)")
        });
        socket.set_nodelay(true).expect("a socket's option");
        socket.set_nonblocking(true).expect("a socket's option");
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(client.into()), flags)
            .expect("room in the epoll instance");
        self.sockets.push(socket);
    }

    fn write(&mut self, client: u32, bytes: &[u8]) {
        let sent = send(&self.sockets[client as usize], bytes, SendFlags::NOSIGNAL);
        assert_eq!(sent, Ok(bytes.len()), "room in the socket");
    }

    fn flush(&mut self) {}

    fn take(&mut self, _: Mono, mut see: impl FnMut(u32, &[u8])) {
        loop {
            self.events.clear();
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let room = rustix::buffer::spare_capacity(&mut self.events);
            epoll::wait(&self.epoll, room, Some(&at_once)).expect("an epoll instance");
            for event in &self.events {
                let client = event.data.u64() as u32;
                loop {
                    match recv(&self.sockets[client as usize], &mut *self.buffer, RecvFlags::empty()) {
                        Ok((0, _)) => panic!("client {client} was closed"),
                        Ok((len, _)) => {
                            see(client, &self.buffer[..len]);
                            // Less than the buffer holds: there is no more, or another event says so.
                            if len < READ_BYTES {
                                break;
                            }
                        }
                        Err(Errno::AGAIN) => break,
                        Err(why) => panic!("client {client}: {why}"),
                    }
                }
            }
            if self.events.len() < EVENTS {
                return;
            }
        }
    }

    fn sent_again(&self) -> u64 {
        // Nothing is lost on the kernel's loopback, and it does not say.
        0
    }
}
