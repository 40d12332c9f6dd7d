//! Sessions whose clients are away: what each costs the broker in memory, and what messages to them cost it in CPU time.
//!
//! Clients connect with a session that stays, subscribe to a topic of their own and leave. Then publishers, if there are
//! any, each with a window of unacknowledged messages, publish to those topics in turn. What is counted and timed is the last
//! acknowledgement of each message: the broker's promise that it is in every session.

use pelton_mqtt::{PacketType, QoS};

use crate::clock::{Clock, ns};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::link::Taken;
use crate::messages::number_of_run;
use crate::meter::Meter;
use crate::opening::{Opener, Wanted, ended};
use crate::options::{Away, Options};
use crate::packets::{DISCONNECT, Template};
use crate::process::Process;
use crate::report::{AwayMemory, Report};
use crate::stamp::Stamp;

/// Clients connected at the same time while the sessions are made.
const AT_ONCE: usize = 2_000;
/// What a broker takes to forget the connections that made the sessions …
const SETTLE: std::time::Duration = std::time::Duration::from_secs(3);
/// … where their memory is not what the run is about.
const SETTLE_SOON: std::time::Duration = std::time::Duration::from_millis(500);

pub(crate) fn run(options: &Options, away: &Away) -> Result<Report, Failure> {
    let broker = options.broker_pid.map(Process::of).transpose()?;
    let bytes = |broker: Option<Process>| broker.map_or(Ok(0), Process::anonymous_bytes);
    let bytes_before = bytes(broker)?;
    let clock = Clock::start();
    let sessions = away.count as usize;
    make(options, sessions)?;
    let made_seconds = clock.now_ns() as f64 / 1e9;
    std::thread::sleep(if away.publishers == 0 { SETTLE } else { SETTLE_SOON });
    let bytes_after = bytes(broker)?;
    let mut report = Report {
        scenario: "away".into(),
        mqtt_version: options.version.level(),
        seconds: made_seconds,
        count: sessions as u64,
        rate: sessions as f64 / made_seconds,
        away: Some(AwayMemory {
            sessions,
            bytes_before,
            bytes_after,
            bytes_per_session: (bytes_after as f64 - bytes_before as f64) / sessions as f64,
        }),
        ..Report::default()
    };
    if away.publishers > 0 {
        Publishing::new(options, away)?.go(broker, away, &mut report)?;
    }
    Ok(report)
}

/// Makes the sessions.
fn make(options: &Options, sessions: usize) -> Result<(), Failure> {
    let mut made = 0;
    while made < sessions {
        let mut opener = Opener::new(options)?;
        opener.stays = true;
        let count = AT_ONCE.min(sessions - made);
        opener.open(count, |number| Wanted {
            client_id: format!("away-{}", made + number),
            filter: Some(format!("{}/{}", options.topic, made + number)),
        })?;
        for link in &mut opener.links {
            link.out.extend_from_slice(&DISCONNECT);
            link.flush();
            link.close();
        }
        made += count;
        if !options.quiet && made % 100_000 < count {
            eprintln!("{made} sessions");
        }
    }
    Ok(())
}

/// A publisher: the topics it has in turn, and when each of its identifiers was last used.
struct Turn {
    templates: Vec<Template>,
    next: usize,
    sent_ns: Vec<u64>,
}

struct Publishing<'a> {
    options: &'a Options,
    opener: Opener<'a>,
    turns: Vec<Turn>,
    latencies: Latencies,
    count: u64,
}

impl<'a> Publishing<'a> {
    fn new(options: &'a Options, away: &Away) -> Result<Self, Failure> {
        if options.qos == QoS::AtMostOnce {
            return Err(Failure::Option("messages to those who are away need -q 1 or -q 2".into()));
        }
        let (publishers, sessions) = (away.publishers as usize, away.count as usize);
        let mut opener = Opener::new(options)?;
        let run = number_of_run();
        opener.open(publishers, |number| Wanted {
            client_id: format!("load-{run:08x}-{number}"),
            filter: None,
        })?;
        let window = options.window as usize;
        let turns = (0..publishers)
            .map(|publisher| Turn {
                // Each session has its publisher; with more publishers than sessions some share one.
                templates: (0..sessions.div_ceil(publishers).min(1_000))
                    .map(|nth| {
                        let topic =
                            format!("{}/{}", options.topic, (publisher + nth * publishers) % sessions);
                        Template::new(options.version, &topic, options.qos, options.size)
                    })
                    .collect(),
                next: 0,
                sent_ns: vec![0; window + 1],
            })
            .collect();
        Ok(Self { options, opener, turns, latencies: Latencies::new(), count: 0 })
    }

