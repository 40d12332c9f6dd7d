//! The interface as packetdrill uses it: its functions, by their pointers, from two threads.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::ptr::{null, null_mut};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use libc::{sockaddr, sockaddr_in, socklen_t, timeval};
use pelton_packet::parse::TCP;
use pelton_packet::{Link, Parsed, headers, parse};
use pelton_packetdrill::{Interface, packetdrill_interface_init};
use pelton_tcp::Seq;
use pelton_tcp::segment::{Flags, Segment};

const US: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
const THEM: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

struct Object(Interface);

// SAFETY: packetdrill uses it from two threads, and so may these tests.
unsafe impl Sync for Object {}

impl Object {
    fn load(flags: &std::ffi::CStr) -> Self {
        let mut interface = MaybeUninit::uninit();
        // SAFETY: a string, and room for an interface.
        unsafe {
            packetdrill_interface_init(flags.as_ptr(), interface.as_mut_ptr());
            Self(interface.assume_init())
        }
    }

    fn listener(&self) -> c_int {
        let Interface { userdata, socket, bind, listen, .. } = self.0;
        let address = sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: 8080_u16.to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(US.octets()) },
            sin_zero: [0; 8],
        };
        // SAFETY: the arguments are those of the calls.
        unsafe {
            let fd = socket(userdata, libc::AF_INET, libc::SOCK_STREAM, 0);
            assert!(fd >= 0);
            let (address, len) =
                ((&raw const address).cast::<sockaddr>(), size_of::<sockaddr_in>() as socklen_t);
            assert_eq!(bind(userdata, fd, address, len), 0);
            assert_eq!(listen(userdata, fd, 1), 0);
            fd
        }
    }

    fn accept(&self, fd: c_int) -> c_int {
        // SAFETY: an address is not asked for.
        unsafe { (self.0.accept)(self.0.userdata, fd, null_mut(), null_mut()) }
    }

    fn read(&self, fd: c_int) -> Vec<u8> {
        let mut into = vec![0; 4096];
        // SAFETY: there is as much room as said.
        let len =
            unsafe { (self.0.read)(self.0.userdata, fd, into.as_mut_ptr().cast::<c_void>(), into.len()) };
        into.truncate(usize::try_from(len).expect("it is read"));
        into
    }

    fn put_in(&self, flags: Flags, seq: u32, ack: u32, data: &[u8]) {
        let segment = Segment {
            source: 7_000,
            destination: 8_080,
            seq: Seq(seq),
            ack: Seq(ack),
            flags,
            window: 1_000,
            len: data.len() as u16,
            ..Segment::default()
        };
        let mut bytes = vec![0; segment.header_bytes()];
        bytes.extend_from_slice(data);
        segment.write(THEM.into(), US.into(), &mut bytes);
        let mut packet = vec![0; headers::bytes(Link::default(), THEM.into())];
        headers::write(&mut packet, Link::default(), THEM.into(), US.into(), TCP, 0, bytes.len());
        packet.extend(bytes);
        let packet = &packet[14..];
        // SAFETY: there are as many bytes as said.
        let sent = unsafe { (self.0.netdev_send)(self.0.userdata, packet.as_ptr().cast(), packet.len()) };
        assert_eq!(sent, 0);
    }

    /// The next segment that leaves, and when; `None` if there never will be one.
    fn sniff(&self) -> Option<(i64, Segment)> {
        let mut frame = vec![0; 14 + 65_536];
        frame[12] = 8;
        let (mut len, mut at) = (frame.len() - 14, 0);
        // SAFETY: there is as much room as said.
        let received = unsafe {
            (self.0.netdev_receive)(
                self.0.userdata,
                frame[14..].as_mut_ptr().cast(),
                &raw mut len,
                &raw mut at,
            )
        };
        assert_eq!(received, 0);
        frame.truncate(14 + len);
        if len == 0 {
            return None;
        }
        let Ok(Parsed::Ip(datagram)) = parse(&frame) else { panic!("it is read") };
        let payload = datagram.payload(&frame);
        Some((at, Segment::parse(datagram.source, datagram.destination, payload).expect("a segment")))
    }

    fn time_us(&self) -> i64 {
        let mut now = timeval { tv_sec: 0, tv_usec: 0 };
        // SAFETY: it is room for a time.
        unsafe { (self.0.gettimeofday)(self.0.userdata, &raw mut now, null_mut()) };
        now.tv_sec * 1_000_000 + now.tv_usec
    }

    fn sleep(&self, us: u32) {
        // SAFETY: nothing is pointed to.
        unsafe { (self.0.usleep)(self.0.userdata, us) };
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: it is used no more.
        unsafe { (self.0.free)(self.0.userdata) };
    }
}

