//! How connections begin that others open: SYNs to a listener (RFC 9293 3.10.7.2), half-open ones by record or cookie
//! (RFC 4987).

use std::net::SocketAddr;

use pelton_packet::{Frame, Port};

use crate::cookie;
use crate::counters::{TcpCounter, TcpDrop};
use crate::demux::Entry;
use crate::half_open::{Agreed, HalfOpen};
use crate::offer::Offer;
use crate::segment::{Flags, Options, Segment};
use crate::seq::{Seq, time_lt};
use crate::stack::{Arrival, Event, Tcp, Way};
use crate::tables::Local;
use crate::tcb::{Facts, Hot, State};
use crate::tuple::Tuple;

/// The segment size of a peer that names none, RFC 9293 3.7.1 MUST-15.
const MSS_DEFAULT_V4: u16 = 536;
const MSS_DEFAULT_V6: u16 = 1220;
/// The least segment size a peer is taken at its word with: below, headers are all there is.
const MSS_MIN: u16 = 64;
/// The time-out after a SYN had to be sent again, until a round trip is measured, RFC 6298 5.7.
const LOST_SYN_TIME_OUT_US: u32 = 3_000_000;
/// After the last cookie an ACK may be one of it for so long.
const COOKIE_LIFE_MS: u64 = 128_000;
/// And for so long it may be data that came before one: that is lost, or slower. After its first time-outs a client
/// begins with what answers the cookie whenever it sends.
const COOKIE_OVERTAKEN_MS: u64 = 20_000;

/// What a connection begins with.
struct Beginning {
    local: u16,
    /// Its link, already counted for it.
    link: u16,
    iss: Seq,
    irs: Seq,
    agreed: Agreed,
    ts_recent: u32,
    /// The round trip of SYN-ACK and ACK, if it was sent once.
    rtt_us: Option<u32>,
    /// The SYN-ACK was sent again: the path loses.
    resent: bool,
}

impl<P: Port> Tcp<P> {
    /// The longest segment this side takes, and the link carries.
    pub(crate) fn own_mss(&self, v4: bool) -> u16 {
        self.settings.own_mss(self.port.caps().mtu, v4)
    }

    /// RFC 6528 3, RFC 9293 3.4.1 MUST-8, MUST-9, SHLD-1: a clock of 4 us and a keyed hash of the tuple.
    pub(crate) fn initial_sequence(&self, tuple: &Tuple) -> Seq {
        Seq((self.now.0 / 4_000) as u32) + tuple.hash(self.keys.isn) as u32
    }

    /// What time stamps to a peer are offset by, RFC 7323 7.1: nothing of the machine's clock shows.
    pub(crate) fn stamp_offset(&self, tuple: &Tuple) -> u32 {
        tuple.hash(self.keys.stamps) as u32
    }

    /// RFC 9293 3.7.1 MUST-14, MUST-16: what the peer takes, but not more than the link does.
    pub(crate) fn agree(&self, offer: Offer, v4: bool) -> Agreed {
        let settings = &self.settings;
        let default = if v4 { MSS_DEFAULT_V4 } else { MSS_DEFAULT_V6 };
        Agreed {
            mss: offer.mss.unwrap_or(default).max(MSS_MIN).min(self.own_mss(v4)),
            scale: offer.scale.filter(|_| settings.window_scaling),
            sack: offer.sack && settings.sack,
            timestamps: offer.timestamps && settings.timestamps,
            ecn: false,
        }
    }

    /// What is agreed on where a cookie is all that is kept.
    pub(crate) fn agree_by_cookie(&self, offer: Offer, v4: bool) -> Agreed {
        let agreed = self.agree(offer, v4);
        // What cannot travel in the time stamp is not offered.
        if agreed.timestamps { agreed } else { Agreed { scale: None, sack: false, ..agreed } }
    }

