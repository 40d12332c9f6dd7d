//! A publisher as the standard wants it: what is not acknowledged is sent again, in order, after every
//! reconnect, until it is.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pelton_mqtt::{PacketType, QoS, Version};

use crate::link::{Got, Link, Lost, Outgoing};
use crate::run::Stage;

/// Messages under way. Enough that a kill always hits some in every state.
const WINDOW: usize = 8;
/// Retained topics.
pub(crate) const RETAINED: u64 = 8;

/// How far a publisher is; seen by whoever checks what the broker knows.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    /// Its last message that was sent.
    pub(crate) sent: AtomicU64,
    /// All up to this one are acknowledged for good (PUBACK, PUBCOMP).
    pub(crate) acknowledged: AtomicU64,
}

struct UnderWay {
    number: u64,
    id: u16,
    /// PUBREC has come: PUBREL is what is sent again.
    received: bool,
}

pub(crate) struct Publisher<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: Version,
    pub(crate) qos: QoS,
    pub(crate) extent: &'a Extent,
    /// Whether it writes the retained topics, instead of one of its own.
    pub(crate) retains: bool,
    under_way: VecDeque<UnderWay>,
    last_id: u16,
}

/// The topic of a publisher's message, if it is not retained: QoS, then who.
pub(crate) fn topic(qos: QoS, name: &str) -> String {
    format!("q{}/{name}", qos as u8)
}

/// What a retained topic holds once this message has arrived; `None` for nothing: every fifth clears it.
pub(crate) fn retained_payload(number: u64) -> Option<Vec<u8>> {
    (number / RETAINED % 5 != 4).then(|| number.to_be_bytes().to_vec())
}

impl<'a> Publisher<'a> {
    pub(crate) fn new(name: &'a str, version: Version, qos: QoS, retains: bool, extent: &'a Extent) -> Self {
        Self { name, version, qos, extent, retains, under_way: VecDeque::new(), last_id: 0 }
    }

    /// Publishes until the stage says that it is enough, then until all is acknowledged.
    pub(crate) fn run(mut self, address: SocketAddr, stage: &Stage) {
        let mut known = false;
        while !(stage.is_enough() && self.under_way.is_empty()) {
            stage.check_time(self.name);
            let Ok((mut link, present)) = Link::open(address, self.version, self.name, false) else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            // It was told that its session is kept.
            assert!(present || !known, "{}: the session is gone", self.name);
            known = true;
            let _: Result<(), Lost> = self.play(&mut link, stage);
        }
    }

    fn play(&mut self, link: &mut Link, stage: &Stage) -> Result<(), Lost> {
        for at in 0..self.under_way.len() {
            let message = &self.under_way[at];
            match message.received {
                true => link.acknowledge(PacketType::PubRel, message.id)?,
                false => self.send(link, message.number, message.id, true)?,
            }
        }
        loop {
            while self.under_way.len() < WINDOW && !stage.is_enough() {
                let number = self.extent.sent.fetch_add(1, Ordering::SeqCst) + 1;
                self.last_id = self.last_id.checked_add(1).unwrap_or(1);
                let id = self.last_id;
                self.under_way.push_back(UnderWay { number, id, received: false });
                self.send(link, number, id, false)?;
            }
            if self.under_way.is_empty() {
                return Ok(());
            }
            match link.next(Duration::from_secs(1))? {
                Some(Got::Ack { kind, id }) => self.acknowledged(link, kind, id)?,
                Some(other) => panic!("{}: {other:?}", self.name),
                None => stage.check_time(self.name),
            }
        }
    }

    fn send(&self, link: &mut Link, number: u64, id: u16, dup: bool) -> Result<(), Lost> {
        let (topic, payload) = if self.retains {
            (format!("retained/{}", number % RETAINED), retained_payload(number).unwrap_or_default())
        } else {
            (topic(self.qos, self.name), number.to_be_bytes().to_vec())
        };
        link.publish(&Outgoing {
            topic: &topic,
            payload: &payload,
            qos: self.qos,
            retain: self.retains,
            dup,
            id,
        })
    }

    fn acknowledged(&mut self, link: &mut Link, kind: PacketType, id: u16) -> Result<(), Lost> {
        let at = self.under_way.iter().position(|message| message.id == id);
        let at = at.unwrap_or_else(|| panic!("{}: {kind:?} for {id}, which is not under way", self.name));
        match kind {
            PacketType::PubRec => {
                self.under_way[at].received = true;
                link.acknowledge(PacketType::PubRel, id)
            }
            // [MQTT-4.6.0-2] In the order of the publishes; PUBCOMP in the order of the PUBRELs, which is the same.
            PacketType::PubAck | PacketType::PubComp => {
                assert_eq!(at, 0, "{}: {kind:?} for {id} out of order", self.name);
                let done = self.under_way.pop_front().expect("it is there");
                assert!(kind == PacketType::PubAck || done.received, "{}: PUBCOMP before PUBREC", self.name);
                self.extent.acknowledged.store(done.number, Ordering::SeqCst);
                Ok(())
            }
            other => panic!("{}: {other:?}", self.name),
        }
    }
}
