//! The server on the kernel's sockets: a thread for each connection.

use std::io::{Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use crate::client::{give, take};
use crate::stream::{Deed, REQUEST, RIGHT, Stream, requested};

pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    let stream = Arc::new(Stream::new());
    let listener = TcpListener::bind(address)?;
    println!("ready");
    loop {
        let (socket, _) = listener.accept()?;
        let stream = stream.clone();
        std::thread::spawn(move || {
            // A client that goes away is its own affair.
            let _ = answer(socket, &stream);
        });
    }
}

fn answer(mut socket: TcpStream, stream: &Stream) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut request = [0; REQUEST];
    socket.read_exact(&mut request)?;
    match requested(request) {
        Some((Deed::Get, bytes)) => {
            give(&mut socket, stream, 0, bytes)?;
            socket.shutdown(Shutdown::Write)?;
        }
        Some((Deed::Put, bytes)) => {
            if take(&mut socket, stream, bytes)? == bytes {
                socket.write_all(&RIGHT)?;
            }
        }
        Some((Deed::Echo, _)) => {
            let mut buffer = [0; 4_096];
            loop {
                let got = socket.read(&mut buffer)?;
                if got == 0 {
                    return Ok(());
                }
                socket.write_all(&buffer[..got])?;
            }
        }
        None => return Ok(()),
    }
    // Until the client has closed, too.
    while socket.read(&mut [0; 64])? != 0 {}
    Ok(())
}
