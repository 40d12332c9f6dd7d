//! The table.

use pelton_broker::settings::{QueuePolicy, SharedStrategy};
use pelton_mqtt::QoS;

use super::{Field, Key};
use crate::config::value::{Kind, NEVER, Value};
use crate::config::{Format, Level, StoragePolicy};

const U16: u64 = u16::MAX as u64;
const U32: u64 = u32::MAX as u64;
/// The largest packet MQTT can express.
const PACKET: u64 = pelton_mqtt::MAX_PACKET as u64;

/// The keys, in the order they are written.
pub(crate) const KEYS: &[Key] = &[
    Key {
        section: "listen",
        name: "tcp",
        unit: "",
        help: "Addresses for MQTT over TCP. Every one must work, or nothing is started; only the default, both of \
               IPv4 and IPv6, is content with one of them on a host without the other. Port 0 lets the system \
               choose. `--bind` replaces the list.",
        field: Field {
            kind: Kind::Addresses,
            get: |config| Value::Addresses(config.listen.tcp.clone()),
            set: |config, value| {
                if let Value::Addresses(list) = value {
                    config.listen.tcp = list;
                }
            },
        },
    },
    Key {
        section: "tcp",
        name: "user_timeout_seconds",
        unit: "seconds",
        help: "How long data may stay unacknowledged, or a client keep its window closed, before its connection is \
               given up (RFC 5482).",
        field: seconds!(tcp.user_timeout_ms, 5, 86_400),
    },
    Key {
        section: "tcp",
        name: "keep_alive_idle_seconds",
        unit: "seconds",
        help: "How long a client that asked for no MQTT Keep Alive must be silent before TCP asks whether it is still \
               there; 0 for never, and then one that vanished without a word is served until something is sent to \
               it. Clients with a Keep Alive are held to that.",
        field: seconds!(tcp.keep_alive_idle_ms, 0, 32_767),
    },
    Key {
        section: "tcp",
        name: "keep_alive_interval_seconds",
        unit: "seconds",
        help: "The time between two such questions.",
        field: seconds!(tcp.keep_alive_interval_ms, 1, 32_767),
    },
    Key {
        section: "tcp",
        name: "keep_alive_probes",
        unit: "segments",
        help: "Questions without an answer after which the connection is given up.",
        field: integer!(tcp.keep_alive_probes, 1, 127),
    },
    Key {
        section: "shards",
        name: "count",
        unit: "shards",
        help: "How many cores work. 0 for one per core this process may use (at most 64). `--shards` replaces it.",
        field: integer!(shards.count, 0, 64),
    },
    Key {
        section: "shards",
        name: "cores",
        unit: "",
        help: "The core each shard is pinned to, in order; empty to leave it to the system. As many as there are \
               shards.",
        field: Field {
            kind: Kind::Integers { max: 1023 },
            get: |config| Value::Integers(config.shards.cores.iter().map(|&core| core.into()).collect()),
            set: |config, value| {
                if let Value::Integers(list) = value {
                    config.shards.cores = list.into_iter().map(|core| core as u16).collect();
                }
            },
        },
    },
    Key {
        section: "shards",
        name: "idle_spin_us",
        unit: "microseconds",
        help: "How long a shard with nothing to do looks again and again before it sleeps. Spinning saves the wake-up \
               (some 7 us) and costs the core.",
        field: integer!(shards.idle_spin_us, 0, 1_000_000),
    },
    Key {
        section: "shards",
        name: "huge_pages",
        unit: "",
        help: "Transparent huge pages, for hosts with millions of connections and memory to spare: at any of 4 million \
               what a message costs falls by a third to a half, and an idle connection takes more, half as much again \
               where there are few. For `transparent_hugepage/enabled` of the kernel being `madvise` or `always`; read \
               at the start.",
        field: boolean!(shards.huge_pages),
    },
    Key {
        section: "shards",
        name: "connections_max",
        unit: "connections",
        help: "Connections of one shard. One more is closed at once and counted as `full`.",
        field: integer!(broker.connections_max, 1, 16_000_000),
    },
    Key {
        section: "shards",
        name: "fanout_per_turn",
        unit: "deliveries",
        help: "Deliveries a shard makes before it looks at its input again. More favours throughput of wide fan-outs, \
               fewer favour the latency of everybody else.",
        field: integer!(broker.fanout_per_turn, 64, 16_777_216),
    },
    Key {
        section: "shards",
        name: "mesh_bytes_max",
        unit: "bytes",
        help: "What may be staged for another shard. At the limit publishers' packets wait in front of their \
               connections.",
        field: integer!(broker.mesh_bytes_max, 4_096, 1 << 30),
    },
    Key {
        section: "shards",
        name: "remembered_topics",
        unit: "topics",
        help: "Topics whose route a shard remembers though nobody subscribes to them literally; four times as many \
               are remembered that somebody does. At the limit the route of a topic is looked up again.",
        field: integer!(broker.remembered_topics, 0, 16_777_216),
    },
    Key {
        section: "mqtt",
        name: "packet_bytes_max",
        unit: "bytes",
        help: "The largest packet taken. A larger one ends its connection (v5: 0x95). Announced as Maximum Packet \
               Size.",
        field: integer!(broker.packet_bytes_max, 128, PACKET),
    },
    Key {
        section: "mqtt",
        name: "receive_maximum",
        unit: "messages",
        help: "Publishes of QoS 1 and 2 a client may have under way. Beyond it a v5 client is disconnected (0x93), \
               an older one waits. Announced as Receive Maximum.",
        field: integer!(broker.receive_maximum, 1, U16),
    },
    Key {
        section: "mqtt",
        name: "inflight_max",
        unit: "messages",
        help: "Deliveries of QoS 1 and 2 under way to a client; what is more waits in its queue. A v5 client may ask \
               for fewer.",
        field: integer!(broker.inflight_max, 1, U16),
    },
    Key {
        section: "mqtt",
        name: "topic_alias_maximum",
        unit: "aliases",
        help: "Topic aliases a client may set. Announced as Topic Alias Maximum; 0 for none.",
        field: integer!(broker.topic_alias_maximum, 0, U16),
    },
    Key {
        section: "mqtt",
        name: "topic_alias_out_maximum",
        unit: "aliases",
        help: "Topic aliases the broker sets towards a client that allows them.",
        field: integer!(broker.topic_alias_out_maximum, 0, U16),
    },
    Key {
        section: "mqtt",
        name: "qos_max",
        unit: "QoS",
        help: "The highest QoS. Subscriptions are granted at most this; a publish above it is a protocol error of its \
               client (v5: 0x9B). Announced as Maximum QoS.",
        field: Field {
            kind: Kind::Integer { min: 0, max: 2 },
            get: |config| Value::Integer(config.broker.qos_max as u64),
            set: |config, value| {
                config.broker.qos_max = match value {
                    Value::Integer(0) => QoS::AtMostOnce,
                    Value::Integer(1) => QoS::AtLeastOnce,
                    _ => QoS::ExactlyOnce,
                }
            },
        },
    },
    Key {
        section: "mqtt",
        name: "wildcard_available",
        unit: "",
        help: "Whether subscriptions may have `+` and `#` (v5 otherwise: 0xA2).",
        field: boolean!(broker.wildcard_available),
    },
    Key {
        section: "mqtt",
        name: "keep_alive_max_seconds",
        unit: "seconds",
        help: "The longest keep-alive; 0 for no limit. A v5 client that wants more, or none, is told by Server Keep \
               Alive; an older one is held to its own.",
        field: integer!(broker.keep_alive_max, 0, U16),
    },
    Key {
        section: "mqtt",
        name: "connect_timeout_ms",
        unit: "milliseconds",
        help: "How long a connection may take to send its CONNECT. Then it is closed and counted as \
               `connect_timeout`.",
        field: integer!(broker.connect_timeout_ms, 10, 3_600_000),
    },
    Key {
        section: "mqtt",
        name: "client_id_bytes_max",
        unit: "bytes",
        help: "The longest client id. A longer one, or one with control characters, is refused (v5: 0x85).",
        field: integer!(broker.client_id_bytes_max, 23, U16),
    },
    Key {
        section: "mqtt",
        name: "topic_bytes_max",
        unit: "bytes",
        help: "The longest topic name or filter. A longer one is refused (v5: 0x90 or 0x8F).",
        field: integer!(broker.topic_bytes_max, 1, U16),
    },
    Key {
        section: "mqtt",
        name: "topic_levels_max",
        unit: "levels",
        help: "Most levels of a topic name or filter. One with more is refused (v5: 0x90 or 0x8F).",
        field: integer!(broker.topic_levels_max, 1, U16),
    },
    Key {
        section: "mqtt",
        name: "dollar_topics_allowed",
        unit: "",
        help: "Whether clients may publish to topics that begin with `$`. Never to `$SYS`.",
        field: boolean!(broker.dollar_topics_allowed),
    },
    Key {
        section: "mqtt",
        name: "payload_format_checked",
        unit: "",
        help: "Whether a payload said to be UTF-8 (Payload Format Indicator 1) is checked. What is not is refused \
               (0x99).",
        field: boolean!(broker.payload_format_checked),
    },
    Key {
        section: "mqtt",
        name: "message_expiry_default_seconds",
        unit: "seconds",
        help: "Expiry of messages that come without one; 0 for none.",
        field: optional_integer!(broker.message_expiry_default, U32),
    },
    Key {
        section: "mqtt",
        name: "response_information",
        unit: "",
        help: "What v5 clients that ask get as Response Information.",
        field: optional_text!(broker.response_information, 1024),
    },
    Key {
        section: "mqtt",
        name: "server_reference",
        unit: "",
        help: "Where v5 clients are sent when the broker shuts down or is full (Server Reference).",
        field: optional_text!(broker.server_reference, 1024),
    },
    Key {
        section: "storage",
        name: "policy",
        unit: "",
        help: "What an acknowledgement of QoS 1 or 2 promises to persistent sessions: that the message survives the \
               end of the process and loss of power; the end of the process (loss of power may undo the last \
               transactions, and corrupts nothing); nothing. With \"memory\" there is no store: sessions, queues and \
               retained messages are gone with the process.",
        field: choice!(storage.policy,
            "commit" => StoragePolicy::Commit,
            "relaxed" => StoragePolicy::Relaxed,
            "memory" => StoragePolicy::Memory),
    },
    Key {
        section: "storage",
        name: "path",
        unit: "",
        help: "The directory of the store, made if it is not there. If relative, from the working directory. One \
               broker at a time has it. `--data` replaces it.",
        field: text!(storage.path, 4_096),
    },
    Key {
        section: "storage",
        name: "bytes_max",
        unit: "bytes",
        help: "The largest the store may get. Beyond it the store is full: publishes that must be stored are refused \
               (v5: 0x97) or wait until there is room.",
        field: integer!(storage.bytes_max, 1 << 20, 1 << 46),
    },
    Key {
        section: "storage",
        name: "map_bytes",
        unit: "bytes",
        help: "Address space mapped at the start, doubled when it is used up. It costs neither memory nor disk; fewer \
               only where the address space is limited (`ulimit -v`).",
        field: integer!(storage.map_bytes, 1 << 20, 1 << 46),
    },
    Key {
        section: "storage",
        name: "unwritten_bytes_max",
        unit: "bytes",
        help: "What one shard may have under way to the store. Beyond it publishers wait.",
        field: integer!(storage.memory.bytes_max, 65_536, 1 << 30),
    },
    Key {
        section: "storage",
        name: "window_messages",
        unit: "messages",
        help: "Messages of a stored queue held in memory ahead of a connected client; the others are read back from \
               the store as it takes them.",
        field: integer!(storage.memory.window_messages, 1, U16),
    },
    Key {
        section: "storage",
        name: "window_bytes",
        unit: "bytes",
        help: "Bytes of them.",
        field: integer!(storage.memory.window_bytes, 1_024, 1 << 30),
    },
    Key {
        section: "storage",
        name: "page_messages",
        unit: "messages",
        help: "Most messages read back at once.",
        field: integer!(storage.memory.page_messages, 1, U16),
    },
    Key {
        section: "storage",
        name: "page_bytes",
        unit: "bytes",
        help: "Bytes beyond which no more are read back at once.",
        field: integer!(storage.memory.page_bytes, 1_024, 1 << 30),
    },
    Key {
        section: "session",
        name: "expiry_max_seconds",
        unit: "seconds",
        help: "The longest a session is kept after its connection ended. A v5 client that asks for more is told.",
        field: seconds_or_never!(broker.session_expiry_max),
    },
    Key {
        section: "session",
        name: "expiry_v3_seconds",
        unit: "seconds",
        help: "How long sessions of 3.1 and 3.1.1 clients without clean session are kept after their connection ended.",
        field: seconds_or_never!(broker.session_expiry_v3),
    },
    Key {
        section: "session",
        name: "subscriptions_max",
        unit: "subscriptions",
        help: "Subscriptions of one session. One more is refused (v5: 0x97).",
        field: integer!(broker.subscriptions_max, 1, U16),
    },
    Key {
        section: "queue",
        name: "outbound_bytes_max",
        unit: "bytes",
        help: "What may be queued to a connection that does not read. Beyond it QoS 0 is dropped (`outbound_full`) and \
               QoS 1 and 2 wait in the session's queue.",
        field: integer!(broker.outbound_bytes_max, 4_096, 1 << 30),
    },
    Key {
        section: "queue",
        name: "messages_max",
        unit: "messages",
        help: "Messages queued in one session. At the limit `policy` decides.",
        field: integer!(broker.queue_messages_max, 0, U32),
    },
    Key {
        section: "queue",
        name: "bytes_max",
        unit: "bytes",
        help: "Bytes queued in one session. At the limit `policy` decides.",
        field: integer!(broker.queue_bytes_max, 0, U32),
    },
    Key {
        section: "queue",
        name: "policy",
        unit: "",
        help: "What happens at a session's limit: the oldest message makes room, the new one is dropped, or the client \
               is disconnected (v5: 0x97).",
        field: choice!(broker.queue_policy,
            "drop-oldest" => QueuePolicy::DropOldest,
            "drop-newest" => QueuePolicy::DropNewest,
            "disconnect" => QueuePolicy::Disconnect),
    },
    Key {
        section: "retained",
        name: "available",
        unit: "",
        help: "Whether messages may be retained (v5 otherwise: 0x9A).",
        field: boolean!(broker.retain_available),
    },
    Key {
        section: "retained",
        name: "messages_max",
        unit: "messages",
        help: "Messages retained on one shard. One more is delivered but not retained (`retained_full`).",
        field: integer!(broker.retained_messages_max, 0, U32),
    },
    Key {
        section: "retained",
        name: "bytes_max",
        unit: "bytes",
        help: "Bytes retained on one shard. At the limit as above.",
        field: integer!(broker.retained_bytes_max, 0, 1 << 50),
    },
    Key {
        section: "shared",
        name: "available",
        unit: "",
        help: "Whether there are shared subscriptions (v5 otherwise: 0x9E). 3.1 and 3.1.1 clients may use them too.",
        field: boolean!(broker.shared_available),
    },
    Key {
        section: "shared",
        name: "strategy",
        unit: "",
        help: "The member that gets a message: in turn; one until it leaves; by the publisher's client id (keeps its \
               messages in order); by topic; the one with the fewest under way; one on the publisher's shard if there \
               is one.",
        field: choice!(broker.shared_strategy,
            "round-robin" => SharedStrategy::RoundRobin,
            "sticky" => SharedStrategy::Sticky,
            "hash-client-id" => SharedStrategy::HashClientId,
            "hash-topic" => SharedStrategy::HashTopic,
            "least-inflight" => SharedStrategy::LeastInflight,
            "local-first" => SharedStrategy::LocalFirst),
    },
    Key {
        section: "access",
        name: "default_allow",
        unit: "",
        help: "What happens when no rule matches.",
        field: boolean!(broker.access.default_allow),
    },
    Key {
        section: "access",
        name: "rules",
        unit: "",
        help: "Rules in order, the first that matches decides. A refused publish is answered with 0x87 (v5) or thrown \
               away (older versions), a refused subscription with 0x87 (v5) or 0x80.",
        field: Field {
            kind: Kind::Rules,
            get: |config| Value::Rules(config.broker.access.rules.clone()),
            set: |config, value| {
                if let Value::Rules(list) = value {
                    config.broker.access.rules = list;
                }
            },
        },
    },
    Key {
        section: "sys",
        name: "interval_seconds",
        unit: "seconds",
        help: "Time between two publications; 0 for none.",
        field: integer!(sys.interval_seconds, 0, 86_400),
    },
    Key {
        section: "shutdown",
        name: "timeout_ms",
        unit: "milliseconds",
        help: "Longest time from SIGTERM or SIGINT to the end of the process. Clients that have not taken their \
               DISCONNECT by then are cut off.",
        field: integer!(shutdown.timeout_ms, 0, 600_000),
    },
    Key {
        section: "log",
        name: "level",
        unit: "",
        help: "The least severe level that is written. SIGHUP reads it again from the file.",
        field: choice!(log.level,
            "error" => Level::Error,
            "warn" => Level::Warn,
            "info" => Level::Info,
            "debug" => Level::Debug,
            "trace" => Level::Trace),
    },
    Key {
        section: "log",
        name: "format",
        unit: "",
        help: "Lines for people, or one JSON object a line.",
        field: choice!(log.format, "text" => Format::Text, "json" => Format::Json),
    },
    Key {
        section: "log",
        name: "lines_per_place_max",
        unit: "lines",
        help: "Lines one place in the code may write in ten seconds; what is more is counted and said. 0 for no limit.",
        field: integer!(log.lines_per_place_max, 0, 1_000_000),
    },
];
