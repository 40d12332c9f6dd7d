//! What a script is run against: a stack of ours with an application that does as it is told, and a wire on which
//! the script is the other end.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use pelton_base::{ByteStreams, Ending, Mono, Outgoing, StreamEnd, StreamEvent, StreamId, Transmit};
use pelton_packet::checksum::{Sum, pseudo_header};
use pelton_packet::memory::{MemoryPort, MemorySettings, pair};
use pelton_packet::parse::{ICMP, ICMPV6, TCP};
use pelton_packet::{Frame, Interface, Link, MacAddress, Parsed, Port, headers, parse};
use pelton_tcp::segment::{Flags, Options, SackBlocks, Segment};
use pelton_tcp::{Congestion, Ecn, Seq, Settings, Tcp, Usage};

use crate::script::{Line, Step, Written};

const US: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const THEM: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
/// The initial sequence number of the script's side: near the wrap, so that every script crosses it.
const PEER_ISN: Seq = Seq(u32::MAX - 3);

fn local(v6: bool) -> SocketAddr {
    let address = if v6 { IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]) } else { IpAddr::from([10, 0, 0, 1]) };
    (address, 1883).into()
}

fn remote(v6: bool) -> SocketAddr {
    let address = if v6 { IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 2]) } else { IpAddr::from([10, 0, 0, 2]) };
    (address, 4000).into()
}

struct World {
    v6: bool,
    tcp: Tcp<MemoryPort>,
    wire: MemoryPort,
    out: Outgoing,
    now: Mono,
    stream: Option<StreamId>,
    blocked: bool,
    written: usize,
    got: usize,
    unread: usize,
    holding: bool,
    /// Frames that somebody else has.
    taken: Vec<Frame>,
    /// What comes in next is taken in the same turn as what came last.
    together: bool,
    closing: Option<Ending>,
    ended: Option<StreamEnd>,
    /// What came out and was not looked at, with its time, and the ECN field of its packet.
    sent: VecDeque<(Mono, (Segment, u8))>,
    iss: Option<Seq>,
    /// Explicit congestion notification is agreed to.
    ecn: bool,
    last_stamp: u32,
}

pub(crate) fn run(lines: &[Line]) -> Result<(), String> {
    let mut v6 = false;
    let mut settings = Settings {
        connections_max: 16,
        half_open_max: 16,
        time_wait_max: 16,
        // It grows where a script says so.
        receive_window_max_bytes: 0,
        ..Settings::default()
    };
    for line in lines {
        if let Step::Set(name, value) = &line.step {
            let value = *value as u32;
            match name.as_str() {
                "sack" => settings.sack = value != 0,
                "timestamps" => settings.timestamps = value != 0,
                "window_scaling" => settings.window_scaling = value != 0,
                "half_open_max" => settings.half_open_max = value,
                "receive_window_bytes" => settings.receive_window_bytes = value,
                "receive_window_max_bytes" => settings.receive_window_max_bytes = value,
                "receive_growth_bytes_max" => settings.receive_growth_bytes_max = value.into(),
                "keep_alive_idle_ms" => settings.keep_alive_idle_ms = value,
                "keep_alive_watched_ms" => settings.keep_alive_watched_ms = value,
                "keep_alive_interval_ms" => settings.keep_alive_interval_ms = value,
                "keep_alive_probes" => settings.keep_alive_probes = value as u8,
                "user_timeout_ms" => settings.user_timeout_ms = value,
                "time_wait_ms" => settings.time_wait_ms = value,
                "challenges_per_second" => settings.challenges_per_second = value,
                "linger_ms" => settings.linger_ms = value,
                "peer_ack_delay_ms" => settings.peer_ack_delay_ms = value,
                "ecn" => settings.ecn = [Ecn::Off, Ecn::Accept, Ecn::Ask][value as usize],
                "new_reno" => {
                    settings.congestion = if value == 0 { Congestion::Cubic } else { Congestion::NewReno }
                }
                "cold_max" => settings.cold_max = value,
                "ipv6" => v6 = value != 0,
                "segment_bytes_max" => settings.segment_bytes_max = value as u16,
                other => return Err(format!("no setting {other}")),
            }
        }
    }
    let (port, wire) = pair(MemorySettings { frames: 256, ..MemorySettings::default() });
    let interface = Interface { mac: US, addresses: vec![local(v6).ip()] };
    let ecn = settings.ecn != Ecn::Off && settings.half_open_max > 0;
    let mut out = Outgoing::new(1 << 20);
    out.open(0);
    let mut world = World {
        v6,
        tcp: Tcp::new(port, interface, &[local(v6).port()], settings, 7, Mono(0)),
        wire,
        out,
        now: Mono::from_ms(10_000),
        stream: None,
        blocked: false,
        written: 0,
        got: 0,
        unread: 0,
        holding: false,
        taken: Vec::new(),
        together: false,
        closing: None,
        ended: None,
        sent: VecDeque::new(),
        iss: None,
        ecn,
        last_stamp: 0,
    };
    for line in lines {
        world.step(&line.step).map_err(|why| format!("line {}: {why}", line.number))?;
    }
    match world.sent.front() {
        Some((at, segment)) => Err(format!("at the end something more had gone out at {at:?}: {segment:?}")),
        None => Ok(()),
    }
}

