//! What can be wrong with a packet: one closed set, one value per rule, each with its place in the standards
//! and the reason code a version 5 peer is told.
//!
//! Where 5.0 names a reason code for a broken rule, that code is given. Where it names none, its definitions
//! decide (5.0 section 1.2 and 4.13): what cannot be parsed is a Malformed Packet (0x81), what parses but says
//! something the protocol does not allow is a Protocol Error (0x82). Versions 3.1 and 3.1.1 have no codes
//! outside CONNACK: there the network connection is closed.

use crate::reason::{ConnectReturnCode, ReasonCode};
use crate::version::Version;

macro_rules! violations {
    ($($(#[doc = $help:literal])+ $variant:ident = $name:literal, $reason:ident, $citation:literal;)+) => {
        /// A rule a packet broke. Citations `[MQTT-x]` are those of 5.0, `[MQTT311-x]` those of 3.1.1; a bare
        /// section number stands where the standard states the rule without numbering it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Violation { $($(#[doc = $help])+ #[doc = concat!("\n\n", $citation)] $variant,)+ }

        impl Violation {
            /// Every value, in order: the closed set for counters and documents.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// A short name for counters and logs.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The reason code a version 5 peer is told.
            pub const fn reason(self) -> ReasonCode {
                match self { $(Self::$variant => ReasonCode::$reason,)+ }
            }

            /// Where the standards state the rule.
            pub const fn citation(self) -> &'static str {
                match self { $(Self::$variant => $citation,)+ }
            }

            /// One sentence on the rule.
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($help),+).trim_ascii_start(),)+ }
            }
        }
    };
}