    /// A SYN, RFC 9293 3.10.7.2, 3.5. It touches no connection that is there, for such have entries of their own
    /// (RFC 9293 3.9.1.1 MUST-41, MUST-42). `after`: sequence numbers up to here may have been used with this peer a
    /// moment ago.
    pub(crate) fn listen_segment(&mut self, arrival: &Arrival, after: Option<Seq>) {
        let tuple = &arrival.tuple;
        let Some(local) = self.locals.find(tuple.local) else { return self.refuse(arrival) };
        if self.locals.get(local).listener.is_none() {
            self.drops.add(TcpDrop::NotListening);
            return self.send_reset(arrival);
        }
        self.counters.add(TcpCounter::Syns);
        if self.tcbs.is_full() {
            // A reset would make the client give up at once; it tries again, and there may be room then.
            self.drops.add(TcpDrop::TableFull);
            return;
        }
        let segment = &arrival.segment;
        if self.half_open.is_full() {
            self.send_cookie(arrival);
            return;
        }
        let ecn = self.settings.ecn.agrees(segment.flags);
        let agreed = Agreed { ecn, ..self.agree(Offer::of(&segment.options), tuple.local.is_ipv4()) };
        let Some(link) = self.links.enter(arrival.link) else {
            self.drops.add(TcpDrop::LinksFull);
            return;
        };
        let mut iss = self.initial_sequence(tuple);
        if let Some(after) = after
            && iss.le(after)
        {
            iss = after + 64_000;
        }
        let record = HalfOpen {
            remote: tuple.remote.ip(),
            remote_port: tuple.remote.port(),
            local,
            link,
            hash: arrival.hash,
            irs: segment.seq,
            iss,
            ts_recent: segment.options.timestamps.map_or(0, |(stamp, _)| stamp),
            agreed,
            retries: 0,
            answered_again: false,
            generation: 0,
            sent_at: self.now,
        };
        if let Some(index) = self.half_open.insert(record, self.now) {
            self.demux.insert(arrival.hash, Entry::HalfOpen(index));
            self.send_syn_ack(index);
        } else {
            self.links.leave(link);
        }
    }

    /// The options of a SYN-ACK, RFC 7323 2.2, 3.2, RFC 2018 2: what the peer offered and is agreed to. The segment size
    /// is always named, and in SYNs alone (RFC 9293 3.7.1 SHLD-5, 3.2 MUST-65).
    fn syn_ack(
        &self,
        tuple: &Tuple,
        irs: Seq,
        iss: Seq,
        agreed: Agreed,
        timestamps: Option<(u32, u32)>,
    ) -> Segment {
        Segment {
            source: tuple.local.port(),
            destination: tuple.remote.port(),
            seq: iss,
            ack: irs + 1,
            flags: if agreed.ecn {
                Flags::SYN.and(Flags::ACK).and(Flags::ECE)
            } else {
                Flags::SYN.and(Flags::ACK)
            },
            window: self.settings.receive_window_bytes.min(65_535) as u16,
            options: Options {
                mss: Some(self.own_mss(tuple.local.is_ipv4())),
                window_scale: agreed.scale.map(|_| self.settings.receive_scale()),
                sack_permitted: agreed.sack,
                timestamps,
                ..Options::default()
            },
            ..Segment::default()
        }
    }

    fn send_syn_ack(&mut self, index: u32) {
        let record = *self.half_open.get(index);
        let tuple = self.half_open_tuple(&record);
        let stamp = self.now_ms.wrapping_add(self.stamp_offset(&tuple));
        let timestamps = record.agreed.timestamps.then_some((stamp, record.ts_recent));
        let segment = self.syn_ack(&tuple, record.irs, record.iss, record.agreed, timestamps);
        let link = self.links.get(record.link);
        // One that cannot leave is sent again when its time-out comes.
        self.send_segment(link, tuple.local, tuple.remote, &segment, |_| {});
    }

    fn send_cookie(&mut self, arrival: &Arrival) {
        let (segment, tuple) = (&arrival.segment, &arrival.tuple);
        let agreed = self.agree_by_cookie(Offer::of(&segment.options), tuple.local.is_ipv4());
        let key = self.keys.cookie;
        let iss = cookie::make(key, tuple.hash(key), segment.seq, agreed.mss, self.now);
        let timestamps = segment.options.timestamps.filter(|_| agreed.timestamps).map(|(stamp, _)| {
            (cookie::stamp(self.now_ms.wrapping_add(self.stamp_offset(tuple)), agreed), stamp)
        });
        let reply = self.syn_ack(tuple, segment.seq, iss, agreed, timestamps);
        self.count_cookie();
        self.send_segment(arrival.link, tuple.local, tuple.remote, &reply, |_| {});
    }

    pub(crate) fn count_cookie(&mut self) {
        self.counters.add(TcpCounter::CookiesSent);
        self.cookies_until = self.now.plus_ms(COOKIE_LIFE_MS);
    }

