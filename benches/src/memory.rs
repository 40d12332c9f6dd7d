//! An in-memory transport: what a shard sees when the network costs nothing.

use std::collections::VecDeque;
use std::net::SocketAddr;

use pelton_base::{
    ByteStreams, Ending, Mono, Peer, SendQueue, SharedLogs, StreamEnd, StreamEvent, StreamId, Transmit,
};

/// Streams whose input a bench puts in and whose output it counts or takes.
#[derive(Debug, Default)]
pub struct Memory {
    events: VecDeque<StreamEvent<Vec<u8>>>,
    tokens: Vec<u64>,
    spare: Vec<Vec<u8>>,
    /// Bytes sent.
    pub sent: u64,
    /// What was sent to each stream, if it is kept.
    pub kept: Option<Vec<Vec<u8>>>,
}

impl Memory {
    /// Opens a stream; its number is its order.
    pub fn open(&mut self) -> usize {
        let number = self.tokens.len();
        self.tokens.push(u64::MAX);
        if let Some(kept) = &mut self.kept {
            kept.push(Vec::new());
        }
        let peer = Peer { remote: SocketAddr::from(([127, 0, 0, 1], 1)), listener: 0 };
        self.events.push_back(StreamEvent::Opened { stream: StreamId(number as u64), peer });
        number
    }

    /// Puts bytes in at a stream that is bound.
    pub fn put(&mut self, stream: usize, bytes: &[u8]) {
        let mut chunk = self.spare.pop().unwrap_or_default();
        chunk.extend_from_slice(bytes);
        self.events.push_back(StreamEvent::Data { token: self.tokens[stream], chunk });
    }

    /// Closes a stream from the peer's side.
    pub fn hang_up(&mut self, stream: usize) {
        self.events.push_back(StreamEvent::Closed { token: self.tokens[stream], why: StreamEnd::PeerClosed });
    }
}

impl ByteStreams for Memory {
    type Chunk = Vec<u8>;
    type Handover = u64;

    fn poll(&mut self, _now: Mono) {}

    fn next(&mut self) -> Option<StreamEvent<Vec<u8>>> {
        self.events.pop_front()
    }

    fn recycle(&mut self, mut chunk: Vec<u8>) {
        chunk.clear();
        self.spare.push(chunk);
    }

    fn bind(&mut self, stream: StreamId, token: u64) {
        self.tokens[stream.0 as usize] = token;
    }

    fn pause_read(&mut self, _stream: StreamId) {}

    fn resume_read(&mut self, _stream: StreamId) {}

    fn consumed(&mut self, _stream: StreamId, _n: usize) {}

    fn transmit(&mut self, stream: StreamId, queue: &mut SendQueue, logs: &mut SharedLogs) -> Transmit {
        if let Some(kept) = &mut self.kept {
            for slice in queue.slices(logs) {
                kept[stream.0 as usize].extend_from_slice(slice);
            }
        }
        let len = queue.len();
        self.sent += len as u64;
        queue.consume(len, logs);
        Transmit::Drained
    }

    fn close(&mut self, stream: StreamId, _how: Ending) {
        let token = self.tokens[stream.0 as usize];
        self.events.push_back(StreamEvent::Closed { token, why: StreamEnd::Local });
    }

    fn detach(&mut self, _stream: StreamId, _to: u16) -> Option<u64> {
        None
    }

    fn attach(&mut self, _handover: u64) -> Option<(StreamId, Peer)> {
        None
    }

    fn can_hand_over(&self) -> bool {
        false
    }

    fn peer(&self, _stream: StreamId) -> Option<Peer> {
        None
    }

    fn next_timeout(&self) -> Option<Mono> {
        None
    }

    fn stop_listening(&mut self) {}

    fn figures(&self) -> Vec<(&'static str, u64)> {
        vec![("bytes_sent", self.sent)]
    }
}
