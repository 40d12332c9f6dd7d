//! What a client does with what the broker sends, and the rules it holds it to.

use pelton_mqtt::{Ack, ConnAck, Packet, PacketId, Publish, QoS, ReasonCode, SubAck, UnsubAck};

use super::{Client, Request, Stand, Terms};
use crate::ledger::{Received, Verdict, require};
use crate::stage::Stage;

impl Client {
    pub(super) fn connack(&mut self, stage: &mut Stage, connack: &ConnAck<'_>) -> Verdict {
        let is_v5 = self.profile.version.is_v5();
        if connack.reason != ReasonCode::Success && self.refusal_is_excused(stage) {
            return self.connect_refused(stage, connack.reason);
        }
        require!(connack.reason == ReasonCode::Success, "CONNECT was refused: {:?}", connack.reason);
        let properties = &connack.properties;
        let settings = stage.plan.settings.clone();
        let (opened_at, clean_start) = match &self.link {
            Some(link) => (link.opened_at, link.clean_start),
            None => return Ok(()),
        };
        if is_v5 {
            let announced = properties.receive_maximum.unwrap_or(u16::MAX);
            require!(announced == settings.receive_maximum, "Receive Maximum {announced} was announced");
        }
        let present = connack.session_present;
        require!(!(clean_start && present), "a session is present after a clean start");
        if self.profile.version != pelton_mqtt::Version::V31 {
            self.check_presence(stage, present, opened_at)?;
        }
        let kept = if self.profile.version == pelton_mqtt::Version::V31 {
            // 3.1 does not say; what is certain to be there is.
            self.session.is_some()
        } else {
            present
        };
        if !kept {
            self.end_session(stage);
        }
        if self.session.is_none() {
            let step = stage.step;
            self.begin_session(stage, step);
        }
        if let Some(link) = self.link.as_mut().filter(|link| stage.network.borrow().outlived(link.id)) {
            // It was still being opened: this is the next process.
            link.crashed = None;
        }
        let crashed = self.link.as_ref().and_then(|link| link.crashed);
        self.unsure = crashed.is_some_and(|crash| crash.forgets);
        // A session that was made by it may not be there.
        self.doubtful = self.unsure && !present;
        let qos_max = properties.maximum_qos.unwrap_or(settings.qos_max);
        let Some(link) = &mut self.link else { return Ok(()) };
        link.stand = Stand::Live;
        link.live_at = stage.now;
        // What a client reads may have been sent long ago: only that the connection stood is certain.
        self.last_live_at = link.opened_at;
        link.live_step = stage.step;
        self.given_up = None;
        link.present = kept;
        link.terms = Terms {
            receive_maximum: settings.receive_maximum,
            qos_max,
            alias_maximum: properties.topic_alias_maximum.unwrap_or(0),
        };
        self.wills_after_connack(stage, kept);
        self.send_again(stage);
        Ok(())
    }

    /// A session that is certain to be there, or certain not to be.
    fn check_presence(&self, stage: &Stage, present: bool, opened_at: pelton_base::Mono) -> Verdict {
        if self.doubtful || self.unsure || self.session.is_none() {
            return Ok(());
        }
        let expiry_ms = u64::from(self.profile.expiry_seconds) * 1_000;
        let ledger = &stage.ledger;
        // The broker may have noticed the end long before the client, but not before the connection stood.
        let earliest_end = self.attended_until;
        // While the disk fails a client is let in to its session, and that its expiry has stopped is stored later.
        let may_run_on = expiry_ms < 10_000 && ledger.is_faulty(earliest_end, stage.now);
        // The broker counts in whole milliseconds.
        if ledger.elapsed_ms(earliest_end, stage.now).1 + 1 < expiry_ms && !may_run_on {
            require!(present, "the session is gone, {} s before it expires", expiry_ms / 1_000);
        }
        // The broker notices within half a minute, whatever the network does, but for TCP over bad links.
        // A process that is told of the end of another only by its store counts from its own beginning.
        let latest_end = ledger.crashes.last().map_or(self.left_at, |crash| self.left_at.max(crash.at));
        let jumped = ledger.jumps.iter().any(|&(at, ms)| ms < 0 && at >= self.last_live_at);
        if latest_end.plus_ms(expiry_ms + self.noticed_ms) < opened_at && !jumped {
            require!(!present, "the session is there, long after it expired");
        }
        Ok(())
    }

