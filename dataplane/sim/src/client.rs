//! A model client: a session's client side, one connection at a time, and the rules of the protocol it holds
//! the broker to. It sends what a correct client may send, whatever happens to its connections.

mod actions;
mod crash;
mod inbound;
mod will;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pelton_base::{Mono, Rng};
use pelton_mqtt::{
    Connect, FixedHeader, Frame, MAX_PACKET, Packet, PacketId, QoS, Version, decode_from_server, frame,
};

use crate::ledger::{MessageNo, SessionNo, SessionRecord, Step, Verdict, require};
use crate::network::ConnId;
use crate::stage::{Event, Stage};
pub use actions::{SubscribeWish, Wish};
use crash::Crashed;
pub use will::{WillFate, WillRecord};

/// How soon the broker notices the end of a connection.
const NOTICED_MS: u64 = 40_000;
/// How soon it does while TCP below has bad links: its probes and retransmissions come ever less often.
const NOTICED_OVER_TCP_MS: u64 = 250_000;
/// The same of the other TCP, which sends a whole window again after each time-out of up to a minute.
const NOTICED_OVER_ANOTHER_MS: u64 = 500_000;

/// What a client is for its whole life.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its client id; empty for one that the broker chooses.
    pub client_id: String,
    /// Protocol version.
    pub version: Version,
    /// Session expiry in seconds, 0 for a session that ends with its connection.
    pub expiry_seconds: u32,
    /// Receive Maximum it sends.
    pub receive_maximum: Option<u16>,
    /// Maximum Packet Size it sends.
    pub packet_bytes_max: Option<u32>,
    /// Topic Alias Maximum it sends.
    pub alias_maximum: u16,
    /// Keep Alive in seconds.
    pub keep_alive: u16,
    /// It holds its acknowledgements back for up to so many microseconds.
    pub acknowledges_late_us: u64,
    /// It joins this shared group, and subscribes to nothing else: filter, name, QoS.
    pub group: Option<(&'static str, &'static str, QoS)>,
    /// It sees everything, and nothing happens to it.
    pub observer: bool,
}

impl Profile {
    fn draw(rng: &mut Rng, index: usize) -> Self {
        let version = [Version::V31, Version::V311, Version::V5, Version::V5][rng.below(4) as usize];
        let persistent = rng.chance(600);
        let observer = index == 0;
        let version = if observer { Version::V5 } else { version };
        let is_v5 = version.is_v5();
        let short = is_v5 && rng.chance(200);
        Self {
            client_id: format!("client-{index}"),
            version,
            expiry_seconds: match (persistent, short) {
                (false, _) => 0,
                (true, true) => rng.between(1, 4) as u32,
                (true, false) => 36_000,
            },
            receive_maximum: (is_v5 && rng.chance(400)).then(|| rng.between(1, 10) as u16),
            packet_bytes_max: (is_v5 && !observer && rng.chance(100)).then(|| rng.between(200, 3_000) as u32),
            alias_maximum: if is_v5 { rng.below(5) as u16 } else { 0 },
            keep_alive: if !observer && rng.chance(100) { rng.between(1, 3) as u16 } else { 0 },
            acknowledges_late_us: if rng.chance(250) { 20_000 } else { 0 },
            group: (!observer && rng.chance(250)).then(|| {
                // All members of a group ask alike, so that what a member misses is another's.
                [
                    ("s/0", "g", QoS::AtLeastOnce),
                    ("s/1", "g", QoS::ExactlyOnce),
                    ("s/#", "h", QoS::AtLeastOnce),
                ][rng.below(3) as usize]
            }),
            observer,
        }
    }
}

/// A publish of QoS 1 or 2 that is not complete.
#[derive(Clone, Debug)]
struct Outbound {
    id: u16,
    message: MessageNo,
    qos: QoS,
    /// PUBREC has come.
    released: bool,
    /// The connection it was last sent on.
    sent_on: ConnId,
}

