//! A client for the tests of this room: blocking, one packet at a time.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pelton_base::HashKey;
use pelton_broker::Settings;
use pelton_mqtt::{
    Connect, ConnectProperties, Frame, MAX_PACKET, PacketId, PacketType, PublishHead, QoS, RawFilter,
    Subscribe, SubscribeOptions, Subscription, Subscriptions, UserProperties, Version, frame,
};
use pelton_runtime::{Fleet, Idle, Plan};
use pelton_shard::Snapshot;
use pelton_sockets::Bind;

/// Starts a broker on a port of the system's choice.
pub(crate) fn start(shards: u16, settings: Settings) -> (Fleet, SocketAddr) {
    let plan = Plan {
        binds: vec![Bind { address: SocketAddr::from(([127, 0, 0, 1], 0)) }],
        interfaces: Vec::new(),
        shards,
        cores: Vec::new(),
        idle: Idle { spin_us: 0 },
        patience: pelton_base::Patience::default(),
        settings: Arc::new(settings),
        key: HashKey::new(1, 2),
        seed: 3,
    };
    let fleet = Fleet::start(&plan).expect("a port of the system's choice is free");
    let address = fleet.addresses()[0];
    (fleet, address)
}

/// Waits until `holds` of the shards' snapshots.
pub(crate) fn wait_until(fleet: &Fleet, what: &str, mut holds: impl FnMut(&[Snapshot]) -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let snapshots = fleet.snapshots(Duration::from_secs(1));
        if holds(&snapshots) {
            return;
        }
        assert!(Instant::now() < until, "{what}: {snapshots:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A transport counter over all shards.
pub(crate) fn transport(snapshots: &[Snapshot], name: &str) -> u64 {
    snapshots
        .iter()
        .flat_map(|snapshot| &snapshot.transport)
        .filter(|(n, _)| *n == name)
        .map(|(_, count)| count)
        .sum()
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    bytes: Vec<u8>,
    version: Version,
}

impl Client {
    pub(crate) fn open(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { stream, bytes: Vec::new(), version }
    }

    pub(crate) fn connect(address: SocketAddr, version: Version, client_id: &str, clean: bool) -> Self {
        let mut client = Self::open(address, version);
        client.send(&connect_packet(version, client_id, clean));
        let connack = client.receive().expect("CONNACK");
        assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:?}");
        client
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: QoS) {
        let list =
            [Subscription { filter: RawFilter::new(filter).unwrap(), options: SubscribeOptions::new(qos) }];
        let mut bytes = Vec::new();
        Subscribe {
            packet_id: PacketId::new(1).unwrap(),
            subscription_id: None,
            user_properties: UserProperties::NONE,
            subscriptions: Subscriptions::new(&list),
        }
        .encode(self.version, &mut bytes);
        self.send(&bytes);
        let suback = self.receive().expect("SUBACK");
        assert_eq!(suback[0], 0x90, "{suback:?}");
    }

    pub(crate) fn publish(&mut self, topic: &str, qos: QoS, packet_id: u16, payload: &[u8]) {
        self.send(&publish_packet(self.version, topic, qos, packet_id, payload));
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
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
    }

    /// The payload of the next PUBLISH (QoS 0), skipping nothing else.
    pub(crate) fn receive_payload(&mut self) -> Vec<u8> {
        let packet = self.receive().expect("PUBLISH");
        assert_eq!(packet[0] >> 4, PacketType::Publish as u8, "{packet:?}");
        let header = 2 + packet[1..].iter().take_while(|&&byte| byte & 0x80 != 0).count();
        let topic = usize::from(u16::from_be_bytes([packet[header], packet[header + 1]]));
        let packet_id = if packet[0] & 6 == 0 { 0 } else { 2 };
        packet[header + 2 + topic + packet_id..].to_vec()
    }
}

pub(crate) fn connect_packet(version: Version, client_id: &str, clean_start: bool) -> Vec<u8> {
    connect_packet_with(version, client_id, clean_start, 0)
}

/// A CONNECT with a Keep Alive.
pub(crate) fn connect_packet_with(
    version: Version,
    client_id: &str,
    clean_start: bool,
    keep_alive: u16,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    Connect {
        version,
        bridge: false,
        clean_start,
        keep_alive,
        client_id,
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties::default(),
    }
    .encode(&mut bytes);
    bytes
}

pub(crate) fn publish_packet(
    version: Version,
    topic: &str,
    qos: QoS,
    packet_id: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    PublishHead {
        dup: false,
        qos,
        retain: false,
        topic: topic.as_bytes(),
        packet_id: if qos == QoS::AtMostOnce { None } else { PacketId::new(packet_id) },
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
