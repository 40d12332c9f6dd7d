//! Connections that live on another core than their frames come in on. The core that gets the frames keeps an entry
//! that says where the connection is, and hands its frames over by a ring; the owner sends by its own queue, and says
//! when the connection is gone.

use std::collections::VecDeque;

use pelton_packet::{Frame, Port};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::counters::{TcpCounter, TcpDrop};
use crate::demux::{Demux, Entry};
use crate::search::Search;
use crate::stack::{Tcp, Way};
use crate::tuple::Tuple;

/// Frames under way from one stack to another.
const FRAMES: usize = 256;
/// Frames taken from one other stack in one turn.
const FRAMES_A_TURN: usize = 64;

/// What one stack has for another.
enum Relayed {
    /// A frame for a connection that is there.
    Frame(Vec<u8>),
    News(News),
}

/// What one stack tells another about a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News {
    /// One whose frames came by the other is gone from here.
    Gone(Tuple),
    /// Who has it?
    Search(Search),
    /// It is here.
    Found {
        /// The connection.
        tuple: Tuple,
        /// Who asked had a half-open one besides.
        half_open: bool,
    },
    /// One whose frames come by the other, and that `from` had, has gone over to this one.
    Took {
        /// The connection.
        tuple: Tuple,
        /// Who had it.
        from: u16,
    },
    /// Nothing of one that the other gave away is handed over to it any more.
    Forget(Tuple),
    /// Nobody has it; `moving`: somebody gave it away, so that it may be under way.
    Unfound {
        /// The connection.
        tuple: Tuple,
        /// Whether it may be under way.
        moving: bool,
    },
}

struct Lane {
    out: Producer<Relayed>,
    /// Buffers that come back, to be used again.
    spare: Consumer<Vec<u8>>,
    input: Consumer<Relayed>,
    give_back: Producer<Vec<u8>>,
    /// News that found no room, oldest first.
    unsent: VecDeque<News>,
}

/// One stack's ends of the rings to all others of its interface.
pub struct Relays {
    own: u16,
    lanes: Vec<Option<Lane>>,
    /// Others that were given something since they were last asked for.
    woken: Vec<u16>,
}

/// The rings between the stacks of `shards` shards, to be given one to each ([`Tcp::join`]).
pub fn relays(shards: u16) -> Vec<Relays> {
    let mut all: Vec<Relays> = (0..shards)
        .map(|own| Relays { own, lanes: (0..shards).map(|_| None).collect(), woken: Vec::new() })
        .collect();
    for a in 0..usize::from(shards) {
        for b in a + 1..usize::from(shards) {
            let (there, back) = (RingBuffer::new(FRAMES), RingBuffer::new(FRAMES));
            let (there_spare, back_spare) = (RingBuffer::new(FRAMES), RingBuffer::new(FRAMES));
            all[a].lanes[b] = Some(Lane {
                out: there.0,
                spare: there_spare.1,
                input: back.1,
                give_back: back_spare.0,
                unsent: VecDeque::new(),
            });
            all[b].lanes[a] = Some(Lane {
                out: back.0,
                spare: back_spare.1,
                input: there.1,
                give_back: there_spare.0,
                unsent: VecDeque::new(),
            });
        }
    }
    all
}

impl Relays {
    /// The number of the stack's shard.
    pub(crate) const fn own(&self) -> u16 {
        self.own
    }

    /// The stack that is asked next when something is searched.
    pub(crate) fn next(&self) -> u16 {
        (self.own + 1) % self.lanes.len() as u16
    }

    /// How many other stacks there are.
    pub(crate) fn others(&self) -> u16 {
        self.lanes.len() as u16 - 1
    }

    fn note(&mut self, to: u16) {
        if !self.woken.contains(&to) {
            self.woken.push(to);
        }
    }

    /// Hands a frame over; whether there was room.
    fn frame(&mut self, to: u16, bytes: &[u8]) -> bool {
        let Some(Some(lane)) = self.lanes.get_mut(usize::from(to)) else { return false };
        if lane.out.is_full() {
            return false;
        }
        let mut buffer = lane.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        let pushed = lane.out.push(Relayed::Frame(buffer)).is_ok();
        self.note(to);
        pushed
    }

    /// Tells another stack, at the end of the turn.
    pub(crate) fn tell(&mut self, to: u16, news: News) {
        if let Some(Some(lane)) = self.lanes.get_mut(usize::from(to)) {
            lane.unsent.push_back(news);
        }
    }

    /// Pushes the news there is room for.
    fn push_unsent(&mut self) {
        for at in 0..self.lanes.len() {
            let Some(lane) = &mut self.lanes[at] else { continue };
            let mut pushed = false;
            while !lane.out.is_full()
                && let Some(news) = lane.unsent.pop_front()
            {
                pushed |= lane.out.push(Relayed::News(news)).is_ok();
            }
            if pushed {
                self.note(at as u16);
            }
        }
    }

    fn has_unsent(&self) -> bool {
        self.lanes.iter().flatten().any(|lane| !lane.unsent.is_empty())
    }

    fn has_input(&self) -> bool {
        self.lanes.iter().flatten().any(|lane| !lane.input.is_empty())
    }
}

