//! The port: where frames come from and go to.

use pelton_base::Mono;

use crate::frame::Frame;

/// What a port can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortCaps {
    /// The biggest IP packet that is sent or received, link header not counted.
    pub mtu: u16,
    /// Bytes in front of a received packet's first byte that stay unused (XDP headroom), for the owner to use.
    pub headroom: u16,
    /// Frames the port has for this owner, in all.
    pub frames: u32,
}

/// A queue of a device, used by one core. Static dispatch: whoever drives it is generic over it.
///
/// A port owns its frames: what it hands out by [`Port::receive`] or [`Port::take`] is sent by [`Port::send`] or
/// given back by [`Port::put`].
pub trait Port {
    /// What the port can do.
    fn caps(&self) -> PortCaps;

    /// An empty frame to write; `None` (counted by the port) if there is none.
    fn take(&mut self) -> Option<Frame>;

    /// How many frames [`Port::take`] would find: few left means that somebody holds the others.
    fn frames_free(&self) -> u32;

    /// Gives a frame back.
    fn put(&mut self, frame: Frame);

    /// Appends what has come in, at most `limit` frames; returns how many. If it is `limit`, there may be more.
    fn receive(&mut self, now: Mono, limit: usize, into: &mut Vec<Frame>) -> usize;

    /// Queues a frame to be sent.
    ///
    /// # Errors
    /// The frame, if the queue is full.
    fn send(&mut self, now: Mono, frame: Frame) -> Result<(), Frame>;

    /// Gets what was queued on its way (one doorbell for all), and takes back what has been sent.
    fn flush(&mut self, now: Mono);

    /// When there is something to do on the port's own account (a delayed frame), if known.
    fn next_timeout(&self) -> Option<Mono> {
        None
    }

    /// What the port counted, by name.
    fn figures(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}
