//! What clients do, by the kernel's sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use pelton_packet::checksum::Sum;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto, socket_with,
};

/// How long an answer may take: machines that test are busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what must not be answered is waited for.
const SILENCE: Duration = Duration::from_millis(700);

/// Whether there is a connection within reason.
pub(crate) fn connects(to: &str) -> bool {
    TcpStream::connect_timeout(&to.parse().unwrap(), PATIENCE).is_ok()
}

/// Whether nobody answers, neither by accepting nor by a reset.
pub(crate) fn is_silent(to: &str) -> bool {
    match TcpStream::connect_timeout(&to.parse().unwrap(), SILENCE) {
        Err(error) => error.kind() == ErrorKind::TimedOut,
        Ok(_) => false,
    }
}

/// A listener that sends back what it gets until the end of it.
pub(crate) fn echo(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut bytes = Vec::new();
            if stream.read_to_end(&mut bytes).is_ok() {
                let _ = stream.write_all(&bytes);
            }
        }
    });
}

/// Sends a stream there, and has it back.
pub(crate) fn streams(to: &str, bytes: usize) -> bool {
    let sent: Vec<u8> = (0..bytes).map(|at| (at * 7 + at / 251) as u8).collect();
    let Ok(mut stream) = TcpStream::connect_timeout(&to.parse().unwrap(), PATIENCE) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&sent).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).is_ok() && got == sent
}

/// Sends a datagram to a socket of the other side, which is large enough to be fragmented if `bytes` is.
pub(crate) fn datagram(from: &UdpSocket, to: SocketAddr, at: &UdpSocket, bytes: usize) -> bool {
    let sent = vec![7; bytes];
    at.set_read_timeout(Some(PATIENCE)).unwrap();
    from.send_to(&sent, to).unwrap();
    let mut got = vec![0; 65_536];
    at.recv(&mut got).is_ok_and(|len| got[..len] == sent)
}

/// Pings with so many bytes of data.
pub(crate) fn pings(to: Ipv4Addr, bytes: usize) -> bool {
    let socket =
        socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::ICMP)).unwrap();
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, Some(PATIENCE))
        .unwrap();
    let mut request = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
    request.extend((0..bytes).map(|at| at as u8));
    let sum = Sum::ZERO.bytes(&request).fold();
    request[2..4].copy_from_slice(&sum.to_be_bytes());
    sendto(&socket, &request, SendFlags::empty(), &SocketAddrV4::new(to, 0)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut got = vec![0; 65_536];
    while Instant::now() < deadline {
        let Ok((len, _)) = recv(&socket, &mut got[..], RecvFlags::empty()) else { return false };
        // Behind the IP header: an echo reply with the same content.
        if got.get(20..len).is_some_and(|reply| reply[0] == 0 && reply[4..] == request[4..]) {
            return true;
        }
    }
    false
}
