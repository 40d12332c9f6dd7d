//! All shards of a process and their threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use pelton_base::{HashKey, Mono, Patience, Rng};
use pelton_broker::persist::LoadError;
use pelton_broker::{Settings, Setup};
use pelton_shard::mesh::mesh;
use pelton_shard::{Command, Shard, Snapshot, StoragePort};
use pelton_sockets::{Bind, BindError, Listeners, Sockets, Waker, wake_pair};

use pelton_tcp::Secrets;

use crate::clock::Clock;
use crate::driven::Driven;
use crate::interface::{self, Guard, InterfaceError, InterfacePlan, Served, StackKeys};
use crate::transports::{self, Transports};

/// Commands that may wait for a shard.
const COMMANDS: usize = 1024;
/// How often a shard that has loaded looks for the others.
const LOAD_PAUSE: Duration = Duration::from_micros(200);

/// What a shard does when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Microseconds to look again and again before sleeping.
    pub spin_us: u32,
}

/// What is started.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to listen.
    pub binds: Vec<Bind>,
    /// The interfaces served past the kernel.
    pub interfaces: Vec<InterfacePlan>,
    /// How many shards.
    pub shards: u16,
    /// The core of each shard; empty to leave it to the system.
    pub cores: Vec<usize>,
    /// What to do when idle.
    pub idle: Idle,
    /// How long connections of the kernel's sockets put up with silence (an interface's is in its plan).
    pub patience: Patience,
    /// What the broker is told.
    pub settings: Arc<Settings>,
    /// The key of routes, slots and client ids.
    pub key: HashKey,
    /// Randomness of the process.
    pub seed: u64,
}

/// The fleet could not be started.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Bind(BindError),
    /// An interface cannot be served.
    Interface(InterfaceError),
    /// The system refused a thread, an epoll instance or an eventfd.
    System(std::io::Error),
    /// What is stored is not this broker's.
    Load(LoadError),
    /// The storage could not be opened.
    Storage(Box<dyn std::error::Error + Send + Sync>),
}

