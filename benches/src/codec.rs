//! The codec: decoding and encoding of the packets that are frequent.

use std::hint::black_box;

use pelton_mqtt::{
    Ack, Connect, FixedHeader, Frame, MAX_PACKET, PacketId, PacketType, Publish, PublishHead, QoS,
    ReasonCode, Version, frame,
};

use crate::Workload;

/// A PUBLISH as a client sends it.
pub fn publish(version: Version, topic: &str, qos: QoS, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PublishHead {
        dup: false,
        qos,
        retain: false,
        topic: topic.as_bytes(),
        packet_id: if qos == QoS::AtMostOnce { None } else { PacketId::new(7) },
        topic_alias: None,
        message_expiry: None,
        subscription_ids: &[],
        forwarded_len: 0,
        payload_len: payload.len(),
    }
    .encode(version, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// The first packet of a run of bytes.
pub fn first_frame(bytes: &[u8]) -> (FixedHeader, usize) {
    match frame(bytes, MAX_PACKET) {
        Ok(Frame::Complete { header, total }) => (header, total),
        other => panic!("a whole packet, not {other:?}"),
    }
}

/// The codec's workloads.
pub fn workloads() -> Vec<Workload> {
    const RUN: u64 = 1000;
    let mut all = Vec::new();
    for (name, version, qos) in [
        ("v3 qos 0", Version::V311, QoS::AtMostOnce),
        ("v3 qos 1", Version::V311, QoS::AtLeastOnce),
        ("v5 qos 1", Version::V5, QoS::AtLeastOnce),
    ] {
        let packet = publish(version, "site/7/temperature", qos, &[b'x'; 64]);
        all.push(Workload::new(format!("codec/decode publish {name} 64 B"), RUN, move || {
            for _ in 0..RUN {
                let bytes = black_box(&packet[..]);
                let (header, total) = first_frame(bytes);
                let body = &bytes[usize::from(header.header_len)..total];
                let _ = black_box(Publish::decode_from_client(version, header.first, body));
            }
        }));
        let mut out = Vec::with_capacity(1 << 20);
        all.push(Workload::new(format!("codec/encode publish {name} 64 B"), RUN, move || {
            out.clear();
            for _ in 0..RUN {
                let payload = black_box([b'x'; 64]);
                PublishHead {
                    dup: false,
                    qos,
                    retain: false,
                    topic: b"site/7/temperature",
                    packet_id: if qos == QoS::AtMostOnce { None } else { PacketId::new(7) },
                    topic_alias: None,
                    message_expiry: None,
                    subscription_ids: &[],
                    forwarded_len: 0,
                    payload_len: payload.len(),
                }
                .encode(version, &mut out);
                out.extend_from_slice(&payload);
            }
            black_box(&out);
        }));
    }
    let mut puback = Vec::new();
    Ack::new(PacketId::new(9).expect("not zero"), ReasonCode::Success).encode(
        PacketType::PubAck,
        Version::V311,
        &mut puback,
    );
    all.push(Workload::new("codec/decode puback v3", RUN, move || {
        for _ in 0..RUN {
            let bytes = black_box(&puback[..]);
            let (header, total) = first_frame(bytes);
            let body = &bytes[usize::from(header.header_len)..total];
            let _ = black_box(Ack::decode(PacketType::PubAck, Version::V311, body));
        }
    }));
    let connect = connect(Version::V5, "meter-0001");
    all.push(Workload::new("codec/decode connect v5", RUN, move || {
        for _ in 0..RUN {
            let bytes = black_box(&connect[..]);
            let (header, total) = first_frame(bytes);
            let _ = black_box(Connect::decode(&bytes[usize::from(header.header_len)..total]));
        }
    }));
    all
}

/// A CONNECT with a clean session.
pub fn connect(version: Version, client_id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let connect = Connect {
        version,
        bridge: false,
        clean_start: true,
        keep_alive: 60,
        client_id,
        will: None,
        user_name: None,
        password: None,
        properties: pelton_mqtt::ConnectProperties::default(),
    };
    connect.encode(&mut bytes);
    bytes
}
