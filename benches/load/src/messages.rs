//! The run of a scenario with messages: open, warm up, measure, drain.

mod progress;
mod receive;

use std::time::Duration;

use pelton_mqtt::{PINGREQ, QoS};

use self::progress::Progress;
use crate::clock::{Clock, ns};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::link::{Link, READ_BYTES};
use crate::meter::Meter;
use crate::opening::{Opener, Wanted};
use crate::options::Options;
use crate::packets::{DISCONNECT, Template};
use crate::poller::Poller;
use crate::process::Process;
use crate::publisher::{Pace, Publisher};
use crate::report::Report;
use crate::sequence::{Share, Stream};
use crate::topology::Topology;

/// How often is looked at what is not an event: progress, pings, windows that stand still.
const LOOK_NS: u64 = 100_000_000;

/// A window at QoS 0 that stands still so long is given up; draining ends when nothing came so long.
const STILL_NS: u64 = 2_000_000_000;

/// What is counted over the whole run.
#[derive(Default)]
struct Counts {
    received: u64,
    duplicated: u64,
    out_of_order: u64,
    foreign: u64,
    stray_acknowledgements: u64,
    closed_by_broker: u64,
    stalls: u64,
    /// Deliveries since the measurement began.
    measured: u64,
}

struct Run<'a> {
    options: &'a Options,
    topology: Topology,
    number_of_run: u32,
    clock: Clock,
    poller: Poller,
    /// Publishers first, then subscribers.
    links: Vec<Link>,
    buffer: Vec<u8>,
    publishers: Vec<Publisher>,
    streams: Vec<Stream>,
    shares: Vec<Share>,
    counts: Counts,
    latencies: Latencies,
    /// Latencies are recorded of what was due (closed loop: came) in this time.
    from_ns: u64,
    until_ns: u64,
    /// Messages per second, if the loop is open.
    rate: Option<f64>,
    /// Publishers that may have something to send, connections that have.
    to_fill: Vec<usize>,
    to_flush: Vec<usize>,
    last_arrival_ns: u64,
    /// Connections pinged so far.
    pinged: u64,
}

pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let topology = Topology::of(options).expect("a scenario with messages");
    let broker = options.broker_pid.map(Process::of).transpose()?;
    let number_of_run = number_of_run();
    visit(options, number_of_run)?;

    let mut opener = Opener::new(options)?;
    let wanted = |number: usize| Wanted {
        client_id: format!("load-{number_of_run:08x}-{number}"),
        filter: number.checked_sub(topology.publishers).map(|subscriber| topology.filter(subscriber)),
    };
    opener.open(topology.publishers, wanted)?;
    opener.stays = options.stays;
    opener.open(topology.subscribers, wanted)?;
    Run::new(options, topology, number_of_run, opener)?.go(broker)
}

/// Clients that subscribe to everything and leave.
fn visit(options: &Options, number_of_run: u32) -> Result<(), Failure> {
    if options.visitors == 0 {
        return Ok(());
    }
    let mut opener = Opener::new(options)?;
    opener.open(options.visitors, |number| Wanted {
        client_id: format!("visit-{number_of_run:08x}-{number}"),
        filter: Some(format!("{}/#", options.topic)),
    })?;
    for link in &mut opener.links {
        link.out.extend_from_slice(&DISCONNECT);
        link.flush();
        link.close();
    }
    std::thread::sleep(Duration::from_millis(500));
    Ok(())
}

/// Tells runs apart that share a broker.
pub(crate) fn number_of_run() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.subsec_nanos() ^ since.as_secs() as u32 ^ std::process::id() << 16
}

impl<'a> Run<'a> {
    fn new(
        options: &'a Options,
        topology: Topology,
        number_of_run: u32,
        opener: Opener<'a>,
    ) -> Result<Self, Failure> {
        let rate = options.total_rate(topology.publishers);
        let first_ns = (opener.clock.now_ns() + 1_000_000) as f64;
        let mut publishers = Vec::new();
        for number in 0..topology.publishers {
            let granted = opener.granted[number];
            if options.qos > granted.maximum_qos {
                return Err(Failure::Option(format!(
                    "the broker takes no publishes of QoS {}",
                    options.qos.bits()
                )));
            }
            let pace = match rate {
                None => Pace::Window(u64::from(options.window)),
                Some(rate) => Pace::Every {
                    first_ns: first_ns + number as f64 * 1e9 / rate,
                    interval_ns: topology.publishers as f64 * 1e9 / rate,
                },
            };
            let identifiers = match (options.qos, rate) {
                (QoS::AtMostOnce, _) => 0,
                (_, None) => options.window.min(granted.receive_maximum),
                (_, Some(_)) => granted.receive_maximum,
            };
            let template = Template::new(options.version, &topology.topic(number), options.qos, options.size);
            publishers.push(Publisher::new(
                template,
                pace,
                number_of_run,
                number as u32,
                topology.receivers() as u64,
                identifiers,
            ));
        }
        let streams = if topology.shared { 0 } else { topology.subscribers * topology.heard };
        let shares = if topology.shared { topology.publishers } else { 0 };
        Ok(Self {
            number_of_run,
            clock: opener.clock,
            poller: opener.poller,
            links: opener.links,
            buffer: opener.buffer,
            publishers,
            streams: (0..streams).map(|_| Stream::default()).collect(),
            shares: (0..shares).map(|_| Share::new(topology.subscribers)).collect(),
            counts: Counts::default(),
            latencies: Latencies::new(),
            from_ns: u64::MAX,
            until_ns: u64::MAX,
            rate,
            to_fill: Vec::new(),
            to_flush: Vec::new(),
            last_arrival_ns: 0,
            pinged: 0,
            options,
            topology,
        })
    }

