//! What the control plane asks of a shard, and what it is shown. One channel a shard, looked at once a turn;
//! answers go back by the sender that came with the question.

use std::sync::Arc;

use crossbeam_channel::Sender;
use pelton_base::{InterfaceFigures, Key, TooBig};
use pelton_broker::access::Decision;
use pelton_broker::counters::Tally;
use pelton_broker::effects::Ask;
use pelton_mqtt::QoS;

/// An order or a question.
#[derive(Debug)]
pub enum Command {
    /// Send a [`Snapshot`].
    Snapshot(Sender<Snapshot>),
    /// Publish a message of the broker's own; if the mesh is full it is tried again in the next turns.
    Publish {
        /// The topic name, valid.
        topic: String,
        /// The payload.
        payload: Vec<u8>,
        /// The QoS.
        qos: QoS,
        /// Retain it.
        retain: bool,
    },
    /// End the connection of a client, if it is on this shard.
    Kick(String),
    /// The answer to a question on access that came by [`Shard::asks`](crate::Shard::asks).
    Answer {
        /// The connection.
        link: Key,
        /// The ticket of the question.
        ticket: u64,
        /// The answer.
        decision: Decision,
    },
    /// Segments that left by an interface were too big for a router; whichever shard has the connections.
    TooBig {
        /// The interface.
        interface: Arc<str>,
        /// The segments.
        segments: Arc<[TooBig]>,
    },
    /// Stop accepting, tell every client, and end their connections.
    ShutDown,
}

/// What one shard is and has done.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its number.
    pub shard: u16,
    /// What it counted since the start.
    pub tally: Tally,
    /// Open connections.
    pub connections: usize,
    /// Sessions whose client is connected.
    pub sessions_online: usize,
    /// Sessions in all.
    pub sessions: usize,
    /// Subscriptions, shared ones included.
    pub subscriptions: usize,
    /// Of those: shared ones.
    pub shared_subscriptions: usize,
    /// Retained messages at home here.
    pub retained_messages: usize,
    /// Their bytes.
    pub retained_bytes: u64,
    /// Messages stored for delivery.
    pub stored_messages: usize,
    /// Their bytes.
    pub stored_bytes: usize,
    /// Filters and routes.
    pub filters: usize,
    /// Turns taken.
    pub turns: u64,
    /// What the transport counted, by name.
    pub transport: Vec<(&'static str, u64)>,
    /// The same of each interface served past the kernel.
    pub interfaces: Vec<InterfaceFigures>,
}

/// Questions of a shard to whoever decides on access.
pub type Asks = Vec<(u16, Ask)>;