violations! {
    // Fixed header and framing.
    /// Packet type 0.
    PacketTypeReserved = "packet-type-reserved", MalformedPacket, "5.0 2.1.2, 3.1.1 2.2.1";
    /// Packet type 15 (AUTH) on a connection that is not version 5.
    AuthBeforeV5 = "auth-before-v5", MalformedPacket, "3.1.1 2.2.1";
    /// Reserved bits of the first byte are not what the packet type prescribes.
    FixedHeaderFlags = "fixed-header-flags", MalformedPacket,
        "[MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1] \
         [MQTT311-2.2.2-2]";
    /// A variable byte integer goes on after its fourth byte.
    VariableIntegerTooLong = "variable-integer-too-long", MalformedPacket, "5.0 1.5.5, 3.1.1 2.2.3";
    /// A variable byte integer is longer than its value needs (5.0 only; 3.1.1 allows it).
    VariableIntegerNotMinimal = "variable-integer-not-minimal", MalformedPacket, "[MQTT-1.5.5-1]";
    /// The packet is larger than the receiver accepts.
    PacketTooLarge = "packet-too-large", PacketTooLarge, "[MQTT-3.1.2-24] [MQTT-3.2.2-15]";
    /// A packet that only the other side may send.
    WrongSender = "wrong-sender", ProtocolError, "5.0 2.1.2 table 2-1, 3.1.1 2.2.1 table 2.1";

    // Fields.
    /// A field runs past the end of its packet or of its property block.
    Truncated = "truncated", MalformedPacket, "5.0 1.2 and 4.13, [MQTT311-4.8.0-1]";
    /// Bytes are left after the last field of the packet.
    TrailingBytes = "trailing-bytes", MalformedPacket, "5.0 1.2 and 4.13, [MQTT311-4.8.0-1]";
    /// A string is not well-formed UTF-8 (surrogates and overlong forms included).
    StringNotUtf8 = "string-not-utf8", MalformedPacket, "[MQTT-1.5.4-1] [MQTT311-1.5.3-1]";
    /// A string contains U+0000.
    StringHasNull = "string-has-null", MalformedPacket, "[MQTT-1.5.4-2] [MQTT-4.7.3-2] [MQTT311-1.5.3-2]";
    /// A packet identifier is zero.
    PacketIdZero = "packet-id-zero", ProtocolError, "[MQTT-2.2.1-3] [MQTT-2.2.1-4] [MQTT311-2.3.1-1]";

    // Topic names and filters.
    /// A topic name is empty, and no topic alias stands for it.
    TopicEmpty = "topic-empty", ProtocolError, "[MQTT-4.7.3-1] [MQTT311-4.7.3-1]";
    /// A topic name contains a wildcard character.
    TopicWildcard = "topic-wildcard", TopicNameInvalid,
        "[MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT311-3.3.2-2] [MQTT311-4.7.1-1]";
    /// A topic filter is empty.
    FilterEmpty = "filter-empty", TopicFilterInvalid, "[MQTT-4.7.3-1] [MQTT311-4.7.3-1]";
    /// `#` is not the whole last level of a topic filter.
    FilterMultiLevelWildcard = "filter-multi-level-wildcard", TopicFilterInvalid,
        "[MQTT-4.7.1-1] [MQTT311-4.7.1-2]";
    /// `+` shares its level of a topic filter with other characters.
    FilterSingleLevelWildcard = "filter-single-level-wildcard", TopicFilterInvalid,
        "[MQTT-4.7.1-2] [MQTT311-4.7.1-3]";
    /// A filter begins with `$share/`, and no share name, `/` and topic filter follow.
    FilterShareForm = "filter-share-form", TopicFilterInvalid, "[MQTT-4.8.2-1] [MQTT-4.8.2-2]";

    // Properties.
    /// The property length runs past the end of the packet.
    PropertyLengthOverrun = "property-length-overrun", MalformedPacket, "5.0 2.2.2.1";
    /// A property identifier the standard does not define.
    PropertyUnknown = "property-unknown", MalformedPacket, "5.0 2.2.2.2";
    /// A property that does not belong in this packet.
    PropertyNotAllowed = "property-not-allowed", MalformedPacket, "5.0 2.2.2.2 table 2-4";
    /// A property that may be there once is there again.
    PropertyRepeated = "property-repeated", ProtocolError, "5.0 3.1.2.11, 3.1.3.2, 3.2.2.3, 3.3.2.3 and others";
    /// A property whose byte must be 0 or 1 has another value.
    PropertyNotBoolean = "property-not-boolean", ProtocolError,
        "5.0 3.1.2.11.6, 3.1.2.11.7, 3.2.2.3.4, 3.2.2.3.5, 3.2.2.3.11 to .13, 3.3.2.3.2";
    /// Receive maximum 0.
    ReceiveMaximumZero = "receive-maximum-zero", ProtocolError, "5.0 3.1.2.11.3, 3.2.2.3.3";
    /// Maximum packet size 0.
    MaximumPacketSizeZero = "maximum-packet-size-zero", ProtocolError, "5.0 3.1.2.11.4, 3.2.2.3.6";
    /// Topic alias 0.
    TopicAliasZero = "topic-alias-zero", TopicAliasInvalid, "[MQTT-3.3.2-8]";
    /// Subscription identifier 0.
    SubscriptionIdZero = "subscription-id-zero", ProtocolError, "5.0 3.3.2.3.8, 3.8.2.1.2";
    /// A client's PUBLISH carries a subscription identifier.
    SubscriptionIdFromClient = "subscription-id-from-client", ProtocolError, "[MQTT-3.3.4-6]";
    /// A response topic is empty or contains a wildcard character.
    ResponseTopicInvalid = "response-topic-invalid", ProtocolError, "[MQTT-3.3.2-14] [MQTT-4.7.3-1]";
    /// Authentication data without an authentication method.
    AuthDataWithoutMethod = "auth-data-without-method", ProtocolError, "5.0 3.1.2.11.10";
    /// An AUTH without an authentication method.
    AuthMethodMissing = "auth-method-missing", ProtocolError, "5.0 3.15.2.2.2, [MQTT-4.12.0-5]";
    /// A server's DISCONNECT carries a session expiry interval.
    SessionExpiryFromServer = "session-expiry-from-server", ProtocolError, "[MQTT-3.14.2-2]";

    // CONNECT and CONNACK.
    /// The protocol name is neither `MQTT` nor `MQIsdp`.
    ProtocolName = "protocol-name", UnsupportedProtocolVersion, "[MQTT-3.1.2-1] [MQTT311-3.1.2-1]";
    /// The protocol level is not one that is spoken under its name.
    ProtocolLevel = "protocol-level", UnsupportedProtocolVersion, "[MQTT-3.1.2-2] [MQTT311-3.1.2-2]";
    /// Bit 0 of the connect flags is set.
    ConnectFlagReserved = "connect-flag-reserved", MalformedPacket, "[MQTT-3.1.2-3] [MQTT311-3.1.2-3]";
    /// Will QoS 3.
    WillQos3 = "will-qos-3", MalformedPacket, "[MQTT-3.1.2-12] [MQTT311-3.1.2-14]";
    /// Will QoS or will retain are set and the will flag is not.
    WillFlagsWithoutWill = "will-flags-without-will", ProtocolError,
        "[MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT311-3.1.2-11] [MQTT311-3.1.2-13] [MQTT311-3.1.2-15]";
    /// A password without a user name (3.1 and 3.1.1; 5.0 allows it).
    PasswordWithoutUserName = "password-without-user-name", ProtocolError, "[MQTT311-3.1.2-22]";
    /// An empty client identifier where the client must name itself: with clean session 0 in 3.1.1, always in 3.1.
    ClientIdEmpty = "client-id-empty", ClientIdentifierNotValid, "[MQTT311-3.1.3-8]";
    /// Bits 7 to 1 of the acknowledge flags are not zero.
    ConnAckFlagsReserved = "connack-flags-reserved", MalformedPacket, "[MQTT-3.2.2-1] 3.1.1 3.2.2.1";
    /// A refused connection is said to have a session.
    SessionPresentOnRefusal = "session-present-on-refusal", ProtocolError, "[MQTT-3.2.2-6] [MQTT311-3.2.2-4]";
    /// A CONNACK or SUBACK return code that 3.1.1 reserves.
    ReturnCodeReserved = "return-code-reserved", ProtocolError, "3.1.1 3.2.2.3, [MQTT311-3.9.3-2]";
    /// A reason code that is unknown, or that this packet or this sender may not use.
    ReasonCodeNotAllowed = "reason-code-not-allowed", ProtocolError,
        "[MQTT-3.2.2-8] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-3.9.3-2] \
         [MQTT-3.11.3-2] [MQTT-3.14.2-1] [MQTT-3.15.2-1]";

    // PUBLISH.
    /// QoS 3.
    PublishQos3 = "publish-qos-3", MalformedPacket, "[MQTT-3.3.1-4] [MQTT311-3.3.1-4]";
    /// DUP on a QoS 0 publication.
    DupOnQos0 = "dup-on-qos-0", MalformedPacket, "[MQTT-3.3.1-2] [MQTT311-3.3.1-2]";

    // SUBSCRIBE, UNSUBSCRIBE and their acknowledgements.
    /// A SUBSCRIBE without a topic filter.
    SubscribeEmpty = "subscribe-empty", ProtocolError, "[MQTT-3.8.3-2] [MQTT311-3.8.3-3]";
    /// An UNSUBSCRIBE without a topic filter.
    UnsubscribeEmpty = "unsubscribe-empty", ProtocolError, "[MQTT-3.10.3-2] [MQTT311-3.10.3-2]";
    /// Reserved bits of the subscription options are set.
    SubscribeReservedBits = "subscribe-reserved-bits", MalformedPacket, "[MQTT-3.8.3-5] [MQTT311-3.8.3-4]";
    /// A subscription asks for QoS 3.
    SubscribeQos3 = "subscribe-qos-3", ProtocolError, "5.0 3.8.3.1, [MQTT311-3.8.3-4]";
    /// Retain handling 3.
    RetainHandling3 = "retain-handling-3", ProtocolError, "5.0 3.8.3.1";
    /// No local on a shared subscription.
    NoLocalOnShared = "no-local-on-shared", ProtocolError, "[MQTT-3.8.3-4]";
    /// A SUBACK or version 5 UNSUBACK without a reason code.
    ReasonCodesEmpty = "reason-codes-empty", ProtocolError, "[MQTT-3.8.4-6] [MQTT-3.11.3-2] [MQTT311-3.8.4-5]";
}

