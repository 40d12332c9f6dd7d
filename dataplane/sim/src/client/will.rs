//! Wills of a client, and what the standard says must become of each (5.0 section 3.1.2.5).

use pelton_base::Mono;
use pelton_mqtt::{Connect, QoS, TopicName, Will};

use super::{Client, Link, Stand};
use crate::ledger::{Ledger, Message, MessageNo};
use crate::network::ConnId;
use crate::stage::Stage;

/// What must become of a will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WillFate {
    /// Its connection stands, or nothing is known yet.
    Open,
    /// It must be published, not before this instant.
    Published(Mono),
    /// It must not be published.
    Discarded,
    /// Either, as far as a client can know.
    Unknown,
}

/// One will.
#[derive(Clone, Debug)]
pub struct WillRecord {
    /// The message it is, or would be.
    pub message: MessageNo,
    /// The connection that it was made for.
    pub(crate) conn: ConnId,
    /// Will Delay Interval, in seconds.
    pub delay_seconds: u32,
    /// What must become of it.
    pub fate: WillFate,
    /// When that was decided.
    pub decided_at: Mono,
    /// Where it is published after a delay: the broker has noticed the end of its connection, and the delay is over,
    /// by then. A session that comes back before may take it back, however long it has been due for its client.
    pub(super) latest: Mono,
}

impl WillRecord {
    /// Encodes a CONNECT with this will.
    pub(super) fn put_into(&self, ledger: &Ledger, connect: &Connect<'_>, bytes: &mut Vec<u8>) {
        let message = &ledger.messages[self.message];
        let topic = TopicName::new(&message.topic).expect("a valid topic");
        let will = Will {
            topic,
            payload: &message.payload,
            qos: message.qos,
            retain: message.retain,
            delay_interval: self.delay_seconds,
            properties: pelton_mqtt::PublishProperties::NONE,
        };
        Connect { will: Some(will), ..*connect }.encode(bytes);
    }
}

/// How long a broker may take to publish a will whose delay is over, in milliseconds.
const LATE_MS: u64 = 1_000;

impl WillRecord {
    /// Whether it may be published yet, when its connection ended at its shard at an instant.
    pub(crate) fn is_delayed(&self, ended: Mono, now: Mono) -> bool {
        // A session that ends before the delay is over takes no longer [MQTT-3.1.2-8].
        let until = ended.plus_ms(u64::from(self.delay_seconds) * 1_000 + LATE_MS);
        self.delay_seconds != 0 && self.fate != WillFate::Discarded && now < until
    }
}

