//! Opens connections and subscribes: so many at a time, so far apart.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use pelton_mqtt::{ConnAck, DecodeError, PacketType, QoS, SubAck};

use crate::clock::{Clock, ns};
use crate::failure::Failure;
use crate::latency::Latencies;
use crate::link::{Link, Taken};
use crate::options::Options;
use crate::packets;
use crate::poller::Poller;

/// How long the broker has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to be.
pub(crate) struct Wanted {
    pub(crate) client_id: String,
    /// `None` to subscribe to nothing.
    pub(crate) filter: Option<String>,
}

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Connecting,
    Subscribing,
    Open,
}

/// What the broker granted a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_qos: QoS,
}

/// The broker's address.
pub(crate) fn resolve(options: &Options) -> Result<SocketAddr, Failure> {
    let resolve = |error| Failure::Resolve(options.host.clone(), error);
    let mut addresses = (options.host.as_str(), options.port).to_socket_addrs().map_err(resolve)?;
    addresses.next().ok_or_else(|| resolve(std::io::Error::other("no address")))
}

pub(crate) struct Opener<'a> {
    options: &'a Options,
    pub(crate) address: SocketAddr,
    pub(crate) poller: Poller,
    pub(crate) links: Vec<Link>,
    pub(crate) granted: Vec<Granted>,
    pub(crate) buffer: Vec<u8>,
    /// From the start of each connect to its CONNACK.
    pub(crate) latencies: Latencies,
    pub(crate) clock: Clock,
    /// Sessions outlive their connections.
    pub(crate) stays: bool,
}

impl<'a> Opener<'a> {
    pub(crate) fn new(options: &'a Options) -> Result<Self, Failure> {
        // Timers to the nanosecond: the usual 50 us of slack would be in every latency.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        Ok(Self {
            options,
            address: resolve(options)?,
            poller: Poller::new()?,
            links: Vec::new(),
            granted: Vec::new(),
            buffer: Vec::new(),
            latencies: Latencies::new(),
            clock: Clock::start(),
            stays: false,
        })
    }

    /// Opens `count` more connections: number N of all is `wanted(N)`.
    pub(crate) fn open(&mut self, count: usize, wanted: impl Fn(usize) -> Wanted) -> Result<(), Failure> {
        let first = self.links.len();
        let last = first + count;
        let begin_ns = self.clock.now_ns();
        let interval_ns = self.options.interval * 1e6;
        let mut steps: Vec<(Step, u64)> = Vec::with_capacity(count);
        let mut under_way = 0;
        let mut open = 0;
        let mut look_ns = begin_ns;
        while open < count {
            let now_ns = self.clock.now_ns();
            while self.links.len() < last && under_way < self.options.opening {
                let number = self.links.len();
                if now_ns < begin_ns + (interval_ns * (number - first) as f64) as u64 {
                    break;
                }
                self.start(number, &wanted(number).client_id)?;
                steps.push((Step::Connecting, self.clock.now_ns()));
                under_way += 1;
            }
            self.poller.wait(1_000_000);
            for index in 0..self.poller.len() {
                let ready = self.poller.get(index);
                let is_writable = self.links[ready.number].became(ready);
                let Some(step) = ready.number.checked_sub(first).and_then(|nth| steps.get_mut(nth)) else {
                    continue;
                };
                if step.0 == Step::Open {
                    continue;
                }
                if is_writable {
                    self.flush(ready.number)?;
                }
                while step.0 != Step::Open && ready.readable {
                    let more = self.take(ready.number, step, &wanted)?;
                    if step.0 == Step::Open {
                        open += 1;
                        under_way -= 1;
                    }
                    if !more {
                        break;
                    }
                }
            }
            let now_ns = self.clock.now_ns();
            if now_ns > look_ns + 1_000_000_000 {
                look_ns = now_ns;
                let late = |step: &(Step, u64)| step.0 != Step::Open && now_ns > step.1 + ns(PATIENCE);
                if steps.iter().any(late) {
                    return Err(Failure::Silent(self.address, PATIENCE));
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, number: usize, client_id: &str) -> Result<(), Failure> {
        let mut link =
            Link::open(self.address, number).map_err(|error| Failure::Connect(self.address, error))?;
        link.out = packets::connect(self.options, client_id, self.stays);
        if let Some(socket) = link.socket() {
            self.poller.add(socket, number)?;
        }
        self.links.push(link);
        self.granted.push(Granted { receive_maximum: u16::MAX, maximum_qos: QoS::ExactlyOnce });
        self.flush(number)
    }

    fn flush(&mut self, number: usize) -> Result<(), Failure> {
        let link = &mut self.links[number];
        if link.flush() { Ok(()) } else { Err(ended(link, self.address)) }
    }

    /// Reads once. Returns whether there may be more.
    fn take(
        &mut self,
        number: usize,
        step: &mut (Step, u64),
        wanted: &impl Fn(usize) -> Wanted,
    ) -> Result<bool, Failure> {
        let Self { options, links, buffer, granted, latencies, clock, address, .. } = self;
        let link = &mut links[number];
        let version = options.version;
        let mut failure = None;
        let taken = link.read(buffer, |header, body, out| {
            match (header.packet_type, step.0) {
                (PacketType::ConnAck, Step::Connecting) => {
                    let connack = ConnAck::decode(version, body)?;
                    if connack.reason.is_error() {
                        failure = Some(Failure::Refused(connack.reason));
                        return Ok(());
                    }
                    latencies.record(clock.now_ns() - step.1);
                    granted[number] = Granted {
                        receive_maximum: connack.properties.receive_maximum.unwrap_or(u16::MAX),
                        maximum_qos: connack.properties.maximum_qos.unwrap_or(QoS::ExactlyOnce),
                    };
                    step.0 = Step::Open;
                    if let Some(filter) = wanted(number).filter {
                        match packets::subscribe(version, &filter, options.qos) {
                            Some(packet) => out.extend_from_slice(&packet),
                            None => failure = Some(Failure::Option(format!("{filter}: not a topic filter"))),
                        }
                        step.0 = Step::Subscribing;
                    }
                }
                (PacketType::SubAck, Step::Subscribing) => {
                    let suback = SubAck::decode(version, body)?;
                    if let Some(reason) = suback.reasons.into_iter().find(|reason| reason.is_error()) {
                        let filter = wanted(number).filter.unwrap_or_default();
                        failure = Some(Failure::NotSubscribed(filter, reason));
                    }
                    step.0 = Step::Open;
                }
                // What else comes early, such as a retained message, is not of this run.
                _ => {}
            }
            Ok::<(), DecodeError>(())
        })?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if taken == Taken::Ended {
            return Err(ended(link, *address));
        }
        self.flush(number)?;
        Ok(taken == Taken::More)
    }
}

/// Why a connection ended before it was ready.
pub(crate) fn ended(link: &Link, address: SocketAddr) -> Failure {
    match link.error() {
        Some(error) => Failure::Connect(address, error),
        None => Failure::ClosedEarly(address),
    }
}
