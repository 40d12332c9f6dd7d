//! MQTT by hand, as little of it as the model clients need: what is sent, and what is made of the answers.

use pelton_mqtt::{Frame, MAX_PACKET, frame};

/// Bytes of a v3.1.1 or v5 client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V311,
    V5,
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut len = body.len();
    loop {
        let more = len >= 0x80;
        bytes.push(len as u8 & 0x7F | u8::from(more) << 7);
        len >>= 7;
        if !more {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}

/// A will: topic and payload.
pub(crate) type Will<'a> = Option<(&'a str, &'a [u8])>;

/// CONNECT. `expiry` is the session expiry; v3.1.1 knows only none (clean) and some.
pub(crate) fn connect(
    version: Version,
    client_id: &str,
    clean: bool,
    expiry: u32,
    will: Will<'_>,
) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, b"MQTT");
    body.push(if version == Version::V5 { 5 } else { 4 });
    body.push(u8::from(clean) << 1 | if will.is_some() { 0x0C } else { 0 });
    body.extend_from_slice(&[0, 0]);
    if version == Version::V5 {
        body.push(5);
        body.push(0x11);
        body.extend_from_slice(&expiry.to_be_bytes());
    }
    text(&mut body, client_id.as_bytes());
    if let Some((topic, payload)) = will {
        if version == Version::V5 {
            body.push(0);
        }
        text(&mut body, topic.as_bytes());
        text(&mut body, payload);
    }
    packet(0x10, &body)
}

/// SUBSCRIBE to one filter.
pub(crate) fn subscribe(version: Version, packet_id: u16, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    text(&mut body, filter.as_bytes());
    body.push(qos);
    packet(0x82, &body)
}

/// UNSUBSCRIBE from one filter.
pub(crate) fn unsubscribe(version: Version, packet_id: u16, filter: &str) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    text(&mut body, filter.as_bytes());
    packet(0xA2, &body)
}

/// A PUBLISH as it is sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) packet_id: u16,
    /// Message expiry in seconds (v5).
    pub(crate) expiry: Option<u32>,
}

pub(crate) fn publish(version: Version, publish: &Publish) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, publish.topic.as_bytes());
    if publish.qos != 0 {
        body.extend_from_slice(&publish.packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        match publish.expiry {
            Some(seconds) => {
                body.extend_from_slice(&[5, 2]);
                body.extend_from_slice(&seconds.to_be_bytes());
            }
            None => body.push(0),
        }
    }
    body.extend_from_slice(&publish.payload);
    let first = 0x30 | u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain);
    packet(first, &body)
}

/// PUBACK (4), PUBREC (5), PUBREL (6), PUBCOMP (7).
pub(crate) fn ack(kind: u8, packet_id: u16) -> Vec<u8> {
    let first = kind << 4 | if kind == 6 { 2 } else { 0 };
    packet(first, &packet_id.to_be_bytes())
}

pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// What a broker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    ConnAck { session_present: bool, code: u8 },
    SubAck { packet_id: u16, code: u8 },
    UnsubAck { packet_id: u16 },
    Publish(Publish),
    Ack { kind: u8, packet_id: u16, reason: u8 },
    Disconnect,
}

/// Splits whole packets off the front of `bytes`.
pub(crate) fn read(version: Version, bytes: &mut Vec<u8>) -> Vec<Said> {
    let mut said = Vec::new();
    loop {
        let (header, total) = match frame(bytes, MAX_PACKET) {
            Ok(Frame::Complete { header, total }) => (header, total),
            Ok(Frame::Partial { .. }) => return said,
            Err(error) => panic!("the broker says something that is not MQTT: {error:?} {bytes:?}"),
        };
        let body: Vec<u8> = bytes[usize::from(header.header_len)..total].to_vec();
        bytes.drain(..total);
        said.push(parse(version, header.first, &body));
    }
}

fn parse(version: Version, first: u8, body: &[u8]) -> Said {
    let word = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let v5 = version == Version::V5;
    match first >> 4 {
        2 => Said::ConnAck { session_present: body[0] & 1 != 0, code: body[1] },
        9 => Said::SubAck { packet_id: word(0), code: body[body.len() - 1] },
        11 => Said::UnsubAck { packet_id: word(0) },
        kind @ 4..=7 => {
            Said::Ack { kind, packet_id: word(0), reason: if body.len() > 2 { body[2] } else { 0 } }
        }
        14 => Said::Disconnect,
        3 => {
            let topic_len = usize::from(word(0));
            let topic = String::from_utf8(body[2..2 + topic_len].to_vec()).expect("a topic is UTF-8");
            let qos = first >> 1 & 3;
            let mut at = 2 + topic_len;
            let packet_id = if qos != 0 { word(at) } else { 0 };
            at += if qos != 0 { 2 } else { 0 };
            let mut expiry = None;
            if v5 {
                let len = usize::from(body[at]);
                assert!(len < 0x80, "the model clients are sent few properties");
                if len >= 5 && body[at + 1] == 2 {
                    expiry = body[at + 2..at + 6].try_into().ok().map(u32::from_be_bytes);
                }
                at += 1 + len;
            }
            Said::Publish(Publish {
                topic,
                payload: body[at..].to_vec(),
                qos,
                retain: first & 1 != 0,
                dup: first & 8 != 0,
                packet_id,
                expiry,
            })
        }
        other => panic!("packet type {other}"),
    }
}
