//! What an operator can set about the broker's meaning and its bounds. Plain data; the control plane fills
//! it from the configuration and describes each key there.

use pelton_mqtt::QoS;

use crate::access::Access;

/// What happens to a session's queue when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueuePolicy {
    /// The oldest queued message makes room.
    DropOldest,
    /// The new message is dropped.
    DropNewest,
    /// The client is disconnected (0x97) and its new messages are dropped.
    Disconnect,
}

/// How a shared subscription picks the member that gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedStrategy {
    /// In turn.
    RoundRobin,
    /// One member until it leaves.
    Sticky,
    /// By the publisher's client id: one publisher's messages stay in order.
    HashClientId,
    /// By topic.
    HashTopic,
    /// The member with the fewest messages under way.
    LeastInflight,
    /// A member on the publisher's shard if there is one, in turn.
    LocalFirst,
}

/// What the broker is told of its storage. Whether a commit survives power loss is the storage's to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Messages of a session kept in memory ahead of its client; the rest is read back from storage.
    pub window_messages: u32,
    /// Bytes of them.
    pub window_bytes: u32,
    /// Most messages of one page that is read back.
    pub page_messages: u32,
    /// Bytes beyond which a page ends.
    pub page_bytes: u32,
    /// Bytes of operations staged or under way to storage before publishes wait.
    pub bytes_max: u32,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            window_messages: 512,
            window_bytes: 512 * 1024,
            page_messages: 256,
            page_bytes: 128 * 1024,
            bytes_max: 16 * 1024 * 1024,
        }
    }
}

/// Everything the broker is told once. The defaults are a valid broker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest packet taken, in bytes; announced as Maximum Packet Size where it is below the protocol's.
    pub packet_bytes_max: u32,
    /// QoS 1 and 2 publishes of a client under way at once (Receive Maximum).
    pub receive_maximum: u16,
    /// QoS 1 and 2 deliveries under way to a client at once; a v5 client may ask for fewer.
    pub inflight_max: u16,
    /// Topic aliases a client may set.
    pub topic_alias_maximum: u16,
    /// Topic aliases the broker sets towards a client that allows them.
    pub topic_alias_out_maximum: u16,
    /// Highest QoS granted.
    pub qos_max: QoS,
    /// Whether retained messages are kept.
    pub retain_available: bool,
    /// Whether `+` and `#` are allowed.
    pub wildcard_available: bool,
    /// Whether `$share` is allowed.
    pub shared_available: bool,
    /// Longest keep-alive in seconds, 0 for no limit; a v5 client that wants more (or none) is told.
    pub keep_alive_max: u16,
    /// Longest session expiry in seconds; `u32::MAX` for none.
    pub session_expiry_max: u32,
    /// Session expiry of persistent v3 sessions, in seconds; `u32::MAX` for never.
    pub session_expiry_v3: u32,
    /// Time from the connection to its CONNECT, in milliseconds.
    pub connect_timeout_ms: u32,
    /// Longest client id, in bytes.
    pub client_id_bytes_max: u16,
    /// Longest topic or filter, in bytes.
    pub topic_bytes_max: u16,
    /// Most levels of a topic or filter.
    pub topic_levels_max: u16,
    /// Most subscriptions of one session.
    pub subscriptions_max: u16,
    /// Bytes queued to a connection that does not read: beyond it QoS 0 is dropped and QoS 1 and 2 stay in
    /// the session's queue.
    pub outbound_bytes_max: u32,
    /// Messages queued in a session.
    pub queue_messages_max: u32,
    /// Bytes queued in a session.
    pub queue_bytes_max: u32,
    /// What happens when the session's queue is full.
    pub queue_policy: QueuePolicy,
    /// Messages retained on one shard.
    pub retained_messages_max: u32,
    /// Bytes retained on one shard.
    pub retained_bytes_max: u64,
    /// Clients may publish to topics that begin with `$` (not `$SYS`).
    pub dollar_topics_allowed: bool,
    /// A payload said to be UTF-8 is checked.
    pub payload_format_checked: bool,
    /// Message expiry given to messages that have none, in seconds.
    pub message_expiry_default: Option<u32>,
    /// Returned as Response Information to clients that ask.
    pub response_information: Option<String>,
    /// Where clients are sent when the broker shuts down or is full (Server Reference).
    pub server_reference: Option<String>,
    /// How shared subscriptions pick.
    pub shared_strategy: SharedStrategy,
    /// Topics remembered though nobody subscribes to them literally, a shard; four times as many that somebody
    /// does.
    pub remembered_topics: u32,
    /// Connections of one shard.
    pub connections_max: u32,
    /// Deliveries expanded in one turn before the shard looks at its input again.
    pub fanout_per_turn: u32,
    /// Bytes staged for another shard before publishes to it wait.
    pub mesh_bytes_max: u32,
    /// Sessions that outlive their connections and retained messages go to storage. `None`: memory only, and
    /// an acknowledgement promises no more than that.
    pub storage: Option<Storage>,
    /// Who may do what.
    pub access: Access,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            packet_bytes_max: 1024 * 1024,
            receive_maximum: 1024,
            inflight_max: 2048,
            topic_alias_maximum: 32,
            topic_alias_out_maximum: 32,
            qos_max: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_available: true,
            shared_available: true,
            keep_alive_max: 0,
            session_expiry_max: u32::MAX,
            session_expiry_v3: u32::MAX,
            connect_timeout_ms: 10_000,
            client_id_bytes_max: 1024,
            topic_bytes_max: 4096,
            topic_levels_max: 128,
            subscriptions_max: 10_000,
            outbound_bytes_max: 1024 * 1024,
            queue_messages_max: 10_000,
            queue_bytes_max: 16 * 1024 * 1024,
            queue_policy: QueuePolicy::DropNewest,
            retained_messages_max: 10_000_000,
            retained_bytes_max: 4 * 1024 * 1024 * 1024,
            dollar_topics_allowed: false,
            payload_format_checked: false,
            message_expiry_default: None,
            response_information: None,
            server_reference: None,
            shared_strategy: SharedStrategy::RoundRobin,
            remembered_topics: 65_536,
            connections_max: 1_000_000,
            fanout_per_turn: 16_384,
            mesh_bytes_max: 256 * 1024,
            storage: None,
            access: Access::default(),
        }
    }
}
