//! Packetdrill's memory: what its functions are given and give back.

use std::ffi::{c_int, c_void};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use libc::{iovec, sockaddr, socklen_t, ssize_t};

use super::Host;
use crate::call::Errno;

/// SAFETY: `userdata` is what [`packetdrill_interface_init`] gave, and has not been freed.
pub(super) unsafe fn host<'a>(userdata: *mut c_void) -> &'a Host {
    // SAFETY: as said.
    unsafe { &*userdata.cast::<Host>() }
}

pub(super) fn set_errno(errno: Errno) {
    // SAFETY: the C library's place for it in this thread.
    unsafe { *libc::__errno_location() = errno };
}

pub(super) fn answer(result: Result<c_int, Errno>) -> c_int {
    result.unwrap_or_else(|errno| {
        set_errno(errno);
        -1
    })
}

pub(super) fn count(result: Result<usize, Errno>) -> ssize_t {
    match result {
        Ok(count) => count as ssize_t,
        Err(errno) => {
            set_errno(errno);
            -1
        }
    }
}

/// SAFETY: `address` points to `len` bytes.
pub(super) unsafe fn read_address(address: *const sockaddr, len: socklen_t) -> Result<SocketAddr, Errno> {
    if address.is_null() || (len as usize) < size_of::<libc::sa_family_t>() {
        return Err(libc::EINVAL);
    }
    // SAFETY: it is long enough.
    let family = c_int::from(unsafe { (*address).sa_family });
    if family == libc::AF_INET && len as usize >= size_of::<libc::sockaddr_in>() {
        // SAFETY: it is long enough, whatever its alignment.
        let v4 = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
        return Ok((v4.sin_addr.s_addr.to_ne_bytes(), u16::from_be(v4.sin_port)).into());
    }
    if family == libc::AF_INET6 && len as usize >= size_of::<libc::sockaddr_in6>() {
        // SAFETY: it is long enough, whatever its alignment.
        let v6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
        let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr).to_canonical();
        return Ok((ip, u16::from_be(v6.sin6_port)).into());
    }
    Err(libc::EAFNOSUPPORT)
}

/// SAFETY: `len` is null or points to how many bytes `into` has.
pub(super) unsafe fn write_address(address: SocketAddr, into: *mut sockaddr, len: *mut socklen_t) {
    if into.is_null() || len.is_null() {
        return;
    }
    let mut bytes = Vec::with_capacity(size_of::<libc::sockaddr_in6>());
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    bytes.extend_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
    bytes.extend_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes.extend_from_slice(&ip.octets());
            bytes.extend_from_slice(&[0; 8]);
        }
        IpAddr::V6(ip) => {
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&ip.octets());
            bytes.extend_from_slice(&[0; 4]);
        }
    }
    // SAFETY: no more than it has room for is written.
    unsafe {
        let room = (*len as usize).min(bytes.len());
        into.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), room);
        *len = bytes.len() as socklen_t;
    }
}

/// SAFETY: `bytes` points to `len` bytes, if `len` is not zero.
pub(super) unsafe fn copy_in(bytes: *const c_void, len: usize) -> Result<Vec<u8>, Errno> {
    if len == 0 {
        return Ok(Vec::new());
    }
    if bytes.is_null() {
        return Err(libc::EFAULT);
    }
    // SAFETY: as said.
    Ok(unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) }.to_vec())
}

/// SAFETY: `vectors` points to `n` of them, each true.
pub(super) unsafe fn vectors<'a>(vectors: *const iovec, n: usize) -> &'a [iovec] {
    if n == 0 || vectors.is_null() {
        return &[];
    }
    // SAFETY: as said.
    unsafe { std::slice::from_raw_parts(vectors, n) }
}

/// SAFETY: each vector names memory that may be read.
pub(super) unsafe fn gather(vectors: &[iovec]) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    for vector in vectors {
        // SAFETY: as said.
        bytes.extend(unsafe { copy_in(vector.iov_base, vector.iov_len) }?);
    }
    Ok(bytes)
}
