//! The functions. packetdrill calls them with the `userdata` it was given, until it has freed it, and with pointers as
//! the system calls of these names want them: that is what makes each of them sound.
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "the same holds for all of them, and stands at the head"
)]

use std::ffi::{c_int, c_long, c_longlong, c_uint, c_ulong, c_void};
use std::sync::{Arc, PoisonError};

use libc::{iovec, msghdr, nfds_t, pollfd, size_t, sockaddr, socklen_t, ssize_t, timeval};
use pelton_tcp::Shutdown;

use super::memory::{answer, copy_in, count, gather, host, read_address, vectors, write_address};
use super::{CURRENT, Host, OVER_AT, TCP_CC_INFO};
use crate::call::{Call, Done, Errno, errno};
use crate::seen::tcp_info;
use crate::world::World;

/// What a thread whose call is over gets of real time to note that.
const NOTING: std::time::Duration = std::time::Duration::from_millis(5);

/// `MSG_PEEK` and `MSG_DONTWAIT` are obeyed, `MSG_NOSIGNAL` is how it always is; others are not offered.
const FLAGS_KNOWN: c_int = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

pub(super) unsafe extern "C" fn free(userdata: *mut c_void) {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner).take();
    // SAFETY: it was made by `Arc::into_raw`, and is not used any more.
    drop(unsafe { Arc::from_raw(userdata.cast::<Host>().cast_const()) });
}

pub(super) unsafe extern "C" fn socket(
    userdata: *mut c_void,
    domain: c_int,
    kind: c_int,
    protocol: c_int,
) -> c_int {
    let known = matches!(domain, libc::AF_INET | libc::AF_INET6)
        && kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) == libc::SOCK_STREAM
        && matches!(protocol, 0 | libc::IPPROTO_TCP);
    if !known {
        return answer(Err(libc::EPROTONOSUPPORT));
    }
    answer(unsafe { host(userdata) }.with(|world| world.socket(kind & libc::SOCK_NONBLOCK == 0)))
}

pub(super) unsafe extern "C" fn bind(
    userdata: *mut c_void,
    fd: c_int,
    address: *const sockaddr,
    len: socklen_t,
) -> c_int {
    let address = unsafe { read_address(address, len) };
    answer(
        address
            .and_then(|address| unsafe { host(userdata) }.with(|world| world.bind(fd, address)))
            .map(|()| 0),
    )
}

pub(super) unsafe extern "C" fn listen(userdata: *mut c_void, fd: c_int, backlog: c_int) -> c_int {
    answer(unsafe { host(userdata) }.with(|world| world.listen(fd, backlog.max(0) as usize)).map(|()| 0))
}

pub(super) unsafe extern "C" fn accept(
    userdata: *mut c_void,
    fd: c_int,
    address: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    answer(match unsafe { host(userdata) }.call(fd, Call::Accept { fd }, false) {
        Ok(Done::Accepted(accepted, remote)) => {
            unsafe { write_address(remote, address, len) };
            Ok(accepted)
        }
        Ok(_) => Err(libc::EINVAL),
        Err(why) => Err(why),
    })
}

pub(super) unsafe extern "C" fn connect(
    userdata: *mut c_void,
    fd: c_int,
    address: *const sockaddr,
    len: socklen_t,
) -> c_int {
    let remote = unsafe { read_address(address, len) };
    answer(
        remote
            .and_then(|remote| unsafe { host(userdata) }.call(fd, Call::Connect { fd, remote }, false))
            .map(|_| 0),
    )
}

pub(super) unsafe extern "C" fn read(
    userdata: *mut c_void,
    fd: c_int,
    into: *mut c_void,
    len: size_t,
) -> ssize_t {
    unsafe { recv(userdata, fd, into, len, 0) }
}

pub(super) unsafe extern "C" fn readv(
    userdata: *mut c_void,
    fd: c_int,
    into: *const iovec,
    n: c_int,
) -> ssize_t {
    count(unsafe { read_into(userdata, fd, vectors(into, n.max(0) as usize), 0) })
}

pub(super) unsafe extern "C" fn recv(
    userdata: *mut c_void,
    fd: c_int,
    into: *mut c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    count(unsafe { read_into(userdata, fd, &[iovec { iov_base: into, iov_len: len }], flags) })
}

