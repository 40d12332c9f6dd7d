//! Reason codes of 5.0 with the packets that may carry them (5.0 section 2.4, table 2-6), and the CONNACK
//! return codes of 3.1 and 3.1.1.

use crate::fixed_header::PacketType;
use crate::qos::{QoS, Sender};

macro_rules! reason_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $value:literal, $name:literal, [$($packet:ident)+];)+) => {
        /// A reason code of version 5. Below 0x80 a success, from 0x80 a failure.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            #[default]
            $($(#[doc = $doc])+ $variant = $value,)+
        }

        impl ReasonCode {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code of a byte; `None` if the standard does not define it.
            pub const fn from_u8(byte: u8) -> Option<Self> {
                match byte { $($value => Some(Self::$variant),)+ _ => None }
            }

            /// The name the standard gives it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The packet types that may carry it, as a bit per type.
            const fn packets(self) -> u16 {
                match self { $(Self::$variant => $(PacketType::$packet.bit() |)+ 0,)+ }
            }
        }
    };
}

reason_codes! {
    /// Success; granted QoS 0 in SUBACK; normal disconnection in DISCONNECT.
    Success = 0x00, "Success", [ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth];
    /// Subscription granted with QoS 1.
    GrantedQos1 = 0x01, "Granted QoS 1", [SubAck];
    /// Subscription granted with QoS 2.
    GrantedQos2 = 0x02, "Granted QoS 2", [SubAck];
    /// The client leaves and wants its will published.
    DisconnectWithWill = 0x04, "Disconnect with Will Message", [Disconnect];
    /// Accepted, and nobody subscribes.
    NoMatchingSubscribers = 0x10, "No matching subscribers", [PubAck PubRec];
    /// There was no such subscription.
    NoSubscriptionExisted = 0x11, "No subscription existed", [UnsubAck];
    /// Another step of the authentication follows.
    ContinueAuthentication = 0x18, "Continue authentication", [Auth];
    /// The client begins a re-authentication.
    ReAuthenticate = 0x19, "Re-authenticate", [Auth];
    /// A failure without a better code.
    UnspecifiedError = 0x80, "Unspecified error", [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    /// A packet that cannot be parsed.
    MalformedPacket = 0x81, "Malformed Packet", [ConnAck Disconnect];
    /// A packet that says what the protocol does not allow.
    ProtocolError = 0x82, "Protocol Error", [ConnAck Disconnect];
    /// Valid, and not accepted by this implementation.
    ImplementationSpecificError = 0x83, "Implementation specific error",
        [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    /// The protocol version is not spoken here.
    UnsupportedProtocolVersion = 0x84, "Unsupported Protocol Version", [ConnAck];
    /// The client identifier is not allowed.
    ClientIdentifierNotValid = 0x85, "Client Identifier not valid", [ConnAck];
    /// Wrong user name or password.
    BadUserNameOrPassword = 0x86, "Bad User Name or Password", [ConnAck];
    /// Not authorized.
    NotAuthorized = 0x87, "Not authorized", [ConnAck PubAck PubRec SubAck UnsubAck Disconnect];
    /// The server is not available.
    ServerUnavailable = 0x88, "Server unavailable", [ConnAck];
    /// The server is busy.
    ServerBusy = 0x89, "Server busy", [ConnAck Disconnect];
    /// The client is banned.
    Banned = 0x8A, "Banned", [ConnAck];
    /// The server is shutting down.
    ServerShuttingDown = 0x8B, "Server shutting down", [Disconnect];
    /// The authentication method is not supported or has changed.
    BadAuthenticationMethod = 0x8C, "Bad authentication method", [ConnAck Disconnect];
    /// No packet for one and a half times the keep alive.
    KeepAliveTimeout = 0x8D, "Keep Alive timeout", [Disconnect];
    /// Another connection took the client identifier.
    SessionTakenOver = 0x8E, "Session taken over", [Disconnect];
    /// The topic filter is not accepted.
    TopicFilterInvalid = 0x8F, "Topic Filter invalid", [SubAck UnsubAck Disconnect];
    /// The topic name is not accepted.
    TopicNameInvalid = 0x90, "Topic Name invalid", [ConnAck PubAck PubRec Disconnect];
    /// The packet identifier is in use.
    PacketIdentifierInUse = 0x91, "Packet Identifier in use", [PubAck PubRec SubAck UnsubAck];
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92, "Packet Identifier not found", [PubRel PubComp];
    /// More publications in flight than the receive maximum.
    ReceiveMaximumExceeded = 0x93, "Receive Maximum exceeded", [Disconnect];
    /// A topic alias of 0 or above the maximum.
    TopicAliasInvalid = 0x94, "Topic Alias invalid", [Disconnect];
    /// The packet is larger than the receiver accepts.
    PacketTooLarge = 0x95, "Packet too large", [ConnAck Disconnect];
    /// Messages arrive too fast.
    MessageRateTooHigh = 0x96, "Message rate too high", [Disconnect];
    /// A quota is used up.
    QuotaExceeded = 0x97, "Quota exceeded", [ConnAck PubAck PubRec SubAck Disconnect];
    /// Closed by an administrator.
    AdministrativeAction = 0x98, "Administrative action", [Disconnect];
    /// The payload is not what the payload format indicator says.
    PayloadFormatInvalid = 0x99, "Payload format invalid", [ConnAck PubAck PubRec Disconnect];
    /// Retained messages are not supported.
    RetainNotSupported = 0x9A, "Retain not supported", [ConnAck Disconnect];
    /// The QoS is not supported.
    QosNotSupported = 0x9B, "QoS not supported", [ConnAck Disconnect];
    /// Use another server for now.
    UseAnotherServer = 0x9C, "Use another server", [ConnAck Disconnect];
    /// Use another server from now on.
    ServerMoved = 0x9D, "Server moved", [ConnAck Disconnect];
    /// Shared subscriptions are not supported.
    SharedSubscriptionsNotSupported = 0x9E, "Shared Subscriptions not supported", [SubAck Disconnect];
    /// Connections arrive too fast.
    ConnectionRateExceeded = 0x9F, "Connection rate exceeded", [ConnAck Disconnect];
    /// The time granted to this connection is over.
    MaximumConnectTime = 0xA0, "Maximum connect time", [Disconnect];
    /// Subscription identifiers are not supported.
    SubscriptionIdentifiersNotSupported = 0xA1, "Subscription Identifiers not supported", [SubAck Disconnect];
    /// Wildcard subscriptions are not supported.
    WildcardSubscriptionsNotSupported = 0xA2, "Wildcard Subscriptions not supported", [SubAck Disconnect];
}

impl ReasonCode {
    /// Whether this is a failure.
    #[inline]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// Whether a packet of this type may carry it.
    #[inline]
    pub const fn allowed_in(self, packet: PacketType) -> bool {
        self.packets() & packet.bit() != 0
    }

    /// The side that may send it in a packet of this type: the "sent by" columns of DISCONNECT and AUTH (5.0
    /// tables 3-10 and 3-11). For all other packets [`Sender::Either`]: they travel one way anyhow, or the table
    /// has no such column. (A remark in the tables of PUBACK and PUBREC gives 0x10 to the server; a client that
    /// sends it does no harm and is not refused.)
    pub const fn sent_by(self, packet: PacketType) -> Sender {
        match packet {
            PacketType::Disconnect => match self {
                Self::DisconnectWithWill => Sender::Client,
                Self::NotAuthorized
                | Self::ServerBusy
                | Self::ServerShuttingDown
                | Self::BadAuthenticationMethod
                | Self::KeepAliveTimeout
                | Self::SessionTakenOver
                | Self::TopicFilterInvalid
                | Self::RetainNotSupported
                | Self::QosNotSupported
                | Self::UseAnotherServer
                | Self::ServerMoved
                | Self::SharedSubscriptionsNotSupported
                | Self::ConnectionRateExceeded
                | Self::MaximumConnectTime
                | Self::SubscriptionIdentifiersNotSupported
                | Self::WildcardSubscriptionsNotSupported => Sender::Server,
                _ => Sender::Either,
            },
            PacketType::Auth => match self {
                Self::Success => Sender::Server,
                Self::ReAuthenticate => Sender::Client,
                _ => Sender::Either,
            },
            _ => Sender::Either,
        }
    }

    /// The code by which SUBACK grants a QoS.
    pub const fn granted(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::Success,
            QoS::AtLeastOnce => Self::GrantedQos1,
            QoS::ExactlyOnce => Self::GrantedQos2,
        }
    }

    /// The code of `byte` in a packet of this type from this side.
    #[inline]
    pub(crate) fn decode(byte: u8, packet: PacketType, sender: Sender) -> Result<Self, crate::DecodeError> {
        // [MQTT-3.4.2-1] and its like in each packet: one of the packet's own codes, or a protocol error.
        match Self::from_u8(byte) {
            Some(code) if code.allowed_in(packet) && sender.may_be(code.sent_by(packet)) => Ok(code),
            _ => Err(crate::Violation::ReasonCodeNotAllowed.into()),
        }
    }

    /// The 3.x CONNACK return code that says the same, as near as it can; `None` where 3.1.1 has the server
    /// close without a CONNACK [MQTT311-3.2.2-6].
    pub const fn connect_return_code(self) -> Option<ConnectReturnCode> {
        Some(match self {
            Self::Success => ConnectReturnCode::Accepted,
            Self::UnsupportedProtocolVersion => ConnectReturnCode::UnacceptableProtocolVersion,
            Self::ClientIdentifierNotValid => ConnectReturnCode::IdentifierRejected,
            Self::BadUserNameOrPassword => ConnectReturnCode::BadUserNameOrPassword,
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => {
                ConnectReturnCode::NotAuthorized
            }
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::ServerShuttingDown
            | Self::QuotaExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => ConnectReturnCode::ServerUnavailable,
            _ => return None,
        })
    }
}

/// CONNACK return code of 3.1 and 3.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ConnectReturnCode {
    /// Accepted.
    Accepted = 0,
    /// The protocol level is not supported.
    UnacceptableProtocolVersion = 1,
    /// The client identifier is not allowed.
    IdentifierRejected = 2,
    /// The service is not available.
    ServerUnavailable = 3,
    /// Wrong user name or password.
    BadUserNameOrPassword = 4,
    /// Not authorized.
    NotAuthorized = 5,
}

