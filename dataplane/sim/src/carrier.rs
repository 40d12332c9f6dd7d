//! What carries connections between clients and shards in a run: the [`network`](crate::network) of bytes, or our
//! TCP over bad links ([`crate::tcp`]). Clients and world see no difference.

use pelton_base::Mono;

use crate::network::{ConnId, Network, ToClient, Way, Weather};
use crate::stage::Event;
use crate::tcp::{TcpNetwork, TcpTally};
use crate::transport::Transport;

/// The network of a run.
#[derive(Debug)]
pub enum Carrier {
    /// Pipes of bytes.
    Memory(std::rc::Rc<std::cell::RefCell<Network>>),
    /// Our TCP, frame by frame.
    Tcp(Box<TcpNetwork>),
}

impl Carrier {
    /// A shard's transport, to be made once for each.
    pub fn transport(&mut self, shard: u16) -> Transport {
        match self {
            Self::Memory(network) => Transport::memory(network.clone(), shard),
            Self::Tcp(network) => network.transport(shard),
        }
    }

    // ---- clients -----------------------------------------------------------------------------------------

    /// A client connects to a shard's listener.
    pub fn client_connect(&mut self, shard: u16) -> ConnId {
        match self {
            Self::Memory(network) => network.borrow_mut().client_connect(shard),
            Self::Tcp(network) => network.client_connect(shard),
        }
    }

    /// Whether the client's side of a connection is open.
    pub fn is_open(&self, id: ConnId) -> bool {
        match self {
            Self::Memory(network) => network.borrow().is_open(id),
            Self::Tcp(network) => network.is_open(id),
        }
    }

    /// A client sends.
    pub fn client_send(&mut self, id: ConnId, bytes: &[u8]) {
        match self {
            Self::Memory(network) => network.borrow_mut().client_send(id, bytes),
            Self::Tcp(network) => network.client_send(id, bytes),
        }
    }

    /// A client closes: everything it sent arrives before its FIN; it reads no more.
    pub fn client_close(&mut self, id: ConnId) {
        match self {
            Self::Memory(network) => network.borrow_mut().client_close(id),
            Self::Tcp(network) => network.client_close(id),
        }
    }

    /// A client resets: of what has not arrived, an end is lost.
    pub fn client_reset(&mut self, id: ConnId) {
        match self {
            Self::Memory(network) => network.borrow_mut().client_reset(id),
            Self::Tcp(network) => network.client_reset(id),
        }
    }

    /// The network loses a connection. The client is told nothing, the shard's side after `found_ms` or some time
    /// later.
    pub fn cut(&mut self, id: ConnId, found_ms: u64) {
        match self {
            Self::Memory(network) => network.borrow_mut().cut(id, found_ms),
            Self::Tcp(network) => network.cut(id, found_ms),
        }
    }

    /// A client stops or goes on reading.
    pub fn client_reads(&mut self, id: ConnId, reads: bool) {
        match self {
            Self::Memory(network) => network.borrow_mut().client_reads(id, reads),
            Self::Tcp(network) => network.client_reads(id, reads),
        }
    }

    /// How much a connection takes from its shard while its client does not read.
    pub fn window_bytes(&self, id: ConnId) -> usize {
        match self {
            Self::Memory(_) => usize::MAX,
            Self::Tcp(network) => network.window_bytes(id),
        }
    }

    /// What has come for clients since the last call.
    pub fn next_for_client(&mut self) -> Option<(ConnId, ToClient)> {
        match self {
            Self::Memory(network) => network.borrow_mut().next_for_client(),
            Self::Tcp(network) => network.next_for_client(),
        }
    }

    // ---- the world ---------------------------------------------------------------------------------------

    /// Sets the time.
    pub fn set_now(&mut self, now: Mono) {
        match self {
            Self::Memory(network) => network.borrow_mut().set_now(now),
            Self::Tcp(network) => network.set_now(now),
        }
    }

    /// What was to arrive by now on a connection arrives.
    pub fn arrive(&mut self, id: ConnId, way: Way) {
        if let Self::Memory(network) = self {
            network.borrow_mut().arrive(id, way);
        }
    }

