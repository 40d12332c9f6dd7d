//! `pelton status`: asks a running broker how it is, by the figures it publishes below `$SYS/`. A client like any
//! other, so it sees what clients see: whether the broker answers.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use pelton_ebpf_loader::{Action, Reason};
use pelton_mqtt::{
    Connect, Frame, MAX_PACKET, Packet, PacketId, QoS, RawFilter, Subscribe, SubscribeOptions, Subscription,
    Subscriptions, UserProperties, Version, decode_from_server, frame,
};

/// Where brokers listen unless told otherwise.
const PORT: u16 = 1883;
/// How long the broker may take for each answer.
const ANSWER: Duration = Duration::from_secs(5);
/// When nothing came for so long, all that is retained has come.
const SILENCE: Duration = Duration::from_millis(300);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum StatusError {
    /// No host has that name.
    Name(String, std::io::Error),
    /// Nobody listens, or the network is in the way.
    Connect(SocketAddr, std::io::Error),
    /// The connection was made, but what follows did not come.
    Answer(&'static str, std::io::Error),
    /// The broker refuses it, with this code.
    Refused(&'static str, u8),
    /// The broker is well but publishes nothing.
    Nothing,
}

impl std::fmt::Display for StatusError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(place, error) => write!(f, "no address is known for {place}: {error}"),
            Self::Connect(address, error) => write!(f, "nothing answers at {address}: {error}"),
            Self::Answer(what, error) => write!(f, "no {what} came: {error}"),
            Self::Refused(what, code) => write!(f, "the broker refuses the {what}: 0x{code:02X}"),
            Self::Nothing => {
                write!(
                    f,
                    "the broker answers but publishes no figures: [sys] interval_seconds is 0, or it is no pelton"
                )
            }
        }
    }
}

/// The figures of the broker at a place, by topic.
pub(crate) fn ask(place: &str) -> Result<BTreeMap<String, String>, StatusError> {
    let addresses = addresses(place).map_err(|error| StatusError::Name(place.to_owned(), error))?;
    let mut peer = Peer { stream: connect(&addresses)?, bytes: Vec::new() };
    let mut bytes = Vec::new();
    // The broker gives it a name; nothing of it stays behind.
    Connect::new(Version::V5, "").encode(&mut bytes);
    let connack = peer.exchange(&bytes, "CONNACK")?;
    if connack.get(3) != Some(&0) {
        return Err(StatusError::Refused("connection", connack.get(3).copied().unwrap_or_default()));
    }
    bytes.clear();
    subscribe(&mut bytes);
    let suback = peer.exchange(&bytes, "SUBACK")?;
    if let Some(&code) = suback.last().filter(|&&code| code >= 0x80) {
        return Err(StatusError::Refused("subscription to $SYS/#", code));
    }
    let mut figures = BTreeMap::new();
    while let Some(packet) = peer.receive(SILENCE).map_err(|error| StatusError::Answer("figures", error))? {
        if let Some((topic, value)) = publication(&packet) {
            figures.insert(topic, value);
        }
    }
    if figures.is_empty() { Err(StatusError::Nothing) } else { Ok(figures) }
}

/// The addresses of a place: host and port, or a host alone.
fn addresses(place: &str) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(address) = place.parse::<IpAddr>() {
        return Ok(vec![(address, PORT).into()]);
    }
    match place.rsplit_once(':') {
        Some(_) => place.to_socket_addrs(),
        None => (place, PORT).to_socket_addrs(),
    }
    .map(Iterator::collect)
}

/// A connection to the first of these that answers.
fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, StatusError> {
    let mut refused = StatusError::Nothing;
    for address in addresses {
        match TcpStream::connect_timeout(address, ANSWER) {
            Ok(stream) => return Ok(stream),
            Err(error) => refused = StatusError::Connect(*address, error),
        }
    }
    Err(refused)
}

fn subscribe(bytes: &mut Vec<u8>) {
    let Ok(filter) = RawFilter::new("$SYS/#") else { return };
    let list = [Subscription { filter, options: SubscribeOptions::new(QoS::AtMostOnce) }];
    let Some(packet_id) = PacketId::new(1) else { return };
    let subscriptions = Subscriptions::new(&list);
    Subscribe { packet_id, subscription_id: None, user_properties: UserProperties::NONE, subscriptions }
        .encode(Version::V5, bytes);
}

fn publication(packet: &[u8]) -> Option<(String, String)> {
    let Ok(Frame::Complete { header, .. }) = frame(packet, MAX_PACKET) else { return None };
    match decode_from_server(Version::V5, header, packet.get(usize::from(header.header_len)..)?) {
        Ok(Packet::Publish(publish)) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some((text(publish.topic.as_bytes()), text(publish.payload)))
        }
        _ => None,
    }
}

