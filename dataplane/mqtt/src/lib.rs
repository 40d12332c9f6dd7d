//! The MQTT codec: 3.1, 3.1.1 and 5.0 in one tree, both directions, one file per packet type.
//!
//! It turns bytes into packets and packets into bytes, and knows nothing else: no sessions, no sockets, no clock. What
//! a rule needs beyond the bytes of one packet (is this alias within the maximum, is this identifier in use) is the
//! broker's to check.
//!
//! # How bytes become a packet
//!
//! [`frame()`] finds where a packet ends in a stream that may be cut anywhere, and refuses what the first bytes
//! already condemn. [`decode`] and its two strict forms, [`decode_from_client`] and [`decode_from_server`], read the
//! body. A decoded packet is a view: it borrows from the bytes, allocates nothing, and every rule a receiver must
//! check has been checked, except where the docs of a type say what is left: the topic of a PUBLISH
//! ([`RawTopic::check`]) and the grammar of the filters of a SUBSCRIBE ([`RawFilter::check`]).
//!
//! ```
//! use pelton_mqtt::{Frame, Packet, Version, decode_from_client, frame};
//!
//! let bytes = [0x30, 0x09, 0x00, 0x03, b'a', b'/', b'b', b'2', b'1', b'.', b'5'];
//! let Frame::Complete { header, total } = frame(&bytes, 1024)? else { panic!("cut") };
//! let body = &bytes[usize::from(header.header_len)..total];
//! let Packet::Publish(publish) = decode_from_client(Version::V311, header, body)? else { panic!("not PUBLISH") };
//! assert_eq!(publish.topic.check()?.as_str(), "a/b");
//! assert_eq!(publish.payload, b"21.5");
//! # Ok::<(), pelton_mqtt::DecodeError>(())
//! ```
//!
//! Nothing is added to the standards: no property, reason code or packet of our own [MQTT311-7.0.0-2].
//!
//! # When a packet is wrong
//!
//! A [`DecodeError`] names the one rule that was broken, a [`Violation`]: a closed set, each with its citation and the
//! reason code a version 5 peer is told. A peer can do no worse than be refused: nothing here panics on what it
//! receives.
//!
//! # How a packet becomes bytes
//!
//! Every packet type has `encode`, which appends to a caller's `Vec<u8>`, and `encoded_len`, which says how many bytes
//! that will be. A packet that cannot be encoded (a string above 65,535 bytes) is a bug of the caller and panics.
//! Fan-out does not encode a PUBLISH per receiver: see [`PublishHead`] and [`PublishProperties::forwardable`].
#![forbid(unsafe_code)]

pub mod ack;
pub mod auth;
pub mod connack;
pub mod connect;
pub mod disconnect;
pub mod error;
pub mod fixed_header;
pub mod frame;
#[cfg(test)]
mod golden;
pub mod packet;
pub mod packet_id;
pub mod ping;
pub mod properties;
pub mod publish;
pub mod qos;
pub mod reason;
pub mod suback;
pub mod subscribe;
pub mod text;
pub mod topic;
pub mod unsuback;
pub mod unsubscribe;
pub mod version;
mod wire;

pub use ack::Ack;
pub use auth::Auth;
pub use connack::{ConnAck, ConnAckProperties};
pub use connect::{Connect, ConnectProperties, Will};
pub use disconnect::Disconnect;
pub use error::{ConnectRefusal, DecodeError, Violation};
pub use fixed_header::{FixedHeader, MAX_PACKET, MAX_REMAINING, PacketType};
pub use frame::{Frame, frame};
pub use packet::{Packet, decode, decode_from, decode_from_client, decode_from_server};
pub use packet_id::PacketId;
pub use ping::{PINGREQ, PINGRESP};
pub use properties::{Property, PublishProperties, UserProperties};
pub use publish::{Publish, PublishHead};
pub use qos::{QoS, Sender};
pub use reason::{ConnectReturnCode, ReasonCode};
pub use suback::{ReasonCodes, SubAck};
pub use subscribe::{RetainHandling, Subscribe, SubscribeOptions, Subscription, Subscriptions};
pub use topic::{RawFilter, RawTopic, SharedFilter, TopicFilter, TopicName, matches};
pub use unsuback::UnsubAck;
pub use unsubscribe::{Filters, Unsubscribe};
pub use version::Version;
