//! The broker over our own TCP: a stack under each shard, a port and a bad link under each stack, and the clients' hosts
//! behind a switch at the other ends. The switch takes a client's frames to a shard by its port, whatever shard its
//! session belongs to: connections move between stacks, and their frames are handed from stack to stack.
//!
//! ```text
//! clients > our stack or smoltcp > switch > link > port > our stack > shard
//! ```
//!
//! What is held against what ([`record`]): every byte that a client's or a shard's stream hands out is the byte that was
//! sent at that place; a stream that ends in order has handed out all; a connection is accepted once and ends once, and
//! is never given up. In the end ([`TcpNetwork::remaining`], [`crate::cluster`]) no stack may have a connection, a
//! record, a timer, a frame or anything to wait for.

mod duties;
mod foreign;
mod link;
mod own;
mod record;
mod repairs;
mod streams;
mod tally;
mod trouble;
mod watch;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use pelton_base::{Mono, Rng};
use pelton_packet::{Interface, MacAddress, Port};
use pelton_tcp::{Relays, Secrets, Settings, Tcp, relays};

use crate::network::{ConnId, ToClient};
use crate::stage::Event;
use crate::transport::Transport;
use foreign::ForeignHost;
use link::{Holes, HostPort, Link, ShardPort, tcp_ports};
use own::OwnHost;
use record::Records;
pub use streams::TcpStreams;
pub use tally::TcpTally;
pub use trouble::TcpPlan;
use trouble::{Phases, Trouble, kind};
use watch::Watch;

const SERVER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const CLIENT_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const FOREIGN_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 3]);
const LISTENER: u16 = 1883;
const FIRST_PORT: u16 = 2_000;
/// The longest time-out, of smoltcp's and of ours.
const LONGEST_TIME_OUT_MS: u64 = 60_000;
/// Ports of smoltcp's connections, for each shard.
const FOREIGN_PORTS: u16 = 8_000;

fn server_address(v6: bool) -> SocketAddr {
    let (v4, six) = ([10, 0, 0, 1], [0xfd00, 0, 0, 0, 0, 0, 0, 1]);
    if v6 { (six, LISTENER).into() } else { (v4, LISTENER).into() }
}

fn client_address(v6: bool, foreign: bool, port: u16) -> SocketAddr {
    let (v4, six) = ([10, 0, 0, if foreign { 3 } else { 2 }], [0xfd00, 0, 0, 0, 0, 0, 0, 2]);
    if v6 { (six, port).into() } else { (v4, port).into() }
}

/// What a process draws when it begins.
fn secrets(rng: &mut Rng) -> Secrets {
    Secrets { cookie: rng.hash_key(), stamps: rng.hash_key() }
}

/// Clients, switch and links.
#[derive(Debug)]
pub struct TcpNetwork {
    plan: TcpPlan,
    rng: Rng,
    now: Mono,
    links: Vec<Link>,
    /// The same for all shards, as they are wherever several stacks serve an interface.
    secrets: Secrets,
    /// How many shards there are: links beyond have nobody at their ends.
    shards: Rc<Cell<u16>>,
    /// There is no process behind the ports.
    down: bool,
    relays: Vec<Option<Relays>>,
    holes: Rc<RefCell<Holes>>,
    own: OwnHost,
    foreign: Option<ForeignHost>,
    records: Rc<RefCell<Records>>,
    watch: Rc<RefCell<Watch>>,
    to_client: VecDeque<(ConnId, ToClient)>,
    woken: BTreeSet<u16>,
    trouble: Option<Trouble>,
    next: ConnId,
    next_port: u16,
    next_foreign: u16,
    /// When the world is to come back, as it was told.
    told: Mono,
    /// Something was done to a link or a host since the last look at them.
    touched: Rc<Cell<bool>>,
    /// Times that the machine stood still.
    stood_still: u64,
    /// What phases there were.
    phases: Phases,
}