/// A request that awaits its answer.
#[derive(Clone, Debug)]
enum Request {
    /// Positions of subscriptions in the session's record.
    Subscribe(Vec<usize>),
    /// The same.
    Unsubscribe(Vec<usize>),
}

/// How far a connection is.
/// For so long a SYN cookie is good at least, in milliseconds.
const COOKIE_MS: u64 = 64_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Awaiting,
    Live,
    /// DISCONNECT was sent, or garbage: the broker closes.
    Leaving,
}

/// What the server announced.
#[derive(Clone, Copy, Debug)]
struct Terms {
    receive_maximum: u16,
    qos_max: QoS,
    alias_maximum: u16,
}

#[derive(Debug)]
struct Link {
    id: ConnId,
    stand: Stand,
    opened_at: Mono,
    /// CONNACK came.
    live_at: Mono,
    /// The same.
    live_step: Step,
    clean_start: bool,
    input: Vec<u8>,
    reads: bool,
    present: bool,
    terms: Terms,
    aliases_in: BTreeMap<u16, String>,
    aliases_out: BTreeMap<String, u16>,
    /// Deliveries of QoS 1 and 2 received on this connection and not acknowledged for good.
    under_way: BTreeSet<u16>,
    /// PUBLISHes with QoS 1 and 2 received on this connection, whose identifier was not free since.
    seen: BTreeSet<u16>,
    pings: u64,
    pings_answered: u64,
    /// QoS 0 publishes, each with the number of the PINGREQ that follows: its answer tells that they were taken.
    taken_with: VecDeque<(u64, MessageNo)>,
    late: Vec<u8>,
    late_ids: Vec<u16>,
    /// Something other than this client may end it: its end says nothing about what was sent.
    disturbed: bool,
    will: Option<usize>,
    garbage: bool,
    /// The broker's process ended; what comes was sent before.
    crashed: Option<Crashed>,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    /// Its position among the clients.
    pub index: usize,
    /// What it is.
    pub profile: Profile,
    link: Option<Link>,
    /// Connections it opened, newest last, with the will of each.
    pub connects: u64,
    session: Option<SessionNo>,
    /// A CONNECT whose answer never came may have ended the session, or made one.
    doubtful: bool,
    /// The broker may have forgotten what it said: nothing is expected of its next CONNACK.
    unsure: bool,
    /// The last connection's end, if it was this client's doing or was seen by it.
    left_at: Mono,
    /// The session has had a connection until then: one whose CONNACK never came may not have been heard of.
    attended_until: Mono,
    /// The broker notices within so many milliseconds that a connection has ended.
    noticed_ms: u64,
    /// When the last connection that got CONNACK was opened.
    last_live_at: Mono,
    /// It does not connect before: a CONNECT that was given up may still be under way.
    not_before: Mono,
    disturbed_until: Mono,
    /// The connection that the present one takes over from; closed if that one comes to nothing.
    given_up: Option<ConnId>,
    next_id: u16,
    outbound: VecDeque<Outbound>,
    requests: BTreeMap<u16, Request>,
    /// QoS 2 deliveries received and not released.
    inbound: BTreeMap<u16, MessageNo>,
    next_identifier: u32,
    /// Its wills, one for each CONNECT that had one.
    pub wills: Vec<WillRecord>,
}

impl Client {
    /// A client of a random kind.
    pub fn new(index: usize, rng: &mut Rng) -> Self {
        Self::with_profile(index, Profile::draw(rng, index))
    }

    /// A client of a certain kind.
    pub fn with_profile(index: usize, profile: Profile) -> Self {
        Self {
            index,
            profile,
            link: None,
            connects: 0,
            session: None,
            doubtful: false,
            unsure: false,
            left_at: Mono(0),
            attended_until: Mono(0),
            noticed_ms: NOTICED_MS,
            last_live_at: Mono(0),
            not_before: Mono(0),
            disturbed_until: Mono(0),
            given_up: None,
            next_id: 0,
            outbound: VecDeque::new(),
            requests: BTreeMap::new(),
            inbound: BTreeMap::new(),
            next_identifier: 0,
            wills: Vec::new(),
        }
    }

