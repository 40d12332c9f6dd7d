//! One connection as the broker sees it: what lives and dies with the network connection.

use std::collections::VecDeque;

use pelton_base::{Key, Outgoing, StreamEnd};
use pelton_mqtt::{PacketId, ReasonCode, Version};

use crate::access::Question;
use crate::alias::{AliasesIn, AliasesOut};
use crate::connect::ConnectRequest;
use crate::message::Publisher;
use crate::router::TopicId;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// CONNECT is awaited.
    New,
    /// CONNECT has come; its client id is being claimed.
    Claiming,
    /// CONNACK with success is sent.
    Live,
    /// Ended from this side; what is queued still goes out.
    Ending,
}

/// Why the input of a connection waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Its client id is being claimed.
    Claim,
    /// A decision on access is awaited.
    Access,
    /// SUBACK is awaited: routes or retained messages are on their way.
    Subscribe,
    /// Storage takes nothing: it is tried again in a while.
    Storage,
    /// Publishes wait: a fan-out is being expanded, or the mesh or the storage is full.
    Congestion,
}

/// An acknowledgement that leaves when all before it have [MQTT-4.6.0-2] [MQTT-4.6.0-3].
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingAck {
    pub(crate) packet_id: PacketId,
    /// PUBREC instead of PUBACK.
    pub(crate) exactly_once: bool,
    /// Known once the publish is settled.
    pub(crate) reason: Option<ReasonCode>,
    /// The settlement awaited.
    pub(crate) settle: Key,
}

/// What only some connections need.
#[derive(Debug, Default)]
pub(crate) struct LinkExtra {
    pub(crate) aliases_in: AliasesIn,
    pub(crate) aliases_out: Option<AliasesOut>,
    pub(crate) acks: VecDeque<PendingAck>,
    pub(crate) connect: Option<Box<ConnectRequest>>,
    pub(crate) question: Option<Question>,
    pub(crate) user_name: Option<Box<str>>,
}

/// A connection, in a cache line of its own: what its packets touch and nothing else has.
#[derive(Debug)]
#[repr(align(64))]
pub struct Link {
    /// The session it serves, [`Key::NONE`] before and after.
    pub(crate) session: Key,
    /// Who its client's publishes are by: the serial number of its session.
    pub(crate) publisher: Publisher,
    /// Odd while the place in the table is taken; a stale key has an older one.
    pub(crate) generation: u32,
    state: State,
    pub(crate) version: Version,
    hold: Option<Hold>,
    /// Something waits for room in what is queued to it; the shard says when there is some.
    pub(crate) starved: bool,
    /// It published to other shards: its client id is given back only when they have it all.
    pub(crate) published_far: bool,
    /// The shard that the client id was claimed from, [`NO_SHARD`] for this one.
    pub(crate) claimed_from: u16,
    /// One and a half keep-alive intervals, 0 for none.
    pub(crate) silence_ms_max: u32,
    /// When the last packet came: the monotonic clock, cut to 32 bits. A PINGREQ is noted with the queue instead.
    last_packet_ms: u32,
    /// Largest packet the client takes.
    pub(crate) packet_bytes_max: u32,
    /// Deliveries of QoS 1 and 2 under way at once.
    pub(crate) send_window: u16,
    /// QoS 1 publishes taken and not yet acknowledged.
    pub(crate) unacknowledged: u16,
    /// Hash of its client id under the process's key.
    pub(crate) client_hash: u64,
    /// The topic it published to last, which may have been forgotten or made another since.
    pub(crate) last_topic: TopicId,
    pub(crate) extra: Option<Box<LinkExtra>>,
}

const _: () = assert!(size_of::<Link>() == 64, "a connection is a cache line");

/// No other shard.
pub(crate) const NO_SHARD: u16 = u16::MAX;

impl LinkExtra {
    /// Whether nothing in it is needed.
    pub(crate) fn is_empty(&self) -> bool {
        self.aliases_in.is_empty()
            && self.aliases_out.is_none()
            && self.acks.is_empty()
            && self.connect.is_none()
            && self.question.is_none()
            && self.user_name.is_none()
    }
}