pub(super) unsafe extern "C" fn recvfrom(
    userdata: *mut c_void,
    fd: c_int,
    into: *mut c_void,
    len: size_t,
    flags: c_int,
    _address: *mut sockaddr,
    _address_len: *mut socklen_t,
) -> ssize_t {
    unsafe { recv(userdata, fd, into, len, flags) }
}

pub(super) unsafe extern "C" fn recvmsg(
    userdata: *mut c_void,
    fd: c_int,
    message: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    count(unsafe {
        (*message).msg_controllen = 0;
        (*message).msg_flags = 0;
        read_into(userdata, fd, vectors((*message).msg_iov, (*message).msg_iovlen), flags)
    })
}

pub(super) unsafe extern "C" fn write(
    userdata: *mut c_void,
    fd: c_int,
    bytes: *const c_void,
    len: size_t,
) -> ssize_t {
    unsafe { send(userdata, fd, bytes, len, 0) }
}

pub(super) unsafe extern "C" fn writev(
    userdata: *mut c_void,
    fd: c_int,
    from: *const iovec,
    n: c_int,
) -> ssize_t {
    let bytes = unsafe { gather(vectors(from, n.max(0) as usize)) };
    count(bytes.and_then(|bytes| unsafe { write_from(userdata, fd, bytes, 0) }))
}

pub(super) unsafe extern "C" fn send(
    userdata: *mut c_void,
    fd: c_int,
    bytes: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    let bytes = unsafe { copy_in(bytes, len) };
    count(bytes.and_then(|bytes| unsafe { write_from(userdata, fd, bytes, flags) }))
}

pub(super) unsafe extern "C" fn sendto(
    userdata: *mut c_void,
    fd: c_int,
    bytes: *const c_void,
    len: size_t,
    flags: c_int,
    _address: *const sockaddr,
    _address_len: socklen_t,
) -> ssize_t {
    unsafe { send(userdata, fd, bytes, len, flags) }
}

pub(super) unsafe extern "C" fn sendmsg(
    userdata: *mut c_void,
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
) -> ssize_t {
    count(unsafe {
        if (*message).msg_controllen != 0 {
            Err(libc::EOPNOTSUPP)
        } else {
            gather(vectors((*message).msg_iov, (*message).msg_iovlen))
                .and_then(|bytes| write_from(userdata, fd, bytes, flags))
        }
    })
}

pub(super) unsafe extern "C" fn fcntl(
    userdata: *mut c_void,
    fd: c_int,
    command: c_int,
    argument: c_long,
) -> c_int {
    answer(unsafe { host(userdata) }.with(|world| match command {
        libc::F_GETFL => world.waits(fd).map(|waits| libc::O_RDWR | if waits { 0 } else { libc::O_NONBLOCK }),
        libc::F_SETFL => world.set_waits(fd, argument as c_int & libc::O_NONBLOCK == 0).map(|()| 0),
        _ => Err(libc::EINVAL),
    }))
}

pub(super) unsafe extern "C" fn ioctl(
    userdata: *mut c_void,
    fd: c_int,
    request: c_ulong,
    into: *mut c_int,
) -> c_int {
    /// Bytes that were not sent, by <linux/sockios.h>.
    const SIOCOUTQNSD: c_ulong = 0x894b;
    answer(unsafe { host(userdata) }.with(|world| {
        let socket = world.socket_of(fd)?;
        let (unsent, unread) = world.sockets.pending(socket).map_err(errno)?;
        let in_flight =
            world.sockets.info(socket).map_err(errno)?.map_or(0, |info| info.in_flight_bytes as usize);
        let value = match request {
            libc::FIONREAD => unread,
            libc::TIOCOUTQ => unsent + in_flight,
            SIOCOUTQNSD => unsent,
            _ => return Err(libc::EINVAL),
        };
        unsafe { into.write(value as c_int) };
        Ok(0)
    }))
}

pub(super) unsafe extern "C" fn close(userdata: *mut c_void, fd: c_int) -> c_int {
    answer(unsafe { host(userdata) }.with(|world| world.close(fd)).map(|()| 0))
}