    /// What was not complete when the last connection ended is sent again, in order [MQTT-4.4.0-1].
    fn send_again(&mut self, stage: &mut Stage) {
        let mut pending = std::mem::take(&mut self.outbound);
        let id = self.link_id();
        for outbound in &mut pending {
            outbound.sent_on = id;
            let packet_id = PacketId::new(outbound.id).expect("not zero");
            if outbound.released {
                self.send(stage, &Packet::PubRel(Ack::new(packet_id, ReasonCode::Success)));
            } else {
                self.transmit(stage, outbound.message, Some(packet_id), true);
            }
        }
        self.outbound = pending;
    }

    pub(super) fn live_packet(&mut self, stage: &mut Stage, packet: Packet<'_>) -> Verdict {
        match packet {
            Packet::Publish(publish) => self.delivery(stage, &publish),
            Packet::PubAck(ack) => self.publish_done(stage, &ack, QoS::AtLeastOnce),
            Packet::PubRec(ack) => self.publish_recorded(stage, &ack),
            Packet::PubComp(ack) => self.publish_complete(&ack),
            Packet::PubRel(ack) => self.delivery_released(stage, &ack),
            Packet::SubAck(suback) => self.subscribed(stage, &suback),
            Packet::UnsubAck(unsuback) => self.unsubscribed(stage, &unsuback),
            Packet::PingResp => {
                let Some(link) = &mut self.link else { return Ok(()) };
                require!(link.pings != link.pings_answered, "PINGRESP without PINGREQ");
                link.pings_answered += 1;
                self.accepted_before_answer(stage);
                Ok(())
            }
            Packet::Disconnect(disconnect) => {
                let Some(link) = &mut self.link else { return Ok(()) };
                let expected = match disconnect.reason {
                    ReasonCode::AdministrativeAction => link.disturbed,
                    ReasonCode::QuotaExceeded => true,
                    // What was released may have come back.
                    ReasonCode::ReceiveMaximumExceeded => !stage.ledger.undone_at.is_empty(),
                    ReasonCode::KeepAliveTimeout => true,
                    ReasonCode::ServerShuttingDown => stage.shutting_down,
                    _ => false,
                };
                require!(expected, "DISCONNECT with {:?}", disconnect.reason);
                link.disturbed = true;
                link.stand = Stand::Leaving;
                // With a session that remembers what is over, only a new one helps.
                self.doubtful |= disconnect.reason == ReasonCode::ReceiveMaximumExceeded;
                self.left_at = stage.now;
                Ok(())
            }
            other => Err(format!("{other:?} is nothing a server sends to a connected client")),
        }
    }

    fn delivery(&mut self, stage: &mut Stage, publish: &Publish<'_>) -> Verdict {
        let Some(link) = &mut self.link else { return Ok(()) };
        let mut topic = publish.topic.as_bytes().to_vec();
        if let Some(alias) = publish.properties.topic_alias() {
            require!(
                alias != 0 && alias <= self.profile.alias_maximum,
                "topic alias {alias} of {}",
                self.profile.alias_maximum
            );
            if topic.is_empty() {
                let known = link.aliases_in.get(&alias);
                require!(known.is_some(), "topic alias {alias} stands for nothing");
                topic = known.cloned().unwrap_or_default().into_bytes();
            } else {
                link.aliases_in.insert(alias, String::from_utf8_lossy(&topic).into_owned());
            }
        }
        let topic = String::from_utf8(topic).map_err(|_| "a topic that is no UTF-8".to_owned())?;
        let mut known = false;
        if let Some(id) = publish.packet_id {
            require!(link.seen.insert(id.get()), "identifier {id:?} again on the same connection");
            require!(!publish.dup || link.present, "DUP on the first connection of a session");
            let window = self.profile.receive_maximum.unwrap_or(u16::MAX);
            let window = usize::from(window.min(stage.plan.settings.inflight_max));
            link.under_way.insert(id.get());
            require!(
                link.under_way.len() <= window,
                "{} deliveries are under way, and {window} may be",
                link.under_way.len()
            );
            if publish.qos == QoS::ExactlyOnce {
                // What a process that forgets has sent may come over TCP when that is gone. It is not answered, nor kept.
                let forgets = stage.plan.tcp.is_some() && link.crashed.is_some_and(|crash| crash.forgets);
                known = self.inbound.contains_key(&id.get()) || forgets;
                require!(
                    !known || forgets || publish.dup,
                    "identifier {id:?} is not free, and comes without DUP"
                );
            } else {
                require!(
                    !self.inbound.contains_key(&id.get()),
                    "identifier {id:?} of a QoS 2 delivery comes with QoS 1"
                );
            }
        }
        let got = Received {
            topic,
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            dup: publish.dup,
            retain: publish.retain,
            expiry: publish.properties.message_expiry(),
            identifiers: publish.properties.subscription_ids().collect(),
            marked: !publish.properties.user_properties().is_empty(),
            known,
            connection_at: link.opened_at,
        };
        let Some(session) = self.session else { return Err("a delivery without a session".to_owned()) };
        stage.ledger.receive(session, &got, stage.step, stage.now)?;
        let Some(id) = publish.packet_id else { return Ok(()) };
        if publish.qos == QoS::ExactlyOnce {
            if link.crashed.is_some_and(|crash| crash.forgets) {
                return Ok(());
            }
            if let Some(number) = crate::ledger::Ledger::number(&got.payload) {
                let before = self.inbound.insert(id.get(), number);
                require!(
                    before.is_none_or(|before| before == number) || !stage.ledger.undone_at.is_empty(),
                    "identifier {id:?} names message {number}, and named {before:?}"
                );
            } else {
                self.inbound.insert(id.get(), usize::MAX);
            }
            self.acknowledge_delivery(stage, &Packet::PubRec(Ack::new(id, ReasonCode::Success)), id, false);
        } else {
            if let Some(link) = &mut self.link {
                link.seen.remove(&id.get());
            }
            self.acknowledge_delivery(stage, &Packet::PubAck(Ack::new(id, ReasonCode::Success)), id, true);
        }
        Ok(())
    }