    fn go(mut self, broker: Option<Process>) -> Result<Report, Failure> {
        let options = self.options;
        // What came while the others were being opened would not be reported again.
        for number in 0..self.links.len() {
            self.read(number)?;
        }
        let mut progress = Progress::new(options, self.clock.now_ns());
        let begin_ns = self.clock.now_ns() + ns(options.warmup());
        self.work(begin_ns, true, &mut progress)?;

        let (mut meter, own) = (Meter::start(options, broker)?, Process::this().cpu_time()?);
        let from_ns = self.clock.now_ns();
        self.counts.measured = 0;
        self.latencies.clear();
        (self.from_ns, self.until_ns) = (from_ns, from_ns + ns(options.duration()));
        self.work(self.until_ns, true, &mut progress)?;

        meter.stop()?;
        let own = Process::this().cpu_time()?.since(own);
        let until_ns = self.clock.now_ns();
        self.until_ns = until_ns;
        let measured = self.counts.measured;
        // Latencies of a closed loop end here; those of an open one are of messages due until here.
        let behind = self.behind(until_ns);
        self.work(until_ns + ns(options.drain()), false, &mut progress)?;

        let seconds = (until_ns - from_ns) as f64 / 1e9;
        let mut report = self.report();
        report.seconds = seconds;
        report.count = measured;
        report.rate = measured as f64 / seconds;
        report.behind = behind;
        meter.tell(&mut report)?;
        report.generator_cores = own.total_ns as f64 / 1e9 / seconds;
        for link in &mut self.links {
            link.out.extend_from_slice(&DISCONNECT);
            link.flush();
        }
        Ok(report)
    }

    /// Runs until `until_ns`, or when it does not publish any more until all has come, or nothing does.
    fn work(&mut self, until_ns: u64, publishing: bool, progress: &mut Progress) -> Result<(), Failure> {
        let mut look_ns = self.clock.now_ns();
        let mut still_ns = look_ns + STILL_NS;
        let mut turn = self.turn_of(look_ns);
        if publishing {
            (0..self.publishers.len()).for_each(|publisher| self.list_publisher(publisher));
        }
        self.last_arrival_ns = look_ns;
        loop {
            let now_ns = self.clock.now_ns();
            if now_ns >= until_ns || self.is_over(now_ns, publishing) {
                return Ok(());
            }
            if now_ns >= look_ns {
                look_ns = now_ns + LOOK_NS;
                progress.show(now_ns, &self.counts, self.published());
                self.ping(now_ns);
            }
            if now_ns >= still_ns {
                still_ns = now_ns + STILL_NS;
                self.give_up_still_windows();
            }
            if publishing {
                while self.due_ns(turn) <= now_ns {
                    self.list_publisher((turn % self.publishers.len() as u64) as usize);
                    turn += 1;
                }
                self.fill(now_ns);
            }
            self.flush();
            let timeout_ns = if self.options.spin {
                0
            } else {
                let due_ns = if publishing { self.due_ns(turn) } else { u64::MAX };
                look_ns.min(until_ns).min(due_ns).saturating_sub(self.clock.now_ns())
            };
            self.poller.wait(timeout_ns);
            for index in 0..self.poller.len() {
                let ready = self.poller.get(index);
                if self.links[ready.number].became(ready) {
                    self.list_link(ready.number);
                    if ready.number < self.publishers.len() {
                        self.list_publisher(ready.number);
                    }
                }
                if ready.readable {
                    self.read(ready.number)?;
                }
            }
        }
    }

    /// Messages of all publishers in the order they are due: the first that is not due at `now_ns`.
    fn turn_of(&self, now_ns: u64) -> u64 {
        let mut turn = 0;
        if let Some(rate) = self.rate {
            let first_ns = self.first_ns();
            turn = ((now_ns as f64 - first_ns).max(0.0) * rate / 1e9) as u64;
        }
        turn
    }