impl Default for Link {
    fn default() -> Self {
        Self {
            session: Key::NONE,
            publisher: Publisher::NOBODY,
            generation: 0,
            state: State::New,
            version: Version::V311,
            hold: None,
            starved: false,
            published_far: false,
            claimed_from: NO_SHARD,
            silence_ms_max: 0,
            last_packet_ms: 0,
            packet_bytes_max: u32::MAX,
            send_window: u16::MAX,
            unacknowledged: 0,
            client_hash: 0,
            last_topic: TopicId::NONE,
            extra: None,
        }
    }
}

impl Link {
    /// Where it stands.
    #[inline]
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Why its input waits, if it does.
    #[inline]
    pub(crate) fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// From here on the connection, `key`, stands there, and its input waits for nothing.
    pub(crate) fn enter(&mut self, state: State, key: Key, out: &mut Outgoing) {
        self.put(state, None, key, out);
    }

    /// The input of the connection, `key`, waits for that, or goes on.
    pub(crate) fn set_hold(&mut self, hold: Option<Hold>, key: Key, out: &mut Outgoing) {
        self.put(self.state, hold, key, out);
    }

    /// The only place where either is changed: what lies with the queue is to know whether packets are taken as they come.
    fn put(&mut self, state: State, hold: Option<Hold>, key: Key, out: &mut Outgoing) {
        debug_assert_eq!(self.generation, key.generation);
        self.state = state;
        self.hold = hold;
        out.set_flows(key, self.flows());
    }

    /// Whether packets are taken as they come.
    #[inline]
    pub(crate) fn flows(&self) -> bool {
        self.is_live() && self.hold.is_none()
    }

    /// A packet has come, or would have, had it been let.
    #[inline]
    pub(crate) fn set_heard(&mut self, now_ms: u32) {
        self.last_packet_ms = now_ms;
    }

    /// For how long no packet has come. What was noted with the queue, at `index`, is from here on noted here as well, and
    /// the other way round: a clock of 32 bits would else take what is older than 49 days for news.
    pub(crate) fn silent_ms(&mut self, index: u32, now_ms: u32, out: &mut Outgoing) -> u32 {
        let since = |heard_ms| now_ms.wrapping_sub(heard_ms);
        let silent_ms = since(self.last_packet_ms).min(since(out.heard_ms(index)));
        self.set_heard(now_ms.wrapping_sub(silent_ms));
        out.set_heard(index, self.last_packet_ms);
        silent_ms
    }

    #[inline]
    pub(crate) fn is_v5(&self) -> bool {
        self.version == Version::V5
    }

    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.state == State::Live
    }

    pub(crate) fn extra(&mut self) -> &mut LinkExtra {
        self.extra.get_or_insert_default()
    }

    /// Something waits until what is queued to this connection, `key`, has gone. It is noted once.
    #[cold]
    pub(crate) fn starve(&mut self, key: Key, starved: &mut Vec<Key>) {
        if !std::mem::replace(&mut self.starved, true) {
            starved.push(key);
        }
    }

    /// Gives back what an idle connection does not need.
    pub(crate) fn shrink(&mut self) {
        let Some(extra) = &mut self.extra else { return };
        if extra.is_empty() {
            self.extra = None;
        } else if extra.acks.is_empty() {
            extra.acks = VecDeque::new();
        }
    }
}

/// Why a connection is gone from the broker's view, when the other side or the network ended it.
pub(crate) fn ended_by(end: StreamEnd) -> crate::counters::Ended {
    use crate::counters::Ended;
    match end {
        StreamEnd::PeerClosed => Ended::PeerClosed,
        StreamEnd::PeerReset => Ended::PeerReset,
        StreamEnd::TimedOut | StreamEnd::Unreachable | StreamEnd::SystemError | StreamEnd::Local => {
            Ended::NetworkLost
        }
    }
}