impl ConnectReturnCode {
    /// The reason code that says the same; `None` for a byte that is reserved.
    pub const fn reason(byte: u8) -> Option<ReasonCode> {
        match byte {
            0 => Some(ReasonCode::Success),
            1 => Some(ReasonCode::UnsupportedProtocolVersion),
            2 => Some(ReasonCode::ClientIdentifierNotValid),
            3 => Some(ReasonCode::ServerUnavailable),
            4 => Some(ReasonCode::BadUserNameOrPassword),
            5 => Some(ReasonCode::NotAuthorized),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_bytes_agree() {
        for byte in 0..=u8::MAX {
            if let Some(code) = ReasonCode::from_u8(byte) {
                assert_eq!(code as u8, byte);
                assert_eq!(code.is_error(), byte >= 0x80);
            }
        }
        assert_eq!(ReasonCode::ALL.len(), 43);
        assert_eq!(ReasonCode::from_u8(0x03), None);
        assert_eq!(ReasonCode::from_u8(0xA3), None);
    }

    /// The number of codes in each packet's own table of 5.0: an independent count of table 2-6.
    /// covers [MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.9.3-2] [MQTT-3.14.2-1] [MQTT-3.15.2-1]
    #[test]
    fn each_packet_has_the_codes_of_its_table() {
        let count = |packet| ReasonCode::ALL.iter().filter(|code| code.allowed_in(packet)).count();
        assert_eq!(count(PacketType::ConnAck), 22);
        assert_eq!(count(PacketType::PubAck), 9);
        assert_eq!(count(PacketType::PubRec), 9);
        assert_eq!(count(PacketType::PubRel), 2);
        assert_eq!(count(PacketType::PubComp), 2);
        assert_eq!(count(PacketType::SubAck), 12);
        assert_eq!(count(PacketType::UnsubAck), 7);
        // Table 3-10 lists 29; table 2-6 adds 0x8C, which a server needs when re-authentication fails.
        assert_eq!(count(PacketType::Disconnect), 30);
        assert_eq!(count(PacketType::Auth), 3);
        for packet in [PacketType::Connect, PacketType::Publish, PacketType::Subscribe, PacketType::PingReq] {
            assert_eq!(count(packet), 0);
        }
    }

    #[test]
    fn return_codes_of_3_1_1_go_there_and_back() {
        for byte in 0..=5 {
            let reason = ConnectReturnCode::reason(byte).unwrap();
            assert_eq!(reason.connect_return_code().map(|code| code as u8), Some(byte));
        }
        assert_eq!(ConnectReturnCode::reason(6), None);
        // covers [MQTT311-3.2.2-6]
        assert_eq!(ReasonCode::MalformedPacket.connect_return_code(), None);
    }

    #[test]
    fn the_granted_code_is_the_qos() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            assert_eq!(ReasonCode::granted(qos) as u8, qos.bits());
        }
    }
}
