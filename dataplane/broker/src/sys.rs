//! `$SYS`: what the broker says of itself, under the names mosquitto uses. The figures are collected from all
//! shards by whoever drives them; one shard publishes them, retained.

use pelton_base::Wall;
use pelton_mqtt::QoS;

use crate::broker::Broker;
use crate::message::{Publication, Publisher};
use crate::persist::route::Along;

impl Broker {
    /// Publishes a message of the broker's own. Returns `false`, having done nothing, while the mesh is full:
    /// the broker's own messages wait behind its clients'.
    pub fn publish_message(&mut self, topic: &str, payload: &[u8], qos: QoS, retain: bool) -> bool {
        if self.is_congested() {
            return false;
        }
        let publication = Publication {
            topic: topic.as_bytes(),
            forwarded: b"",
            payload,
            qos,
            retain,
            expires: Wall::NEVER,
            publisher: Publisher::NOBODY,
            client_hash: 0,
            wire: None,
        };
        self.publish_own(&publication, Along::Nothing);
        true
    }
}