    /// Whether a client may have a cookie. They may have been made in this stack's place.
    pub(crate) fn cookies_are_about(&self) -> bool {
        self.now < self.cookies_until || self.settings.secrets.is_some()
    }

    /// Whether a segment acknowledges a cookie of ours.
    pub(crate) fn answers_cookie(&self, arrival: &Arrival) -> bool {
        let (irs, iss) = (arrival.segment.seq.back(1), arrival.segment.ack.back(1));
        cookie::check(self.keys.cookie, &arrival.tuple, irs, iss, self.now).is_some()
    }

    /// An ACK that belongs to nothing, while cookies are about.
    pub(crate) fn cookie_segment(&mut self, arrival: &Arrival, frame: Frame) {
        let (segment, tuple) = (&arrival.segment, arrival.tuple);
        let (irs, iss) = (segment.seq.back(1), segment.ack.back(1));
        let local = self.locals.find(tuple.local).filter(|&local| self.locals.get(local).listener.is_some());
        let mss = cookie::check(self.keys.cookie, &tuple, irs, iss, self.now);
        let (Some(local), Some(mss)) = (local, mss) else {
            // Where segments overtake each other this may be data of a client whose first ACK, with the cookie, is still
            // on its way. All others are reset (RFC 9293 3.10.7.1): they would go on sending for nothing for as long as
            // cookies are about, and that is for as long as somebody floods.
            let overtaken = self.now.plus_ms(COOKIE_LIFE_MS - COOKIE_OVERTAKEN_MS) < self.cookies_until;
            if !overtaken || !cookie::may_be(iss, self.now) {
                self.refuse(arrival);
                self.port.put(frame);
                return;
            }
            self.drops.add(TcpDrop::BadCookie);
            self.port.put(frame);
            return;
        };
        let ends = tuple.hash(self.keys.cookie);
        if self.spent.has(ends, iss) {
            self.drops.add(TcpDrop::SpentCookie);
            self.send_reset(arrival);
            self.port.put(frame);
            return;
        }
        let stamp = segment.options.timestamps.map_or(0, |(stamp, _)| stamp);
        let echo = segment.options.timestamps.map(|(_, echo)| echo);
        let agreed = cookie::agreed(echo, mss);
        let Some(link) = self.links.enter(arrival.link) else {
            self.drops.add(TcpDrop::LinksFull);
            self.port.put(frame);
            return;
        };
        let beginning =
            Beginning { local, link, iss, irs, agreed, ts_recent: stamp, rtt_us: None, resent: false };
        match self.begin(&tuple, &beginning, segment) {
            Some(index) => {
                self.counters.add(TcpCounter::CookiesAccepted);
                self.spent.insert(ends, iss, self.now, self.now.plus_ms(COOKIE_LIFE_MS));
                self.demux.insert(arrival.hash, Entry::Tcb(index));
                self.segment_arrives(index, arrival, frame);
            }
            None => {
                self.drops.add(TcpDrop::TableFull);
                self.links.leave(link);
                self.port.put(frame);
            }
        }
    }