impl std::fmt::Debug for Relays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relays").field("own", &self.own).field("lanes", &self.lanes.len()).finish()
    }
}

/// A connection that moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) tuple: Tuple,
    pub(crate) owner: u16,
}

/// Those that moved, by index.
#[derive(Debug, Default)]
pub(crate) struct MovedTable {
    entries: Vec<Option<Moved>>,
    free: Vec<u32>,
}

impl MovedTable {
    pub(crate) fn insert(&mut self, moved: Moved) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = Some(moved);
                index
            }
            None => {
                self.entries.push(Some(moved));
                self.entries.len() as u32 - 1
            }
        }
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Moved> {
        self.entries.get(index as usize)?.as_ref()
    }

    /// The connection is somewhere else from now on.
    pub(crate) fn turn(&mut self, index: u32, owner: u16) {
        if let Some(Some(moved)) = self.entries.get_mut(index as usize) {
            moved.owner = owner;
        }
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<Moved> {
        let moved = self.entries.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(moved)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

impl<P: Port> Tcp<P> {
    /// Joins the stack to the others of its interface, so that connections can move between them.
    ///
    /// # Panics
    /// If it has connections already.
    pub fn join(&mut self, relays: Relays) {
        assert!(self.demux.len() == 0, "a stack is joined before it has connections");
        // Those that move away go on having an entry.
        self.demux = Demux::new(self.settings.entries_max() + self.settings.connections_max as usize);
        self.relays = Some(relays);
    }

    /// A frame of a connection that lives elsewhere.
    pub(crate) fn relay(&mut self, index: u32, frame: Frame) {
        match self.moved.get(index) {
            Some(moved) => self.relay_to(moved.owner, frame),
            None => self.port.put(frame),
        }
    }

    /// A frame of a connection that lives with `owner`.
    pub(crate) fn relay_to(&mut self, owner: u16, frame: Frame) {
        if let Some(relays) = &mut self.relays {
            if relays.frame(owner, &frame) {
                self.counters.add(TcpCounter::RelayedOut);
            } else {
                // As a full queue of a device: the peer sends again.
                self.drops.add(TcpDrop::RelayFull);
            }
        }
        self.port.put(frame);
    }

    /// Takes what other stacks handed over, for the next turn: a connection's own arrival, which is pushed before its
    /// first frame, is taken in before that.
    pub(crate) fn take_relayed(&mut self) {
        let Some(mut relays) = self.relays.take() else { return };
        // What was handed over before they were to be forgotten has arrived in this turn.
        for tuple in std::mem::take(&mut self.passed_on) {
            self.forget_passed_on(&tuple);
        }
        let mut news = Vec::new();
        for from in 0..relays.lanes.len() {
            let Some(lane) = &mut relays.lanes[from] else { continue };
            for _ in 0..FRAMES_A_TURN {
                let Ok(relayed) = lane.input.pop() else { break };
                match relayed {
                    Relayed::Frame(bytes) => {
                        match self.port.take() {
                            Some(mut frame) if bytes.len() <= frame.capacity() => {
                                frame.fill(&bytes);
                                self.relayed.push((frame, Way::Relayed));
                            }
                            Some(frame) => self.port.put(frame),
                            None => self.drops.add(TcpDrop::NoFrame),
                        }
                        // A ring that is full of buffers going back has enough.
                        let _ = lane.give_back.push(bytes);
                    }
                    Relayed::News(told) => news.push((from as u16, told)),
                }
            }
        }
        self.relays = Some(relays);
        for (from, told) in news {
            match told {
                News::Gone(tuple) => self.forget_moved(&tuple, from),
                News::Search(search) => self.searched(search),
                News::Found { tuple, half_open } => self.found(&tuple, half_open, from),
                News::Unfound { tuple, moving } => self.unfound(&tuple, moving),
                News::Took { tuple, from: before } => self.took(&tuple, from, before),
                News::Forget(tuple) => self.passed_on.push(tuple),
            }
        }
        if let Some(relays) = &mut self.relays {
            relays.push_unsent();
        }
    }

    fn forget_moved(&mut self, tuple: &Tuple, owner: u16) {
        let hash = self.keys.demux.hash(tuple);
        let entry = self.demux.find(hash, |entry| matches!(entry, Entry::Moved(_)) && self.is(entry, tuple));
        if let Some(Entry::Moved(index)) = entry
            && self.moved.get(index).is_some_and(|moved| moved.owner == owner)
        {
            self.demux.remove(hash, Entry::Moved(index));
            self.moved.remove(index);
        }
    }

    /// A connection that came from another stack is gone from here.
    pub(crate) fn tell_home(&mut self, home: u16, tuple: Tuple) {
        if let Some(relays) = &mut self.relays {
            relays.tell(home, News::Gone(tuple));
        }
    }

    /// Whether other stacks have handed something over, or are owed news.
    pub(crate) fn has_relayed(&self) -> bool {
        !self.relayed.is_empty()
            || !self.passed_on.is_empty()
            || self.relays.as_ref().is_some_and(|relays| relays.has_input() || relays.has_unsent())
    }

    pub(crate) fn append_woken(&mut self, into: &mut Vec<u16>) {
        if let Some(relays) = &mut self.relays {
            into.append(&mut relays.woken);
        }
    }
}
