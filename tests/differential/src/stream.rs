//! What is sent: bytes that follow from their place, and what a client asks for.

use pelton_base::Rng;

/// Where the bytes begin again. A prime, so that no shift by frames or buffers looks right.
const PERIOD: usize = 1_000_003;
/// The most bytes that are given at once.
const RUN: usize = 64 * 1024;
/// Bytes of a request.
pub(crate) const REQUEST: usize = 9;

/// The stream, ready to be compared with and sent from.
pub(crate) struct Stream {
    bytes: Vec<u8>,
}

impl Stream {
    pub(crate) fn new() -> Self {
        let mut rng = Rng::with_seed(4);
        let mut bytes: Vec<u8> = (0..PERIOD).map(|_| rng.u64() as u8).collect();
        bytes.extend_from_within(..RUN);
        Self { bytes }
    }

    /// Bytes from a place on, at most so many, and never more than 64 KiB.
    pub(crate) fn at(&self, place: u64, max: u64) -> &[u8] {
        let start = (place % PERIOD as u64) as usize;
        &self.bytes[start..start + (RUN as u64).min(max) as usize]
    }

    /// Whether these are the bytes at a place.
    pub(crate) fn is(&self, mut place: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = self.at(place, bytes.len() as u64);
            let (now, later) = bytes.split_at(expected.len());
            if now != expected {
                return false;
            }
            place += now.len() as u64;
            bytes = later;
        }
        true
    }
}

/// What a client asks a server to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Deed {
    /// Send so many bytes and close.
    Get,
    /// Take so many bytes, and say when all have come and were right.
    Put,
    /// Send back what comes.
    Echo,
}

/// A request as bytes.
pub(crate) fn request(deed: Deed, bytes: u64) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    request[0] = match deed {
        Deed::Get => b'g',
        Deed::Put => b'p',
        Deed::Echo => b'e',
    };
    request[1..].copy_from_slice(&bytes.to_be_bytes());
    request
}

/// A request from bytes.
pub(crate) fn requested(request: [u8; REQUEST]) -> Option<(Deed, u64)> {
    let deed = match request[0] {
        b'g' => Deed::Get,
        b'p' => Deed::Put,
        b'e' => Deed::Echo,
        _ => return None,
    };
    let [_, bytes @ ..] = request;
    Some((deed, u64::from_be_bytes(bytes)))
}

/// What a server answers when everything has come and was right.
pub(crate) const RIGHT: [u8; 1] = *b"+";
