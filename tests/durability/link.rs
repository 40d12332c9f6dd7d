//! A connection that may be lost at any moment: then every call says so, and nothing panics.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use pelton_mqtt::{
    Ack, Connect, ConnectProperties, Frame, MAX_PACKET, Packet, PacketId, PacketType, Publish, QoS,
    RawFilter, RawTopic, ReasonCode, Subscribe, SubscribeOptions, Subscription, Subscriptions,
    UserProperties, Version, decode_from_server, frame,
};
use rustix::net::sockopt;

/// The connection has ended, and how that showed.
#[derive(Debug)]
pub(crate) struct Lost {
    /// What was being done.
    _at: &'static str,
    /// What the system said; none if the end of the stream was read, or an answer did not come.
    _why: Option<std::io::Error>,
}

/// A failed call as a lost connection.
fn lost<E: Into<std::io::Error>>(at: &'static str) -> impl FnOnce(E) -> Lost {
    move |error| Lost { _at: at, _why: Some(error.into()) }
}

/// A broker that is alive answers by then; it may be loading, and the machine busy.
const ANSWER: Duration = Duration::from_secs(20);

pub(crate) struct Link {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// Packets that came before an answer that was waited for.
    early: VecDeque<Vec<u8>>,
    version: Version,
}

/// A packet, as far as these tests look at it.
#[derive(Debug)]
pub(crate) enum Got {
    Publish {
        topic: String,
        payload: Vec<u8>,
        qos: QoS,
        id: Option<u16>,
    },
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack {
        kind: PacketType,
        id: u16,
    },
    Other,
}

impl Link {
    /// Connects a session that outlives its connections (or a clean one); says whether it was there.
    pub(crate) fn open(
        address: SocketAddr,
        version: Version,
        client_id: &str,
        clean: bool,
    ) -> Result<(Self, bool), Lost> {
        let stream = TcpStream::connect(address).map_err(lost("connect"))?;
        // Past the kernel nobody says goodbye for a process that is killed: who only listens has to ask.
        let second = Duration::from_secs(1);
        sockopt::set_socket_keepalive(&stream, true).map_err(lost("options"))?;
        sockopt::set_tcp_keepidle(&stream, second).map_err(lost("options"))?;
        sockopt::set_tcp_keepintvl(&stream, second).map_err(lost("options"))?;
        stream.set_nodelay(true).map_err(lost("options"))?;
        let mut link = Self { stream, bytes: Vec::new(), early: VecDeque::new(), version };
        let properties = ConnectProperties {
            session_expiry: (!clean && version.is_v5()).then_some(u32::MAX),
            ..ConnectProperties::default()
        };
        let mut bytes = Vec::new();
        Connect { clean_start: clean, properties, ..Connect::new(version, client_id) }.encode(&mut bytes);
        link.put(&bytes)?;
        let connack = link.packet(ANSWER)?.ok_or(Lost { _at: "CONNACK", _why: None })?;
        assert_eq!((connack[0], connack[3]), (0x20, 0), "{client_id} is refused: {connack:?}");
        Ok((link, connack[2] == 1))
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        self.stream.write_all(bytes).map_err(lost("write"))
    }

    /// Subscribes with QoS 2.
    pub(crate) fn subscribe(&mut self, filters: &[&str]) -> Result<(), Lost> {
        let list: Vec<_> = filters
            .iter()
            .map(|filter| Subscription {
                filter: RawFilter::new(filter).expect("a filter"),
                options: SubscribeOptions::new(QoS::ExactlyOnce),
            })
            .collect();
        let mut bytes = Vec::new();
        Subscribe {
            packet_id: PacketId::new(1).expect("not 0"),
            subscription_id: None,
            user_properties: UserProperties::NONE,
            subscriptions: Subscriptions::new(&list),
        }
        .encode(self.version, &mut bytes);
        self.put(&bytes)?;
        // Messages may come before it.
        let mut early = VecDeque::new();
        loop {
            let packet = self.packet(ANSWER)?.ok_or(Lost { _at: "SUBACK", _why: None })?;
            if packet[0] == 0x90 {
                assert!(packet.last().is_some_and(|&code| code < 0x80), "{packet:?}");
                self.early = early;
                return Ok(());
            }
            early.push_back(packet);
        }
    }

    pub(crate) fn publish(&mut self, publish: &Outgoing<'_>) -> Result<(), Lost> {
        let mut bytes = Vec::new();
        Publish {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            packet_id: PacketId::new(publish.id),
            ..Publish::new(RawTopic::new(publish.topic.as_bytes()), publish.payload)
        }
        .encode(self.version, &mut bytes);
        self.put(&bytes)
    }

    pub(crate) fn acknowledge(&mut self, kind: PacketType, id: u16) -> Result<(), Lost> {
        let mut bytes = Vec::new();
        let ack = Ack::new(PacketId::new(id).expect("not 0"), ReasonCode::Success);
        ack.encode(kind, self.version, &mut bytes);
        self.put(&bytes)
    }

    /// The next packet; `None` if none comes for so long.
    pub(crate) fn next(&mut self, wait: Duration) -> Result<Option<Got>, Lost> {
        let Some(packet) = self.packet(wait)? else { return Ok(None) };
        let Ok(Frame::Complete { header, .. }) = frame(&packet, MAX_PACKET) else { panic!("a whole packet") };
        let body = &packet[usize::from(header.header_len)..];
        let got = match decode_from_server(self.version, header, body).expect("the broker sends MQTT") {
            Packet::Publish(publish) => Got::Publish {
                topic: String::from_utf8_lossy(publish.topic.as_bytes()).into_owned(),
                payload: publish.payload.to_vec(),
                qos: publish.qos,
                id: publish.packet_id.map(PacketId::get),
            },
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
                // That an identifier is not there is no news after a crash.
                let known = !ack.reason.is_error() || ack.reason == ReasonCode::PacketIdentifierNotFound;
                assert!(known, "{:?}: {ack:?}", header.packet_type);
                Got::Ack { kind: header.packet_type, id: ack.packet_id.get() }
            }
            _ => Got::Other,
        };
        Ok(Some(got))
    }

    fn packet(&mut self, wait: Duration) -> Result<Option<Vec<u8>>, Lost> {
        if let Some(packet) = self.early.pop_front() {
            return Ok(Some(packet));
        }
        self.stream.set_read_timeout(Some(wait)).map_err(lost("options"))?;
        loop {
            if let Frame::Complete { total, .. } =
                frame(&self.bytes, MAX_PACKET).expect("the broker sends MQTT")
            {
                return Ok(Some(self.bytes.drain(..total).collect()));
            }
            let mut buffer = [0; 16_384];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Lost { _at: "end of the stream", _why: None }),
                Ok(n) => self.bytes.extend_from_slice(&buffer[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(lost("read")(error)),
            }
        }
    }
}

/// A PUBLISH to send.
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) id: u16,
}
