//! Moving a connection to the stack of another shard: its block goes, with what was received and not handed out. What is
//! under way stays under way: the shard moves the queue that it may have to be sent from again.
//!
//! The stack that a connection is given away by hands its frames over from then on. If they came by a third one, its
//! entry is turned to the new owner by that ([`News::Took`]), and the entry in between goes when nothing can be on its
//! way to it any more ([`News::Forget`]): what the third one handed over before stands in the same ring before that, and
//! the entry goes one turn later, when that has been worked on.

use pelton_base::{Key, Peer, StreamId};
use pelton_packet::{Link, Port};

use crate::chunk::Chunk;
use crate::demux::Entry;
use crate::path_search::Narrow;
use crate::relay::{Moved, News};
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
    /// The shard that gives it away.
    from: u16,
    /// What is known of a narrow path.
    narrow: Option<Narrow>,
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
    .or(Facts::HANDED)
    .or(Facts::ANNOUNCED);

impl<P: Port> Tcp<P> {
    /// Takes a connection out, to go to the stack of shard `to`, and from here on hands its frames over to that.
    /// `None` if it cannot go: it is being closed, or has moved before.
    pub(crate) fn hand_over(&mut self, key: Key, to: u16) -> Option<HandedTcp> {
        let index = self.tcbs.live(key)?;
        let from = self.relays.as_ref()?.own();
        let hot = self.tcbs[index];
        let listener = self.locals.get(hot.local).listener?;
        let movable = matches!(hot.state, State::Established | State::CloseWait)
            && !hot.facts.has(Facts::APP_CLOSED.or(Facts::HANDED))
            && self.moved.len() < self.settings.connections_max as usize;
        if !movable {
            return None;
        }
        let home = self.homes.remove(&index).unwrap_or(from);
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
        let narrow = self.narrow.get(&index).copied();
        self.release(index);
        Some(HandedTcp { hot, tuple, link, listener, home, from, narrow, pending })
    }

    /// Takes a connection in.
    pub(crate) fn take_in(&mut self, handed: HandedTcp) -> Option<(StreamId, Peer)> {
        let HandedTcp { hot, tuple, link, listener, home, from, narrow, pending } = handed;
        let own = self.relays.as_ref()?.own();
        let hash = self.keys.demux.hash(&tuple);
        // Its frames may come by this stack, which has handed them over until now.
        let before = match self.demux.find(hash, |entry| self.is(entry, &tuple)) {
            None => Some(None),
            Some(Entry::Moved(moved)) => Some(Some(moved)),
            // The peer began anew meanwhile.
            Some(_) => None,
        };
        let local = self.locals.find(tuple.local);
        let link = if before.is_none() || self.tcbs.is_full() { None } else { self.links.enter(link) };
        if let Some(Some(moved)) = before {
            self.demux.remove(hash, Entry::Moved(moved));
            self.moved.remove(moved);
        }
        self.turn_to_owner(&tuple, own, home, from);
        let (Some(local), Some(link)) = (local, link) else {
            if let Some(link) = link {
                self.links.leave(link);
            }
            if home != own {
                self.tell_home(home, tuple);
            }
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
            dup_acks: 0,
            ..hot
        };
        self.demux.insert(hash, Entry::Tcb(index));
        if home != own {
            self.homes.insert(index, home);
        }
        if let Some(narrow) = narrow {
            self.narrow.insert(index, narrow);
        }
        let key = self.tcbs.key(index);
        for bytes in pending {
            self.events.push_back(Event::Data(key, Chunk::Copied(bytes)));
        }
        let facts = &mut self.tcbs[index].facts;
        facts.set(Facts::HANDED);
        if facts.has(Facts::ACK_OWED) {
            facts.set(Facts::ACK_NOW);
        }
        let closed = facts.has(Facts::PEER_CLOSED);
        self.list(index);
        if closed {
            self.linger(index, self.settings.linger_ms);
        }
        // RFC 3168 6.1.2: the window was coming down, and how far it had come is not known any more.
        if hot.snd_una.lt(hot.recover) && hot.recover.le(hot.snd_max) {
            let hot = &mut self.tcbs[index];
            hot.cwnd = hot.cwnd.min(hot.ssthresh);
        }
        if hot.flight() > 0 {
            self.go_on_sending(index, hot.recovering());
        }
        self.arm(index);
        Some((StreamId(key.to_u64()), Peer { remote: tuple.remote, listener }))
    }

    /// Something is under way. What was known of its parts is not, so nothing is measured by it; if something of it was
    /// lost, all that is not acknowledged counts as lost, as after a time-out.
    fn go_on_sending(&mut self, index: u32, recovering: bool) {
        let hot = &mut self.tcbs[index];
        hot.facts.set(Facts::RETRANSMITTED);
        if recovering {
            hot.facts.set(Facts::LOSS.or(Facts::RESEND_HEAD));
            hot.recover = hot.snd_max;
            self.lose(index, None);
        }
        self.rearm(index);
        self.serve(index);
    }

    /// A connection that `from` gave away is here, or would be: who gets its frames learns that.
    fn turn_to_owner(&mut self, tuple: &Tuple, own: u16, home: u16, from: u16) {
        let Some(relays) = &mut self.relays else { return };
        if home == own {
            relays.tell(from, News::Forget(*tuple));
        } else if home != from {
            relays.tell(home, News::Took { tuple: *tuple, from });
        }
    }

