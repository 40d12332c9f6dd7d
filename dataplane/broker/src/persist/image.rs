//! Sessions as they are stored.

use pelton_base::{Key, Wall};
use pelton_storage_ops::{OpKind, SessionId, SessionImage, SessionKind};

use crate::broker::Broker;
use crate::will::Will;

impl Broker {
    /// Stages the image of a stored session; nothing for others.
    pub(crate) fn put_session(&mut self, session_key: Key) {
        let Some(session) = self.core.sessions.get(session_key) else { return };
        if !session.is_stored() {
            return;
        }
        let image = SessionImage {
            kind: SessionKind::Client,
            client_id: session.client_id.as_str().to_owned(),
            expiry_seconds: session.expiry_seconds,
            expires: session.expires(),
            // One that waits for room is as good as not published.
            will: match self.core.sessions.will(session_key) {
                Some(will) => Some(will.image()),
                None => self.wills.iter().find_map(|will| will.of(session.serial)).map(Will::image),
            },
        };
        let id = session.id();
        self.put_image(id, &image);
    }

    /// Stages the pseudo-session of a shared group's queue.
    pub(crate) fn put_group(&mut self, id: SessionId, name: &str, filter: &str) {
        let image = SessionImage {
            kind: SessionKind::Group,
            client_id: format!("{name}/{filter}"),
            expiry_seconds: u32::MAX,
            expires: Wall::NEVER,
            will: None,
        };
        self.put_image(id, &image);
    }

    fn put_image(&mut self, session: SessionId, image: &SessionImage) {
        let mut bytes = std::mem::take(&mut self.core.persist.scratch);
        bytes.clear();
        image.encode(&mut bytes);
        let kind = OpKind::PutSession { session, image: bytes.len() as u32 };
        self.core.persist.push(kind, &[&bytes]);
        self.core.persist.scratch = bytes;
    }

    /// A stored session's client is away: what it had in memory is in storage.
    pub(crate) fn forget_memory(&mut self, session_key: Key) {
        let core = &mut self.core;
        let Some(session) = core.sessions.get_mut(session_key) else { return };
        let backlog = &mut session.backlog;
        if !backlog.is_used() {
            return;
        }
        let mut from = backlog.read_from();
        backlog.set_unsent_from(backlog.unsent_from().max(from));
        if let Some(window) = &mut session.window {
            let first = window.inflight.sequences().map(|low| backlog.sequence_of(low)).min();
            if let Some(queued) = window.queue.front() {
                backlog.set_unsent_from(queued.sequence);
            }
            from = first
                .into_iter()
                .chain(window.queue.front().map(|queued| queued.sequence))
                .fold(from, u64::min);
            for delivery in window.inflight.drain() {
                if let Some(message) = delivery.message.some() {
                    core.messages.release(message);
                }
            }
            while let Some(queued) = window.queue.pop() {
                core.messages.release(queued.message);
            }
            if let Some(mut reader) = window.reader.take() {
                while let Some(queued) = reader.tail.pop() {
                    core.messages.release(queued.message);
                }
            }
        }
        backlog.reading = false;
        // By sequence numbers alone: how many messages are left is not known so well that what is behind them could
        // be taken for read.
        backlog.set_read_from(from);
        session.shrink();
    }
}

impl Will {
    fn image(&self) -> pelton_storage_ops::WillImage {
        let (topic, rest) = self.body.split_at(usize::from(self.topic_len));
        let (forwarded, payload) = rest.split_at(self.forwarded_len as usize);
        pelton_storage_ops::WillImage {
            qos: self.qos as u8,
            retain: self.retain,
            delay_seconds: self.delay_seconds,
            expiry_seconds: self.expiry_seconds,
            due: self.due,
            topic: topic.to_vec(),
            forwarded: forwarded.to_vec(),
            payload: payload.to_vec(),
        }
    }

    /// The will of a stored session.
    pub(crate) fn of_image(image: &pelton_storage_ops::WillImage) -> Self {
        Self {
            body: [&image.topic[..], &image.forwarded, &image.payload].concat().into_boxed_slice(),
            topic_len: image.topic.len() as u16,
            forwarded_len: image.forwarded.len() as u32,
            qos: pelton_mqtt::QoS::from_bits(image.qos).unwrap_or(pelton_mqtt::QoS::AtMostOnce),
            retain: image.retain,
            delay_seconds: image.delay_seconds,
            expiry_seconds: image.expiry_seconds,
            due: image.due,
        }
    }
}