    /// Moves what can be moved, and says what is to come when, and which shards have got something.
    pub fn settle(&mut self, events: &mut Vec<(Mono, Event)>, woken: &mut Vec<u16>) {
        match self {
            Self::Memory(network) => {
                let network = &mut *network.borrow_mut();
                let due = network.due.drain(..).map(|(at, conn, way)| (at, Event::Arrive(conn, way)));
                events.extend(due);
                woken.extend(std::mem::take(&mut network.woken));
            }
            Self::Tcp(network) => network.settle(events, woken),
        }
    }

    /// The process ends, or the machine: all connections of its shards go, as [`Network::lose_shards`] says. Over TCP
    /// clients are told when they speak and the next process is there.
    pub fn lose_shards(&mut self, shards: u16, silence_ms: Option<u64>) {
        match self {
            Self::Memory(network) => network.borrow_mut().lose_shards(shards, silence_ms),
            Self::Tcp(network) => network.lose_shards(),
        }
    }

    /// Another process is there.
    pub fn find_shards(&mut self, shards: u16) {
        match self {
            Self::Memory(network) => network.borrow_mut().find_shards(shards),
            Self::Tcp(network) => network.find_shards(shards),
        }
    }

    /// The trouble begins.
    pub fn trouble(&mut self) {
        if let Self::Tcp(network) = self {
            network.trouble();
        }
    }

    /// The weather is as the plan says, or kind.
    pub fn set_weather(&mut self, weather: Weather) {
        match self {
            Self::Memory(network) => network.borrow_mut().weather = weather,
            Self::Tcp(network) => network.heal(),
        }
    }

    /// The first thing found that a network may not do, besides what clients see.
    ///
    /// # Errors
    /// That thing.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Tcp(network) => network.check(),
        }
    }

    /// Connections that clients let go of before the links healed, and whether their hosts have done so, too.
    pub fn let_go_in_trouble(&self) -> Vec<(ConnId, bool)> {
        match self {
            Self::Memory(_) => Vec::new(),
            Self::Tcp(network) => {
                network.let_go_in_trouble().into_iter().map(|conn| (conn, !network.has(conn))).collect()
            }
        }
    }

    /// When a connection ended at its shard, if it has and that is known.
    pub fn ended_at_shard(&self, id: ConnId) -> Option<Mono> {
        match self {
            Self::Memory(_) => None,
            Self::Tcp(network) => network.ended_at_shard(id),
        }
    }

    /// The machine stood still for so long.
    pub fn stood_still(&mut self, ms: u64) {
        if let Self::Tcp(network) = self {
            network.stood_still(ms);
        }
    }

    /// What TCP and its links counted; `shards`: what the transports of shards did.
    pub fn tally(&self, shards: &[Vec<(&'static str, u64)>]) -> TcpTally {
        match self {
            Self::Memory(_) => TcpTally::default(),
            Self::Tcp(network) => network.tally(shards),
        }
    }

    /// How long what is left of ended connections may be remembered, in milliseconds.
    pub fn rest_ms(&self) -> u64 {
        match self {
            Self::Memory(_) => 0,
            Self::Tcp(network) => network.rest_ms(),
        }
    }

    /// Connections that have not yet carried all that their clients gave to them.
    pub fn waiting(&self) -> Vec<ConnId> {
        match self {
            Self::Memory(_) => Vec::new(),
            Self::Tcp(network) => network.waiting(),
        }
    }

    /// For how long longer something may take than the world has it wait, in milliseconds.
    pub fn patience_ms(&self) -> u64 {
        match self {
            Self::Memory(_) => 0,
            Self::Tcp(network) => network.patience_ms(),
        }
    }

    /// Whether a connection that its client has open is one with the present process, whatever ended since it was opened.
    pub fn outlived(&self, id: ConnId) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::Tcp(network) => network.outlived(id),
        }
    }

    /// What is known of a connection, for messages on failure.
    pub fn explain(&self, id: ConnId) -> String {
        match self {
            Self::Memory(_) => String::new(),
            Self::Tcp(network) => network.explain(id),
        }
    }

    /// Whatever is left over when everything has ended.
    pub fn remaining(&self) -> Vec<String> {
        match self {
            Self::Memory(network) => network.borrow().remaining(),
            Self::Tcp(network) => network.remaining(),
        }
    }
}
