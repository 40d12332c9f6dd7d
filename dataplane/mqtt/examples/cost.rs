//! What the hot path costs: `cargo run --release -p pelton-mqtt --example cost -- [case] [count]`.
//!
//! Without arguments every case is timed. With a case and a count it does that alone, for an instruction count:
//! run it under `valgrind --tool=callgrind` with two counts; the difference is the cost of the operations.

use std::hint::black_box;

use pelton_mqtt::{
    Ack, Frame, MAX_PACKET, PINGREQ, Packet, PacketId, PacketType, Property, Publish, PublishHead,
    PublishProperties, QoS, RawTopic, ReasonCode, Version, decode_from_client, frame,
};

const TOPIC: &[u8] = b"plant/7/line/3/temperature";

/// A PUBLISH of `size` bytes in all, or one payload byte if that is not enough.
fn publish(version: Version, qos: QoS, block: &[u8], size: usize) -> Vec<u8> {
    let mut payload = vec![b'x'];
    loop {
        let properties = PublishProperties::new(block).expect("a block that is right");
        let packet_id = if qos == QoS::AtMostOnce { None } else { PacketId::new(77) };
        let publish = Publish { qos, packet_id, properties, ..Publish::new(RawTopic::new(TOPIC), &payload) };
        if publish.encoded_len(version) >= size {
            let mut out = Vec::new();
            publish.encode(version, &mut out);
            return out;
        }
        payload.push(b'x');
    }
}

fn block() -> Vec<u8> {
    let mut block = Vec::new();
    Property::PayloadIsUtf8(true).encode(&mut block);
    Property::MessageExpiry(60).encode(&mut block);
    Property::ContentType("application/json").encode(&mut block);
    Property::User("trace", "0123456789abcdef").encode(&mut block);
    block
}

fn body(bytes: &[u8]) -> &[u8] {
    match frame(bytes, MAX_PACKET) {
        Ok(Frame::Complete { header, .. }) => &bytes[usize::from(header.header_len)..],
        other => panic!("not a packet: {other:?}"),
    }
}

#[inline(never)]
fn decode(version: Version, first: u8, body: &[u8]) -> usize {
    match Publish::decode_from_client(version, first, body) {
        Ok(publish) => publish.payload.len() + publish.topic.as_bytes().len(),
        Err(_) => 0,
    }
}

#[inline(never)]
fn frame_and_decode(version: Version, bytes: &[u8]) -> usize {
    let Ok(Frame::Complete { header, total }) = frame(bytes, 1 << 20) else { return 0 };
    match decode_from_client(version, header, &bytes[usize::from(header.header_len)..total]) {
        Ok(Packet::Publish(publish)) => publish.payload.len(),
        Ok(Packet::PubAck(ack)) => usize::from(ack.packet_id.get()),
        Ok(_) => 1,
        Err(_) => 0,
    }
}

fn repeat(count: usize, mut operation: impl FnMut() -> usize) -> usize {
    let mut sum = 0;
    for _ in 0..count {
        sum += black_box(operation());
    }
    sum
}

fn run(case: &str, count: usize) -> usize {
    let plain = publish(Version::V311, QoS::AtMostOnce, &[], 64);
    let qos1 = publish(Version::V311, QoS::AtLeastOnce, &[], 64);
    let v5 = publish(Version::V5, QoS::AtLeastOnce, &[], 64);
    let rich = publish(Version::V5, QoS::AtLeastOnce, &block(), 128);
    let block = block();
    let mut out = Vec::with_capacity(4096);
    let mut scratch = Vec::with_capacity(4096);
    let id = PacketId::new(77);
    let decode_loop = |version, bytes: &[u8]| {
        let body = body(bytes);
        repeat(count, || decode(version, black_box(bytes[0]), black_box(body)))
    };
    match case {
        "nothing" => repeat(count, || 0),
        "decode-v311-qos0-64" => decode_loop(Version::V311, &plain),
        "decode-v311-qos1-64" => decode_loop(Version::V311, &qos1),
        "decode-v5-qos1-64" => decode_loop(Version::V5, &v5),
        "decode-v5-4-properties" => decode_loop(Version::V5, &rich),
        "frame-decode-v311-qos0-64" => repeat(count, || frame_and_decode(Version::V311, black_box(&plain))),
        "frame-decode-v5-qos1-64" => repeat(count, || frame_and_decode(Version::V5, black_box(&v5))),
        "frame-decode-puback" => repeat(count, || frame_and_decode(Version::V5, black_box(&[0x40, 2, 0, 7]))),
        "frame-decode-pingreq" => repeat(count, || frame_and_decode(Version::V311, black_box(&PINGREQ))),
        "check-topic" => repeat(count, || {
            black_box(RawTopic::new(black_box(TOPIC))).check().map_or(0, |topic| topic.as_str().len())
        }),
        "forwardable-split" => {
            let properties = PublishProperties::new(&block).expect("a block that is right");
            repeat(count, || black_box(&properties).forwardable(&mut scratch).len())
        }
        "encode-v311-qos0-64" => {
            let body = body(&plain);
            let packet = Publish::decode(Version::V311, plain[0], body).expect("right");
            repeat(count, || {
                out.clear();
                black_box(&packet).encode(Version::V311, &mut out);
                out.len()
            })
        }
        "encode-head-v311-qos1" => {
            let head = PublishHead {
                qos: QoS::AtLeastOnce,
                topic: TOPIC,
                packet_id: id,
                payload_len: 32,
                ..PublishHead::default()
            };
            repeat(count, || {
                out.clear();
                black_box(&head).encode(Version::V311, &mut out);
                out.len()
            })
        }
        "encode-head-v5-alias" => {
            let head = PublishHead {
                qos: QoS::AtLeastOnce,
                packet_id: id,
                topic_alias: Some(3),
                message_expiry: Some(60),
                subscription_ids: &[5],
                forwarded_len: 40,
                payload_len: 32,
                ..PublishHead::default()
            };
            repeat(count, || {
                out.clear();
                black_box(&head).encode(Version::V5, &mut out);
                out.len()
            })
        }
        "encode-puback" => {
            let ack = Ack::new(id.expect("not 0"), ReasonCode::Success);
            repeat(count, || {
                out.clear();
                black_box(&ack).encode(PacketType::PubAck, Version::V5, &mut out);
                out.len()
            })
        }
        other => panic!("no such case: {other}"),
    }
}

const CASES: [&str; 14] = [
    "decode-v311-qos0-64",
    "decode-v311-qos1-64",
    "decode-v5-qos1-64",
    "decode-v5-4-properties",
    "frame-decode-v311-qos0-64",
    "frame-decode-v5-qos1-64",
    "frame-decode-puback",
    "frame-decode-pingreq",
    "check-topic",
    "forwardable-split",
    "encode-v311-qos0-64",
    "encode-head-v311-qos1",
    "encode-head-v5-alias",
    "encode-puback",
];

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [case, count] = arguments.as_slice() {
        black_box(run(case, count.parse().expect("a count")));
        return;
    }
    const COUNT: usize = 2_000_000;
    for case in CASES {
        let mut nanoseconds: Vec<f64> = (0..7)
            .map(|_| {
                let start = std::time::Instant::now();
                black_box(run(case, COUNT));
                start.elapsed().as_secs_f64() * 1e9 / COUNT as f64
            })
            .collect();
        nanoseconds.sort_by(f64::total_cmp);
        println!("{case:28} {:6.2} ns (median of 7 runs)", nanoseconds[3]);
    }
}
