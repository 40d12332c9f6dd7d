//! The packets that are sent, encoded before the load begins.

use pelton_mqtt::{
    Connect, ConnectProperties, PacketId, PublishHead, QoS, RawFilter, Subscribe, SubscribeOptions,
    Subscription, Version,
};

use crate::options::Options;
use crate::stamp::{STAMP_BYTES, Stamp};

/// A CONNECT; the session of one that `stays` outlives its connection.
pub(crate) fn connect(options: &Options, client_id: &str, stays: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    Connect {
        keep_alive: options.keepalive,
        clean_start: !stays,
        properties: ConnectProperties {
            session_expiry: (stays && options.version.is_v5()).then_some(u32::MAX),
            ..ConnectProperties::default()
        },
        user_name: options.username.as_deref(),
        password: options.password.as_deref().map(str::as_bytes),
        ..Connect::new(options.version, client_id)
    }
    .encode(&mut bytes);
    bytes
}

/// `None` if the filter is none.
pub(crate) fn subscribe(version: Version, filter: &str, qos: QoS) -> Option<Vec<u8>> {
    let filter = RawFilter::new(filter).ok()?;
    let list = [Subscription { filter, options: SubscribeOptions::new(qos) }];
    let mut bytes = Vec::new();
    Subscribe::new(PacketId::new(1)?, &list).encode(version, &mut bytes);
    Some(bytes)
}

/// DISCONNECT, the same in all versions.
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// A PUBLISH of which only the packet identifier and the stamp change.
pub(crate) struct Template {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
    stamp_at: usize,
}

impl Template {
    pub(crate) fn new(version: Version, topic: &str, qos: QoS, payload_bytes: usize) -> Self {
        let mut bytes = Vec::new();
        let packet_id_at = PublishHead {
            dup: false,
            qos,
            retain: false,
            topic: topic.as_bytes(),
            packet_id: if qos == QoS::AtMostOnce { None } else { PacketId::new(1) },
            topic_alias: None,
            message_expiry: None,
            subscription_ids: &[],
            forwarded_len: 0,
            payload_len: payload_bytes,
        }
        .encode(version, &mut bytes);
        let stamp_at = bytes.len();
        bytes.extend((0..payload_bytes).map(|n| b'a' + (n % 26) as u8));
        Self { bytes, packet_id_at, stamp_at }
    }

    /// Appends the packet. `packet_id` does not count at QoS 0.
    #[inline]
    pub(crate) fn append(&self, packet_id: u16, stamp: Stamp, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&self.bytes);
        let packet = &mut out[begin..];
        if let Some(at) = self.packet_id_at {
            packet[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        stamp.write(&mut packet[self.stamp_at..self.stamp_at + STAMP_BYTES]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelton_mqtt::{Frame, MAX_PACKET, Packet, decode_from_client, frame};

    #[test]
    fn a_template_gives_the_packet_the_codec_reads() {
        for version in Version::ALL {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let template = Template::new(version, "load/7", qos, 200);
                let stamp = Stamp { run: 1, publisher: 7, sequence: 99, time_ns: 5 };
                let mut out = vec![0xEE];
                template.append(0x1234, stamp, &mut out);
                let bytes = &out[1..];
                assert_eq!(bytes.len(), template.bytes.len());
                let Ok(Frame::Complete { header, total }) = frame(bytes, MAX_PACKET) else {
                    panic!("{bytes:?}")
                };
                assert_eq!(total, bytes.len());
                let body = &bytes[usize::from(header.header_len)..];
                let Ok(Packet::Publish(publish)) = decode_from_client(version, header, body) else {
                    panic!("{bytes:?}")
                };
                assert_eq!(publish.topic.as_bytes(), b"load/7");
                assert_eq!(publish.payload.len(), 200);
                assert_eq!(Stamp::read(publish.payload), Some(stamp));
                let packet_id = if qos == QoS::AtMostOnce { None } else { PacketId::new(0x1234) };
                assert_eq!((publish.qos, publish.packet_id), (qos, packet_id));
            }
        }
    }
}
