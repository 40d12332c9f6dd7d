//! A client: blocking, one packet at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use pelton_mqtt::{
    Connect, Disconnect, Frame, MAX_PACKET, Packet, PacketId, Publish, PublishProperties, QoS, RawFilter,
    RawTopic, ReasonCode, Subscribe, SubscribeOptions, Subscription, Subscriptions, TopicName,
    UserProperties, Version, Will, decode_from_server, frame,
};

use crate::running::PATIENCE;

pub(crate) struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
    version: Version,
}

/// A will without delay and properties.
pub(crate) fn will(topic: &'static str, payload: &'static [u8]) -> Will<'static> {
    Will {
        topic: TopicName::new(topic).expect("a topic"),
        payload,
        qos: QoS::AtMostOnce,
        retain: false,
        delay_interval: 0,
        properties: PublishProperties::NONE,
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, version: Version, client_id: &str) -> Self {
        Self::connect_with(address, &Connect::new(version, client_id))
    }

    pub(crate) fn connect_with(address: SocketAddr, connect: &Connect<'_>) -> Self {
        Self::try_connect(address, connect).expect("the broker takes it")
    }

    /// `None` if the broker refuses.
    pub(crate) fn try_connect(address: SocketAddr, connect: &Connect<'_>) -> Option<Self> {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes it");
        let mut client = Self { stream, bytes: Vec::new(), version: connect.version };
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        client.send(&bytes);
        let connack = client.receive().expect("CONNACK");
        assert_eq!(connack[0], 0x20, "{connack:?}");
        (connack[3] == 0).then_some(client)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker takes it");
    }

    /// Subscribes and returns the code of the SUBACK.
    pub(crate) fn subscribe(&mut self, filter: &str) -> u8 {
        self.subscribe_at(filter, QoS::AtMostOnce)
    }

    pub(crate) fn subscribe_at(&mut self, filter: &str, qos: QoS) -> u8 {
        let options = SubscribeOptions::new(qos);
        let list = [Subscription { filter: RawFilter::new(filter).expect("a string"), options }];
        let mut bytes = Vec::new();
        Subscribe {
            packet_id: PacketId::new(1).expect("not 0"),
            subscription_id: None,
            user_properties: UserProperties::NONE,
            subscriptions: Subscriptions::new(&list),
        }
        .encode(self.version, &mut bytes);
        self.send(&bytes);
        // Retained messages of an earlier subscription may still be coming.
        let mut early = Vec::new();
        loop {
            let packet = self.receive().expect("SUBACK");
            if packet[0] == 0x90 {
                self.bytes.splice(0..0, early.concat());
                return *packet.last().expect("there is a code");
            }
            assert_eq!(packet[0] >> 4, 3, "{packet:?}");
            // What is live for this one may come before its SUBACK, [MQTT-3.8.4-1] and the lines behind it.
            if self.message_of(&packet).0 == filter {
                early.push(packet);
            }
        }
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8]) {
        let mut bytes = Vec::new();
        Publish::new(RawTopic::new(topic.as_bytes()), payload).encode(self.version, &mut bytes);
        self.send(&bytes);
    }

    pub(crate) fn disconnect(mut self) {
        let mut bytes = Vec::new();
        Disconnect::new(ReasonCode::Success).encode(self.version, &mut bytes);
        self.send(&bytes);
        assert_eq!(self.receive(), None, "the broker closes");
    }

    /// The next packet, or `None` when the broker has closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Frame::Complete { total, .. } =
                frame(&self.bytes, MAX_PACKET).expect("the broker sends MQTT")
            {
                return Some(self.bytes.drain(..total).collect());
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.bytes.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// Topic and payload of the next PUBLISH.
    pub(crate) fn message(&mut self) -> (String, String) {
        let packet = self.receive().expect("PUBLISH");
        self.message_of(&packet)
    }

    /// Topic and payload of a PUBLISH.
    fn message_of(&self, packet: &[u8]) -> (String, String) {
        let Ok(Frame::Complete { header, .. }) = frame(packet, MAX_PACKET) else { panic!("a whole packet") };
        let body = &packet[usize::from(header.header_len)..];
        match decode_from_server(self.version, header, body).expect("the broker sends MQTT") {
            Packet::Publish(publish) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (text(publish.topic.as_bytes()), text(publish.payload))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Whether nothing comes for `time`.
    pub(crate) fn hears_nothing(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("a socket takes it");
        let mut buffer = [0; 1];
        let silent = matches!(
            self.stream.read(&mut buffer),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
        );
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes it");
        silent && self.bytes.is_empty()
    }
}