    /// A connection whose frames come by this stack went from one other stack to another.
    pub(crate) fn took(&mut self, tuple: &Tuple, owner: u16, from: u16) {
        if let Some(Entry::Moved(moved)) = self.entry_of(tuple) {
            self.moved.turn(moved, owner);
        }
        if let Some(relays) = &mut self.relays {
            relays.tell(from, News::Forget(*tuple));
        }
    }

    /// No frames of a connection that went from here come any more by the stack that handed them over.
    pub(crate) fn forget_passed_on(&mut self, tuple: &Tuple) {
        if let Some(Entry::Moved(moved)) = self.entry_of(tuple) {
            self.demux.remove(self.keys.demux.hash(tuple), Entry::Moved(moved));
            self.moved.remove(moved);
        }
    }

    fn entry_of(&self, tuple: &Tuple) -> Option<Entry> {
        self.demux.find(self.keys.demux.hash(tuple), |entry| self.is(entry, tuple))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::relays;
    use crate::seq::Seq;
    use crate::settings::Settings;
    use pelton_base::Mono;
    use pelton_packet::memory::{MemoryPort, MemorySettings, pair};
    use pelton_packet::{Interface, MacAddress};

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

    fn stack(relays: crate::relay::Relays) -> Tcp<MemoryPort> {
        let interface = Interface { mac: MAC, addresses: vec![[10, 0, 0, 1].into()] };
        let (port, _wire) = pair(MemorySettings::default());
        let mut tcp = Tcp::new(port, interface, &[1883], Settings::default(), 1, Mono(0));
        tcp.join(relays);
        tcp
    }

    /// A connection from the stack of shard 1.
    fn handed(hot: Hot) -> HandedTcp {
        HandedTcp {
            hot,
            tuple: Tuple { local: ([10, 0, 0, 1], 1883).into(), remote: ([10, 0, 0, 2], 4_000).into() },
            link: Link { source: MAC, destination: MacAddress([2, 0, 0, 0, 0, 2]), vlan: None },
            listener: 0,
            home: 1,
            from: 1,
            narrow: None,
            pending: Vec::new(),
        }
    }

    // covers RFC 9293 3.8.6 SHLD-14
    #[test]
    fn a_window_that_has_grown_stays_where_it_was_promised() {
        let mut relays = relays(2);
        let (mut there, mut here) = (stack(relays.remove(1)), stack(relays.remove(0)));
        let hot = Hot {
            state: State::Established,
            mss: 1_000,
            remote_port: 4_000,
            scales: 4 << 4,
            srtt_us: 100_000,
            rcv_nxt: Seq(1),
            rcv_edge: Seq(1),
            ..Hot::default()
        };
        let (stream, _) = here.take_in(handed(hot)).expect("there is room");
        let index = here.tcbs.live(Key::from_u64(stream.0)).expect("it is here");
        for ms in [0, 20, 40] {
            here.set_time(Mono::from_ms(ms));
            here.tcbs[index].rcv_nxt += 40_000;
            here.advertise(index);
        }
        let edge = here.tcbs[index].rcv_edge;
        assert!(edge.since(here.tcbs[index].rcv_nxt) >= 2 * 65_535);
        assert_eq!(here.usage().bulk, 1);
        // It may move again: as one that was accepted here.
        here.tcbs[index].facts.clear(Facts::HANDED);
        let moved = here.hand_over(Key::from_u64(stream.0), 1).expect("it may go");
        assert_eq!(here.usage().bulk, 0);
        let (stream, _) = there.take_in(moved).expect("there is room");
        let index = there.tcbs.live(Key::from_u64(stream.0)).expect("it is there");
        assert_eq!(there.usage().bulk, 0, "there it grows anew");
        assert!(!there.tcbs[index].facts.has(Facts::BULK), "as one that has not grown");
        let (mut before, mut left) = (edge, Vec::new());
        for _ in 0..4 {
            let field = there.advertise(index);
            let hot = &mut there.tcbs[index];
            assert!(before.le(hot.rcv_edge), "it never goes back");
            assert_eq!(hot.rcv_nxt + (u32::from(field) << 4), hot.rcv_edge, "and is said as it is");
            (before, hot.srtt_us) = (hot.rcv_edge, 0);
            left.push(hot.rcv_edge.since(hot.rcv_nxt));
            hot.rcv_nxt += 30_000;
        }
        assert!(left[0] > 2 * 65_535 && left[1] < left[0] && left[3] <= 65_536, "{left:?}");
    }

    // covers RFC 3168 6.1.2
    #[test]
    fn a_window_that_was_coming_down_is_down_where_the_connection_goes() {
        for (recover, cwnd) in [(3_000, 7_000), (5_000, 7_000), (1_000, 9_000), (5_001, 9_000)] {
            let mut tcp = stack(relays(2).remove(0));
            let hot = Hot {
                state: State::Established,
                mss: 1_000,
                cwnd: 9_000,
                ssthresh: 7_000,
                snd_una: Seq(1_000),
                snd_max: Seq(5_000),
                queue_seq: Seq(1_000),
                recover: Seq(recover),
                window: 65_535,
                ..Hot::default()
            };
            let (stream, _) = tcp.take_in(handed(hot)).expect("there is room");
            let index = tcp.tcbs.live(Key::from_u64(stream.0)).expect("it is here");
            assert_eq!(tcp.tcbs[index].cwnd, cwnd, "down until {recover}");
        }
    }
}