pub(super) unsafe extern "C" fn shutdown(userdata: *mut c_void, fd: c_int, how: c_int) -> c_int {
    let how = match how {
        libc::SHUT_RD => Shutdown::Read,
        libc::SHUT_WR => Shutdown::Write,
        libc::SHUT_RDWR => Shutdown::Both,
        _ => return answer(Err(libc::EINVAL)),
    };
    answer(unsafe { host(userdata) }.with(|world| world.shutdown(fd, how)).map(|()| 0))
}

pub(super) unsafe extern "C" fn host_getsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    answer(unsafe { host(userdata) }.with(|world| unsafe { read_option(world, fd, level, name, value, len) }))
}

/// SAFETY: `value` has as many bytes as `len` says.
pub(super) unsafe fn read_option(
    world: &mut World,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> Result<c_int, Errno> {
    let socket = world.socket_of(fd)?;
    if value.is_null() || len.is_null() {
        return Err(libc::EFAULT);
    }
    let (mut bytes, fixed) = if (level, name) == (libc::IPPROTO_TCP, libc::TCP_INFO) {
        (tcp_info(world.sockets.info(socket).map_err(errno)?), false)
    } else if (level, name) == (libc::IPPROTO_TCP, TCP_CC_INFO) {
        // As of a congestion control that has nothing to tell.
        (Vec::new(), true)
    } else if (level, name) == (libc::SOL_SOCKET, libc::SO_MEMINFO) {
        (Vec::new(), false)
    } else {
        (world.option(socket, level, name)?.to_ne_bytes().to_vec(), true)
    };
    let room = unsafe { *len } as usize;
    if room > 1 << 16 {
        return Err(libc::EINVAL);
    }
    if !fixed {
        // What is not known is zero.
        bytes.resize(room, 0);
    }
    bytes.truncate(room);
    // SAFETY: no more than there is room for is written.
    unsafe {
        value.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        *len = bytes.len() as socklen_t;
    }
    Ok(0)
}

pub(super) unsafe extern "C" fn setsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    let bytes = unsafe { copy_in(value, len as usize) };
    answer(
        bytes
            .and_then(|bytes| {
                let word = |at: usize| {
                    bytes
                        .get(at..at + 4)
                        .and_then(|word| word.try_into().ok())
                        .map(i32::from_ne_bytes)
                        .ok_or(libc::EINVAL)
                };
                unsafe { host(userdata) }.with(|world| {
                    let socket = world.socket_of(fd)?;
                    if (level, name) == (libc::SOL_SOCKET, libc::SO_LINGER) {
                        return world.set_resets(fd, word(0)? != 0 && word(4)? == 0);
                    }
                    world.set_option(socket, level, name, word(0)?)
                })
            })
            .map(|()| 0),
    )
}

pub(super) unsafe extern "C" fn poll(
    userdata: *mut c_void,
    fds: *mut pollfd,
    n: nfds_t,
    timeout_ms: c_int,
) -> c_int {
    // SAFETY: as many as `n` says.
    let fds = if n == 0 { &mut [][..] } else { unsafe { std::slice::from_raw_parts_mut(fds, n as usize) } };
    let host = unsafe { host(userdata) };
    let of = fds.iter().map(|entry| (entry.fd, entry.events)).collect();
    let until = host.lock().poll_until(timeout_ms);
    answer(match host.wait(Call::Poll { of, until }, timeout_ms != 0) {
        Ok(Done::Polled(found)) => {
            for (entry, events) in fds.iter_mut().zip(&found) {
                entry.revents = *events;
            }
            Ok(found.iter().filter(|events| **events != 0).count() as c_int)
        }
        Ok(_) => Err(libc::EINVAL),
        Err(why) => Err(why),
    })
}

pub(super) unsafe extern "C" fn netdev_send(
    userdata: *mut c_void,
    bytes: *const c_void,
    len: size_t,
) -> c_int {
    answer(unsafe { copy_in(bytes, len) }.map(|packet| {
        unsafe { host(userdata) }.with(|world| world.arrives(&packet));
        0
    }))
}

pub(super) unsafe extern "C" fn netdev_receive(
    userdata: *mut c_void,
    into: *mut c_void,
    len: *mut size_t,
    time_us: *mut c_longlong,
) -> c_int {
    let found = unsafe { host(userdata) }.with(World::sniff);
    // SAFETY: no more than there is room for is written.
    unsafe {
        let (at, packet) = found.unwrap_or_default();
        let room = packet.len().min(*len);
        into.cast::<u8>().copy_from_nonoverlapping(packet.as_ptr(), room);
        *len = room;
        *time_us = (at.0 / 1_000) as c_longlong;
    }
    0
}