    fn delivery_released(&mut self, stage: &mut Stage, ack: &Ack<'_>) -> Verdict {
        let id = ack.packet_id;
        let known = self.inbound.remove(&id.get()).is_some();
        let Some(link) = &mut self.link else { return Ok(()) };
        link.seen.remove(&id.get());
        require!(known || link.present || link.crashed.is_some(), "PUBREL of {id:?}, which no delivery had");
        let reason = if known || !self.profile.version.is_v5() {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        self.acknowledge_delivery(stage, &Packet::PubComp(Ack::new(id, reason)), id, true);
        Ok(())
    }

    fn accepted(&mut self, stage: &mut Stage, number: usize) {
        let (step, now) = (stage.step, stage.now);
        let message = &mut stage.ledger.messages[number];
        let crashed = self.link.as_ref().and_then(|link| link.crashed);
        if crashed.is_some_and(|crash| crash.forgets || message.qos == QoS::AtMostOnce) {
            // It was, but what came of it is gone.
            return;
        }
        message.accepted.get_or_insert(step);
        message.accepted_at.get_or_insert(now);
    }

    /// The answer to a PINGREQ tells that the QoS 0 publishes before it were taken.
    fn accepted_before_answer(&mut self, stage: &mut Stage) {
        let Some(link) = &mut self.link else { return };
        let answered = link.pings_answered;
        let split = link.taken_with.partition_point(|&(ping, _)| ping < answered);
        for (_, number) in link.taken_with.drain(..split).collect::<Vec<_>>() {
            self.accepted(stage, number);
        }
    }

    /// Whether a message was not taken because the disk fails.
    fn is_refused(&self, stage: &Stage, number: usize, reason: ReasonCode) -> bool {
        let sent_at = stage.ledger.messages[number].sent_at;
        self.profile.version.is_v5()
            && reason == ReasonCode::QuotaExceeded
            && stage.ledger.is_faulty(sent_at, stage.now)
    }

    fn check_reason(&self, stage: &Stage, number: usize, reason: ReasonCode) -> Verdict {
        if reason != ReasonCode::NoMatchingSubscribers || !self.profile.version.is_v5() {
            require!(!reason.is_error(), "message {number} was refused: {reason:?}");
            return Ok(());
        }
        let message = &stage.ledger.messages[number];
        // A session whose client is away may have expired by a jump of the clock, and the client not have heard of it.
        if stage.ledger.jumps.iter().any(|&(_, ms)| ms > 0) {
            return Ok(());
        }
        for session in stage.ledger.sessions.iter().filter(|session| session.ended.is_none()) {
            let matched = session
                .subscriptions
                .iter()
                .find(|s| s.matches(&message.topic) && s.stands(message.sent, stage.step));
            require!(
                matched.is_none() || !session.persistent || message.attempts > 1,
                "message {number}: nobody matched, it is said, but client {} has {matched:?}",
                session.client
            );
        }
        Ok(())
    }

    fn outbound_at(&self, id: PacketId) -> Option<usize> {
        self.outbound.iter().position(|outbound| outbound.id == id.get())
    }

    fn publish_done(&mut self, stage: &mut Stage, ack: &Ack<'_>, qos: QoS) -> Verdict {
        let Some(position) = self.outbound_at(ack.packet_id) else {
            return Err(format!("{ack:?} of nothing that was published"));
        };
        let outbound = self.outbound[position].clone();
        require!(outbound.qos == qos, "{ack:?} of a publish with {:?}", outbound.qos);
        // [MQTT-4.6.0-2] In the order the packets were sent.
        let earlier = self.outbound.iter().take(position).find(|o| o.qos == qos && !o.released);
        require!(earlier.is_none(), "{ack:?} before that of {earlier:?}");
        self.outbound.remove(position);
        if self.is_refused(stage, outbound.message, ack.reason) {
            return Ok(());
        }
        self.check_reason(stage, outbound.message, ack.reason)?;
        self.accepted(stage, outbound.message);
        Ok(())
    }

    fn publish_recorded(&mut self, stage: &mut Stage, ack: &Ack<'_>) -> Verdict {
        let Some(position) = self.outbound_at(ack.packet_id) else {
            return Err(format!("{ack:?} of nothing that was published"));
        };
        let outbound = self.outbound[position].clone();
        require!(outbound.qos == QoS::ExactlyOnce && !outbound.released, "{ack:?} of {outbound:?}");
        let earlier = self.outbound.iter().take(position).find(|o| o.qos == QoS::ExactlyOnce && !o.released);
        require!(earlier.is_none(), "{ack:?} before that of {earlier:?}");
        if self.is_refused(stage, outbound.message, ack.reason) {
            // [MQTT-4.3.3-9] The identifier is free again.
            self.outbound.remove(position);
            return Ok(());
        }
        self.check_reason(stage, outbound.message, ack.reason)?;
        self.accepted(stage, outbound.message);
        self.outbound[position].released = true;
        self.send(stage, &Packet::PubRel(Ack::new(ack.packet_id, ReasonCode::Success)));
        Ok(())
    }

    fn publish_complete(&mut self, ack: &Ack<'_>) -> Verdict {
        let Some(position) = self.outbound_at(ack.packet_id) else {
            return Err(format!("{ack:?} of nothing that was published"));
        };
        require!(self.outbound[position].released, "{ack:?} before PUBREC");
        let resumed = self.link.as_ref().is_some_and(|link| link.present);
        require!(
            ack.reason == ReasonCode::Success || resumed,
            "PUBCOMP says {:?} of what the same connection published",
            ack.reason
        );
        self.outbound.remove(position);
        Ok(())
    }

    fn subscribed(&mut self, stage: &mut Stage, suback: &SubAck<'_>) -> Verdict {
        let Some(Request::Subscribe(positions)) = self.requests.remove(&suback.packet_id.get()) else {
            return Err(format!("{suback:?} without its SUBSCRIBE"));
        };
        require!(suback.reasons.len() == positions.len(), "SUBACK with {} codes", suback.reasons.len());
        let Some(session) = self.session else { return Ok(()) };
        let step = stage.step;
        let qos_max = stage.plan.settings.qos_max;
        let crashed = self.link.as_ref().and_then(|link| link.crashed);
        let is_forgotten = crashed.is_some_and(|crash| crash.forgets);
        let is_faulty =
            self.link.as_ref().is_some_and(|link| stage.ledger.is_faulty(link.opened_at, stage.now));
        let not_stored = if self.profile.version.is_v5() {
            ReasonCode::QuotaExceeded
        } else {
            ReasonCode::UnspecifiedError
        };
        let subscriptions = &mut stage.ledger.sessions[session].subscriptions;
        for (position, reason) in positions.into_iter().zip(suback.reasons) {
            let wanted = subscriptions[position].qos.min(qos_max);
            if reason == not_stored && is_faulty {
                // It may have been there for a while; after a crash the one before may be there again.
                subscriptions[position].dropped.get_or_insert(step);
                continue;
            }
            require!(reason == ReasonCode::granted(wanted), "SUBACK with {reason:?} instead of {wanted:?}");
            subscriptions[position].qos = wanted;
            if is_forgotten {
                continue;
            }
            subscriptions[position].granted = Some(step);
            let asked = subscriptions[position].asked;
            let (filter, group) =
                (subscriptions[position].filter.clone(), subscriptions[position].group.clone());
            for other in subscriptions.iter_mut().take(position) {
                if other.filter == filter && other.group == group && other.asked < asked {
                    other.gone.get_or_insert(step);
                }
            }
        }
        Ok(())
    }

    fn unsubscribed(&mut self, stage: &mut Stage, unsuback: &UnsubAck<'_>) -> Verdict {
        let Some(Request::Unsubscribe(positions)) = self.requests.remove(&unsuback.packet_id.get()) else {
            return Err(format!("{unsuback:?} without its UNSUBSCRIBE"));
        };
        let Some(session) = self.session else { return Ok(()) };
        let step = stage.step;
        for position in positions {
            let subscription = &mut stage.ledger.sessions[session].subscriptions[position];
            subscription.gone.get_or_insert(step);
        }
        Ok(())
    }
}
