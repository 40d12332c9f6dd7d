//! PINGREQ, the packet of the many connections that have nothing to say: what is not in the processor's cache is most of
//! what it costs. It is answered by what lies with the connection's queue, where that says that nothing else has to be
//! looked at.

use pelton_base::Key;
use pelton_mqtt::{FixedHeader, PINGREQ, PINGRESP, Version};

use crate::broker::{Broker, Handled};
use crate::counters::Traffic;

impl Broker {
    /// Asks for what these bytes of a connection, which come next, will touch: a PINGREQ alone not the connection itself.
    #[inline]
    pub fn prefetch(&self, key: Key, bytes: &[u8]) {
        self.core.out.prefetch(key.index);
        if bytes != PINGREQ {
            self.core.links.prefetch(key);
        }
    }

    /// Whether a packet is a PINGREQ as it should be, of a connection whose input flows.
    #[inline]
    pub(crate) fn is_plain_ping(&self, key: Key, header: FixedHeader) -> bool {
        let is_plain = header.first == PINGREQ[0] && header.remaining == 0 && self.core.out.flows(key);
        debug_assert!(!is_plain || self.core.links.get(key).is_some_and(|link| link.flows()));
        is_plain
    }

    /// Answers such a PINGREQ, as any other packet would be, without a look at the connection [MQTT-3.12.4-1].
    #[inline]
    pub(crate) fn answer_ping(&mut self, key: Key, header: FixedHeader) -> Handled {
        self.core.out.set_heard(key.index, self.core.mono_ms);
        self.send_pingresp(key);
        self.count_packet(header, &[]);
        Handled::Done
    }

    /// PINGREQ of a connection that was looked at.
    #[cold]
    pub(crate) fn handle_ping(&mut self, key: Key, header: FixedHeader, body: &[u8]) -> Handled {
        if !body.is_empty() {
            let version = self.core.links.get(key).map_or(Version::V311, |link| link.version);
            if let Err(error) = pelton_mqtt::decode_from_client(version, header, body) {
                return self.end_malformed(key, error);
            }
        }
        self.send_pingresp(key);
        Handled::Done
    }

    #[inline]
    fn send_pingresp(&mut self, key: Key) {
        self.core.tally.traffic.add(Traffic::ControlOut);
        self.core.out.append(key.index, |bytes| bytes.extend_from_slice(&PINGRESP));
    }
}
