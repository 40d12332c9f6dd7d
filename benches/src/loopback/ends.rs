//! The connections of clients: those of our own TCP at the other end of a wire in memory, and those of the kernel.

mod kernel;
mod ours;

pub use kernel::Kernel;
pub use ours::Ours;

use pelton_base::{ByteStreams, Mono};

/// The clients' side of a transport; all of its connections, by number in the order of opening.
pub trait Ends {
    /// The shard's side.
    type Streams: ByteStreams;

    /// Opens the next connection. It may be written to at once.
    fn open(&mut self, client: u32, now: Mono);

    /// Sends bytes.
    fn write(&mut self, client: u32, bytes: &[u8]);

    /// Everything has been written: what waits for company leaves.
    fn flush(&mut self);

    /// Takes what has come.
    fn take(&mut self, now: Mono, see: impl FnMut(u32, &[u8]));

    /// Segments that had to be sent again, as far as that is known.
    fn sent_again(&self) -> u64;
}

/// What clients want to send: one write for each that has something.
#[derive(Debug, Default)]
pub struct Writes {
    bytes: Vec<u8>,
    /// Whose, and where it ends.
    ends: Vec<(u32, usize)>,
}

impl Writes {
    /// Adds what a client sends.
    #[inline]
    pub fn add(&mut self, client: u32, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        let end = self.bytes.len();
        match self.ends.last_mut() {
            Some((last, at)) if *last == client => *at = end,
            _ => self.ends.push((client, end)),
        }
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Sends it.
    pub fn send<E: Ends>(&mut self, ends: &mut E) {
        if self.ends.is_empty() {
            return;
        }
        let mut start = 0;
        for (client, end) in self.ends.drain(..) {
            ends.write(client, &self.bytes[start..end]);
            start = end;
        }
        self.bytes.clear();
        ends.flush();
    }
}