impl Client {
    /// A will for the CONNECT on a new connection; returns its position.
    pub(super) fn make_will(&mut self, stage: &mut Stage, conn: ConnId) -> usize {
        let qos_max = stage.plan.settings.qos_max;
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][stage.rng.below(3) as usize];
        let delay_seconds = if self.profile.version.is_v5() && stage.rng.chance(500) {
            stage.rng.between(1, 5) as u32
        } else {
            0
        };
        let payload = stage.ledger.payload(20);
        stage.ledger.messages.push(Message {
            topic: format!("w/{}", self.index),
            publisher: self.index,
            session: usize::MAX,
            qos: qos.min(qos_max),
            retain: stage.rng.chance(200),
            payload,
            expiry: None,
            marked: false,
            will: true,
            sent: stage.step,
            sent_at: stage.now,
            accepted: None,
            accepted_at: None,
            refused: false,
            attempts: 1,
        });
        self.wills.push(WillRecord {
            message: stage.ledger.messages.len() - 1,
            conn,
            delay_seconds,
            fate: WillFate::Open,
            decided_at: stage.now,
            latest: Mono::NEVER,
        });
        self.wills.len() - 1
    }

    /// A connection is gone otherwise than by DISCONNECT.
    pub(super) fn will_after_loss(&mut self, stage: &Stage, link: &Link, by_broker: bool) {
        if link.stand == Stand::Awaiting {
            // Its CONNECT may have taken a delayed will back, or sent it by ending the session.
            for record in self.wills.iter_mut().filter(|record| record.delay_seconds != 0) {
                if matches!(record.fate, WillFate::Published(_)) && link.opened_at < record.latest {
                    record.fate = WillFate::Unknown;
                }
            }
        }
        let Some(will) = link.will else { return };
        let record = &mut self.wills[will];
        if record.fate != WillFate::Open {
            return;
        }
        record.decided_at = stage.now;
        if let Some(crash) = link.crashed {
            record.fate = match link.stand {
                // Over bad links the broker may have ended it before, and the delay have begun then.
                Stand::Live if by_broker && record.delay_seconds != 0 && stage.plan.tcp.is_some() => {
                    WillFate::Unknown
                }
                // The session and its will were stored before CONNACK was sent.
                Stand::Live if self.profile.expiry_seconds != 0 && !crash.forgets => {
                    let delay = record.delay_seconds.min(self.profile.expiry_seconds);
                    crash.will_is_due(stage, delay)
                }
                _ => WillFate::Unknown,
            };
            if let WillFate::Published(due) = record.fate {
                record.latest = due.plus_ms(60_000);
            }
            return;
        }
        record.fate = match link.stand {
            Stand::Live if by_broker || link.disturbed => {
                // The broker may have ended it some time ago.
                if record.delay_seconds == 0 { WillFate::Published(Mono(0)) } else { WillFate::Unknown }
            }
            Stand::Live => {
                let ends_at_once = self.profile.expiry_seconds == 0;
                let delay =
                    if ends_at_once { 0 } else { record.delay_seconds.min(self.profile.expiry_seconds) };
                record.latest = stage.now.plus_ms(self.noticed_ms + u64::from(delay) * 1_000);
                WillFate::Published(stage.now.plus_ms(u64::from(delay) * 1_000))
            }
            // Garbage ends a connection as a loss does; after DISCONNECT its fate was set before.
            Stand::Leaving if link.garbage && !link.disturbed && record.delay_seconds == 0 => {
                WillFate::Published(Mono(0))
            }
            Stand::Awaiting | Stand::Leaving => WillFate::Unknown,
        };
    }

    /// A connection was ended by DISCONNECT; `with_will`: with the reason that asks for the will.
    pub(super) fn will_after_disconnect(&mut self, stage: &Stage, with_will: bool, ends_session: bool) {
        let Some(link) = &self.link else { return };
        let Some(will) = link.will else { return };
        let record = &mut self.wills[will];
        record.decided_at = stage.now;
        record.fate = match with_will {
            false => WillFate::Discarded,
            true => {
                let delay =
                    if ends_session { 0 } else { record.delay_seconds.min(self.profile.expiry_seconds) };
                WillFate::Published(stage.now.plus_ms(u64::from(delay) * 1_000))
            }
        };
    }

    /// The broker has closed a connection after DISCONNECT: that is when it heard it, at the latest, and over slow links
    /// long after it was sent.
    pub(super) fn disconnect_was_heard(&mut self, stage: &Stage, link: &Link) {
        if let Some(will) = link.will {
            let record = &mut self.wills[will];
            record.latest = stage.now.plus_ms(u64::from(record.delay_seconds) * 1_000);
        }
    }

    /// Something disturbed a DISCONNECT: whether it was seen is not known.
    pub(super) fn will_is_unknown(&mut self, link: &Link) {
        if let Some(will) = link.will {
            self.wills[will].fate = WillFate::Unknown;
        }
    }

    /// A new connection stands: wills that waited for their delay are decided.
    pub(super) fn wills_after_connack(&mut self, stage: &Stage, resumed: bool) {
        let present = self.link.as_ref().and_then(|link| link.will);
        let opened_at = self.link.as_ref().map_or(stage.now, |link| link.opened_at);
        for (position, record) in self.wills.iter_mut().enumerate() {
            if Some(position) == present || record.delay_seconds == 0 {
                continue;
            }
            if let WillFate::Published(due) = record.fate
                && stage.now < due
            {
                // [MQTT-3.1.3-9] A session that goes on takes its delayed will back; one that ends sends it.
                record.fate = if resumed { WillFate::Discarded } else { WillFate::Published(Mono(0)) };
                record.decided_at = stage.now;
            } else if let WillFate::Published(due) = record.fate
                && !resumed
                && opened_at < due
            {
                // CONNACK was long under way: CONNECT may have come in time to end the session.
                record.fate = WillFate::Published(Mono(0));
            } else if record.fate != WillFate::Discarded && resumed {
                // It may have been sent before, or CONNECT have come before that, long before CONNACK, or before the
                // broker noticed that the client had gone.
                if matches!(record.fate, WillFate::Published(_)) && opened_at < record.latest {
                    record.fate = WillFate::Unknown;
                }
            }
        }
    }
}
