//! What a broker counts. Every message that is dropped and every connection that ends has a value of one of
//! these enums.

use pelton_base::{Counters, counter_set};

counter_set! {
    /// Packets and messages.
    pub enum Traffic {
        /// Bytes received from clients, as MQTT packets.
        BytesIn = "bytes_in",
        /// MQTT packets received.
        PacketsIn = "packets_in",
        /// PUBLISH packets received from clients.
        PublishIn = "publish_in",
        /// Payload bytes of received PUBLISH packets.
        PublishBytesIn = "publish_bytes_in",
        /// PUBLISH packets of QoS 1 received.
        PublishInQos1 = "publish_in_qos1",
        /// PUBLISH packets of QoS 2 received.
        PublishInQos2 = "publish_in_qos2",
        /// PUBLISH packets sent to clients.
        PublishOut = "publish_out",
        /// Payload bytes of sent PUBLISH packets.
        PublishBytesOut = "publish_bytes_out",
        /// PUBLISH packets of QoS 1 sent.
        PublishOutQos1 = "publish_out_qos1",
        /// PUBLISH packets of QoS 2 sent.
        PublishOutQos2 = "publish_out_qos2",
        /// PUBLISH and PUBREL packets sent again after a reconnect.
        Retransmitted = "retransmitted",
        /// Packets other than PUBLISH sent to clients.
        ControlOut = "control_out",
        /// Messages put in a session's queue.
        Queued = "queued",
        /// Retained messages sent because of a new subscription.
        RetainedSent = "retained_sent",
        /// Sessions that ended because their client did not come back in time.
        SessionsExpired = "sessions_expired",
        /// Wills published.
        WillsPublished = "wills_published",
        /// Publishes of clients that nobody wanted.
        NoSubscribers = "no_subscribers",
        /// Publishes sent to another shard.
        MeshOut = "mesh_out",
        /// Publishes received from another shard.
        MeshIn = "mesh_in",
    }
}

counter_set! {
    /// Why a message was not delivered to a subscriber, or not taken from a publisher.
    pub enum Dropped {
        /// QoS 0 to a client that does not read: its outbound buffer is full.
        OutboundFull = "outbound_full",
        /// QoS 0 to a session whose client is away.
        OfflineQos0 = "offline_qos0",
        /// The session's queue was full and its oldest message made room.
        QueueFullOldest = "queue_full_oldest",
        /// The session's queue was full and the new message was dropped.
        QueueFullNewest = "queue_full_newest",
        /// The message expired before it could be delivered.
        Expired = "expired",
        /// The packet would be larger than the client allows.
        TooLargeForClient = "too_large_for_client",
        /// The session ended with the message in its queue or window.
        SessionEnded = "session_ended",
        /// The client refused the message (PUBACK or PUBREC with an error).
        RefusedByClient = "refused_by_client",
        /// The publisher may not publish there.
        NotAuthorized = "not_authorized",
        /// The retained set is full.
        RetainedFull = "retained_full",
        /// A shared group had no member to take the message.
        NoGroupMember = "no_group_member",
        /// A shared group's queue was full.
        GroupQueueFull = "group_queue_full",
        /// The payload is not what its format indicator says.
        PayloadFormat = "payload_format",
        /// A retained message was superseded by a live one while it was fetched.
        Superseded = "superseded",
        /// A stored message could not be read back.
        Damaged = "damaged",
        /// The storage did not take it: its publisher was told, or has to send it again.
        NotStored = "not_stored",
    }
}

counter_set! {
    /// Why a connection ended.
    pub enum Ended {
        /// DISCONNECT by the client.
        Disconnect = "disconnect",
        /// DISCONNECT by the client that asks for its will.
        DisconnectWithWill = "disconnect_with_will",
        /// The client closed the connection without DISCONNECT.
        PeerClosed = "peer_closed",
        /// The client reset the connection.
        PeerReset = "peer_reset",
        /// The network lost the client.
        NetworkLost = "network_lost",
        /// Nothing came for one and a half keep-alive intervals.
        KeepAlive = "keep_alive",
        /// No CONNECT came in time.
        ConnectTimeout = "connect_timeout",
        /// The first packet was not a CONNECT.
        NotConnect = "not_connect",
        /// A second CONNECT came.
        SecondConnect = "second_connect",
        /// A malformed packet.
        Malformed = "malformed",
        /// A packet that is well formed but breaks the protocol.
        ProtocolError = "protocol_error",
        /// A packet larger than allowed.
        PacketTooLarge = "packet_too_large",
        /// A topic name that is not allowed.
        TopicNameInvalid = "topic_name_invalid",
        /// A topic filter that is not allowed.
        TopicFilterInvalid = "topic_filter_invalid",
        /// A topic alias that is not allowed.
        TopicAliasInvalid = "topic_alias_invalid",
        /// More QoS 1 and 2 publishes under way than the Receive Maximum.
        ReceiveMaximumExceeded = "receive_maximum_exceeded",
        /// Another connection took the client id.
        TakenOver = "taken_over",
        /// A protocol version that is not supported.
        UnsupportedVersion = "unsupported_version",
        /// A client id that is not allowed.
        ClientIdInvalid = "client_id_invalid",
        /// The client may not connect, or did what it may not (v3).
        NotAuthorized = "not_authorized",
        /// Extended authentication that is not supported.
        AuthenticationMethod = "authentication_method",
        /// QoS, retain, wildcards or shared subscriptions that are switched off.
        NotSupported = "not_supported",
        /// The broker has as many connections as it may.
        Full = "full",
        /// The session's queue was full and the policy is to disconnect.
        QueueFull = "queue_full",
        /// The client left its control packets unread.
        NotReading = "not_reading",
        /// The broker shuts down.
        Shutdown = "shutdown",
        /// A v3 client published what the storage did not take: it cannot be told otherwise.
        NotStored = "not_stored",
        /// An operator closed it.
        Administrative = "administrative",
    }
}

counter_set! {
    /// What befell the storage.
    pub enum Stored {
        /// Operations that found no space.
        Full = "full",
        /// Operations that failed with the medium.
        Failed = "failed",
        /// Records that could not be read at the start.
        Damaged = "damaged",
        /// Sessions found at the start of which there was a newer one.
        Superseded = "superseded",
    }
}

/// The counters of one shard's broker.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Packets and messages.
    pub traffic: Counters<Traffic>,
    /// Messages not delivered.
    pub dropped: Counters<Dropped>,
    /// Connections ended.
    pub ended: Counters<Ended>,
    /// What befell the storage.
    pub stored: Counters<Stored>,
    /// Connections accepted.
    pub accepted: u64,
    /// CONNECTs answered with success.
    pub connected: u64,
}

impl Tally {
    /// Adds another shard's counts.
    pub fn merge(&mut self, other: &Self) {
        self.traffic.merge(&other.traffic);
        self.dropped.merge(&other.dropped);
        self.ended.merge(&other.ended);
        self.stored.merge(&other.stored);
        self.accepted += other.accepted;
        self.connected += other.connected;
    }
}