    fn first_ns(&self) -> f64 {
        match self.publishers[0].pace() {
            Pace::Every { first_ns, .. } => first_ns,
            Pace::Window(_) => 0.0,
        }
    }

    fn due_ns(&self, turn: u64) -> u64 {
        self.rate.map_or(u64::MAX, |rate| (self.first_ns() + turn as f64 * 1e9 / rate) as u64)
    }

    /// Messages that are due and have not been sent.
    fn behind(&self, now_ns: u64) -> u64 {
        self.publishers.iter().map(|publisher| publisher.behind(now_ns)).sum()
    }

    fn published(&self) -> u64 {
        self.publishers.iter().map(|publisher| publisher.sent).sum()
    }

    fn expected(&self) -> u64 {
        self.published() * self.topology.receivers() as u64
    }

    fn unacknowledged(&self) -> u64 {
        self.publishers.iter().map(Publisher::unacknowledged).sum()
    }

    fn is_over(&self, now_ns: u64, publishing: bool) -> bool {
        let (publishers, subscribers) = self.links.split_at(self.publishers.len());
        let all_closed = self.counts.closed_by_broker > 0
            && (publishers.iter().all(|link| !link.is_open())
                || subscribers.iter().all(|link| !link.is_open()));
        if publishing || all_closed {
            return all_closed;
        }
        let complete = self.counts.received >= self.expected()
            && self.unacknowledged() == 0
            && self.links.iter().all(|link| link.pending() == 0);
        complete || now_ns > self.last_arrival_ns + STILL_NS
    }

    fn list_publisher(&mut self, publisher: usize) {
        if !std::mem::replace(&mut self.publishers[publisher].listed, true) {
            self.to_fill.push(publisher);
        }
    }

    fn list_link(&mut self, number: usize) {
        if !std::mem::replace(&mut self.links[number].listed, true) {
            self.to_flush.push(number);
        }
    }

    fn fill(&mut self, now_ns: u64) {
        while let Some(number) = self.to_fill.pop() {
            let publisher = &mut self.publishers[number];
            publisher.listed = false;
            let link = &mut self.links[number];
            // A publisher whose socket is full is listed again when it is not.
            if link.is_open() && !link.is_blocked() && publisher.fill(now_ns, &mut link.out, READ_BYTES) > 0 {
                self.list_link(number);
            }
        }
    }

    fn flush(&mut self) {
        while let Some(number) = self.to_flush.pop() {
            let link = &mut self.links[number];
            link.listed = false;
            if link.is_open() && !link.flush() {
                link.close();
                self.counts.closed_by_broker += 1;
            }
        }
    }

    fn ping(&mut self, now_ns: u64) {
        if self.options.keepalive == 0 {
            return;
        }
        // Each connection at half its keep alive, evenly spread.
        let round_ns = u64::from(self.options.keepalive) * 500_000_000;
        let total = self.links.len() as u64;
        let due = (u128::from(now_ns) * u128::from(total) / u128::from(round_ns)) as u64;
        while self.pinged < due {
            let number = (self.pinged % total) as usize;
            self.pinged += 1;
            if self.links[number].is_open() {
                self.links[number].out.extend_from_slice(&PINGREQ);
                self.list_link(number);
            }
        }
    }

    /// At QoS 0 what does not come may have been dropped; above it that is a loss, and the window stays closed.
    fn give_up_still_windows(&mut self) {
        if self.options.qos != QoS::AtMostOnce || self.rate.is_some() {
            return;
        }
        for number in 0..self.publishers.len() {
            if self.publishers[number].is_stalled() {
                self.publishers[number].give_up();
                self.counts.stalls += 1;
                self.list_publisher(number);
            }
        }
    }

    fn report(&self) -> Report {
        let Counts { received, duplicated, out_of_order, foreign, stray_acknowledgements, .. } = self.counts;
        Report {
            scenario: self.options.scenario.name().into(),
            mqtt_version: self.options.version.level(),
            qos: self.options.qos.bits(),
            payload_bytes: self.options.size,
            publishers: self.topology.publishers,
            subscribers: self.topology.subscribers,
            window: self.rate.is_none().then_some(u64::from(self.options.window)),
            rate_asked: self.rate,
            published: self.published(),
            expected: self.expected(),
            received,
            lost: self.expected().saturating_sub(received),
            duplicated,
            out_of_order,
            foreign,
            unacknowledged: self.unacknowledged(),
            stray_acknowledgements,
            closed_by_broker: self.counts.closed_by_broker,
            stalls: self.counts.stalls,
            latency: self.latencies.summary(),
            ..Report::default()
        }
    }
}
