//! A burst of one publisher on one topic: the packets that follow a PUBLISH and differ from it in their payload
//! alone are looked up, checked and counted once, and go to their subscribers as the bytes they came as.
//!
//! Only what is the same for all of them and asks nothing is taken here: QoS 0 from a v3 client, not retained, to
//! v3 clients of this shard that have room. Everything else is handled packet by packet.

use pelton_base::Key;
use pelton_mqtt::{FixedHeader, QoS};

use crate::alike::{ALIKE_MIN, class};
use crate::broker::Broker;
use crate::counters::Traffic;
use crate::router::{FilterId, Wanted};

/// A PUBLISH at QoS 0 without DUP and RETAIN.
const PLAIN_PUBLISH: u8 = 0x30;
/// Fewer are not worth a look of their own.
const REPEATS_MIN: usize = 2;

impl Broker {
    /// Takes the packets at the start of `rest` that repeat `packet`, the one before them on their connection,
    /// which was just done with. Returns how many bytes were used.
    #[inline]
    pub fn handle_repeats(&mut self, key: Key, header: FixedHeader, packet: &[u8], rest: &[u8]) -> usize {
        if header.first != PLAIN_PUBLISH || rest.first() != Some(&PLAIN_PUBLISH) {
            return 0;
        }
        self.take_repeats(key, header, packet, rest).unwrap_or(0)
    }

    fn take_repeats(&mut self, key: Key, header: FixedHeader, packet: &[u8], rest: &[u8]) -> Option<usize> {
        let fixed = usize::from(header.header_len);
        let topic_len = usize::from(u16::from_be_bytes([*packet.get(fixed)?, *packet.get(fixed + 1)?]));
        let head = packet.get(..fixed + 2 + topic_len)?;
        let repeats = rest.chunks_exact(packet.len()).take_while(|next| next.starts_with(head)).count();
        if repeats < REPEATS_MIN || !is_shortest(header) {
            return None;
        }
        let topic_name = &head[fixed + 2..];
        let filter = self.plain_filter(key, topic_name)?;
        let (subscribers, _) = self.router.audience(filter);
        let each = subscribers.len();
        let repeats = repeats.min(self.deliveries_left as usize / each);
        if repeats == 0 {
            return None;
        }
        let bytes = &rest[..repeats * packet.len()];
        let out_max = (self.core.settings.outbound_bytes_max as usize).checked_sub(bytes.len())?;
        for subscriber in subscribers {
            let options = subscriber.options;
            let session = self.core.sessions.at(subscriber.session)?;
            let key = session.link();
            let link = self.core.links.get(key)?;
            let is_plain = !link.is_v5() && !options.no_local() && !session.is_fetching();
            if !is_plain || self.core.out.queued(key.index) > out_max {
                return None;
            }
        }
        let shared = (each >= ALIKE_MIN).then(|| {
            let class = class(pelton_mqtt::Version::V311, QoS::AtMostOnce);
            self.core.out.share(class, |log| log.extend_from_slice(bytes))
        });
        for subscriber in subscribers {
            let link = self.core.sessions.at(subscriber.session)?.link().index;
            match shared {
                Some(range) => self.core.out.append_shared(link, range),
                None => self.core.out.append(link, |queue| queue.extend_from_slice(bytes)),
            }
        }
        self.deliveries_left -= (repeats * each) as u32;
        let (packets, payload) = (repeats as u64, (packet.len() - head.len()) as u64 * repeats as u64);
        let traffic = &mut self.core.tally.traffic;
        traffic.add_n(Traffic::PacketsIn, packets);
        traffic.add_n(Traffic::BytesIn, bytes.len() as u64);
        traffic.add_n(Traffic::PublishIn, packets);
        traffic.add_n(Traffic::PublishBytesIn, payload);
        traffic.add_n(Traffic::PublishOut, packets * each as u64);
        traffic.add_n(Traffic::PublishBytesOut, payload * each as u64);
        Some(bytes.len())
    }

    /// The one filter by which a topic's subscribers are reached, if nothing but them wants it and nobody has to
    /// be asked.
    #[inline]
    fn plain_filter(&mut self, key: Key, topic_name: &[u8]) -> Option<FilterId> {
        if self.is_congested() {
            return None;
        }
        let link = self.core.links.get(key)?;
        let topic = link.last_topic;
        let is_plain = link.flows()
            && !link.is_v5()
            && topic_name.first() != Some(&b'$')
            && self.core.settings.access.is_open()
            && self.router.is_topic(topic, topic_name);
        if !is_plain {
            return None;
        }
        let matched = self.router.matched(topic);
        let (Wanted::By(filter), true) = (matched.wanted(), matched.shards.is_empty()) else { return None };
        let (subscribers, has_groups) = self.router.audience(filter);
        (!subscribers.is_empty() && !has_groups).then_some(filter)
    }
}

/// Whether the length is written in as few bytes as it can be: a client may do otherwise, the broker does not.
#[inline]
fn is_shortest(header: FixedHeader) -> bool {
    header.header_len == 2 || header.remaining >= 1 << (7 * (u32::from(header.header_len) - 2))
}
