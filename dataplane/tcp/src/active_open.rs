//! How connections begin that are opened from here, RFC 9293 3.10.7.3: bridges, and tests.

use std::net::SocketAddr;

use pelton_base::{Mono, StreamEnd, StreamId};
use pelton_packet::{Link, Port};

use crate::counters::{TcpCounter, TcpDrop};
use crate::demux::Entry;
use crate::half_open::Agreed;
use crate::input::Stop;
use crate::offer::Offer;
use crate::segment::{Flags, Options, Segment};
use crate::seq::Seq;
use crate::settings::Ecn;
use crate::stack::{Arrival, Event, Tcp};
use crate::stray::is_host;
use crate::tcb::{Facts, State, Timer};
use crate::tuple::Tuple;

/// Why a connection could not be opened from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The connection table is full.
    TableFull,
    /// There is a connection between these two ends.
    InUse,
    /// The remote address is no host's.
    NoHost,
    /// No entry is left for the link.
    LinksFull,
}

impl<P: Port> Tcp<P> {
    /// Opens a connection from this side (RFC 9293 3.9.1.1 MUST-43, MUST-45).
    /// [`StreamEvent::Opened`](pelton_base::StreamEvent::Opened) tells when it is open (with the listener `u16::MAX`), [`StreamEvent::Closed`](pelton_base::StreamEvent::Closed) that it could
    /// not be, under the token that was given.
    ///
    /// # Errors
    /// Where a limit stands in the way.
    pub fn connect(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        link: Link,
        token: u64,
        now: Mono,
    ) -> Result<StreamId, ConnectError> {
        self.set_time(now);
        // RFC 9293 3.9.1.1 MUST-46.
        if !is_host(remote.ip()) {
            return Err(ConnectError::NoHost);
        }
        let tuple = Tuple { local, remote };
        let hash = self.keys.demux.hash(&tuple);
        if self.demux.find(hash, |entry| self.is(entry, &tuple)).is_some() {
            return Err(ConnectError::InUse);
        }
        let iss = self.initial_sequence(&tuple);
        let offset = self.stamp_offset(&tuple);
        let own_mss = self.own_mss(local.is_ipv4());
        let Some(end) = self.locals.enter(local) else { return Err(ConnectError::TableFull) };
        let Some(link) = self.links.enter(link) else {
            self.locals.leave(end);
            return Err(ConnectError::LinksFull);
        };
        let Some(index) = self.tcbs.take() else {
            self.locals.leave(end);
            self.links.leave(link);
            return Err(ConnectError::TableFull);
        };
        let (word, v6) = self.remotes.enter(remote.ip());
        let (now_ms, now_us) = (self.now_ms, self.now_us);
        let receive_scale = self.settings.receive_scale();
        let hot = &mut self.tcbs[index];
        hot.remote = word;
        hot.remote_port = remote.port();
        hot.facts.put(Facts::V6, v6);
        hot.facts.set(Facts::ANNOUNCED.or(Facts::BOUND));
        hot.token = token;
        hot.local = end;
        hot.link = link;
        hot.state = State::SynSent;
        hot.ts_offset = offset;
        hot.snd_una = iss;
        hot.snd_max = iss + 1;
        hot.queue_seq = iss + 1;
        hot.recover = iss;
        hot.mss = own_mss;
        hot.scales = receive_scale << 4;
        hot.last_rx_ms = now_ms;
        hot.stalled_ms = now_ms;
        hot.sent_us = now_us;
        self.demux.insert(hash, Entry::Tcb(index));
        self.send_syn(index);
        let at = now_ms.wrapping_add(self.settings.rto_initial_ms);
        self.set_timer(index, Timer::Retransmit, at);
        Ok(StreamId(self.tcbs.key(index).to_u64()))
    }

