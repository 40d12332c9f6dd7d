//! Any packet: the one entry to decoding and encoding whatever comes.

use crate::ack::Ack;
use crate::auth::Auth;
use crate::connack::ConnAck;
use crate::connect::Connect;
use crate::disconnect::Disconnect;
use crate::error::{DecodeError, Violation};
use crate::fixed_header::{FixedHeader, PacketType};
use crate::ping::{self, PINGREQ, PINGRESP};
use crate::publish::Publish;
use crate::qos::Sender;
use crate::suback::SubAck;
use crate::subscribe::Subscribe;
use crate::unsuback::UnsubAck;
use crate::unsubscribe::Unsubscribe;
use crate::version::Version;

/// A packet of any type, a view of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// CONNECT.
    Connect(Connect<'a>),
    /// CONNACK.
    ConnAck(ConnAck<'a>),
    /// PUBLISH.
    Publish(Publish<'a>),
    /// PUBACK.
    PubAck(Ack<'a>),
    /// PUBREC.
    PubRec(Ack<'a>),
    /// PUBREL.
    PubRel(Ack<'a>),
    /// PUBCOMP.
    PubComp(Ack<'a>),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// SUBACK.
    SubAck(SubAck<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<'a>),
    /// UNSUBACK.
    UnsubAck(UnsubAck<'a>),
    /// PINGREQ.
    PingReq,
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect(Disconnect<'a>),
    /// AUTH.
    Auth(Auth<'a>),
}

/// Decodes what either side may send: for traces and tools. A broker uses [`decode_from_client`], a client
/// [`decode_from_server`], which hold the peer to its own side of the protocol.
///
/// `header` is what [`crate::frame()`] has found, `body` the bytes after it. A CONNECT is read in the version it
/// names itself, whatever `version` says.
///
/// # Errors
/// Every rule of the packet type.
#[inline]
pub fn decode<'a>(version: Version, header: FixedHeader, body: &'a [u8]) -> Result<Packet<'a>, DecodeError> {
    decode_from(Sender::Either, version, header, body)
}

/// Decodes what a client sent.
///
/// # Errors
/// As [`decode`], and the rules that bind clients: [`Violation::WrongSender`],
/// [`Violation::SubscriptionIdFromClient`], and the "sent by" columns of the reason codes.
#[inline]
pub fn decode_from_client<'a>(
    version: Version,
    header: FixedHeader,
    body: &'a [u8],
) -> Result<Packet<'a>, DecodeError> {
    decode_from(Sender::Client, version, header, body)
}

/// Decodes what a server sent.
///
/// # Errors
/// As [`decode`], and the rules that bind servers: [`Violation::WrongSender`],
/// [`Violation::SessionExpiryFromServer`], and the "sent by" columns of the reason codes.
#[inline]
pub fn decode_from_server<'a>(
    version: Version,
    header: FixedHeader,
    body: &'a [u8],
) -> Result<Packet<'a>, DecodeError> {
    decode_from(Sender::Server, version, header, body)
}

/// Decodes what `sender` sent.
///
/// # Errors
/// As [`decode_from_client`] or [`decode_from_server`].
pub fn decode_from<'a>(
    sender: Sender,
    version: Version,
    header: FixedHeader,
    body: &'a [u8],
) -> Result<Packet<'a>, DecodeError> {
    debug_assert_eq!(header.remaining as usize, body.len(), "the body the header announces");
    let packet_type = header.packet_type;
    // 5.0 table 2-1, 3.1.1 table 2.1: the direction of each packet type.
    if !sender.may_be(packet_type.sent_by(version)) {
        return Err(Violation::WrongSender.into());
    }
    if packet_type != PacketType::Connect {
        header.check(version)?;
    }
    Ok(match packet_type {
        PacketType::Connect => {
            let connect = Connect::decode(body)?;
            header.check(connect.version).map_err(|error| error.in_connect(connect.version))?;
            Packet::Connect(connect)
        }
        PacketType::ConnAck => Packet::ConnAck(ConnAck::decode(version, body)?),
        PacketType::Publish => Packet::Publish(Publish::decode_from(sender, version, header.first, body)?),
        PacketType::PubAck => Packet::PubAck(Ack::decode(packet_type, version, body)?),
        PacketType::PubRec => Packet::PubRec(Ack::decode(packet_type, version, body)?),
        PacketType::PubRel => Packet::PubRel(Ack::decode(packet_type, version, body)?),
        PacketType::PubComp => Packet::PubComp(Ack::decode(packet_type, version, body)?),
        PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(version, body)?),
        PacketType::SubAck => Packet::SubAck(SubAck::decode(version, body)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(version, body)?),
        PacketType::UnsubAck => Packet::UnsubAck(UnsubAck::decode(version, body)?),
        PacketType::PingReq => {
            ping::check_body(body)?;
            Packet::PingReq
        }
        PacketType::PingResp => {
            ping::check_body(body)?;
            Packet::PingResp
        }
        PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(sender, version, body)?),
        PacketType::Auth => Packet::Auth(Auth::decode(sender, body)?),
    })
}

