//! A store of a test, and sessions whose clients are away.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use pelton_mqtt::{
    Ack, Connect, ConnectProperties, Frame, MAX_PACKET, Packet, PacketId, PacketType, Publish, QoS, RawTopic,
    ReasonCode, Version, decode_from_server, frame,
};

use crate::client::Client;
use crate::running::{PATIENCE, pelton};

/// A directory for a store that is gone with its test.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pelton-store-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    pub(crate) fn text(&self) -> &str {
        self.0.to_str().expect("the name is ASCII")
    }

    /// A broker that stores here.
    pub(crate) fn serve(&self) -> Command {
        let mut command = pelton(&["serve", "--bind", "127.0.0.1:0", "--data", self.text()]);
        stores(&mut command);
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A broker that stores, and says every second how that goes.
pub(crate) fn stores(command: &mut Command) {
    command.env("PELTON__STORAGE__POLICY", "commit").env("PELTON__SYS__INTERVAL_SECONDS", "1");
}

/// A v5 session that stays.
pub(crate) fn stays(client_id: &str, clean_start: bool) -> Connect<'_> {
    let properties = ConnectProperties { session_expiry: Some(3_600), ..ConnectProperties::default() };
    Connect { clean_start, properties, ..Connect::new(Version::V5, client_id) }
}

/// Makes a session that waits for QoS 1 of a filter, and leaves.
pub(crate) fn away(address: SocketAddr, client_id: &str, filter: &str) {
    let mut client = Client::connect_with(address, &stays(client_id, true));
    assert_eq!(client.subscribe_at(filter, QoS::AtLeastOnce), 1);
    client.disconnect();
}

/// A PUBLISH of QoS 1.
pub(crate) fn publish_packet(version: Version, topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut publish = Publish::new(RawTopic::new(topic.as_bytes()), payload);
    (publish.qos, publish.packet_id) = (QoS::AtLeastOnce, PacketId::new(id));
    let mut bytes = Vec::new();
    publish.encode(version, &mut bytes);
    bytes
}

/// Publishes QoS 1 as a v5 client and waits for the answer; its reason code.
pub(crate) fn publish(client: &mut Client, topic: &str, id: u16, payload: &[u8]) -> u8 {
    client.send(&publish_packet(Version::V5, topic, id, payload));
    let puback = client.receive().expect("PUBACK");
    assert_eq!(puback[0], 0x40, "{puback:?}");
    puback.get(4).copied().unwrap_or(0)
}

/// Comes back as a session that stays, and takes all that waits for it, in order. `topic` is one it gets.
pub(crate) fn take_all(address: SocketAddr, client_id: &str, topic: &str) -> Vec<Vec<u8>> {
    let mut client = Client::connect_with(address, &stays(client_id, false));
    let mut other = Client::connect(address, Version::V5, "ends-a-queue");
    let end = format!("end of {client_id}").into_bytes();
    assert_eq!(publish(&mut other, topic, 1, &end), 0);
    let mut taken = Vec::new();
    loop {
        let packet = client.receive().expect("the end comes");
        let Ok(Frame::Complete { header, .. }) = frame(&packet, MAX_PACKET) else { panic!("a whole packet") };
        let body = &packet[usize::from(header.header_len)..];
        let Packet::Publish(publish) =
            decode_from_server(Version::V5, header, body).expect("the broker sends MQTT")
        else {
            continue;
        };
        if let Some(id) = publish.packet_id {
            let mut bytes = Vec::new();
            Ack::new(id, ReasonCode::Success).encode(PacketType::PubAck, Version::V5, &mut bytes);
            client.send(&bytes);
        }
        if publish.payload == end {
            // What it acknowledged is taken in before the connection is closed.
            client.disconnect();
            return taken;
        }
        taken.push(publish.payload.to_vec());
    }
}

/// Waits until a figure of the broker has this value.
pub(crate) fn wait_for_figure(address: SocketAddr, topic: &str, value: &str) {
    let mut watcher =
        Client::connect(address, Version::V5, &format!("watches-{topic}").replace(['/', '$'], "-"));
    watcher.subscribe(topic);
    let until = Instant::now() + PATIENCE;
    loop {
        let found = watcher.message().1;
        if found == value {
            return;
        }
        assert!(Instant::now() < until, "{topic} is {found}, not {value}");
    }
}
