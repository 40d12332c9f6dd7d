//! Moving a connection to the stack of another shard: its block goes, with what was received and not handed out.

use pelton_base::{Key, Peer, StreamId};
use pelton_packet::{Link, Port};

use crate::chunk::Chunk;
use crate::demux::Entry;
use crate::relay::Moved;
use crate::stack::{Event, Tcp};
use crate::tcb::{Facts, Hot, NO_COLD, State};
use crate::tuple::Tuple;

/// A connection on its way to another stack.
#[derive(Debug)]
pub struct HandedTcp {
    hot: Hot,
    tuple: Tuple,
    link: Link,
    listener: u16,
    /// The shard whose port its frames come in on.
    home: u16,
    /// Data in order that was not handed out.
    pending: Vec<Vec<u8>>,
}

/// What goes along of the facts on a connection.
const KEPT: Facts = Facts::V6
    .or(Facts::TIMESTAMPS)
    .or(Facts::SACK)
    .or(Facts::ECN)
    .or(Facts::ECN_ECHO)
    .or(Facts::CWR_OWED)
    .or(Facts::ACK_OWED)
    .or(Facts::ACK_NOW)
    .or(Facts::PEER_CLOSED)
    .or(Facts::WATCHED)
    .or(Facts::ANNOUNCED);

impl<P: Port> Tcp<P> {
    /// Takes a connection out, to go to the stack of shard `to`, and from here on hands its frames over to that.
    /// `None` if it cannot go: something is under way that the shard's queue may have to send again, or it has come
    /// from elsewhere itself.
    pub(crate) fn hand_over(&mut self, key: Key, to: u16) -> Option<HandedTcp> {
        let index = self.tcbs.live(key)?;
        let home = self.relays.as_ref()?.own();
        let hot = self.tcbs[index];
        let listener = self.locals.get(hot.local).listener?;
        let movable = matches!(hot.state, State::Established | State::CloseWait)
            && hot.flight() == 0
            && hot.queue_seq == hot.snd_una
            && !hot.facts.has(Facts::APP_CLOSED)
            && !self.homes.contains_key(&index)
            && self.moved.len() < self.settings.connections_max as usize;
        if !movable {
            return None;
        }
        let tuple = self.tuple_of(index);
        let mut pending = Vec::new();
        for event in std::mem::take(&mut self.events) {
            match event {
                Event::Data(of, chunk) if of == key => {
                    pending.push(chunk.to_vec());
                    if let Chunk::Frame(frame) = chunk {
                        self.port.put(frame);
                    }
                }
                Event::Service(of) if of == key => {}
                other => self.events.push_back(other),
            }
        }
        let hash = self.keys.demux.hash(&tuple);
        let moved = self.moved.insert(Moved { tuple, owner: to });
        self.demux.replace(hash, Entry::Tcb(index), Entry::Moved(moved));
        let link = self.links.get(hot.link);
        self.links.leave(hot.link);
        self.release(index);
        Some(HandedTcp { hot, tuple, link, listener, home, pending })
    }

    /// Takes a connection in.
    pub(crate) fn take_in(&mut self, handed: HandedTcp) -> Option<(StreamId, Peer)> {
        let HandedTcp { hot, tuple, link, listener, home, pending } = handed;
        let hash = self.keys.demux.hash(&tuple);
        let there = self.demux.find(hash, |entry| self.is(entry, &tuple)).is_some();
        let local = self.locals.find(tuple.local);
        let link = if there || self.tcbs.is_full() { None } else { self.links.enter(link) };
        let (Some(local), Some(link)) = (local, link) else {
            if let Some(link) = link {
                self.links.leave(link);
            }
            self.tell_home(home, tuple);
            return None;
        };
        let index = self.tcbs.take()?;
        let generation = self.tcbs[index].generation;
        let (remote, _) = self.remotes.enter(tuple.remote.ip());
        self.locals.hold(local);
        self.tcbs[index] = Hot {
            generation,
            remote,
            local,
            link,
            facts: hot.facts.only(KEPT),
            cold: NO_COLD,
            token: u64::MAX,
            timer: crate::tcb::Timer::None,
            ..hot
        };
        self.demux.insert(hash, Entry::Tcb(index));
        self.homes.insert(index, home);
        let key = self.tcbs.key(index);
        for bytes in pending {
            self.events.push_back(Event::Data(key, Chunk::Copied(bytes)));
        }
        let facts = &mut self.tcbs[index].facts;
        if facts.has(Facts::ACK_OWED) {
            facts.set(Facts::ACK_NOW);
        }
        let closed = facts.has(Facts::PEER_CLOSED);
        self.list(index);
        if closed {
            self.linger(index, self.settings.linger_ms);
        }
        self.arm(index);
        Some((StreamId(key.to_u64()), Peer { remote: tuple.remote, listener }))
    }
}