/// The connection to the broker.
struct Peer {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Peer {
    /// Sends a packet and waits for the next.
    fn exchange(&mut self, packet: &[u8], answer: &'static str) -> Result<Vec<u8>, StatusError> {
        let failed = |error| StatusError::Answer(answer, error);
        self.stream.write_all(packet).map_err(failed)?;
        let received = self.receive(ANSWER).map_err(failed)?;
        received.ok_or_else(|| failed(ErrorKind::TimedOut.into()))
    }

    /// The next packet; `None` if none comes for so long.
    fn receive(&mut self, limit: Duration) -> std::io::Result<Option<Vec<u8>>> {
        self.stream.set_read_timeout(Some(limit))?;
        loop {
            match frame(&self.bytes, MAX_PACKET) {
                Ok(Frame::Complete { total, .. }) => return Ok(Some(self.bytes.drain(..total).collect())),
                Ok(Frame::Partial { .. }) => {}
                Err(_) => return Err(std::io::Error::other("what came is not MQTT")),
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.bytes.extend_from_slice(&buffer[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The figures for people: the main ones, and every reason that has occurred.
pub(crate) fn text(figures: &BTreeMap<String, String>) -> String {
    let of = |name: &str| figures.get(&format!("$SYS/broker/{name}")).map_or("?", String::as_str);
    let per_minute = |name: &str| of(&format!("load/{name}/1min"));
    let mut lines = vec![
        format!("{}, up {}", of("version"), of("uptime")),
        format!("datapath       {}, {} shards", of("pelton/datapath"), of("pelton/shards")),
        format!(
            "clients        {} connected ({} at most), {} away, {} expired",
            of("clients/connected"),
            of("clients/maximum"),
            of("clients/disconnected"),
            of("clients/expired")
        ),
        format!("subscriptions  {}, {} shared", of("subscriptions/count"), of("shared_subscriptions/count")),
        format!(
            "messages       {} received, {} sent, {} dropped",
            of("publish/messages/received"),
            of("publish/messages/sent"),
            of("publish/messages/dropped")
        ),
        format!(
            "per minute     {} received, {} sent, {} dropped",
            per_minute("publish/received"),
            per_minute("publish/sent"),
            per_minute("publish/dropped")
        ),
        format!(
            "queued         {} messages, {} bytes in memory",
            of("pelton/queued/messages"),
            of("pelton/queued/bytes")
        ),
        format!(
            "retained       {} messages, {} bytes",
            of("pelton/retained/messages"),
            of("pelton/retained/bytes")
        ),
        format!(
            "storage        {}, policy {}, {} bytes used, last commit {} us",
            of("pelton/storage/state"),
            of("pelton/storage/policy"),
            of("pelton/storage/used_bytes"),
            of("pelton/storage/last_commit_us")
        ),
        format!(
            "stored         {} messages, {} bytes wait in the store",
            of("pelton/storage/waiting_messages"),
            of("pelton/storage/waiting_bytes")
        ),
        format!("memory         {} bytes resident", of("pelton/memory/resident_bytes")),
    ];
    let prefix = "$SYS/broker/pelton/interface/";
    let interfaces = figures.keys().filter_map(|topic| topic.strip_prefix(prefix)?.strip_suffix("/rung"));
    for name in interfaces {
        let of = |figure: &str| of(&format!("pelton/interface/{name}/{figure}"));
        lines.push(format!(
            "interface      {name} ({}): {} connections, {} segments in, {} out, {} sent again",
            of("rung"),
            of("connections"),
            of("segments_in"),
            of("segments_out"),
            of("retransmissions")
        ));
        let prefix = format!("{prefix}{name}/dropped/");
        let dropped = figures.iter().filter(|(topic, count)| topic.starts_with(&prefix) && *count != "0");
        for (topic, count) in dropped {
            lines.push(format!("  dropped      {count} {}", &topic[prefix.len()..]));
        }
        for reason in Reason::ALL.iter().filter(|reason| reason.action() == Action::Drop) {
            let topic = format!("$SYS/broker/pelton/interface/{name}/xdp/{}", reason.name());
            if let Some(count) = figures.get(&topic).filter(|count| *count != "0") {
                lines.push(format!("  XDP dropped  {count} {}", reason.name().trim_start_matches("drop_")));
            }
        }
    }
    for set in ["dropped", "ended", "stored"] {
        let prefix = format!("$SYS/broker/pelton/{set}/");
        for (topic, count) in
            figures.iter().filter(|(topic, count)| topic.starts_with(&prefix) && *count != "0")
        {
            lines.push(format!("{set:<15}{count} {}", &topic[prefix.len()..]));
        }
    }
    lines.join("\n") + "\n"
}
