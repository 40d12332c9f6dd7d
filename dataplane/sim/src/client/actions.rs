//! What a client does of its own accord.

use pelton_mqtt::{
    Disconnect, Filters, PINGREQ, PINGRESP, Packet, PacketId, Property, Publish, PublishProperties, QoS,
    RawFilter, RawTopic, ReasonCode, RetainHandling, Subscribe, SubscribeOptions, Subscription,
    Subscriptions, Unsubscribe, UserProperties,
};

use pelton_broker::settings::QueuePolicy;

use super::{Client, Outbound, Request, Stand};
use crate::ledger::{Message, Subscribed};
use crate::network::ConnId;
use crate::stage::{Event, Stage};

/// Windows that are filled by clients that stop reading: no wider ones, which take too much of a run.
const UNREAD_BYTES_MAX: usize = 8_192;
/// How long they do not read, in milliseconds: the other end has to ask whether there is room again.
const UNREAD_MS: u64 = 5_000;

/// Which of the publishes a client makes up.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The topic.
    pub topic: String,
    /// The QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Bytes of the payload; 0 clears a retained message.
    pub len: usize,
    /// Message Expiry Interval.
    pub expiry: Option<u32>,
}

/// What a client subscribes to.
#[derive(Clone, Debug)]
pub struct SubscribeWish {
    /// The filter, without `$share/…`.
    pub filter: String,
    /// The shared group.
    pub group: Option<String>,
    /// How.
    pub options: SubscribeOptions,
}

impl Client {
    /// Does something; what, is drawn.
    pub fn act(&mut self, stage: &mut Stage) {
        if self.link.is_none() {
            if stage.now < self.not_before {
                return;
            }
            let clean = stage.rng.chance(150);
            let with_will = !self.profile.observer && stage.rng.chance(400);
            return self.connect(stage, clean, with_will);
        }
        let Some(link) = &self.link else { return };
        if link.stand != Stand::Live {
            if link.stand == Stand::Awaiting && !self.profile.observer && stage.rng.chance(20) {
                self.drop_connection(stage);
            }
            return;
        }
        let w = stage.plan.weights;
        let weights = [
            w.publish,
            w.subscribe,
            w.unsubscribe,
            w.ping,
            w.pause,
            w.disconnect,
            w.drop,
            w.takeover,
            w.garbage,
        ];
        let mut at = stage.rng.below(weights.iter().sum());
        let mut choice = 0;
        while at >= weights[choice] {
            at -= weights[choice];
            choice += 1;
        }
        match choice {
            0 => self.publish_some(stage),
            1 => self.subscribe_some(stage),
            2 => self.unsubscribe_some(stage),
            3 => self.ping(stage),
            4 => self.pause(stage),
            5 => self.disconnect_somehow(stage),
            6 => self.drop_connection(stage),
            7 => self.take_over(stage),
            _ => self.send_garbage(stage),
        }
    }

    // ---- publishing --------------------------------------------------------------------------------------

    fn publish_some(&mut self, stage: &mut Stage) {
        for _ in 0..stage.rng.between(1, 8) {
            let wish = self.draw_publish(stage);
            self.publish(stage, wish);
        }
    }

