//! The figures under mosquitto's names.

use pelton_base::InterfaceFigures;
use pelton_broker::counters::{Tally, Traffic};
use pelton_ebpf_loader::Counts;
use pelton_shard::Snapshot;

use crate::version::{SOCKETS, VERSION};

/// All shards together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) tally: Tally,
    pub(crate) shards: usize,
    pub(crate) connections: usize,
    pub(crate) sessions_online: usize,
    pub(crate) sessions: usize,
    pub(crate) subscriptions: usize,
    pub(crate) shared_subscriptions: usize,
    pub(crate) retained_messages: usize,
    pub(crate) retained_bytes: u64,
    pub(crate) stored_messages: usize,
    pub(crate) stored_bytes: usize,
    pub(crate) filters: usize,
    pub(crate) turns: u64,
    /// What the transports counted, by name.
    pub(crate) transport: Vec<(&'static str, u64)>,
    /// What was counted at each interface served past the kernel.
    pub(crate) interfaces: Vec<InterfaceFigures>,
    /// What the XDP program of each counted.
    pub(crate) programs: Vec<(String, Counts)>,
}

impl Totals {
    /// Adds shards up.
    pub(crate) fn of(snapshots: &[Snapshot]) -> Self {
        let mut totals = Self { shards: snapshots.len(), ..Self::default() };
        for shard in snapshots {
            totals.tally.merge(&shard.tally);
            totals.connections += shard.connections;
            totals.sessions_online += shard.sessions_online;
            totals.sessions += shard.sessions;
            totals.subscriptions += shard.subscriptions;
            totals.shared_subscriptions += shard.shared_subscriptions;
            totals.retained_messages += shard.retained_messages;
            totals.retained_bytes += shard.retained_bytes;
            totals.stored_messages += shard.stored_messages;
            totals.stored_bytes += shard.stored_bytes;
            totals.filters += shard.filters;
            totals.turns += shard.turns;
            add(&mut totals.transport, &shard.transport);
            for interface in &shard.interfaces {
                match totals.interfaces.iter_mut().find(|known| known.name == interface.name) {
                    Some(sum) => {
                        sum.connections += interface.connections;
                        add(&mut sum.figures, &interface.figures);
                        add(&mut sum.dropped, &interface.dropped);
                    }
                    None => totals.interfaces.push(interface.clone()),
                }
            }
        }
        totals
    }

    /// A count of the transports; 0 if they have none of that name.
    pub(crate) fn transport(&self, name: &str) -> u64 {
        self.transport.iter().find(|(known, _)| *known == name).map_or(0, |&(_, count)| count)
    }

    /// A count of the interfaces served past the kernel, all together.
    pub(crate) fn interface(&self, name: &str) -> u64 {
        let counts = self.interfaces.iter().flat_map(|interface| &interface.figures);
        counts.filter(|(known, _)| *known == name).map(|(_, count)| count).sum()
    }

    /// Bytes read from clients, and written to them.
    pub(crate) fn bytes_in(&self) -> u64 {
        self.transport("bytes_read") + self.interface("bytes_in")
    }

    pub(crate) fn bytes_out(&self) -> u64 {
        self.transport("bytes_written") + self.interface("bytes_out")
    }

    /// How packets reach the broker.
    fn datapath(&self) -> String {
        let mut ways = vec![SOCKETS.to_owned()];
        ways.extend(
            self.interfaces.iter().map(|interface| format!("{} ({})", interface.rung, interface.name)),
        );
        ways.join(", ")
    }

    pub(crate) fn traffic(&self, what: Traffic) -> u64 {
        self.tally.traffic.get(what)
    }

    /// MQTT packets sent.
    pub(crate) fn packets_out(&self) -> u64 {
        self.traffic(Traffic::PublishOut) + self.traffic(Traffic::ControlOut)
    }
}

