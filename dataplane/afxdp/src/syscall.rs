//! The system calls of AF_XDP, with owned descriptors and mappings.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::ring::Offsets;

/// Memory that a socket's ring lives in.
pub(crate) struct Mapping(Arc<Mapped>);

struct Mapped {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is plain memory; who may touch which part of it is the rings' affair.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped with this size, unmapped once.
        unsafe {
            libc::munmap(self.base.as_ptr().cast(), self.bytes);
        }
    }
}

impl Mapping {
    /// Maps one ring of a socket.
    pub(crate) fn ring(fd: &OwnedFd, bytes: usize, page_offset: i64) -> io::Result<Self> {
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping of a ring of an open socket touches no memory that is there.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                fd.as_raw_fd(),
                page_offset,
            )
        };
        Self::of(base, bytes)
    }

    fn of(base: *mut libc::c_void, bytes: usize) -> io::Result<Self> {
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => {
                Ok(Self(Arc::new(Mapped { base, bytes })))
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.0.base.as_ptr()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// Memory that no socket has, to test rings.
    #[cfg(test)]
    pub(crate) fn anonymous(bytes: usize) -> Self {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping touches no memory that is there.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        Self::of(base, bytes).expect("memory")
    }

    /// The same memory again.
    #[cfg(test)]
    pub(crate) fn alias(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A new AF_XDP socket.
pub(crate) fn socket() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = checked(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just given it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set<T>(fd: &OwnedFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the size are those of one value, which the kernel only reads.
    checked(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

/// # Safety
/// Every pattern of bytes must be a value of `T`.
unsafe fn get<T>(fd: &OwnedFd, option: i32) -> io::Result<T> {
    // SAFETY: zeros are a value (contract).
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut bytes = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the size are those of one value; the kernel writes no more than the size.
    checked(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            option,
            std::ptr::from_mut(&mut value).cast(),
            &raw mut bytes,
        )
    })?;
    Ok(value)
}

/// Tells the kernel which memory frames are in.
pub(crate) fn register(fd: &OwnedFd, base: NonNull<u8>, bytes: usize, frame_bytes: u32) -> io::Result<()> {
    let registration = libc::xdp_umem_reg {
        addr: base.as_ptr() as u64,
        len: bytes as u64,
        chunk_size: frame_bytes,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)
}

/// How long each of the four rings is: fill, completion, rx, tx.
pub(crate) fn set_rings(fd: &OwnedFd, rx_entries: u32, tx_entries: u32) -> io::Result<()> {
    for (option, entries) in [
        (libc::XDP_UMEM_FILL_RING, rx_entries),
        (libc::XDP_UMEM_COMPLETION_RING, tx_entries),
        (libc::XDP_RX_RING, rx_entries),
        (libc::XDP_TX_RING, tx_entries),
    ] {
        set(fd, libc::SOL_XDP, option, &entries)?;
    }
    Ok(())
}

/// Where the four rings' parts are: fill, completion, rx, tx.
pub(crate) fn offsets(fd: &OwnedFd) -> io::Result<[Offsets; 4]> {
    // SAFETY: it is made of integers.
    let all: libc::xdp_mmap_offsets = unsafe { get(fd, libc::XDP_MMAP_OFFSETS) }?;
    Ok([all.fr, all.cr, all.rx, all.tx].map(|ring| Offsets {
        producer: ring.producer as usize,
        consumer: ring.consumer as usize,
        flags: ring.flags as usize,
        entries: ring.desc as usize,
    }))
}

/// Binds a socket to a queue; with `shared`, over the memory of another socket.
pub(crate) fn bind(
    fd: &OwnedFd,
    interface: u32,
    queue: u32,
    flags: u16,
    shared: Option<&OwnedFd>,
) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: shared.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    // SAFETY: the pointer and the size are those of one address, which the kernel only reads.
    checked(unsafe {
        libc::bind(
            fd.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_xdp>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

const SO_PREFER_BUSY_POLL: i32 = 69;
const SO_BUSY_POLL_BUDGET: i32 = 70;

/// Asks for polling by the caller, preferred to interrupts.
pub(crate) fn busy_poll(fd: &OwnedFd, poll_us: u32, budget: u16) -> io::Result<()> {
    set(fd, libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, &1i32)?;
    set(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, &(poll_us as i32))?;
    set(fd, libc::SOL_SOCKET, SO_BUSY_POLL_BUDGET, &i32::from(budget))
}

/// Takes that back, as far as it was granted.
pub(crate) fn no_busy_poll(fd: &OwnedFd) {
    let _ = set(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, &0i32);
    let _ = set(fd, libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, &0i32);
}

/// Whether a bound socket does without copies.
pub(crate) fn is_zero_copy(fd: &OwnedFd) -> io::Result<bool> {
    // SAFETY: it is made of integers.
    let options: libc::xdp_options = unsafe { get(fd, libc::XDP_OPTIONS) }?;
    Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}

/// What the kernel counted of a socket.
pub(crate) fn statistics(fd: &OwnedFd) -> io::Result<libc::xdp_statistics> {
    // SAFETY: it is made of integers.
    unsafe { get(fd, libc::XDP_STATISTICS) }
}

/// Has the kernel look at the tx ring. An error of `EAGAIN` means that it sent as much as it does in one call.
pub(crate) fn kick_tx(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: nothing is passed but the descriptor.
    let sent =
        unsafe { libc::sendto(fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has the kernel look at the fill ring, and poll the device if that was asked for.
pub(crate) fn kick_rx(fd: &OwnedFd) {
    // SAFETY: nothing is passed but the descriptor. Whatever it says, the ring shows what came.
    unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            std::ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
    }
}

/// The index of an interface.
pub(crate) fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: a string that ends with zero, only read.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// A command of `bpf(2)` with what goes with it. It borrows what its pointers name.
pub(crate) struct BpfCommand<'a> {
    command: libc::c_int,
    attributes: [u64; 16],
    _named: std::marker::PhantomData<&'a ()>,
}

impl<'a> BpfCommand<'a> {
    fn new(command: libc::c_int, words: &[u64]) -> Self {
        let mut attributes = [0; 16];
        attributes[..words.len()].copy_from_slice(words);
        Self { command, attributes, _named: std::marker::PhantomData }
    }

    const fn pair(low: u32, high: u32) -> u64 {
        u64::from_ne_bytes({
            let (low, high) = (low.to_ne_bytes(), high.to_ne_bytes());
            [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]]
        })
    }

    /// A table of AF_XDP sockets by queue.
    pub(crate) fn map_of_sockets(entries: u32) -> Self {
        const MAP_CREATE: libc::c_int = 0;
        const TYPE_XSKMAP: u32 = 17;
        Self::new(MAP_CREATE, &[Self::pair(TYPE_XSKMAP, 4), Self::pair(4, entries)])
    }

    /// Enters a key and its value, of four bytes each.
    pub(crate) fn put(map: &OwnedFd, entry: &'a [u32; 2]) -> Self {
        const MAP_UPDATE: libc::c_int = 2;
        let [key, value] = [&raw const entry[0], &raw const entry[1]];
        Self::new(MAP_UPDATE, &[map.as_raw_fd() as u64, key as u64, value as u64])
    }

    /// Loads an XDP program.
    pub(crate) fn xdp_program(code: &'a [u64]) -> Self {
        const PROG_LOAD: libc::c_int = 5;
        const TYPE_XDP: u32 = 6;
        // Not the program's licence but what the kernel is told; none of the helpers used asks for more.
        const LICENSE: &std::ffi::CStr = c"GPL";
        let count = code.len() as u32;
        Self::new(PROG_LOAD, &[Self::pair(TYPE_XDP, count), code.as_ptr() as u64, LICENSE.as_ptr() as u64])
    }

    /// Attaches an XDP program to an interface until the link is closed.
    pub(crate) fn link(program: &OwnedFd, interface: u32, flags: u32) -> Self {
        const LINK_CREATE: libc::c_int = 28;
        const XDP: u32 = 37;
        Self::new(LINK_CREATE, &[Self::pair(program.as_raw_fd() as u32, interface), Self::pair(XDP, flags)])
    }
}

/// Does a command of `bpf(2)`.
pub(crate) fn bpf(command: &BpfCommand<'_>) -> io::Result<libc::c_int> {
    let attributes = &command.attributes;
    // SAFETY: the attributes are as long as is said, and what they point to lives as long as the command; none of the
    // commands above has the kernel write there.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command.command, attributes.as_ptr(), size_of_val(attributes))
    };
    checked(result as libc::c_int)
}

/// Does a command of `bpf(2)` that makes something.
pub(crate) fn bpf_new(command: &BpfCommand<'_>) -> io::Result<OwnedFd> {
    let fd = bpf(command)?;
    // SAFETY: the kernel has just given it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A socket to ask about interfaces with.
pub(crate) fn control_socket() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = checked(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just given it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the kernel says of an interface.
pub(crate) struct InterfaceFacts {
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: u32,
    pub(crate) flags: u16,
}

/// An `ifreq` about an interface.
fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: it is made of integers and pointers, for which zeros are values.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = byte as libc::c_char;
    }
    Ok(request)
}

/// Asks for Ethernet address, MTU and flags.
pub(crate) fn interface_facts(socket: &OwnedFd, name: &str) -> io::Result<InterfaceFacts> {
    let ask = |what: libc::Ioctl| -> io::Result<libc::ifreq> {
        let mut answer = request(name)?;
        // SAFETY: these requests read and write one `ifreq`.
        checked(unsafe { libc::ioctl(socket.as_raw_fd(), what, &raw mut answer) })?;
        Ok(answer)
    };
    let (mac, mtu, flags) =
        (ask(libc::SIOCGIFHWADDR as _)?, ask(libc::SIOCGIFMTU as _)?, ask(libc::SIOCGIFFLAGS as _)?);
    // SAFETY: each answer holds the field of the union that its request writes.
    let (mac, mtu, flags) =
        unsafe { (mac.ifr_ifru.ifru_hwaddr.sa_data, mtu.ifr_ifru.ifru_mtu, flags.ifr_ifru.ifru_flags) };
    Ok(InterfaceFacts {
        mac: std::array::from_fn(|at| mac[at] as u8),
        mtu: mtu.max(0) as u32,
        flags: flags as u16,
    })
}

/// Does a command of `linux/ethtool.h`, whose structure these words are.
///
/// The kernel writes as much as the structure of the command in the first word has: a command is given all words of its
/// structure, and room for what follows it. `ethtool` alone calls this.
pub(crate) fn ethtool(socket: &OwnedFd, name: &str, words: &mut [u32]) -> io::Result<()> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    let mut request = request(name)?;
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: the kernel writes the structure of the command where the request points, which the words have room for
    // (contract).
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) })?;
    Ok(())
}

/// The addresses of an interface.
pub(crate) fn interface_addresses(name: &str) -> io::Result<Vec<IpAddr>> {
    let mut list = std::ptr::null_mut::<libc::ifaddrs>();
    // SAFETY: the kernel's answer is put where we said, to be freed below.
    checked(unsafe { libc::getifaddrs(&raw mut list) })?;
    let mut addresses = Vec::new();
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: an entry of the list, which lives until it is freed.
        let this = unsafe { &*entry };
        entry = this.ifa_next;
        // SAFETY: names in the list are strings that end with zero.
        let named = unsafe { std::ffi::CStr::from_ptr(this.ifa_name) };
        if named.to_bytes() != name.as_bytes() || this.ifa_addr.is_null() {
            continue;
        }
        // SAFETY: an address has its family first, which says what it is.
        let family = i32::from(unsafe { (*this.ifa_addr).sa_family });
        match family {
            libc::AF_INET => {
                // SAFETY: the family says so; it need not be aligned.
                let address = unsafe { this.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
                addresses.push(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into());
            }
            libc::AF_INET6 => {
                // SAFETY: the family says so; it need not be aligned.
                let address = unsafe { this.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
                let address = Ipv6Addr::from(address.sin6_addr.s6_addr);
                if !address.is_unicast_link_local() {
                    addresses.push(address.into());
                }
            }
            _ => {}
        }
    }
    // SAFETY: given by `getifaddrs`, freed once.
    unsafe { libc::freeifaddrs(list) };
    Ok(addresses)
}

/// A descriptor that is readable when one of others is.
pub(crate) fn any_of<'a>(fds: impl Iterator<Item = &'a OwnedFd>) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let epoll = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the kernel has just given it to us.
    let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
    for fd in fds {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        // SAFETY: the kernel reads one event.
        checked(unsafe {
            libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event)
        })?;
    }
    Ok(epoll)
}