    fn draw_publish(&self, stage: &mut Stage) -> Wish {
        let plan = &stage.plan;
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][stage.rng.below(3) as usize];
        let len = stage.rng.between(8, plan.payload_bytes_max) as usize;
        let expires = self.profile.version.is_v5() && stage.rng.chance(plan.expiry_per_mille);
        let expiry = expires.then(|| stage.rng.between(1, 5) as u32);
        let retain = stage.rng.chance(plan.retain_per_mille);
        let topic = match stage.rng.below(100) {
            0..20 if plan.retain_per_mille != 0 => {
                let topic = format!("r/{}/{}", self.index, stage.rng.below(3));
                let len = if stage.rng.chance(200) { 0 } else { len };
                return Wish { topic, qos, retain: true, len, expiry };
            }
            20..40 => format!("s/{}", stage.rng.below(2)),
            _ => plan.topics[stage.rng.below(plan.topics.len() as u64) as usize].clone(),
        };
        Wish { topic, qos, retain, len, expiry }
    }

    /// Publishes, if flow control lets it.
    pub fn publish(&mut self, stage: &mut Stage, wish: Wish) {
        let (Some(link), Some(session)) = (&self.link, self.session) else { return };
        let qos = wish.qos.min(link.terms.qos_max);
        let quota = usize::from(link.terms.receive_maximum);
        // Before v5 a client knows no such limit.
        let quota = if self.profile.version.is_v5() { quota } else { quota.saturating_mul(4) };
        if qos != QoS::AtMostOnce && self.outbound.len() >= quota {
            return;
        }
        let payload = if wish.len == 0 { Vec::new() } else { stage.ledger.payload(wish.len) };
        let marked = self.profile.version.is_v5() && stage.rng.chance(300);
        stage.ledger.messages.push(Message {
            topic: wish.topic,
            publisher: self.index,
            session,
            qos,
            retain: wish.retain,
            payload,
            expiry: wish.expiry,
            marked,
            will: false,
            sent: stage.step,
            sent_at: stage.now,
            accepted: None,
            accepted_at: None,
            refused: false,
            attempts: 0,
        });
        let message = stage.ledger.messages.len() - 1;
        let packet_id = (qos != QoS::AtMostOnce).then(|| self.take_id(&mut stage.rng));
        if let Some(id) = packet_id {
            let sent_on = self.link_id();
            self.outbound.push_back(Outbound { id: id.get(), message, qos, released: false, sent_on });
        } else if let Some(link) = &mut self.link {
            link.taken_with.push_back((link.pings, message));
        }
        self.transmit(stage, message, packet_id, false);
    }

    /// Sends a PUBLISH.
    pub(super) fn transmit(
        &mut self,
        stage: &mut Stage,
        number: usize,
        packet_id: Option<PacketId>,
        dup: bool,
    ) {
        stage.ledger.messages[number].attempts += 1;
        let message = stage.ledger.messages[number].clone();
        let Some(link) = &mut self.link else { return };
        let mut block = Vec::new();
        let mut topic = message.topic.as_str();
        if self.profile.version.is_v5() {
            if let Some(expiry) = message.expiry {
                Property::MessageExpiry(expiry).encode(&mut block);
            }
            if message.marked {
                Property::User("mark", &message.topic).encode(&mut block);
            }
            let maximum = link.terms.alias_maximum;
            match link.aliases_out.get(topic) {
                Some(&alias) if stage.rng.chance(700) => {
                    Property::TopicAlias(alias).encode(&mut block);
                    topic = "";
                }
                _ if maximum != 0 && stage.rng.chance(400) => {
                    let alias = stage.rng.between(1, u64::from(maximum)) as u16;
                    link.aliases_out.retain(|_, other| *other != alias);
                    link.aliases_out.insert(message.topic.clone(), alias);
                    Property::TopicAlias(alias).encode(&mut block);
                }
                _ => {}
            }
        }
        let publish = Publish {
            dup,
            qos: message.qos,
            retain: message.retain,
            topic: RawTopic::new(topic.as_bytes()),
            packet_id,
            properties: PublishProperties::new(&block).expect("properties that fit"),
            payload: &message.payload,
        };
        stage.say(|| {
            format!(
                "client {} publishes message {number} on {}, {:?}, id {packet_id:?}, retain {}, dup {dup}, {} bytes",
                self.index, message.topic, message.qos, message.retain, message.payload.len()
            )
        });
        let mut bytes = Vec::new();
        publish.encode(self.profile.version, &mut bytes);
        stage.network.borrow_mut().client_send(self.link_id(), &bytes);
    }

    // ---- subscribing -------------------------------------------------------------------------------------

    fn subscribe_some(&mut self, stage: &mut Stage) {
        let count = if stage.rng.chance(300) { stage.rng.between(2, 4) } else { 1 };
        let mut wishes: Vec<SubscribeWish> = Vec::new();
        for _ in 0..count {
            let wish = self.draw_subscribe(stage);
            if !wishes.iter().any(|other| other.filter == wish.filter && other.group == wish.group) {
                wishes.push(wish);
            }
        }
        let identifier = if self.profile.version.is_v5() && stage.rng.chance(500) {
            self.next_identifier += 1;
            self.next_identifier
        } else {
            0
        };
        self.subscribe(stage, &wishes, identifier);
    }

    fn draw_subscribe(&self, stage: &mut Stage) -> SubscribeWish {
        let is_v5 = self.profile.version.is_v5();
        if let Some((filter, group, qos)) = self.profile.group {
            let options = SubscribeOptions::new(qos);
            return SubscribeWish { filter: filter.to_owned(), group: Some(group.to_owned()), options };
        }
        let mut options = SubscribeOptions::new(
            [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][stage.rng.below(3) as usize],
        );
        if is_v5 {
            options.no_local = stage.rng.chance(200);
            options.retain_as_published = stage.rng.chance(300);
            options.retain_handling =
                [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend]
                    [stage.rng.below(3) as usize];
        }
        let wild = ["#", "+", "+/#", "+/+", "a/#", "a/+", "+/b", "/+", "r/#", "r/+/0", "+/+/+", "s/0", "w/#"];
        let filter = if stage.plan.exact || stage.rng.chance(500) {
            let n = stage.rng.below(stage.plan.topics.len() as u64) as usize;
            stage.plan.topics[n].clone()
        } else if stage.rng.chance(200) {
            format!("r/{}/{}", stage.rng.below(stage.plan.clients as u64), stage.rng.below(3))
        } else {
            wild[stage.rng.below(wild.len() as u64) as usize].to_owned()
        };
        SubscribeWish { filter, group: None, options }
    }

    /// Subscribes.
    pub fn subscribe(&mut self, stage: &mut Stage, wishes: &[SubscribeWish], identifier: u32) {
        let Some(session) = self.session else { return };
        let id = self.take_id(&mut stage.rng);
        let step = stage.step;
        let mut positions = Vec::new();
        let texts: Vec<String> = wishes
            .iter()
            .map(|wish| match &wish.group {
                Some(group) => format!("$share/{group}/{}", wish.filter),
                None => wish.filter.clone(),
            })
            .collect();
        for wish in wishes {
            let list = &mut stage.ledger.sessions[session].subscriptions;
            let mut replaces = false;
            for other in list.iter_mut() {
                if other.filter == wish.filter && other.group == wish.group {
                    replaces |= other.stands(step, step);
                    other.dropped.get_or_insert(step);
                }
            }
            positions.push(list.len());
            list.push(Subscribed {
                filter: wish.filter.clone(),
                group: wish.group.clone(),
                qos: wish.options.qos,
                no_local: wish.options.no_local,
                retain_as_published: wish.options.retain_as_published,
                handling: wish.options.retain_handling,
                identifier,
                replaces,
                asked: step,
                granted: None,
                dropped: None,
                gone: None,
                refused: false,
            });
        }
        let list: Vec<Subscription<'_>> = texts
            .iter()
            .zip(wishes)
            .map(|(text, wish)| Subscription {
                filter: RawFilter::new(text).expect("a filter"),
                options: wish.options,
            })
            .collect();
        let subscribe = Subscribe {
            packet_id: id,
            subscription_id: (identifier != 0).then_some(identifier),
            user_properties: UserProperties::NONE,
            subscriptions: Subscriptions::new(&list),
        };
        self.send(stage, &Packet::Subscribe(subscribe));
        self.requests.insert(id.get(), Request::Subscribe(positions));
    }

    /// UNSUBSCRIBE from one of its filters.
    pub(crate) fn unsubscribe_some(&mut self, stage: &mut Stage) {
        let Some(session) = self.session else { return };
        let step = stage.step;
        let list = &stage.ledger.sessions[session].subscriptions;
        let stands: Vec<usize> = (0..list.len()).filter(|&n| list[n].dropped.is_none()).collect();
        if stands.is_empty() {
            return;
        }
        let chosen = stands[stage.rng.below(stands.len() as u64) as usize];
        let (filter, group) = (list[chosen].filter.clone(), list[chosen].group.clone());
        let mut positions = Vec::new();
        for (position, other) in stage.ledger.sessions[session].subscriptions.iter_mut().enumerate() {
            if other.filter == filter && other.group == group && other.gone.is_none() {
                other.dropped.get_or_insert(step);
                positions.push(position);
            }
        }
        let text = match &group {
            Some(group) => format!("$share/{group}/{filter}"),
            None => filter,
        };
        let id = self.take_id(&mut stage.rng);
        let filters = [RawFilter::new(&text).expect("a filter")];
        let unsubscribe = Unsubscribe {
            packet_id: id,
            user_properties: UserProperties::NONE,
            filters: Filters::new(&filters),
        };
        self.send(stage, &Packet::Unsubscribe(unsubscribe));
        self.requests.insert(id.get(), Request::Unsubscribe(positions));
    }

    /// PINGREQ.
    pub fn ping(&mut self, stage: &mut Stage) {
        let Some(link) = &mut self.link else { return };
        if link.stand == Stand::Live {
            link.pings += 1;
            stage.network.borrow_mut().client_send(link.id, &PINGREQ);
        }
    }

    // ---- coming and going --------------------------------------------------------------------------------

    fn pause(&mut self, stage: &mut Stage) {
        let Some(link) = &mut self.link else { return };
        link.reads = false;
        let id = link.id;
        stage.say(|| format!("client {} stops reading", self.index));
        stage.network.borrow_mut().client_reads(id, false);
        let ms = [10, 500, 5_000, 20_000][stage.rng.below(4) as usize];
        let window = stage.network.borrow().window_bytes(id);
        if ms >= UNREAD_MS && window <= UNREAD_BYTES_MAX {
            self.fill_window(stage, window);
        }
        let at = stage.now.plus_ms(stage.rng.below(ms));
        stage.calendar.enter(at, Event::Resume(self.index, id));
    }

    /// Asks for more answers than its window takes, and leaves them there.
    fn fill_window(&mut self, stage: &mut Stage, window: usize) {
        let Some(link) = self.link.as_mut().filter(|link| link.stand == Stand::Live) else { return };
        let answers = window / PINGRESP.len() + stage.rng.between(1, 200) as usize;
        link.pings += answers as u64;
        stage.network.borrow_mut().client_send(link.id, &PINGREQ.repeat(answers));
    }

    fn disconnect_somehow(&mut self, stage: &mut Stage) {
        let is_v5 = self.profile.version.is_v5();
        let with_will = is_v5 && stage.rng.chance(300);
        let ends = is_v5 && self.profile.expiry_seconds != 0 && stage.rng.chance(150);
        self.disconnect(stage, with_will, ends);
    }

    /// DISCONNECT; the broker closes. `ends_session`: with a session expiry of 0.
    pub fn disconnect(&mut self, stage: &mut Stage, with_will: bool, ends_session: bool) {
        if !self.is_live() {
            return;
        }
        let reason = if with_will { ReasonCode::DisconnectWithWill } else { ReasonCode::Success };
        let mut disconnect = Disconnect::new(reason);
        disconnect.session_expiry = ends_session.then_some(0);
        self.send(stage, &Packet::Disconnect(disconnect));
        self.will_after_disconnect(stage, with_will, ends_session || self.profile.expiry_seconds == 0);
        if ends_session {
            self.end_session(stage);
            self.doubtful = true;
        }
        self.left_at = stage.now;
        let Some(link) = &mut self.link else { return };
        link.stand = Stand::Leaving;
        // It must read to see the end.
        link.reads = true;
        stage.network.borrow_mut().client_reads(link.id, true);
    }

    fn drop_connection(&mut self, stage: &mut Stage) {
        let id = self.link_id();
        let how = stage.rng.below(3);
        stage.say(|| {
            format!(
                "client {} drops connection {id}: {}",
                self.index,
                ["closed", "reset", "cut"][how as usize]
            )
        });
        let found_ms = stage.rng.below(20_000);
        match how {
            0 => stage.network.borrow_mut().client_close(id),
            1 => stage.network.borrow_mut().client_reset(id),
            _ => stage.network.borrow_mut().cut(id, found_ms),
        }
        self.lose(stage, false, true);
    }

    /// A second connection takes over.
    pub(crate) fn take_over(&mut self, stage: &mut Stage) {
        let old: ConnId = self.link_id();
        stage.say(|| format!("client {} gives connection {old} up for a new one", self.index));
        stage.network.borrow_mut().client_reads(old, true);
        self.lose(stage, false, true);
        let clean = stage.rng.chance(150);
        let with_will = stage.rng.chance(400);
        self.connect(stage, clean, with_will);
        self.given_up = Some(old);
    }

    fn send_garbage(&mut self, stage: &mut Stage) {
        let Some(link) = &mut self.link else { return };
        stage.say(|| format!("client {} sends garbage", self.index));
        stage.network.borrow_mut().client_send(link.id, &[0x00, 0x00, 0x17]);
        self.left_at = stage.now;
        link.stand = Stand::Leaving;
        link.garbage = true;
        link.reads = true;
        stage.network.borrow_mut().client_reads(link.id, true);
    }

    /// An operator ends the connection some time soon.
    pub fn is_being_kicked(&mut self, stage: &Stage) {
        self.disturbed_until = stage.now.plus_ms(5_000);
        if let Some(link) = &mut self.link {
            link.disturbed = true;
        }
    }

    /// What it does while everything comes to rest: persistent sessions come back, nobody stays silent.
    pub fn heal(&mut self, stage: &mut Stage) {
        let Some(link) = &self.link else {
            if self.session.is_some() && stage.now >= self.not_before {
                // Where a full queue ends the connection, a client that is subscribed to what it sends again
                // would go round for ever.
                if stage.plan.settings.queue_policy == QueuePolicy::Disconnect {
                    self.outbound.clear();
                }
                self.connect(stage, false, false);
            }
            return;
        };
        let id = link.id;
        if !link.reads {
            self.resume(stage, id);
        }
        if self.profile.keep_alive != 0 || stage.plan.settings.keep_alive_max != 0 || self.profile.observer {
            self.ping(stage);
        }
    }
}
