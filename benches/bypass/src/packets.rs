//! The packets of a crowd.

use pelton_mqtt::{
    Connect, PacketId, PublishHead, QoS, RawFilter, Subscribe, SubscribeOptions, Subscription, Version,
};

/// Bytes of a payload that say when it was sent.
pub(crate) const STAMP_BYTES: usize = 8;

pub(crate) fn client_id(run: u32, number: u32) -> String {
    format!("crowd-{run:08x}-{number}")
}

/// The topic that client `number` is subscribed to.
pub(crate) fn topic(run: u32, number: u32) -> String {
    format!("crowd/{run:08x}/{number}")
}

pub(crate) fn connect(run: u32, number: u32, keep_alive_s: u16, out: &mut Vec<u8>) {
    let client_id = client_id(run, number);
    Connect { keep_alive: keep_alive_s, clean_start: true, ..Connect::new(Version::V311, &client_id) }
        .encode(out);
}

pub(crate) fn subscribe(run: u32, number: u32, qos: QoS, out: &mut Vec<u8>) {
    let topic = topic(run, number);
    let filter = RawFilter::new(&topic).expect("a short topic");
    let list = [Subscription { filter, options: SubscribeOptions::new(qos) }];
    let id = PacketId::new(1).expect("not zero");
    Subscribe::new(id, &list).encode(Version::V311, out);
}

pub(crate) fn publish(topic: &str, qos: QoS, payload_bytes: usize, now_us: u64, out: &mut Vec<u8>) {
    let payload_bytes = payload_bytes.max(STAMP_BYTES);
    PublishHead {
        dup: false,
        qos,
        retain: false,
        topic: topic.as_bytes(),
        packet_id: if qos == QoS::AtMostOnce { None } else { PacketId::new(2) },
        topic_alias: None,
        message_expiry: None,
        subscription_ids: &[],
        forwarded_len: 0,
        payload_len: payload_bytes,
    }
    .encode(Version::V311, out);
    out.extend_from_slice(&now_us.to_be_bytes());
    out.resize(out.len() + payload_bytes - STAMP_BYTES, b'x');
}