/// The byte at a place of the script's stream and of ours.
fn byte(at: usize) -> u8 {
    (at * 7 + at / 251) as u8
}

impl World {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Set(..) => {}
            Step::Established(syn) => self.establish(syn)?,
            Step::In(ms, written) | Step::With(ms, written) => {
                if !std::mem::take(&mut self.together) {
                    self.pass(*ms)?;
                }
                if let Some((at, segment)) = self.sent.front() {
                    return Err(format!("nothing was to go out, and at {at:?} did {segment:?}"));
                }
                self.put_in(written);
                match step {
                    Step::With(..) => self.together = true,
                    _ => self.turn(),
                }
            }
            Step::Out(ms, written) => self.expect(*ms, written)?,
            Step::Quiet(ms) => {
                self.pass(*ms)?;
                if let Some((at, segment)) = self.sent.front() {
                    return Err(format!("nothing was to go out, and at {at:?} did {segment:?}"));
                }
            }
            Step::Send(len) => {
                let from = self.written;
                self.written += len;
                self.out.append(0, |bytes| bytes.extend((from..from + len).map(byte)));
                self.turn();
            }
            Step::Close(how) => {
                self.closing = Some(match how.as_str() {
                    "agreed" => Ending::Agreed,
                    "abort" => Ending::Abort,
                    _ => Ending::Graceful,
                });
                self.turn();
            }
            Step::KeepAlive => {
                if let Some(stream) = self.stream {
                    self.tcp.keep_alive(stream);
                }
            }
            Step::Hold => self.holding = true,
            Step::Consume(n) => {
                self.unread -= n;
                if let Some(stream) = self.stream {
                    self.tcp.consumed(stream, *n);
                }
                self.turn();
            }
            Step::Pause | Step::Resume => {
                if let Some(stream) = self.stream {
                    match step {
                        Step::Pause => self.tcp.pause_read(stream),
                        _ => self.tcp.resume_read(stream),
                    }
                }
            }
            Step::Frames(free) => {
                let port = self.tcp.port();
                while port.frames_free() as usize > *free
                    && let Some(frame) = port.take()
                {
                    self.taken.push(frame);
                }
                while (port.frames_free() as usize) < *free
                    && let Some(frame) = self.taken.pop()
                {
                    port.put(frame);
                }
            }
            Step::Got(n) => {
                if self.got != *n {
                    return Err(format!("the application got {} bytes", self.got));
                }
            }
            Step::Ended(how) => {
                let got = self.ended.map_or("open", StreamEnd::name);
                if got != how {
                    return Err(format!("it is {got}"));
                }
            }
            Step::Open => {
                if let Some(why) = self.ended {
                    return Err(format!("it ended: {}", why.name()));
                }
            }
            Step::Nothing => {
                let usage = self.tcp.usage();
                if usage != Usage::default() || self.tcp.port_ref().pool().outstanding() != 0 {
                    return Err(format!("{usage:?}"));
                }
            }
            Step::Icmp(kind, code, word, seq) => {
                self.complain((*kind, *code), *word, *seq);
                self.turn();
            }
            Step::TooBig(mtu, seq) => {
                let kind = if self.v6 { (2, 0) } else { (3, 4) };
                self.complain(kind, *mtu, *seq);
                self.turn();
            }
            Step::Connect => {
                let link = Link { source: US, destination: THEM, vlan: None };
                let (from, to) = (local(self.v6), remote(self.v6));
                self.stream = Some(self.tcp.connect(from, to, link, 0, self.now).expect("it is opened"));
                self.tcp.end_turn();
                self.collect();
            }
        }
        Ok(())
    }

    fn establish(&mut self, syn: &Written) -> Result<(), String> {
        self.put_in(syn);
        self.turn();
        let Some((_, (answer, ecn))) = self.sent.pop_front() else { return Err("no SYN-ACK".to_owned()) };
        // RFC 3168 6.1.1: the answer to both flags is one, and neither is marked.
        let echo = answer.flags.has(Flags::ECE);
        if answer.flags.has(Flags::CWR) || ecn != 0 || echo != (syn.flags.has(Flags::ECE) && self.ecn) {
            return Err(format!("the SYN-ACK: {answer:?}"));
        }
        self.iss = Some(answer.seq);
        self.now = self.now.plus_ms(100);
        let mut ack = syn.clone();
        (ack.flags, ack.seq, ack.ack) = (Flags::ACK, 1, Some(1));
        if let Some(options) = &mut ack.options {
            *options = Options {
                timestamps: options.timestamps.map(|(stamp, _)| (stamp, self.last_stamp)),
                ..Options::default()
            };
        }
        self.put_in(&ack);
        self.turn();
        if self.stream.is_none() { Err("not accepted".to_owned()) } else { Ok(()) }
    }

    fn turn(&mut self) {
        self.tcp.poll(self.now);
        while let Some(event) = self.tcp.next() {
            match event {
                StreamEvent::Opened { stream, .. } => {
                    self.stream = Some(stream);
                    self.tcp.bind(stream, 0);
                }
                StreamEvent::Data { chunk, .. } => {
                    for &got in chunk.iter() {
                        assert_eq!(got, byte(self.got), "byte {}", self.got);
                        self.got += 1;
                    }
                    self.unread += chunk.len();
                    if !self.holding
                        && let Some(stream) = self.stream
                    {
                        self.tcp.consumed(stream, std::mem::take(&mut self.unread));
                    }
                    self.tcp.recycle(chunk);
                }
                StreamEvent::Writable { .. } => {
                    self.blocked = false;
                    self.transmit();
                }
                StreamEvent::Closed { why, .. } => {
                    self.ended = Some(why);
                    self.out.discard(0);
                }
            }
        }
        if !self.blocked {
            self.transmit();
        }
        if let (Some(how), Some(stream), false) = (self.closing, self.stream, self.blocked) {
            self.closing = None;
            self.tcp.close(stream, how);
        }
        self.tcp.end_turn();
        self.collect();
    }

    fn transmit(&mut self) {
        let Some(stream) = self.stream else { return };
        let (queue, logs) = self.out.queue(0);
        if !queue.is_empty() {
            self.blocked = self.tcp.transmit(stream, queue, logs) == Transmit::Blocked;
            self.out.settle(0);
        }
    }

    fn collect(&mut self) {
        while let Some(frame) = self.wire.extract() {
            let Ok(Parsed::Ip(datagram)) = parse(&frame) else { panic!("a frame of ours is read") };
            assert_eq!((datagram.link.source, datagram.link.destination), (US, THEM));
            let payload = datagram.payload(&frame);
            let segment =
                Segment::parse(datagram.source, datagram.destination, payload).expect("a segment of ours");
            if segment.flags.has(Flags::SYN) {
                self.iss = Some(segment.seq);
            }
            if let Some((stamp, _)) = segment.options.timestamps {
                self.last_stamp = stamp;
            }
            if let Some(iss) = self.iss
                && segment.len > 0
            {
                let from = segment.seq.since(iss + 1) as usize;
                for (at, &got) in payload[usize::from(segment.header)..].iter().enumerate() {
                    assert_eq!(got, byte(from + at), "byte {} of what goes out", from + at);
                }
            }
            self.sent.push_back((self.now, (segment, datagram.ecn)));
        }
    }

    /// Lets time pass, as long as nothing goes out.
    fn pass(&mut self, ms: u64) -> Result<(), String> {
        let until = self.now.plus_ms(ms);
        self.turn();
        while self.now < until && self.sent.is_empty() {
            let due = self.tcp.next_timeout().unwrap_or(Mono::NEVER);
            self.now = due.clamp(self.now + 1_000, until);
            self.turn();
        }
        Ok(())
    }

    fn expect(&mut self, ms: u64, want: &Written) -> Result<(), String> {
        let due = self.now.plus_ms(ms);
        self.pass(ms + 5)?;
        let Some((at, (got, ecn))) = self.sent.pop_front() else { return Err("nothing went out".to_owned()) };
        if at.0.abs_diff(due.0) > 5_000_000 {
            return Err(format!("went out at {} ms, not at {} ms: {got:?}", at.as_ms(), due.as_ms()));
        }
        let iss = self.iss.unwrap_or(got.seq);
        let seq = got.seq.since(iss);
        let ack = got.flags.has(Flags::ACK).then(|| got.ack.since(PEER_ISN));
        // A reset to what nobody knows has the sequence number it was asked for.
        let matches = got.flags == want.flags
            && ecn == want.ecn
            && seq == want.seq
            && usize::from(got.len) == want.len
            && want.ack.is_none_or(|want| ack == Some(want))
            && want.window.is_none_or(|window| window == got.window)
            && want
                .options
                .as_ref()
                .is_none_or(|options| self.options_match(options, &got.options, want.echo_last));
        if matches {
            return Ok(());
        }
        let len = got.len;
        Err(format!(
            "went out: {:?} {seq}:{}({len}) ack {ack:?} ecn {ecn} win {} {:?}",
            got.flags,
            seq + u32::from(len),
            got.window,
            got.options
        ))
    }

    fn options_match(&self, want: &Options, got: &Options, any_echo: bool) -> bool {
        let stamps = match (want.timestamps, got.timestamps) {
            (Some((_, echo)), Some((_, got))) => any_echo || echo == got,
            (None, None) => true,
            _ => false,
        };
        let blocks = |blocks: &SackBlocks, isn: Seq| -> Vec<(u32, u32)> {
            blocks.as_slice().iter().map(|(left, right)| (left.since(isn), right.since(isn))).collect()
        };
        stamps
            && (want.mss, want.window_scale, want.sack_permitted)
                == (got.mss, got.window_scale, got.sack_permitted)
            && blocks(&want.sack, Seq(0)) == blocks(&got.sack, PEER_ISN)
    }

    fn frame(protocol: u8, from: IpAddr, to: IpAddr, ecn: u8, body: &[u8]) -> Vec<u8> {
        let link = Link { source: THEM, destination: US, vlan: None };
        let mut frame = vec![0; headers::bytes(link, from)];
        headers::write(&mut frame, link, from, to, protocol, ecn, body.len());
        frame.extend_from_slice(body);
        frame
    }

    fn put_in(&mut self, written: &Written) {
        let iss = self.iss.unwrap_or_default();
        let mut options = written.options.unwrap_or_default();
        if written.echo_last
            && let Some((_, echo)) = &mut options.timestamps
        {
            *echo = self.last_stamp.wrapping_sub(*echo);
        }
        let mut sack = SackBlocks::default();
        for (left, right) in options.sack.as_slice() {
            sack.push(iss + left.0, iss + right.0);
        }
        options.sack = sack;
        let segment = Segment {
            source: remote(self.v6).port(),
            destination: local(self.v6).port(),
            seq: PEER_ISN + written.seq,
            ack: written.ack.map_or(Seq(0), |ack| iss + ack),
            flags: written.flags,
            window: written.window.unwrap_or(65_535),
            options,
            header: 0,
            len: written.len as u16,
        };
        let mut bytes = vec![0; segment.header_bytes()];
        // The first byte of the stream has the sequence number after the SYN's.
        let from = (written.seq as usize).wrapping_sub(1);
        let forged = written.forged.unwrap_or_default();
        bytes.extend((0..written.len).map(|at| {
            let seq = written.seq + at as u32;
            byte(from.wrapping_add(at)) ^ if (forged.0..forged.1).contains(&seq) { 0xff } else { 0 }
        }));
        let (from, to) = (remote(self.v6).ip(), local(self.v6).ip());
        segment.write(from, to, &mut bytes);
        self.wire.inject(&Self::frame(TCP, from, to, written.ecn, &bytes));
    }

    /// An ICMP message about a segment of ours.
    fn complain(&mut self, (kind, code): (u8, u8), word: u32, seq: u32) {
        let (from, to) = (local(self.v6), remote(self.v6));
        let mut quoted = vec![0; headers::bytes(Link::default(), from.ip())];
        headers::write(&mut quoted, Link::default(), from.ip(), to.ip(), TCP, 0, 1_480);
        quoted.drain(..14);
        quoted.extend_from_slice(&from.port().to_be_bytes());
        quoted.extend_from_slice(&to.port().to_be_bytes());
        quoted.extend_from_slice(&(self.iss.unwrap_or_default() + seq).0.to_be_bytes());
        let mut body = vec![kind, code, 0, 0];
        body.extend_from_slice(&word.to_be_bytes());
        body.extend_from_slice(&quoted);
        let (router, protocol): (IpAddr, u8) = if self.v6 {
            ([0xfe80, 0, 0, 0, 0, 0, 0, 9].into(), ICMPV6)
        } else {
            ([10, 9, 9, 9].into(), ICMP)
        };
        let sum = if self.v6 { pseudo_header(router, from.ip(), ICMPV6, body.len()) } else { Sum::ZERO };
        let sum = sum.bytes(&body).fold();
        body[2..4].copy_from_slice(&sum.to_be_bytes());
        self.wire.inject(&Self::frame(protocol, router, from.ip(), 0, &body));
    }
}