impl TcpNetwork {
    /// A network between clients and `shards` shards, kind at first, with links for `shards_max`.
    pub fn new(shards: u16, shards_max: u16, mut rng: Rng, plan: TcpPlan, now: Mono) -> Self {
        let links: Vec<Link> =
            (0..shards_max.max(shards)).map(|_| Link::new(plan.memory, (rng.u64(), rng.u64()))).collect();
        let holes = Rc::<RefCell<Holes>>::default();
        let addresses = [false, true].map(|v6| client_address(v6, false, 0));
        let watch = Rc::new(RefCell::new(Watch::new(plan.promises())));
        let there = Rc::new(Cell::new(shards));
        let port = || HostPort::new(&links, &there, &holes, &watch);
        let own = OwnHost::new(port(), &addresses, plan.client.clone(), rng.u64(), now, watch.clone());
        let foreign =
            (plan.foreign != 0).then(|| ForeignHost::new(port(), plan.foreign_bytes, rng.u64(), now));
        let mut network = Self {
            secrets: secrets(&mut rng.clone()),
            shards: there,
            down: false,
            relays: relays(shards).into_iter().map(Some).collect(),
            own,
            foreign,
            links,
            holes,
            records: Rc::new(RefCell::new(Records::new(watch.clone()))),
            watch,
            to_client: VecDeque::new(),
            woken: BTreeSet::new(),
            trouble: None,
            next: 1,
            next_port: 0,
            next_foreign: 0,
            told: Mono::NEVER,
            touched: Rc::default(),
            stood_still: 0,
            phases: Phases::default(),
            now,
            plan,
            rng,
        };
        network.heal();
        network
    }

    /// The stack of a shard, to be made once for each.
    pub(crate) fn transport(&mut self, shard: u16) -> Transport {
        let interface = Interface {
            mac: SERVER_MAC,
            addresses: [false, true].map(|v6| server_address(v6).ip()).to_vec(),
        };
        let end = self.links[usize::from(shard)].far.clone();
        let port = ShardPort { end, touched: self.touched.clone(), watch: self.watch.clone(), dead: false };
        let settings = Settings { secrets: Some(self.secrets), ..self.plan.server.clone() };
        let mut tcp = Tcp::new(port, interface, &[LISTENER], settings, self.rng.u64(), self.now);
        if let Some(relays) = self.relays[usize::from(shard)].take() {
            tcp.join(relays);
        }
        Transport::Tcp(Box::new(TcpStreams::new(tcp, self.records.clone(), self.watch.clone())))
    }

    pub(crate) fn set_now(&mut self, now: Mono) {
        self.now = now;
        self.watch.borrow_mut().now = now;
    }

    // ---- clients -----------------------------------------------------------------------------------------

    pub(crate) fn client_connect(&mut self, shard: u16) -> ConnId {
        self.touched.set(true);
        let id = self.next;
        self.next += 1;
        let foreign = self.foreign.is_some() && self.rng.chance(self.plan.foreign);
        let v6 = !foreign && self.rng.chance(self.plan.v6);
        let shards = self.links.len() as u16;
        for tried in 1.. {
            // smoltcp's sequence numbers do not go on from one connection to the next: it may not come back to a port
            // that is in TIME-WAIT at the other end.
            let ports = if foreign { FOREIGN_PORTS } else { self.plan.ports };
            let next = if foreign { &mut self.next_foreign } else { &mut self.next_port };
            *next = (*next + 1) % ports;
            let port = FIRST_PORT.next_multiple_of(shards) + *next * shards + shard;
            if tried % ports == 0 {
                // All are in use, or remembered.
                self.plan.ports += 20;
            }
            if self.holes.borrow_mut().has(port, self.now) {
                continue;
            }
            let (local, remote) = (client_address(v6, foreign, port), server_address(v6));
            // Its SYN is sent before it is known that it is opened.
            self.watch.borrow_mut().open(id, local, foreign);
            let opened = match &mut self.foreign {
                Some(host) if foreign => host.connect(id, local, remote),
                _ => self.own.connect(id, (local, remote), self.now),
            };
            if opened {
                self.records.borrow_mut().open(id, local, foreign);
                break;
            }
            self.watch.borrow_mut().did_not_open(id, local);
        }
        id
    }

    fn foreign(&mut self, id: ConnId) -> Option<&mut ForeignHost> {
        self.foreign.as_mut().filter(|host| host.has(id))
    }

    pub(crate) fn is_open(&self, id: ConnId) -> bool {
        self.own.is_open(id) || self.foreign.as_ref().is_some_and(|host| host.is_open(id))
    }

    pub(crate) fn client_send(&mut self, id: ConnId, bytes: &[u8]) {
        self.touched.set(true);
        let records = self.records.clone();
        let records = &mut *records.borrow_mut();
        match self.foreign(id) {
            Some(host) => host.send(id, bytes, records),
            None => self.own.send(id, bytes, records),
        }
    }

    pub(crate) fn client_close(&mut self, id: ConnId) {
        self.let_go(id);
        let now = self.now;
        match self.foreign(id) {
            Some(host) => host.close(id),
            None => self.own.close(id, now),
        }
    }

    pub(crate) fn client_reset(&mut self, id: ConnId) {
        self.let_go(id);
        let now = self.now;
        match self.foreign(id) {
            Some(host) => host.reset(id),
            None => self.own.reset(id, now),
        }
    }