impl Violation {
    /// The position of this value in [`Violation::ALL`].
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Why a packet was refused. `Copy`, two bytes; carries nothing of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DecodeError {
    rule: Violation,
    /// Set by CONNECT once it is known which version the client speaks.
    connect: Option<Version>,
}

impl DecodeError {
    /// The rule that was broken.
    #[inline]
    pub const fn rule(self) -> Violation {
        self.rule
    }

    /// What a version 5 peer is told, in DISCONNECT, or in CONNACK for a CONNECT.
    pub const fn reason(self) -> ReasonCode {
        self.rule.reason()
    }

    /// For a CONNECT that was refused after its version was read: that version. A level above 5 counts as 5,
    /// any other unknown level as 3.1.1: the form in which the client may understand the refusal.
    pub const fn connect_version(self) -> Option<Version> {
        self.connect
    }

    /// The 3.x return code of a refused CONNECT; `None` where the standard says to close without a CONNACK.
    pub const fn connect_return_code(self) -> Option<ConnectReturnCode> {
        match self.rule {
            // [MQTT311-3.1.2-2] a level that is not supported; [MQTT311-3.1.3-8] an empty client identifier.
            Violation::ProtocolLevel => Some(ConnectReturnCode::UnacceptableProtocolVersion),
            Violation::ClientIdEmpty => Some(ConnectReturnCode::IdentifierRejected),
            // [MQTT311-3.1.4-1] Whatever else does not conform is closed without a CONNACK.
            _ => None,
        }
    }