/// A storage that was opened for a fleet.
#[derive(Debug)]
pub struct Backing {
    /// The key its slots are hashed with: that of the fleet, whatever the plan says.
    pub key: HashKey,
    /// One for each shard, in order.
    pub ports: Vec<StoragePort>,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Interface(error) => error.fmt(f),
            Self::System(error) => write!(f, "cannot start the shards: {error}"),
            Self::Load(error) => write!(f, "cannot load the store: {error}"),
            Self::Storage(error) => write!(f, "cannot open the store: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<BindError> for StartError {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

impl From<InterfaceError> for StartError {
    fn from(error: InterfaceError) -> Self {
        Self::Interface(error)
    }
}

impl From<LoadError> for StartError {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl From<std::io::Error> for StartError {
    fn from(error: std::io::Error) -> Self {
        Self::System(error)
    }
}

struct Running {
    commands: Sender<Command>,
    waker: Waker,
    thread: JoinHandle<()>,
}

/// The running shards.
pub struct Fleet {
    shards: Vec<Running>,
    addresses: Vec<SocketAddr>,
    interfaces: Vec<Served>,
    /// Dropped when the shards have ended.
    guards: Vec<Guard>,
    stop: Arc<AtomicBool>,
}

/// What one thread is made from.
struct Seat<T: Driven> {
    setup: Setup,
    transport: T::Parts,
    started: Sender<Result<(), StartError>>,
    mesh: pelton_shard::Mesh<T::Handover>,
    commands: Receiver<Command>,
    wakers: Vec<Waker>,
    clock: Clock,
    idle: Idle,
    core: Option<usize>,
    stop: Arc<AtomicBool>,
    storage: Option<StoragePort>,
    progress: Arc<Progress>,
}

/// How far the shards have come together, at the start and at the end.
#[derive(Debug, Default)]
struct Progress {
    /// Shards that have loaded what is theirs.
    loaded: AtomicU32,
    /// Shards that have nothing left to do, a bit each.
    drained: AtomicU64,
}

impl Fleet {
    /// Opens the listeners and starts the threads.
    ///
    /// # Errors
    /// If an address cannot be listened on, or the system refuses what is needed.
    pub fn start(plan: &Plan) -> Result<Self, StartError> {
        Self::start_with(plan, |_| Ok(Backing { key: plan.key, ports: Vec::new() }))
    }

    /// As [`Fleet::start`], with a storage: `open` is given the shards' wakers, to be used after every answer.
    /// Clients are accepted when everything is loaded; those that come sooner wait in the listeners' queues.
    /// `plan.settings.storage` has to be set.
    ///
    /// # Errors
    /// As [`Fleet::start`], and if the storage cannot be opened, or what is stored is not this broker's.
    pub fn start_with(
        plan: &Plan,
        open: impl FnOnce(&[Waker]) -> Result<Backing, Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<Self, StartError> {
        let (listeners, addresses) = Listeners::open(&plan.binds, plan.shards, &plan.patience)?;
        let clock = Clock::start();
        let mut rng = Rng::with_seed(plan.seed);
        let secrets = Secrets { cookie: rng.hash_key(), stamps: rng.hash_key() };
        let keys = StackKeys { secrets, clock_behind_ns: clock.behind_system_ns() };
        let mut interfaces = Vec::new();
        let mut guards = Vec::new();
        let mut devices: Vec<Vec<_>> = (0..plan.shards).map(|_| Vec::new()).collect();
        for interface in &plan.interfaces {
            let opened = interface::open(interface, &plan.binds, plan.shards, keys)?;
            devices.iter_mut().zip(opened.parts).for_each(|(devices, parts)| devices.push(parts));
            interfaces.push(opened.served);
            guards.extend(opened.guard);
        }
        let mut wakers = Vec::new();
        let mut sleepers = Vec::new();
        for _ in 0..plan.shards {
            let (waker, sleeper) = wake_pair()?;
            wakers.push(waker);
            sleepers.push(sleeper);
        }
        let backing = open(&wakers).map_err(StartError::Storage)?;
        let parts = listeners.into_iter().zip(sleepers);
        let mut fleet = if devices.iter().all(Vec::is_empty) {
            Self::launch::<Sockets>(plan, clock, &mut rng, backing, wakers, parts)?
        } else {
            let parts = parts.zip(devices).map(|((listeners, sleeper), devices)| transports::Parts {
                listeners,
                sleeper,
                devices,
            });
            Self::launch::<Transports>(plan, clock, &mut rng, backing, wakers, parts)?
        };
        fleet.addresses = addresses;
        fleet.interfaces = interfaces;
        fleet.guards = guards;
        Ok(fleet)
    }

    /// Starts the threads, each over the transport made from its part of `parts`.
    fn launch<T: Driven + 'static>(
        plan: &Plan,
        clock: Clock,
        rng: &mut Rng,
        backing: Backing,
        wakers: Vec<Waker>,
        parts: impl Iterator<Item = T::Parts>,
    ) -> Result<Self, StartError> {
        let stop = Arc::new(AtomicBool::new(false));
        let Backing { key, ports } = backing;
        let mut ports = ports.into_iter();
        let progress = Arc::new(Progress::default());
        let mut shards = Vec::new();
        let (started, starts) = bounded(usize::from(plan.shards));
        for (number, (transport, mesh)) in parts.zip(mesh(plan.shards)).enumerate() {
            let (sender, commands) = bounded(COMMANDS);
            let setup = Setup {
                shard: number as u16,
                shards: plan.shards,
                key,
                seed: rng.u64(),
                settings: plan.settings.clone(),
                mono: clock.mono(),
                wall: clock.wall(),
            };
            let seat = Seat::<T> {
                setup,
                transport,
                started: started.clone(),
                mesh,
                commands,
                wakers: wakers.clone(),
                clock,
                idle: plan.idle,
                core: plan.cores.get(number).copied(),
                stop: stop.clone(),
                storage: ports.next(),
                progress: progress.clone(),
            };
            // The shard is made in its thread: what it holds never moves.
            let thread =
                std::thread::Builder::new().name(format!("shard-{number}")).spawn(move || seat.run())?;
            shards.push(Running { commands: sender, waker: wakers[number].clone(), thread });
        }
        for _ in 0..plan.shards {
            let ended = || StartError::from(std::io::Error::other("a shard's thread ended as it started"));
            if let Err(error) = starts.recv().unwrap_or_else(|_| Err(ended())) {
                // The others, which may wait for this one, end as well.
                stop.store(true, Ordering::Release);
                wakers.iter().for_each(Waker::wake);
                return Err(error);
            }
        }
        Ok(Self { shards, addresses: Vec::new(), interfaces: Vec::new(), guards: Vec::new(), stop })
    }

    /// The interfaces served past the kernel.
    pub fn interfaces(&self) -> &[Served] {
        &self.interfaces
    }

    /// The addresses listened on, with the ports the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many shards run.
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// Whether no shard runs.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// Sends a command to one shard. `false` if the shard has gone or its channel is full.
    pub fn send(&self, shard: usize, command: Command) -> bool {
        let Some(running) = self.shards.get(shard) else { return false };
        let sent = running.commands.try_send(command).is_ok();
        running.waker.wake();
        sent
    }

    /// What every shard is and has done; shards that do not answer within `limit` are left out.
    pub fn snapshots(&self, limit: Duration) -> Vec<Snapshot> {
        let (sender, answers) = bounded(self.shards.len());
        let asked = (0..self.shards.len())
            .filter(|&shard| self.send(shard, Command::Snapshot(sender.clone())))
            .count();
        let until = Instant::now() + limit;
        let mut snapshots: Vec<Snapshot> =
            (0..asked).map_while(|_| answers.recv_deadline(until).ok()).collect();
        snapshots.sort_by_key(|snapshot| snapshot.shard);
        snapshots
    }

    /// Whether every shard's thread is alive.
    pub fn is_healthy(&self) -> bool {
        self.shards.iter().all(|running| !running.thread.is_finished())
    }

    /// Stops accepting, tells every client, and waits until all connections have ended or `limit` has passed.
    /// Returns whether all shards came to their end in time.
    pub fn shut_down(self, limit: Duration) -> bool {
        for shard in 0..self.shards.len() {
            self.send(shard, Command::ShutDown);
        }
        let until = Instant::now() + limit;
        while self.shards.iter().any(|running| !running.thread.is_finished()) {
            if Instant::now() >= until {
                self.stop.store(true, Ordering::Release);
                for running in &self.shards {
                    running.waker.wake();
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let in_time = Instant::now() < until;
        for running in self.shards {
            let _ = running.thread.join();
        }
        in_time
    }
}

impl<T: Driven> Seat<T> {
    fn run(self) {
        if let Some(core) = self.core {
            let mut set = rustix::thread::CpuSet::new();
            set.set(core);
            // A core that does not exist, or is not ours: the shard runs where the system puts it.
            let _ = rustix::thread::sched_setaffinity(None, &set);
        }
        let Self {
            setup,
            transport,
            started,
            mesh,
            commands,
            wakers,
            clock,
            idle,
            stop,
            storage,
            progress,
            ..
        } = self;
        let transport = match T::make(transport, setup.seed, setup.mono) {
            Ok(transport) => transport,
            Err(error) => {
                let _ = started.send(Err(error.into()));
                return;
            }
        };
        let (number, shards) = (setup.shard, setup.shards);
        let mut shard = Shard::new(setup, transport, mesh, commands);
        if let Some(port) = storage
            && let Err(error) = load(&mut shard, port, shards, &progress, &wakers, clock, &stop)
        {
            let _ = started.send(Err(error.into()));
            return;
        }
        let _ = started.send(Ok(()));
        let spin_ns = u64::from(idle.spin_us) * 1_000;
        let mut idle_since: Option<Mono> = None;
        loop {
            let turn = shard.turn(clock.mono(), clock.wall());
            for woken in turn.woken.iter() {
                if let Some(waker) = wakers.get(usize::from(woken)) {
                    waker.wake();
                }
            }
            if stop.load(Ordering::Acquire) || is_over(&shard, number, shards, &progress, &wakers) {
                return;
            }
            if turn.busy {
                idle_since = None;
                shard.transport().wait(Some(0));
                continue;
            }
            if spin_ns != 0 {
                let now = clock.mono();
                let since = *idle_since.get_or_insert(now);
                if now.since(since) < spin_ns {
                    shard.transport().wait(Some(0));
                    if shard.transport().has_events() {
                        idle_since = None;
                    }
                    std::hint::spin_loop();
                    continue;
                }
            }
            shard.transport().sleeper().fall_asleep();
            let timeout = if shard.has_input() {
                Some(0)
            } else if turn.until == Mono::NEVER {
                None
            } else {
                Some(turn.until.since(clock.mono()))
            };
            shard.transport().wait(timeout);
            shard.transport().sleeper().awake();
            idle_since = None;
        }
    }
}

/// Loads what was found for a shard, and waits until every shard has.
fn load<T: Driven>(
    shard: &mut Shard<T>,
    port: StoragePort,
    shards: u16,
    progress: &Progress,
    wakers: &[Waker],
    clock: Clock,
    stop: &AtomicBool,
) -> Result<(), LoadError> {
    let turn = |shard: &mut Shard<T>| {
        for woken in shard.load_turn(clock.mono(), clock.wall()).iter() {
            if let Some(waker) = wakers.get(usize::from(woken)) {
                waker.wake();
            }
        }
    };
    let found = port.loaded.clone();
    shard.attach(port);
    turn(shard);
    while !stop.load(Ordering::Acquire) {
        match found.recv_timeout(LOAD_PAUSE) {
            Ok(loaded) => {
                shard.load(loaded)?;
                if shard.broker().is_congested() {
                    // What is staged goes on its way, as far as it can.
                    turn(shard);
                }
            }
            // What the others send is taken in meanwhile: they may be waiting for it, and the store for them.
            Err(RecvTimeoutError::Timeout) => turn(shard),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        while !shard.takes_load() && !stop.load(Ordering::Acquire) {
            turn(shard);
            std::thread::yield_now();
        }
    }
    shard.end_load();
    let mut counted = false;
    while !stop.load(Ordering::Acquire) {
        turn(shard);
        if shard.is_loaded() && !std::mem::replace(&mut counted, true) {
            progress.loaded.fetch_add(1, Ordering::AcqRel);
        }
        if progress.loaded.load(Ordering::Acquire) == u32::from(shards) {
            break;
        }
        std::thread::sleep(LOAD_PAUSE);
    }
    shard.all_loaded();
    Ok(())
}

/// Whether a shard that was told to shut down may go: it has nothing left to do, and no other shard can give
/// it anything.
fn is_over<T: Driven>(
    shard: &Shard<T>,
    number: u16,
    shards: u16,
    progress: &Progress,
    wakers: &[Waker],
) -> bool {
    let bit = 1u64 << number;
    if !shard.is_shut_down() {
        if progress.drained.load(Ordering::Acquire) & bit != 0 {
            progress.drained.fetch_and(!bit, Ordering::AcqRel);
        }
        return false;
    }
    let all = u64::MAX >> (64 - u32::from(shards));
    let before = progress.drained.fetch_or(bit, Ordering::AcqRel);
    if before | bit != all {
        return false;
    }
    if before & bit == 0 {
        wakers.iter().for_each(Waker::wake);
    }
    true
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("shards", &self.shards.len())
            .field("addresses", &self.addresses)
            .finish()
    }
}
