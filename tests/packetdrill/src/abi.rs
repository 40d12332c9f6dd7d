//! The table of functions that packetdrill has filled in and calls (`packetdrill.h` there). The functions are in
//! `calls`, and what they read of packetdrill's memory and write to it in `memory`; everything else is safe.
//!
//! packetdrill calls from two threads: one goes through the script and drives the clock, the other makes the calls
//! that the script says wait.

mod calls;
mod memory;

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_long, c_longlong, c_ulong, c_void};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use libc::{iovec, msghdr, nfds_t, pollfd, size_t, sockaddr, socklen_t, ssize_t, timeval};
use memory::answer;
use pelton_base::Mono;

use crate::call::{Call, Done, Errno, Fd};
use crate::options::Flags;
use crate::world::World;

/// `struct packetdrill_interface`. `fcntl` and `ioctl` are variadic there and called with one argument at most, which
/// on the machines this is for is passed as that of a function of three.
#[repr(C)]
#[derive(Debug)]
#[expect(missing_docs, reason = "packetdrill's names")]
pub struct Interface {
    pub userdata: *mut c_void,
    pub free: unsafe extern "C" fn(*mut c_void),
    pub socket: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int) -> c_int,
    pub bind: unsafe extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    pub listen: unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    pub accept: unsafe extern "C" fn(*mut c_void, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    pub connect: unsafe extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    pub read: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, size_t) -> ssize_t,
    pub readv: unsafe extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> ssize_t,
    pub recv: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, size_t, c_int) -> ssize_t,
    pub recvfrom: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *mut c_void,
        size_t,
        c_int,
        *mut sockaddr,
        *mut socklen_t,
    ) -> ssize_t,
    pub recvmsg: unsafe extern "C" fn(*mut c_void, c_int, *mut msghdr, c_int) -> ssize_t,
    pub write: unsafe extern "C" fn(*mut c_void, c_int, *const c_void, size_t) -> ssize_t,
    pub writev: unsafe extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> ssize_t,
    pub send: unsafe extern "C" fn(*mut c_void, c_int, *const c_void, size_t, c_int) -> ssize_t,
    pub sendto: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *const c_void,
        size_t,
        c_int,
        *const sockaddr,
        socklen_t,
    ) -> ssize_t,
    pub sendmsg: unsafe extern "C" fn(*mut c_void, c_int, *const msghdr, c_int) -> ssize_t,
    pub fcntl: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_long) -> c_int,
    pub ioctl: unsafe extern "C" fn(*mut c_void, c_int, c_ulong, *mut c_int) -> c_int,
    pub close: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    pub shutdown: unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    pub getsockopt:
        unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int,
    pub setsockopt: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    pub poll: unsafe extern "C" fn(*mut c_void, *mut pollfd, nfds_t, c_int) -> c_int,
    pub netdev_send: unsafe extern "C" fn(*mut c_void, *const c_void, size_t) -> c_int,
    pub netdev_receive: unsafe extern "C" fn(*mut c_void, *mut c_void, *mut size_t, *mut c_longlong) -> c_int,
    pub usleep: unsafe extern "C" fn(*mut c_void, u32) -> c_int,
    pub gettimeofday: unsafe extern "C" fn(*mut c_void, *mut timeval, *mut c_void) -> c_int,
    pub epoll_create: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    pub epoll_ctl: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut c_void) -> c_int,
    pub epoll_wait: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, c_int, c_int) -> c_int,
    pub pipe: unsafe extern "C" fn(*mut c_void, *mut c_int) -> c_int,
    pub splice: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *mut c_void,
        c_int,
        *mut c_void,
        size_t,
        std::ffi::c_uint,
    ) -> c_int,
}

/// By <linux/tcp.h>.
const TCP_CC_INFO: c_int = 26;

/// What `userdata` points to.
struct Host {
    world: Mutex<World>,
    changed: Condvar,
    /// The thread that drives the clock.
    driver: ThreadId,
}