    /// A segment for a half-open connection: RFC 9293 3.10.7.4, SYN-RECEIVED.
    pub(crate) fn half_open_segment(&mut self, index: u32, arrival: &Arrival, frame: Frame) {
        let segment = &arrival.segment;
        let record = *self.half_open.get(index);
        let next = record.irs + 1;
        let edge = next + self.settings.receive_window_bytes.min(65_535);
        let stale = record.agreed.timestamps
            && segment.options.timestamps.is_none_or(|(stamp, _)| time_lt(stamp, record.ts_recent));
        let in_window = next.le(segment.seq) && segment.seq.le(edge);
        if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK) && !segment.flags.has(Flags::RST) {
            if segment.seq == record.irs {
                // The SYN again: our answer was lost.
                self.half_open.answer_again(index, self.settings.ecn.agrees(segment.flags));
                self.send_syn_ack(index);
            } else if stale || !in_window {
                // RFC 9293 3.10.7.4 first, 3.5 figure 9: a SYN of before that comes late must not end what its sender has
                // begun since; one who has begun anew resets by what this acknowledges.
                self.drops.add(TcpDrop::SynChallenged);
                self.challenge_half_open(index);
            } else {
                // RFC 9293 3.10.7.4 fourth: back to LISTEN, which takes the SYN at once.
                self.forget_half_open(index);
                self.listen_segment(arrival, Some(record.iss));
            }
            self.port.put(frame);
            return;
        }
        let other = segment.flags.has(Flags::ACK) && segment.ack != record.iss + 1;
        if other && arrival.way == Way::Port && self.is_searched(arrival) {
            // Another stack may have answered the SYN when it came before, or came again, and the client has taken that
            // answer. To refuse it by a reset would end that connection.
            self.search(arrival, true, frame);
            return;
        }
        if other && arrival.way == Way::Moving {
            self.drops.add(TcpDrop::Moving);
            self.port.put(frame);
            return;
        }
        if segment.flags.has(Flags::RST) {
            // RFC 5961 3.2.
            if segment.seq == next {
                self.counters.add(TcpCounter::HalfOpenReset);
                self.forget_half_open(index);
            } else {
                self.drops.add(TcpDrop::ResetChallenged);
            }
            self.port.put(frame);
            return;
        }
        if other && self.cookies_are_about() && self.answers_cookie(arrival) {
            // An earlier SYN of the same was answered by a cookie, and the client took that answer; or a SYN of before came
            // late, whose window this need not be in.
            self.forget_half_open(index);
            self.cookie_segment(arrival, frame);
            return;
        }
        if !segment.flags.has(Flags::ACK) || segment.flags.has(Flags::SYN) || stale || !in_window {
            self.drops.add(if stale { TcpDrop::Paws } else { TcpDrop::OutOfWindow });
            self.port.put(frame);
            return;
        }
        if segment.ack != record.iss + 1 {
            let cookie = segment.ack.back(1);
            let good = || cookie::check(self.keys.cookie, &arrival.tuple, record.irs, cookie, self.now);
            if self.cookies_are_about() && good().is_some() {
                // This SYN was answered by a cookie as well, and the client took that answer: here is data of it that came
                // before what opens the connection. A reset would end what the client takes for open.
                self.drops.add(TcpDrop::BadCookie);
                self.port.put(frame);
                return;
            }
            self.drops.add(TcpDrop::BadAck);
            self.send_reset(arrival);
            self.port.put(frame);
            return;
        }
        let beginning = Beginning {
            local: record.local,
            link: record.link,
            iss: record.iss,
            irs: record.irs,
            agreed: record.agreed,
            ts_recent: record.ts_recent,
            // RFC 6298 3: which of the answers is acknowledged is not known.
            rtt_us: (record.retries == 0 && !record.answered_again)
                .then(|| (self.now.since(record.sent_at) / 1_000).min(u64::from(u32::MAX)) as u32),
            resent: record.retries > 0,
        };
        match self.begin(&arrival.tuple, &beginning, segment) {
            Some(tcb) => {
                if let Some(home) = self.half_open_home(index) {
                    self.homes.insert(tcb, home);
                }
                self.demux.replace(record.hash, Entry::HalfOpen(index), Entry::Tcb(tcb));
                self.half_open.remove(index);
                self.segment_arrives(tcb, arrival, frame);
            }
            None => {
                // The record stays: the client's next segment may find room.
                self.drops.add(TcpDrop::TableFull);
                self.port.put(frame);
            }
        }
    }

    /// An ACK that makes a peer that knows of no such connection reset it, RFC 9293 3.5.2; not often (RFC 5961 7).
    fn challenge_half_open(&mut self, index: u32) {
        if !self.challenges.take(self.now, &mut self.rng) {
            self.drops.add(TcpDrop::ChallengeLimited);
            return;
        }
        let record = *self.half_open.get(index);
        let tuple = self.half_open_tuple(&record);
        let agreed = record.agreed;
        let stamp = self.now_ms.wrapping_add(self.stamp_offset(&tuple));
        let shift = agreed.scale.map_or(0, |_| self.settings.receive_scale());
        let ack = Segment {
            source: tuple.local.port(),
            destination: tuple.remote.port(),
            seq: record.iss + 1,
            ack: record.irs + 1,
            flags: Flags::ACK,
            window: (self.settings.receive_window_bytes.min(65_535) >> shift) as u16,
            options: Options {
                timestamps: agreed.timestamps.then_some((stamp, record.ts_recent)),
                ..Options::default()
            },
            ..Segment::default()
        };
        self.counters.add(TcpCounter::Challenges);
        let link = self.links.get(record.link);
        self.send_segment(link, tuple.local, tuple.remote, &ack, |_| {});
    }

    fn half_open_tuple(&self, record: &HalfOpen) -> Tuple {
        let local = self.locals.get(record.local).address;
        Tuple { local, remote: SocketAddr::new(record.remote, record.remote_port) }
    }

    /// RFC 9293 3.8.3 MUST-22, MUST-23.
    pub(crate) fn half_open_due(&mut self, index: u32) {
        if self.half_open.may_resend(index) {
            self.half_open.resent(index, self.now);
            self.send_syn_ack(index);
        } else {
            self.counters.add(TcpCounter::HalfOpenExpired);
            self.forget_half_open(index);
        }
    }

    /// RFC 9293 3.5 MUST-11: one that was not opened from here leaves nothing.
    pub(crate) fn forget_half_open(&mut self, index: u32) {
        let record = *self.half_open.get(index);
        if let Some(home) = self.half_open_home(index) {
            let tuple = self.half_open_tuple(&record);
            self.tell_home(home, tuple);
        }
        self.demux.remove(record.hash, Entry::HalfOpen(index));
        self.links.leave(record.link);
        self.half_open.remove(index);
    }

    /// A block for a connection whose handshake is over; `segment` is the one that ends it.
    fn begin(&mut self, tuple: &Tuple, beginning: &Beginning, segment: &Segment) -> Option<u32> {
        let index = self.tcbs.take()?;
        let offset = self.stamp_offset(tuple);
        let (remote, v6) = self.remotes.enter(tuple.remote.ip());
        self.locals.hold(beginning.local);
        let (now_ms, now_us) = (self.now_ms, self.now_us);
        let receive_scale = self.settings.receive_scale();
        let window = self.settings.receive_window_bytes.min(65_535);
        let hot = &mut self.tcbs[index];
        hot.remote = remote;
        hot.remote_port = tuple.remote.port();
        hot.facts.put(Facts::V6, v6);
        hot.local = beginning.local;
        hot.link = beginning.link;
        hot.state = State::Established;
        hot.ts_offset = offset;
        hot.ts_recent = beginning.ts_recent;
        hot.rcv_nxt = beginning.irs + 1;
        hot.rcv_edge = hot.rcv_nxt + window;
        hot.snd_una = beginning.iss + 1;
        hot.snd_max = hot.snd_una;
        hot.queue_seq = hot.snd_una;
        hot.recover = beginning.iss;
        hot.agree(beginning.agreed, receive_scale);
        hot.window = segment.window;
        hot.window_max = segment.window;
        hot.snd_wl1 = segment.seq;
        hot.last_rx_ms = now_ms;
        hot.stalled_ms = now_ms;
        hot.sent_us = now_us;
        hot.start_windows(beginning.resent);
        if let Some(rtt_us) = beginning.rtt_us {
            hot.measured(rtt_us);
        }
        self.counters.add(TcpCounter::Accepted);
        self.arm(index);
        self.events.push_back(Event::Opened(self.tcbs.key(index)));
        Some(index)
    }
}

impl Hot {
    pub(crate) fn agree(&mut self, agreed: Agreed, receive_scale: u8) {
        self.mss = agreed.mss;
        self.facts.put(Facts::SACK, agreed.sack);
        self.facts.put(Facts::TIMESTAMPS, agreed.timestamps);
        self.facts.put(Facts::ECN, agreed.ecn);
        self.scales = agreed.scale.map_or(0, |scale| receive_scale << 4 | scale);
    }

    pub(crate) fn start_windows(&mut self, resent: bool) {
        // RFC 5681 3.1, RFC 6928 2.1: after a lost SYN the path is not trusted with more than a segment.
        self.cwnd = if resent { self.payload_max() } else { self.initial_window() };
        self.ssthresh = u32::MAX;
        if resent {
            // RFC 6298 5.7. While there is no mean the variation is nothing but this.
            self.rttvar_us = LOST_SYN_TIME_OUT_US;
        }
    }
}

/// Which listener an end belongs to; [`u16::MAX`] for ends of active opens.
pub(crate) fn listener_of(local: &Local) -> u16 {
    local.listener.unwrap_or(u16::MAX)
}