impl Packet<'_> {
    /// The packet type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// The length of [`Packet::encode`].
    pub fn encoded_len(&self, version: Version) -> usize {
        match self {
            Self::Connect(connect) => connect.encoded_len(),
            Self::ConnAck(ack) => ack.encoded_len(version),
            Self::Publish(publish) => publish.encoded_len(version),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                ack.encoded_len(version)
            }
            Self::Subscribe(subscribe) => subscribe.encoded_len(version),
            Self::SubAck(ack) => ack.encoded_len(version),
            Self::Unsubscribe(unsubscribe) => unsubscribe.encoded_len(version),
            Self::UnsubAck(ack) => ack.encoded_len(version),
            Self::PingReq => PINGREQ.len(),
            Self::PingResp => PINGRESP.len(),
            Self::Disconnect(disconnect) => disconnect.encoded_len(version),
            Self::Auth(auth) => auth.encoded_len(),
        }
    }

    /// Appends the packet. A CONNECT is written in its own version, AUTH in version 5.
    ///
    /// # Panics
    /// If a field or the packet is longer than its length can say.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let packet_type = self.packet_type();
        match self {
            Self::Connect(connect) => connect.encode(out),
            Self::ConnAck(ack) => ack.encode(version, out),
            Self::Publish(publish) => publish.encode(version, out),
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                ack.encode(packet_type, version, out);
            }
            Self::Subscribe(subscribe) => subscribe.encode(version, out),
            Self::SubAck(ack) => ack.encode(version, out),
            Self::Unsubscribe(unsubscribe) => unsubscribe.encode(version, out),
            Self::UnsubAck(ack) => ack.encode(version, out),
            Self::PingReq => out.extend_from_slice(&PINGREQ),
            Self::PingResp => out.extend_from_slice(&PINGRESP),
            Self::Disconnect(disconnect) => disconnect.encode(version, out),
            Self::Auth(auth) => auth.encode(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{golden, refused, refused_from};

    #[test]
    fn pings_are_two_bytes_in_every_version() {
        for version in Version::ALL {
            golden(version, Packet::PingReq, &[0xC0, 0x00]);
            golden(version, Packet::PingResp, &[0xD0, 0x00]);
        }
        assert_eq!(refused(Version::V311, &[0xC0, 0x01, 0x00]), Violation::TrailingBytes);
        assert_eq!(refused(Version::V5, &[0xD0, 0x01, 0x00]), Violation::TrailingBytes);
    }

    #[test]
    fn each_side_sends_its_own_packets() {
        let from_server_only: [&[u8]; 4] =
            [&[0x20, 2, 0, 0], &[0x90, 3, 0, 1, 0], &[0xB0, 2, 0, 1], &[0xD0, 0]];
        for bytes in from_server_only {
            assert_eq!(refused_from(Sender::Client, Version::V311, bytes), Violation::WrongSender);
        }
        let from_client_only: [&[u8]; 5] = [
            &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0],
            &[0x82, 6, 0, 1, 0, 1, b'a', 0],
            &[0xA2, 5, 0, 1, 0, 1, b'a'],
            &[0xC0, 0],
            &[0xE0, 0],
        ];
        for bytes in from_client_only {
            assert_eq!(refused_from(Sender::Server, Version::V311, bytes), Violation::WrongSender);
        }
        // A version 5 server may say good-bye.
        golden(Version::V5, Packet::Disconnect(Disconnect::default()), &[0xE0, 0]);
    }

    #[test]
    fn auth_is_of_version_5() {
        assert_eq!(refused(Version::V31, &[0xF0, 0]), Violation::AuthBeforeV5);
        assert_eq!(refused(Version::V311, &[0xF0, 0]), Violation::AuthBeforeV5);
    }

    /// covers [MQTT-1.5.5-1]: a CONNECT is held to the rules of the version it names.
    #[test]
    fn a_padded_length_is_refused_in_version_5_alone() {
        let mut connect = vec![0x10, 0x8D, 0x00, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 0];
        assert_eq!(refused(Version::V311, &connect), Violation::VariableIntegerNotMinimal);
        connect[1] = 0x8C;
        connect[9] = 4;
        connect.pop();
        let Packet::Connect(connect) = crate::golden::decoded(Version::V5, &connect) else {
            panic!("not CONNECT")
        };
        assert_eq!(connect.version, Version::V311);
    }
}