/// The host of this process, for [`getsockopt`].
static CURRENT: Mutex<Option<Arc<Host>>> = Mutex::new(None);

thread_local! {
    /// When the call that waited in this thread was over: what the thread is told next when it asks for the time, since
    /// the other has gone on meanwhile.
    static OVER_AT: Cell<Option<Mono>> = const { Cell::new(None) };
}

impl Host {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, work: impl FnOnce(&mut World) -> R) -> R {
        let result = work(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// A call that may have to wait. `never`: not this one.
    fn call(&self, fd: Fd, call: Call, never: bool) -> Result<Done, Errno> {
        let waits = !never && self.lock().waits(fd)?;
        self.wait(call, waits)
    }

    /// A call that waits, if it may.
    fn wait(&self, mut call: Call, waits: bool) -> Result<Done, Errno> {
        let mut world = self.lock();
        if waits && thread::current().id() == self.driver {
            return world.wait_here(&mut call);
        }
        if let Some(outcome) = world.attempt(&mut call, waits) {
            return outcome;
        }
        world.wait(call);
        loop {
            world = self.changed.wait(world).unwrap_or_else(PoisonError::into_inner);
            if let Some((outcome, at)) = world.take_outcome() {
                OVER_AT.set(Some(at));
                return outcome;
            }
        }
    }
}

/// Fills in the interface. A flag that is not known ends the process: a script that ran with other settings than it was
/// meant to says nothing.
///
/// # Safety
/// `flags` is null or a string, `interface` points to room for an [`Interface`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(flags: *const c_char, interface: *mut Interface) {
    // SAFETY: packetdrill passes what stood on its command line, or null.
    let text = if flags.is_null() { "" } else { unsafe { CStr::from_ptr(flags) }.to_str().unwrap_or("?") };
    let flags = Flags::parse(text).unwrap_or_else(|why| {
        eprintln!("--so_flags: {why}");
        std::process::exit(2)
    });
    let host = Arc::new(Host {
        world: Mutex::new(World::new(flags)),
        changed: Condvar::new(),
        driver: thread::current().id(),
    });
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&host));
    let filled = Interface {
        userdata: Arc::into_raw(host).cast_mut().cast(),
        free: calls::free,
        socket: calls::socket,
        bind: calls::bind,
        listen: calls::listen,
        accept: calls::accept,
        connect: calls::connect,
        read: calls::read,
        readv: calls::readv,
        recv: calls::recv,
        recvfrom: calls::recvfrom,
        recvmsg: calls::recvmsg,
        write: calls::write,
        writev: calls::writev,
        send: calls::send,
        sendto: calls::sendto,
        sendmsg: calls::sendmsg,
        fcntl: calls::fcntl,
        ioctl: calls::ioctl,
        close: calls::close,
        shutdown: calls::shutdown,
        getsockopt: calls::host_getsockopt,
        setsockopt: calls::setsockopt,
        poll: calls::poll,
        netdev_send: calls::netdev_send,
        netdev_receive: calls::netdev_receive,
        usleep: calls::usleep,
        gettimeofday: calls::gettimeofday,
        epoll_create: calls::epoll_create,
        epoll_ctl: calls::epoll_ctl,
        epoll_wait: calls::epoll_wait,
        pipe: calls::pipe,
        splice: calls::splice,
    };
    // SAFETY: it points to room for one.
    unsafe { interface.write(filled) };
}

/// The socket option as packetdrill itself asks for it, past the interface: for the assertions on `tcp_info` in its
/// scripts. It gets here if this object is loaded before the C library (`LD_PRELOAD`); what is no socket of ours goes to
/// the kernel.
///
/// # Safety
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let host = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match host {
        Some(host) if host.lock().socket_of(fd).is_ok() => {
            // SAFETY: as for the C library's.
            answer(host.with(|world| unsafe { calls::read_option(world, fd, level, name, value, len) }))
        }
        // SAFETY: the arguments are those of the call.
        _ => unsafe { libc::syscall(libc::SYS_getsockopt, fd, level, name, value, len) as c_int },
    }
}