    /// Our SYN, or SYN-ACK if the peer's has come.
    pub(crate) fn send_syn(&mut self, index: u32) {
        let hot = &self.tcbs[index];
        let (settings, tuple) = (&self.settings, self.tuple_of(index));
        let stamp = self.now_ms.wrapping_add(hot.ts_offset);
        let received = hot.state == State::SynReceived;
        let offers = |wanted: bool, fact: Facts| if received { hot.facts.has(fact) } else { wanted };
        let segment = Segment {
            source: tuple.local.port(),
            destination: tuple.remote.port(),
            seq: hot.snd_una,
            ack: if received { hot.rcv_nxt } else { Seq(0) },
            flags: match received {
                true => Flags::SYN.and(Flags::ACK),
                // RFC 3168 6.1.1.1: if that was lost, perhaps for what it asks for, the next asks for nothing.
                false if settings.ecn == Ecn::Ask && hot.backoff == 0 => {
                    Flags::SYN.and(Flags::ECE).and(Flags::CWR)
                }
                false => Flags::SYN,
            },
            window: settings.receive_window_bytes.min(65_535) as u16,
            options: Options {
                mss: Some(self.own_mss(tuple.local.is_ipv4())),
                window_scale: settings.window_scaling.then(|| settings.receive_scale()),
                sack_permitted: offers(settings.sack, Facts::SACK),
                timestamps: offers(settings.timestamps, Facts::TIMESTAMPS).then_some((stamp, hot.ts_recent)),
                ..Options::default()
            },
            ..Segment::default()
        };
        let link = self.links.get(hot.link);
        self.send_segment(link, tuple.local, tuple.remote, &segment, |_| {});
    }

    /// RFC 9293 3.10.7.3.
    pub(crate) fn syn_sent_segment(&mut self, index: u32, arrival: &Arrival) {
        let segment = &arrival.segment;
        let hot = &self.tcbs[index];
        let acked = segment.flags.has(Flags::ACK);
        if acked && segment.ack != hot.snd_max {
            self.drops.add(TcpDrop::BadAck);
            if !segment.flags.has(Flags::RST) {
                self.send_reset(arrival);
            }
            return;
        }
        if segment.flags.has(Flags::RST) {
            if acked {
                self.counters.add(TcpCounter::ResetsIn);
                self.end(index, StreamEnd::PeerReset);
            } else {
                self.drops.add(TcpDrop::StrayReset);
            }
            return;
        }
        if !segment.flags.has(Flags::SYN) {
            self.drops.add(TcpDrop::BadFlags);
            return;
        }
        // Where both open at once neither has heard the other's answer.
        let ecn = acked && self.settings.ecn.agreed(segment.flags);
        let agreed = Agreed { ecn, ..self.agree(Offer::of(&segment.options), arrival.tuple.local.is_ipv4()) };
        let receive_scale = self.settings.receive_scale();
        let window = self.settings.receive_window_bytes.min(65_535);
        let (now_ms, now_us) = (self.now_ms, self.now_us);
        let hot = &mut self.tcbs[index];
        hot.rcv_nxt = segment.seq + 1;
        hot.rcv_edge = hot.rcv_nxt + window;
        hot.ts_recent = segment.options.timestamps.map_or(0, |(stamp, _)| stamp);
        hot.agree(agreed, receive_scale);
        hot.last_rx_ms = now_ms;
        // RFC 7323 2.2: the window of a SYN is never scaled.
        hot.window = segment.window >> hot.send_scale();
        hot.window_max = hot.window;
        hot.snd_wl1 = segment.seq;
        let resent = hot.backoff > 0;
        if acked {
            if !resent {
                hot.measured(now_us.wrapping_sub(hot.sent_us));
            }
            hot.snd_una = segment.ack;
            self.opened(index, resent);
        } else {
            // RFC 9293 3.5 MUST-10: both have sent a SYN at once.
            hot.state = State::SynReceived;
            self.send_syn(index);
        }
    }

    fn opened(&mut self, index: u32, resent: bool) {
        let hot = &mut self.tcbs[index];
        hot.state = State::Established;
        hot.backoff = 0;
        hot.timer = Timer::None;
        hot.start_windows(resent);
        hot.facts.set(Facts::ACK_NOW);
        self.counters.add(TcpCounter::Connected);
        self.list(index);
        self.arm(index);
        self.events.push_back(Event::Opened(self.tcbs.key(index)));
    }

    /// RFC 9293 3.10.7.4 fifth, SYN-RECEIVED, for a connection that both sides opened.
    pub(crate) fn syn_received_ack(&mut self, index: u32, segment: &Segment) -> Result<(), Stop> {
        let hot = &mut self.tcbs[index];
        if segment.ack != hot.snd_max {
            return Err(Stop::Dropped(TcpDrop::BadAck));
        }
        hot.snd_una = segment.ack;
        hot.window = segment.window;
        hot.window_max = hot.window_max.max(segment.window);
        hot.snd_wl1 = segment.seq;
        let resent = hot.backoff > 0;
        self.opened(index, resent);
        Ok(())
    }
}