#[test]
fn time_is_virtual_and_goes_on_when_asked_for() {
    let object = Object::load(c"");
    let begin = object.time_us();
    assert_eq!(object.time_us(), begin + 1);
    object.sleep(3_000_000);
    assert_eq!(object.time_us(), begin + 3_000_002);
    assert!(object.sniff().is_none(), "nothing will leave");
}

#[test]
fn a_call_that_waits_is_over_when_what_it_waits_for_comes() {
    let object = Object::load(c"rto_initial_ms=1000");
    let listener = object.listener();
    let begin = object.time_us();
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let object = &object;
        scope.spawn(move || {
            let accepted = object.accept(listener);
            tell.send((accepted, object.time_us())).expect("somebody waits");
            let data = object.read(accepted);
            tell.send((data.len() as c_int, object.time_us())).expect("somebody waits");
        });
        object.put_in(Flags::SYN, 100, 0, b"");
        let (sent_us, syn_ack) = object.sniff().expect("an answer");
        assert!(sent_us - begin < 10);
        // Nobody answers: it is sent again in time that passes by itself.
        let (again_us, again) = object.sniff().expect("the same again");
        assert_eq!((again.seq, again.flags), (syn_ack.seq, Flags::SYN.and(Flags::ACK)));
        assert!((1_000_000..1_001_001).contains(&(again_us - sent_us)), "{}", again_us - sent_us);
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "it still waits");
        object.put_in(Flags::ACK, 101, (syn_ack.seq + 1).0, b"");
        let opened_us = object.time_us();
        object.sleep(10_000_000);
        let (accepted, at_us) = told.recv().expect("it is over");
        assert!(accepted >= 0);
        assert!(at_us <= opened_us, "it was over at {at_us}, before ten seconds passed at {opened_us}");
        // Until the other thread waits again there is nothing to see of it; either way it gets what comes.
        object.put_in(Flags::ACK, 101, (syn_ack.seq + 1).0, b"hello");
        assert_eq!(told.recv().expect("it has read").0, 5);
    });
}

#[test]
fn what_is_not_offered_says_so() {
    let object = Object::load(c"");
    let userdata = object.0.userdata;
    // SAFETY: the arguments are those of the calls.
    unsafe {
        assert_eq!((object.0.socket)(userdata, libc::AF_INET, libc::SOCK_DGRAM, 0), -1);
        assert_eq!(*libc::__errno_location(), libc::EPROTONOSUPPORT);
        assert_eq!((object.0.epoll_create)(userdata, 1), -1);
        assert_eq!(*libc::__errno_location(), libc::ENOSYS);
        assert_eq!((object.0.write)(userdata, 999, null(), 0), -1);
        assert_eq!(*libc::__errno_location(), libc::EBADF);
        let fd = object.listener();
        assert_eq!(
            (object.0.setsockopt)(userdata, fd, libc::IPPROTO_TCP, libc::TCP_CORK, (&raw const fd).cast(), 4),
            -1
        );
        assert_eq!(*libc::__errno_location(), libc::ENOPROTOOPT);
        assert_eq!((object.0.close)(userdata, fd), 0);
        assert_eq!((object.0.close)(userdata, fd), -1);
    }
}