    fn go(mut self, broker: Option<Process>, away: &Away, report: &mut Report) -> Result<(), Failure> {
        for publisher in 0..self.turns.len() {
            let now_ns = self.opener.clock.now_ns();
            for id in 1..=self.options.window {
                self.turns[publisher].send(id, now_ns, &mut self.opener.links[publisher].out);
            }
            self.opener.links[publisher].flush();
        }
        self.work(ns(self.options.warmup()))?;
        let (mut meter, own) = (Meter::start(self.options, broker)?, Process::this().cpu_time()?);
        self.count = 0;
        self.latencies.clear();
        let from_ns = self.opener.clock.now_ns();
        self.work(ns(self.options.duration()))?;
        meter.stop()?;
        let own = Process::this().cpu_time()?.since(own);
        let seconds = (self.opener.clock.now_ns() - from_ns) as f64 / 1e9;
        report.qos = self.options.qos.bits();
        report.payload_bytes = self.options.size;
        report.publishers = self.turns.len();
        report.subscribers = away.count as usize;
        report.window = Some(self.options.window.into());
        (report.seconds, report.count, report.rate) = (seconds, self.count, self.count as f64 / seconds);
        report.latency = self.latencies.summary();
        meter.tell(report)?;
        report.generator_cores = own.total_ns as f64 / 1e9 / seconds;
        Ok(())
    }

    fn work(&mut self, time_ns: u64) -> Result<(), Failure> {
        let until_ns = self.opener.clock.now_ns() + time_ns;
        loop {
            let now_ns = self.opener.clock.now_ns();
            if now_ns >= until_ns {
                return Ok(());
            }
            self.opener.poller.wait((until_ns - now_ns).min(20_000_000));
            for index in 0..self.opener.poller.len() {
                let ready = self.opener.poller.get(index);
                let became = self.opener.links[ready.number].became(ready);
                if ready.readable {
                    self.read(ready.number)?;
                }
                let link = &mut self.opener.links[ready.number];
                if (became || ready.readable) && !link.flush() {
                    return Err(ended(link, self.opener.address));
                }
            }
        }
    }

    fn read(&mut self, number: usize) -> Result<(), Failure> {
        let Self { options, opener, turns, latencies, count } = self;
        let (turn, version) = (&mut turns[number], options.version);
        let now_ns = opener.clock.now_ns();
        let mut refused = None;
        loop {
            let taken = opener.links[number].read(&mut opener.buffer, |header, body, out| {
                let ack = pelton_mqtt::Ack::decode(header.packet_type, version, body)?;
                if ack.reason.is_error() {
                    refused = Some(ack.reason);
                }
                if header.packet_type == PacketType::PubRec {
                    pelton_mqtt::Ack::new(ack.packet_id, pelton_mqtt::ReasonCode::Success).encode(
                        PacketType::PubRel,
                        version,
                        out,
                    );
                    return Ok(());
                }
                let id = ack.packet_id.get();
                *count += 1;
                latencies.record(now_ns.saturating_sub(turn.sent_ns[usize::from(id)]));
                turn.send(id, now_ns, out);
                Ok(())
            })?;
            if let Some(reason) = refused {
                return Err(Failure::Refused(reason));
            }
            match taken {
                Taken::More => {}
                Taken::Drained => return Ok(()),
                Taken::Ended => return Err(ended(&opener.links[number], opener.address)),
            }
        }
    }
}

impl Turn {
    fn send(&mut self, id: u16, now_ns: u64, out: &mut Vec<u8>) {
        let stamp = Stamp { run: 0, publisher: 0, sequence: self.next as u64, time_ns: now_ns };
        self.sent_ns[usize::from(id)] = now_ns;
        self.templates[self.next % self.templates.len()].append(id, stamp, out);
        self.next += 1;
    }
}