pub(super) unsafe extern "C" fn usleep(userdata: *mut c_void, us: u32) -> c_int {
    let finished = unsafe { host(userdata) }.with(|world| {
        world.pass(u64::from(us));
        std::mem::take(&mut world.finished)
    });
    if finished {
        // The other thread has something to note before the script goes on. packetdrill holds no lock while it sleeps,
        // and time that is virtual would leave it none.
        std::thread::sleep(NOTING);
    }
    0
}

pub(super) unsafe extern "C" fn gettimeofday(
    userdata: *mut c_void,
    into: *mut timeval,
    _zone: *mut c_void,
) -> c_int {
    let now = OVER_AT.take().unwrap_or_else(|| unsafe { host(userdata) }.with(World::asked));
    let us = (now.0 / 1_000) as i64;
    // SAFETY: it points to room for one.
    unsafe { into.write(timeval { tv_sec: us / 1_000_000, tv_usec: us % 1_000_000 }) };
    0
}

// Not offered.

pub(super) unsafe extern "C" fn epoll_create(_userdata: *mut c_void, _size: c_int) -> c_int {
    answer(Err(libc::ENOSYS))
}

pub(super) unsafe extern "C" fn epoll_ctl(
    _userdata: *mut c_void,
    _epoll: c_int,
    _operation: c_int,
    _fd: c_int,
    _event: *mut c_void,
) -> c_int {
    answer(Err(libc::ENOSYS))
}

pub(super) unsafe extern "C" fn epoll_wait(
    _userdata: *mut c_void,
    _epoll: c_int,
    _events: *mut c_void,
    _max: c_int,
    _timeout: c_int,
) -> c_int {
    answer(Err(libc::ENOSYS))
}

pub(super) unsafe extern "C" fn pipe(_userdata: *mut c_void, _into: *mut c_int) -> c_int {
    answer(Err(libc::ENOSYS))
}

pub(super) unsafe extern "C" fn splice(
    _userdata: *mut c_void,
    _from: c_int,
    _from_at: *mut c_void,
    _to: c_int,
    _to_at: *mut c_void,
    _len: size_t,
    _flags: c_uint,
) -> c_int {
    answer(Err(libc::ENOSYS))
}

/// SAFETY: each vector names memory that may be written.
unsafe fn read_into(
    userdata: *mut c_void,
    fd: c_int,
    vectors: &[iovec],
    flags: c_int,
) -> Result<usize, Errno> {
    if flags & !FLAGS_KNOWN != 0 {
        return Err(libc::EOPNOTSUPP);
    }
    if vectors.iter().any(|vector| vector.iov_base.is_null() && vector.iov_len > 0) {
        return Err(libc::EFAULT);
    }
    // SAFETY: packetdrill's.
    let host = unsafe { host(userdata) };
    let len = vectors.iter().map(|vector| vector.iov_len).sum();
    let peek = flags & libc::MSG_PEEK != 0;
    let done = host.call(fd, Call::Read { fd, len, peek }, flags & libc::MSG_DONTWAIT != 0)?;
    let Done::Read(bytes) = done else { return Err(libc::EINVAL) };
    let mut rest = &bytes[..];
    for vector in vectors {
        let (now, later) = rest.split_at(rest.len().min(vector.iov_len));
        if now.is_empty() {
            continue;
        }
        // SAFETY: no more than it has room for is written.
        unsafe { vector.iov_base.cast::<u8>().copy_from_nonoverlapping(now.as_ptr(), now.len()) };
        rest = later;
    }
    Ok(bytes.len())
}

/// SAFETY: `userdata` is the host's.
unsafe fn write_from(userdata: *mut c_void, fd: c_int, bytes: Vec<u8>, flags: c_int) -> Result<usize, Errno> {
    if flags & !FLAGS_KNOWN != 0 {
        return Err(libc::EOPNOTSUPP);
    }
    // SAFETY: packetdrill's.
    let host = unsafe { host(userdata) };
    match host.call(fd, Call::Write { fd, bytes, written: 0 }, flags & libc::MSG_DONTWAIT != 0)? {
        Done::Written(written) => Ok(written),
        _ => Err(libc::EINVAL),
    }
}
