//! A client that does as it is told, right or wrong, and checks every packet it gets: well formed, from a
//! server, in its version, and not larger than it said it takes.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use pelton_mqtt::{
    Ack, ConnAck, Connect, Disconnect, FixedHeader, Frame, MAX_PACKET, PINGREQ, Packet, PacketId, PacketType,
    Publish, PublishProperties, QoS, RawFilter, RawTopic, ReasonCode, Subscribe, SubscribeOptions,
    Subscription, Unsubscribe, Version, decode_from_server, frame,
};

use crate::broker::Broker;

/// A packet that has not come by now does not come.
const WAIT: Duration = Duration::from_secs(5);

/// How long silence is listened to: another shard may still be about to say something.
const QUIET: Duration = Duration::from_millis(60);

pub(crate) struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
    pub(crate) version: Version,
    /// The Maximum Packet Size this client said.
    packet_bytes_max: u32,
    /// The identifier of the last SUBSCRIBE, UNSUBSCRIBE or PUBLISH.
    last_id: u16,
}

/// A packet as it came.
pub(crate) struct Got {
    version: Version,
    header: FixedHeader,
    body: Vec<u8>,
    /// All of it, in bytes.
    pub(crate) total: usize,
}

impl Got {
    pub(crate) fn packet_type(&self) -> PacketType {
        self.header.packet_type
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn packet(&self) -> Packet<'_> {
        decode_from_server(self.version, self.header, &self.body).expect("it was checked when it came")
    }

    pub(crate) fn publish(&self) -> Publish<'_> {
        match self.packet() {
            Packet::Publish(publish) => publish,
            other => panic!("not PUBLISH: {other:?}"),
        }
    }

    pub(crate) fn connack(&self) -> ConnAck<'_> {
        match self.packet() {
            Packet::ConnAck(connack) => connack,
            other => panic!("not CONNACK: {other:?}"),
        }
    }

    /// The acknowledgement of a publish.
    pub(crate) fn ack(&self, kind: PacketType) -> Ack<'_> {
        assert_eq!(self.packet_type(), kind, "{:?}", self.packet());
        match self.packet() {
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => ack,
            other => panic!("not an acknowledgement: {other:?}"),
        }
    }

    pub(crate) fn payload(&self) -> String {
        String::from_utf8_lossy(self.publish().payload).into_owned()
    }

    pub(crate) fn topic(&self) -> String {
        String::from_utf8_lossy(self.publish().topic.as_bytes()).into_owned()
    }

    /// Topic, payload, QoS and RETAIN.
    pub(crate) fn message(&self) -> (String, String, QoS, bool) {
        (self.topic(), self.payload(), self.publish().qos, self.publish().retain)
    }
}

/// A PUBLISH to send.
pub(crate) fn message<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish::new(RawTopic::new(topic.as_bytes()), payload.as_bytes())
}

pub(crate) fn id(id: u16) -> PacketId {
    PacketId::new(id).expect("not 0")
}

/// Properties of a PUBLISH or a will from their bytes.
pub(crate) fn properties(list: &[pelton_mqtt::Property<'_>]) -> Vec<u8> {
    let mut block = Vec::new();
    for property in list {
        property.encode(&mut block);
    }
    block
}

/// The properties of such a block.
pub(crate) fn of(block: &[u8]) -> PublishProperties<'_> {
    PublishProperties::new(block).expect("valid properties")
}

impl Client {
    /// A connection on which nothing was sent yet.
    pub(crate) fn open(broker: &Broker, version: Version) -> Self {
        let stream = TcpStream::connect(broker.address).expect("the broker listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(WAIT)).expect("a socket option");
        Self { stream, bytes: Vec::new(), version, packet_bytes_max: MAX_PACKET, last_id: 0 }
    }

    /// Sends a CONNECT and returns the answer, whatever it is.
    pub(crate) fn try_connect(broker: &Broker, connect: &Connect<'_>) -> (Self, Got) {
        let mut client = Self::open(broker, connect.version);
        client.packet_bytes_max = connect.properties.maximum_packet_size.unwrap_or(MAX_PACKET);
        client.put(|out| connect.encode(out));
        let answer = client.expect(PacketType::ConnAck);
        (client, answer)
    }

    /// Connects as asked; returns whether there was a session.
    pub(crate) fn connect_as(broker: &Broker, connect: &Connect<'_>) -> (Self, bool) {
        let (client, answer) = Self::try_connect(broker, connect);
        assert_eq!(answer.connack().reason, ReasonCode::Success);
        let present = answer.connack().session_present;
        (client, present)
    }

    /// Connects. Without `clean` the session outlives the connection, in any version.
    pub(crate) fn connect(broker: &Broker, version: Version, client_id: &str, clean: bool) -> Self {
        Self::connect_as(broker, &Self::hello(version, client_id, clean)).0
    }

    /// The CONNECT of [`Client::connect`].
    pub(crate) fn hello(version: Version, client_id: &str, clean: bool) -> Connect<'_> {
        let mut connect = Connect::new(version, client_id);
        connect.clean_start = clean;
        connect.properties.session_expiry = (version.is_v5() && !clean).then_some(3_600);
        connect
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the connection is open");
    }

