//! Connections come and go: connect, CONNACK, DISCONNECT, again and again; or many are opened and kept.

use std::time::Duration;

use pelton_mqtt::{ConnAck, PINGREQ, PacketType};

use crate::clock::{Clock, ns};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::link::{Link, Taken};
use crate::messages::number_of_run;
use crate::opening::{Opener, Wanted, ended, resolve};
use crate::options::{Churn, Options};
use crate::packets::{self, DISCONNECT};
use crate::poller::Poller;
use crate::process::{CpuTime, Process};
use crate::report::{Report, Used};

/// How long a connect may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(options: &Options, churn: &Churn) -> Result<Report, Failure> {
    let broker = options.broker_pid.map(Process::of).transpose()?;
    if churn.hold { hold(options, churn, broker) } else { Cycles::new(options, churn)?.go(broker) }
}

fn cpu(broker: Option<Process>) -> Result<CpuTime, Failure> {
    broker.map_or(Ok(CpuTime::default()), Process::cpu_time)
}

/// A connection on its way: from its start to its CONNACK.
struct Attempt {
    link: Link,
    began_ns: u64,
}

struct Cycles<'a> {
    options: &'a Options,
    address: std::net::SocketAddr,
    number_of_run: u32,
    clock: Clock,
    poller: Poller,
    attempts: Vec<Option<Attempt>>,
    buffer: Vec<u8>,
    /// Places without an attempt.
    free: Vec<usize>,
    started: u64,
    count: u64,
    latencies: Latencies,
    begin_ns: u64,
}

impl<'a> Cycles<'a> {
    fn new(options: &'a Options, churn: &Churn) -> Result<Self, Failure> {
        let clock = Clock::start();
        Ok(Self {
            options,
            address: resolve(options)?,
            number_of_run: number_of_run(),
            clock,
            poller: Poller::new()?,
            attempts: (0..churn.count).map(|_| None).collect(),
            buffer: Vec::new(),
            free: (0..churn.count as usize).collect(),
            started: 0,
            count: 0,
            latencies: Latencies::new(),
            begin_ns: clock.now_ns(),
        })
    }

    fn go(mut self, broker: Option<Process>) -> Result<Report, Failure> {
        self.work(self.begin_ns + ns(self.options.warmup()))?;
        let (before, own) = (cpu(broker)?, Process::this().cpu_time()?);
        self.count = 0;
        self.latencies.clear();
        let from_ns = self.clock.now_ns();
        self.work(from_ns + ns(self.options.duration()))?;
        let (used, own) = (cpu(broker)?.since(before), Process::this().cpu_time()?.since(own));
        let seconds = (self.clock.now_ns() - from_ns) as f64 / 1e9;
        let memory = broker.map(Process::anonymous_bytes).transpose()?;
        Ok(Report {
            scenario: "connect".into(),
            mqtt_version: self.options.version.level(),
            rate_asked: self.options.rate,
            seconds,
            count: self.count,
            rate: self.count as f64 / seconds,
            latency: self.latencies.summary(),
            broker: memory.map(|bytes| Used::of(used, seconds, self.count, bytes)),
            generator_cores: own.total_ns as f64 / 1e9 / seconds,
            ..Report::default()
        })
    }

    /// When the next connect is due.
    fn due_ns(&self) -> u64 {
        self.options.rate.map_or(0, |rate| self.begin_ns + (self.started as f64 * 1e9 / rate) as u64)
    }

    fn work(&mut self, until_ns: u64) -> Result<(), Failure> {
        loop {
            let now_ns = self.clock.now_ns();
            if now_ns >= until_ns {
                return Ok(());
            }
            while !self.free.is_empty() && self.due_ns() <= now_ns {
                self.start(now_ns)?;
            }
            let due_ns = if self.free.is_empty() { u64::MAX } else { self.due_ns() };
            let timeout_ns = if self.options.spin {
                0
            } else {
                due_ns.min(until_ns).saturating_sub(now_ns).min(100_000_000)
            };
            self.poller.wait(timeout_ns);
            for index in 0..self.poller.len() {
                let ready = self.poller.get(index);
                let Some(attempt) = &mut self.attempts[ready.number] else { continue };
                if attempt.link.became(ready) && !attempt.link.flush() {
                    return Err(ended(&attempt.link, self.address));
                }
                if ready.readable {
                    self.read(ready.number)?;
                }
            }
            let late = |attempt: &Attempt| now_ns > attempt.began_ns + ns(PATIENCE);
            if self.poller.len() == 0 && self.attempts.iter().flatten().any(late) {
                return Err(Failure::Silent(self.address, PATIENCE));
            }
        }
    }

