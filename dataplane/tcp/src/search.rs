//! Segments that come by the port of one stack while another has their connection: the network card's table was changed,
//! the card was reset, a link of a bond went down. The stack that gets them asks the others, one after the other, and
//! keeps what comes meanwhile, so that nothing overtakes; who has the connection says so, and from then on its frames
//! are handed over as those of one that moved. Only when nobody has it is it refused.
//!
//! A SYN begins where it comes, so that one which is sent again may begin a second time, with another sequence number:
//! its sender chooses the queue anew with every time-out. The client takes the answer that comes first. Whoever has the
//! other half-open connection asks as well, and gives its own up for that of whom the client has taken at its word.

use hashbrown::HashMap;
use pelton_base::HashKey;
use pelton_packet::{Frame, Port};

use crate::counters::{TcpCounter, TcpDrop};
use crate::demux::Entry;
use crate::limiter::Limiter;
use crate::relay::{Moved, News};
use crate::segment::Flags;
use crate::seq::Seq;
use crate::stack::{Arrival, Tcp, Way};
use crate::tuple::Tuple;

/// Frames of one connection that are kept while it is searched.
const KEPT: usize = 16;

/// A question that goes round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    tuple: Tuple,
    /// Who asks.
    origin: u16,
    /// How many are to be asked, the one it goes to included.
    left: u16,
    /// What the segment acknowledges, if it does.
    acked: Option<Seq>,
    /// Who asks has a half-open connection, to which the segment does not belong.
    half_open: bool,
    /// Somebody gave the connection away.
    moving: bool,
}

/// What one stack asks the others about.
#[derive(Debug)]
pub(crate) struct Searches {
    /// The frames of each connection, in order.
    kept: HashMap<Tuple, Vec<Frame>, HashKey>,
    /// Frames kept in all.
    frames: usize,
    frames_max: usize,
    limiter: Limiter,
}

impl Searches {
    pub(crate) fn new(per_second: u32, frames_max: usize, key: HashKey) -> Self {
        let limiter = Limiter::new(per_second);
        Self { kept: HashMap::with_hasher(key), frames: 0, frames_max, limiter }
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    fn take(&mut self, tuple: &Tuple) -> Vec<Frame> {
        let frames = self.kept.remove(tuple).unwrap_or_default();
        self.frames -= frames.len();
        frames
    }
}

impl<P: Port> Tcp<P> {
    /// Whether another stack may have the connection of a segment that belongs to nothing here. A SYN begins where it
    /// comes; a cookie is every stack's.
    pub(crate) fn is_searched(&self, arrival: &Arrival) -> bool {
        let flags = arrival.segment.flags;
        let cookie =
            |arrival| flags.has(Flags::ACK) && !flags.has(Flags::RST) && self.answers_cookie(arrival);
        self.relays.as_ref().is_some_and(|relays| relays.others() > 0)
            && !flags.has(Flags::SYN)
            && (flags.has(Flags::ACK) || flags.has(Flags::RST))
            && self.locals.find(arrival.tuple.local).is_some()
            && !cookie(arrival)
    }

    /// Asks the other stacks for a connection, unless they are being asked.
    pub(crate) fn search(&mut self, arrival: &Arrival, half_open: bool, frame: Frame) {
        let (tuple, segment) = (arrival.tuple, &arrival.segment);
        let acked = segment.flags.has(Flags::ACK).then_some(segment.ack);
        let searches = &mut self.searches;
        let room = searches.frames < searches.frames_max;
        if let Some(kept) = searches.kept.get_mut(&tuple) {
            if room && kept.len() < KEPT {
                searches.frames += 1;
                kept.push(frame);
            } else {
                self.drops.add(TcpDrop::SearchFull);
                self.port.put(frame);
            }
            return;
        }
        if !room || !searches.limiter.take(self.now, &mut self.rng) {
            self.drops.add(TcpDrop::SearchLimited);
            self.port.put(frame);
            return;
        }
        let Some(relays) = &mut self.relays else { unreachable!("nothing is searched alone") };
        searches.frames += 1;
        searches.kept.insert(tuple, vec![frame]);
        let (origin, left) = (relays.own(), relays.others());
        let search = Search { tuple, origin, left, acked, half_open, moving: false };
        relays.tell(relays.next(), News::Search(search));
        self.counters.add(TcpCounter::Searches);
    }

