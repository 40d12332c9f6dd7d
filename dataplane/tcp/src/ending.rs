//! How connections end: closed by either side, reset, given up, and TIME-WAIT. RFC 9293 3.6, RFC 1122 4.2.2.13,
//! RFC 1337 3.
//!
//! The shard holds what is queued, so it is told that a connection is gone only when its data has arrived; the block
//! stays on without an owner until its FIN and the peer's are through.

use pelton_base::StreamEnd;
use pelton_packet::{Frame, Port};

use crate::counters::{TcpCounter, TcpDrop};
use crate::demux::Entry;
use crate::segment::{Flags, Options, Segment};
use crate::seq::time_lt;
use crate::stack::{Arrival, Event, Tcp};
use crate::tcb::{Facts, NO_COLD, State};
use crate::time_wait::record;
use crate::tuple::Tuple;

impl<P: Port> Tcp<P> {
    /// The connection is over, whatever is queued or under way.
    pub(crate) fn end(&mut self, index: u32, why: StreamEnd) {
        self.disown(index, why);
        let hash = self.hash_of(index);
        self.demux.remove(hash, Entry::Tcb(index));
        self.links.leave(self.tcbs[index].link);
        if let Some(home) = self.homes.remove(&index) {
            self.tell_home(home, self.tuple_of(index));
        }
        self.release(index);
    }

    /// Tells the shard, once, that the connection is gone.
    fn disown(&mut self, index: u32, why: StreamEnd) {
        let key = self.tcbs.key(index);
        let hot = &mut self.tcbs[index];
        if hot.facts.has(Facts::ORPHAN) {
            return;
        }
        hot.facts.set(Facts::ORPHAN.or(Facts::APP_CLOSED));
        hot.facts.clear(Facts::BLOCKED);
        hot.queue_seq = hot.snd_una;
        // One whose opening the shard has not heard of, it never hears of.
        if hot.facts.has(Facts::ANNOUNCED) {
            self.events.push_back(Event::Closed { key, token: hot.token, why });
        }
    }

    /// Our FIN has been sent. When all data before it has arrived the shard's queue is needed no longer.
    pub(crate) fn disown_when_sent(&mut self, index: u32) {
        let hot = &self.tcbs[index];
        let data_end = hot.snd_max.back(1);
        if hot.facts.has(Facts::ORPHAN.or(Facts::HALF_OPEN)) || hot.snd_una.lt(data_end) {
            return;
        }
        let peer_first = matches!(hot.state, State::LastAck);
        self.disown(index, if peer_first { StreamEnd::PeerClosed } else { StreamEnd::Local });
        // Nobody waits for what follows, but it may not take for ever.
        let ms = match self.tcbs[index].state {
            State::FinWait2 => self.settings.fin_wait_2_ms,
            _ => self.settings.linger_ms.max(self.settings.fin_wait_2_ms),
        };
        self.linger(index, ms);
    }

    /// The tuple of a connection.
    pub(crate) fn tuple_of(&self, index: u32) -> Tuple {
        let hot = &self.tcbs[index];
        let remote = self.remotes.get(hot.remote, hot.facts.has(Facts::V6));
        Tuple { local: self.locals.get(hot.local).address, remote: (remote, hot.remote_port).into() }
    }

    fn hash_of(&self, index: u32) -> u32 {
        self.keys.demux.hash(&self.tuple_of(index))
    }

    /// Gives back all that a block holds but its place in the table and its link.
    pub(crate) fn release(&mut self, index: u32) {
        let hot = &mut self.tcbs[index];
        if hot.cold != NO_COLD {
            let cold = std::mem::replace(&mut hot.cold, NO_COLD);
            if let Some(state) = self.cold.get_mut(cold) {
                while let Some(piece) = state.reassembly.take_last() {
                    self.kept_frames -= 1;
                    self.port.put(piece.frame);
                }
            }
            self.cold.put(cold);
        }
        self.soon.forget(index);
        self.narrow.remove(&index);
        let hot = &self.tcbs[index];
        if hot.facts.has(Facts::BULK) {
            self.windows.forget(index);
        }
        if hot.facts.has(Facts::WHEEL) {
            self.wheel.clear(index);
        }
        self.locals.leave(hot.local);
        self.remotes.leave(hot.remote, hot.facts.has(Facts::V6));
        self.tcbs.put(index);
    }

    /// The end of the turn: ACKs that nothing else has taken along leave, and FINs that may.
    pub(crate) fn finish_listed(&mut self) {
        self.delay_acks();
        let mut listed = std::mem::take(&mut self.listed);
        for key in listed.drain(..) {
            let Some(index) = self.tcbs.live(key) else { continue };
            let facts = &mut self.tcbs[index].facts;
            facts.clear(Facts::LISTED);
            if facts.has(Facts::FIN_STARVED) {
                self.send_fin(index);
            }
            let hot = &self.tcbs[index];
            let answered = hot.facts.has(Facts::PEER_CLOSED)
                && !hot.facts.has(Facts::APP_CLOSED.or(Facts::BLOCKED).or(Facts::HALF_OPEN))
                && hot.flight() == 0;
            if answered && hot.state == State::CloseWait {
                self.send_fin(index);
                self.disown_when_closed(index);
            }
            if self.tcbs[index].facts.has(Facts::ACK_NOW) {
                self.send_ack(index);
            }
        }
        self.listed = listed;
    }