    /// The client has no use for a connection any more.
    fn let_go(&mut self, id: ConnId) {
        self.touched.set(true);
        if self.trouble.is_some() {
            self.records.borrow_mut().let_go.insert(id);
        }
    }

    /// Connections that clients let go of before the links healed.
    pub(crate) fn let_go_in_trouble(&self) -> Vec<ConnId> {
        self.records.borrow().let_go.iter().copied().collect()
    }

    /// When a connection ended at its shard, if it has.
    pub(crate) fn ended_at_shard(&self, id: ConnId) -> Option<Mono> {
        self.records.borrow().ended_at.get(&id).copied()
    }

    /// Whether anything of a connection is at its client's host, if that is ours.
    pub(crate) fn has(&self, id: ConnId) -> bool {
        self.own.has(id)
    }

    /// All of a connection's frames vanish for a while; then its client's host does not know it.
    pub(crate) fn cut(&mut self, id: ConnId, found_ms: u64) {
        let until = self.now.plus_ms(found_ms.min(8_000));
        let port = self.records.borrow().peer(id).map(|peer| peer.port());
        if let Some(port) = port {
            self.holes.borrow_mut().dig(port, until);
        }
        self.client_reset(id);
    }

    pub(crate) fn client_reads(&mut self, id: ConnId, reads: bool) {
        self.touched.set(true);
        match self.foreign.as_mut().filter(|host| host.has(id)) {
            Some(host) => host.reads(id, reads),
            None => self.own.reads(id, reads, &mut self.to_client),
        }
    }

    /// How much a connection takes while its client does not read.
    pub(crate) fn window_bytes(&self, id: ConnId) -> usize {
        match &self.foreign {
            Some(host) if host.has(id) => self.plan.foreign_bytes,
            _ => self.plan.client.receive_window_bytes as usize,
        }
    }

    pub(crate) fn next_for_client(&mut self) -> Option<(ConnId, ToClient)> {
        self.to_client.pop_front()
    }

    // ---- the world ---------------------------------------------------------------------------------------

    /// The links get bad.
    pub(crate) fn trouble(&mut self) {
        self.trouble = Some(Trouble::new(self.plan.clone(), self.rng.fork(), self.links.len()));
        self.told = Mono::NEVER;
        self.touched.set(true);
    }

    /// The links heal.
    pub(crate) fn heal(&mut self) {
        self.trouble = None;
        self.touched.set(true);
        for end in self.links.iter().flat_map(Link::ends) {
            let end = &mut *end.borrow_mut();
            end.faulty.faults = kind();
            end.stuck = false;
            end.feed();
        }
    }

    /// The process ends: of what its stacks knew nothing is left, and what comes for them finds nobody.
    pub(crate) fn lose_shards(&mut self) {
        self.down = true;
        for link in &self.links {
            link.far.borrow_mut().abandon();
        }
        self.watch.borrow_mut().shards_ended();
        self.woken.clear();
        self.touched.set(true);
    }

    /// Whether a connection was opened with the process that is there.
    pub(crate) fn outlived(&self, id: ConnId) -> bool {
        self.watch.borrow().outlived(id)
    }

    /// Another process begins, with stacks that know nothing and keys of their own.
    pub(crate) fn find_shards(&mut self, shards: u16) {
        self.down = false;
        self.shards.set(shards);
        self.relays = relays(shards).into_iter().map(Some).collect();
        self.secrets = secrets(&mut self.rng);
        self.touched.set(true);
    }

    /// Moves frames as far as they go now, lets the clients' hosts turn, and says when to come back.
    pub(crate) fn settle(&mut self, events: &mut Vec<(Mono, Event)>, woken: &mut Vec<u16>) {
        let now = self.now;
        if !self.touched.replace(false) && now < self.told {
            return;
        }
        if self.told <= now {
            self.told = Mono::NEVER;
        }
        if let Some(trouble) = &mut self.trouble
            && trouble.due().is_some_and(|due| due <= now)
        {
            trouble.turn(now, &self.links, &mut self.phases);
        }
        loop {
            self.move_frames();
            let records = &mut *self.records.borrow_mut();
            let mut turned = false;
            if self.own.due().is_some_and(|due| due <= now) {
                self.own.turn(now, records, &mut self.to_client);
                turned = true;
            }
            if let Some(host) = &mut self.foreign
                && host.due().is_some_and(|due| due <= now)
            {
                host.turn(now, records, &mut self.to_client);
                turned = true;
            }
            if !turned {
                break;
            }
        }
        woken.extend(std::mem::take(&mut self.woken));
        if let Some(due) = self.due() {
            let due = due.max(now.plus_us(1));
            if due < self.told {
                self.told = due;
                events.push((due, Event::Wire));
            }
        }
    }

