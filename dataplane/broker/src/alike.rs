//! Packets that many connections get alike. A publication with many subscribers is written once for each class
//! of them (protocol version and QoS) to a log that all their send queues name; only what is a connection's own
//! (subscription identifiers, topic aliases, a packet identifier off the clock) is written for it alone.

use pelton_base::{Outgoing, SharedRange};
use pelton_mqtt::{QoS, Version};

/// So many subscribers make it worth while. With fewer, a log is more work than the copies it saves.
pub(crate) const ALIKE_MIN: usize = 4;

/// The versions that look alike, times the QoS.
const CLASSES: usize = 6;

/// The class of a packet: those of one class that go to the same connections stand one after the other.
#[inline]
pub(crate) fn class(version: Version, qos: QoS) -> usize {
    usize::from(version == Version::V5) * 3 + qos as usize
}

/// What has been written so far of one publication, by class.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Alike {
    written: [Option<SharedRange>; CLASSES],
}

impl Alike {
    /// The packet of a class, written by `write` if it is the first of its class.
    #[inline]
    pub(crate) fn packet(
        &mut self,
        out: &mut Outgoing,
        version: Version,
        qos: QoS,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> SharedRange {
        let class = class(version, qos);
        *self.written[class].get_or_insert_with(|| out.share(class, write))
    }
}