    /// What has been answered needs no ACK of its own, and is not looked at again for one.
    #[inline]
    fn delay_acks(&mut self) {
        if self.heard.is_empty() {
            return;
        }
        let due = self.now.plus_ms(u64::from(self.settings.delayed_ack_ms));
        for key in self.heard.drain(..) {
            let Some(index) = self.tcbs.live(key) else { continue };
            let facts = &mut self.tcbs[index].facts;
            if facts.has(Facts::ACK_OWED) {
                self.delayed.push_back((due, key));
            } else {
                facts.clear(Facts::ACK_DELAYED);
            }
        }
    }

    /// The peer has closed, everything it sent was handed out, and everything it was sent has arrived.
    fn disown_when_closed(&mut self, index: u32) {
        self.disown(index, StreamEnd::PeerClosed);
        self.linger(index, self.settings.linger_ms.max(self.settings.fin_wait_2_ms));
    }

    pub(crate) fn linger_expired(&mut self, index: u32) {
        let hot = &self.tcbs[index];
        if hot.state == State::FinWait2 && hot.facts.has(Facts::ORPHAN) {
            // Ours is closed and acknowledged. The peer never closed its own; if it speaks again it is reset.
            self.end(index, StreamEnd::Local);
            return;
        }
        self.counters.add(TcpCounter::LingerExpired);
        self.reset_peer(index);
        let peer_first = self.tcbs[index].facts.has(Facts::PEER_CLOSED);
        self.end(index, if peer_first { StreamEnd::PeerClosed } else { StreamEnd::Local });
    }

    /// The block goes, a record stays.
    pub(crate) fn enter_time_wait(&mut self, index: u32) {
        self.disown(index, StreamEnd::Local);
        if self.time_waits.is_full()
            && let Some(oldest) = self.time_waits.oldest()
        {
            self.counters.add(TcpCounter::TimeWaitEvicted);
            self.forget_time_wait(oldest);
        }
        let (tuple, hash) = (self.tuple_of(index), self.hash_of(index));
        let hot = &self.tcbs[index];
        let stamps = hot.facts.has(Facts::TIMESTAMPS).then_some((hot.ts_recent, hot.ts_offset));
        let window = (hot.rcv_edge.since(hot.rcv_nxt) >> hot.receive_scale()).min(65_535) as u16;
        let home = self.homes.remove(&index);
        let kept = record(tuple, hash, (hot.snd_max, hot.rcv_nxt), window, stamps, (hot.link, home));
        if self.time_waits.is_full() {
            // No records at all are wanted.
            self.demux.remove(hash, Entry::Tcb(index));
            self.links.leave(kept.link);
            if let Some(home) = home {
                self.tell_home(home, tuple);
            }
        } else {
            let place = self.time_waits.insert(kept, self.now);
            self.demux.replace(hash, Entry::Tcb(index), Entry::TimeWait(place));
        }
        self.release(index);
    }

    pub(crate) fn forget_time_wait(&mut self, index: u32) {
        let gone = self.time_waits.remove(index);
        self.demux.remove(gone.hash, Entry::TimeWait(index));
        self.links.leave(gone.link);
        if let Some(home) = gone.home {
            self.tell_home(home, gone.tuple);
        }
    }

    /// A segment for a connection in TIME-WAIT, RFC 9293 3.10.7.4.
    pub(crate) fn time_wait_segment(&mut self, index: u32, arrival: &Arrival, frame: Frame) {
        let segment = &arrival.segment;
        let kept = *self.time_waits.get(index);
        // RFC 1337 3 fix F1: a reset does not cut the wait short.
        if segment.flags.has(Flags::RST) {
            self.drops.add(TcpDrop::TimeWaitReset);
            self.port.put(frame);
            return;
        }
        if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK) {
            // RFC 6191 2, RFC 9293 3.6.1 SHLD-4, RFC 1122 4.2.2.13: a new connection, if its segments cannot be taken for old ones.
            let newer = match (kept.stamps, segment.options.timestamps) {
                (Some((recent, _)), Some((stamp, _))) => {
                    time_lt(recent, stamp) || kept.rcv_nxt.lt(segment.seq)
                }
                _ => kept.rcv_nxt.lt(segment.seq),
            };
            if newer {
                self.counters.add(TcpCounter::TimeWaitReused);
                self.forget_time_wait(index);
                // Where it was moved from its frames come in: there it begins anew when the SYN is sent again.
                if kept.home.is_none() {
                    self.listen_segment(arrival, Some(kept.snd_nxt));
                }
                self.port.put(frame);
                return;
            }
        }
        self.port.put(frame);
        self.drops.add(TcpDrop::TimeWaitOld);
        if segment.sequence_len() == 0 && segment.seq == kept.rcv_nxt {
            return;
        }
        if segment.flags.has(Flags::FIN) && segment.seq + segment.sequence_len() == kept.rcv_nxt {
            // The peer has not seen our acknowledgement of its FIN: the wait begins anew.
            self.time_waits.restart(index, self.now);
            if let Some((_, offset)) = kept.stamps
                && let Some((stamp, _)) = segment.options.timestamps
            {
                self.time_waits.get_mut(index).stamps = Some((stamp, offset));
            }
        }
        if !self.challenges.take(self.now, &mut self.rng) {
            self.drops.add(TcpDrop::ChallengeLimited);
            return;
        }
        let stamps = self.time_waits.get(index).stamps;
        let timestamps = stamps.map(|(recent, offset)| (self.now_ms.wrapping_add(offset), recent));
        let ack = Segment {
            source: kept.tuple.local.port(),
            destination: kept.tuple.remote.port(),
            seq: kept.snd_nxt,
            ack: kept.rcv_nxt,
            flags: Flags::ACK,
            window: kept.window,
            options: Options { timestamps, ..Options::default() },
            ..Segment::default()
        };
        let link = self.links.get(kept.link);
        self.send_segment(link, kept.tuple.local, kept.tuple.remote, &ack, |_| {});
    }
}
