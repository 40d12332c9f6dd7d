//! Received bytes on their way to the shard.

use std::ops::{Deref, DerefMut};

use pelton_packet::Frame;

/// Bytes of a stream: the frame they came in, or a copy where they came with a connection from another shard.
#[derive(Debug)]
pub enum Chunk {
    /// A frame, cut to its data.
    Frame(Frame),
    /// A copy.
    Copied(Vec<u8>),
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Frame(frame) => frame,
            Self::Copied(bytes) => bytes,
        }
    }
}

impl DerefMut for Chunk {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Frame(frame) => frame,
            Self::Copied(bytes) => bytes,
        }
    }
}
