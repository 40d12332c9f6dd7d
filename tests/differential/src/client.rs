//! The client, on the kernel's sockets.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::stream::{Deed, RIGHT, Stream, request};

/// Bytes of one round of an echo.
const ECHO: u64 = 100;
/// A run that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Client {
    /// The server
    address: SocketAddr,
    /// What is to be done
    deed: Deed,
    /// How many bytes
    bytes: u64,
    /// The socket's buffers, each; 0 leaves them to the kernel
    #[arg(long, default_value_t = 0)]
    buffer: usize,
}

impl Client {
    /// Moves the bytes; how long it took, the opening of the connection included.
    pub(crate) fn run(&self) -> Result<Duration> {
        let stream = Stream::new();
        let began = Instant::now();
        let mut socket = self.open()?;
        socket.write_all(&request(self.deed, self.bytes))?;
        match self.deed {
            Deed::Get => {
                let received = take(&mut socket, &stream, u64::MAX)?;
                expect(received == self.bytes, "the end came too soon or too late")?;
            }
            Deed::Put => {
                give(&mut socket, &stream, 0, self.bytes)?;
                let mut answer = RIGHT.map(|_| 0);
                socket.read_exact(&mut answer)?;
                expect(answer == RIGHT, "the server got something else")?;
            }
            Deed::Echo => {
                let mut place = 0;
                while place < self.bytes {
                    give(&mut socket, &stream, place, ECHO)?;
                    let mut back = [0; ECHO as usize];
                    socket.read_exact(&mut back)?;
                    expect(stream.is(place, &back), "something else came back")?;
                    place += ECHO;
                }
            }
        }
        Ok(began.elapsed())
    }

    fn open(&self) -> Result<TcpStream> {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        if self.buffer != 0 {
            // Before the connection is opened: what is announced at its opening follows from it.
            sockopt::set_socket_recv_buffer_size(&socket, self.buffer)?;
            sockopt::set_socket_send_buffer_size(&socket, self.buffer)?;
        }
        connect(&socket, &self.address)?;
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(socket)
    }
}

fn expect(holds: bool, otherwise: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::other(otherwise)) }
}

/// Writes so many bytes of the stream from a place on.
pub(crate) fn give(socket: &mut TcpStream, stream: &Stream, from: u64, bytes: u64) -> Result<()> {
    let (mut place, end) = (from, from + bytes);
    while place < end {
        let run = stream.at(place, end - place);
        socket.write_all(run)?;
        place += run.len() as u64;
    }
    Ok(())
}

/// Reads and compares until the end, or so many bytes; how many came.
pub(crate) fn take(socket: &mut TcpStream, stream: &Stream, max: u64) -> Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut place = 0;
    while place < max {
        let room = (buffer.len() as u64).min(max - place) as usize;
        let got = socket.read(&mut buffer[..room])?;
        if got == 0 {
            break;
        }
        expect(stream.is(place, &buffer[..got]), "a byte differs")?;
        place += got as u64;
    }
    Ok(place)
}
