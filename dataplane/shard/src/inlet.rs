//! From a stream of bytes to packets: what is kept of a connection between its reads.
//!
//! Packets that lie whole in what was read are handed to the broker where they lie. Only what is left over is
//! copied: the beginning of a packet, until it is whole; or, while the connection's input is held, all that
//! has come.

use pelton_base::Key;
use pelton_broker::{Broker, Handled};
use pelton_mqtt::{Frame, frame};

/// What few events need of a connection; the rest is its [`Line`](pelton_base::Line). While it has a rest, or is being ended,
/// its line says that something was put aside.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) key: Key,
    pub(crate) listener: u16,
    /// It stands in the line of those that wait for room.
    pub(crate) in_line: bool,
    /// It is ended when what is queued has gone.
    pub(crate) closing: Option<pelton_base::Ending>,
    pub(crate) rest: Option<Box<Rest>>,
}

/// Bytes that were read and not used yet.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    pub(crate) bytes: Vec<u8>,
    /// With so many bytes there is a whole packet (or a whole fixed header).
    pub(crate) need: usize,
    /// The input waits for the broker.
    pub(crate) held: bool,
    /// Bytes that have not been reported as consumed to the transport.
    pub(crate) unreported: usize,
}

/// How the packets in a run of bytes were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fed {
    /// All but the beginning of a packet, which is whole with this many bytes.
    Partial(usize),
    /// Nothing is left.
    Empty,
    /// The rest waits for the broker.
    Held,
    /// The rest goes to another shard with its connection.
    HandOver(u16),
    /// The rest is of no interest: the connection is being ended.
    Ended,
}

/// Hands the packets in `bytes` to the broker, one by one. Returns how many bytes were used.
pub(crate) fn feed(broker: &mut Broker, key: Key, bytes: &[u8]) -> (usize, Fed) {
    let limit = broker.packet_bytes_max();
    let mut used = 0;
    loop {
        let rest = &bytes[used..];
        if rest.is_empty() {
            return (used, Fed::Empty);
        }
        let (header, total) = match frame(rest, limit) {
            Ok(Frame::Complete { header, total }) => (header, total),
            Ok(Frame::Partial { total }) => {
                // Without a length the header is not whole: it is with one byte more.
                return (used, Fed::Partial(total.unwrap_or(rest.len() + 1)));
            }
            Err(error) => {
                broker.handle_malformed(key, error);
                return (used, Fed::Ended);
            }
        };
        match broker.handle_packet(key, header, &rest[usize::from(header.header_len)..total]) {
            Handled::Done => {
                used += total;
                used += broker.handle_repeats(key, header, &rest[..total], &bytes[used..]);
            }
            Handled::Hold(_) => return (used, Fed::Held),
            Handled::HandOver(to) => return (used, Fed::HandOver(to)),
            Handled::Ended => return (used, Fed::Ended),
        }
    }
}