/// Adds counts up, by name.
fn add(sums: &mut Vec<(&'static str, u64)>, counts: &[(&'static str, u64)]) {
    for &(name, count) in counts {
        match sums.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += count,
            None => sums.push((name, count)),
        }
    }
}

/// Everything a figure may be made from.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) uptime_seconds: u64,
    pub(crate) connected_max: usize,
    pub(crate) resident_bytes: u64,
    pub(crate) storage: StorageFigures,
    pub(crate) totals: Totals,
}

impl Figures {
    fn messages_held(&self) -> u64 {
        (self.totals.stored_messages + self.totals.retained_messages) as u64 + self.storage.waiting_messages
    }
}

/// How the store is.
#[derive(Clone, Debug)]
pub(crate) struct StorageFigures {
    pub(crate) state: &'static str,
    pub(crate) policy: &'static str,
    pub(crate) used_bytes: u64,
    pub(crate) segments: u64,
    pub(crate) waiting_messages: u64,
    pub(crate) waiting_bytes: u64,
    pub(crate) last_commit_us: u64,
    /// What the store counted, by name.
    pub(crate) counters: Vec<(&'static str, u64)>,
}

impl StorageFigures {
    /// There is no store.
    pub(crate) const NONE: Self = Self {
        state: "off",
        policy: "memory",
        used_bytes: 0,
        segments: 0,
        waiting_messages: 0,
        waiting_bytes: 0,
        last_commit_us: 0,
        counters: Vec::new(),
    };
}

/// One figure: where it is published, what it says, how it is made.
pub(crate) struct Figure {
    pub(crate) topic: &'static str,
    pub(crate) help: &'static str,
    pub(crate) value: fn(&Figures) -> String,
}

macro_rules! figures {
    ($($topic:literal, $help:literal, |$figures:ident| $value:expr;)+) => {
        &[$(Figure { topic: $topic, help: $help, value: |$figures| $value.to_string() },)+]
    };
}

/// The figures, in the order of the page.
pub(crate) const FIGURES: &[Figure] = figures![
    "$SYS/broker/version", "Name and version.", |_f| format!("pelton version {VERSION}");
    "$SYS/broker/uptime", "Seconds since the start, as `123 seconds`.", |f| format!("{} seconds", f.uptime_seconds);
    "$SYS/broker/clients/total", "Sessions, those whose client is away included.", |f| f.totals.sessions;
    "$SYS/broker/clients/connected", "Clients connected.", |f| f.totals.sessions_online;
    "$SYS/broker/clients/active", "The same; kept for old tools.", |f| f.totals.sessions_online;
    "$SYS/broker/clients/disconnected", "Sessions whose client is away.",
        |f| f.totals.sessions - f.totals.sessions_online;
    "$SYS/broker/clients/inactive", "The same; kept for old tools.",
        |f| f.totals.sessions - f.totals.sessions_online;
    "$SYS/broker/clients/maximum", "Most clients connected at once, of the times this was published.",
        |f| f.connected_max;
    "$SYS/broker/clients/expired", "Sessions that ended because their client did not come back in time.",
        |f| f.totals.traffic(Traffic::SessionsExpired);
    "$SYS/broker/connections/socket/count", "Connections accepted.", |f| f.totals.tally.accepted;
    "$SYS/broker/messages/received", "MQTT packets of any kind received.",
        |f| f.totals.traffic(Traffic::PacketsIn);
    "$SYS/broker/messages/sent", "MQTT packets of any kind sent.", |f| f.totals.packets_out();
    "$SYS/broker/bytes/received", "Bytes read from clients.", |f| f.totals.bytes_in();
    "$SYS/broker/bytes/sent", "Bytes written to clients.", |f| f.totals.bytes_out();
    "$SYS/broker/publish/messages/received", "PUBLISH packets received.",
        |f| f.totals.traffic(Traffic::PublishIn);
    "$SYS/broker/publish/messages/sent", "PUBLISH packets sent.", |f| f.totals.traffic(Traffic::PublishOut);
    "$SYS/broker/publish/messages/dropped", "Messages not delivered, for any reason; see the reasons below.",
        |f| f.totals.tally.dropped.total();
    "$SYS/broker/publish/bytes/received", "Payload bytes of PUBLISH packets received.",
        |f| f.totals.traffic(Traffic::PublishBytesIn);
    "$SYS/broker/publish/bytes/sent", "Payload bytes of PUBLISH packets sent.",
        |f| f.totals.traffic(Traffic::PublishBytesOut);
    "$SYS/broker/subscriptions/count", "Subscriptions, shared ones included.", |f| f.totals.subscriptions;
    "$SYS/broker/shared_subscriptions/count", "Shared subscriptions.", |f| f.totals.shared_subscriptions;
    "$SYS/broker/retained messages/count", "Retained messages, these figures included.",
        |f| f.totals.retained_messages;
    "$SYS/broker/store/messages/count",
        "Messages that wait for clients, in memory and in the store, and retained ones. What a client with a persistent \
         session has under way is in both, and counts twice.", |f| f.messages_held();
    "$SYS/broker/messages/stored", "The same; kept for old tools.", |f| f.messages_held();
    "$SYS/broker/store/messages/bytes", "Their bytes.",
        |f| f.totals.stored_bytes as u64 + f.storage.waiting_bytes + f.totals.retained_bytes;
    "$SYS/broker/pelton/datapath", "How packets reach the broker.", |f| f.totals.datapath();
    "$SYS/broker/pelton/shards", "Cores that work.", |f| f.totals.shards;
    "$SYS/broker/pelton/connections", "Connections open, those without a CONNECT included.",
        |f| f.totals.connections;
    "$SYS/broker/pelton/connected", "CONNECTs answered with success.", |f| f.totals.tally.connected;
    "$SYS/broker/pelton/filters", "Different topic filters, and topics whose route is remembered, of all shards.",
        |f| f.totals.filters;
    "$SYS/broker/pelton/queued/messages",
        "Messages held in memory for sessions. What waits in the store: `storage/waiting_messages`.",
        |f| f.totals.stored_messages;
    "$SYS/broker/pelton/queued/bytes", "Their bytes.", |f| f.totals.stored_bytes;
    "$SYS/broker/pelton/retained/messages", "Retained messages.", |f| f.totals.retained_messages;
    "$SYS/broker/pelton/retained/bytes", "Their bytes.", |f| f.totals.retained_bytes;
    "$SYS/broker/pelton/storage/state",
        "How the store is: `well`; `full` (disk, or `[storage] bytes_max`); `failing` (it cannot write); `off`.",
        |f| f.storage.state;
    "$SYS/broker/pelton/storage/policy", "`[storage] policy`.", |f| f.storage.policy;
    "$SYS/broker/pelton/storage/used_bytes", "Bytes of the store's file up to the last one ever used.",
        |f| f.storage.used_bytes;
    "$SYS/broker/pelton/storage/segments", "Segments with messages somebody waits for.", |f| f.storage.segments;
    "$SYS/broker/pelton/storage/waiting_messages",
        "Messages that wait in the store, each for every session it waits for.", |f| f.storage.waiting_messages;
    "$SYS/broker/pelton/storage/waiting_bytes", "Bytes of their topics, forwarded properties and payloads.",
        |f| f.storage.waiting_bytes;
    "$SYS/broker/pelton/storage/last_commit_us", "How long the last commit took, in microseconds.",
        |f| f.storage.last_commit_us;
    "$SYS/broker/pelton/turns", "Turns of all shards: how often they looked for work.", |f| f.totals.turns;
    "$SYS/broker/pelton/memory/resident_bytes", "Memory of the process that is in use, by the system's account.",
        |f| f.resident_bytes;
];

/// The resident memory of the process; 0 where the system does not say.
pub(crate) fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}
