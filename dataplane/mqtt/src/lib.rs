//! The MQTT codec: 3.1, 3.1.1 and 5.0 in one tree, both directions, one file per packet type.
#![forbid(unsafe_code)]

pub mod error;
pub mod fixed_header;
pub mod frame;
pub mod packet_id;
pub mod qos;
pub mod reason;
pub mod text;
pub mod topic;
pub mod version;

pub use error::{ConnectRefusal, DecodeError, Violation};
pub use fixed_header::{FixedHeader, MAX_PACKET, MAX_REMAINING, PacketType};
pub use frame::{Frame, frame};
pub use packet_id::PacketId;
pub use qos::{QoS, Sender};
pub use reason::{ConnectReturnCode, ReasonCode};
pub use topic::{RawFilter, RawTopic, SharedFilter, TopicFilter, TopicName, matches};
pub use version::Version;
