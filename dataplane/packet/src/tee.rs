//! A device that writes what passes a port to a sink, in pcap format (the classic one, nanosecond stamps).

use pelton_base::Mono;

use crate::frame::Frame;
use crate::port::{Port, PortCaps};

/// A port whose frames are also written to `sink`, which gets runs of bytes that make a pcap file in sequence.
#[derive(Debug)]
pub struct Tee<P, S> {
    port: P,
    sink: S,
}

/// The file header: magic for nanoseconds, version 2.4, no time zone, the longest frame, Ethernet. In the
/// machine's own byte order, which readers tell by the magic.
fn file_header() -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..4].copy_from_slice(&0xa1b2_3c4d_u32.to_ne_bytes());
    bytes[4..6].copy_from_slice(&2u16.to_ne_bytes());
    bytes[6..8].copy_from_slice(&4u16.to_ne_bytes());
    bytes[16..20].copy_from_slice(&65_535u32.to_ne_bytes());
    bytes[20..24].copy_from_slice(&1u32.to_ne_bytes());
    bytes
}

impl<P: Port, S: FnMut(&[u8])> Tee<P, S> {
    /// Wraps a port; the file header goes to the sink at once.
    pub fn new(port: P, mut sink: S) -> Self {
        sink(&file_header());
        Self { port, sink }
    }

    /// The port inside.
    pub const fn port(&mut self) -> &mut P {
        &mut self.port
    }

    fn record(&mut self, now: Mono, bytes: &[u8]) {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&((now.0 / 1_000_000_000) as u32).to_ne_bytes());
        header[4..8].copy_from_slice(&((now.0 % 1_000_000_000) as u32).to_ne_bytes());
        header[8..12].copy_from_slice(&(bytes.len() as u32).to_ne_bytes());
        header[12..16].copy_from_slice(&(bytes.len() as u32).to_ne_bytes());
        (self.sink)(&header);
        (self.sink)(bytes);
    }
}

impl<P: Port, S: FnMut(&[u8])> Port for Tee<P, S> {
    fn caps(&self) -> PortCaps {
        self.port.caps()
    }

    fn take(&mut self) -> Option<Frame> {
        self.port.take()
    }

    fn frames_free(&self) -> u32 {
        self.port.frames_free()
    }

    fn put(&mut self, frame: Frame) {
        self.port.put(frame);
    }

    fn receive(&mut self, now: Mono, limit: usize, into: &mut Vec<Frame>) -> usize {
        let before = into.len();
        let received = self.port.receive(now, limit, into);
        for frame in &into[before..] {
            self.record(now, frame);
        }
        received
    }

    fn send(&mut self, now: Mono, frame: Frame) -> Result<(), Frame> {
        self.record(now, &frame);
        self.port.send(now, frame)
    }

    fn flush(&mut self, now: Mono) {
        self.port.flush(now);
    }

    fn next_timeout(&self) -> Option<Mono> {
        self.port.next_timeout()
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        self.port.figures()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemorySettings, pair};

    #[test]
    fn both_directions_are_written_with_their_time() {
        let (mut a, b) = pair(MemorySettings::default());
        let mut file = Vec::new();
        let mut tee = Tee::new(b, |bytes: &[u8]| file.extend_from_slice(bytes));
        let mut frame = a.take().unwrap();
        frame.fill(b"to the tee");
        a.send(Mono(0), frame).unwrap();
        let mut got = Vec::new();
        tee.receive(Mono(1_000_000_007), 1, &mut got);
        let frame = got.pop().unwrap();
        tee.send(Mono(2_000_000_000), frame).unwrap();
        drop(tee);
        assert_eq!(file.len(), 24 + 2 * (16 + 10));
        assert_eq!(file[..4], 0xa1b2_3c4d_u32.to_ne_bytes());
        assert_eq!((&file[24..28], &file[28..32]), (&1u32.to_ne_bytes()[..], &7u32.to_ne_bytes()[..]));
        assert_eq!(&file[40..50], b"to the tee");
        assert_eq!(&file[50..54], &2u32.to_ne_bytes());
    }
}