    fn start(&mut self, now_ns: u64) -> Result<(), Failure> {
        let Some(place) = self.free.pop() else { return Ok(()) };
        let began_ns = if self.options.rate.is_some() { self.due_ns() } else { now_ns };
        let mut link = Link::open(self.address, self.started as usize)
            .map_err(|error| Failure::Connect(self.address, error))?;
        link.out = packets::connect(
            self.options,
            &format!("load-{:08x}-{}", self.number_of_run, self.started),
            false,
        );
        if !link.flush() {
            return Err(ended(&link, self.address));
        }
        if let Some(socket) = link.socket() {
            self.poller.add(socket, place)?;
        }
        self.attempts[place] = Some(Attempt { link, began_ns });
        self.started += 1;
        Ok(())
    }

    fn read(&mut self, place: usize) -> Result<(), Failure> {
        let Some(attempt) = &mut self.attempts[place] else { return Ok(()) };
        let version = self.options.version;
        let mut answer = None;
        let mut taken = Taken::More;
        while answer.is_none() && taken == Taken::More {
            taken = attempt.link.read(&mut self.buffer, |header, body, _| {
                if header.packet_type == PacketType::ConnAck {
                    answer = Some(ConnAck::decode(version, body)?.reason);
                }
                Ok(())
            })?;
        }
        match answer {
            Some(reason) if reason.is_error() => return Err(Failure::Refused(reason)),
            None if taken == Taken::Ended => return Err(ended(&attempt.link, self.address)),
            None => return Ok(()),
            Some(_) => {}
        }
        self.latencies.record(self.clock.now_ns().saturating_sub(attempt.began_ns));
        attempt.link.out.extend_from_slice(&DISCONNECT);
        attempt.link.flush();
        attempt.link.close();
        self.attempts[place] = None;
        self.free.push(place);
        self.count += 1;
        Ok(())
    }
}

fn hold(options: &Options, churn: &Churn, broker: Option<Process>) -> Result<Report, Failure> {
    let (before, own) = (cpu(broker)?, Process::this().cpu_time()?);
    let mut opener = Opener::new(options)?;
    let number_of_run = number_of_run();
    let count = churn.count as usize;
    let from_ns = opener.clock.now_ns();
    opener.open(count, |number| Wanted {
        client_id: format!("load-{number_of_run:08x}-{number}"),
        filter: None,
    })?;
    let seconds = (opener.clock.now_ns() - from_ns) as f64 / 1e9;
    let (used, own) = (cpu(broker)?.since(before), Process::this().cpu_time()?.since(own));
    let memory = broker.map(Process::anonymous_bytes).transpose()?;
    let closed_by_broker = rest(&mut opener, options.duration(), ping_round(options))?;
    Ok(Report {
        scenario: "connect --hold".into(),
        mqtt_version: options.version.level(),
        seconds,
        count: count as u64,
        rate: count as f64 / seconds,
        closed_by_broker,
        latency: opener.latencies.summary(),
        broker: memory.map(|bytes| Used::of(used, seconds, count as u64, bytes)),
        generator_cores: own.total_ns as f64 / 1e9 / seconds,
        ..Report::default()
    })
}

/// Every connection is pinged once in half its keep alive.
pub(crate) fn ping_round(options: &Options) -> Option<Duration> {
    (options.keepalive > 0).then(|| Duration::from_secs(u64::from(options.keepalive)) / 2)
}

/// Keeps connections open for a while, each pinged once in a `round`, evenly spread. Returns how many the broker closed.
pub(crate) fn rest(
    opener: &mut Opener<'_>,
    duration: Duration,
    round: Option<Duration>,
) -> Result<u64, Failure> {
    let begin_ns = opener.clock.now_ns();
    let until_ns = begin_ns + ns(duration);
    let total = opener.links.len();
    let (mut pinged, mut closed) = (0u64, 0);
    loop {
        let now_ns = opener.clock.now_ns();
        if now_ns >= until_ns {
            return Ok(closed);
        }
        if let Some(round) = round {
            let due = (u128::from(now_ns - begin_ns) * total as u128 / round.as_nanos().max(1)) as u64;
            for number in pinged..due {
                let link = &mut opener.links[(number % total as u64) as usize];
                link.out.extend_from_slice(&PINGREQ);
                link.flush();
            }
            pinged = due;
        }
        opener.poller.wait((until_ns - now_ns).min(20_000_000));
        for index in 0..opener.poller.len() {
            let ready = opener.poller.get(index);
            let link = &mut opener.links[ready.number];
            if link.became(ready) {
                link.flush();
            }
            while ready.readable && link.is_open() {
                match link.read(&mut opener.buffer, |_, _, _| Ok(()))? {
                    Taken::More => {}
                    Taken::Drained => break,
                    Taken::Ended => {
                        link.close();
                        closed += 1;
                    }
                }
            }
        }
    }
}