    /// How a refused CONNECT is answered before the connection is closed.
    pub const fn connect_refusal(self) -> ConnectRefusal {
        match (self.connect, self.connect_return_code()) {
            // [MQTT-3.1.2-1] leaves it to the server whether it shows itself to a stranger, and [MQTT311-3.1.2-1]
            // has no answer for one: silence. The same before the version is known.
            (None, _) => ConnectRefusal::Close,
            (Some(Version::V5), _) => ConnectRefusal::Reason(self.reason()),
            (Some(_), Some(code)) => ConnectRefusal::ReturnCode(code),
            (Some(_), None) => ConnectRefusal::Close,
        }
    }

    /// The same error, in a CONNECT of `version`.
    pub(crate) const fn in_connect(self, version: Version) -> Self {
        Self { rule: self.rule, connect: Some(version) }
    }
}

impl From<Violation> for DecodeError {
    #[inline]
    fn from(rule: Violation) -> Self {
        Self { rule, connect: None }
    }
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reason = self.reason();
        write!(
            f,
            "{}: {} (0x{:02x}, {})",
            self.rule.name(),
            self.rule.help(),
            reason as u8,
            self.rule.citation()
        )
    }
}

impl std::error::Error for DecodeError {}

/// The answer to a CONNECT that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectRefusal {
    /// No CONNACK: close the network connection.
    Close,
    /// A 3.x CONNACK with this return code, then close.
    ReturnCode(ConnectReturnCode),
    /// A version 5 CONNACK with this reason code, then close.
    Reason(ReasonCode),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_every_rule_is_cited() {
        let mut names: Vec<_> = Violation::ALL.iter().map(|rule| rule.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Violation::ALL.len());
        for (index, rule) in Violation::ALL.iter().enumerate() {
            assert_eq!(rule.index(), index);
            assert!(rule.reason().is_error(), "{rule:?}");
            assert!(rule.citation().contains('.'), "{rule:?}");
            assert!(!rule.help().starts_with(' ') && rule.help().ends_with('.'), "{rule:?}");
        }
    }

    #[test]
    fn an_error_is_small() {
        assert_eq!(size_of::<DecodeError>(), 2);
        assert_eq!(size_of::<Result<(), DecodeError>>(), 2);
    }

    #[test]
    fn a_log_line_names_rule_code_and_place() {
        let line = DecodeError::from(Violation::PublishQos3).to_string();
        assert_eq!(line, "publish-qos-3: QoS 3. (0x81, [MQTT-3.3.1-4] [MQTT311-3.3.1-4])");
    }

    /// covers [MQTT-3.1.2-2] [MQTT311-3.1.2-2] [MQTT311-3.1.3-8] [MQTT311-3.1.4-1]
    #[test]
    fn a_refused_connect_is_answered_in_its_own_version() {
        let level = DecodeError::from(Violation::ProtocolLevel);
        assert_eq!(level.in_connect(Version::V5).connect_refusal(), ConnectRefusal::Reason(level.reason()));
        let code = ConnectReturnCode::UnacceptableProtocolVersion;
        assert_eq!(level.in_connect(Version::V311).connect_refusal(), ConnectRefusal::ReturnCode(code));
        let id = DecodeError::from(Violation::ClientIdEmpty).in_connect(Version::V31);
        assert_eq!(id.connect_refusal(), ConnectRefusal::ReturnCode(ConnectReturnCode::IdentifierRejected));
        let malformed = DecodeError::from(Violation::Truncated);
        assert_eq!(malformed.connect_refusal(), ConnectRefusal::Close);
        assert_eq!(malformed.in_connect(Version::V311).connect_refusal(), ConnectRefusal::Close);
        let in_v5 = malformed.in_connect(Version::V5).connect_refusal();
        assert_eq!(in_v5, ConnectRefusal::Reason(ReasonCode::MalformedPacket));
    }
}