    /// Another stack asks for a connection.
    pub(crate) fn searched(&mut self, search: Search) {
        let Search { tuple, origin, left, half_open, mut moving, .. } = search;
        let hash = self.keys.demux.hash(&tuple);
        let entry = self.demux.find(hash, |entry| self.is(entry, &tuple));
        // Its frames come by one stack: that they came by another once is over.
        let before = match entry.filter(|&entry| self.is_meant(entry, &search)) {
            Some(Entry::Tcb(index)) => Some(self.homes.insert(index, origin)),
            Some(Entry::HalfOpen(index)) => Some(self.half_open_homes.insert(index, origin)),
            Some(Entry::TimeWait(index)) => Some(self.time_waits.get_mut(index).home.replace(origin)),
            Some(Entry::Moved(_)) => {
                moving = true;
                None
            }
            None => None,
        };
        let Some(relays) = &mut self.relays else { return };
        if let Some(before) = before {
            relays.tell(origin, News::Found { tuple, half_open });
            if let Some(before) = before.filter(|&before| before != origin) {
                relays.tell(before, News::Gone(tuple));
            }
        } else if left > 1 {
            relays.tell(relays.next(), News::Search(Search { left: left - 1, moving, ..search }));
        } else {
            relays.tell(origin, News::Unfound { tuple, moving });
        }
    }

    /// Whether a segment that is asked about can belong to a connection here. One that acknowledges something is no
    /// half-open connection's that has sent something else, and whoever has one gives that up only for a proof.
    fn is_meant(&self, entry: Entry, search: &Search) -> bool {
        match (entry, search.acked) {
            (Entry::Moved(_), _) => true,
            (Entry::HalfOpen(index), Some(acked)) => acked == self.half_open.get(index).iss + 1,
            (Entry::Tcb(index), Some(acked)) => {
                let hot = &self.tcbs[index];
                // As RFC 5961 5.2 has it.
                let known = hot.snd_una.back(hot.snd_wnd_max()).le(acked) && acked.le(hot.snd_max);
                !search.half_open || known
            }
            _ => !search.half_open,
        }
    }

    /// A connection that this stack asked for is with `owner`. `half_open`: it asked because a half-open one here was not
    /// what the segment belonged to.
    pub(crate) fn found(&mut self, tuple: &Tuple, half_open: bool, owner: u16) {
        self.counters.add(TcpCounter::Found);
        let hash = self.keys.demux.hash(tuple);
        if half_open
            && let Some(Entry::HalfOpen(index)) = self.demux.find(hash, |entry| self.is(entry, tuple))
        {
            self.forget_half_open(index);
        }
        // A SYN may have begun another here meanwhile.
        let free = self.demux.find(hash, |entry| self.is(entry, tuple)).is_none();
        if free && self.moved.len() < self.settings.connections_max as usize {
            let moved = self.moved.insert(Moved { tuple: *tuple, owner });
            self.demux.insert(hash, Entry::Moved(moved));
        }
        for frame in self.searches.take(tuple) {
            self.relay_to(owner, frame);
        }
    }

    /// Nobody has a connection that this stack asked for.
    pub(crate) fn unfound(&mut self, tuple: &Tuple, moving: bool) {
        let way = if moving { Way::Moving } else { Way::Unfound };
        let frames = self.searches.take(tuple);
        self.relayed.extend(frames.into_iter().map(|frame| (frame, way)));
    }

    /// By which other stack the frames of a half-open connection that goes come in.
    pub(crate) fn half_open_home(&mut self, index: u32) -> Option<u16> {
        if self.half_open_homes.is_empty() { None } else { self.half_open_homes.remove(&index) }
    }
}