    /// Sends on a connection that may be gone already.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn put(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        self.send(&bytes);
    }

    // ---- what comes --------------------------------------------------------------------------------------

    /// The next packet, or none when the broker has closed the connection.
    pub(crate) fn next(&mut self) -> Option<Got> {
        loop {
            match frame(&self.bytes, MAX_PACKET).expect("the broker sends MQTT") {
                Frame::Complete { header, total } => {
                    let bytes: Vec<u8> = self.bytes.drain(..total).collect();
                    let body = bytes[usize::from(header.header_len)..].to_vec();
                    header.check(self.version).expect("flags are right");
                    decode_from_server(self.version, header, &body)
                        .unwrap_or_else(|error| panic!("the broker sent {bytes:02x?}: {error}"));
                    assert!(
                        total <= self.packet_bytes_max as usize,
                        "{total} bytes are too many: {bytes:02x?}"
                    );
                    return Some(Got { version: self.version, header, body, total });
                }
                Frame::Partial { .. } => {}
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    assert!(self.bytes.is_empty(), "half a packet at the end: {:02x?}", self.bytes);
                    return None;
                }
                Ok(n) => self.bytes.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    pub(crate) fn receive(&mut self) -> Got {
        self.next().expect("the broker closed the connection")
    }

    pub(crate) fn expect(&mut self, kind: PacketType) -> Got {
        let got = self.receive();
        assert_eq!(got.packet_type(), kind, "{:?}", got.packet());
        got
    }

    /// The connection ends without another packet.
    pub(crate) fn expect_end(&mut self) {
        if let Some(got) = self.next() {
            panic!("a packet before the end: {:?}", got.packet());
        }
    }

    /// The broker ends the connection: in version 5 with a DISCONNECT, before without a word.
    pub(crate) fn refusal(&mut self) -> Option<ReasonCode> {
        let got = self.next()?;
        let Packet::Disconnect(disconnect) = got.packet() else {
            panic!("not DISCONNECT: {:?}", got.packet())
        };
        self.expect_end();
        Some(disconnect.reason)
    }

    /// As [`Client::refusal`], for this reason.
    pub(crate) fn expect_refusal(&mut self, reason: ReasonCode) {
        assert_eq!(self.refusal(), self.version.is_v5().then_some(reason));
    }

    /// Nothing has come, and nothing comes.
    pub(crate) fn expect_silence(&mut self) {
        std::thread::sleep(QUIET);
        self.send(&PINGREQ);
        self.expect(PacketType::PingResp);
    }

    /// Everything that comes until it is quiet, acknowledged to the end.
    pub(crate) fn take_all(&mut self) -> Vec<Got> {
        std::thread::sleep(QUIET);
        self.send(&PINGREQ);
        let mut all = Vec::new();
        loop {
            let got = self.receive();
            match got.packet_type() {
                PacketType::PingResp => return all,
                PacketType::PubRel => {
                    self.acknowledge(PacketType::PubComp, Some(got.ack(PacketType::PubRel).packet_id))
                }
                _ => {
                    let publish = got.publish();
                    match publish.qos {
                        QoS::AtMostOnce => {}
                        QoS::AtLeastOnce => self.acknowledge(PacketType::PubAck, publish.packet_id),
                        QoS::ExactlyOnce => self.acknowledge(PacketType::PubRec, publish.packet_id),
                    }
                    all.push(got);
                }
            }
        }
    }

    /// The next message, acknowledged to the end.
    pub(crate) fn take(&mut self) -> Got {
        let got = self.expect(PacketType::Publish);
        let publish = got.publish();
        match (publish.qos, publish.packet_id) {
            (QoS::AtMostOnce, _) => {}
            (QoS::AtLeastOnce, id) => self.acknowledge(PacketType::PubAck, id),
            (QoS::ExactlyOnce, id) => {
                self.acknowledge(PacketType::PubRec, id);
                let release = self.receive();
                assert_eq!(Some(release.ack(PacketType::PubRel).packet_id), id);
                self.acknowledge(PacketType::PubComp, id);
            }
        }
        got
    }

    /// The next message as topic, payload, QoS and RETAIN, acknowledged to the end.
    pub(crate) fn take_message(&mut self) -> (String, String, QoS, bool) {
        self.take().message()
    }

    // ---- what goes ---------------------------------------------------------------------------------------

    fn next_id(&mut self) -> PacketId {
        self.last_id = self.last_id % u16::MAX + 1;
        id(self.last_id)
    }

    pub(crate) fn acknowledge(&mut self, kind: PacketType, id: Option<PacketId>) {
        self.acknowledge_with(kind, id.expect("above QoS 0 there is an identifier"), ReasonCode::Success);
    }

    pub(crate) fn acknowledge_with(&mut self, kind: PacketType, id: PacketId, reason: ReasonCode) {
        let version = self.version;
        self.put(|out| Ack::new(id, reason).encode(kind, version, out));
    }

    /// Sends a PUBLISH as it stands, with an identifier where its QoS asks for one.
    pub(crate) fn put_publish(&mut self, publish: &Publish<'_>) -> Option<PacketId> {
        let mut publish = *publish;
        if publish.qos != QoS::AtMostOnce && publish.packet_id.is_none() {
            publish.packet_id = Some(self.next_id());
        }
        let version = self.version;
        self.put(|out| publish.encode(version, out));
        publish.packet_id
    }

    /// Publishes to the end of the exchange; the reason code of PUBACK or PUBREC.
    pub(crate) fn publish(&mut self, publish: &Publish<'_>) -> ReasonCode {
        let id = self.put_publish(publish);
        let kind = match publish.qos {
            QoS::AtMostOnce => return ReasonCode::Success,
            QoS::AtLeastOnce => PacketType::PubAck,
            QoS::ExactlyOnce => PacketType::PubRec,
        };
        let got = self.receive();
        let ack = got.ack(kind);
        assert_eq!(Some(ack.packet_id), id, "the identifier of the PUBLISH");
        if kind == PacketType::PubRec && !ack.reason.is_error() {
            self.acknowledge(PacketType::PubRel, id);
            let complete = self.receive();
            assert_eq!(Some(complete.ack(PacketType::PubComp).packet_id), id);
            assert_eq!(complete.ack(PacketType::PubComp).reason, ReasonCode::Success);
        }
        ack.reason
    }

    pub(crate) fn say(&mut self, topic: &str, payload: &str, qos: QoS) -> ReasonCode {
        self.publish(&Publish { qos, ..message(topic, payload) })
    }

    pub(crate) fn retain(&mut self, topic: &str, payload: &str, qos: QoS) -> ReasonCode {
        self.publish(&Publish { qos, retain: true, ..message(topic, payload) })
    }

    /// Sends a SUBSCRIBE without waiting for the answer.
    pub(crate) fn put_subscribe(
        &mut self,
        filters: &[(&str, SubscribeOptions)],
        identifier: Option<u32>,
    ) -> PacketId {
        let list: Vec<Subscription<'_>> = filters
            .iter()
            .map(|&(filter, options)| Subscription {
                filter: RawFilter::new(filter).expect("a string"),
                options,
            })
            .collect();
        let (packet_id, version) = (self.next_id(), self.version);
        let mut subscribe = Subscribe::new(packet_id, &list);
        subscribe.subscription_id = identifier;
        self.put(|out| subscribe.encode(version, out));
        packet_id
    }

    /// Subscribes and returns the reason codes.
    pub(crate) fn subscribe_all(
        &mut self,
        filters: &[(&str, SubscribeOptions)],
        identifier: Option<u32>,
    ) -> Vec<ReasonCode> {
        let packet_id = self.put_subscribe(filters, identifier);
        let got = self.expect(PacketType::SubAck);
        let Packet::SubAck(suback) = got.packet() else { unreachable!() };
        assert_eq!(suback.packet_id, packet_id, "the identifier of the SUBSCRIBE");
        suback.reasons.iter().collect()
    }

    pub(crate) fn subscribe_with(&mut self, filter: &str, options: SubscribeOptions) -> ReasonCode {
        self.subscribe_all(&[(filter, options)], None)[0]
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: QoS) {
        assert_eq!(
            self.subscribe_with(filter, SubscribeOptions::new(qos)),
            ReasonCode::granted(qos),
            "{filter}"
        );
    }

    /// Unsubscribes and returns the reason codes; before version 5 there are none.
    pub(crate) fn unsubscribe(&mut self, filters: &[&str]) -> Vec<ReasonCode> {
        let list: Vec<RawFilter<'_>> =
            filters.iter().map(|filter| RawFilter::new(filter).expect("a string")).collect();
        let (packet_id, version) = (self.next_id(), self.version);
        self.put(|out| Unsubscribe::new(packet_id, &list).encode(version, out));
        let got = self.expect(PacketType::UnsubAck);
        let Packet::UnsubAck(unsuback) = got.packet() else { unreachable!() };
        assert_eq!(unsuback.packet_id, packet_id, "the identifier of the UNSUBSCRIBE");
        unsuback.reasons.iter().collect()
    }

    /// Leaves with a DISCONNECT.
    pub(crate) fn leave(mut self) {
        let version = self.version;
        self.put(|out| Disconnect::new(ReasonCode::Success).encode(version, out));
        self.expect_end();
    }

    /// Everything sent so far has been worked through: nothing else was on its way here.
    pub(crate) fn is_heard(&mut self) {
        self.send(&PINGREQ);
        self.expect(PacketType::PingResp);
    }

    /// Goes without a word.
    pub(crate) fn vanish(self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Half closes: nothing follows from this side.
    pub(crate) fn hush(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}
