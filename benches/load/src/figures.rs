//! What a broker says of itself below `$SYS/`.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use pelton_mqtt::{
    Connect, Frame, MAX_PACKET, Packet, PacketId, QoS, RawFilter, Subscribe, SubscribeOptions, Subscription,
    Subscriptions, UserProperties, Version, decode_from_server, frame,
};

/// How long the broker may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The retained numbers of these topics; those that are not there within seconds are left out.
///
/// # Errors
/// If the broker cannot be reached or does not speak MQTT.
pub fn ask(address: SocketAddr, topics: &[&str]) -> io::Result<BTreeMap<String, f64>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    let until = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    Connect::new(Version::V311, "pelton-load-figures").encode(&mut bytes);
    let filters: Option<Vec<RawFilter<'_>>> = topics.iter().map(|topic| RawFilter::new(topic).ok()).collect();
    let list: Vec<Subscription<'_>> = filters
        .ok_or_else(|| io::Error::other("a topic is too long"))?
        .into_iter()
        .map(|filter| Subscription { filter, options: SubscribeOptions::new(QoS::AtMostOnce) })
        .collect();
    Subscribe {
        packet_id: PacketId::new(1).ok_or_else(|| io::Error::other("1 is an identifier"))?,
        subscription_id: None,
        user_properties: UserProperties::NONE,
        subscriptions: Subscriptions::new(&list),
    }
    .encode(Version::V311, &mut bytes);
    stream.write_all(&bytes)?;
    bytes.clear();
    let mut found = BTreeMap::new();
    while found.len() < topics.len() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        stream.set_read_timeout(Some(left))?;
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => return Err(error),
        }
        take(&mut bytes, &mut found)?;
    }
    Ok(found)
}

/// Takes whole packets from `bytes`, and the numbers of those that publish one.
fn take(bytes: &mut Vec<u8>, found: &mut BTreeMap<String, f64>) -> io::Result<()> {
    loop {
        match frame(bytes, MAX_PACKET) {
            Ok(Frame::Complete { header, total }) => {
                let body = bytes.get(usize::from(header.header_len)..total).unwrap_or_default();
                if let Ok(Packet::Publish(publish)) = decode_from_server(Version::V311, header, body) {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    if let Ok(number) = text(publish.payload).trim().parse() {
                        found.insert(text(publish.topic.as_bytes()), number);
                    }
                }
                bytes.drain(..total);
            }
            Ok(Frame::Partial { .. }) => return Ok(()),
            Err(_) => return Err(io::Error::other("what came is not MQTT")),
        }
    }
}