    /// Its name in traces.
    pub fn name(&self) -> String {
        format!("client {}", self.index)
    }

    /// Whether it has a connection with CONNACK.
    pub fn is_live(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.stand == Stand::Live)
    }

    /// Whether it has no connection.
    pub fn is_offline(&self) -> bool {
        self.link.is_none()
    }

    /// Whether it has a session that ends some seconds after its connection.
    pub fn outstays(&self) -> bool {
        let expiry = self.profile.expiry_seconds;
        !self.profile.observer && (1..10).contains(&expiry) && self.is_live() && self.session().is_some()
    }

    /// It does not come back before an instant.
    pub fn stay_away(&mut self, until: Mono) {
        self.not_before = until;
    }

    /// Its session, if it believes to have one.
    pub fn session(&self) -> Option<SessionNo> {
        self.session.filter(|_| !self.doubtful)
    }

    /// When its present connection got CONNACK.
    pub fn connected_since(&self) -> Option<Mono> {
        self.link.as_ref().map(|link| link.live_at)
    }

    /// The step at which its present connection got CONNACK.
    pub fn connected_at_step(&self) -> Option<Step> {
        self.link.as_ref().map(|link| link.live_step)
    }

    /// What it waits for, for the check that everything settles.
    pub fn waits_for(&self) -> Option<String> {
        let link = self.link.as_ref()?;
        if link.stand == Stand::Awaiting {
            return Some("CONNACK".to_owned());
        }
        if link.stand == Stand::Leaving {
            return Some("the end of its connection".to_owned());
        }
        if !self.outbound.is_empty() {
            return Some(format!("acknowledgements of {:?}", self.outbound));
        }
        if !self.requests.is_empty() {
            return Some(format!("answers to {:?}", self.requests));
        }
        if link.pings != link.pings_answered {
            return Some("PINGRESP".to_owned());
        }
        if !link.late.is_empty() {
            return Some("its own slowness".to_owned());
        }
        if !self.inbound.is_empty() {
            return Some(format!("PUBREL of {:?}", self.inbound));
        }
        (!link.input.is_empty()).then(|| "the rest of a packet".to_owned())
    }

    pub(crate) fn link_id(&self) -> ConnId {
        self.link.as_ref().map_or(0, |link| link.id)
    }

    /// Opens a connection to any shard and sends CONNECT.
    pub fn connect(&mut self, stage: &mut Stage, clean_start: bool, with_will: bool) {
        let shard = stage.rng.below(u64::from(stage.plan.shards)) as u16;
        self.connect_to(stage, shard, clean_start, with_will);
    }

    /// Opens a connection to a shard and sends CONNECT.
    pub fn connect_to(&mut self, stage: &mut Stage, shard: u16, clean_start: bool, with_will: bool) {
        let id = stage.network.borrow_mut().client_connect(shard);
        stage.opened_by.insert(id, self.index);
        self.connects += 1;
        let profile = self.profile.clone();
        let clean_start =
            if profile.version.is_v5() { clean_start || self.doubtful } else { profile.expiry_seconds == 0 };
        // Before v5 a session that is kept cannot be begun anew but by a connection that does not keep it.
        let mut connect = Connect::new(profile.version, &profile.client_id);
        connect.clean_start = clean_start;
        connect.keep_alive = profile.keep_alive;
        if profile.version.is_v5() {
            let properties = &mut connect.properties;
            properties.session_expiry = (profile.expiry_seconds != 0).then_some(profile.expiry_seconds);
            properties.receive_maximum = profile.receive_maximum;
            properties.maximum_packet_size = profile.packet_bytes_max;
            properties.topic_alias_maximum = (profile.alias_maximum != 0).then_some(profile.alias_maximum);
        }
        let mut bytes = Vec::new();
        let will = with_will.then(|| self.make_will(stage, id));
        match will {
            Some(will) => self.wills[will].put_into(&stage.ledger, &connect, &mut bytes),
            None => connect.encode(&mut bytes),
        }
        stage.say(|| {
            let will = will.map(|will| &self.wills[will]);
            format!(
                "client {} connects to shard {shard} as connection {id}, clean {clean_start}, {will:?}",
                self.index
            )
        });
        stage.network.borrow_mut().client_send(id, &bytes);
        if clean_start {
            self.end_session(stage);
        }
        self.link = Some(Link {
            id,
            stand: Stand::Awaiting,
            opened_at: stage.now,
            live_at: Mono::NEVER,
            live_step: Step::MAX,
            clean_start,
            input: Vec::new(),
            reads: true,
            present: false,
            terms: Terms { receive_maximum: u16::MAX, qos_max: QoS::ExactlyOnce, alias_maximum: 0 },
            aliases_in: BTreeMap::new(),
            aliases_out: BTreeMap::new(),
            under_way: BTreeSet::new(),
            seen: BTreeSet::new(),
            pings: 0,
            pings_answered: 0,
            taken_with: VecDeque::new(),
            late: Vec::new(),
            late_ids: Vec::new(),
            disturbed: stage.now < self.disturbed_until || stage.broker_is_down,
            will,
            garbage: false,
            crashed: None,
        });
    }

    /// The session is over, or may be: nothing more is expected of it.
    fn end_session(&mut self, stage: &mut Stage) {
        if let Some(session) = self.session.take() {
            stage.ledger.sessions[session].ended.get_or_insert(stage.step);
        }
        self.outbound.clear();
        self.requests.clear();
        self.inbound.clear();
    }

    fn begin_session(&mut self, stage: &mut Stage, asked: Step) {
        stage.ledger.sessions.push(SessionRecord {
            client: self.index,
            version: self.profile.version,
            persistent: self.profile.expiry_seconds > 1_000,
            asked,
            ended: None,
            subscriptions: Vec::new(),
            received: BTreeMap::new(),
            last: BTreeMap::new(),
        });
        self.session = Some(stage.ledger.sessions.len() - 1);
    }

    /// Bytes of the present connection.
    ///
    /// # Errors
    /// What the broker did wrong.
    pub fn take(&mut self, stage: &mut Stage, id: ConnId, bytes: &[u8]) -> Verdict {
        let Some(link) = self.link.as_mut().filter(|link| link.id == id) else { return Ok(()) };
        link.input.extend_from_slice(bytes);
        let mut input = std::mem::take(&mut link.input);
        let mut used = 0;
        let verdict = loop {
            match frame(&input[used..], MAX_PACKET) {
                Ok(Frame::Partial { .. }) => break Ok(()),
                Ok(Frame::Complete { header, total }) => {
                    let body = &input[used + usize::from(header.header_len)..used + total];
                    used += total;
                    if let Err(why) = self.packet(stage, header, body, total) {
                        break Err(why);
                    }
                    if self.link_id() != id {
                        return Ok(());
                    }
                }
                Err(error) => break Err(format!("bytes that are no packet: {error:?}")),
            }
        };
        input.drain(..used);
        if let Some(link) = self.link.as_mut().filter(|link| link.id == id) {
            link.input = input;
        }
        verdict.map_err(|why| format!("client {} on connection {id}: {why}", self.index))
    }

    fn packet(&mut self, stage: &mut Stage, header: FixedHeader, body: &[u8], total: usize) -> Verdict {
        let version = self.profile.version;
        let packet = match decode_from_server(version, header, body) {
            Ok(packet) => packet,
            Err(error) => return Err(format!("a packet that breaks a rule: {error:?} {body:02x?}")),
        };
        if let Some(max) = self.profile.packet_bytes_max {
            require!(total <= max as usize, "a packet of {total} bytes, more than {max}: {packet:?}");
        }
        stage.say(|| format!("client {} gets {packet:?}", self.index));
        let stand = self.link.as_ref().map(|link| link.stand);
        match (stand, packet) {
            (Some(Stand::Awaiting), Packet::ConnAck(connack)) => self.connack(stage, &connack),
            (Some(Stand::Awaiting), other) => Err(format!("{other:?} before CONNACK")),
            // The broker may not have seen yet that this client leaves.
            (Some(Stand::Leaving), Packet::Disconnect(_)) => {
                if let Some(link) = &mut self.link {
                    link.disturbed = true;
                }
                Ok(())
            }
            (Some(Stand::Leaving) | None, _) => Ok(()),
            (Some(Stand::Live), packet) => self.live_packet(stage, packet),
        }
    }

    /// The broker closed or reset a connection, the present one or one that was given up.
    ///
    /// # Errors
    /// If it had no reason to.
    pub fn closed(&mut self, stage: &mut Stage, id: ConnId, reset: bool) -> Verdict {
        if self.link_id() != id {
            return Ok(());
        }
        let Some(link) = &self.link else { return Ok(()) };
        let orderly = link.stand == Stand::Leaving;
        stage.say(|| format!("client {} finds connection {id} closed, reset {reset}", self.index));
        require!(
            orderly
                || link.disturbed
                || stage.shutting_down
                || self.profile.keep_alive != 0
                || self.may_be_cut_off(stage),
            "client {}: connection {id} was closed for no reason it knows",
            self.index
        );
        require!(
            link.input.is_empty() || reset || !orderly,
            "client {}: connection {id} ended inside of a packet",
            self.index
        );
        self.lose(stage, !orderly, false);
        Ok(())
    }

    /// Reasons of the broker's own to end a connection.
    fn may_be_cut_off(&self, stage: &Stage) -> bool {
        let settings = &stage.plan.settings;
        settings.queue_policy == pelton_broker::settings::QueuePolicy::Disconnect
            || settings.keep_alive_max != 0
            // Where it was opened by a cookie and nothing of it arrived for so long, the cookie is none any more.
            || self.link.as_ref().is_some_and(|link| {
                link.stand == Stand::Awaiting && link.opened_at.plus_ms(COOKIE_MS) <= stage.now
            })
            // A publish that could not be stored ends a v3 connection.
            || self.link.as_ref().is_some_and(|link| stage.ledger.is_faulty(link.opened_at, stage.now))
    }

    /// The machine stands still from now on for so long, and what is under way with it.
    pub fn stands_still(&mut self, now: Mono, ms: u64) {
        if now < self.not_before {
            self.not_before = self.not_before.plus_ms(ms);
        }
    }

    /// The connection is gone. `by_broker`: the broker may have ended it before this client noticed.
    fn lose(&mut self, stage: &mut Stage, by_broker: bool, certain: bool) {
        let may_be_cut_off = self.may_be_cut_off(stage);
        let Some(link) = self.link.take() else { return };
        self.requests.clear();
        // One that would resume the session makes another where that had expired before.
        let expiry_ms = u64::from(self.profile.expiry_seconds) * 1_000;
        let had_expired = self.session.is_some()
            && stage.ledger.elapsed_ms(self.attended_until, stage.now).1 + 1 >= expiry_ms;
        if link.stand == Stand::Awaiting && (link.clean_start || had_expired) {
            self.doubtful = true;
        }
        if link.stand == Stand::Awaiting {
            if let Some(old) = self.given_up.take() {
                stage.network.borrow_mut().client_close(old);
            }
            // Longer than anything that is under way can take; nothing is under way to a process that is gone.
            let lies_about_ms = stage.plan.tcp.as_ref().map_or(0, crate::tcp::TcpPlan::patience_ms);
            // Over TCP what was being opened goes on to be with the next.
            let gone =
                stage.plan.tcp.is_none() && (link.crashed.is_some() || (by_broker && stage.broker_is_down));
            let ms = if gone { 20 } else { 4_000 + lies_about_ms };
            self.not_before = stage.now.plus_ms(ms);
        }
        if link.stand != Stand::Leaving {
            self.left_at = stage.now;
        }
        if link.stand == Stand::Leaving && !link.garbage {
            // What else ended it may have come before DISCONNECT.
            if link.disturbed || by_broker || may_be_cut_off || self.profile.keep_alive != 0 {
                self.will_is_unknown(&link);
            } else {
                self.disconnect_was_heard(stage, &link);
            }
        }
        // While the client did not look the broker may have had a reason of its own.
        let by_broker = by_broker || self.profile.keep_alive != 0 || may_be_cut_off;
        self.noticed_ms = match &stage.plan.tcp {
            Some(tcp) if link.opened_at < stage.healing_since && tcp.foreign != 0 => NOTICED_OVER_ANOTHER_MS,
            Some(_) if link.opened_at < stage.healing_since => NOTICED_OVER_TCP_MS,
            _ => NOTICED_MS,
        };
        if link.stand != Stand::Awaiting {
            let is_sure = certain && !by_broker && !link.disturbed;
            self.attended_until = if is_sure { self.left_at } else { link.opened_at };
        }
        if self.profile.expiry_seconds == 0 {
            self.end_session(stage);
        }
        self.will_after_loss(stage, &link, by_broker);
    }

    fn send(&mut self, stage: &mut Stage, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.profile.version, &mut bytes);
        stage.say(|| format!("client {} sends {packet:?}", self.index));
        stage.network.borrow_mut().client_send(self.link_id(), &bytes);
    }

    /// A packet identifier that is free.
    fn take_id(&mut self, rng: &mut Rng) -> PacketId {
        loop {
            self.next_id = if rng.chance(20) { rng.u64() as u16 } else { self.next_id.wrapping_add(1) };
            let id = self.next_id;
            if id != 0
                && !self.outbound.iter().any(|outbound| outbound.id == id)
                && !self.requests.contains_key(&id)
            {
                return PacketId::new(id).expect("not zero");
            }
        }
    }

    /// Goes on reading.
    pub fn resume(&mut self, stage: &mut Stage, id: ConnId) {
        if let Some(link) = self.link.as_mut().filter(|link| link.id == id) {
            link.reads = true;
            stage.network.borrow_mut().client_reads(id, true);
        }
    }

    /// Sends the acknowledgements it held back.
    pub fn acknowledge(&mut self, stage: &mut Stage, id: ConnId) {
        if let Some(link) = self.link.as_mut().filter(|link| link.id == id) {
            let bytes = std::mem::take(&mut link.late);
            for id in link.late_ids.drain(..) {
                link.under_way.remove(&id);
            }
            stage.network.borrow_mut().client_send(id, &bytes);
        }
    }

    /// Sends an acknowledgement of a delivery, now or later. `done`: the delivery is complete with it.
    fn acknowledge_delivery(&mut self, stage: &mut Stage, packet: &Packet<'_>, id: PacketId, done: bool) {
        let version = self.profile.version;
        let late_us = self.profile.acknowledges_late_us;
        stage.say(|| format!("client {} answers {packet:?}", self.index));
        let Some(link) = &mut self.link else { return };
        if late_us == 0 || stage.healing && link.late.is_empty() {
            let mut bytes = Vec::new();
            packet.encode(version, &mut bytes);
            stage.network.borrow_mut().client_send(link.id, &bytes);
            if done {
                link.under_way.remove(&id.get());
            }
            return;
        }
        if link.late.is_empty() {
            stage.soon(late_us, Event::Acknowledge(self.index, link.id));
        }
        packet.encode(version, &mut link.late);
        if done {
            link.late_ids.push(id.get());
        }
    }
}