    fn move_frames(&mut self) {
        let now = self.now;
        for (shard, link) in self.links.iter().enumerate() {
            let is_there = !self.down && shard < usize::from(self.shards.get());
            let far = &mut *link.far.borrow_mut();
            if far.pump(now) && is_there {
                self.woken.insert(shard as u16);
            }
            if !is_there {
                far.discard();
            }
            let near = &mut *link.near.borrow_mut();
            near.pump(now);
            while let Some(frame) = near.next() {
                let gone = tcp_ports(&frame).is_some_and(|(_, to)| self.holes.borrow_mut().has(to, now));
                let foreign = frame.get(..6) == Some(&FOREIGN_MAC.0[..]);
                if !gone {
                    match &mut self.foreign {
                        Some(host) if foreign => host.port().deliver(&frame),
                        _ => self.own.port().deliver(&frame),
                    }
                }
                near.faulty.put(frame);
            }
        }
    }

    /// When there is something to do that no event of the world's brings about.
    fn due(&self) -> Option<Mono> {
        let links = self.links.iter().flat_map(Link::ends).filter_map(|end| end.borrow().due());
        let hosts = [self.own.due(), self.foreign.as_ref().and_then(ForeignHost::due)];
        links.chain(hosts.into_iter().flatten()).chain(self.trouble.as_ref().and_then(Trouble::due)).min()
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let (records, watch) = (self.records.borrow(), self.watch.borrow());
        records.failure().or(watch.failure()).map_or(Ok(()), |why| Err(why.clone()))
    }

    pub(crate) fn rest_ms(&self) -> u64 {
        // A wait may have begun anew.
        u64::from(self.plan.server.time_wait_ms.max(self.plan.client.time_wait_ms)) * 2
    }

    /// Connections that clients have open and that they wait on to carry what was given to them.
    pub(crate) fn waiting(&self) -> Vec<ConnId> {
        self.watch.borrow().waiting().filter(|&id| self.is_open(id)).collect()
    }

    /// For how long longer than on another network something may take though the links are kind: many frames at once
    /// find no room, and time-outs that trouble has made longer, smoltcp's, or ours after a round trip in which the machine
    /// stood still, become shorter only bit by bit.
    pub(crate) const fn patience_ms(&self) -> u64 {
        if self.foreign.is_some() || self.plan.jumps.0 != 0 { LONGEST_TIME_OUT_MS } else { 0 }
    }

    /// Whatever the clients' side and the links still have.
    pub(crate) fn remaining(&self) -> Vec<String> {
        let mut remaining = Vec::new();
        self.own.remaining(&mut remaining);
        if let Some(host) = &self.foreign {
            host.remaining(&mut remaining);
        }
        for (shard, link) in self.links.iter().enumerate() {
            for (name, end) in ["the switch's", "the shard's"].iter().zip(link.ends()) {
                let missing = end.borrow().missing();
                if missing != 0 {
                    remaining.push(format!("{missing} frames of {name} end of link {shard}"));
                }
            }
        }
        remaining
    }

    /// What is known of a connection, for messages on failure.
    pub(crate) fn explain(&self, id: ConnId) -> String {
        let links: Vec<String> =
            self.links.iter().flat_map(Link::ends).map(|end| format!("{:?}", end.borrow())).collect();
        format!("connection {id}: {}; links {links:?}", self.own.explain(id))
    }

    /// The machine stood still.
    pub(crate) fn stood_still(&mut self, ms: u64) {
        self.watch.borrow_mut().stood_still(self.now, ms);
        self.stood_still += 1;
    }

    /// What was counted here and by the transports of shards.
    pub(crate) fn tally(&self, shards: &[Vec<(&'static str, u64)>]) -> TcpTally {
        let mut tally = TcpTally::default();
        tally.take(&self.own.figures());
        for link in &self.links {
            tally.take(&link.near.borrow().faulty.figures());
        }
        shards.iter().for_each(|figures| tally.take(figures));
        let Phases { black_holes, starved, stuck } = self.phases;
        tally.take(&[
            ("black_holes", black_holes),
            ("ports_without_frames", starved),
            ("full_rings", stuck),
            ("stood_still", self.stood_still),
            ("bytes_compared", self.records.borrow().bytes),
            ("of_another_tcp", self.records.borrow().foreign),
        ]);
        tally
    }
}
